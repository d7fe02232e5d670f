package lang

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

func TestTwentyLanguages(t *testing.T) {
	if len(BuiltIn) != 20 || BuiltIn[0] != Default || !slices.IsSorted(BuiltIn[1:]) || len(slices.Compact(slices.Clone(BuiltIn))) != 20 {
		t.Error(BuiltIn)
	}
	for _, lang := range BuiltIn {
		if tag, err := language.Parse(lang); err != nil || tag.String() != lang {
			t.Errorf("%s: %s %v", lang, tag, err)
		}
		if !slices.Contains(slices.Sorted(func(yield func(string) bool) {
			for _, tag := range englishNames {
				if !yield(tag) {
					return
				}
			}
		}), lang) {
			t.Errorf("%s has no name", lang)
		}
	}
}

// The oracle is golang.org/x/text, whose data are of CLDR 32.
func TestPluralsAreCLDRs(t *testing.T) {
	forms := map[plural.Form]string{plural.Zero: Zero, plural.One: One, plural.Two: Two, plural.Few: Few, plural.Many: Many, plural.Other: Other}
	for _, lang := range BuiltIn {
		for n := range 1001 {
			want := forms[plural.Cardinal.MatchPlural(language.MustParse(lang), n, 0, 0, 0, 0)]
			if lang == "he" && want == Many {
				want = Other // CLDR 42 has taken the category away
			}
			if got := Plural(lang, n); got != want {
				t.Errorf("%s %d: %s, want %s", lang, n, got, want)
			}
		}
	}
}

func TestMatch(t *testing.T) {
	m := NewMatcher(BuiltIn)
	for accept, want := range map[string]string{
		"":                                   "en",
		"*":                                  "en",
		"de-AT,de;q=0.9,en;q=0.8":            "de",
		"en;q=0.5,es":                        "es",
		"en;q=0.1, cs;q=0.9, pl;q=0.95":      "pl",
		"de;q=0,fr":                          "fr",
		"hu,ja;q=0.2":                        "ja", // the first of those that we have
		"hu":                                 "en",
		"no":                                 "nb",
		"nn-NO,en;q=0.5":                     "nb",
		"nb-NO":                              "nb",
		"iw":                                 "he", // the old code
		"pt-BR":                              "pt",
		"pt-PT":                              "pt",
		"ar-EG":                              "ar",
		"zh-CN":                              "zh",
		"zh-TW,zh;q=0.9,en-US;q=0.8":         "zh", // what browsers in Taiwan send
		"zh-TW,en;q=0.8":                     "en", // who names no zh reads Traditional only
		"zh-TW":                              "zh",
		"ru":                                 "en", // no neighbour by script
		"ru,uk;q=0.1":                        "uk",
		"fa":                                 "en",
		"sr":                                 "en",
		"gl":                                 "es",
		"gsw":                                "de",
		"\x00;;;==,":                         "en",
		strings.Repeat("-", 5000):            "en",
		strings.Repeat("x", 600):             "en",
		"es," + strings.Repeat("ja,", 10000): "es",
		"fr\r\nX-Header: y":                  "en",
		"de-u-co-phonebk,en":                 "de",
	} {
		if got := m.Match(accept); got != want {
			t.Errorf("%.40q is %s, want %s", accept, got, want)
		}
	}
}

func TestKeepIsShort(t *testing.T) {
	for accept, want := range map[string]string{
		"de-AT,de;q=0.9": "de-AT,de;q=0.9", " fr ": "fr", "*": "", "*;q=0.5": "", "": "",
		strings.Repeat("x", maxAccept+1):          "",
		strings.Repeat("de,", 1000):               strings.Repeat("de,", maxAccept/3)[:maxAccept/3*3-1],
		"de," + strings.Repeat("x", maxAccept*10): "de",
	} {
		if got := Keep(accept); got != want {
			t.Errorf("%.30q: %d bytes, want %d", accept, len(got), len(want))
		}
	}
}

func TestNear(t *testing.T) {
	for name, want := range map[string]string{
		"jp": "ja", "cz": "cs", "dk": "da", "gr": "el", "ua": "uk", "cn": "zh", "CZ": "cs", "gb": "en", "UK": "en", "il": "he", "eg": "ar",
		"english": "en", "German": "de", "de_": "de", "pt_brazil": "pt", "hu": "", "xx": "", "": "", "klingon": "",
	} {
		if got := Near(name); got != want {
			t.Errorf("%q is near %q, want %q", name, got, want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	m := NewMatcher(BuiltIn)
	f.Add("de-AT,de;q=0.9,en;q=0.8")
	f.Fuzz(func(t *testing.T, accept string) {
		if got := m.Match(accept); !slices.Contains(BuiltIn, got) {
			t.Fatal(got)
		}
		if len(Keep(accept)) > maxAccept {
			t.Fatal("too long")
		}
	})
}
