package sms

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxText is the length up to which phones offer a code by itself, in
// characters (web.dev, SMS OTP form best practices).
const maxText = 140

// sample has the usual code and validity.
func sample(app, host string) Vars { return Vars{Code: "123456", App: app, Minutes: 10, Host: host} }

// Warnings says, when a configuration is loaded, what will be costly or odd
// about texts from a template for an application of that name at that host,
// with codes of 6 digits. None is an error.
func Warnings(template, app, host string) []string {
	var out []string
	text := compose(template, sample(app, host))
	n, gsm := Segments(text)
	switch length := utf8.RuneCountInString(text); {
	case n > 1 && !gsm:
		out = append(out, fmt.Sprintf("each text is billed as %d, because of characters outside GSM-7 (%s): shorten it to 70 characters, or replace these",
			n, strings.Join(notGSM(text), " ")))
	case n > 1:
		out = append(out, fmt.Sprintf("each text is billed as %d: it has %d characters, one message holds 160", n, length))
	case length > maxText:
		out = append(out, fmt.Sprintf("the text has %d characters: some phones offer the code by themselves up to %d only", length, maxText))
	}
	if name := Name(app); name != strings.TrimSpace(app) {
		out = append(out, fmt.Sprintf("texts call the application %q, not %q: links, the signs @ and #, control characters and what follows 40 characters are taken out; set app to a plain name", name, app))
	}
	if host != "" && originLine(host, "") == "" {
		out = append(out, "texts carry no line that binds the code to the site, because the host is not a name: phones do not offer the code by themselves, and offer it on any site")
	}
	return out
}

// Warnings are those of all languages, each with its language.
func (t *Templates) Warnings(app, host string) []string {
	var out []string
	seen := map[string]bool{} // what is said of the name and the host is said once
	for _, lang := range t.langs {
		for _, w := range Warnings(t.texts[lang], app, host) {
			if !seen[w] {
				seen[w] = true
				out = append(out, "template "+lang+": "+w)
			}
		}
	}
	return out
}
