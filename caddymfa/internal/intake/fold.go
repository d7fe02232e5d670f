package intake

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// FoldUser gives a user's name in the one spelling by which a directory and
// the counters know it: compatibility form, without case, outer blanks and
// invisible signs, inner blanks as one (attacks F3, F4).
func FoldUser(name string) string {
	name = norm.NFKC.String(strings.ToValidUTF8(name, ""))
	name = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case unicode.IsControl(c), unicode.Is(unicode.Cf, c):
			return -1
		}
		return c
	}, name)
	name = cases.Fold().String(name)
	return strings.Join(strings.Fields(norm.NFKC.String(name)), " ")
}

// CoarseUser is FoldUser as coarsely as databases compare: without accents, with
// letters that some take for one as one, and without signs that nobody sees
// (attack K3). Two names of one person are the same; two people may be.
func CoarseUser(name string) string {
	name = norm.NFKD.String(FoldUser(name))
	name = alike.Replace(name)
	return strings.Map(func(c rune) rune {
		switch {
		case unicode.Is(unicode.Mn, c), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, c), unicode.Is(unicode.Variation_Selector, c):
			return -1
		}
		return c
	}, name)
}

var alike = strings.NewReplacer("ß", "ss", "ı", "i", "ø", "o", "æ", "ae", "œ", "oe", "ł", "l", "đ", "d", "ð", "d", "þ", "th", "ħ", "h", "ŋ", "n", "ĸ", "k")

// TypedUser gives a name that a person typed into a login and that nothing but
// this request says, folded. ok is false for a name that the application's
// database may compare in another way than the gate does: MySQL takes é for e
// and ß for s, others drop blanks or signs that cannot be seen, and then the
// login is another user's. Only ASCII case and outer blanks are forgiven
// (attack K9).
func TypedUser(name string) (folded string, ok bool) {
	name = strings.Trim(name, " ")
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || c == ' ' && name[i-1] == ' ' {
			return "", false
		}
	}
	return FoldUser(name), true
}
