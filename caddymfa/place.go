package caddymfa

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// anyHost stands for hosts that only the client knows.
const anyHost = ""

// places finds where the gates of a server stand, and the hosts that lead there.
//
// The Host header of a request is the client's word. An application that were
// named after it would be another one at every name that reaches the site, with
// no enrolment yet: whoever has a password could enrol there (attacks D6, F3).
func places(s *caddyhttp.Server) map[*Handler][]string {
	found := map[*Handler][]string{}
	var walk func(routes caddyhttp.RouteList, hosts []string, depth int)
	walk = func(routes caddyhttp.RouteList, hosts []string, depth int) {
		for _, r := range routes {
			within := narrow(hosts, r.MatcherSets)
			for _, h := range r.Handlers {
				switch h := h.(type) {
				case *Handler:
					for _, host := range within {
						if !slices.Contains(found[h], host) {
							found[h] = append(found[h], host)
						}
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
	walk(s.Routes, []string{anyHost}, 0)
	if s.Errors != nil {
		walk(s.Errors.Routes, []string{anyHost}, 0)
	}
	return found
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

// place tells the gate which hosts it is for. It is called when Caddy starts
// and, because the servers may start first, by the first request.
func (h *Handler) place(s *caddyhttp.Server) error {
	if done := h.placed.Load(); done != nil {
		return done.err
	}
	h.placing.Lock()
	defer h.placing.Unlock()
	if done := h.placed.Load(); done != nil {
		return done.err
	}
	var hosts []string
	if s != nil {
		hosts = places(s)[h]
	}
	done := &placed{h.settle(hosts)}
	h.placed.Store(done)
	return done.err
}

// placed says that a gate was told its hosts, and what came of it.
type placed struct{ err error }

func (h *Handler) settle(hosts []string) error {
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

// placeAll places the gates of all servers, and refuses two of them on one host
// that would take each other's sessions. It returns the applications' names.
func placeAll(app *caddyhttp.App) (apps []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		s := app.Servers[name]
		found := places(s)
		var before []*Handler
		for h, hosts := range found {
			if err := h.place(s); err != nil {
				return nil, err
			}
			apps = append(apps, h.gate.Site.App)
			for _, o := range before {
				if !overlap(hosts, found[o]) || same(h, o) {
					continue
				}
				if h.gate.Site.App == o.gate.Site.App || h.gate.Prefix == o.gate.Prefix {
					return nil, fmt.Errorf("two gates on one host (%s and %s): one would read the other's sessions; give each its own app and its own path", h.gate.Site.App, o.gate.Site.App)
				}
			}
			before = append(before, h)
		}
	}
	slices.Sort(apps)
	return slices.Compact(apps), nil
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
