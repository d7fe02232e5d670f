package sms

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAlphabetIsComplete(t *testing.T) {
	// 128 positions less the escape character (3GPP TS 23.038 6.2.1).
	if n := utf8.RuneCountInString(gsmBasic); n != 127 {
		t.Errorf("%d basic characters", n)
	}
	if n := utf8.RuneCountInString(gsmExtension); n != 10 {
		t.Errorf("%d characters of the extension table", n)
	}
}

// The figures are those of Twilio's own sms-segments-calculator 1.3.0, but for no
// text at all.
func TestSegments(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		n    int
		gsm  bool
	}{
		"nothing":                     {"", 0, true},
		"160 of GSM-7":                {strings.Repeat("a", 160), 1, true},
		"161 of GSM-7":                {strings.Repeat("a", 161), 2, true},
		"306 of GSM-7":                {strings.Repeat("a", 306), 2, true},
		"307 of GSM-7":                {strings.Repeat("a", 307), 3, true},
		"80 euros":                    {strings.Repeat("€", 80), 1, true},
		"80 euros and a letter":       {strings.Repeat("€", 80) + "a", 2, true},
		"an escape is not split":      {strings.Repeat("€", 153), 3, true},
		"German":                      {"Änderung für Übung, Maß", 1, true},
		"French, all in GSM-7":        {"à é è ù Ç", 1, true},
		"c cedilla is not":            {"ç", 1, false},
		"70 of UCS-2":                 {strings.Repeat("ж", 70), 1, false},
		"71 of UCS-2":                 {strings.Repeat("ж", 71), 2, false},
		"134 of UCS-2":                {strings.Repeat("ж", 134), 2, false},
		"135 of UCS-2":                {strings.Repeat("ж", 135), 3, false},
		"35 pictures":                 {strings.Repeat("😀", 35), 1, false},
		"36 pictures":                 {strings.Repeat("😀", 36), 2, false},
		"a picture is not split":      {strings.Repeat("😀", 67), 3, false},
		"one outside changes it all":  {strings.Repeat("a", 70) + "ó", 2, false},
		"line breaks and binding":     {"123456\n\n@example.com #123456", 1, true},
		"a backtick is no GSM-7":      {"`", 1, false},
		"a typographic apostrophe":    {"l’accès", 1, false},
		"a non-breaking blank is not": {"a\u00a0b", 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			if n, gsm := Segments(tc.text); n != tc.n || gsm != tc.gsm {
				t.Errorf("Segments = %d, %v; want %d, %v", n, gsm, tc.n, tc.gsm)
			}
		})
	}
}
