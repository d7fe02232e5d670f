package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

const verifyTime = 15 * time.Second

// Verification is what came of a code.
type Verification struct {
	// Reason is OK, or why the code was not accepted.
	Reason event.Reason
	// Ended: this refusal has ended the session, and the user signs in again. Over: the
	// session is over as well, but by another request, which may have given the browser
	// another handle by now.
	Ended, Over bool
	// Left is how many tries are left, where the code was wrong.
	Left int
	// Until is when a lock ends; zero when it does not end by itself.
	Until time.Time
	// Release is set when the code has opened a pending session; Session when it
	// has changed a verified one.
	Release *Release
	Session *session.Session
}

// Verify checks the code of a pending session: count first, compare second, win
// once. The form that was sent twice has one outcome, see onceMore. An error means that
// the store failed, and that nothing was accepted.
func (f *Flow) Verify(ctx context.Context, g *Gate, c *Call, typed string) (Verification, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	if c.State == session.Attempting {
		code, ok := challenge.Normalise(typed, f.Codes.Length)
		if !ok {
			return f.refused(ctx, g, c.Session, Verification{Reason: event.MalformedCode}), nil
		}
		return f.late(ctx, g, c, code)
	}
	st, now, t, v, err := f.try(ctx, g, c, challenge.SignIn, typed)
	if v.Reason != event.OK || err != nil {
		return v, err
	}
	return f.accept(ctx, g, c, st, t, now)
}

// tried is a try that was counted.
type tried struct {
	// code is what was typed, as it is compared.
	code  string
	guess account.Guess
	account.Standing
}

// try checks a code of the session's challenge. The verification is OK when it
// is right; then it is not used up yet.
func (f *Flow) try(ctx context.Context, g *Gate, c *Call, what challenge.Purpose, typed string) (st challenge.State, now time.Time, t tried, v Verification, err error) {
	s := c.Session
	if st, err = f.Challenge(s); errors.Is(err, session.ErrGone) || err == nil && st.For != what {
		return st, now, t, f.refused(ctx, g, s, Verification{Reason: event.ExpiredCode}), nil
	} else if err != nil {
		return st, now, t, v, err
	}
	code, ok := challenge.Normalise(typed, f.Codes.Length)
	if !ok {
		return st, now, t, f.refused(ctx, g, s, Verification{Reason: event.MalformedCode}), nil
	}
	if now, err = f.Store.Now(ctx); err != nil {
		return st, now, t, v, err
	}
	if st.Expired(now) {
		return st, now, t, f.refused(ctx, g, s, Verification{Reason: event.ExpiredCode}), nil
	}
	t, v, err = f.count(ctx, g, c, st.ID, code)
	if v.Reason != event.OK || err != nil {
		return st, now, t, v, err
	}
	if st.Right(code) {
		return st, now, t, v, nil
	}
	v, err = f.wrong(ctx, g, c, st, t, event.WrongCode)
	return st, now, t, v, err
}

// triesFor is how long tries are remembered: longer than their challenge lives.
const triesFor = challenge.Total + time.Minute

// count counts a try before anything is compared: the challenge's and the user's, in
// one step. The verification is OK when the try may be compared.
func (f *Flow) count(ctx context.Context, g *Gate, c *Call, id, code string) (t tried, v Verification, err error) {
	s := c.Session
	if s.Level != session.Verified {
		// A pending session has one challenge, and after its right code nothing but the
		// session's id is left to name it by.
		id = f.refs.Ref("challenge", string(s.ID[:]))
	}
	t = tried{code: code, guess: account.Guess{Of: id, Typed: f.attempts.MAC("typed", code)[:16], Most: f.Codes.Tries, For: triesFor}}
	if t.Standing, err = f.Accounts.Try(ctx, g.Users, s.User, t.guess); err != nil {
		return t, v, err
	}
	switch {
	case t.Locked:
		v, err = f.end(ctx, g, s, Verification{Reason: lockReason(t.Disabled), Until: t.Until})
		return t, v, err
	case t.Left < 0 && !t.Waiting && s.Level == session.Pending:
		v, err = f.end(ctx, g, s, Verification{Reason: event.UsedUp})
		return t, v, err
	case t.Left < 0: // a right code may be on its way
		return t, f.refused(ctx, g, s, Verification{Reason: event.UsedUp, Over: s.Level != session.Verified}), nil
	}
	return t, Verification{Reason: event.OK}, nil
}

// wrong is a try that was compared in vain.
func (f *Flow) wrong(ctx context.Context, g *Gate, c *Call, st challenge.State, t tried, reason event.Reason) (Verification, error) {
	s := c.Session
	now, err := f.Accounts.Wrong(ctx, g.Users, s.User, t.guess)
	if err != nil {
		return Verification{}, err
	}
	switch {
	case now.JustLocked:
		reason := lockReason(now.Disabled)
		f.emit(ctx, g, s, event.Event{Name: event.Locked, Reason: reason})
		v, err := f.end(ctx, g, s, Verification{Reason: reason, Until: now.Until})
		// The owner's number: the challenge's may be one that is only to be proven.
		if number, a, err := f.number(ctx, g, s.User); err == nil {
			f.tell(ctx, g, s.User, number, c.network(), cmp.Or(a.Lang, st.Lang), sms.Locked)
		}
		return v, err
	case now.Locked:
		return f.end(ctx, g, s, Verification{Reason: lockReason(now.Disabled), Until: now.Until})
	case c.State == session.Attempting:
		return f.refused(ctx, g, s, Verification{Reason: event.AlreadyUsed, Over: true}), nil
	case now.Left <= 0 && s.Level == session.Pending:
		return f.end(ctx, g, s, Verification{Reason: event.UsedUp})
	case now.Left <= 0:
		return f.giveUp(ctx, g, s, st)
	}
	return f.refused(ctx, g, s, Verification{Reason: reason, Left: now.Left}), nil
}

// giveUp takes a verified session its challenge whose tries are used up: another
// text would bring the same code.
func (f *Flow) giveUp(ctx context.Context, g *Gate, s *session.Session, st challenge.State) (Verification, error) {
	next, err := f.Sessions.Update(ctx, &g.Gate, s, func(r session.Record) (session.Record, error) {
		if cur, err := challengeOf(r); err == nil && cur.ID == st.ID {
			r.Challenge = nil
		}
		return r, nil
	})
	if gone(err) {
		return f.refused(ctx, g, s, Verification{Reason: event.UsedUp, Ended: true}), nil
	} else if err != nil {
		return Verification{}, err
	}
	return f.refused(ctx, g, s, Verification{Reason: event.UsedUp, Session: next}), nil
}

func (f *Flow) refused(ctx context.Context, g *Gate, s *session.Session, v Verification) Verification {
	f.emit(ctx, g, s, event.Event{Name: event.Verify, Reason: v.Reason})
	return v
}

// end ends a session that a refusal leaves no use. What another request has made of
// it meanwhile is not touched.
func (f *Flow) end(ctx context.Context, g *Gate, s *session.Session, v Verification) (Verification, error) {
	if s.Level != session.Pending && s.Level != session.Verified {
		v.Over = true
		return f.refused(ctx, g, s, v), nil
	}
	taken, err := f.Sessions.Take(ctx, &g.Gate, s, f.attempts.MAC("end", string(s.ID[:])))
	if gone(err) {
		v.Over = true
		return f.refused(ctx, g, s, v), nil
	} else if err != nil {
		return Verification{}, err
	}
	return f.close(ctx, g, taken, v)
}

// close ends a session that was taken out, after a refusal.
func (f *Flow) close(ctx context.Context, g *Gate, taken *session.Session, v Verification) (Verification, error) {
	if err := f.Sessions.End(ctx, taken); err != nil {
		return Verification{}, err
	}
	v.Ended = true
	return f.refused(ctx, g, taken, v), nil
}

// accept turns a pending session into a verified one: its code, or a recovery
// code in its place, was right. Taking it out has one
// winner, over all nodes; a crash after that costs a login, never opens one.
func (f *Flow) accept(ctx context.Context, g *Gate, c *Call, st challenge.State, t tried, now time.Time) (Verification, error) {
	s, err := f.Sessions.Whole(ctx, &g.Gate, c.Session)
	if gone(err) {
		return f.onceMore(ctx, g, c, t)
	} else if err != nil {
		return Verification{}, err
	}
	taken, err := f.Sessions.Take(ctx, &g.Gate, s, f.opening(s))
	if gone(err) {
		return f.onceMore(ctx, g, c, t)
	} else if err != nil {
		return Verification{}, err
	}
	epoch := s.Epoch
	if st.Enrol && g.Enroll != Invite {
		// Now that the session was taken, it is certain that the store has kept what it
		// had at the login; but that may have been nothing already.
		if shut, err := f.shut(ctx); err != nil {
			return Verification{}, err
		} else if shut {
			return f.close(ctx, g, taken, Verification{Reason: event.EnrolmentShut})
		}
	}
	if st.Enrol && g.Enroll == Invite {
		if err := f.Accounts.UseInvite(ctx, g.Users, intake.FoldUser(s.User), st.Invite); errors.Is(err, account.ErrNotInvited) {
			f.emit(ctx, g, s, event.Event{Name: event.Verify, Reason: event.AlreadyUsed, Err: err})
			return Verification{Reason: event.AlreadyUsed, Ended: true}, f.Sessions.End(ctx, taken)
		} else if err != nil {
			return Verification{}, err
		}
	}
	if st.Enrol {
		switch epoch, err = f.Accounts.Enrol(ctx, g.Users, s.User, s.Epoch, st.Number, st.Lang, now); {
		case errors.Is(err, account.ErrReset), errors.Is(err, account.ErrEnrolled):
			f.emit(ctx, g, s, event.Event{Name: event.Verify, Reason: event.AlreadyUsed, Err: err})
			return Verification{Reason: event.AlreadyUsed, Ended: true}, f.Sessions.End(ctx, taken)
		case err != nil:
			return Verification{}, err
		}
		f.emit(ctx, g, s, event.Event{Name: event.Enrolled, Reason: event.OK})
	}
	if err := f.Accounts.Right(ctx, g.Users, s.User, t.guess, keepTries); err != nil {
		return Verification{}, err
	}
	if err := f.answered(ctx, g, c, st); err != nil {
		return Verification{}, err
	}

	var answer withheld
	if err := json.Unmarshal(s.Reply, &answer); err != nil {
		return Verification{}, fmt.Errorf("verify: withheld answer: %w", err)
	}
	f.Limits.Unwithhold(ctx, len(s.Reply))
	rel, deliver := f.release(ctx, g, c, st, answer)
	rec := session.Record{
		Level: session.Verified, Gen: s.Gen, Jar: s.Jar, User: s.User, As: s.As, Rule: s.Rule, Epoch: epoch, Basic: s.Basic,
		VerifiedAt: now, SeenAt: time.Now(), ExpiresAt: now.Add(g.Lifetime), Led: rel.Location,
	}
	if deliver {
		rec.Deliver = rel.Location
	}
	rel.Session, err = f.open(ctx, g, c, rec)
	if errors.Is(err, session.ErrGone) {
		return f.close(ctx, g, taken, Verification{Reason: event.AlreadyUsed}) // reset meanwhile
	} else if err != nil {
		return Verification{}, err
	}
	if rel.Device, err = f.trust(ctx, g, c, rel.Session, st.Password, now); err != nil {
		return Verification{}, err
	}
	if err := f.releaseTokens(ctx, g, rel.Session, answer.Reply); err != nil {
		return Verification{}, err
	}
	if deliver {
		if err := f.Sessions.Leave(ctx, &g.Gate, rel.Session, encode(answer)); err != nil {
			return Verification{}, err
		}
	}
	if err := f.Sessions.Finish(ctx, &g.Gate, taken, f.remembered(c, taken, t, rel, now), AgainFor); err != nil {
		return Verification{}, err
	}
	f.emit(ctx, g, rel.Session, event.Event{Name: event.Verify, Reason: event.OK})
	f.emit(ctx, g, rel.Session, event.Event{Name: event.Released, Reason: event.OK})
	return Verification{Reason: event.OK, Release: &rel}, nil
}

// answered gives back the count of the texts that a right code has answered, and
// lets the provider know. The number gets texts, whatever was said of it.
func (f *Flow) answered(ctx context.Context, g *Gate, c *Call, st challenge.State) error {
	n, err := phone.Parse(st.Number, "")
	if err != nil || st.Sends == 0 {
		return nil //nolint:nilerr // no text was sent
	}
	f.confirm(g, c.Session, st.Text) //nolint:contextcheck // it outlives the request
	return f.Limits.Answered(ctx, f.text(g, c.Session.User, n, c.network(), st.Unproven()), st.Sends, st.Clients, f.Receipts != nil)
}

// Delivery gives a withheld page out at the address of its login, once.
func (f *Flow) Delivery(ctx context.Context, g *Gate, s *session.Session) (*Release, error) {
	kept, err := f.Sessions.Collect(ctx, &g.Gate, s)
	if err != nil {
		return nil, err
	}
	var answer withheld
	if err := json.Unmarshal(kept, &answer); err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	return &Release{Reply: answer.Reply, Copies: answer.Copies, Session: s}, nil
}

// End ends a session: logout, cancel, a trap.
func (f *Flow) End(ctx context.Context, g *Gate, s *session.Session, reason event.Reason) error {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	if err := f.Sessions.End(ctx, s); err != nil {
		return err
	}
	f.emit(ctx, g, s, event.Event{Name: event.SessionEnded, Reason: reason})
	return nil
}
