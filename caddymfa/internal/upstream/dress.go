package upstream

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
)

// Dress prepares the head of a request for the application, in place. cookies
// is the whole Cookie header that it gets, "" for none.
//
// What a client may not tell is removed, see [intake.Strip], and so is what it
// could use to take headers away on the next hop (attack D3). An upgrade passes
// only to WebSocket, and only where the caller says so: over HTTP/1.1 by
// Upgrade, over HTTP/2 and HTTP/3 by a CONNECT with :protocol (RFC 8441, RFC 9220).
func Dress(r *http.Request, cookies string, credentials []string, upgrade bool) {
	h := r.Header
	intake.Strip(h, credentials)
	// A field behind the body would be one that nobody looked at (attack K24).
	r.Trailer = nil
	delete(h, "Trailer")
	if !upgrade {
		delete(h, protocol)
		if r.ProtoMajor == 3 { // here quic-go keeps it
			r.Proto = "HTTP/3.0"
		}
	}
	if _, ok := h["Connection"]; ok || len(h["Upgrade"]) > 0 {
		websocket := upgrade && len(h["Upgrade"]) == 1 && strings.EqualFold(h["Upgrade"][0], "websocket")
		delete(h, "Connection")
		delete(h, "Http2-Settings")
		if websocket {
			h["Connection"] = []string{"Upgrade"}
		} else {
			delete(h, "Upgrade")
		}
	}
	switch old := h["Cookie"]; {
	case cookies == "":
		delete(h, "Cookie")
	case len(old) == 0:
		h["Cookie"] = []string{cookies}
	default:
		old[0] = cookies
		h["Cookie"] = old[:1]
	}
}

// CutLocation takes the application's session id out of the address of a
// redirect: the jar carries it (attack A13).
func CutLocation(h http.Header) {
	to := h.Get("Location")
	end := strings.IndexAny(to, "?#")
	if end < 0 {
		end = len(to)
	}
	if path := intake.CutParams(to[:end], "jsessionid"); path != to[:end] {
		h.Set("Location", path+to[end:])
	}
}

// protocol is where net/http keeps the pseudo-field.
const protocol = ":protocol"

// TakeCookies takes the application's cookies out of the head of its answer to
// a request for path, as the browser sees the path.
func TakeCookies(h http.Header, path string, now time.Time) []jar.Set {
	lines := h["Set-Cookie"]
	if len(lines) == 0 {
		return nil
	}
	delete(h, "Set-Cookie")
	sets := make([]jar.Set, 0, len(lines))
	for _, line := range lines {
		if s, ok := jar.Parse(line, path, now); ok {
			sets = append(sets, s)
		}
	}
	return sets
}
