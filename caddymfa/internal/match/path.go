// Package match holds the patterns of the grammar: paths, requests and
// answers. It is pure: it reads what it is given and decides nothing.
package match

import (
	"fmt"
	"path"
	"strings"
)

// Path is a compiled path matcher with the meaning of Caddy's own: "/x" is
// exact, "/x/*" a prefix, "*.php" a suffix, "*part*" anywhere, and other
// asterisks stand for anything but a slash. Case does not count.
type Path struct {
	kind byte // '=' exact, '<' prefix, '>' suffix, '~' anywhere, '?' glob, '*' all
	text string
}

// ParsePath compiles a pattern. It refuses what could never match a cleaned path.
func ParsePath(pattern string) (Path, error) {
	switch {
	case pattern == "":
		return Path{}, fmt.Errorf("empty path")
	case pattern[0] != '/' && pattern[0] != '*':
		return Path{}, fmt.Errorf("path %q must start with a slash", pattern)
	case strings.ContainsAny(pattern, "?#"):
		return Path{}, fmt.Errorf("path %q holds a query or fragment: name parameters with the word query", pattern)
	case strings.ContainsAny(pattern, "%\\;") || strings.Contains(pattern, "//") || strings.Contains(pattern, "/../") || strings.Contains(pattern, "/./"):
		return Path{}, fmt.Errorf("path %q is not in canonical form: write it decoded, with single slashes", pattern)
	case strings.ContainsAny(pattern, "{}"):
		return Path{}, fmt.Errorf("path %q holds a placeholder: paths are fixed when the configuration loads", pattern)
	}
	p := strings.ToLower(pattern)
	stars := strings.Count(p, "*")
	switch {
	case p == "*" || p == "/*":
		return Path{'*', ""}, nil
	case stars == 0 && !strings.Contains(p, "["): // "[ab]" is one of these signs, as for Caddy
		return Path{'=', p}, nil
	case stars == 2 && len(p) > 2 && p[0] == '*' && p[len(p)-1] == '*':
		return Path{'~', p[1 : len(p)-1]}, nil
	case stars == 1 && p[0] == '*':
		return Path{'>', p[1:]}, nil
	case stars == 1 && p[len(p)-1] == '*':
		return Path{'<', p[:len(p)-1]}, nil
	}
	if _, err := path.Match(p, "/"); err != nil {
		return Path{}, fmt.Errorf("path %q: %w", pattern, err)
	}
	return Path{'?', p}, nil
}

// Match reports whether the pattern covers p, a decoded and cleaned path in
// lower case.
func (m Path) Match(p string) bool {
	switch m.kind {
	case '=':
		return p == m.text
	case '<':
		return strings.HasPrefix(p, m.text)
	case '>':
		return strings.HasSuffix(p, m.text)
	case '~':
		return strings.Contains(p, m.text)
	case '*':
		return true
	case '?':
		ok, _ := path.Match(m.text, p) // the pattern was checked by ParsePath
		return ok
	}
	return false
}

// Near reports whether p is an address that an application may take for one of
// the pattern's: with a slash at the end, or with something behind it, as in
// /login.json and /login.php/x.
func (m Path) Near(p string) bool {
	if m.Match(p) || m.Match(strings.TrimRight(p, "/")) || m.Match(p+"/") {
		return true
	}
	text := strings.TrimRight(m.text, "/")
	return m.kind == '=' && text != "" && strings.HasPrefix(p, text) && strings.ContainsAny(p[len(text):len(text)+1], "/.;:,")
}

// Near reports whether one of the patterns is near to a cleaned, lower-case path.
func (ps Paths) Near(p string) bool {
	for _, m := range ps {
		if m.Near(p) {
			return true
		}
	}
	return false
}

// Paths are alternatives.
type Paths []Path

// ParsePaths compiles several patterns.
func ParsePaths(patterns []string) (Paths, error) {
	var out Paths
	for _, s := range patterns {
		p, err := ParsePath(s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// Match reports whether one of the patterns covers the cleaned, lower-case path.
func (ps Paths) Match(p string) bool {
	for _, m := range ps {
		if m.Match(p) {
			return true
		}
	}
	return false
}

// Any reports whether one of the patterns covers one of the spellings.
func (ps Paths) Any(spellings []string) bool {
	for _, s := range spellings {
		if ps.Match(strings.ToLower(s)) {
			return true
		}
	}
	return false
}
