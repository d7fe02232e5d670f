package gate

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// What stands for a login by itself and comes with every request: a bearer
// token of the application, a credential of HTTP Basic, and whom Caddy has
// identified.

// bearerState says what a request's bearer token is worth.
type bearerState int

const (
	// released: this gate gave it to this very session. 0: there is none.
	released bearerState = iota + 1
	// access: the API gave it to this very session.
	access
	// foreign: any other.
	foreign
)

// bearer finds the session of a bearer token. A token without a handle opens the
// session that it was released to; a handle beside it must be that session's.
func (g *Gate) bearer(v *visit) event.Reason {
	token, ok := v.site.Bearer.Carried(v.r)
	if !ok {
		return g.refuse(v, event.Ambiguous)
	}
	if token == "" {
		return ""
	}
	if len(v.site.Bearer.Query) > 0 && v.r.URL.RawQuery != "" {
		v.quiet() // the address may hold the token
	}
	s, err := g.Flow.Sessions.Noted(v.r.Context(), &v.site.Gate, session.Released, "", token, v.beside())
	switch {
	case errors.Is(err, session.ErrGone):
		v.bearer = foreign
	case err != nil:
		return g.storeDown(v, err)
	default:
		g.carried(v, s, released)
	}
	if v.bearer == foreign {
		v.r.URL.RawQuery = intake.DropParams(v.r.URL.RawQuery, v.site.Bearer.Query)
	}
	return ""
}

// accessToken finds the session of an access token that the API gave out. It opens
// the application as its session's handle does, and is never forwarded. done means
// that the request carries one.
func (g *Gate) accessToken(v *visit) (done bool, _ event.Reason) {
	if g.API == nil || len(v.r.Header["Authorization"]) != 1 {
		return false, ""
	}
	scheme, token, _ := strings.Cut(v.r.Header["Authorization"][0], " ")
	if token = strings.TrimSpace(token); len(token) != accessLength || !strings.EqualFold(scheme, "Bearer") {
		return false, ""
	}
	s, err := g.Flow.Sessions.Noted(v.r.Context(), &v.site.Gate, session.Access, "", strings.ToLower(token), v.beside())
	switch {
	case errors.Is(err, session.ErrGone):
		return false, "" // perhaps one of the application's own
	case err != nil:
		return true, g.storeDown(v, err)
	}
	g.carried(v, s, access)
	return true, ""
}

// accessLength is the length of an access token, a UUID, in bytes.
const accessLength = 36

// carried makes the session of a token the request's. A handle beside it must be
// that session's.
func (g *Gate) carried(v *visit, s *session.Session, worth bearerState) {
	v.bearer = foreign
	switch {
	case v.call.State == session.NoHandle || v.call.State == session.Unknown:
		v.call.Session, v.call.State = s, session.Live
		v.bearer, v.handleless = worth, true
	case v.call.State == session.Live && v.call.Session.ID == s.ID:
		v.bearer = worth
	}
}

// beside is the verified session of the request's handle, nil for none: a token that
// several sessions were given is, beside a handle, that session's.
func (v *visit) beside() *session.Session {
	if v.call.State != session.Live || v.call.Session.Level != session.Verified {
		return nil
	}
	return v.call.Session
}

// keepTokens notes the bearer tokens that a verified session's answer gives out,
// such as a refreshed one: those of its head first, then those of its whole body,
// each before the client sees any of it.
func (h *head) keepTokens(hd http.Header, body []byte) bool {
	tokens, ok := h.his(hd, body)
	if !ok || len(tokens) == 0 {
		return ok
	}
	ctx, cancel := h.detached()
	defer cancel()
	if err := h.g.Flow.Renew(ctx, h.v.site, h.s, tokens); err != nil {
		return h.drop(event.StoreDown, err)
	}
	return true
}

// maxTokenAnswer bounds the JSON answers that are searched for bearer tokens, in
// bytes. A token in a longer one is not noted, and so it is refused.
const maxTokenAnswer = 64 << 10

// mayGive reports whether an answer's body may hold a bearer token.
func (h *head) mayGive(status int, hd http.Header) bool {
	if len(h.v.site.Bearer.JSON) == 0 || status < 200 || status > 299 {
		return false
	}
	kind, _, _ := strings.Cut(hd.Get("Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return kind == "application/json" || strings.HasSuffix(kind, "+json")
}

// basic finds out what a request's HTTP Basic credential is worth. done means
// that the request was answered.
func (g *Gate) basic(v *visit) (reason event.Reason, err error, done bool) { //nolint:revive,staticcheck // as Serve
	if !g.rules().Basic {
		return "", nil, false
	}
	rule := g.Rules.Basic(&v.target)
	if rule == nil {
		return "", nil, false
	}
	cred, bad := login.ReadBasic(v.r.Header)
	switch {
	case bad != nil:
		return g.refuse(v, event.Ambiguous), nil, true //nolint:nilerr // refused, which is what it means
	case cred == nil:
		return "", nil, false
	}
	if s := v.call.Session; v.call.State == session.Live && (s.Level == session.Verified || s.Level == session.Pending) {
		if g.Flow.IsBasic(v.site, s, cred) {
			v.proven = true
			return "", nil, false
		}
	} else if e := g.public(v); e != nil {
		return g.forwardPublic(v, e), nil, true // needs no password, so none is tried (attack J8)
	}
	out, fail := g.Flow.Basic(v.r.Context(), v.site, g.asking(v), rule, cred)
	reason, err = g.outcome(v, out, fail)
	return reason, err, true
}

// identified handles a request of somebody whom Caddy itself may have
// identified. done means that it was answered.
func (g *Gate) identified(v *visit) (reason event.Reason, err error, done bool) { //nolint:revive,staticcheck // as Serve
	if !g.FirstFactor || v.call.State == session.Live && v.call.Session.Level != session.Anonymous {
		return "", nil, false
	}
	if e := g.public(v); e != nil {
		return g.forwardPublic(v, e), nil, true
	}
	if v.in.FirstFactor == "" {
		return g.refuse(v, event.Unidentified), nil, true
	}
	out, fail := g.Flow.Identified(v.r.Context(), v.site, g.asking(v), v.in.FirstFactor)
	if fail == nil && out.Session != nil && v.left != nil {
		fail = g.Flow.End(v.r.Context(), v.site, v.left, event.ChangedHands) // attack K32
	}
	reason, err = g.outcome(v, out, fail)
	return reason, err, true
}

// asksBasic reports whether an anonymous request is asked for an HTTP Basic
// credential: where a rule for it is meant for these paths, or where nothing
// else could ask.
func (g *Gate) asksBasic(v *visit) bool {
	rule := g.Rules.Basic(&v.target)
	if rule == nil {
		return false
	}
	forms := slices.ContainsFunc(g.Rules, func(r *login.Rule) bool { return r.Config.Basic == "" })
	return !forms || !rule.AnyPath || !v.call.Navigation
}

// realm is the challenge of RFC 7617 2 for an application's name.
func realm(app string) string {
	name := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return -1
		}
		return c
	}, app)
	return `Basic realm="` + name + `", charset="UTF-8"`
}
