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

// lead is where a browser goes that is led to at, a path of this site: to the page
// that was refused to it before, where at is a default page.
func (g *Gate) lead(c *Call, at string) string {
	to := g.Cookie.Wanted(c.R, c.Secure)
	if path, _, _ := strings.Cut(at, "#"); to == "" || !slices.Contains(g.Home, path) || !intake.Local(to) {
		return at
	}
	return to
}

// Led takes the note of that page away, in the head of the answer that leads on.
func (g *Gate) Led(c *Call, h http.Header) {
	if g.Cookie.Wanted(c.R, c.Secure) != "" {
		g.Cookie.SetWanted(h, "", c.Secure)
	}
}

// LeadReply does both for an application's answer that leaves without a code.
func (g *Gate) LeadReply(c *Call, h http.Header, reply *upstream.Reply) {
	to := reply.Header.Get("Location")
	if to == "" || reply.Status < 300 || reply.Status > 399 || !c.Navigation {
		return
	}
	if at, here := g.redirect(c.URL.RequestURI(), to); here {
		if other := g.lead(c, at); other != at {
			reply.Header.Set("Location", other)
		}
		g.Led(c, h)
	}
}
