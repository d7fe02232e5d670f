package sms

import (
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// maxName is the longest application name in a text, in characters.
const maxName = 40

var (
	// A dot makes a link of what follows it: evil.example, but not "2.0".
	dotted = regexp.MustCompile(`\.(\pL)`)
	// 192.0.2.1 is a link as well.
	address = regexp.MustCompile(`[0-9]+(\.[0-9]+){2,}`)
)

// Name makes an application's name safe for a text (attack H7): one line,
// nothing that reorders it, nothing that a phone reads as a link or as the line
// that binds the code to a site, at most 40 characters. It may be empty.
//
// Compatibility forms (full width and the like) are folded first, so that none
// of them comes back as the sign that was removed; composing accents also keeps
// a name in GSM-7.
func Name(name string) string {
	name = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case c == '。': // browsers take it for a dot
			return '.'
		case unicode.In(c, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs), strings.ContainsRune("@#{}", c):
			return -1
		}
		return c
	}, norm.NFKC.String(strings.ToValidUTF8(name, "")))
	name = norm.NFC.String(name) // accents may have met where a sign was removed
	name = strings.ReplaceAll(name, "://", " ")
	name = dotted.ReplaceAllString(name, " $1")
	name = address.ReplaceAllStringFunc(name, func(s string) string { return strings.ReplaceAll(s, ".", " ") })
	name = strings.Join(strings.Fields(name), " ")
	if r := []rune(name); len(r) > maxName {
		name = strings.TrimSpace(string(r[:maxName]))
	}
	return name
}
