// Package intake reads requests strictly: what two servers could read in two
// ways is refused before the application sees it. It is pure.
package intake

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds on what is read.
const (
	maxQuery  = 8 << 10
	maxParams = 200
	maxFields = 1000 // as PHP's max_input_vars, for the large forms of verified users
	maxPath   = 4 << 10
)

var sessionID = regexp.MustCompile(`(?i);jsessionid=([^;/?#]*)$`)

// CutSession cuts a trailing ;jsessionid=… off an escaped path.
func CutSession(escaped string) (clean, id string) {
	m := sessionID.FindStringSubmatchIndex(escaped)
	if m == nil {
		return escaped, ""
	}
	return escaped[:m[0]], escaped[m[2]:m[3]]
}

// Canonical reports whether a path can be read in one way only: it is its own
// cleaned form, nothing in it was escaped, and no sign in it is one that some
// server treats specially.
func Canonical(escaped, decoded string) bool {
	if escaped != decoded || !strings.HasPrefix(decoded, "/") || len(decoded) > maxPath {
		return false
	}
	if strings.ContainsFunc(decoded, func(c rune) bool {
		return c <= ' ' || c > '~' || c == '%' || c == '\\' || c == ';' || c == '"' || c == '<' || c == '>' || c == '|' || c == '^' || c == '`'
	}) {
		return false
	}
	clean := path.Clean(decoded)
	if clean != "/" && strings.HasSuffix(decoded, "/") {
		clean += "/"
	}
	if clean != decoded {
		return false
	}
	for seg := range strings.SplitSeq(decoded[1:], "/") {
		if strings.HasSuffix(seg, ".") { // Windows drops it
			return false
		}
	}
	return true
}

// Below reports whether a path is a prefix of whole segments or lies below it.
// Case does not count.
func Below(prefix, path string) bool {
	n := len(prefix)
	return len(path) >= n && strings.EqualFold(path[:n], prefix) && (len(path) == n || path[n] == '/')
}

// Spellings are all plain paths that some server could take an escaped path
// for, the ordinary reading first (attack C1).
func Spellings(escaped string) []string {
	if len(escaped) > maxPath {
		escaped = escaped[:maxPath]
	}
	once := decode(escaped)
	out := []string{clean(once)}
	add := func(s string) {
		if s = clean(s); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	seen := []string{escaped, once, decode(once), decode(decode(once))}
	for _, s := range seen {
		variants := []string{s, overlong(s)}
		for _, v := range variants {
			back := strings.ReplaceAll(v, `\`, "/")
			for _, w := range []string{v, back, cutNUL(v), cutNUL(back)} {
				add(w)
				add(cutParams(w))
				add(trimSegments(cutParams(w)))
			}
		}
	}
	return out
}

// decode undoes percent escapes and leaves what is no escape as it is.
func decode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0 {
			b.WriteByte(byte(hex(s[i+1])<<4 | hex(s[i+2]))) //nolint:gosec // two hexadecimal digits
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// overlong reads the overlong UTF-8 forms of slash, dot and backslash, and
// their full-width look-alikes, as careless decoders do.
func overlong(s string) string {
	return strings.NewReplacer("\xc0\xaf", "/", "\xc0\xae", ".", "\xc1\x9c", `\`, "\xe0\x80\xaf", "/",
		"／", "/", "．", ".", "＼", `\`).Replace(s)
}

func cutNUL(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

// cutParams cuts ;name=value off every segment (RFC 3986 3.3; Servlet 3.5).
func cutParams(s string) string {
	if !strings.Contains(s, ";") {
		return s
	}
	segs := strings.Split(s, "/")
	for i := range segs {
		segs[i], _, _ = strings.Cut(segs[i], ";")
	}
	return strings.Join(segs, "/")
}

// trimSegments drops what Windows and some frameworks drop at the end of a name.
func trimSegments(s string) string {
	segs := strings.Split(s, "/")
	for i, seg := range segs {
		if seg != "." && seg != ".." {
			segs[i] = strings.TrimRight(seg, ". \t\r\n")
		}
	}
	return strings.TrimSuffix(strings.Join(segs, "/"), "/")
}

func clean(s string) string {
	c := path.Clean("/" + s)
	if c != "/" && strings.HasSuffix(s, "/") {
		c += "/"
	}
	return c
}

// ErrTarget: the address could be read in two ways.
var ErrTarget = errors.New("ambiguous request target")

// CheckTarget refuses addresses that must not be forwarded before
// verification: a raw semicolon in the query (some servers split there,
// attack J4), escapes that are none, control signs, raw or escaped, a fragment.
func CheckTarget(r *http.Request) error {
	q := r.URL.RawQuery
	if len(q) > maxQuery || strings.Count(q, "&") >= maxParams || strings.ContainsAny(q, ";#") || strings.Contains(r.RequestURI, "#") {
		return ErrTarget
	}
	if r.URL.Fragment != "" || !text(r.URL.Path) || len(r.URL.Path) > maxPath {
		return ErrTarget
	}
	if strings.ContainsFunc(q, func(c rune) bool { return c <= ' ' || c == 0x7f || c == utf8.RuneError }) {
		return ErrTarget
	}
	plain, err := url.QueryUnescape(q)
	if err != nil || !text(strings.ReplaceAll(strings.ReplaceAll(plain, "\r", ""), "\n", "")) {
		return ErrTarget
	}
	return nil
}

// text reports whether s is UTF-8 without control signs, tabs excepted.
func text(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}
