package gate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// Observe passes a request and its answer untouched and says what the gate would
// have done: no handle, no jar, no text, no header, and no question of ours to
// the application. What next returns is returned as it is.
func (g *Gate) Observe(w http.ResponseWriter, r *http.Request, in Input, next upstream.Handler) error {
	host, _ := Hostname(r.Host)
	site := g.site(host)
	copied, err := copyRequest(r)
	if err != nil {
		return err
	}
	v := &visit{w: w, r: copied, in: in, site: site, call: &flow.Call{R: copied, URL: in.URL, State: session.NoHandle, Navigation: navigation(r)}}
	v.in.Server = silent{}
	d := g.decide(v)

	watch := &upstream.Watch{W: w}
	if len(d.rules) > 0 {
		watch.Keep = int(site.MaxReply)
	}
	err = next.ServeHTTP(watch, r)
	status, head, body := watch.Seen()
	if head == nil {
		return err // an error page will be written outside
	}
	sets := upstream.TakeCookies(head, in.URL.Path, time.Now())
	seen := event.Seen{
		Client: g.client(r, site), Status: status, Navigation: v.call.Navigation, Params: params(in.URL),
		Credentials: r.Header.Get("Authorization") != "",
		NewSession:  slices.ContainsFunc(sets, func(s jar.Set) bool { return !s.Blank && g.session(s.Cookie.Name) }),
	}
	e := event.Event{Name: event.Observed, Reason: d.reason, App: site.App, Seen: &seen}
	if len(d.rules) > 0 {
		e.Rule = d.rules[0].Name
		answer := &match.Answer{Status: status, Header: head, Sets: sets, Jar: &jar.Jar{}}
		if plain, err := upstream.Plain(head, body, site.MaxReply); err == nil {
			answer.Body = plain
		}
		seen.Verdict = d.rules.Guess(r.Context(), answer)
		if seen.Verdict != event.Rejected {
			g.signedIn(r, site, sets, site.Bearer.Given(head, answer.Body))
		}
	} else if hit, err := site.Traps.Any(context.WithoutCancel(r.Context()), &match.Answer{Status: status, Header: head, Sets: sets, Jar: &jar.Jar{}, Trap: true}); hit && err == nil {
		e.Reason = event.TrapHit
	}
	g.Flow.Events(r.Context(), e)
	return err
}

// silent is a server to which nothing is said: the request goes on as it is.
type silent struct{}

func (silent) Announce(session.Level, string, time.Time) {}
func (silent) ClientIP() string                          { return "" }
func (silent) NoLog()                                    {}

// copyRequest is a request that may be read, while the original stays as it
// was: up to readLimit bytes of its body were read and are given back.
func copyRequest(r *http.Request) (*http.Request, error) {
	c := r.Clone(r.Context())
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		c.Body, c.ContentLength = http.NoBody, 0
		return c, nil
	}
	if r.ContentLength > readLimit {
		c.Body = io.NopCloser(bytes.NewReader(nil)) // refused by its length alone
		return c, nil
	}
	head, err := io.ReadAll(io.LimitReader(r.Body, readLimit+1))
	if err != nil {
		return nil, err // the client has hung up
	}
	rest := r.Body
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), rest}
	if len(head) > readLimit {
		c.Body, c.ContentLength = io.NopCloser(bytes.NewReader(nil)), int64(len(head))
		return c, nil
	}
	c.Body, c.ContentLength = io.NopCloser(bytes.NewReader(head)), int64(len(head))
	return c, nil
}

// decision is what the table says of a request whose sender nobody knows.
type decision struct {
	reason event.Reason
	rules  login.Rules
	entry  *match.Entry // which one, where the reason has an entry
}

// decide holds the request against the rows of Serve, for an anonymous client.
func (g *Gate) decide(v *visit) decision {
	if v.r.URL.Path == "" || v.r.URL.Path[0] != '/' {
		return decision{reason: event.Ambiguous}
	}
	g.clean(v)
	switch e := g.denied(v); {
	case e != nil:
		return decision{reason: event.Denied, entry: e}
	case g.own(v.in.URL.Path) || g.own(v.r.URL.Path) || g.api(v.in.URL) || g.api(v.r.URL):
		return decision{reason: event.OwnRoute}
	case g.FirstFactor && v.in.FirstFactor != "" && g.public(v) == nil:
		return decision{reason: event.Pending}
	}
	rules, reason := g.login(v)
	if reason != "" || len(rules) > 0 {
		return decision{reason: cmp.Or(reason, event.IsLogin), rules: rules}
	}
	if rule := g.Rules.Basic(&v.target); rule != nil {
		if cred, err := login.ReadBasic(v.r.Header); err != nil {
			return decision{reason: event.Ambiguous}
		} else if cred != nil && g.public(v) == nil {
			return decision{reason: event.IsLogin, rules: login.Rules{rule}}
		}
	}
	open, kind := g.loginFlow(v), event.IsLoginFlow
	if open == nil {
		open, kind = g.public(v), event.IsPublic
	}
	if open == nil {
		return decision{reason: event.Gated}
	}
	if v.checkTarget() != nil {
		return decision{reason: event.Ambiguous}
	}
	return decision{reason: kind, entry: open.entry}
}

// params are the names of a query's parameters. Their values may be secrets.
func params(u *url.URL) (names []string) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil
	}
	for name := range q {
		if len(name) <= 32 && len(names) < 8 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// witness remembers which of the application's sessions it has seen sign in, by
// hashes and for as long as the process lives.
type witness struct {
	mu    sync.Mutex
	known map[[16]byte]bool
}

// maxKnown bounds what a witness remembers.
const maxKnown = 100_000

func mark(name, value string) (k [16]byte) {
	h := sha256.Sum256([]byte(name + "\x00" + value))
	copy(k[:], h[:])
	return k
}

func (w *witness) add(k [16]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known == nil || len(w.known) >= maxKnown {
		w.known = make(map[[16]byte]bool)
	}
	w.known[k] = true
}

func (w *witness) has(k [16]byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known[k]
}

// client says who sent a request, as far as that can be known without touching
// anything.
func (g *Gate) client(r *http.Request, site *flow.Gate) event.Client {
	who := event.Stranger
	for _, c := range r.Cookies() {
		if !g.session(c.Name) {
			continue
		}
		if g.seen.has(mark(c.Name, c.Value)) {
			return event.SignedIn
		}
		who = event.WithSession
	}
	if token, ok := site.Bearer.Carried(r); site.Bearer.On() && ok && token != "" {
		who = event.WithSession
		if g.seen.has(mark("", token)) {
			return event.SignedIn
		}
	}
	return who
}

// signedIn remembers the sessions of a login: what its answer gave, or what the
// client had where the application keeps its sessions.
func (g *Gate) signedIn(r *http.Request, site *flow.Gate, sets []jar.Set, tokens []string) {
	given := false
	for _, s := range sets {
		if g.session(s.Cookie.Name) && !s.Blank {
			given = true
			g.seen.add(mark(s.Cookie.Name, s.Cookie.Value))
		}
	}
	for _, t := range tokens {
		given = true
		g.seen.add(mark("", t))
	}
	if given {
		return
	}
	for _, c := range r.Cookies() {
		if g.session(c.Name) {
			g.seen.add(mark(c.Name, c.Value))
		}
	}
}
