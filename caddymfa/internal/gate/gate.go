// Package gate decides what every request may do. The table of the design's
// section 3 is Serve, from top to bottom: the order of its rows is the order of
// the checks, and what no row lets through is refused.
package gate

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// Gate is one compiled mfa directive. It is safe for concurrent use.
type Gate struct {
	Flow *flow.Flow
	// Site is what flows need to know; App and Host are filled in per host.
	Site flow.Gate
	// Prefix is the path below which our own routes lie, e.g. /mfa.
	Prefix string
	// Portal serves them.
	Portal func(w http.ResponseWriter, g *flow.Gate, c *flow.Call)
	Pages  *page.Pages

	Rules        login.Rules
	LoginPage    *LoginPage
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
	// SecureAlways: the browser sees TLS, whatever the request says.
	SecureAlways bool
	// Origins are foreign origins that may post a login.
	Origins *http.CrossOriginProtection
	// Prepare is handed to upstream.Own.
	Prepare func(parent, own *http.Request, w http.ResponseWriter) *http.Request

	mu    sync.RWMutex
	sites map[string]*flow.Gate
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
	// Method and URL are the original ones, before the site's rewrites.
	Method string
	URL    *url.URL
	// ClientIP is the client's address behind trusted proxies.
	ClientIP string
	// Secure: the client's connection is TLS, as far as trusted proxies say.
	Secure bool
	// Announce tells the rest of the route who is there, before it runs.
	Announce func(level session.Level, user string, verifiedAt time.Time)
	// NoLog keeps the request out of the access log: its address holds a password.
	NoLog func()
}

// maxSites bounds the hosts that a gate remembers; a site for any host would
// otherwise grow with every name that somebody sends.
const maxSites = 256

// site is the gate's configuration for one host.
func (g *Gate) site(host string) *flow.Gate {
	g.mu.RLock()
	s := g.sites[host]
	g.mu.RUnlock()
	if s != nil {
		return s
	}
	fresh := g.Site
	fresh.Host = host
	if fresh.App == "" {
		fresh.App = host
	}
	fresh.Gate.ID = fresh.App + "\x00" + host
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sites == nil || len(g.sites) >= maxSites {
		g.sites = make(map[string]*flow.Gate)
	}
	g.sites[host] = &fresh
	return &fresh
}

// Serve runs the table. next is the application. What Serve returns besides the
// reason is an error of next, and only for a verified session: an error runs
// the site's error routes, which lie outside the gate. Everything else is
// written here.
func (g *Gate) Serve(w http.ResponseWriter, r *http.Request, in Input, next upstream.Handler) (event.Reason, error) {
	v, reason := g.visit(w, r, in, next)
	if reason != "" {
		return reason, nil
	}
	switch {
	case g.denied(v):
		return g.refuse(v, event.Denied), nil
	case g.own(in.URL.Path) || g.own(r.URL.Path):
		return g.portal(v), nil
	}
	if rules, reason := g.login(v); reason != "" {
		return g.refuse(v, reason), nil
	} else if len(rules) > 0 {
		return g.attempt(v, rules), nil
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

// own reports whether a path is one of our routes. A strange spelling is not
// ours, and so it is gated.
func (g *Gate) own(path string) bool {
	return path == g.Prefix || strings.HasPrefix(path, g.Prefix) && path[len(g.Prefix)] == '/'
}
