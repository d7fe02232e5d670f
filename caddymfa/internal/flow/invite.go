package flow

import (
	"context"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// Uninvited reports whether a challenge waits for an invitation: without one its
// user names no number.
func (g *Gate) Uninvited(st challenge.State) bool {
	return g.Enroll == Invite && st.Enrol && len(st.Invite) == 0
}

// Accept checks the invitation of a user who has no number yet. It counts toward
// the same locks as codes do. The invitation is used up when the number is proven.
func (f *Flow) Accept(ctx context.Context, g *Gate, c *Call, typed string) (Verification, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	s := c.Session
	code, ok := account.NormaliseCode(typed)
	if !ok {
		return f.refused(ctx, g, s, Verification{Reason: event.MalformedCode}), nil
	}
	st, err := f.Challenge(s)
	if gone(err) || err == nil && !g.Uninvited(st) {
		return f.refused(ctx, g, s, Verification{Reason: event.AlreadyUsed}), nil
	} else if err != nil {
		return Verification{}, err
	}
	t, v, err := f.count(ctx, g, c, st.ID, code)
	if v.Reason != event.OK || err != nil {
		return v, err
	}
	proof, err := f.Accounts.Accept(ctx, g.Users, intake.FoldUser(s.User), s.Gen, code)
	if err != nil {
		return Verification{}, err
	}
	if proof == nil {
		return f.wrong(ctx, g, c, st, t, event.WrongInvite)
	}
	next, err := f.Sessions.Update(ctx, &g.Gate, s, func(r session.Record) (session.Record, error) {
		cur, err := challengeOf(r)
		cur.Invite = proof
		r.Challenge = encode(cur)
		return r, err
	})
	if gone(err) {
		return f.refused(ctx, g, s, Verification{Reason: event.AlreadyUsed, Over: true}), nil
	} else if err != nil {
		return Verification{}, err
	}
	f.emit(ctx, g, s, event.Event{Name: event.Invited, Reason: event.OK})
	return Verification{Reason: event.OK, Session: next}, f.Accounts.Right(ctx, g.Users, s.User, t.guess, triesFor)
}
