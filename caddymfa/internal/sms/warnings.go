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

// Warnings says, when a configuration is loaded, what will be costly or odd about
// the texts for an application of that name at that host, with codes of 6 digits.
// None is an error. Of the built-in texts it says nothing: what they cost is
// documented. name is that of the templates in the configuration.
func (t *Templates) Warnings(name, app, host string) []string {
	var out []string
	if clean := Name(app); clean != strings.TrimSpace(app) {
		out = append(out, fmt.Sprintf("texts call the application %q, not %q: links, the signs @ and #, control characters and what follows 40 characters are taken out; set app to a plain name", clean, app))
	}
	if host != "" && originLine(host, "") == "" {
		out = append(out, "texts carry no line that binds the code to the site, because the host is not a name: phones do not offer the code by themselves, and offer it on any site")
	}
	for _, l := range t.custom {
		for _, w := range warnings(t.texts[l], app, host) {
			out = append(out, "template "+name+" "+l+": "+w)
		}
	}
	return out
}

func warnings(template, app, host string) []string {
	var out []string
	if !strings.HasPrefix(template, "{code}") {
		out = append(out, "the code does not come first: put {code} at the beginning, where a locked screen shows it")
	}
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
	return out
}
