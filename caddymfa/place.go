package caddymfa

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// anyHost stands for hosts that only the client knows.
const anyHost = ""

// places finds where the gates of a server stand, and the hosts that lead there.
//
// The Host header of a request is the client's word. An application that were
// named after it would be another one at every name that reaches the site, with
// no enrolment yet: whoever has a password could enrol there (attacks D6, F3).
func places(s *caddyhttp.Server) map[*Handler]spot {
	found := map[*Handler]spot{}
	var walk func(routes caddyhttp.RouteList, at spot, depth int)
	walk = func(routes caddyhttp.RouteList, at spot, depth int) {
		for _, r := range routes {
			within := spot{narrow(at.hosts, r.MatcherSets), at.stripped}
			for _, h := range r.Handlers {
				switch h := h.(type) {
				case *Handler:
					if h.Off {
						continue
					}
					all := found[h]
					for _, host := range within.hosts {
						if !slices.Contains(all.hosts, host) {
							all.hosts = append(all.hosts, host)
						}
					}
					all.stripped = cmp.Or(all.stripped, within.stripped)
					found[h] = all
				case *rewrite.Rewrite:
					if len(r.MatcherSets) == 0 {
						within.stripped = cmp.Or(within.stripped, h.StripPathPrefix)
						at.stripped = within.stripped
					}
				case *caddyhttp.Subroute:
					walk(h.Routes, within, depth)
					if h.Errors != nil {
						walk(h.Errors.Routes, within, depth)
					}
				case *caddyhttp.Invoke:
					// A route may invoke itself; Caddy finds that out when it is asked for.
					if named, ok := s.NamedRoutes[h.Name]; ok && depth < 16 {
						walk(caddyhttp.RouteList{*named}, within, depth+1)
					}
				}
			}
		}
	}
	walk(s.Routes, spot{hosts: []string{anyHost}}, 0)
	if s.Errors != nil {
		walk(s.Errors.Routes, spot{hosts: []string{anyHost}}, 0)
	}
	return found
}

// spot is where a gate stands in its server.
type spot struct {
	// hosts lead there.
	hosts []string
	// stripped is what a handler before it always takes off the path, "" for nothing.
	stripped string
}

// narrow is the hosts that a route's matchers leave of those that lead to it.
func narrow(hosts []string, sets caddyhttp.MatcherSets) []string {
	var own []string
	for _, set := range sets {
		var named caddyhttp.MatchHost
		for _, m := range set {
			switch m := m.(type) {
			case *caddyhttp.MatchHost:
				named = *m
			case caddyhttp.MatchHost:
				named = m
			}
		}
		if named == nil {
			return hosts
		}
		own = append(own, named...)
	}
	if len(own) == 0 {
		return hosts
	}
	repl := caddy.NewReplacer()
	for i, h := range own {
		own[i] = strings.ToLower(repl.ReplaceKnown(h, ""))
	}
	return own
}

// fixed reports whether a host is one name, and not a pattern that a client can
// fill in.
func fixed(host string) bool { return host != anyHost && !strings.ContainsAny(host, "*{") }

// placing is done once: by the first to need it.
type placing struct {
	once sync.Once
	err  error
}

// place tells the gates of all servers which hosts they are for. It is called when
// Caddy starts and, because the servers may start first, by the first request.
func (a *App) place() error {
	a.placing.once.Do(func() {
		servers, err := a.ctx.AppIfConfigured("http")
		if errors.Is(err, caddy.ErrNotConfigured) {
			return
		}
		var apps []string
		if err == nil {
			apps, err = placeAll(servers.(*caddyhttp.App)) //nolint:forcetypeassert // the app of that name
		}
		a.placing.err = err
		a.apps.Store(&apps)
	})
	return a.placing.err
}

// settle tells the gate which hosts it is for.
func (h *Handler) settle(at spot) error {
	if at.stripped != "" {
		// Its pages and redirects would lead browsers to addresses that are not below
		// the prefix, and the login page to itself (people P4).
		return fmt.Errorf("mfa stands behind what takes %[1]s off the path (handle_path, or uri strip_prefix): it has to see the addresses that browsers see. "+
			"Write handle %[1]s/* { route { mfa { ... } uri strip_prefix %[1]s reverse_proxy ... } }, with %[1]s before the paths in the block of mfa, also before its own: path %[1]s/mfa", at.stripped)
	}
	hosts := at.hosts
	if h.gate.Site.App = h.App; h.App == "" {
		if len(hosts) == 0 || !slices.ContainsFunc(hosts, fixed) || slices.ContainsFunc(hosts, func(s string) bool { return !fixed(s) }) {
			return errors.New("app is missing: the site answers to hosts that it does not name, and a client could choose the application's name with its Host header; write app <name> in the block of mfa")
		}
		h.gate.Site.App = hosts[0]
	}
	h.gate.Hosts = slices.DeleteFunc(slices.Clone(hosts), func(s string) bool { return s == anyHost })
	example := ""
	if i := slices.IndexFunc(hosts, fixed); i >= 0 {
		example = hosts[i]
	}
	for _, w := range h.gate.Flow.TextWarnings(h.gate.Site.App, example) {
		h.log.Warn(w, zap.String("app", h.gate.Site.App))
	}
	for _, m := range h.missing() {
		if !m.minor {
			h.log.Warn(m.what, zap.String("app", h.gate.Site.App), zap.String("line", m.line))
		}
	}
	return nil
}

// stand is where a gate stands.
type stand struct {
	*Handler
	server string
	hosts  []string
}

// placeAll places the gates of all servers, and refuses two of them on one host
// that would take each other's sessions. It returns the applications' names.
func placeAll(app *caddyhttp.App) (apps []string, err error) {
	var before []stand
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		for h, at := range places(app.Servers[name]) {
			if err := h.settle(at); err != nil {
				return nil, err
			}
			apps = append(apps, h.gate.Site.App)
			here := stand{h, name, at.hosts}
			for _, other := range before {
				if err := here.beside(other); err != nil {
					return nil, err
				}
			}
			before = append(before, here)
		}
	}
	slices.Sort(apps)
	return slices.Compact(apps), nil
}

// beside sees to it that two gates do not take each other's sessions. Cookies know
// no ports: where two servers share a host their applications' names tell the
// handles apart (people P5).
func (s stand) beside(o stand) error {
	a, b := s.gate, o.gate
	switch {
	case same(s.Handler, o.Handler):
	case s.server == o.server && overlap(s.hosts, o.hosts) && (a.Site.App == b.Site.App || a.Prefix == b.Prefix),
		s.server != o.server && shares(s.hosts, o.hosts) && a.Site.App == b.Site.App && (s.App == "" || o.App == ""):
		return fmt.Errorf("two gates on one host (%s and %s): one would read the other's sessions; give each its own app and its own path", a.Site.App, b.Site.App)
	case s.server != o.server && shares(s.hosts, o.hosts) && a.Site.App != b.Site.App:
		a.Site.Cookie, b.Site.Cookie = session.NewCookie(cookieName(a.Site.App, a.Prefix)), session.NewCookie(cookieName(b.Site.App, b.Prefix))
		if a.Site.Cookie == b.Site.Cookie {
			return fmt.Errorf("two gates on two ports of one host (%s and %s): browsers send the cookies of both to both, and their names are too much alike to tell them apart; give one another app", a.Site.App, b.Site.App)
		}
	}
	return nil
}

// cookieName is what tells a gate's cookie from others on its host.
func cookieName(app, prefix string) string {
	if prefix == defaultPrefix {
		prefix = ""
	}
	return strings.Trim(plain.ReplaceAllString(strings.ToLower(app+prefix), "-"), "-")
}

var plain = regexp.MustCompile(`[^a-z0-9]+`)

// shares reports whether a browser may know gates of two servers by one name.
func shares(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool {
			return x == anyHost || y == anyHost || gate.HostCovers(x, y) || gate.HostCovers(y, x)
		})
	})
}

// overlap reports whether two gates share a host. A site for any host and one
// for a name share none: Caddy asks the nearest.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(host string) bool { return slices.Contains(b, host) })
}

// same reports whether two gates are one, written twice: for the site's routes
// and for its error routes.
func same(a, b *Handler) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
