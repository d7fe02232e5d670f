package intake

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// fieldName is what applications may take the name of a field or a parameter
// for (attacks J3, K25). Two names with the same flat form may be one and the
// same to some of them. Keys in brackets are part of the name: user[login] and
// user[password] are two.
//
//   - PHP cuts leading blanks and what follows a NUL, turns '.' and ' ' before
//     the first bracket and a bracket that is not closed into '_', and drops what
//     stands between ']' and the end;
//   - Rack and qs drop brackets that are too many, and what stands behind a lone ']';
//   - Struts, Spring and ASP.NET write user.login for user[login];
//   - others mind neither case nor width.
type fieldName struct {
	flat string
	// within are the flat forms of the names that this one is a key of: user for
	// user[login] and for user[].
	within []string
}

var plainer = strings.NewReplacer(".", "_", " ", "_", "\t", "_", "[", "_", "]", "")

func readName(name string) fieldName {
	if ordinary(name) {
		return fieldName{flat: name}
	}
	name, _, _ = strings.Cut(name, "\x00")
	name = strings.ToLower(norm.NFKC.String(strings.ToValidUTF8(name, "")))
	name, _, _ = strings.Cut(name, "\x00")
	name = strings.TrimFunc(name, func(c rune) bool { return unicode.IsSpace(c) || c == '.' || unicode.Is(unicode.Cf, c) })
	name = strings.TrimLeft(name, "[]")
	base, rest, keyed := strings.Cut(name, "[")
	base, _, _ = strings.Cut(base, "]")
	n := fieldName{flat: plainer.Replace(base)}
	for keyed {
		key, after, closed := strings.Cut(rest, "]")
		n.within = append(n.within, n.flat)
		if key = strings.TrimLeftFunc(key, func(c rune) bool { return unicode.IsSpace(c) || c == '[' }); key != "" {
			n.flat += "_" + plainer.Replace(key)
		}
		if keyed = closed && strings.HasPrefix(after, "["); keyed {
			rest = after[1:]
		}
	}
	return n
}

// ordinary reports whether a name has one reading only. Nearly all are such.
func ordinary(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// is reports whether a field of this name may be the one that is wanted, or a
// part of it.
func (n *fieldName) is(want *fieldName) bool {
	return n.flat == want.flat || slices.Contains(n.within, want.flat)
}

// Means reports whether some application takes the name of a field or of a
// parameter for the one that is wanted, or for a part of it.
func Means(name, wanted string) bool {
	n, want := readName(name), readName(wanted)
	return n.is(&want)
}
