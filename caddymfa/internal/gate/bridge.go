package gate

import (
	"encoding/json"
	"html"
	"net/http"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// adds prepares a request for an answer that gets something of ours: the bridge,
// or the lines of a service worker. nil where nothing is added.
func (g *Gate) adds(v *visit) *upstream.Script {
	worker := v.r.Header.Get("Service-Worker") == "script"
	if v.r.Method != http.MethodGet || !worker && !(g.Bridge && v.call.Navigation) {
		return nil
	}
	// Not the copy that the browser has without it, no part, and nothing that would
	// have to be unpacked; a later encode packs it for the client.
	for _, name := range []string{"If-None-Match", "If-Modified-Since", "If-Range", "Range"} {
		delete(v.r.Header, name)
	}
	v.r.Header["Accept-Encoding"] = []string{"identity"}
	if worker {
		return &upstream.Script{W: v.w, Worker: true, Element: g.worker()}
	}
	return g.bridge(v)
}

// bridge adds our script to a page, at every level: a form that was loaded by a
// session that has ended since signs in by it as well.
func (g *Gate) bridge(v *visit) *upstream.Script {
	return &upstream.Script{W: v.w, Allow: func(h http.Header) string {
		origin := "http://" + v.r.Host
		if v.call.Secure {
			origin = "https://" + v.r.Host
		}
		nonce := upstream.AllowScript(h, origin+g.Prefix+page.BridgeScript, []string{origin + g.Prefix + "/"})
		if nonce != "" {
			nonce = ` nonce="` + nonce + `"`
		}
		prefix := html.EscapeString(g.Prefix)
		return `<script src="` + prefix + page.BridgeScript + `" data-mfa="` + prefix + `"` + nonce + `></script>`
	}}
}

// workerLines keep an application's service worker away from navigations to our
// pages and to the login page, for which many show a page that they have kept: our
// listener is the first, and one that stops the others without an answer leaves the
// request to the network.
const workerLines = `;(() => { const pages = PAGES; self.addEventListener('fetch', (e) => { if (e.request.mode !== 'navigate') return; ` +
	`const path = new URL(e.request.url).pathname; if (pages.includes(path) || path.startsWith(pages[0] + '/')) e.stopImmediatePropagation(); }); })();` + "\n"

func (g *Gate) worker() string {
	pages := []string{g.Prefix}
	if g.LoginPage != nil {
		pages = append(pages, g.LoginPage.Path)
	}
	list, err := json.Marshal(pages)
	if err != nil {
		panic(err) // strings
	}
	return strings.Replace(workerLines, "PAGES", string(list), 1)
}
