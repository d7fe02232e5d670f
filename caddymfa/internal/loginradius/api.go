// Package loginradius answers the calls of LoginRadius' API for multi-factor
// authentication by SMS, so that a client written for it works by changing its
// base URL. It is a thin door to the room flow, like the portal; what is LoginRadius'
// own in it (names, codes, shapes) is as its documentation and its SDKs have it.
package loginradius

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// API serves the calls below one prefix, for one site. It is safe for concurrent
// use.
type API struct {
	Flow *flow.Flow
	// Prefix of the calls, e.g. /identity/v2; its case does not matter.
	Prefix  string
	Clients []*Client
	// Rules are the site's logins, LoginPage the address of their page.
	Rules     login.Rules
	LoginPage string
}

// maxBody bounds the body of a call, in bytes.
const maxBody = 16 << 10

// visit is one call.
type visit struct {
	w      http.ResponseWriter
	g      *flow.Gate
	c      *flow.Call
	client *Client
	// query and body are read apart: what is wrong with them has its own number.
	query, body *intake.Form
	// text is the body's bytes, for its signature.
	text []byte
	// token is the access token that the call came with.
	token string
	// uid is the part of the path that names a user.
	uid string
}

// need is what a call must come with.
type need int

const (
	key    need = iota // the API key
	second             // and the token of a pending session
	access             // and an access token
	secret             // and the API secret
)

// call is one of LoginRadius' calls.
type call struct {
	need need
	act  func(*API, *visit) (any, *problem)
}

// calls are LoginRadius' calls by path and method. {uid} is one segment.
var calls = map[string]map[string]call{
	"/auth/login/2fa": {
		http.MethodPost: {key, (*API).signIn},
		http.MethodPut:  {second, (*API).setNumber},
	},
	"/auth/login/2fa/resend":                  {http.MethodGet: {second, (*API).resend}},
	"/auth/login/2fa/verification/otp":        {http.MethodPut: {second, (*API).verify}},
	"/auth/login/2fa/verification/backupcode": {http.MethodPut: {second, (*API).recover}},

	"/auth/access_token":            {http.MethodGet: {access, (*API).tokenInfo}},
	"/auth/access_token/validate":   {http.MethodGet: {access, (*API).validate}},
	"/auth/access_token/invalidate": {http.MethodGet: {access, (*API).invalidate}},

	"/auth/account": {http.MethodGet: {access, (*API).ownProfile}},
	"/auth/account/2fa": {
		http.MethodGet: {access, (*API).settings},
		http.MethodPut: {access, (*API).changeNumber},
	},
	"/auth/account/2fa/verification/otp": {http.MethodPut: {access, (*API).proveNumber}},
	"/auth/account/2fa/authenticator":    {http.MethodDelete: {access, (*API).removeNumber}},
	"/auth/account/2fa/backupcode":       {http.MethodGet: {access, (*API).codes}},
	"/auth/account/2fa/backupcode/reset": {http.MethodGet: {access, (*API).newCodes}},

	"/auth/account/reauth/2fa":            {http.MethodGet: {access, (*API).stepUp}},
	"/auth/account/reauth/2fa/otp":        {http.MethodPut: {access, (*API).stepUpByOTP}},
	"/auth/account/reauth/2fa/backupcode": {http.MethodPut: {access, (*API).stepUpByCode}},
	"/auth/account/reauth/password":       {http.MethodPut: {access, (*API).stepUpByPassword}},

	"/manage/account/access_token/refresh":  {http.MethodGet: {secret, (*API).refresh}},
	"/manage/account/2fa/authenticator":     {http.MethodDelete: {secret, (*API).resetUser}},
	"/manage/account/2fa/backupcode":        {http.MethodGet: {secret, (*API).codesOfUser}},
	"/manage/account/2fa/backupcode/reset":  {http.MethodGet: {secret, (*API).newCodesOfUser}},
	"/manage/account/{uid}/reauth/2fa":      {http.MethodPost: {secret, (*API).secondDone}},
	"/manage/account/{uid}/reauth/password": {http.MethodPost: {secret, (*API).passwordDone}},
}

// find finds the calls of a path, without case and without a trailing slash, and
// the path's pattern.
func find(path string) (methods map[string]call, pattern, uid string) {
	path = strings.TrimSuffix(strings.ToLower(path), "/")
	if methods, ok := calls[path]; ok {
		return methods, path, ""
	}
	const before = "/manage/account/"
	if inner, ok := strings.CutPrefix(path, before); ok {
		if uid, behind, ok := strings.Cut(inner, "/"); ok && uid != "" {
			pattern := before + "{uid}/" + behind
			return calls[pattern], pattern, uid
		}
	}
	return nil, "", ""
}

// Serve answers a request below the prefix. The session of c is not looked at: a
// call brings its own tokens, so no page of another site can make one with a
// browser's cookie.
func (a *API) Serve(w http.ResponseWriter, g *flow.Gate, c *flow.Call) {
	v := &visit{w: w, g: g, c: c}
	c.Session, c.State, c.Navigation = nil, session.NoHandle, false
	path := c.URL.Path
	if !intake.Below(a.Prefix, path) { // a handler before the gate has rewritten it
		path = c.R.URL.Path
	}
	methods, pattern, uid := find(path[len(a.Prefix):])
	v.uid = uid
	answer, p := a.serve(v, methods)
	a.write(v, c.R.Method+" "+pattern, answer, p)
}

func (a *API) serve(v *visit, methods map[string]call) (any, *problem) {
	if p := v.read(); p != nil {
		return nil, p
	}
	if done, p := a.origin(v); done || p != nil {
		return nil, p
	}
	if methods == nil {
		return nil, &problem{code: invalid, status: http.StatusNotFound, reason: event.Denied}
	}
	call, ok := methods[v.c.R.Method]
	if !ok {
		v.w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(methods)), ", "))
		return nil, &problem{code: invalid, status: http.StatusMethodNotAllowed, reason: event.Denied}
	}
	if p := a.identify(v); p != nil {
		return nil, p
	}
	if p := a.needed(v, call.need); p != nil {
		return nil, p
	}
	fields, p := v.projection()
	if p != nil {
		return nil, p
	}
	answer, p := call.act(a, v)
	if p != nil {
		return nil, p
	}
	return project(answer, fields), nil
}

// needed finds what the call must come with.
func (a *API) needed(v *visit, n need) *problem {
	switch n {
	case second:
		return a.pending(v)
	case access:
		return a.verified(v)
	case secret:
		return a.manages(v)
	case key:
	}
	return nil
}

// write writes the answer, or the error, and one event. The access log cannot: by
// LoginRadius' contract the address holds tokens.
func (a *API) write(v *visit, what string, answer any, p *problem) {
	if p == nil {
		if answer == nil { // a preflight
			v.w.WriteHeader(http.StatusNoContent)
			return
		}
		page.WriteJSON(v.w, http.StatusOK, answer)
		a.emit(v, event.Event{Name: event.APICall, Reason: event.OK, Detail: what})
		return
	}
	p.write(v.w)
	name := event.APICall
	if p.reason == event.StoreDown {
		name = event.StoreFailed
	}
	a.emit(v, event.Event{Name: name, Reason: p.reason, Detail: what, Err: p.err})
}

func (a *API) emit(v *visit, e event.Event) {
	e.App = v.g.App
	if v.c.Session != nil {
		e.User = v.c.Session.User
	}
	a.Flow.Events(v.c.R.Context(), e)
}
