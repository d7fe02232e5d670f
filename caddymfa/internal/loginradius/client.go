package loginradius

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
)

// Client is a program that may call the API.
type Client struct {
	// Key names it. It is no secret: pages carry it.
	Key string
	// Secret is for the calls of servers (/manage); "" where there are none.
	Secret string
	// Origins are the foreign origins whose pages may call with the key, such as
	// https://www.example.com.
	Origins []string
	// Logins bounds the wrong passwords that one network (IPv4 address, IPv6 /64) may
	// try with the key.
	Logins limit.Rate
}

// DefaultLogins is the bound where none is configured.
var DefaultLogins = limit.Rate{N: 20, Window: 15 * time.Minute}

// maxKey bounds keys and secrets, in bytes.
const maxKey = 256

// Wellformed reports whether a text can be a key or a secret: 8 to 256 printable
// ASCII signs without blanks.
func Wellformed(s string) bool {
	return len(s) >= 8 && len(s) <= maxKey && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}

// same compares in constant time, whatever the lengths.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// identify finds the client of the API key.
func (a *API) identify(v *visit) *problem {
	given := v.param("apikey")
	head, ok := v.header("X-LoginRadius-ApiKey")
	if !ok || given != "" && head != "" && given != head {
		return fail(920, event.Ambiguous)
	}
	if given == "" {
		given = head
	}
	switch {
	case given == "":
		return fail(922, event.Denied)
	case !Wellformed(given):
		return fail(920, event.Denied)
	}
	for _, c := range a.Clients {
		if same(c.Key, given) {
			v.client = c
		}
	}
	if v.client == nil {
		return fail(901, event.Denied)
	}
	return nil
}

// manages reports whether the call comes with its client's secret: in the head, in
// the query, or as a signature.
func (a *API) manages(v *visit) *problem {
	head, ok := v.header("X-LoginRadius-ApiSecret")
	digest, ok2 := v.header("Digest")
	if !ok || !ok2 {
		return fail(921, event.Ambiguous)
	}
	query := v.param("apisecret")
	if head == "" && query == "" && digest == "" {
		return fail(923, event.Denied)
	}
	if v.client.Secret == "" {
		return fail(unauthorized, event.Denied)
	}
	for _, given := range []string{head, query} {
		switch {
		case given == "":
		case !Wellformed(given):
			return fail(921, event.Denied)
		case !same(given, v.client.Secret):
			return fail(902, event.Denied)
		}
	}
	if head == "" && query == "" {
		return v.signed(digest)
	}
	return nil
}

// signatureLife is how long before its end a signature may be used. LoginRadius'
// clients sign for an hour.
const signatureLife = 2 * time.Hour

// signed checks a request's signature: HMAC-SHA256 of expiry, address and body
// (LoginRadius, API security). PHP's client decodes the address before it encodes
// it, those for Python and Java do not.
func (v *visit) signed(digest string) *problem {
	wrong := fail(902, event.Denied)
	sum, ok := strings.CutPrefix(digest, "SHA-256=")
	given, err := base64.StdEncoding.Strict().DecodeString(sum)
	expires, ok2 := v.header("X-Request-Expires")
	if !ok || !ok2 || err != nil || len(given) != sha256.Size {
		return fail(921, event.Denied)
	}
	scheme := "http://"
	if v.c.Secure {
		scheme = "https://"
	}
	address := scheme + v.c.R.Host + v.c.URL.RequestURI()
	forms := []string{address}
	if plain, err := url.QueryUnescape(address); err == nil && plain != address {
		forms = append(forms, plain)
	}
	right := false
	for _, form := range forms {
		mac := hmac.New(sha256.New, []byte(v.client.Secret))
		mac.Write([]byte(expires + ":" + strings.ToLower(url.QueryEscape(form))))
		if len(v.text) > 0 {
			mac.Write([]byte(":"))
			mac.Write(v.text)
		}
		right = hmac.Equal(mac.Sum(nil), given) || right
	}
	if !right {
		return wrong
	}
	// Only now: who cannot sign learns nothing of the clock.
	for _, layout := range []string{"2006-1-2 15:4:5", "2006-1-2 3:4:5 PM"} {
		if end, err := time.Parse(layout, expires); err == nil {
			if left := time.Until(end); left > 0 && left <= signatureLife {
				return nil
			}
			break
		}
	}
	return fail(badParameter, event.Denied)
}

// address is the client's: behind a caller that knows the secret, the one that it
// names (attack D4).
func (a *API) address(v *visit) string {
	named, ok := v.header("X-Origin-IP")
	if named == "" || !ok || a.manages(v) != nil {
		return v.c.ClientIP
	}
	ip, err := netip.ParseAddr(strings.TrimSpace(named))
	if err != nil {
		return v.c.ClientIP
	}
	return ip.String()
}

// origin answers what browsers ask about calls from pages of other origins (CORS).
// done means that the answer is complete: it was a preflight. Cookies are never
// allowed, and never looked at.
func (a *API) origin(v *visit) (done bool, p *problem) {
	from, ok := v.header("Origin")
	preflight := v.c.R.Method == http.MethodOptions && v.c.R.Header.Get("Access-Control-Request-Method") != ""
	h := v.w.Header()
	h.Add("Vary", "Origin")
	if ok && (from == "" || sameOrigin(from, v.c.R.Host)) {
		return preflight, nil
	}
	// A preflight does not carry the head's key, and nobody has identified yet.
	if !ok || !slices.ContainsFunc(a.Clients, func(c *Client) bool {
		key := v.param("apikey")
		return (key == "" || same(key, c.Key)) && slices.Contains(c.Origins, strings.ToLower(from))
	}) {
		return false, fail(unauthorized, event.CrossSite)
	}
	h.Set("Access-Control-Allow-Origin", from)
	if preflight {
		h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
		h.Set("Access-Control-Allow-Headers", "Content-Type, X-Requested-With, Authorization, X-LoginRadius-ApiKey, X-LoginRadius-Sott, X-Params, X-Origin-IP")
		h.Set("Access-Control-Max-Age", "600")
	}
	return preflight, nil
}

func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}
