// Package portal is our own routes: the code page, the number page, the way
// out. It is a thin door to the room flow; every answer is a page for a person
// and JSON for a program.
package portal

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
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
	json bool   // the caller gets JSON
	step string // of the settings, see page.View
}

// Serve answers a request below the prefix.
func (p *Portal) Serve(w http.ResponseWriter, g *flow.Gate, c *flow.Call) {
	v := &visit{w: w, g: g, c: c, json: !c.Navigation}
	route, ours := strings.CutPrefix(c.URL.Path, p.Prefix)
	if !ours { // the site has rewritten the address
		route = strings.TrimPrefix(c.R.URL.Path, p.Prefix)
	}
	route = strings.TrimPrefix(route, "/")
	method := c.R.Method
	reads := method == http.MethodGet || method == http.MethodHead
	if asset, ok := strings.CutPrefix(route, "assets/"); ok && reads {
		p.Pages.Asset(w, c.R, asset)
		return
	}
	act, ok := routes[route]
	if act.ours() {
		c.Origin = ""
	}
	page.Readable(w.Header(), c.Origin)
	switch {
	case "/"+route == flow.ReceiptPath && p.Flow.Listening():
		p.receipt(v)
	case !ok:
		p.fail(v, http.StatusNotFound, event.Denied)
	case reads && act.get != nil:
		if p.may(v, act.level) {
			act.get(p, v)
		}
	case method == http.MethodPost && act.post != nil:
		p.post(v, route, act)
	default:
		p.allow(v, act)
	}
}

// route is what a path does. GET shows, POST acts.
type route struct {
	get, post func(*Portal, *visit)
	// level is what the session must be at; None is for everybody, and for any
	// session that has a first factor to act.
	level session.Level
	// opens: it takes the code that opens a session. The form may be sent twice, and
	// comes with the old session's handle, or with the new one's.
	opens bool
}

// ours reports whether only our own pages may use the route: a listed origin may
// sign its visitors in, and must not look after their second factor.
func (r route) ours() bool { return r.level == session.Verified }

var routes = map[string]route{
	"":        {get: (*Portal).state},
	"status":  {get: (*Portal).status},
	"bridge":  {get: (*Portal).bridge},
	"verify":  {post: (*Portal).verify, level: session.Pending, opens: true},
	"recover": {get: (*Portal).recovery, post: (*Portal).recover, level: session.Pending, opens: true},
	"resend":  {post: (*Portal).resend},
	"invite":  {post: (*Portal).invite, level: session.Pending},
	"phone":   {post: (*Portal).phone, level: session.Pending},
	"cancel":  {post: (*Portal).cancel},
	"logout":  {post: (*Portal).logout},

	"settings":                {get: (*Portal).settings, level: session.Verified},
	"settings/confirm":        {get: (*Portal).confirming, post: (*Portal).confirm, level: session.Verified},
	"settings/confirm/verify": {post: (*Portal).confirmed, level: session.Verified},
	"settings/number":         {get: (*Portal).number, post: (*Portal).changeNumber, level: session.Verified},
	"settings/number/verify":  {post: (*Portal).proveNumber, level: session.Verified},
	"settings/remove":         {get: (*Portal).removing, post: (*Portal).remove, level: session.Verified},
	"settings/codes":          {get: (*Portal).codes, post: (*Portal).makeCodes, level: session.Verified},
	"settings/sessions":       {post: (*Portal).endSession, level: session.Verified},
	"settings/devices":        {post: (*Portal).forgetDevice, level: session.Verified},
}

func (p *Portal) allow(v *visit, act route) {
	methods := "GET, HEAD, POST"
	switch {
	case act.post == nil:
		methods = "GET, HEAD"
	case act.get == nil:
		methods = "POST"
	}
	v.w.Header().Set("Allow", methods)
	p.fail(v, http.StatusMethodNotAllowed, event.Denied)
}

// may reports whether the session is at a route's level, and answers when it is
// not (attack F6).
func (p *Portal) may(v *visit, level session.Level) bool {
	at := session.None
	if v.c.State == session.Live {
		at = v.c.Session.Level
	}
	switch {
	case level == session.None || at == level:
		return true
	case v.c.State == session.Attempting:
		p.fail(v, http.StatusConflict, event.InProgress)
	case at == session.Verified && v.json:
		page.WriteJSON(v.w, http.StatusOK, page.Status{Level: string(at), Location: "/"})
	case at == session.Verified:
		p.seeOther(v, p.Prefix)
	case at != session.Pending:
		p.fail(v, http.StatusUnauthorized, event.Anonymous)
	case v.json:
		p.fail(v, http.StatusForbidden, event.Pending)
	default:
		p.seeOther(v, p.Prefix)
	}
	return false
}

func (p *Portal) bridge(v *visit) {
	p.Pages.WriteBridge(v.w, v.c.R, page.View{
		Digits: p.Flow.Codes.Length, Minutes: int(p.Flow.Codes.Lifetime / time.Minute), Regions: p.Regions,
	})
}

func (p *Portal) post(v *visit, name string, act route) {
	// A foreign page must not act for the user, nor a page of a sibling site
	// (http.CrossOriginProtection refuses same-site as well), unless the operator
	// lists its origin. Forms carry the session's token besides, for browsers that
	// send neither header.
	var protect http.CrossOriginProtection
	if err := protect.Check(v.c.R); err != nil && v.c.Origin == "" {
		p.fail(v, http.StatusForbidden, event.CrossSite)
		return
	}
	form, err := intake.Read(v.c.R, intake.Limits{Memory: maxBody})
	if err != nil || v.c.R.URL.RawQuery != "" && name != "verify" {
		p.fail(v, http.StatusBadRequest, event.Ambiguous)
		return
	}
	v.form = form
	if form.Kind == intake.JSONBody {
		v.json = true
	}
	taken := v.c.State == session.Attempting
	switch {
	case taken && !act.opens:
		p.fail(v, http.StatusConflict, event.AlreadyUsed)
	case !taken && (v.c.State != session.Live || v.c.Session.Level == session.Anonymous):
		p.fail(v, http.StatusUnauthorized, event.UnknownHandle)
	case act.opens && v.c.Session.Level == session.Verified:
		p.opened(v)
	case !p.token(v):
		p.fail(v, http.StatusForbidden, event.BadToken)
	case !taken && !p.may(v, act.level), act.level == session.Verified && p.over(v): // answered
	default:
		act.post(p, v)
	}
}

// over reports whether a verified session has ended while its form was on the way,
// and answers then.
func (p *Portal) over(v *visit) bool {
	err := p.Flow.Sessions.Still(v.c.R.Context(), &v.g.Gate, v.c.Session)
	switch {
	case errors.Is(err, session.ErrGone):
		p.Flow.Sessions.ClearHandle(v.w.Header(), &v.g.Gate, v.c.Secure)
		p.fail(v, http.StatusUnauthorized, event.UnknownHandle)
	case err != nil:
		p.storeDown(v, err)
	}
	return err != nil
}

// opened answers the form with the code in a session that it has opened: the browser
// sent it once more, and had the new handle by then. Nothing is done, so it does not
// matter whose token the form has.
func (p *Portal) opened(v *visit) {
	to := p.Prefix
	if led := v.c.Session.Led; led != "" && time.Since(v.c.Session.VerifiedAt) < flow.AgainFor {
		to = led
	}
	if v.json {
		page.WriteJSON(v.w, http.StatusOK, page.Status{Level: string(session.Verified), Location: to})
		return
	}
	p.seeOther(v, to)
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

func (p *Portal) verify(v *visit) {
	trust, _ := v.field("trust")
	v.c.Trust = trust == "on" || trust == "true"
	if res, ok := p.check(v, "otp", p.Flow.Verify); ok {
		p.release(v, res.Release)
	}
}

// recovery asks for a recovery code.
func (p *Portal) recovery(v *visit) { p.page(v, http.StatusOK, page.View{Kind: page.Recovery}) }

// recover takes a recovery code, or one of the help desk, in place of a text's.
// Whoever needs one is told where to change the number before he goes on. The
// browser is not to be trusted by it.
func (p *Portal) recover(v *visit) {
	res, ok := p.check(v, "backupcode", p.Flow.Recover)
	switch {
	case !ok:
	case v.json || p.wantsAnswer(v):
		p.release(v, res.Release)
	default:
		p.hand(v, res.Release)
		view := page.View{Kind: page.Recovered, Next: res.Release.Location}
		if set, err := p.Flow.Settings(v.c.R.Context(), v.g, v.c.Session); err == nil {
			view.Settings = shown(v, set)
		}
		p.page(v, http.StatusOK, view)
	}
}

// check reads a code and has it checked. What is not right is answered.
func (p *Portal) check(v *visit, field string, check func(context.Context, *flow.Gate, *flow.Call, string) (flow.Verification, error)) (res flow.Verification, ok bool) {
	code, state := v.field(field)
	if state == intake.Ambiguous {
		p.fail(v, http.StatusBadRequest, event.MalformedCode)
		return res, false
	}
	v.c.Twice = true
	res, err := check(v.c.R.Context(), v.g, v.c, code)
	switch {
	case err != nil:
		p.storeDown(v, err)
	case res.Reason != event.OK:
		p.wrong(v, res, field)
	default:
		return res, true
	}
	return res, false
}

// wantsAnswer reports whether the caller asks for the withheld answer itself.
func (p *Portal) wantsAnswer(v *visit) bool {
	want, _ := v.field("release")
	return want == "answer" || v.c.R.URL.Query().Get("release") == "answer"
}

// hand gives the browser what a right code gives it.
func (p *Portal) hand(v *visit, rel *flow.Release) {
	h := v.w.Header()
	v.g.Led(v.c, h)
	p.Flow.Sessions.SetHandle(h, &v.g.Gate, rel.Session, v.c.Secure)
	if rel.Device != "" {
		v.g.Cookie.SetDevice(h, rel.Device, v.c.Secure, v.g.TrustedDevice)
	}
	for _, line := range rel.Copies {
		h.Add("Set-Cookie", line)
	}
	v.c.Session = rel.Session
}

// release lets the user through to where the application would have sent him.
func (p *Portal) release(v *visit, rel *flow.Release) {
	p.hand(v, rel)
	if rel.Reply != nil && p.wantsAnswer(v) {
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

// wrong says why a code of a field was not accepted.
func (p *Portal) wrong(v *visit, res flow.Verification, field string) {
	code := http.StatusForbidden
	if res.Reason == event.MalformedCode {
		code = http.StatusBadRequest
	}
	if res.Ended {
		p.Flow.Sessions.ClearHandle(v.w.Header(), &v.g.Gate, v.c.Secure)
	}
	p.renew(v, res.Session)
	until := time.Duration(0)
	if !res.Until.IsZero() {
		until = max(0, time.Until(res.Until))
	}
	switch {
	case v.json:
		page.WriteError(v.w, code, res.Reason)
	case res.Ended || res.Over:
		p.page(v, code, page.View{Kind: page.Message, Reason: res.Reason, Until: until})
	default:
		view := p.challengeView(v)
		if field == "backupcode" {
			view = page.View{Kind: page.Recovery, Step: view.Step, For: view.For}
		}
		view.Reason, view.Left, view.Trusting = res.Reason, res.Left, v.c.Trust
		p.page(v, code, view)
	}
}

// renew gives the browser the handle of a session that a step has changed; nil
// is for none.
func (p *Portal) renew(v *visit, s *session.Session) {
	if s == nil {
		return
	}
	v.c.Session = s
	p.Flow.Sessions.SetHandle(v.w.Header(), &v.g.Gate, s, v.c.Secure)
}

func (p *Portal) resend(v *visit) {
	if _, err := p.Flow.Challenge(v.c.Session); err != nil {
		if p.may(v, session.Pending) { // verified, and nothing is owed
			p.fail(v, http.StatusUnauthorized, event.UnknownHandle)
		}
		return
	}
	s, sending, err := p.Flow.Resend(v.c.R.Context(), v.g, v.c)
	p.sent(v, s, sending, err)
}

// invite takes an invitation; the number comes next.
func (p *Portal) invite(v *visit) {
	res, ok := p.check(v, "invite", p.Flow.Accept)
	if !ok {
		return
	}
	p.renew(v, res.Session)
	if v.json {
		p.status(v)
		return
	}
	p.seeOther(v, p.Prefix)
}

func (p *Portal) phone(v *visit) { p.numberTo(v, p.Flow.SetNumber) }

// numberTo reads a number and has a code sent there.
func (p *Portal) numberTo(v *visit, send func(context.Context, *flow.Gate, *flow.Call, string) (*session.Session, flow.Sending, error)) {
	number, state := v.field("phoneno2fa")
	if state != intake.Exact {
		p.sent(v, v.c.Session, flow.Sending{Reason: event.BadNumber}, nil)
		return
	}
	s, sending, err := send(v.c.R.Context(), v.g, v.c, number)
	p.sent(v, s, sending, err)
}

// sent answers a wish for a text.
func (p *Portal) sent(v *visit, s *session.Session, sending flow.Sending, err error) {
	if err != nil {
		p.storeDown(v, err)
		return
	}
	p.renew(v, s)
	code := http.StatusOK
	switch sending.Reason {
	case event.Sent:
	case event.ProofNeeded:
		p.prove(v, "number")
		return
	case event.UnknownHandle: // it has ended meanwhile, and the browser may have another by now
		p.fail(v, http.StatusUnauthorized, sending.Reason)
		return
	case event.NumberKnown, event.BadNumber, event.BadCountry, event.BadNumberType, event.NumberRefused, event.NumberDead, event.NoMobile, event.OptedOut, event.Suspected:
		code = http.StatusBadRequest
	case event.GatewayDown, event.StoreDown, event.Budget, event.CountryLimit, event.AppLimit, event.Unanswered:
		code = http.StatusServiceUnavailable
	case event.Denied, event.NotInvited, event.EnrolmentShut, event.LockedOut, event.Disabled:
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
		page.WriteJSON(v.w, http.StatusOK, page.Text(cmp.Or(sending.Receipt.ID, st.ID)))
		return
	}
	if st, err := p.Flow.Challenge(s); err == nil && sending.Reason == event.Sent && st.Sends == 1 && s.Level == session.Verified {
		p.seeOther(v, p.stepURL(v, st)) // the browser's Back does not send another text
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
	page.SignedOut(v.w.Header())
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
		if st, err := p.Flow.Challenge(v.c.Session); err == nil {
			if out.Text, err = p.delivery(v, st); err != nil {
				p.storeDown(v, err)
				return
			}
		}
	}
	page.WriteJSON(v.w, http.StatusOK, out)
}

// delivery is what became of a challenge's newest text, nil where nobody would say.
func (p *Portal) delivery(v *visit, st challenge.State) (*page.Delivery, error) {
	state, reason, err := p.Flow.Text(v.c.R.Context(), st)
	if state == "" || err != nil {
		return nil, err
	}
	d := &page.Delivery{State: state, Reason: reason}
	if st.Failed == "" { // else it was never sent, and the page says why
		p.Pages.Say(v.c.R, d)
	}
	return d, nil
}

// challengeView describes the challenge of a session, and what asks for one
// where there is none.
func (p *Portal) challengeView(v *visit) page.View {
	st, err := p.Flow.Challenge(v.c.Session)
	if v.c.Session.Level == session.Verified {
		return p.stepView(v, st, err)
	}
	if err != nil {
		return page.View{Kind: page.Message, Reason: event.UnknownHandle}
	}
	view := p.codeView(v, st)
	view.Change, view.Trust = st.Enrol, v.g.TrustedDevice
	switch {
	case v.g.Uninvited(st):
		view.Kind = page.Invitation
	case st.Number == "" || st.Enrol && v.c.R.URL.Query().Has("number"):
		view.Kind = page.Number
	case st.Sends == 0:
		view.Kind = page.Ask
	}
	return view
}

// codeView is the page that asks for the code of a challenge.
func (p *Portal) codeView(v *visit, st challenge.State) page.View {
	view := page.View{
		Kind: page.Code, Digits: p.Flow.Codes.Length, Minutes: max(1, int(st.Life(p.Flow.Codes)/time.Minute)),
		Unsent: st.Unsent(), Regions: p.Regions, Ending: ending(st.Number),
	}
	if view.Unsent == "" {
		// A page that cannot say where its text is asks for the code all the same.
		view.Delivery, _ = p.delivery(v, st)
		view.Watch = v.c.Session.Level == session.Pending // asking again must not keep a verified session alive
	}
	view.Wait, view.Resend = st.Wait(p.Flow.Codes, time.Now())
	return view
}

// ending is what a page tells of a number.
func ending(number string) string { return number[max(0, len(number)-2):] }

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
