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
			sets, handlers := read(r)
			within := spot{narrow(at.hosts, sets), at.stripped}
			for _, h := range handlers {
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
					if len(sets) == 0 {
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

// read is what places asks of a route: of one that is not loaded yet, in its JSON.
func read(r caddyhttp.Route) (sets caddyhttp.MatcherSets, handlers []any) {
	sets = r.MatcherSets
	for _, raw := range r.MatcherSetsRaw {
		var named caddyhttp.MatchHost
		if text, ok := raw["host"]; !ok || json.Unmarshal(text, &named) != nil {
			sets = append(sets, caddyhttp.MatcherSet{})
			continue
		}
		sets = append(sets, caddyhttp.MatcherSet{named})
	}
	for _, raw := range r.HandlersRaw {
		var of struct {
			Handler string `json:"handler"`
		}
		if json.Unmarshal(raw, &of) != nil {
			continue // loading it will say what is wrong
		}
		h := map[string]any{"mfa": new(Handler), "rewrite": new(rewrite.Rewrite), "subroute": new(caddyhttp.Subroute), "invoke": new(caddyhttp.Invoke)}[of.Handler]
		if h != nil && json.Unmarshal(raw, h) == nil {
			handlers = append(handlers, h)
		}
	}
	if len(r.HandlersRaw) == 0 {
		for _, h := range r.Handlers {
			handlers = append(handlers, h)
		}
	}
	return sets, handlers
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
	// planned: the places were looked at while the configuration was loaded.
	planned bool
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

// named is the application's name at the gate's place, which is refused where it
// cannot work.
func (h *Handler) named(at spot) (string, error) {
	if at.stripped != "" {
		// Its pages and redirects would lead browsers to addresses that are not below
		// the prefix, and the login page to itself (people P4).
		return "", fmt.Errorf("mfa stands behind what takes %[1]s off the path (handle_path, or uri strip_prefix): it has to see the addresses that browsers see. "+
			"Write handle %[1]s/* { route { mfa { ... } uri strip_prefix %[1]s reverse_proxy ... } }, with %[1]s before the paths in the block of mfa, also before its own: path %[1]s/mfa", at.stripped)
	}
	if h.App != "" {
		return h.App, nil
	}
	if len(at.hosts) == 0 || slices.ContainsFunc(at.hosts, func(s string) bool { return !fixed(s) }) {
		return "", errors.New("app is missing: the site answers to hosts that it does not name, and a client could choose the application's name with its Host header; write app <name> in the block of mfa")
	}
	return at.hosts[0], nil
}

// settle tells the gate which hosts it is for.
func (h *Handler) settle(at spot) (err error) {
	if h.gate.Site.App, err = h.named(at); err != nil {
		return err
	}
	h.gate.Hosts = slices.DeleteFunc(slices.Clone(at.hosts), func(s string) bool { return s == anyHost })
	example := ""
	if i := slices.IndexFunc(at.hosts, fixed); i >= 0 {
		example = at.hosts[i]
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

// stand is where a gate stands, and what its application is called there.
type stand struct {
	*Handler
	server, app string
	at          spot
}

// plan finds where the gates of all servers stand, and refuses two of them on one
// host that would take each other's sessions. Nothing needs to be loaded yet.
func plan(app *caddyhttp.App) (all []stand, err error) {
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		where := "the server on " + strings.Join(app.Servers[name].Listen, " ")
		for h, at := range places(app.Servers[name]) {
			here := stand{Handler: h, server: name, at: at}
			if here.app, err = h.named(at); err != nil {
				return nil, fmt.Errorf("%s: %w", where, err)
			}
			for _, other := range all {
				if err := here.beside(other); err != nil {
					return nil, fmt.Errorf("%s: %w", where, err)
				}
			}
			all = append(all, here)
		}
	}
	return all, nil
}

// planned refuses what could not be started, once, when the first gate of a
// configuration is loaded: so "caddy validate" and a reload say it as well (people
// P17). Caddy loads the http app's parts one by one and asks nobody at the end, so
// what is not loaded yet is read in its JSON.
func (a *App) planned(ctx caddy.Context) error {
	for _, m := range ctx.Modules() {
		if servers, ok := m.(*caddyhttp.App); ok && !a.placing.planned {
			a.placing.planned = true
			_, err := plan(servers)
			return err
		}
	}
	return nil
}

// placeAll places the gates of all servers. It returns the applications' names.
func placeAll(app *caddyhttp.App) (apps []string, err error) {
	all, err := plan(app)
	if err != nil {
		return nil, err
	}
	for i, s := range all {
		if err := s.settle(s.at); err != nil {
			return nil, err
		}
		apps = append(apps, s.app)
		for _, o := range all[:i] {
			if s.apart(o) {
				s.gate.Site.Cookie, o.gate.Site.Cookie = s.cookie(), o.cookie()
			}
		}
	}
	slices.Sort(apps)
	return slices.Compact(apps), nil
}

// prefix is that of the gate's own routes.
func (s stand) prefix() string { return cmp.Or(s.Path, defaultPrefix) }

// cookie is the gate's where another gate has the same host.
func (s stand) cookie() session.Cookie { return session.NewCookie(cookieName(s.app, s.prefix())) }

// apart reports whether two gates need cookies of their own. Cookies know no ports:
// where two servers share a host their applications' names tell the handles apart
// (people P5).
func (s stand) apart(o stand) bool {
	return !same(s.Handler, o.Handler) && s.server != o.server && shares(s.at.hosts, o.at.hosts) && s.app != o.app
}

// beside sees to it that two gates do not take each other's sessions.
func (s stand) beside(o stand) error {
	switch {
	case same(s.Handler, o.Handler):
	case s.server == o.server && overlap(s.at.hosts, o.at.hosts) && (s.app == o.app || s.prefix() == o.prefix()),
		s.server != o.server && shares(s.at.hosts, o.at.hosts) && s.app == o.app && (s.App == "" || o.App == ""):
		return fmt.Errorf("two gates on one host (%s and %s): one would read the other's sessions; give each its own app and its own path", s.app, o.app)
	case s.apart(o) && s.cookie() == o.cookie():
		return fmt.Errorf("two gates on two ports of one host (%s and %s): browsers send the cookies of both to both, and their names are too much alike to tell them apart; give one another app", s.app, o.app)
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
