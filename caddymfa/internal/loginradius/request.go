package loginradius

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// LoginRadius' numbers that are used by name.
const (
	invalid       = 971
	badParameter  = 908
	badBody       = 965
	unauthorized  = 1143
	tokenMissing  = 1060
	tokenInvalid  = 905
	tokenExpired  = 906
	secondInvalid = 1103
	secondExpired = 1104
)

// problem is why a call was refused.
type problem struct {
	// code is LoginRadius' number; status is the number's own where it is 0.
	code, status int
	reason       event.Reason
	// until is when a lock ends, after how long to wait.
	until time.Time
	after time.Duration
	err   error
}

func fail(code int, reason event.Reason) *problem { return &problem{code: code, reason: reason} }

// refused is the problem of a reason of the rooms below.
func refused(reason event.Reason) *problem { return fail(page.ErrorCode(reason), reason) }

// broken is the problem of a store that cannot answer.
func broken(err error) *problem {
	p := refused(event.StoreDown)
	p.status, p.after, p.err = http.StatusServiceUnavailable, 5*time.Second, err
	return p
}

func (p *problem) write(w http.ResponseWriter) {
	status, e := page.NewError(p.code)
	if p.code == page.ErrorCode(p.reason) {
		e.Say(p.reason)
	}
	if p.reason == event.ProofNeeded { // 1143 stands for other refusals as well; our script asks for a code then
		e.Reason = p.reason
	}
	if p.status != 0 {
		status = p.status
	}
	if !p.until.IsZero() {
		e.Data = &page.Lock{LoginLockedTimeout: page.Time(p.until)}
	}
	if p.after > 0 {
		page.RetryAfter(w.Header(), p.after)
	}
	page.WriteJSON(w, status, e)
}

// The names that are read, in any case.
var (
	queryNames = []string{
		"apikey", "apisecret", "access_token", "refresh_token", "secondfactorauthenticationtoken", "smstemplate2fa", "smstemplate", "fields", "uid",
	}
	bodyNames = []string{
		"email", "username", "phone", "password", "phoneno2fa", "otp", "backupcode", "invite", "otpauthenticator", "secondfactorvalidationtoken",
	}
)

// read reads query and body. What stands there twice is refused, for which name
// of ours it may be: nobody knows which one was meant.
func (v *visit) read() *problem {
	r := v.c.R
	if err := intake.CheckTarget(&http.Request{URL: v.c.URL}); err != nil {
		return fail(badParameter, event.Ambiguous)
	}
	var err error
	if v.query, err = intake.Read(&http.Request{URL: &url.URL{RawQuery: v.c.URL.RawQuery}}, intake.Limits{}); err != nil || !clear(v.query, intake.Query, queryNames) {
		return fail(badParameter, event.Ambiguous)
	}
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodDelete:
	default: // clients of LoginRadius send bodies that say nothing with GET
		v.body = &intake.Form{}
		return nil
	}
	body := &http.Request{URL: &url.URL{}, Header: r.Header, Body: r.Body, ContentLength: r.ContentLength}
	if v.body, err = intake.Read(body, intake.Limits{Memory: maxBody}); err != nil {
		return fail(badBody, event.Ambiguous)
	}
	switch v.body.Kind {
	case intake.Empty, intake.URLEncoded:
	case intake.JSONBody:
		if !v.body.Object() {
			return fail(badBody, event.Ambiguous)
		}
	case intake.Multipart, intake.Opaque:
		return fail(badBody, event.Ambiguous)
	}
	if !clear(v.body, intake.Body, bodyNames) {
		return fail(badBody, event.Ambiguous)
	}
	if body.Body != nil {
		if v.text, err = io.ReadAll(body.Body); err != nil {
			return fail(badBody, event.Ambiguous)
		}
	}
	return nil
}

func clear(f *intake.Form, source intake.Source, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		_, state := f.Named(source, name)
		return state == intake.Ambiguous
	})
}

// param is a parameter of the query, "" for none: clients send what was left out
// as an empty value. LoginRadius' Python client does not encode, so a blank is the
// plus that was meant: no value of ours has blanks.
func (v *visit) param(name string) string {
	value, _ := v.query.Named(intake.Query, name)
	return strings.ReplaceAll(value, " ", "+")
}

// field is a field of the body, "" for none.
func (v *visit) field(name string) string {
	value, _ := v.body.Named(intake.Body, name)
	return value
}

// header is a field of the head that must not stand there twice.
func (v *visit) header(name string) (value string, ok bool) {
	switch values := v.c.R.Header.Values(name); len(values) {
	case 0:
		return "", true
	case 1:
		return values[0], true
	}
	return "", false
}

// pending finds the session of the second-factor token. It is bound to the client
// that logged in.
func (a *API) pending(v *visit) *problem {
	token, ok := uuid(v.param("secondfactorauthenticationtoken"))
	if !ok {
		return fail(secondInvalid, event.BadToken)
	}
	return a.open(v, session.Second, token, fail(secondExpired, event.UnknownHandle))
}

// verified finds the session of the access token, in Authorization or in the
// query. Two that are not the same are none.
func (a *API) verified(v *visit) *problem {
	given := v.param("access_token")
	head, ok := v.header("Authorization")
	if !ok {
		return fail(tokenInvalid, event.BadToken)
	}
	if head != "" {
		scheme, token, _ := strings.Cut(head, " ")
		if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || given != "" && !strings.EqualFold(given, token) {
			return fail(tokenInvalid, event.BadToken)
		}
		given = token
	}
	if given == "" {
		return fail(tokenMissing, event.Anonymous)
	}
	if v.token, ok = uuid(given); !ok {
		return fail(tokenInvalid, event.BadToken)
	}
	return a.open(v, session.Access, v.token, fail(tokenExpired, event.UnknownToken))
}

// open makes the session of a token the call's.
func (a *API) open(v *visit, kind session.Kind, token string, gone *problem) *problem {
	s, err := a.noted(v, kind, "", token)
	switch {
	case errors.Is(err, session.ErrGone):
		return gone
	case err != nil:
		return broken(err)
	}
	v.c.Session, v.c.State = s, session.Live
	return nil
}

// noted finds the session of a token that this client was given.
func (a *API) noted(v *visit, kind session.Kind, what, token string) (*session.Session, error) {
	return a.Flow.Sessions.Noted(v.c.R.Context(), &v.g.Gate, kind, v.client.Key+what, token, nil)
}
