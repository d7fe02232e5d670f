package loginradius

import (
	"crypto/subtle"
	"errors"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// Calls of servers, by the API secret.

// by names the operator of an API call in the audit. The key is no secret, but it
// is not written either.
const by = "api"

// user is the user of the parameter uid.
func (a *API) user(v *visit) (string, *problem) {
	uid := v.param("uid")
	if !isUID(uid) {
		return "", fail(badParameter, event.Denied)
	}
	name, ok, err := a.Flow.UserOf(v.c.R.Context(), v.g.Users, uid)
	switch {
	case err != nil:
		return "", broken(err)
	case !ok:
		return "", fail(1292, event.NoUser)
	}
	return name, nil
}

func isUID(s string) bool {
	if len(s) != 32 {
		return false
	}
	for _, c := range []byte(s) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

// resetUser takes everything away by which a user proves the second factor.
func (a *API) resetUser(v *visit) (any, *problem) {
	if v.field("otpauthenticator") != "true" {
		return nil, fail(1121, event.Denied)
	}
	name, p := a.user(v)
	if p != nil {
		return nil, p
	}
	if err := a.Flow.Reset(v.c.R.Context(), flow.Operator{App: v.g.Users, User: name, By: by}); err != nil {
		return nil, broken(err)
	}
	return deleted{true}, nil
}

func (a *API) codesOfUser(v *visit) (any, *problem)    { return a.codesOf(v, false) }
func (a *API) newCodesOfUser(v *visit) (any, *problem) { return a.codesOf(v, true) }

func (a *API) codesOf(v *visit, renew bool) (any, *problem) {
	name, p := a.user(v)
	if p != nil {
		return nil, p
	}
	list, reason, err := a.Flow.NewCodes(v.c.R.Context(), flow.Operator{App: v.g.Users, User: name, By: by}, renew)
	return listed(list, reason, err)
}

// secondDone and passwordDone check the proof of a step-up, once.
func (a *API) secondDone(v *visit) (any, *problem)   { return a.stepUpDone(v, bySecond) }
func (a *API) passwordDone(v *visit) (any, *problem) { return a.stepUpDone(v, byPassword) }

func (a *API) stepUpDone(v *visit, how string) (any, *problem) {
	wrong := fail(1193, event.BadToken)
	token, ok := uuid(v.field("secondfactorvalidationtoken"))
	if !ok || !isUID(v.uid) {
		return nil, wrong
	}
	s, err := a.noted(v, session.StepUp, how, token)
	switch {
	case errors.Is(err, session.ErrGone):
		return nil, wrong
	case err != nil:
		return nil, broken(err)
	case subtle.ConstantTimeCompare([]byte(a.Flow.UID(v.g.Users, s.User)), []byte(v.uid)) != 1:
		return nil, wrong
	}
	v.c.Session = s
	switch err := a.Flow.Sessions.Unnote(v.c.R.Context(), &v.g.Gate, session.StepUp, v.client.Key+how, token); {
	case errors.Is(err, session.ErrGone):
		return nil, wrong // somebody else was faster
	case err != nil:
		return nil, broken(err)
	}
	return struct{ IsValid bool }{true}, nil
}
