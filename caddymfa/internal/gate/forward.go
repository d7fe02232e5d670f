package gate

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// verified forwards the request of a verified session with its jar.
func (g *Gate) verified(v *visit) (event.Reason, error) {
	s := v.call.Session
	if s.Deliver != "" && v.call.Navigation && v.r.Method == http.MethodGet && s.Deliver == v.in.URL.RequestURI() {
		if done, reason := g.deliver(v); done {
			return reason, nil
		}
	}
	if v.bearer == foreign {
		return g.refuse(v, event.UnknownToken), nil
	}
	v.carries = g.peek(v)
	now := time.Now()
	r := v.r
	// Of this field only what was released, or proven, to this session goes on.
	var authorization []string
	if v.proven || v.bearer == released && v.site.Bearer.InHeader(r) != "" {
		authorization = r.Header["Authorization"]
	}
	v.headAt = head{g: g, v: v, s: s, asked: v.at, doubts: v.doubts, logout: g.logout(v), given: len(v.w.Header()["Set-Cookie"])}
	v.tapAt = upstream.Tap{W: v.w, OnHead: (*verifiedHead)(&v.headAt)}
	h, tap := &v.headAt, &v.tapAt
	defer h.release()
	if ended, err := h.ended(); err != nil || ended {
		h.drop(event.UnknownHandle, err) // while the body was waited for
		return h.dropped(), nil
	}
	if v.mayBeLogin(g) {
		h.settle = g.doubts.begin(s.ID)
		defer h.settle()
	}
	if v.body != nil && v.form == nil && (v.r.ContentLength < 0 || v.r.ContentLength > short) {
		// A body that is under way for longer ends with its session.
		h.stream = g.Flow.Sessions.Tie(&v.site.Gate, s, func() { v.body.cut.Store(true); tap.Cut() })
	}
	script := g.adds(v)
	if script != nil {
		tap.W = script
	}
	upstream.Dress(r, v.site.Cookies.Up(r.Header["Cookie"], &s.Jar, v.in.URL.Path, true, now), v.site.Credentials, true)
	if authorization != nil {
		r.Header["Authorization"] = authorization
	}
	if g.rules().Covers(&v.target) {
		intake.StripOverrides(r.Header) // a login must not hide behind another method
	}
	if leavesHTTP(r) {
		// The connection will be out of the tap's hands: its context ends it.
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		r = r.WithContext(ctx)
		h.live = ctx
		h.stream = g.Flow.Sessions.Tie(&v.site.Gate, s, cancel)
	}
	v.in.Server.Announce(s.Level, s.User, s.VerifiedAt)

	err := v.next.ServeHTTP(tap, r)
	if err != nil && !v.broken() && h.settle != nil {
		// Perhaps somebody has logged in, and the application broke off: nobody can
		// say any more whose session it is.
		h.release() // or ending the session would cut what is said of it
		g.Flow.Trap(v.r.Context(), v.site, s, event.AnotherUser, err)
		g.Flow.Sessions.ClearHandle(v.w.Header(), &v.site.Gate, v.call.Secure)
	}
	if err != nil && tap.Status() == 0 && v.broken() {
		return g.refuse(v, event.Ambiguous), nil
	}
	if err != nil && tap.Status() == 0 {
		// Returned, the error would run the site's error routes for somebody who
		// is no longer verified.
		if ended, fail := h.ended(); ended || fail != nil {
			h.cookies(v.w.Header())
			h.drop(event.UnknownHandle, fail)
			return h.dropped(), nil
		}
	}
	if err == nil && tap.Status() == 0 {
		tap.WriteHeader(http.StatusOK)
	}
	if err == nil {
		tap.Finish()
		finish(script)
	}
	dropTrailers(v.w.Header())
	if tap.Dropped() {
		return h.dropped(), nil
	}
	return event.OK, err
}

// verifiedHead is a head of an answer to a verified session.
type verifiedHead head

// OnHead implements [upstream.Head].
func (h *verifiedHead) OnHead(status int, hd http.Header) bool {
	return (*head)(h).verified(status, hd)
}

func finish(s *upstream.Script) {
	if s != nil {
		s.Finish()
	}
}

// leavesHTTP reports whether a request may turn its connection into a tunnel.
func leavesHTTP(r *http.Request) bool {
	return len(r.Header["Upgrade"]) > 0 || r.Method == http.MethodConnect
}

// deliver shows the page that was withheld, once.
func (g *Gate) deliver(v *visit) (bool, event.Reason) {
	rel, err := g.Flow.Delivery(v.r.Context(), v.site, v.call.Session)
	switch {
	case errors.Is(err, session.ErrGone):
		return false, "" // it was collected: the application answers
	case err != nil:
		return true, g.storeDown(v, err)
	}
	for _, line := range rel.Copies {
		v.w.Header().Add("Set-Cookie", line)
	}
	rel.Reply.Write(v.w)
	return true, event.OK
}

// logout finds the entry that a request may end the session by.
func (g *Gate) logout(v *visit) *Logout {
	for i := range g.Logouts {
		l := &g.Logouts[i]
		if !l.Ends(v.r, v.target.Path, v.target.Spellings) {
			continue
		}
		if l.JSON != nil {
			if f, reason := g.read(v); reason != "" || !f.JSONMay(l.JSON.Name, l.JSON.Value) {
				continue
			}
		}
		return l
	}
	return nil
}

// forwardLoginFlow forwards what belongs to signing in, with the anonymous jar.
func (g *Gate) forwardLoginFlow(v *visit, e *opening) event.Reason {
	s := v.call.Session // nil or anonymous
	var before jar.Jar
	if s != nil {
		before = s.Jar
	}
	g.expireOld(v, s)
	h := &head{g: g, v: v, s: s, given: len(v.w.Header()["Set-Cookie"]), loginPage: e.loginPage && v.call.Navigation}
	return g.forwardBefore(v, e, v.site.Cookies.Up(v.r.Header["Cookie"], &before, v.in.URL.Path, false, time.Now()), h, h.anonymous)
}

// forwardPublic forwards without anything that could log somebody in.
func (g *Gate) forwardPublic(v *visit, e *opening) event.Reason {
	h := &head{g: g, v: v, given: len(v.w.Header()["Set-Cookie"])}
	return g.forwardBefore(v, e, "", h, h.public)
}

// forwardBefore forwards a request of somebody who is not verified.
func (g *Gate) forwardBefore(v *visit, e *opening, cookies string, h *head, onHead func(int, http.Header) bool) event.Reason {
	if v.checkTarget() != nil {
		return g.refuse(v, event.Ambiguous)
	}
	if v.r.ContentLength != 0 {
		// What has a body is forwarded as it was read: no parser of the application
		// finds a name and a password in it that were not seen here.
		if _, reason := g.read(v); reason != "" {
			return g.refuse(v, reason)
		}
	}
	switch {
	case e.asset:
		v.r.URL.RawQuery = ""
	case e.restricts:
		v.r.URL.RawQuery = e.entry.Keep(v.params(), e.also...)
	}
	v.restate()
	upstream.Dress(v.r, cookies, v.site.Credentials, false)
	intake.StripOverrides(v.r.Header)
	v.in.Server.Announce(session.Anonymous, "", time.Time{})
	tap := &upstream.Tap{W: v.w, OnHead: upstream.HeadFunc(onHead)}
	h.tap = tap
	if reason, err := h.lost(); reason != "" { // while the body was waited for, or on another node
		h.drop(reason, err)
		return h.dropped()
	}
	script := g.adds(v)
	if script != nil {
		tap.W = script
	}
	err := v.next.ServeHTTP(tap, v.r)
	if err == nil && tap.Status() == 0 {
		tap.WriteHeader(http.StatusOK)
	}
	if err == nil {
		tap.Finish()
		finish(script)
	}
	dropTrailers(v.w.Header())
	switch {
	case tap.Dropped():
		return h.dropped()
	case err != nil && tap.Status() == 0:
		// Returned, the error would run the site's error routes, which lie
		// outside the gate and may be the application.
		if v.broken() {
			return g.refuse(v, event.Ambiguous)
		}
		return g.refuse(v, event.NoAnswer)
	}
	return event.OK
}

// expireOld takes away the session cookies that a browser still holds from the
// time before the gate. They were never forwarded; without them a browser does
// not send what it no longer needs (attack J10).
func (g *Gate) expireOld(v *visit, s *session.Session) {
	if s != nil || !v.call.Navigation {
		return
	}
	for _, c := range v.r.Cookies() {
		if g.session(c.Name) {
			http.SetCookie(v.w, &http.Cookie{Name: c.Name, Path: "/", MaxAge: -1}) //nolint:gosec // it takes a cookie away
		}
	}
}
