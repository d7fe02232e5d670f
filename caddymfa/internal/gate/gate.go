// Package gate decides what every request may do. The table of the design's
// section 3 is Serve, from top to bottom: the order of its rows is the order of
// the checks, and what no row lets through is refused.
package gate

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// Gate is one compiled mfa directive. It is safe for concurrent use.
type Gate struct {
	Flow *flow.Flow
	// Site is what flows need to know; what belongs to a host is filled in.
	Site flow.Gate
	// Hosts are the names that the configuration gives the site, "*." before a
	// domain for all below it: texts name no other (attack D6).
	Hosts []string
	// SharedUsers: users of hosts that Hosts does not name are the same people.
	SharedUsers bool
	// Prefix is the path below which our own routes lie, e.g. /mfa.
	Prefix string
	// Portal serves them.
	Portal func(w http.ResponseWriter, g *flow.Gate, c *flow.Call)
	Pages  *page.Pages
	// API serves the calls of programs below APIPrefix, whose case does not
	// matter. Nil where there are none.
	API       func(w http.ResponseWriter, g *flow.Gate, c *flow.Call)
	APIPrefix string

	Rules        login.Rules
	LoginPage    *LoginPage // nil where no page asks for the first factor
	LoginFlow    []*match.Entry
	Public       []*match.Entry
	PublicAssets bool
	// AssetPaths are where public assets lie. Nil means anywhere.
	AssetPaths match.Paths
	Deny       []*match.Entry
	Logouts    []Logout
	// Session are names of the application's session cookies.
	Session []*regexp.Regexp
	// CredentialQuery are query parameters that stand for a login.
	CredentialQuery []string
	// Bridge adds our script to the application's pages, for logins by fetch and
	// XMLHttpRequest.
	Bridge bool
	// NoStore: a browser keeps none of the pages that it shows to a verified session.
	NoStore bool
	// ChallengeStatus is the HTTP status of a challenge for a program, 403 or 200.
	ChallengeStatus int
	// SecureAlways: the browser sees TLS, whatever the request says.
	SecureAlways bool
	// Origins are foreign origins that may post a login and read what we answer.
	Origins *Origins
	// FirstFactor: Caddy itself identifies users, and there is no login to see.
	FirstFactor bool
	// Spool is the room for long bodies that have to be read before they go on.
	Spool *intake.Spool
	// Prepare is handed to upstream.Own.
	Prepare func(parent, own *http.Request, w http.ResponseWriter) *http.Request

	index  atomic.Pointer[login.Index]
	seen   witness
	doubts doubts
	mu     sync.Mutex // of who adds to sites
	sites  atomic.Pointer[map[string]*flow.Gate]
}

// LoginPage is where an anonymous navigation goes.
type LoginPage struct {
	*match.Entry
	// Path and Query are the address; Next is the parameter that takes the page
	// the visitor wanted, "" for none.
	Path, Query, Next string
}

// Logout is a request that ends a session when its answer fulfils Answer, or
// any below 400 where Answer is nil.
type Logout struct {
	*match.Entry
	Answer match.Lines
}

// Input is what only the server knows of a request.
type Input struct {
	// Method and URL are the original ones, before the site's rewrites. What the
	// gate takes out of the address it takes out of this URL as well.
	Method string
	URL    *url.URL
	// FirstFactor is whom Caddy has identified, "" for nobody.
	FirstFactor string
	// Secure: the client's connection is TLS, as far as trusted proxies say.
	Secure bool
	// Server is told what only the gate knows.
	Server Server
}

// Server is the rest of the route and its log, as far as the gate speaks to them.
type Server interface {
	// Announce says who is there, before the rest of the route runs.
	Announce(level session.Level, user string, verifiedAt time.Time)
	// ClientIP is the client's address behind trusted proxies.
	ClientIP() string
	// NoLog keeps the request out of the access log: its address holds a password.
	NoLog()
}

// rules is the index of the rules, made when it is first needed.
func (g *Gate) rules() *login.Index {
	x := g.index.Load()
	if x == nil {
		x = g.Rules.Index()
		g.index.Store(x)
	}
	return x
}

// maxSites bounds the hosts that a gate remembers; a site for any host would
// otherwise grow with every name that somebody sends.
const maxSites = 256

// site is the gate's configuration for one host.
func (g *Gate) site(host string) *flow.Gate {
	if sites := g.sites.Load(); sites != nil {
		if s := (*sites)[host]; s != nil {
			return s
		}
	}
	fresh := g.Site
	fresh.Host = host
	if slices.ContainsFunc(g.Hosts, func(h string) bool { return HostCovers(h, host) }) {
		fresh.Origin = host
	}
	fresh.Gate.ID = fresh.App + "\x00" + host
	if fresh.Users = fresh.App; !slices.Contains(g.Hosts, host) && !g.SharedUsers {
		// Two tenants of a wildcard site may have users of one name (attack K8).
		fresh.Users = UsersOf(fresh.App, host)
	}
	// Hosts come once and are asked for always: the map is copied, never changed.
	g.mu.Lock()
	defer g.mu.Unlock()
	next := map[string]*flow.Gate{host: &fresh}
	if sites := g.sites.Load(); sites != nil && len(*sites) < maxSites {
		maps.Copy(next, *sites)
	}
	g.sites.Store(&next)
	return next[host]
}

// Serve runs the table. next is the application. What Serve returns besides the
// reason is an error of next, and only for a verified session: an error runs
// the site's error routes, which lie outside the gate. Everything else is
// written here.
func (g *Gate) Serve(w http.ResponseWriter, r *http.Request, in Input, next upstream.Handler) (event.Reason, error) {
	v, reason := g.visit(w, r, in, next)
	defer v.close()
	if reason != "" {
		return reason, nil
	}
	switch {
	case g.denied(v) != nil:
		return g.refuse(v, event.Denied), nil
	case g.preflight(v):
		return event.OK, nil
	case g.own(in.URL.Path) || g.own(r.URL.Path):
		return g.portal(v), nil
	case v.api:
		return g.callAPI(v), nil
	case g.again(v):
		return event.OK, nil
	}
	if reason, err, done := g.identified(v); done {
		return reason, err
	}
	if rules, reason := g.login(v); reason != "" {
		return g.refuse(v, reason), nil
	} else if len(rules) > 0 {
		return g.attempt(v, rules)
	}
	if reason, err, done := g.basic(v); done {
		return reason, err
	}
	if v.call.State == session.Live && v.call.Session.Level == session.Verified {
		return g.verified(v)
	}
	if v.call.State == session.Live && v.call.Session.Level == session.Pending {
		if e := g.public(v); e != nil {
			return g.forwardPublic(v, e), nil
		}
		return g.owed(v), nil
	}
	if e := g.loginFlow(v); e != nil && v.call.State != session.Attempting {
		return g.forwardLoginFlow(v, e), nil
	}
	if e := g.public(v); e != nil {
		return g.forwardPublic(v, e), nil
	}
	return g.closed(v), nil
}

// UsersOf names the users of one host of an application, for operators.
func UsersOf(app, host string) string { return app + "@" + host }

// session reports whether a cookie's name is one of the application's sessions.
func (g *Gate) session(name string) bool {
	return slices.ContainsFunc(g.Session, func(re *regexp.Regexp) bool { return re.MatchString(name) })
}

// HostCovers reports whether a host of the configuration is this one: its name,
// or "*." before a domain for the names right below it.
func HostCovers(pattern, host string) bool {
	i := strings.IndexByte(host, '.')
	return pattern == host || i > 0 && pattern == "*"+host[i:]
}

// own reports whether a path is one of our routes. A strange spelling is not
// ours, and so it is gated.
func (g *Gate) own(path string) bool {
	return path == g.Prefix || strings.HasPrefix(path, g.Prefix) && path[len(g.Prefix)] == '/'
}

// nearAPI reports whether some server could take the path for one of the API's.
func (g *Gate) nearAPI(v *visit) bool {
	return g.API != nil && slices.ContainsFunc(v.target.Spellings, func(s string) bool { return intake.Below(g.APIPrefix, s) })
}

// api reports whether an address is one of the API's. One that could be read in
// two ways is not ours, and so it is gated.
func (g *Gate) api(u *url.URL) bool {
	return g.API != nil && intake.Below(g.APIPrefix, u.Path) && intake.Canonical(u.EscapedPath(), u.Path)
}
