package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
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
	// Release is set when the code was right.
	Release *Release
}

// Verify checks a code: count first, compare second, win once. An error means
// that the store failed, and that nothing was accepted.
func (f *Flow) Verify(ctx context.Context, g *Gate, c *Call, typed string) (Verification, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	s := c.Session
	st, err := f.Challenge(s)
	if err != nil {
		return Verification{}, err
	}
	refuse := func(v Verification) (Verification, error) {
		f.emit(ctx, g, s, event.Event{Name: event.Verify, Reason: v.Reason})
		return v, nil
	}
	code, ok := challenge.Normalise(typed, f.Codes.Length)
	if !ok {
		return refuse(Verification{Reason: event.MalformedCode})
	}
	now, err := f.Store.Now(ctx)
	if err != nil {
		return Verification{}, err
	}
	if st.Expired(now) {
		return refuse(Verification{Reason: event.ExpiredCode})
	}

	// Count: the challenge's tries, then the user's. Both before the comparison.
	n, err := f.Store.Add(ctx, "t:"+st.ID, 1, challenge.Total+time.Minute)
	if err != nil {
		return Verification{}, fmt.Errorf("verify: count: %w", err)
	}
	left := f.Codes.Tries - int(n.N)
	if left < 0 {
		// The session is left to its end: a right code may be on its way.
		return refuse(Verification{Reason: event.UsedUp, Ended: true})
	}
	standing, err := f.Accounts.Try(ctx, g.App, s.User)
	if err != nil {
		return Verification{}, err
	}
	if standing.Locked {
		return f.end(ctx, g, s, refuse, Verification{Reason: lockReason(standing.Disabled), Ended: true, Until: standing.Until})
	}

	if !st.Right(code) {
		v := Verification{Reason: event.WrongCode, Left: left}
		switch {
		case standing.JustLocked:
			f.emit(ctx, g, s, event.Event{Name: event.Locked, Reason: lockReason(standing.Disabled)})
			v = Verification{Reason: lockReason(standing.Disabled), Ended: true, Until: standing.Until}
			v, err := f.end(ctx, g, s, refuse, v)
			f.tell(ctx, g, c, s, st)
			return v, err
		case left == 0:
			return f.end(ctx, g, s, refuse, Verification{Reason: event.UsedUp, Ended: true})
		}
		return refuse(v)
	}
	return f.accept(ctx, g, c, st, now)
}

// end closes a pending session after a refusal that leaves it no use.
func (f *Flow) end(ctx context.Context, _ *Gate, s *session.Session, refuse func(Verification) (Verification, error), v Verification) (Verification, error) {
	if err := f.Sessions.End(ctx, s); err != nil {
		return Verification{}, err
	}
	return refuse(v)
}

// accept turns a pending session into a verified one. Taking it out has one
// winner, over all nodes; a crash after that costs a login, never opens one.
func (f *Flow) accept(ctx context.Context, g *Gate, c *Call, st challenge.State, now time.Time) (Verification, error) {
	s := c.Session
	attempt := f.attempts.MAC("verify", st.ID)
	taken, err := f.Sessions.Take(ctx, &g.Gate, s, attempt)
	if errors.Is(err, session.ErrTaken) || errors.Is(err, session.ErrGone) {
		f.emit(ctx, g, s, event.Event{Name: event.Verify, Reason: event.AlreadyUsed})
		return Verification{Reason: event.AlreadyUsed, Ended: true}, nil
	} else if err != nil {
		return Verification{}, err
	}
	if st.Enrol {
		switch err := f.Accounts.Enrol(ctx, g.App, s.User, account.Account{Number: st.Number, VerifiedAt: now}); {
		case errors.Is(err, store.ErrConflict), errors.Is(err, account.ErrEnrolled):
			f.emit(ctx, g, s, event.Event{Name: event.Verify, Reason: event.AlreadyUsed, Err: err})
			return Verification{Reason: event.AlreadyUsed, Ended: true}, f.Sessions.End(ctx, taken)
		case err != nil:
			return Verification{}, err
		}
		f.emit(ctx, g, s, event.Event{Name: event.Enrolled, Reason: event.OK})
	}
	if err := f.Accounts.Right(ctx, g.App, s.User); err != nil {
		return Verification{}, err
	}
	if n, err := phone.Parse(st.Number, ""); err == nil {
		if err := f.Limits.Answered(ctx, f.text(g, s, n, c.network()), st.Sends); err != nil {
			return Verification{}, err
		}
	}

	var answer withheld
	if err := json.Unmarshal(s.Reply, &answer); err != nil {
		return Verification{}, fmt.Errorf("verify: withheld answer: %w", err)
	}
	rel, deliver := f.release(ctx, g, st, answer)
	rec := session.Record{
		Level: session.Verified, Jar: s.Jar, User: s.User, Basic: s.Basic,
		VerifiedAt: now, SeenAt: time.Now(), ExpiresAt: now.Add(g.Lifetime),
	}
	if deliver {
		rec.Deliver = rel.Location
	}
	rel.Session, err = f.Sessions.Create(ctx, &g.Gate, rec)
	if err != nil {
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
