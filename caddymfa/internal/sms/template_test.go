package sms

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddymfa/caddymfa/caddymfa/internal/lang"
)

func templates(t *testing.T, custom map[string]string) *Templates {
	t.Helper()
	tpl, err := NewTemplates(custom)
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

// wide are the languages whose letters are not in GSM-7: a segment is 70 characters
// there, which a text with a line for the site exceeds.
var wide = []string{"ar", "el", "he", "ja", "uk", "zh"}

func TestBuiltInTextsFitOneSegment(t *testing.T) {
	app, host := strings.Repeat("A", 30), strings.Repeat("a", 18)+".example.com"
	tpl := templates(t, nil)
	if got := slices.Sorted(maps.Keys(tpl.texts)); !slices.Equal(got, slices.Sorted(slices.Values(lang.BuiltIn))) {
		t.Errorf("languages are %v", got)
	}
	for _, l := range lang.BuiltIn {
		text, want := tpl.Render(l, Vars{Code: "1234567890", App: app, Minutes: 10, Host: host}), 1
		if slices.Contains(wide, l) {
			want = 2
		}
		if n, gsm := Segments(text); n != want || gsm != (want == 1) {
			t.Errorf("%s: %d segments, GSM-7 %v: %q", l, n, gsm, text)
		}
		if !strings.HasPrefix(text, "1234567890") || !strings.Contains(text, app) || !strings.Contains(text, "10") || !strings.HasSuffix(text, "\n\n@"+host+" #1234567890") {
			t.Errorf("%s: %q", l, text)
		}
		// Short names are the usual ones.
		if n, _ := Segments(tpl.Render(l, Vars{Code: "123456", App: "Payroll", Minutes: 5, Host: "a.example.com"})); n != 1 {
			t.Errorf("%s: %d segments with short names", l, n)
		}
		for what := range builtIn().notices {
			notice := tpl.Notice(what, l, Vars{App: app})
			if n, gsm := Segments(notice); n > want || gsm != (want == 1) {
				t.Errorf("notice %s %s: %d segments, GSM-7 %v, %d characters: %q", what, l, n, gsm, utf8.RuneCountInString(notice), notice)
			}
			if !strings.Contains(notice, app) || l != "en" && notice == tpl.Notice(what, "en", Vars{App: app}) {
				t.Errorf("notice %s: the one in %s is missing: %q", what, l, notice)
			}
		}
	}
	for _, what := range []Notice{Locked, Changed, Added, Removed, Recovered, WasReset, NewCodes} {
		if len(builtIn().notices[what]) != len(lang.BuiltIn) {
			t.Errorf("notice %s is there in %d languages", what, len(builtIn().notices[what]))
		}
	}
	if len(builtIn().notices) != 7 {
		t.Errorf("%d notices", len(builtIn().notices))
	}
	if w := tpl.Warnings("default", app, host); len(w) != 0 {
		t.Errorf("built-in texts are warned of: %q", w)
	}
	for _, l := range lang.BuiltIn {
		if err := checkTemplate(tpl.texts[l]); err != nil {
			t.Errorf("%s: %v", l, err)
		}
	}
}

func TestCustomTemplatesAreChecked(t *testing.T) {
	for name, tc := range map[string]struct{ lang, text, complaint string }{
		"good":                     {"en", "{code} for {app}, {minutes} min", ""},
		"code only":                {"pt-BR", "{code}", ""},
		"app twice":                {"nl", "{code} {app} {app}", ""},
		"code missing":             {"en", "Hello {app}", "{code} is missing"},
		"code twice":               {"en", "{code} {code}", "2 times"},
		"unknown placeholder":      {"en", "{code} {host}", `"{host}" is not known`},
		"wrong case":               {"en", "{Code}", `"{Code}" is not known`},
		"Caddy placeholder":        {"en", "{code} {http.request.host}", "is not known"},
		"open brace":               {"en", "{code} {", "stands alone"},
		"closing brace":            {"en", "{code} }", "stands alone"},
		"nested braces":            {"en", "{{code}}", "stands alone"},
		"line break":               {"en", "{code}\nx", "line break"},
		"carriage return":          {"en", "{code}\rx", "line break"},
		"Unicode line separator":   {"en", "{code}\u2028x", "line break"},
		"escape":                   {"en", "{code}\x1b", "control character"},
		"direction override":       {"en", "{code}\u202e", "control character"},
		"own binding line":         {"en", "{code} @example.com #{code}", "2 times"},
		"at sign":                  {"en", "{code} @example.com", "@ or #"},
		"number sign":              {"en", "#{code}", "@ or #"},
		"full-width at sign":       {"en", "{code} ＠x", "@ or #"},
		"empty":                    {"en", "", "{code} is missing"},
		"no language":              {"english", "{code}", "did you mean en?"},
		"a country":                {"jp", "{code}", "did you mean ja?"},
		"nothing near":             {"klingonese", "{code}", "language tag"},
		"empty language":           {"", "{code}", "language tag"},
		"undetermined language":    {"und", "{code}", "language tag"},
		"a language that is built": {"DE", "{code}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewTemplates(map[string]string{tc.lang: tc.text})
			switch {
			case tc.complaint == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.complaint != "" && (err == nil || !strings.Contains(err.Error(), tc.complaint)):
				t.Errorf("error %v, want one with %q", err, tc.complaint)
			}
		})
	}
	if _, err := NewTemplates(map[string]string{"pt-br": "{code}", "pt-BR": "{code}"}); err == nil {
		t.Error("one language given twice is taken")
	}
}

func TestMatchChoosesTheLanguage(t *testing.T) {
	tpl := templates(t, map[string]string{"pt-BR": "{code} pt", "de": "{code} eigen"})
	for accept, want := range map[string]string{
		"":                                    "en",
		"*":                                   "en",
		"de":                                  "de",
		"de-AT,de;q=0.9,en;q=0.8":             "de",
		"fr-CA,en;q=0.5":                      "fr",
		"en;q=0.5,es":                         "es",
		"pt-PT":                               "pt",
		"hu,fr;q=0.3":                         "fr",
		"hu,ro":                               "en",
		"de;q=0,fr":                           "fr",
		"\x00;;;==,":                          "en",
		strings.Repeat("-", 5000):             "en",
		"es," + strings.Repeat("sw,", 10000):  "es",
		strings.Repeat("x", 600):              "en",
		"fr\r\nX-Header: y":                   "en",
		"de-u-co-phonebk,en":                  "de",
		"en-GB-oxendict,en;q=0.9,de-DE;q=0.8": "en",
	} {
		if got := tpl.Match(accept); got != want {
			t.Errorf("Match(%.40q) = %q, want %q", accept, got, want)
		}
	}
	if got := tpl.Render("de", Vars{Code: "123456"}); got != "123456 eigen" {
		t.Errorf("the custom German text is %q", got)
	}
	if got := tpl.Notice(Locked, "pt-BR", Vars{App: "x"}); got != tpl.Notice(Locked, "pt", Vars{App: "x"}) {
		t.Errorf("a notice in a language with a text of its own is %q", got)
	}
	if got := tpl.Notice(Locked, "sw", Vars{App: "x"}); got != tpl.Notice(Locked, "en", Vars{App: "x"}) {
		t.Errorf("a notice in a language without one is %q", got)
	}
}

func TestRenderBindsTheCodeToTheSite(t *testing.T) {
	tpl := templates(t, map[string]string{"en": "{code} {app} {minutes}"})
	for name, tc := range map[string]struct{ host, last string }{
		"name":                {"login.example.com", "@login.example.com #123456"},
		"port is dropped":     {"login.example.com:8443", "@login.example.com #123456"},
		"capitals":            {"Login.Example.COM", "@login.example.com #123456"},
		"trailing dot":        {"example.com.", "@example.com #123456"},
		"international":       {"möbel.example", "@xn--mbel-5qa.example #123456"},
		"underscore":          {"old_app.example.com", "@old_app.example.com #123456"},
		"localhost":           {"localhost:8080", "@localhost #123456"},
		"empty":               {"", ""},
		"IPv4":                {"192.0.2.1", ""},
		"IPv4 with port":      {"192.0.2.1:443", ""},
		"IPv6":                {"2001:db8::1", ""},
		"IPv6 in brackets":    {"[2001:db8::1]", ""},
		"IPv6 with port":      {"[2001:db8::1]:443", ""},
		"IPv6 with zone":      {"fe80::1%eth0", ""},
		"wildcard":            {"*.example.com", ""},
		"placeholder":         {"{http.request.host}", ""},
		"D6: forged line":     {"evil.example #111111\n@x", ""},
		"D6: at sign":         {"a@evil.example", ""},
		"D6: blank":           {"evil.example x", ""},
		"D6: path":            {"evil.example/x", ""},
		"D6: scheme and port": {"https://evil.example:1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			want := "123456 App 5"
			if tc.last != "" {
				want += "\n\n" + tc.last
			}
			if got := tpl.Render("en", Vars{Code: "123456", App: "App", Minutes: 5, Host: tc.host}); got != want {
				t.Errorf("text is %q, want %q", got, want)
			}
		})
	}
}

func TestRenderEdges(t *testing.T) {
	tpl := templates(t, map[string]string{"en": "{code} is your {app} code for {minutes} min."})
	for name, tc := range map[string]struct {
		vars Vars
		want string
	}{
		"under a minute":                     {Vars{Code: "000001", App: "A", Minutes: 0}, "000001 is your A code for 1 min."},
		"a value is not a template":          {Vars{Code: "123456", App: "{code}{minutes}", Minutes: 5}, "123456 is your codeminutes code for 5 min."},
		"without a name, the host":           {Vars{Code: "123456", App: "@", Minutes: 5, Host: "pay.example"}, "123456 is your pay example code for 5 min.\n\n@pay.example #123456"},
		"without name and host":              {Vars{Code: "123456", Minutes: 5}, "123456 is your code for 5 min."},
		"an unknown language is the English": {Vars{Code: "123456", App: "A", Minutes: 5}, "123456 is your A code for 5 min."},
	} {
		t.Run(name, func(t *testing.T) {
			for _, lang := range []string{"en", "xx", ""} {
				if got := tpl.Render(lang, tc.vars); got != tc.want {
					t.Errorf("text is %q, want %q", got, tc.want)
				}
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	const good = "{code} is your {app} code."
	for name, tc := range map[string]struct {
		template, app, host string
		want                []string // a part of each warning
	}{
		"nothing":                 {good, "Payroll", "pay.example.com", nil},
		"over 140":                {good + strings.Repeat(" x", 50), "Payroll", "pay.example.com", []string{"template short en: the text has"}},
		"two segments":            {good + strings.Repeat(" x", 80), "Payroll", "pay.example.com", []string{"billed as 2"}},
		"by the longest name":     {good + strings.Repeat(" x", 30), strings.Repeat("A", 40), "pay.example.com", []string{"up to 140"}},
		"the code is not first":   {"Your code: {code}", "Payroll", "pay.example.com", []string{"beginning"}},
		"outside GSM-7":           {"{code} jest Twój kod do {app}. Nie podawaj go nikomu, nawet żonie.", "Płace", "pay.example.com", []string{"billed as 2, because of characters outside GSM-7 (ó ł ż)"}},
		"outside GSM-7 but short": {"{code} の {app}", "給与", "pay.example.com", nil},
		"a name that is changed":  {good, "pay.example.com", "pay.example.com", []string{"texts call the application"}},
		"a host without a name":   {good, "Payroll", "192.0.2.1", []string{"binds"}},
		"no host is no surprise":  {good, "Payroll", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := templates(t, map[string]string{"en": tc.template}).Warnings("short", tc.app, tc.host)
			if len(got) != len(tc.want) {
				t.Fatalf("warnings are %q, want %q", got, tc.want)
			}
			for i, part := range tc.want {
				if !strings.Contains(got[i], part) {
					t.Errorf("warning %q lacks %q", got[i], part)
				}
			}
		})
	}
}
