package gate

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// visit is one request on its way through the table.
type visit struct {
	w    http.ResponseWriter
	r    *http.Request
	in   Input
	next upstream.Handler
	site *flow.Gate
	call *flow.Call
	// What the visit points to lies in it: one allocation for a request, not four.
	callAt flow.Call
	headAt head
	tapAt  upstream.Tap

	// bearer is what the request's bearer token is worth; handleless: the session
	// was found by it, and the client has no handle. proven: the request's HTTP
	// Basic credential is the one that the session was opened with.
	bearer             bearerState
	handleless, proven bool

	// api: the request is one of the API's.
	api bool

	target login.Request
	form   *intake.Form
	query  url.Values
}

// visit reads what every row needs: the host, the path, the session. A reason
// means that the request was refused and answered.
func (g *Gate) visit(w http.ResponseWriter, r *http.Request, in Input, next upstream.Handler) (*visit, event.Reason) {
	v := &visit{w: w, r: r, in: in, next: next}
	host, ok := Hostname(r.Host)
	v.site = g.site(host)
	v.callAt = flow.Call{
		R: r, URL: in.URL,
		Secure: in.Secure || g.SecureAlways, Navigation: navigation(r),
	}
	v.call = &v.callAt
	// A fragment is never sent; servers that cut it see another path (attack C5).
	if !ok || r.URL.Path == "" || r.URL.Path[0] != '/' || strings.Contains(r.RequestURI, "#") {
		return v, g.refuse(v, event.Ambiguous)
	}
	cutSessionID(r.URL)
	v.target = target(r)
	dropQuery(r.URL, g.CredentialQuery)

	if v.api = g.api(in.URL) || g.api(r.URL); v.api {
		return v, "" // it brings tokens of its own, and no cookie counts
	}
	var err error
	v.call.Session, v.call.State, err = g.Flow.Sessions.Load(r.Context(), &v.site.Gate, r, v.call.Secure)
	if err != nil {
		return v, g.storeDown(v, err)
	}
	if g.FirstFactor && v.call.State == session.Live && v.call.Session.Level != session.Anonymous && v.call.Session.User != in.FirstFactor {
		v.call.Session, v.call.State = nil, session.NoHandle // somebody else has this browser now
	}
	if done, reason := g.accessToken(v); reason != "" {
		return v, reason
	} else if !done && v.site.Bearer.On() {
		if reason := g.bearer(v); reason != "" {
			return v, reason
		}
	}
	if v.call.State == session.Unknown && v.call.Navigation {
		g.Flow.Sessions.ClearHandle(w.Header(), &v.site.Gate, v.call.Secure)
	}
	return v, ""
}

// asking gives a call what an attempt needs: the way to ask the application.
func (g *Gate) asking(v *visit) *flow.Call {
	v.call.ClientIP = v.in.Server.ClientIP()
	v.call.Next = &upstream.Own{Next: v.next, Prepare: g.Prepare, Limit: v.site.MaxReply}
	return v.call
}

// Hostname is the site's name as browsers know it: lower case, no port, no
// trailing dot (attacks C2, C10).
func Hostname(host string) (string, bool) {
	name := host
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		name = name[:i]
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	ok := name != "" && len(name) <= 255 && !strings.ContainsFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == ':' || c == '[' || c == ']')
	})
	return name, ok
}

// navigation reports whether a person will see the answer as a page.
func navigation(r *http.Request) bool {
	// The names are canonical: no need to look for another spelling every time.
	if mode := r.Header["Sec-Fetch-Mode"]; len(mode) > 0 && mode[0] != "" {
		return mode[0] == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html") && r.Header.Get("X-Requested-With") == ""
}

// cutSessionID takes a trailing ;jsessionid=… out of the path: the jar carries
// the session's id (attack A13).
func cutSessionID(u *url.URL) {
	if !strings.Contains(u.Path, ";") {
		return
	}
	clean, _ := intake.CutSession(u.EscapedPath())
	if p, err := url.PathUnescape(clean); err == nil {
		u.Path, u.RawPath = p, clean
	}
}

// target reads the path in all its spellings. Ordinary paths, and those are
// nearly all, have one.
func target(r *http.Request) login.Request {
	t := login.Request{Request: r, Canonical: true, Path: strings.ToLower(r.URL.Path)}
	if plain(r.URL.Path) && r.URL.RawPath == "" {
		return t
	}
	t.Canonical = intake.Canonical(r.URL.EscapedPath(), r.URL.Path)
	t.Spellings = intake.Spellings(r.URL.EscapedPath())
	clean := path.Clean(t.Path)
	if strings.HasSuffix(t.Path, "/") && clean != "/" {
		clean += "/"
	}
	t.Path = clean
	return t
}

// plain reports whether a path has one spelling only: letters, digits and a
// few signs, no empty and no dot segments.
func plain(p string) bool {
	for i := range len(p) {
		switch c := p[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '~':
		case c == '.':
			if i == 0 || p[i-1] == '/' || i+1 == len(p) || p[i+1] == '/' {
				return false
			}
		case c == '/':
			if i > 0 && p[i-1] == '/' {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// dropQuery takes query parameters away that stand for a login.
func dropQuery(u *url.URL, names []string) {
	if len(names) == 0 || u.RawQuery == "" {
		return
	}
	var kept []string
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		drop := false
		for _, c := range names {
			drop = drop || intake.Fold(name) == intake.Fold(c)
		}
		if !drop {
			kept = append(kept, pair)
		}
	}
	u.RawQuery = strings.Join(kept, "&")
}

// params is the query, parsed once. A query that cannot be parsed has none of
// the parameters that entries ask for.
func (v *visit) params() url.Values {
	if v.query == nil {
		q, err := url.ParseQuery(v.r.URL.RawQuery)
		if err != nil {
			q = url.Values{}
		}
		v.query = q
	}
	return v.query
}

// denied finds an entry that shuts this request for everybody.
func (g *Gate) denied(v *visit) *match.Entry {
	for _, e := range g.Deny {
		if !e.Method(v.r.Method) || !e.Path(v.target.Path) && !e.Spelt(v.target.Spellings) {
			continue
		}
		if !e.Loose(v.r, v.params(), intake.Fold) {
			continue
		}
		if e.JSON == nil {
			return e
		}
		// A body that we cannot read may hold what is shut.
		if f, reason := g.read(v); reason != "" || f.Kind == intake.Opaque || jsonIs(f, e.JSON) {
			return e
		}
	}
	return nil
}

func jsonIs(f *intake.Form, want *match.Pair) bool {
	switch f.JSONState(want.Name) {
	case intake.Absent:
		return false
	case intake.Ambiguous:
		return true
	case intake.Exact:
	}
	text, ok := f.JSONText(want.Name)
	return want.Value == "" || ok && text == want.Value
}

// Bounds on what is read of a request's body, in bytes.
const (
	readLimit  = 1 << 20
	spoolLimit = 512 << 20 // a verified user's upload to an application with an any_path login
)

// read reads the request's fields, once.
func (g *Gate) read(v *visit) (*intake.Form, event.Reason) {
	if v.form != nil {
		return v.form, ""
	}
	limits := intake.Limits{Memory: readLimit}
	if v.call.State == session.Live && v.call.Session.Level == session.Verified {
		limits.Spool = spoolLimit
	}
	f, err := intake.Read(v.r, limits)
	if err != nil {
		return nil, event.Ambiguous
	}
	v.form = f
	return f, ""
}

// login finds the rules that the request is a login of.
func (g *Gate) login(v *visit) (login.Rules, event.Reason) {
	if !g.rules().Covers(&v.target) || !g.Rules.Candidate(&v.target) {
		return nil, ""
	}
	f, reason := g.read(v)
	if reason != "" {
		return nil, reason
	}
	rules, reason := g.Rules.Match(&v.target, f)
	if reason != "" {
		v.in.Server.NoLog() // the address may hold a password (attacks B7, J5)
		return nil, reason
	}
	if len(rules) == 0 {
		return nil, ""
	}
	if v.r.URL.RawQuery != "" {
		v.in.Server.NoLog()
		if err := intake.CheckTarget(v.r); err != nil {
			return nil, event.Ambiguous
		}
	}
	if g.crossSite(v.r) {
		return nil, event.CrossSite
	}
	return rules, ""
}

// crossSite reports whether another site's page sent the request: somebody
// would be logged in as somebody else (attack J17).
func (g *Gate) crossSite(r *http.Request) bool {
	if err := g.Origins.Check(r); err != nil {
		return true
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	// Check passes safe methods; a login by GET is none.
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return true
}
