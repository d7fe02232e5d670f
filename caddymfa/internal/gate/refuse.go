package gate

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// portal hands a request to our own routes.
func (g *Gate) portal(v *visit) event.Reason {
	g.announce(v)
	v.call.ClientIP = v.in.Server.ClientIP()
	if strings.HasSuffix(v.in.URL.Path, flow.ReceiptPath) {
		v.in.Server.NoLog() // the address names a text
	}
	if v.handleless {
		// Our pages are for who has the handle: a token may be in more hands, and
		// must not become one.
		v.call.Session, v.call.State = nil, session.NoHandle
	}
	g.Portal(v.w, v.site, v.call)
	return event.OK
}

// callAPI hands a request to the API. Its address may hold tokens.
func (g *Gate) callAPI(v *visit) event.Reason {
	v.in.Server.NoLog()
	g.announce(v)
	g.API(v.w, v.site, g.asking(v))
	return event.OK
}

// attempt runs a login and writes what came of it.
func (g *Gate) attempt(v *visit, rules login.Rules) (event.Reason, error) {
	v.call.Closed = !g.answersLeave(v, rules)
	out, err := g.Flow.Login(v.r.Context(), v.site, g.asking(v), rules, v.form)
	return g.outcome(v, out, err)
}

// outcome writes what came of an attempt.
func (g *Gate) outcome(v *visit, out flow.Outcome, err error) (event.Reason, error) {
	if err != nil {
		return g.storeDown(v, err), nil
	}
	h := v.w.Header()
	switch {
	case out.Session != nil:
		g.Flow.Sessions.SetHandle(h, &v.site.Gate, out.Session, v.call.Secure)
	case out.Reason != event.InProgress && out.Reason != event.ClientLogins && v.call.State != session.NoHandle:
		g.Flow.Sessions.ClearHandle(h, &v.site.Gate, v.call.Secure)
	}
	if out.Device != "" {
		v.site.Cookie.SetDevice(h, out.Device, v.call.Secure, v.site.TrustedDevice)
	}
	switch {
	case out.Reason == event.OK && out.Reply == nil:
		// Let in without a second factor, and not forwarded yet.
		s, err := g.Flow.Sessions.Reload(v.r.Context(), &v.site.Gate, out.Session)
		if errors.Is(err, session.ErrGone) {
			return g.refuse(v, event.UnknownHandle), nil
		} else if err != nil {
			return g.storeDown(v, err), nil
		}
		v.call.Session, v.call.State, v.proven = s, session.Live, !g.FirstFactor
		return g.verified(v)
	case out.Reason == event.OK:
		if !out.Failed {
			v.site.LeadReply(v.call, h, out.Reply)
		}
		out.Reply.Write(v.w)
		return event.OK, nil
	case out.Reason == event.Pending && v.call.Navigation:
		g.seeOther(v, g.Prefix)
		return event.Pending, nil
	case out.Reason == event.Pending:
		v.call.Session, v.call.State = out.Session, session.Live
		h.Set(page.Mark, page.Challenged)
		return g.challenge(v, out.Text), nil
	}
	var left time.Duration
	if !out.Until.IsZero() {
		left = max(0, time.Until(out.Until))
	}
	return g.refuseFor(v, out.Reason, left), nil
}

// owed answers a request of somebody who owes the code.
func (g *Gate) owed(v *visit) event.Reason {
	g.announce(v)
	g.emit(v, event.Pending)
	switch {
	case framed(v.r):
		g.page(v, http.StatusForbidden, page.View{Kind: page.Frame})
	case v.call.Navigation:
		g.seeOther(v, g.Prefix)
	default:
		return g.challenge(v, "")
	}
	return event.Pending
}

// challenge answers a program that the second factor is owed. text is the
// provider's id of a text that was sent now.
func (g *Gate) challenge(v *visit, text string) event.Reason {
	st, err := g.Flow.Challenge(v.call.Session)
	if err != nil {
		full, loadErr := g.Flow.Sessions.Reload(v.r.Context(), &v.site.Gate, v.call.Session)
		if loadErr != nil {
			return g.refuse(v, event.UnknownHandle)
		}
		if st, err = g.Flow.Challenge(full); err != nil {
			return g.refuse(v, event.UnknownHandle)
		}
		v.call.Session = full
	}
	page.Readable(v.w.Header(), v.call.Origin)
	page.WriteChallenge(v.w, g.ChallengeStatus, page.Challenge{
		Token: g.Flow.Token(v.site, v.call.Session), Expires: v.call.Session.ExpiresAt,
		Number: st.Number, Verified: !st.Enrol, Sent: st.Sends > 0 && st.Failed == "", ID: cmp.Or(text, st.ID), Base: g.Prefix, Invite: v.site.Uninvited(st),
		Waits: st.Number != "" && st.Sends == 0, Unsent: st.Unsent(),
	})
	return event.Pending
}

// closed answers a request that no row of the table lets through.
func (g *Gate) closed(v *visit) event.Reason {
	if v.call.State == session.Attempting {
		return g.refuse(v, event.InProgress)
	}
	reason := event.Anonymous
	if v.call.State == session.Unknown {
		reason = event.UnknownHandle
	}
	if !v.call.Navigation || g.asksBasic(v) {
		return g.refuse(v, reason)
	}
	if v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		return g.refuse(v, event.NotSent)
	}
	if framed(v.r) {
		g.emit(v, reason)
		g.page(v, http.StatusUnauthorized, page.View{Kind: page.Frame})
		return reason
	}
	g.expireOld(v, v.call.Session)
	g.emit(v, reason)
	to := g.signIn(v)
	if next := v.in.URL.RequestURI(); g.LoginPage != nil && (g.LoginPage.Next == "" || len(next) > maxNext) && intake.Local(next) {
		v.site.Cookie.SetWanted(v.w.Header(), next, v.call.Secure) // nobody else remembers it
	}
	g.seeOther(v, to)
	return reason
}

// signIn is where signing in begins for who wanted this page.
func (g *Gate) signIn(v *visit) string {
	next := v.in.URL.RequestURI()
	if !intake.Local(next) {
		next = ""
	}
	return g.loginURL(next)
}

// framed reports whether a navigation happens inside a frame of a page.
func framed(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "iframe", "frame", "embed", "object":
		return true
	}
	return false
}

// status is the HTTP status of a refusal.
func status(reason event.Reason) int {
	switch reason {
	case event.Anonymous, event.UnknownHandle, event.NotSent, event.WrongPassword, event.UnknownToken, event.Unidentified:
		return http.StatusUnauthorized
	case event.Ambiguous, event.LoginByGet:
		return http.StatusBadRequest
	case event.Denied, event.CrossSite, event.TrapHit, event.AnotherUser, event.NoNumber, event.NotInvited, event.EnrolmentShut, event.NoUser, event.LockedOut, event.Disabled:
		return http.StatusForbidden
	case event.InProgress:
		return http.StatusConflict
	case event.BodyTooLarge:
		return http.StatusRequestEntityTooLarge
	case event.TooManyVisitors, event.ClientLogins:
		return http.StatusTooManyRequests
	case event.NoAnswer, event.Unreadable, event.NoVerdict, event.LoginLoop:
		return http.StatusBadGateway
	}
	return http.StatusServiceUnavailable
}

// refuse writes a refusal: a page for a person, JSON for a program.
func (g *Gate) refuse(v *visit, reason event.Reason) event.Reason { return g.refuseFor(v, reason, 0) }

// refuseFor is refuse where the refusal ends by itself after that time.
func (g *Gate) refuseFor(v *visit, reason event.Reason, left time.Duration) event.Reason {
	g.emit(v, reason)
	code := status(reason)
	if code == http.StatusUnauthorized { // RFC 9110 15.5.2: a 401 names a scheme
		// Of a script's call a browser makes a password window of its own, which the page
		// knows nothing of: only navigations are asked for HTTP Basic (people P23).
		scheme := "MFA"
		if v.call.Navigation && g.asksBasic(v) {
			scheme = realm(v.site.App)
		}
		v.w.Header().Set("WWW-Authenticate", scheme)
	}
	if left > 0 && code == http.StatusTooManyRequests {
		page.RetryAfter(v.w.Header(), left)
	}
	page.Readable(v.w.Header(), v.call.Origin)
	if !v.call.Navigation {
		page.WriteErrorUntil(v.w, code, reason, left)
		return reason
	}
	g.page(v, code, page.View{Kind: page.Message, Reason: reason, Until: left})
	return reason
}

func (g *Gate) storeDown(v *visit, err error) event.Reason {
	g.Flow.Events(v.r.Context(), event.Event{Name: event.StoreFailed, Reason: event.StoreDown, App: v.site.App, Err: err})
	v.w.Header().Set("Retry-After", "5")
	return g.refuse(v, event.StoreDown)
}

func (g *Gate) page(v *visit, code int, view page.View) {
	view.App, view.Base, view.Login = v.site.App, g.Prefix, g.loginURL("")
	g.Pages.Write(v.w, v.r, code, view)
}

// seeOther sends the browser to an address of this site.
func (g *Gate) seeOther(v *visit, to string) {
	if !intake.Local(to) {
		to = "/"
	}
	v.w.Header().Set("Location", to)
	v.w.Header().Set("Cache-Control", "no-store")
	v.w.WriteHeader(http.StatusSeeOther)
}

func (g *Gate) emit(v *visit, reason event.Reason) {
	e := event.Event{Name: event.Refused, Reason: reason, App: v.site.App}
	if v.call.Session != nil {
		e.User = v.call.Session.User
	}
	g.Flow.Events(v.r.Context(), e)
}

func (g *Gate) announce(v *visit) {
	if s := v.call.Session; s != nil && v.call.State == session.Live {
		v.in.Server.Announce(s.Level, s.User, s.VerifiedAt)
		return
	}
	v.in.Server.Announce(session.None, "", time.Time{})
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
