package jar

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Policy decides which cookies pass between the browser and the application.
// It is safe for concurrent use.
type Policy struct {
	// Session are names of the application's session cookies: never copied to
	// the browser, never taken from it.
	Session []*regexp.Regexp
	// Script are names that pass both ways.
	Script map[string]bool
	// Own is the beginning of the gate's own cookie names, without prefix.
	Own string
}

// maxPairs bounds the browser's cookies that are looked at.
const maxPairs = 100

// Up is the Cookie header for the application: the jar's cookies and those of
// the browser that may pass, no name twice. Before a session is verified only
// the script cookies of the browser pass; afterwards also what the application
// has nothing to do with and what looks like no credential.
func (p *Policy) Up(browser []string, j *Jar, path string, verified bool, now time.Time) string {
	var b strings.Builder
	j.write(&b, path, now)
	if len(browser) == 0 || !verified && len(p.Script) == 0 {
		return b.String()
	}
	var seen []string
	for _, line := range browser {
		for line != "" && len(seen) < maxPairs {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			if !ok || p.own(name) || !wellFormed(name, value) || slices.Contains(seen, name) {
				continue
			}
			seen = append(seen, name)
			if !p.may(name, j, verified) {
				continue
			}
			if b.Len() > 0 {
				b.WriteString("; ")
			}
			b.WriteString(name)
			b.WriteByte('=')
			b.WriteString(value)
		}
	}
	return b.String()
}

// own reports whether a name is one of the gate's, spelt exactly: the usual
// case, and the quick one.
func (p *Policy) own(name string) bool {
	return strings.HasPrefix(strings.TrimPrefix(name, "__Host-"), p.Own)
}

// may decides on one cookie of the browser, under every name that an
// application could read it as.
func (p *Policy) may(name string, j *Jar, verified bool) bool {
	f := fold(name)
	if strings.HasPrefix(f, "__host-"+p.Own) || strings.HasPrefix(f, p.Own) {
		return false
	}
	for _, c := range j.Cookies {
		if c.Name == name || fold(c.Name) == f {
			return false // the jar's own goes up
		}
	}
	if p.isSession(name, f) || slices.ContainsFunc(j.Guarded, func(g string) bool { return fold(g) == f }) {
		return false
	}
	if p.Script[name] {
		return true
	}
	return verified && f == strings.ToLower(name) && !LooksLikeCredential(name)
}

func (p *Policy) isSession(names ...string) bool {
	return slices.ContainsFunc(p.Session, func(re *regexp.Regexp) bool { return slices.ContainsFunc(names, re.MatchString) })
}

// Down reports whether a copy of a cookie that the application sets may reach
// the browser's scripts.
func (p *Policy) Down(s Set) bool { return p.Bare(s.Cookie) }

// Bare reports whether a cookie says nothing of a user and may be in any
// browser's hands: declared for scripts, or a CSRF token, a language, a theme.
func (p *Policy) Bare(c Cookie) bool {
	if p.isSession(c.Name, fold(c.Name)) {
		return false
	}
	return p.Script[c.Name] || !c.HTTPOnly && harmless.MatchString(c.Name) && !LooksLikeCredential(c.Name)
}

// harmless are names of CSRF tokens, languages and themes.
var harmless = regexp.MustCompile(`(?i)(csrf|xsrf|^lang|lang$|language|locale|theme|^cookie_?test|test_?cookie)`)

// csrf are names of CSRF tokens, which look like credentials and are none.
var csrf = regexp.MustCompile(`(?i)(csrf|xsrf)[-_.]?token|token[-_.]?(csrf|xsrf)`)

var credential = []string{"sess", "sid", "auth", "token", "remember", "login", "user", "key", "sso", "pass", "pwd", "hash", "jwt", "uid", "member", "cred", "secret", "ticket"}

// LooksLikeCredential reports whether a name sounds like a login, a session or
// a token. The name of a CSRF token does not count.
func LooksLikeCredential(name string) bool {
	f := csrf.ReplaceAllString(fold(name), "")
	return slices.ContainsFunc(credential, func(s string) bool { return strings.Contains(f, s) })
}

// fold gives a cookie's name as applications fold names: PHP turns '.', ' ' and
// '[' into '_', some decode escapes, some trim Unicode blanks.
func fold(name string) string {
	if plain(name) {
		return strings.ToLower(name)
	}
	if un, err := url.QueryUnescape(name); err == nil {
		name = un
	}
	name = strings.TrimFunc(norm.NFKC.String(name), func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) || unicode.Is(unicode.Cf, c) })
	name = strings.NewReplacer(".", "_", " ", "_", "[", "_").Replace(name)
	return strings.ToLower(name)
}

func plain(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// wellFormed refuses pairs that two servers would read in two ways.
func wellFormed(name, value string) bool {
	if name == "" || name[0] == '$' || len(name)+len(value) > 4096 || !token(name) {
		return false
	}
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return !strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '"' || c == ';' || c == '\\' })
}
