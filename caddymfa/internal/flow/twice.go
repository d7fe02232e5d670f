package flow

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// The form with the code is sent twice every day: by a double tap, by a phone that
// fills it in and sends it while its owner does, by a reload. A browser shows the
// answer to the last one, and may never have taken the first one's cookie. So for a
// moment the right code has the same outcome for who has sent it: the same session
// and the same way on.

const (
	// AgainFor is how long the right code has its outcome once more.
	AgainFor = 10 * time.Second
	// keepTries is how long its challenge's tries are remembered: somebody who has the
	// old handle alone has no more of them than before.
	keepTries = AgainFor + 5*time.Second
	// twinTime is how long a form waits for the one that was sent with it.
	twinTime = 2 * time.Second
	// maxOutcome bounds, in bytes, what is kept of an outcome. Without the application's
	// answer it is the way on alone.
	maxOutcome = 16 << 10
)

// opened is what a right code has opened. It lies, sealed, in the place of the session
// that was pending.
type opened struct {
	ID       session.ID      `json:"i"`
	Until    time.Time       `json:"u"`
	Location string          `json:"l"`
	Copies   []string        `json:"c,omitempty"`
	Device   string          `json:"d,omitempty"`
	Reply    *upstream.Reply `json:"r,omitempty"`
}

// opening names the attempt that takes a pending session out with its right code.
func (f *Flow) opening(s *session.Session) []byte {
	return f.attempts.MAC("verify", string(s.ID[:]))
}

// bindAgain is what the outcome is sealed with: the old session's id, which is in its
// handle alone, the code, and the browser's name. Nobody else has all of them.
func bindAgain(c *Call, s *session.Session, code string) string {
	return string(s.ID[:]) + code + "\x00" + c.R.UserAgent()
}

// remembered is what is kept of a release for the same code, sent once more; nil where
// it would be too much, or where nobody sends a code twice.
func (f *Flow) remembered(c *Call, s *session.Session, t tried, rel Release, now time.Time) []byte {
	out := opened{ID: rel.Session.ID, Until: now.Add(AgainFor), Location: rel.Location, Copies: rel.Copies, Device: rel.Device, Reply: rel.Reply}
	plain := encode(out)
	if len(plain) > maxOutcome {
		out.Reply = nil
		plain = encode(out)
	}
	if len(plain) > maxOutcome || !c.Twice {
		return nil
	}
	return f.outcomes.Seal(bindAgain(c, s, t.code), plain)
}

// late is a code for a session that is no longer pending: it is counted like any other
// before it is held against the outcome of the right one.
func (f *Flow) late(ctx context.Context, g *Gate, c *Call, code string) (Verification, error) {
	if c.Session.User == "" { // taken by a login, and no code was compared
		return f.refused(ctx, g, c.Session, Verification{Reason: event.AlreadyUsed, Over: true}), nil
	}
	t, v, err := f.count(ctx, g, c, "", code)
	if v.Reason != event.OK || err != nil {
		return v, err
	}
	return f.onceMore(ctx, g, c, t)
}

// twin looks for the same form, sent at the same time, where a recovery code is spent
// already: that one may have spent it, and take the session out in a moment.
func (f *Flow) twin(ctx context.Context, g *Gate, c *Call, t tried) (v Verification, twin bool, err error) {
	if twin, err = f.Accounts.Twice(ctx, g.Users, c.Session.User, t.guess); !twin || err != nil {
		return v, false, err
	}
	end := time.Now().Add(twinTime)
	for wait := 20 * time.Millisecond; time.Now().Before(end); wait = min(2*wait, 200*time.Millisecond) {
		if s, err := f.Sessions.Reload(ctx, &g.Gate, c.Session); gone(err) || err == nil && s.Level != session.Pending {
			v, err = f.onceMore(ctx, g, c, t)
			return v, true, err
		} else if err != nil {
			return v, false, err
		}
		select {
		case <-ctx.Done():
			return v, false, ctx.Err()
		case <-time.After(wait):
		}
	}
	return v, false, nil
}

// onceMore waits for what the right code of a session has opened, and gives it out once
// more to who has sent the same one. The try was counted.
func (f *Flow) onceMore(ctx context.Context, g *Gate, c *Call, t tried) (Verification, error) {
	s := c.Session
	over := func(reason event.Reason) (Verification, error) {
		return f.refused(ctx, g, s, Verification{Reason: reason, Over: true}), nil
	}
	if !c.Twice {
		return over(event.AlreadyUsed)
	}
	sealed, err := f.Sessions.Await(ctx, &g.Gate, s, f.opening(s))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return over(event.InProgress)
	case gone(err):
		return over(event.AlreadyUsed)
	case err != nil:
		return Verification{}, err
	}
	plain, err := f.outcomes.Open(bindAgain(c, s, t.code), sealed)
	if err != nil {
		if c.State == session.Attempting {
			return f.wrong(ctx, g, c, challenge.State{}, t, event.AlreadyUsed)
		}
		return over(event.AlreadyUsed)
	}
	var out opened
	if err := json.Unmarshal(plain, &out); err != nil {
		return over(event.AlreadyUsed)
	}
	now, err := f.Store.Now(ctx)
	if err != nil {
		return Verification{}, err
	}
	if !now.Before(out.Until) {
		return over(event.AlreadyUsed)
	}
	next, err := f.Sessions.Reload(ctx, &g.Gate, &session.Session{ID: out.ID})
	if gone(err) || err == nil && next.Level != session.Verified {
		return over(event.AlreadyUsed) // signed out meanwhile
	} else if err != nil {
		return Verification{}, err
	}
	f.emit(ctx, g, next, event.Event{Name: event.Verify, Reason: event.Repeated})
	return Verification{Reason: event.OK, Release: &Release{Location: out.Location, Reply: out.Reply, Copies: out.Copies, Device: out.Device, Session: next}}, nil
}
