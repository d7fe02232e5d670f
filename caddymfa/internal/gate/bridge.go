package gate

import (
	"html"
	"net/http"

	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// bridge prepares a request for a page that gets our script, at every level: a
// form that was loaded by a session that has ended since signs in by it as well.
// nil where none is added.
func (g *Gate) bridge(v *visit) *upstream.Script {
	if !g.Bridge || !v.call.Navigation || v.r.Method != http.MethodGet {
		return nil
	}
	// Not the copy that the browser has without the script, no part, and nothing
	// that would have to be unpacked; a later encode packs it for the client.
	for _, name := range []string{"If-None-Match", "If-Modified-Since", "If-Range", "Range"} {
		delete(v.r.Header, name)
	}
	v.r.Header["Accept-Encoding"] = []string{"identity"}
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
