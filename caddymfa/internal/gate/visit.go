package gate

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
	"time"

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

	at     time.Time // when it came, and its session was looked up
	doubts int64     // how many were over by then

	// bearer is what the request's bearer token is worth; handleless: the session
	// was found by it, and the client has no handle. proven: the request's HTTP
	// Basic credential is the one that the session was opened with.
	bearer             bearerState
	handleless, proven bool

	// left is the session that this browser has of somebody else, nil for none.
	left *session.Session

	// carries: the request may carry a password.
	carries bool

	// api: the request is one of the API's.
	api bool

	body   *watched // nil where there is none
	target login.Request
	form   *intake.Form
	unread event.Reason // why the body could not be read, "" where it could or was not
	// unclear is what CheckTarget said before the request was written anew.
	unclear error
	query   url.Values
}

// watched is a body that remembers whether it could be read.
type watched struct {
	io.ReadCloser
	broken, cut atomic.Bool
}

func (b *watched) Read(p []byte) (int, error) {
	if b.cut.Load() {
		return 0, upstream.ErrCut
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.broken.Store(true)
	}
	return n, err
}

// broken reports whether the client's body could not be read to its end: then it
// is not the application that has failed (attack D9).
func (v *visit) broken() bool { return v.body != nil && v.body.broken.Load() }

// checkTarget refuses an address that could be read in two ways as it came.
func (v *visit) checkTarget() error {
	if v.form != nil {
		return v.unclear
	}
	return intake.CheckTarget(v.r)
}

// close gives back what the request took up.
func (v *visit) close() {
	if v.form != nil {
		v.form.Close()
	}
}

// visit reads what every row needs: the host, the path, the session. A reason
// means that the request was refused and answered.
func (g *Gate) visit(w http.ResponseWriter, r *http.Request, in Input, next upstream.Handler) (*visit, event.Reason) {
	v := &visit{w: w, in: in, next: next, at: time.Now(), doubts: g.doubts.over.Load()}
	host, ok := Hostname(r.Host)
	v.site = g.site(host)
	if r.ContentLength != 0 && r.Body != nil {
		// A copy: the server writes what comes behind a body into its own request.
		r = r.WithContext(r.Context())
		v.body = &watched{ReadCloser: r.Body}
		r.Body = v.body
	}
	v.r = r
	v.callAt = flow.Call{
		R: r, URL: in.URL,
		Secure: in.Secure || g.SecureAlways, Navigation: navigation(r), Origin: g.Origins.of(r),
	}
	v.call = &v.callAt
	// A fragment is never sent; servers that cut it see another path (attack C5).
	if !ok || r.URL.Path == "" || r.URL.Path[0] != '/' || strings.Contains(r.RequestURI, "#") {
		return v, g.refuse(v, event.Ambiguous)
	}
	g.clean(v)

	if v.api = g.api(in.URL) || g.api(r.URL); v.api {
		return v, "" // it brings tokens of its own, and no cookie counts
	}
	if g.nearAPI(v) {
		// The contract puts tokens and passwords into these addresses: one that only
		// nearly is the API's goes into no log and to no application (attack K23).
		v.quiet()
		return v, g.refuse(v, event.Ambiguous)
	}
	var err error
	v.call.Session, v.call.State, err = g.Flow.Sessions.Load(r.Context(), &v.site.Gate, r, v.call.Secure)
	if err != nil {
		return v, g.storeDown(v, err)
	}
	g.changedHands(v)
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

// clean takes out of the address what must not reach the application: its
// session's id, which the jar carries (attacks A13, K15), and what stands for a
// login.
func (g *Gate) clean(v *visit) {
	for _, u := range []*url.URL{v.r.URL, v.in.URL} {
		if strings.Contains(u.Path, ";") {
			clean := intake.CutParams(u.EscapedPath(), append([]string{"jsessionid"}, g.CredentialQuery...)...)
			if p, err := url.PathUnescape(clean); err == nil {
				u.Path, u.RawPath = p, clean
			}
		}
		u.RawQuery = intake.DropParams(u.RawQuery, g.CredentialQuery)
	}
	v.target = target(v.r)
}

// restate gives the original address the query that is forwarded: FastCGI hands
// the original one on as REQUEST_URI, and many PHP applications read that.
func (v *visit) restate() {
	if v.in.URL.RawQuery != v.r.URL.RawQuery {
		v.in.URL.RawQuery = v.r.URL.RawQuery
	}
}

// quiet keeps the address, which may hold a password or a token, out of the
// logs: out of the access log, and out of what the proxy says of the request
// where debugging is on.
func (v *visit) quiet() {
	v.in.Server.NoLog()
	v.r.RequestURI, _, _ = strings.Cut(v.r.RequestURI, "?")
}

// changedHands takes the session of another user than the one whom Caddy has
// identified out of the request: somebody else has this browser now.
func (g *Gate) changedHands(v *visit) {
	s := v.call.Session
	if g.FirstFactor && v.call.State == session.Live && s.Level != session.Anonymous && !s.Is(v.in.FirstFactor) {
		v.left = s
		v.call.Session, v.call.State = nil, session.NoHandle
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
		if !e.Shuts(v.r, v.target.Path, v.target.Spellings) {
			continue
		}
		if e.JSON == nil {
			return e
		}
		// A body that we cannot read may hold what is shut.
		if f, reason := g.read(v); reason != "" || f.Kind == intake.Opaque || f.JSONMay(e.JSON.Name, e.JSON.Value) {
			return e
		}
	}
	return nil
}

// Bounds on what is read of a request's body, in bytes.
const (
	readLimit = 1 << 20
	// textLimit is for the forms and JSON texts of verified users, where an
	// application takes a login at any address.
	textLimit = 8 << 20
)

// read reads the request's fields, once, and makes the request one that says
// what was read (architecture, rule 6).
func (g *Gate) read(v *visit) (*intake.Form, event.Reason) {
	if v.form != nil || v.unread != "" {
		return v.form, v.unread
	}
	limits := intake.Limits{Memory: readLimit}
	if v.call.State == session.Live && v.call.Session.Level == session.Verified {
		limits.Spool, limits.Text = g.Spool, textLimit
	}
	v.unclear = intake.CheckTarget(v.r)
	f, err := intake.Read(v.r, limits)
	if err != nil {
		v.unread = event.Ambiguous
		if e, ok := errors.AsType[*intake.Error](err); ok {
			switch e.Status {
			case http.StatusRequestEntityTooLarge:
				v.unread = event.BodyTooLarge
			case http.StatusServiceUnavailable:
				v.unread = event.NoRoom
			}
		}
		return nil, v.unread
	}
	f.Forward(v.r)
	v.restate()
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
		v.quiet() // the address may hold a password (attacks B7, J5)
		return nil, reason
	}
	if len(rules) == 0 {
		return nil, ""
	}
	if v.r.URL.RawQuery != "" {
		v.quiet()
		if v.checkTarget() != nil {
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
	if err := g.Origins.protect.Check(r); err != nil {
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
