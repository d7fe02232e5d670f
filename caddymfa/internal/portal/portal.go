// Package portal is our own routes: the code page, the number page, the way
// out. It is a thin door to the room flow; every answer is a page for a person
// and JSON for a program.
package portal

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// Portal serves the routes below one prefix. It is safe for concurrent use.
type Portal struct {
	Flow  *flow.Flow
	Pages *page.Pages
	// Prefix of the routes, e.g. /mfa. Login is where signing in begins.
	Prefix, Login string
	// Regions are the countries that numbers may be of.
	Regions []string
}

// maxBody bounds the body of our forms, in bytes.
const maxBody = 16 << 10

// visit is one request to a route.
type visit struct {
	w    http.ResponseWriter
	g    *flow.Gate
	c    *flow.Call
	form *intake.Form
	json bool // the caller gets JSON
}

// Serve answers a request below the prefix.
func (p *Portal) Serve(w http.ResponseWriter, g *flow.Gate, c *flow.Call) {
	v := &visit{w: w, g: g, c: c, json: !c.Navigation}
	route := strings.TrimPrefix(strings.TrimPrefix(c.URL.Path, p.Prefix), "/")
	if i := strings.LastIndex(c.URL.Path, p.Prefix+"/"); i > 0 { // inside a stripped prefix
		route = c.URL.Path[i+len(p.Prefix)+1:]
	}
	method := c.R.Method
	if asset, ok := strings.CutPrefix(route, "assets/"); ok && (method == http.MethodGet || method == http.MethodHead) {
		p.Pages.Asset(w, c.R, asset)
		return
	}
	switch {
	case (method == http.MethodGet || method == http.MethodHead) && route == "":
		p.state(v)
	case method == http.MethodGet && route == "status":
		p.status(v)
	case method == http.MethodGet && route == "bridge":
		p.Pages.WriteBridge(w, c.R, page.View{
			Digits: p.Flow.Codes.Length, Minutes: int(p.Flow.Codes.Lifetime / time.Minute), Regions: p.Regions,
		})
	case route == "" || route == "status" || route == "bridge":
		p.allow(v, "GET, HEAD")
	default:
		p.post(v, route)
	}
}

func (p *Portal) allow(v *visit, methods string) {
	v.w.Header().Set("Allow", methods)
	p.fail(v, http.StatusMethodNotAllowed, event.Denied)
}

func (p *Portal) post(v *visit, route string) {
	act := map[string]func(*visit){
		"verify": p.verify, "recover": p.recover, "resend": p.resend, "phone": p.phone, "cancel": p.cancel, "logout": p.logout,
	}[route]
	switch {
	case act == nil:
		p.fail(v, http.StatusNotFound, event.Denied)
		return
	case v.c.R.Method != http.MethodPost:
		p.allow(v, "POST")
		return
	}
	// A foreign page must not act for the user, nor a page of a sibling site
	// (http.CrossOriginProtection refuses same-site as well). Forms carry the
	// session's token besides, for browsers that send neither header.
	var protect http.CrossOriginProtection
	if err := protect.Check(v.c.R); err != nil {
		p.fail(v, http.StatusForbidden, event.CrossSite)
		return
	}
	form, err := intake.Read(v.c.R, intake.Limits{Memory: maxBody})
	if err != nil || v.c.R.URL.RawQuery != "" && route != "verify" {
		p.fail(v, http.StatusBadRequest, event.Ambiguous)
		return
	}
	v.form = form
	if form.Kind == intake.JSONBody {
		v.json = true
	}
	switch {
	case v.c.State == session.Attempting:
		p.fail(v, http.StatusConflict, event.AlreadyUsed)
	case v.c.State != session.Live || v.c.Session.Level == session.Anonymous:
		p.fail(v, http.StatusUnauthorized, event.UnknownHandle)
	case !p.token(v):
		p.fail(v, http.StatusForbidden, event.BadToken)
	default:
		act(v)
	}
}

// token checks that the form was made for this session (attack F1). A program
// that sends JSON cannot be sent by a foreign page, and may leave it out.
func (p *Portal) token(v *visit) bool {
	got, state := v.field("secondfactorauthenticationtoken")
	if state == intake.Absent && v.form.Kind == intake.JSONBody {
		return true
	}
	want := p.Flow.Token(v.g, v.c.Session)
	return state == intake.Exact && subtle.ConstantTimeCompare([]byte(strings.ToLower(got)), []byte(want)) == 1
}

// field reads a field of the form or of the JSON body, strictly.
func (v *visit) field(name string) (string, intake.State) {
	if v.form.Kind != intake.JSONBody {
		return v.form.Lookup(intake.Body, name)
	}
	state := v.form.JSONState(name)
	text, ok := v.form.JSONText(name)
	if state == intake.Exact && !ok {
		return "", intake.Ambiguous // an array, an object, null
	}
	return text, state
}

// pending reports whether the session owes a code, and answers when it does not.
func (p *Portal) pending(v *visit) bool {
	if v.c.Session.Level == session.Pending {
		return true
	}
	// Verified already: a second tap on the button.
	if v.json {
		page.WriteJSON(v.w, http.StatusOK, page.Status{Level: string(v.c.Session.Level), Location: "/"})
	} else {
		p.seeOther(v, p.Prefix)
	}
	return false
}

func (p *Portal) verify(v *visit) {
	if !p.pending(v) {
		return
	}
	p.check(v, "otp", p.Flow.Verify)
}

// recover takes a recovery code, or one of the help desk, in place of a text's.
func (p *Portal) recover(v *visit) {
	if !p.pending(v) {
		return
	}
	p.check(v, "backupcode", p.Flow.Recover)
}

// check reads a code and has it checked; a right one lets the user through.
func (p *Portal) check(v *visit, field string, check func(context.Context, *flow.Gate, *flow.Call, string) (flow.Verification, error)) {
	code, state := v.field(field)
	if state == intake.Ambiguous {
		p.fail(v, http.StatusBadRequest, event.MalformedCode)
		return
	}
	trust, _ := v.field("trust")
	v.c.Trust = trust == "on" || trust == "true"
	res, err := check(v.c.R.Context(), v.g, v.c, code)
	if err != nil {
		p.storeDown(v, err)
		return
	}
	if res.Reason != event.OK {
		p.wrong(v, res)
		return
	}
	p.release(v, res.Release)
}

// release lets the user through to where the application would have sent him.
func (p *Portal) release(v *visit, rel *flow.Release) {
	h := v.w.Header()
	p.Flow.Sessions.SetHandle(h, &v.g.Gate, rel.Session, v.c.Secure)
	if rel.Device != "" {
		v.g.Cookie.SetDevice(h, rel.Device, v.c.Secure, v.g.TrustedDevice)
	}
	for _, line := range rel.Copies {
		h.Add("Set-Cookie", line)
	}
	if want, _ := v.field("release"); rel.Reply != nil && (want == "answer" || v.c.R.URL.Query().Get("release") == "answer") {
		rel.Reply.Header.Set(page.Mark, page.Released)
		rel.Reply.Write(v.w)
		return
	}
	if v.json {
		page.WriteJSON(v.w, http.StatusOK, page.Status{Level: string(session.Verified), Location: rel.Location})
		return
	}
	p.seeOther(v, rel.Location)
}

func (p *Portal) wrong(v *visit, res flow.Verification) {
	code := http.StatusForbidden
	if res.Reason == event.MalformedCode {
		code = http.StatusBadRequest
	}
	if res.Ended {
		p.Flow.Sessions.ClearHandle(v.w.Header(), &v.g.Gate, v.c.Secure)
	}
	until := time.Duration(0)
	if !res.Until.IsZero() {
		until = max(0, time.Until(res.Until))
	}
	switch {
	case v.json:
		page.WriteError(v.w, code, res.Reason)
	case res.Ended:
		p.page(v, code, page.View{Kind: page.Message, Reason: res.Reason, Until: until})
	default:
		view := p.challengeView(v)
		view.Reason, view.Left = res.Reason, res.Left
		p.page(v, code, view)
	}
}

func (p *Portal) resend(v *visit) {
	if !p.pending(v) {
		return
	}
	s, sending, err := p.Flow.Resend(v.c.R.Context(), v.g, v.c)
	p.sent(v, s, sending, err)
}

func (p *Portal) phone(v *visit) {
	if !p.pending(v) {
		return
	}
	number, state := v.field("phoneno2fa")
	if state != intake.Exact {
		p.sent(v, v.c.Session, flow.Sending{Reason: event.BadNumber}, nil)
		return
	}
	s, sending, err := p.Flow.SetNumber(v.c.R.Context(), v.g, v.c, number)
	p.sent(v, s, sending, err)
}

// sent answers a wish for a text.
func (p *Portal) sent(v *visit, s *session.Session, sending flow.Sending, err error) {
	if err != nil {
		p.storeDown(v, err)
		return
	}
	v.c.Session = s
	p.Flow.Sessions.SetHandle(v.w.Header(), &v.g.Gate, s, v.c.Secure)
	code := http.StatusOK
	switch sending.Reason {
	case event.Sent:
	case event.BadNumber, event.BadCountry, event.BadNumberType, event.NumberRefused:
		code = http.StatusBadRequest
	case event.GatewayDown, event.StoreDown, event.Budget, event.CountryLimit, event.AppLimit, event.Unanswered:
		code = http.StatusServiceUnavailable
	case event.Denied, event.LockedOut, event.Disabled:
		code = http.StatusForbidden
	default:
		code = http.StatusTooManyRequests
	}
	if sending.After > 0 {
		page.RetryAfter(v.w.Header(), sending.After)
	}
	if v.json {
		if code != http.StatusOK {
			page.WriteError(v.w, code, sending.Reason)
			return
		}
		st, _ := p.Flow.Challenge(s)
		page.WriteJSON(v.w, http.StatusOK, page.SMS{AccountSid: "caddymfa", Sid: st.ID})
		return
	}
	view := p.challengeView(v)
	if _, typed := v.field("phoneno2fa"); typed == intake.Exact && code == http.StatusBadRequest {
		view.Kind = page.Number
		view.Typed, _ = v.field("phoneno2fa")
	}
	if sending.Reason == event.Sent {
		st, _ := p.Flow.Challenge(s)
		view.Sent = st.Sends > 1
	} else {
		view.Reason = sending.Reason
	}
	p.page(v, code, view)
}

func (p *Portal) cancel(v *visit) { p.leave(v, event.Cancelled) }
func (p *Portal) logout(v *visit) { p.leave(v, event.Logout) }

// leave ends the session and everything in it.
func (p *Portal) leave(v *visit, reason event.Reason) {
	if err := p.Flow.End(v.c.R.Context(), v.g, v.c.Session, reason); err != nil {
		p.storeDown(v, err)
		return
	}
	p.Flow.Sessions.ClearHandle(v.w.Header(), &v.g.Gate, v.c.Secure)
	if v.json {
		page.WriteJSON(v.w, http.StatusOK, page.Status{Level: "", Location: p.Login})
		return
	}
	p.seeOther(v, p.Login)
}

// state is the page for what the session is: the code, the number, or a word.
func (p *Portal) state(v *visit) {
	if v.json {
		p.status(v)
		return
	}
	switch v.c.R.Header.Get("Sec-Fetch-Dest") {
	case "iframe", "frame", "embed", "object":
		p.page(v, http.StatusOK, page.View{Kind: page.Frame})
		return
	}
	switch {
	case v.c.State == session.Attempting:
		p.page(v, http.StatusConflict, page.View{Kind: page.Message, Reason: event.InProgress})
	case v.c.State != session.Live || v.c.Session.Level == session.Anonymous:
		p.page(v, http.StatusOK, page.View{Kind: page.Message, Reason: event.Anonymous})
	case v.c.Session.Level == session.Pending:
		p.page(v, http.StatusOK, p.challengeView(v))
	default:
		p.page(v, http.StatusOK, page.View{Kind: page.SignedIn, User: v.c.Session.User})
	}
}

func (p *Portal) status(v *visit) {
	out := page.Status{}
	if v.c.State == session.Live {
		out.Level = string(v.c.Session.Level)
		out.ExpireIn = page.Time(v.c.Session.ExpiresAt)
		if v.c.Session.Level == session.Pending {
			out.Location = p.Prefix
		}
	}
	page.WriteJSON(v.w, http.StatusOK, out)
}

// challengeView describes the challenge of a pending session.
func (p *Portal) challengeView(v *visit) page.View {
	st, err := p.Flow.Challenge(v.c.Session)
	if err != nil {
		return page.View{Kind: page.Message, Reason: event.UnknownHandle}
	}
	view := page.View{
		Kind: page.Code, Digits: p.Flow.Codes.Length, Minutes: max(1, int(st.Life(p.Flow.Codes)/time.Minute)),
		Change: st.Enrol, Unsent: st.Failed, Regions: p.Regions,
	}
	switch {
	case st.Number == "" || st.Enrol && v.c.R.URL.Query().Has("number"):
		view.Kind = page.Number
	case st.Sends == 0:
		view.Kind = page.Ask
	}
	if n := st.Number; len(n) > 2 {
		view.Ending = n[len(n)-2:]
	}
	view.Wait, view.Resend = st.Wait(p.Flow.Codes, time.Now())
	return view
}

func (p *Portal) fail(v *visit, code int, reason event.Reason) {
	p.Flow.Events(v.c.R.Context(), event.Event{Name: event.Refused, Reason: reason, App: v.g.App})
	if code == http.StatusUnauthorized {
		v.w.Header().Set("WWW-Authenticate", "MFA")
	}
	if v.json {
		page.WriteError(v.w, code, reason)
		return
	}
	p.page(v, code, page.View{Kind: page.Message, Reason: reason})
}

func (p *Portal) storeDown(v *visit, err error) {
	p.Flow.Events(v.c.R.Context(), event.Event{Name: event.StoreFailed, Reason: event.StoreDown, App: v.g.App, Err: err})
	v.w.Header().Set("Retry-After", "5")
	p.fail(v, http.StatusServiceUnavailable, event.StoreDown)
}

func (p *Portal) page(v *visit, code int, view page.View) {
	view.App, view.Base, view.Login = v.g.App, p.Prefix, p.Login
	if v.c.State == session.Live {
		view.Token = p.Flow.Token(v.g, v.c.Session)
	}
	p.Pages.Write(v.w, v.c.R, code, view)
}

func (p *Portal) seeOther(v *visit, to string) {
	v.w.Header().Set("Location", to)
	v.w.Header().Set("Cache-Control", "no-store")
	v.w.WriteHeader(http.StatusSeeOther)
}
