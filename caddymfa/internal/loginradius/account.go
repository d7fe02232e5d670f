package loginradius

import (
	"context"
	"errors"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// Calls of a user who is logged in, by the access token.

func (a *API) tokenInfo(v *visit) (any, *problem) {
	return struct {
		Access     string `json:"access_token"`
		Provider   string `json:"provider"`
		Remembered bool   `json:"isrememberme"`
	}{v.token, "Email", false}, nil
}

func (a *API) validate(v *visit) (any, *problem) {
	return page.Tokens{Access: v.token, ExpiresIn: page.Time(v.c.Session.ExpiresAt)}, nil
}

// invalidate ends the token's session: it is the same that pages have.
func (a *API) invalidate(v *visit) (any, *problem) {
	if err := a.Flow.End(v.c.R.Context(), v.g, v.c.Session, event.Logout); err != nil {
		return nil, broken(err)
	}
	return posted{true}, nil
}

type posted struct{ IsPosted bool }

// refresh gives new tokens for a refresh token, once.
func (a *API) refresh(v *visit) (any, *problem) {
	token, ok := uuid(v.param("refresh_token"))
	if !ok {
		return nil, fail(tokenInvalid, event.BadToken)
	}
	gone := fail(tokenExpired, event.UnknownToken)
	if p := a.open(v, session.Refresh, token, gone); p != nil {
		return nil, p
	}
	switch err := a.Flow.Sessions.Unnote(v.c.R.Context(), &v.g.Gate, session.Refresh, v.client.Key, token); {
	case errors.Is(err, session.ErrGone):
		return nil, gone // somebody else was faster
	case err != nil:
		return nil, broken(err)
	}
	t, p := a.tokens(v, v.c.Session)
	if p != nil {
		return nil, p
	}
	return t, nil
}

func (a *API) ownProfile(v *visit) (any, *problem) { return a.profile(v, v.c.Session), nil }

func (a *API) settings(v *visit) (any, *problem) {
	s, err := a.Flow.Settings(v.c.R.Context(), v.g, v.c.Session)
	if err != nil {
		return nil, broken(err)
	}
	return page.SMSFactors(s.Number, s.Number != "", nil), nil
}

// changeNumber sends a code to another number.
func (a *API) changeNumber(v *visit) (any, *problem) {
	number := v.field("phoneno2fa")
	if number == "" {
		return nil, fail(1076, event.BadNumber)
	}
	name := v.param("smstemplate2fa")
	if name == "" {
		name = v.param("smstemplate") // LoginRadius' widget calls it so here
	}
	if p := a.template(v, name); p != nil {
		return nil, p
	}
	s, sending, err := a.Flow.ChangeNumber(v.c.R.Context(), v.g, v.c, number)
	return a.sent(v, s, sending, err)
}

// proveNumber checks that code. LoginRadius answers with the bare profile.
func (a *API) proveNumber(v *visit) (any, *problem) {
	otp := v.field("otp")
	if otp == "" {
		return nil, fail(1105, event.MalformedCode)
	}
	res, err := a.Flow.ProveNumber(v.c.R.Context(), v.g, v.c, otp)
	if p := v.proven(res, err); p != nil {
		return nil, p
	}
	return a.profile(v, v.c.Session), nil
}

// proven takes over what came of a code that leaves the session where it is.
func (v *visit) proven(res flow.Verification, err error) *problem {
	switch {
	case err != nil:
		return broken(err)
	case res.Reason != event.OK:
		return rejected(res)
	case res.Session != nil:
		v.c.Session = res.Session
	}
	return nil
}

type deleted struct{ IsDeleted bool }

// removeNumber takes the user's number away, where a second factor is not required.
func (a *API) removeNumber(v *visit) (any, *problem) {
	if v.field("otpauthenticator") != "true" {
		return nil, fail(1121, event.Denied)
	}
	switch reason, err := a.Flow.RemoveNumber(v.c.R.Context(), v.g, v.c); {
	case err != nil:
		return nil, broken(err)
	case reason != event.OK:
		return nil, refused(reason)
	}
	return deleted{true}, nil
}

func (a *API) codes(v *visit) (any, *problem)    { return a.backupCodes(v, false) }
func (a *API) newCodes(v *visit) (any, *problem) { return a.backupCodes(v, true) }

func (a *API) backupCodes(v *visit, renew bool) (any, *problem) {
	list, reason, err := a.Flow.RecoveryCodes(v.c.R.Context(), v.g, v.c, renew)
	return listed(list, reason, err)
}

// listed is LoginRadius' list of backup codes.
func listed(list []string, reason event.Reason, err error) (any, *problem) {
	switch {
	case err != nil:
		return nil, broken(err)
	case reason != event.OK:
		return nil, refused(reason)
	}
	return struct{ BackUpCodes []string }{list}, nil
}

// aim is what a step-up is for: the parameter for, which is ours, where it is there.
// LoginRadius' own clients cannot say it.
func (v *visit) aim() (flow.Aim, *problem) {
	switch aim := flow.Aim(v.param("for")); aim {
	case "":
		return flow.ForOne, nil
	case flow.ForNumber, flow.ForCodes, flow.ForRemoval:
		return aim, nil
	case flow.ForOne: // is ours, and not for an address
	}
	return "", fail(badParameter, event.Ambiguous)
}

// stepUp sends a code to prove the second factor once more.
func (a *API) stepUp(v *visit) (any, *problem) {
	if p := a.template(v, v.param("smstemplate2fa")); p != nil {
		return nil, p
	}
	aim, p := v.aim()
	if p != nil {
		return nil, p
	}
	s, sending, err := a.Flow.Confirm(v.c.R.Context(), v.g, v.c, aim)
	text, p := a.sent(v, s, sending, err)
	if p != nil {
		return nil, p
	}
	set, err := a.Flow.Settings(v.c.R.Context(), v.g, v.c.Session)
	if err != nil {
		return nil, broken(err)
	}
	sms, _ := text.(*page.SMS)
	return struct {
		page.Factors
		ExpireIn string
	}{page.SMSFactors(set.Number, set.Number != "", sms), page.Time(time.Now().Add(a.Flow.Codes.Lifetime))}, nil
}

func (a *API) stepUpByOTP(v *visit) (any, *problem) {
	otp := v.field("otp")
	if otp == "" {
		return nil, fail(1192, event.MalformedCode)
	}
	res, err := a.Flow.Confirmed(v.c.R.Context(), v.g, v.c, otp)
	return a.steppedUp(v, bySecond, v.proven(res, err))
}

func (a *API) stepUpByCode(v *visit) (any, *problem) {
	code := v.field("backupcode")
	if code == "" {
		return nil, fail(1192, event.MalformedCode)
	}
	var p *problem
	if v.c.Aim, p = v.aim(); p != nil {
		return nil, p
	}
	res, err := a.Flow.Recover(v.c.R.Context(), v.g, v.c, code)
	return a.steppedUp(v, bySecond, v.proven(res, err))
}

// stepUpByPassword is the first factor once more. Its proof is none of the second:
// servers check it by another call.
func (a *API) stepUpByPassword(v *visit) (any, *problem) {
	password := v.field("password")
	if !plausible(password, maxPassword) {
		return nil, fail(badBody, event.Ambiguous)
	}
	v.c.ClientIP = a.address(v)
	counted, p := a.count(v, v.c.Session.User)
	if p != nil {
		return nil, p
	}
	reason, err := a.Flow.Password(v.c.R.Context(), v.g, v.c, flow.SignIn{Rules: a.Rules, Page: a.LoginPage, Password: password})
	counted.Done(context.WithoutCancel(v.c.R.Context()), err == nil && wrong(reason))
	switch {
	case err != nil:
		return nil, broken(err)
	case reason != event.OK:
		return nil, refused(reason)
	}
	return a.steppedUp(v, byPassword, nil)
}

// stepUpLife is how long the proof of a step-up can be shown.
const stepUpLife = 10 * time.Minute

// What a step-up has proven; keys have no blanks.
const (
	bySecond   = " 2fa"
	byPassword = " password"
)

// steppedUp gives out the proof of a step-up.
func (a *API) steppedUp(v *visit, how string, p *problem) (any, *problem) {
	if p != nil {
		return nil, p
	}
	token := newUUID()
	if err := a.Flow.Sessions.Note(v.c.R.Context(), &v.g.Gate, v.c.Session, session.StepUp, v.client.Key+how, token, stepUpLife); err != nil {
		return nil, broken(err)
	}
	return struct{ SecondFactorValidationToken, ExpireIn string }{token, page.Time(time.Now().Add(stepUpLife))}, nil
}
