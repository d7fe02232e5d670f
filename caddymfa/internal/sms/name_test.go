package sms

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestAttack_H7_NameIsDefused(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"plain":                     {"Payroll", "Payroll"},
		"accents, blanks, digits":   {" Müller & Söhne  2.0 ", "Müller & Söhne 2.0"},
		"Greek, Arabic, Chinese":    {"Τράπεζα بنك 银行", "Τράπεζα بنك 银行"},
		"a binding line":            {"x\n\n@evil.example #123456", "x evil example 123456"},
		"other line breaks":         {"a\rb\u2028c\u2029d\u0085e\vf\fg", "a b c d e f g"},
		"full-width @ and #":        {"＠evil ＃1", "evil 1"},
		"small @ and #":             {"﹫evil ﹟1", "evil 1"},
		"a link":                    {"https://evil.example/x", "https evil example/x"},
		"a link in full width":      {"ｈｔｔｐｓ：／／evil．example", "https evil example"},
		"a link inside a link":      {"hthttp://tp://evil", "hthttp tp evil"},
		"www":                       {"www.evil.example", "www evil example"},
		"www inside www":            {"wwwww.w.evil.example", "wwwww w evil example"},
		"a host":                    {"login.example.com", "login example com"},
		"a host with umlauts":       {"möbel.exämple.ä", "möbel exämple ä"},
		"ideographic dots":          {"evil。example｡com", "evil example com"},
		"an address":                {"192.0.2.1", "192 0 2 1"},
		"a dot between zero widths": {"evil\u200b.\u200bexample", "evil example"},
		"bidi overrides":            {"a\u202eb\u2066c\u200f", "abc"},
		"controls and nulls":        {"a\x00b\x1bc\x7f", "abc"},
		"private use":               {"a\ue000b", "ab"},
		"broken UTF-8":              {"a\xffb", "ab"},
		"braces":                    {"{code} {app}", "code app"},
		"decomposed accents":        {"Cafe\u0301", "Café"},
		"40 characters and more":    {strings.Repeat("ä", 50), strings.Repeat("ä", 40)},
		"cut at a blank":            {strings.Repeat("a", 39) + " bc", strings.Repeat("a", 39)},
		"nothing left":              {"@#\n\u202e", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Name(tc.in); got != tc.want {
				t.Errorf("Name(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

var linkish = regexp.MustCompile(`://|\.\pL|[0-9]\.[0-9]+\.[0-9]`)

func FuzzAttack_H7_Name(f *testing.F) {
	for _, s := range []string{"Payroll", "x\n@evil.example #123456", "ｗｗｗ．evil。com", ":://", "a\u202eb", "..a.b", "1.2.3.4.a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got := Name(in)
		switch {
		case !utf8.ValidString(got), utf8.RuneCountInString(got) > maxName:
			t.Fatalf("Name(%q) = %q: too long or broken", in, got)
		case strings.ContainsAny(got, "@#{}\r\n＠＃"), linkish.MatchString(got):
			t.Fatalf("Name(%q) = %q: dangerous signs", in, got)
		case strings.ContainsFunc(got, func(c rune) bool { return c != ' ' && (unicode.IsSpace(c) || unicode.IsControl(c)) }):
			t.Fatalf("Name(%q) = %q: not one line", in, got)
		case Name(got) != got:
			t.Fatalf("Name(%q) = %q, and of that %q", in, got, Name(got))
		}
		// Whatever the name, the last line of a text is ours.
		text := fullText(t, in)
		if !strings.HasSuffix(text, "\n\n@login.example.com #123456") || strings.Count(text, "\n") != 2 || strings.Count(text, "@") != 1 || strings.Count(text, "#") != 1 {
			t.Fatalf("with the name %q the text is %q", in, text)
		}
	})
}

func fullText(t *testing.T, app string) string {
	t.Helper()
	tpl, err := NewTemplates(nil)
	if err != nil {
		t.Fatal(err)
	}
	return tpl.Render("en", Vars{Code: "123456", App: app, Minutes: 5, Host: "login.example.com"})
}
