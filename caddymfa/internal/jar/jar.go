// Package jar keeps an application's cookies on our side, as a browser would
// (RFC 6265bis), and decides which cookies pass between the browser and the
// application. It is pure.
package jar

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of one jar. Browsers keep at least 50 cookies of a site, of 4,096 bytes
// each (RFC 6265bis 6.1), and the usual ones 150 and more. Beyond the bounds the
// oldest go, as they do there.
const (
	MaxCookies = 150
	MaxBytes   = 50 * 4096 // names, values and paths together
	// VisitorBytes is the bound for who has not signed in: the room that strangers
	// take up is shared by all.
	VisitorBytes = 16 << 10
)

// Cookie is one cookie of the application. Host and scheme are the gate's.
type Cookie struct {
	Name     string    `json:"n"`
	Value    string    `json:"v"`
	Path     string    `json:"p"`
	Expires  time.Time `json:"e,omitzero"` // zero: until the session ends
	HTTPOnly bool      `json:"h,omitempty"`
}

func (c Cookie) live(now time.Time) bool { return c.Expires.IsZero() || now.Before(c.Expires) }

// covers is the path match of RFC 6265bis 5.1.4.
func (c Cookie) covers(path string) bool {
	return path == c.Path ||
		strings.HasPrefix(path, c.Path) && (strings.HasSuffix(c.Path, "/") || path[len(c.Path)] == '/')
}

// Jar is a set of cookies, one for each name and path. It is a value: Apply and
// Merge make new ones, because a loaded session is shared between requests.
type Jar struct {
	Cookies []Cookie `json:"c,omitempty"`
	// Guarded are names that the application once set HttpOnly and has since
	// taken away: the browser cannot bring them back.
	Guarded []string `json:"g,omitempty"`
}

// Header is the Cookie header for a request of path, as the browser sees the
// path: one pair for each name, the longest path wins. "" for no cookies.
func (j *Jar) Header(path string, now time.Time) string {
	var b strings.Builder
	j.write(&b, path, now)
	return b.String()
}

func (j *Jar) write(b *strings.Builder, path string, now time.Time) {
	for i := range j.Cookies {
		c := &j.Cookies[i]
		if !c.live(now) || !c.covers(path) || j.shadowed(c, path, now) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		} else {
			b.Grow(j.size())
		}
		b.WriteString(c.Name)
		b.WriteByte('=')
		b.WriteString(c.Value)
	}
}

// size is the length of a Cookie header with all of the jar's cookies.
func (j *Jar) size() (n int) {
	for i := range j.Cookies {
		n += len(j.Cookies[i].Name) + len("=; ") + len(j.Cookies[i].Value)
	}
	return n
}

// shadowed reports whether another cookie of the same name is meant for the
// path more closely.
func (j *Jar) shadowed(c *Cookie, path string, now time.Time) bool {
	for i := range j.Cookies {
		o := &j.Cookies[i]
		if o != c && o.Name == c.Name && len(o.Path) > len(c.Path) && o.live(now) && o.covers(path) {
			return true
		}
	}
	return false
}

// Has reports whether the jar holds a cookie of this name, whatever its path.
func (j *Jar) Has(name string) bool {
	return slices.ContainsFunc(j.Cookies, func(c Cookie) bool { return c.Name == name })
}

// Holds reports whether the jar holds a cookie of this very name and value.
func (j *Jar) Holds(c Cookie) bool {
	return slices.ContainsFunc(j.Cookies, func(h Cookie) bool { return h.Name == c.Name && h.Value == c.Value })
}

// Keep returns the jar with those cookies only that keep accepts.
func (j Jar) Keep(keep func(Cookie) bool) Jar {
	var out Jar
	for _, c := range j.Cookies {
		if keep(c) {
			out.Cookies = append(out.Cookies, c)
		}
	}
	return out
}

// Change is one cookie that an Apply changed.
type Change struct {
	Name, Path string
	Deleted    bool
	// Evicted: there was no room for it any more.
	Evicted bool
}

// Apply returns the jar after an answer's cookies; of the same name and path
// the last wins. Without changes there is nothing to write.
func (j Jar) Apply(sets []Set, now time.Time) (Jar, []Change) {
	next := Jar{Cookies: slices.DeleteFunc(slices.Clone(j.Cookies), func(c Cookie) bool { return !c.live(now) }), Guarded: j.Guarded}
	var changes []Change
	for _, s := range sets {
		i := slices.IndexFunc(next.Cookies, func(c Cookie) bool { return c.Name == s.Cookie.Name && c.Path == s.Cookie.Path })
		switch {
		case s.Delete && i >= 0:
			if next.Cookies[i].HTTPOnly {
				next.guard(s.Cookie.Name)
			}
			next.Cookies = slices.Delete(next.Cookies, i, i+1)
			changes = append(changes, Change{Name: s.Cookie.Name, Path: s.Cookie.Path, Deleted: true})
		case s.Delete:
		case i >= 0 && next.Cookies[i].same(s.Cookie):
			next.Cookies[i].Expires = s.Cookie.Expires // a moved expiry alone is not worth a write
		case i >= 0:
			next.Cookies[i] = s.Cookie
			changes = append(changes, Change{Name: s.Cookie.Name, Path: s.Cookie.Path})
		default:
			next.Cookies = append(next.Cookies, s.Cookie)
			changes = append(changes, Change{Name: s.Cookie.Name, Path: s.Cookie.Path})
		}
	}
	next, evicted := next.Bound(MaxBytes)
	return next, append(changes, evicted...)
}

// Bound returns the jar with its newest cookies only, as many as go into so many
// bytes, and what there was no room for.
func (j Jar) Bound(bytes int) (Jar, []Change) {
	first, room := len(j.Cookies), bytes
	for first > 0 && len(j.Cookies)-first < MaxCookies {
		c := &j.Cookies[first-1]
		if room -= len(c.Name) + len(c.Value) + len(c.Path); room < 0 {
			break
		}
		first--
	}
	var evicted []Change
	for _, c := range j.Cookies[:first] {
		evicted = append(evicted, Change{Name: c.Name, Path: c.Path, Deleted: true, Evicted: true})
	}
	j.Cookies = j.Cookies[first:]
	return j, evicted
}

// same reports whether writing the cookie again would change nothing that
// matters: the expiry matters when it moves by more than a quarter of an hour.
func (c Cookie) same(o Cookie) bool {
	moved := o.Expires.Sub(c.Expires).Abs()
	return c.Value == o.Value && c.HTTPOnly == o.HTTPOnly && c.Expires.IsZero() == o.Expires.IsZero() && moved < 15*time.Minute
}

func (j *Jar) guard(name string) {
	if !slices.Contains(j.Guarded, name) && len(j.Guarded) < MaxCookies {
		j.Guarded = append(slices.Clone(j.Guarded), name)
	}
}

// Merge applies to theirs what ours changed against base, cookie by cookie:
// two answers at once do not undo each other.
func Merge(base, ours, theirs Jar) Jar {
	out := Jar{Cookies: slices.Clone(theirs.Cookies), Guarded: slices.Clone(theirs.Guarded)}
	find := func(j *Jar, c Cookie) int {
		return slices.IndexFunc(j.Cookies, func(o Cookie) bool { return o.Name == c.Name && o.Path == c.Path })
	}
	for _, c := range ours.Cookies {
		if i := find(&base, c); i >= 0 && base.Cookies[i] == c {
			continue
		}
		if i := find(&out, c); i >= 0 {
			out.Cookies[i] = c
		} else {
			out.Cookies = append(out.Cookies, c)
		}
	}
	for _, c := range base.Cookies {
		if find(&ours, c) < 0 {
			if i := find(&out, c); i >= 0 {
				out.Cookies = slices.Delete(out.Cookies, i, i+1)
			}
		}
	}
	for _, name := range ours.Guarded {
		out.guard(name)
	}
	out, _ = out.Bound(MaxBytes)
	return out
}

// Set is one Set-Cookie line, read.
type Set struct {
	Cookie
	// Delete: the line takes the cookie away.
	Delete bool
	// Blank: the value is one that applications write to log somebody out
	// ("", "deleted", blanks), or the line deletes.
	Blank bool

	line string
}

// Line is the Set-Cookie line for a copy that the browser's scripts may have.
func (s Set) Line() string { return s.line }

// maxLine bounds a Set-Cookie line (RFC 6265bis 5.6: name and value at most 4096).
const maxLine = 8 << 10

// Parse reads a Set-Cookie line of an answer to a request of path, as browsers
// do (RFC 6265bis 5.6 and 5.7). Domain is left out: the gate is one host.
func Parse(line, path string, now time.Time) (Set, bool) {
	if len(line) > maxLine || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
		return Set{}, false
	}
	pair, attrs, _ := strings.Cut(line, ";")
	name, value, ok := strings.Cut(pair, "=")
	name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
	if !ok || name == "" || len(name)+len(value) > 4096 || !token(name) {
		return Set{}, false
	}
	s := Set{Cookie: Cookie{Name: name, Value: value, Path: defaultPath(path)}, line: line}
	var maxAge, expires *time.Time
	for attr := range strings.SplitSeq(attrs, ";") {
		k, v, _ := strings.Cut(attr, "=")
		k, v = strings.ToLower(strings.Trim(k, " \t")), strings.Trim(v, " \t")
		switch k {
		case "path":
			s.Path = defaultPath(path)
			if strings.HasPrefix(v, "/") {
				s.Path = v
			}
		case "httponly":
			s.HTTPOnly = true
		case "max-age":
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				t := now.Add(time.Duration(min(max(n, -1), 400*24*3600)) * time.Second)
				maxAge = &t
			}
		case "expires":
			if t, ok := date(v); ok {
				expires = &t
			}
		}
	}
	switch { // Max-Age has precedence over Expires
	case maxAge != nil:
		s.Expires = *maxAge
	case expires != nil:
		s.Expires = *expires
	}
	s.Delete = !s.Expires.IsZero() && !now.Before(s.Expires)
	plain := strings.Trim(strings.ReplaceAll(strings.Trim(value, `"`), "%20", " "), " +")
	s.Blank = s.Delete || plain == "" || strings.EqualFold(plain, "deleted") || strings.EqualFold(plain, "deleteme")
	return s, true
}

// date reads the date of an Expires attribute in the forms that servers write.
func date(v string) (time.Time, bool) {
	for _, form := range []string{
		http.TimeFormat, time.RFC1123, "Mon, 02-Jan-2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04:05 MST",
		"Monday, 02-Jan-06 15:04:05 MST", time.ANSIC, "Mon, 02-Jan-06 15:04:05 MST", "Mon, 2-Jan-2006 15:04:05 MST",
	} {
		if t, err := time.Parse(form, v); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// defaultPath is RFC 6265bis 5.1.4: the directory of the request's path.
func defaultPath(path string) string {
	if !strings.HasPrefix(path, "/") {
		return "/"
	}
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// token: names are sent back to the application in one header with others, and
// must not be able to begin another pair.
func token(name string) bool {
	return !strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c == 0x7f || c == ';' || c == ',' || c == '"' || c == '=' })
}
