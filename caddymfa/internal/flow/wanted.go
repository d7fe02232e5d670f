package flow

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// Many applications note in their own session which page somebody wanted before
// signing in. Behind the gate they never hear of it: what was refused is remembered
// in the browser, and taken when the application leads to a default page of its own
// (people P10).

// Lead is where a browser goes that is led to at, a path of this site: to the page
// that was refused to it before, where at is a default page. h, the answer's head,
// takes the note away.
func (g *Gate) Lead(c *Call, h http.Header, at string) string {
	to := g.Cookie.Wanted(c.R, c.Secure)
	if to == "" {
		return at
	}
	g.Cookie.SetWanted(h, "", c.Secure)
	if path, _, _ := strings.Cut(at, "#"); !slices.Contains(g.Home, path) || !intake.Local(to) {
		return at
	}
	return to
}

// LeadReply is Lead for an application's answer that leaves without a code.
func (g *Gate) LeadReply(c *Call, h http.Header, reply *upstream.Reply) {
	to := reply.Header.Get("Location")
	if to == "" || reply.Status < 300 || reply.Status > 399 || !c.Navigation {
		return
	}
	if at, here := g.redirect(c.URL.RequestURI(), to); here {
		if other := g.Lead(c, h, at); other != at {
			reply.Header.Set("Location", other)
		}
	}
}
