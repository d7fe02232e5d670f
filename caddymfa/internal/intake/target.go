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

// CutParams cuts the path parameters of these names, such as ;jsessionid=…, off
// every segment of an escaped path (attacks A13, K15). The ';' may be escaped.
func CutParams(escaped string, names ...string) string {
	if !strings.Contains(escaped, ";") && !strings.Contains(escaped, "%3") {
		return escaped
	}
	var b strings.Builder
	for rest := escaped; rest != ""; {
		at := pathParam.FindStringIndex(rest)
		if at == nil {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:at[0]])
		param := rest[at[0]:at[1]]
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(param, ";"), "%3b"), "%3B"), "=")
		if plain, err := url.PathUnescape(name); err == nil {
			name, _, _ = strings.Cut(plain, "=")
		}
		if !slices.ContainsFunc(names, func(n string) bool { return Means(name, n) }) {
			b.WriteString(param)
		}
		rest = rest[at[1]:]
	}
	return b.String()
}

var pathParam = regexp.MustCompile(`(?i)(?:;|%3b)(?:[^;/?#%]|%[^3]|%3[^b])*`)

// Pairs reads a query as the most lenient reader does: at '&' and at ';'. clear
// is false where something in it cannot be read.
func Pairs(raw string) (pairs [][2]string, clear bool) {
	clear = true
	for pair := range strings.FieldsFuncSeq(raw, func(c rune) bool { return c == '&' || c == ';' }) {
		k, v, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err != nil || err2 != nil {
			clear = false
		}
		pairs = append(pairs, [2]string{name, value})
	}
	return pairs, clear
}

// DropParams takes the parameters of these names out of a query, and with them
// what cannot be read. A query that has none of them stays as it is.
func DropParams(raw string, names []string) string {
	if raw == "" || len(names) == 0 {
		return raw
	}
	var b strings.Builder
	for rest, sep := raw, ""; ; {
		end := strings.IndexAny(rest, "&;")
		pair := rest
		if end >= 0 {
			pair = rest[:end]
		}
		k, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(k); err == nil && !slices.ContainsFunc(names, func(n string) bool { return Means(name, n) }) {
			if b.Len() > 0 {
				b.WriteString(sep)
			}
			b.WriteString(pair)
		}
		if end < 0 {
			return b.String()
		}
		sep, rest = rest[end:end+1], rest[end+1:]
	}
}

// Local reports whether a target of ours, an escaped path with an optional
// query, stays on this site: browsers take two slashes, and a backslash for a
// slash, for the beginning of another host (attack K14). One function decides
// this of every Location that leaves here, and of every address that the gate
// itself asks for.
func Local(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	return strings.HasPrefix(target, "/") && !strings.HasPrefix(path, "//") && !strings.Contains(path, `\`) &&
		!strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c == 0x7f }) && len(target) <= maxPath+maxQuery
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
