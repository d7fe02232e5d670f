package loginradius

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// signIn is the first factor: a name, under any of LoginRadius' three words for
// one, and the password. The gate logs in to the application itself.
func (a *API) signIn(v *visit) (any, *problem) {
	name, word, p := v.identifier()
	if p != nil {
		return nil, p
	}
	password := v.field("password")
	if !plausible(password, maxPassword) {
		return nil, fail(badBody, event.Ambiguous)
	}
	if !slices.ContainsFunc(a.Rules, (*login.Rule).Fillable) {
		if word == "phone" {
			return nil, fail(1074, event.NoForm)
		}
		return nil, refused(event.NoForm)
	}
	if p := a.template(v, v.param("smstemplate2fa")); p != nil {
		return nil, p
	}
	v.c.ClientIP = a.address(v)
	counted, p := a.count(v, name)
	if p != nil {
		return nil, p
	}
	out, err := a.Flow.SignIn(v.c.R.Context(), v.g, v.c, flow.SignIn{
		Rules: a.Rules, Page: a.LoginPage, Client: v.client.Key, User: name, Password: password,
	})
	counted.Done(context.WithoutCancel(v.c.R.Context()), err == nil && wrong(out.Reason))
	if err != nil {
		return nil, broken(err)
	}
	switch s := out.Session; {
	case out.Reason == event.OK && s != nil && s.Level == session.Verified:
		return a.loggedIn(v, s)
	case out.Reason == event.Pending && s != nil:
		return a.owed(v, s, out.Text)
	case out.Reason == event.OK || out.Reason == event.Pending:
		return nil, refused(event.NoVerdict)
	case out.Reason == event.LockedOut, out.Reason == event.Disabled:
		return nil, &problem{code: 1198, reason: out.Reason, until: out.Until}
	}
	return nil, refused(out.Reason)
}

// owed answers a login that needs the second factor. Where the first one alone
// sends no text (HTTP Basic), this call is the wish for it.
func (a *API) owed(v *visit, s *session.Session, text string) (any, *problem) {
	v.c.Session, v.c.State = s, session.Live
	st, err := a.Flow.Challenge(s)
	if err != nil {
		return nil, broken(err)
	}
	if st.Number != "" && st.Sends == 0 && st.Marked == "" {
		s, sending, err := a.Flow.Resend(v.c.R.Context(), v.g, v.c)
		if err != nil {
			return nil, broken(err)
		}
		v.c.Session, text = s, sending.Receipt.ID
	}
	return a.challenge(v, v.c.Session, text)
}

const (
	maxName     = 256
	maxPassword = 4096
)

func plausible(s string, most int) bool {
	return s != "" && len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// identifier is the name that the body gives, and the word that it gives it by.
func (v *visit) identifier() (name, word string, p *problem) {
	for _, w := range []string{"email", "username", "phone"} {
		given := v.field(w)
		if given == "" {
			continue
		}
		if word != "" { // two names: nobody knows which one was meant (attack F5)
			return "", "", fail(badBody, event.Ambiguous)
		}
		name, word = given, w
	}
	if !plausible(name, maxName) {
		return "", "", fail(badBody, event.Ambiguous)
	}
	return name, word, nil
}

// template takes the name of the text's template, "" for the default. One that is
// not there is refused before anything is counted or sent.
func (a *API) template(v *visit, name string) *problem {
	if !a.Flow.HasTemplate(name) {
		return fail(badParameter, event.UnknownText)
	}
	v.c.Template = name
	return nil
}

// wrong reports whether a password that came to this stays counted. A login that
// cannot be made any more counts as well, because it costs the application as much.
func wrong(reason event.Reason) bool {
	return reason == event.WrongPassword || reason == event.NoForm
}

// count counts a password before it is tried.
func (a *API) count(v *visit, name string) (counted *limit.Guess, p *problem) {
	counted, err := a.Flow.Limits.Login(v.c.R.Context(), v.client.Key, limit.Network(v.c.ClientIP), v.client.Logins, v.g.Users, intake.FoldUser(name))
	var full *limit.Exceeded
	switch {
	case err == nil:
		return counted, nil
	case !errors.As(err, &full):
		return nil, broken(err)
	case full.Reason == event.UserLogins:
		return nil, &problem{code: 1198, reason: full.Reason, after: full.After}
	}
	return nil, &problem{code: invalid, status: http.StatusTooManyRequests, reason: full.Reason, after: full.After}
}

// setNumber takes the number of a user who has none yet. The masked number that
// the challenge tells stands for the one that it was made of. Where users need an
// invitation it is in the body, as invite.
func (a *API) setNumber(v *visit) (any, *problem) {
	number := v.field("phoneno2fa")
	if number == "" {
		return nil, fail(1076, event.BadNumber)
	}
	if p := a.template(v, v.param("smstemplate2fa")); p != nil {
		return nil, p
	}
	st, err := a.Flow.Challenge(v.c.Session)
	if err != nil {
		return nil, broken(err)
	}
	if st.Number != "" && number == page.Masked(st.Number) {
		return a.textAgain(v)
	}
	if v.g.Uninvited(st) {
		res, err := a.Flow.Accept(v.c.R.Context(), v.g, v.c, v.field("invite"))
		if p := v.proven(res, err); p != nil {
			return nil, p
		}
	}
	s, sending, err := a.Flow.SetNumber(v.c.R.Context(), v.g, v.c, number)
	if err == nil && sending.Reason == event.Denied {
		return nil, fail(1250, event.Denied)
	}
	return a.sent(v, s, sending, err)
}

func (a *API) resend(v *visit) (any, *problem) {
	if p := a.template(v, v.param("smstemplate2fa")); p != nil {
		return nil, p
	}
	st, err := a.Flow.Challenge(v.c.Session)
	if err != nil {
		return nil, broken(err)
	}
	if st.Number == "" {
		return nil, fail(1101, event.NoNumber)
	}
	return a.textAgain(v)
}

func (a *API) textAgain(v *visit) (any, *problem) {
	s, sending, err := a.Flow.Resend(v.c.R.Context(), v.g, v.c)
	return a.sent(v, s, sending, err)
}

// verify checks the code. On this call LoginRadius' widget names the template of a
// welcome text, which is not sent.
func (a *API) verify(v *visit) (any, *problem) {
	otp := v.field("otp")
	if otp == "" {
		return nil, fail(1105, event.MalformedCode)
	}
	res, err := a.Flow.Verify(v.c.R.Context(), v.g, v.c, otp)
	return a.checked(v, res, err)
}

// recover checks a recovery code, LoginRadius' backup code.
func (a *API) recover(v *visit) (any, *problem) {
	code := v.field("backupcode")
	if code == "" {
		return nil, fail(1105, event.MalformedCode)
	}
	res, err := a.Flow.Recover(v.c.R.Context(), v.g, v.c, code)
	return a.checked(v, res, err)
}

// rejected is a code that was not accepted.
func rejected(res flow.Verification) *problem {
	p := refused(res.Reason)
	p.until = res.Until
	return p
}

// checked answers what came of a code in a login.
func (a *API) checked(v *visit, res flow.Verification, err error) (any, *problem) {
	switch {
	case err != nil:
		return nil, broken(err)
	case res.Reason != event.OK || res.Release == nil:
		return nil, rejected(res)
	}
	return a.loggedIn(v, res.Release.Session)
}
