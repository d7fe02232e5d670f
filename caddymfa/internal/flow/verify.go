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
	// Ended: the pending session is over, and the user signs in again.
	Ended bool
	// Left is how many tries are left, where the code was wrong.
	Left int
	// Until is when a lock ends; zero when it does not end by itself.
	Until time.Time
	// Release is set when the code has opened a pending session; Session when it
	// has changed a verified one.
	Release *Release
	Session *session.Session

	lock account.Standing
}

// Verify checks the code of a pending session: count first, compare second, win
// once. An error means that the store failed, and that nothing was accepted.
func (f *Flow) Verify(ctx context.Context, g *Gate, c *Call, typed string) (Verification, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	st, now, v, err := f.try(ctx, g, c, challenge.SignIn, typed)
	if v.Reason != event.OK || err != nil {
		return v, err
	}
	return f.accept(ctx, g, c, st, now)
}

// try checks a code of the session's challenge. The verification is OK when it
// is right; then it is not used up yet.
func (f *Flow) try(ctx context.Context, g *Gate, c *Call, what challenge.Purpose, typed string) (st challenge.State, now time.Time, v Verification, err error) {
	s := c.Session
	if st, err = f.Challenge(s); errors.Is(err, session.ErrGone) || err == nil && st.For != what {
		return st, now, f.refused(ctx, g, s, Verification{Reason: event.ExpiredCode}), nil
	} else if err != nil {
		return st, now, v, err
	}
	code, ok := challenge.Normalise(typed, f.Codes.Length)
	if !ok {
		return st, now, f.refused(ctx, g, s, Verification{Reason: event.MalformedCode}), nil
	}
	if now, err = f.Store.Now(ctx); err != nil {
		return st, now, v, err
	}
	if st.Expired(now) {
		return st, now, f.refused(ctx, g, s, Verification{Reason: event.ExpiredCode}), nil
	}
	left, v, err := f.count(ctx, g, c, st)
	if v.Reason != event.OK || err != nil {
		return st, now, v, err
	}
	if st.Right(code) {
		return st, now, v, nil
	}
	v, err = f.wrong(ctx, g, c, st, v, left, event.WrongCode)
	return st, now, v, err
}

// count counts a try before anything is compared: the challenge's, then the
// user's. The verification is OK when the try may be compared; it holds what a
// wrong one would mean.
func (f *Flow) count(ctx context.Context, g *Gate, c *Call, st challenge.State) (left int, v Verification, err error) {
	s := c.Session
	n, err := f.Store.Add(ctx, "t:"+st.ID, 1, challenge.Total+time.Minute)
	if err != nil {
		return 0, v, fmt.Errorf("verify: count: %w", err)
	}
	if left = f.Codes.Tries - int(n.N); left < 0 {
		// A pending session is left to its end: a right code may be on its way.
		return left, f.refused(ctx, g, s, Verification{Reason: event.UsedUp, Ended: s.Level == session.Pending}), nil
	}
	standing, err := f.Accounts.Try(ctx, g.Users, s.User)
	if err != nil {
		return left, v, err
	}
	if standing.Locked {
		v, err = f.end(ctx, g, s, Verification{Reason: lockReason(standing.Disabled), Ended: true, Until: standing.Until})
		return left, v, err
	}
	return left, Verification{Reason: event.OK, lock: standing}, nil
}

// wrong is a try that was compared in vain. counted is what count has said.
func (f *Flow) wrong(ctx context.Context, g *Gate, c *Call, st challenge.State, counted Verification, left int, reason event.Reason) (Verification, error) {
	s := c.Session
	switch lock := counted.lock; {
	case lock.JustLocked:
		reason := lockReason(lock.Disabled)
		f.emit(ctx, g, s, event.Event{Name: event.Locked, Reason: reason})
		v, err := f.end(ctx, g, s, Verification{Reason: reason, Ended: true, Until: lock.Until})
		// The owner's number: the challenge's may be one that is only to be proven.
		if number, a, err := f.number(ctx, g, s.User); err == nil {
			f.tell(ctx, g, s.User, number, c.network(), cmp.Or(a.Lang, st.Lang), sms.Locked)
		}
		return v, err
	case left == 0 && s.Level == session.Pending:
		return f.end(ctx, g, s, Verification{Reason: event.UsedUp, Ended: true})
	case left == 0:
		return f.giveUp(ctx, g, s, st)
	}
	return f.refused(ctx, g, s, Verification{Reason: reason, Left: left}), nil
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

// end closes a session after a refusal that leaves it no use.
func (f *Flow) end(ctx context.Context, g *Gate, s *session.Session, v Verification) (Verification, error) {
	if err := f.Sessions.End(ctx, s); err != nil {
		return Verification{}, err
	}
	return f.refused(ctx, g, s, v), nil
}

// accept turns a pending session into a verified one: its code, or a recovery
// code in its place, was right. Taking it out has one
// winner, over all nodes; a crash after that costs a login, never opens one.
func (f *Flow) accept(ctx context.Context, g *Gate, c *Call, st challenge.State, now time.Time) (Verification, error) {
	s, err := f.Sessions.Whole(ctx, &g.Gate, c.Session)
	if gone(err) {
		f.emit(ctx, g, c.Session, event.Event{Name: event.Verify, Reason: event.AlreadyUsed})
		return Verification{Reason: event.AlreadyUsed, Ended: true}, nil
	} else if err != nil {
		return Verification{}, err
	}
	attempt := f.attempts.MAC("verify", st.ID)
	taken, err := f.Sessions.Take(ctx, &g.Gate, s, attempt)
	if gone(err) {
		f.emit(ctx, g, s, event.Event{Name: event.Verify, Reason: event.AlreadyUsed})
		return Verification{Reason: event.AlreadyUsed, Ended: true}, nil
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
			return f.end(ctx, g, taken, Verification{Reason: event.EnrolmentShut, Ended: true})
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
	if err := f.Accounts.Right(ctx, g.Users, s.User); err != nil {
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
	rel, deliver := f.release(ctx, g, st, answer)
	rec := session.Record{
		Level: session.Verified, Gen: s.Gen, Jar: s.Jar, User: s.User, As: s.As, Rule: s.Rule, Epoch: epoch, Basic: s.Basic,
		VerifiedAt: now, SeenAt: time.Now(), ExpiresAt: now.Add(g.Lifetime),
	}
	if deliver {
		rec.Deliver = rel.Location
	}
	rel.Session, err = f.open(ctx, g, c, rec)
	if errors.Is(err, session.ErrGone) {
		return f.end(ctx, g, taken, Verification{Reason: event.AlreadyUsed, Ended: true}) // reset meanwhile
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
	if err := f.Sessions.End(ctx, taken); err != nil {
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
