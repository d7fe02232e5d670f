package intake

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold gives a field's name as applications fold names: PHP cuts leading blanks
// and what follows a NUL, turns '.', ' ' and an open '[' into '_' and reads
// "a[]" as a; others do not mind case or width (attack J3).
func Fold(name string) string {
	name, _, _ = strings.Cut(name, "\x00")
	name = norm.NFKC.String(name)
	name = strings.TrimFunc(name, func(c rune) bool { return unicode.IsSpace(c) || c == '.' || unicode.Is(unicode.Cf, c) })
	if i := strings.IndexByte(name, '['); i > 0 {
		if strings.IndexByte(name[i:], ']') > 0 {
			name = name[:i]
		} else {
			name = name[:i] + "_" + name[i+1:]
		}
	}
	name = strings.NewReplacer(".", "_", " ", "_", "[", "_", "\t", "_").Replace(name)
	return strings.ToLower(name)
}

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
