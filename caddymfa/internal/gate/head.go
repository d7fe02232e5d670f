package gate

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// short is the length up to which an answer is not worth watching, in bytes: it
// has left before anybody could end its session.
const short = 256 << 10

// lasts reports whether an answer may be under way for longer: a stream, or a
// large one.
func lasts(h http.Header) bool {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	return err != nil || n > short
}

// dropTrailers keeps cookies out of the trailer section (attack A5).
func dropTrailers(h http.Header) {
	delete(h, http.TrailerPrefix+"Set-Cookie")
	if len(h["Trailer"]) > 0 {
		delete(h, "Set-Cookie")
	}
}

// head handles the head of an answer that is about to pass.
type head struct {
	g *Gate
	v *visit
	s *session.Session
	// asked is when a verified session's request came, and doubts how many doubts
	// were over by then; settle ends the one that the request itself raises,
	// nil where it raises none.
	asked  time.Time
	doubts int64
	settle func()
	tap    *upstream.Tap   // of an answer to who is not verified
	stream *session.Stream // nil where nothing has to end with the session
	live   context.Context // ends with the session; nil but for what leaves HTTP
	logout *Logout
	// given are the Set-Cookie lines that outer handlers had set: not the
	// application's.
	given     int
	loginPage bool
	// confirmed: the application was asked whose session it is, and has answered.
	confirmed bool
	// putOff: it is to be asked later. over: the session has ended with this answer.
	putOff, over bool

	reason event.Reason
	err    error
}

// release unties what may still be tied to the session.
func (h *head) release() {
	if h.stream != nil {
		h.stream.Release()
		h.stream = nil
	}
}

// detached is for what is written with an answer: it is written although the
// client hangs up meanwhile.
func (h *head) detached() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(h.v.r.Context()), 5*time.Second)
}

// dropped answers in place of an answer that must not pass.
func (h *head) dropped() event.Reason {
	clearAnswer(h.v.w.Header())
	if h.err != nil {
		return h.g.storeDown(h.v, h.err)
	}
	return h.g.refuse(h.v, h.reason)
}

func (h *head) drop(reason event.Reason, err error) bool {
	h.reason, h.err = reason, err
	return false
}

// cookies takes the application's cookies out of the head. An answer that gives
// some, or that was given to a session's, is one person's (people P3).
func (h *head) cookies(hd http.Header) []jar.Set {
	upstream.CutLocation(hd)
	lines := hd["Set-Cookie"]
	if h.s != nil || len(lines) > h.given {
		upstream.Private(hd)
	}
	if len(lines) <= h.given {
		return nil
	}
	mine := lines[:h.given:h.given]
	hd["Set-Cookie"] = lines[h.given:]
	sets := upstream.TakeCookies(hd, h.v.in.URL.Path, time.Now())
	if len(mine) > 0 {
		hd["Set-Cookie"] = mine
	}
	return sets
}

// trapped holds the traps against the head. A hit ends the session: somebody
// has logged in by a door that we do not know (attack J6).
func (h *head) trapped(status int, hd http.Header, sets []jar.Set) bool {
	if len(h.v.site.Traps) == 0 {
		return false
	}
	before := &jar.Jar{}
	if h.s != nil {
		before = &h.s.Jar
	}
	hit, err := h.v.site.Traps.Any(context.Background(), &match.Answer{Status: status, Header: hd, Sets: sets, Jar: before, Trap: true})
	if !hit && err == nil {
		return false
	}
	h.release()
	h.g.Flow.Trap(h.v.r.Context(), h.v.site, h.s, event.TrapHit, nil)
	h.g.Flow.Sessions.ClearHandle(hd, &h.v.site.Gate, h.v.call.Secure)
	return true
}

// ended reports whether the session ended while the application was still at
// the request. An error means that the store could not say.
func (h *head) ended() (bool, error) {
	doubted := h.settle == nil && h.g.doubts.begun.Load() != h.doubts
	switch {
	case h.live != nil && h.live.Err() != nil:
		return true, nil
	case doubted && !h.g.doubts.wait(h.v.r.Context(), h.s.ID):
		return true, nil // as long as nobody can say whose the answer is, it is nobody's
	case !doubted && time.Since(h.asked) <= session.Freshness:
		return false, nil // as fresh as the session that it was asked with
	}
	ctx, cancel := h.detached()
	defer cancel()
	err := h.g.Flow.Sessions.Still(ctx, &h.v.site.Gate, h.s)
	if errors.Is(err, session.ErrGone) {
		return true, nil
	}
	return false, err
}

func (h *head) verified(status int, hd http.Header) bool {
	sets := h.cookies(hd)
	if h.g.NoStore && h.v.call.Navigation {
		hd["Cache-Control"] = []string{"no-store"} // people P14
	}
	if ended, err := h.ended(); err != nil {
		return h.drop(event.StoreDown, err)
	} else if ended {
		return h.drop(event.UnknownHandle, nil)
	}
	if h.trapped(status, hd, sets) {
		return h.drop(event.TrapHit, nil)
	}
	if h.logout != nil {
		out := status < 400
		if h.logout.Answer != nil {
			out, _ = h.logout.Answer.Any(h.v.r.Context(), &match.Answer{Status: status, Header: hd, Sets: sets, Jar: &h.s.Jar})
		}
		if out {
			h.release() // or ending the session would cut this answer
			if err := h.g.Flow.End(h.v.r.Context(), h.v.site, h.s, event.AppLogout); err != nil {
				return h.drop(event.StoreDown, err)
			}
			h.g.Flow.Sessions.ClearHandle(hd, &h.v.site.Gate, h.v.call.Secure)
			page.SignedOut(hd)
			return true
		}
	}
	d := h.doubt(status, hd, sets)
	if d.any(h.s.AskedAt) {
		h.v.tapAt.Ask(maxAsked, func(hd http.Header, body []byte) bool {
			return h.still(d, hd, body, sets) && (h.over || h.pass(hd, sets) && h.body(hd, body))
		})
		return true
	}
	h.putOff = d.changed
	if !h.pass(hd, sets) {
		return false
	}
	if h.mayGive(status, hd) {
		h.v.tapAt.Hold(maxTokenAnswer, h.body)
	}
	return true
}

// pass keeps what the head gives to the session, before the answer leaves.
func (h *head) pass(hd http.Header, sets []jar.Set) bool {
	if !h.keep(hd, sets) {
		return false
	}
	if h.v.site.Bearer.On() {
		if !h.keepTokens(hd, nil) {
			return false
		}
	}
	if h.stream == nil && lasts(hd) {
		h.stream = h.g.Flow.Sessions.Tie(&h.v.site.Gate, h.s, h.v.tapAt.Cut)
	}
	return true
}

// body looks for bearer tokens in an answer that was held for it.
func (h *head) body(hd http.Header, body []byte) bool {
	if !h.v.site.Bearer.On() {
		return true
	}
	plain, err := upstream.Plain(hd, body, maxTokenAnswer)
	if err != nil {
		return true // what cannot be read is not noted, and a token in it opens nothing
	}
	return h.keepTokens(nil, plain)
}

// keep writes the cookies into the session's jar, before the first byte of the
// answer leaves, and gives the browser a handle of the new version.
func (h *head) keep(hd http.Header, sets []jar.Set) bool {
	if len(sets) == 0 && !h.confirmed {
		return true
	}
	now := time.Now()
	base := h.s.Jar
	ours, changes := base.Apply(sets, now)
	if len(changes) > 0 || h.confirmed && h.s.Doubt {
		ctx, cancel := h.detached()
		defer cancel()
		s, err := h.g.Flow.KeepCookies(ctx, h.v.site, h.network, h.s, func(rec session.Record) (session.Record, error) {
			rec.Jar = jar.Merge(base, ours, rec.Jar)
			if h.confirmed {
				rec.AskedAt, rec.Doubt = now, false
			}
			rec.Doubt = rec.Doubt || h.putOff
			return rec, nil
		})
		h.g.Flow.Evicted(ctx, h.v.site, changes)
		_, full := errors.AsType[*limit.Exceeded](err)
		switch {
		case full:
			return h.drop(event.TooManyVisitors, nil)
		case errors.Is(err, session.ErrGone), errors.Is(err, session.ErrTaken):
			return h.drop(event.UnknownHandle, nil) // it ended meanwhile, and so is this answer nobody's
		case err != nil:
			return h.drop(event.StoreDown, err)
		}
		h.s = s
		if !h.v.handleless {
			h.g.Flow.Sessions.SetHandle(hd, &h.v.site.Gate, s, h.v.call.Secure)
		}
	}
	if !h.v.handleless { // who carries a token keeps no cookies
		h.v.site.CopyDown(hd, sets)
	}
	return true
}

func (h *head) anonymous(status int, hd http.Header) bool {
	sets := h.cookies(hd)
	if reason, err := h.lost(); reason != "" {
		return h.drop(reason, err)
	}
	if h.trapped(status, hd, sets) {
		return h.drop(event.TrapHit, nil)
	}
	if h.loginPage && h.loops(status, hd) {
		return h.drop(event.LoginLoop, nil)
	}
	if rule := h.mayLogIn(sets); rule != nil {
		h.tap.Ask(maxAsked, func(hd http.Header, _ []byte) bool { return h.nobody(rule, hd, sets) && h.visitor(hd, sets) })
		return true
	}
	return h.visitor(hd, sets)
}

// visitor keeps the cookies of who is not signed in.
func (h *head) visitor(hd http.Header, sets []jar.Set) bool {
	if h.s != nil || len(sets) == 0 {
		return h.keep(hd, sets)
	}
	fresh, changes := (jar.Jar{}).Apply(sets, time.Now())
	if len(changes) == 0 {
		return true
	}
	ctx, cancel := h.detached()
	defer cancel()
	s, err := h.g.Flow.Visitor(ctx, h.v.site, h.network, session.Record{Jar: fresh})
	if _, full := errors.AsType[*limit.Exceeded](err); full {
		return h.drop(event.TooManyVisitors, nil)
	} else if err != nil {
		return h.drop(event.StoreDown, err)
	}
	h.g.Flow.Sessions.SetHandle(hd, &h.v.site.Gate, s, h.v.call.Secure)
	h.v.site.CopyDown(hd, sets)
	return true
}

// network is where the client comes from.
func (h *head) network() string { return limit.Network(h.v.in.Server.ClientIP()) }

func (h *head) public(status int, hd http.Header) bool {
	sets := h.cookies(hd)
	if h.trapped(status, hd, sets) {
		return h.drop(event.TrapHit, nil)
	}
	return true
}

// loops reports whether the login page sends the visitor to a page that would
// only send him back.
func (h *head) loops(status int, hd http.Header) bool {
	if status < 300 || status > 399 {
		return false
	}
	to, err := h.v.in.URL.Parse(hd.Get("Location"))
	if err != nil || to.Host != "" && to.Host != h.v.r.Host || strings.HasPrefix(to.Path, h.g.Prefix+"/") {
		return false
	}
	req := h.v.r.Clone(context.Background())
	req.Method, req.URL = http.MethodGet, to
	there := &visit{r: req, in: h.v.in, site: h.v.site, call: h.v.call, target: target(req)}
	return h.g.loginFlow(there) == nil && h.g.public(there) == nil
}

// clearAnswer takes everything of a refused answer out of the head that is
// about to be written for another. What outer handlers set goes with it, but
// for what protects the site as a whole.
func clearAnswer(h http.Header) {
	for name := range h {
		switch name {
		case "Strict-Transport-Security", "Server", "Alt-Svc", "Set-Cookie":
		default:
			delete(h, name)
		}
	}
}
