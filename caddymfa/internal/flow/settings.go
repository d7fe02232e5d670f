package flow

import (
	"context"
	"errors"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// What a verified user may do for himself. The subject is always the session's
// user, never one that a request names.

// FreshFor is how long a proof of the second factor allows what changes it.
const FreshFor = 10 * time.Minute

// Fresh reports whether the second factor was given in this session lately
// enough to change it (NIST SP 800-63B-4 4.1.2.1).
func (f *Flow) Fresh(s *session.Session, now time.Time) bool {
	at := s.ConfirmedAt
	if !s.Weak && s.VerifiedAt.After(at) {
		at = s.VerifiedAt
	}
	return !at.IsZero() && now.Sub(at) < FreshFor
}

// Settings are what a user sees of his second factor.
type Settings struct {
	// Number is where codes go, E.164, "" for none. It is for masking: only its
	// last digits are for a page.
	Number string
	// Changeable: the user may name another number. Removable: he may do without.
	Changeable, Removable bool
	// Codes is how many recovery codes are left, -1 when none were ever made.
	Codes    int
	Devices  []account.Device
	Sessions []session.Member
	// Trust is how long a browser may be trusted, 0 for never.
	Trust time.Duration
	// Fresh: the second factor was proven lately.
	Fresh bool
}

// Settings finds them.
func (f *Flow) Settings(ctx context.Context, g *Gate, s *session.Session) (Settings, error) {
	out, err := f.factor(ctx, g, s)
	if err != nil {
		return Settings{}, err
	}
	out.Sessions, err = f.Sessions.Members(ctx, g.App, s.User)
	return out, err
}

// factor is the settings without the user's sessions, which have to be looked up
// one by one.
func (f *Flow) factor(ctx context.Context, g *Gate, s *session.Session) (Settings, error) {
	number, a, err := f.number(ctx, g, s.User)
	if err != nil {
		return Settings{}, err
	}
	now, err := f.Store.Now(ctx)
	if err != nil {
		return Settings{}, err
	}
	out := Settings{Number: number, Codes: -1, Trust: g.TrustedDevice, Fresh: f.Fresh(s, now)}
	// The number is the user's own word, not a directory's.
	out.Changeable = g.Enroll == Self && number == "" || g.Enroll != FromDirectory && number != "" && number == a.Number
	out.Removable = out.Changeable && number != "" && g.Policy != Required
	if a.Codes != nil {
		out.Codes = len(a.Codes.Hashes)
	}
	for _, d := range a.Devices {
		if now.Before(d.Until) && d.Gen == s.Gen {
			out.Devices = append(out.Devices, d)
		}
	}
	return out, nil
}

// Confirm sends a code to the number of a verified session's user, who is to
// prove it once more.
func (f *Flow) Confirm(ctx context.Context, g *Gate, c *Call) (*session.Session, Sending, error) {
	ctx, cancel := detached(ctx, sendTime+5*time.Second)
	defer cancel()
	number, _, err := f.number(ctx, g, c.Session.User)
	if err != nil {
		return nil, Sending{}, err
	}
	if number == "" {
		return c.Session, Sending{Reason: event.NoNumber}, nil
	}
	return f.sendFor(ctx, g, c, challenge.Confirm, number)
}

// sendFor sends the code of a verified session's challenge. One that is under
// way for the same purpose and number goes on.
func (f *Flow) sendFor(ctx context.Context, g *Gate, c *Call, what challenge.Purpose, number string) (*session.Session, Sending, error) {
	now, err := f.Store.Now(ctx)
	if err != nil {
		return nil, Sending{}, err
	}
	return f.send(ctx, g, c, c.Session, unasked, func(r session.Record) (challenge.State, error) {
		st, err := challengeOf(r)
		if err == nil && st.For == what && st.Number == number && (st.Sends == 0 || now.Before(st.LastSend.Add(challenge.Total))) {
			return st, nil
		} else if err != nil && !errors.Is(err, session.ErrGone) {
			return st, err
		}
		st = challenge.New(what)
		st.Number, st.Lang = number, c.language()
		return st, nil
	})
}

// Confirmed checks the code of Confirm. The session is fresh then.
func (f *Flow) Confirmed(ctx context.Context, g *Gate, c *Call, typed string) (Verification, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	st, now, v, err := f.try(ctx, g, c, challenge.Confirm, typed)
	if v.Reason != event.OK || err != nil {
		return v, err
	}
	return f.settle(ctx, g, c, st, now)
}

// settle uses up the right code of a verified session's challenge: one winner.
func (f *Flow) settle(ctx context.Context, g *Gate, c *Call, st challenge.State, now time.Time) (Verification, error) {
	s, err := f.Sessions.Update(ctx, &g.Gate, c.Session, func(r session.Record) (session.Record, error) {
		if cur, err := challengeOf(r); err != nil || cur.ID != st.ID {
			return r, session.ErrGone
		}
		r.Challenge, r.ConfirmedAt = nil, now
		return r, nil
	})
	if gone(err) {
		return f.refused(ctx, g, c.Session, Verification{Reason: event.AlreadyUsed}), nil
	} else if err != nil {
		return Verification{}, err
	}
	if err := f.Accounts.Right(ctx, g.App, s.User); err != nil {
		return Verification{}, err
	}
	if err := f.answered(ctx, g, c, st); err != nil {
		return Verification{}, err
	}
	f.emit(ctx, g, s, event.Event{Name: event.Verify, Reason: event.OK})
	return Verification{Reason: event.OK, Session: s}, nil
}

// ChangeNumber sends a code to a number that is to take the place of the
// user's, or to be the first. input is what a person typed.
func (f *Flow) ChangeNumber(ctx context.Context, g *Gate, c *Call, input string) (*session.Session, Sending, error) {
	ctx, cancel := detached(ctx, sendTime+5*time.Second)
	defer cancel()
	refuse := func(reason event.Reason) (*session.Session, Sending, error) {
		f.emit(ctx, g, c.Session, event.Event{Name: event.Send, Reason: reason})
		return c.Session, Sending{Reason: reason}, nil
	}
	set, err := f.factor(ctx, g, c.Session)
	if err != nil {
		return nil, Sending{}, err
	}
	switch {
	case !set.Changeable:
		return refuse(event.Denied)
	case set.Number != "" && !set.Fresh:
		return refuse(event.ProofNeeded)
	}
	if shut, err := f.shut(ctx); err != nil {
		return nil, Sending{}, err
	} else if shut && set.Number == "" {
		return refuse(event.EnrolmentShut)
	}
	n, reason := f.parse(input)
	switch {
	case reason != event.OK:
		return refuse(reason)
	case n.E164() == set.Number:
		return refuse(event.NumberKnown)
	}
	return f.sendFor(ctx, g, c, challenge.NewNumber, n.E164())
}

// ProveNumber checks the code of ChangeNumber. The number is the user's from
// then on; his other sessions and his trusted browsers end, and both numbers are
// told.
func (f *Flow) ProveNumber(ctx context.Context, g *Gate, c *Call, typed string) (Verification, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	st, now, v, err := f.try(ctx, g, c, challenge.NewNumber, typed)
	if v.Reason != event.OK || err != nil {
		return v, err
	}
	if v, err = f.settle(ctx, g, c, st, now); v.Reason != event.OK || err != nil {
		return v, err
	}
	shut, err := f.shut(ctx)
	if err != nil {
		return Verification{}, err
	}
	old := ""
	a, err := f.Accounts.Change(ctx, g.App, c.Session.User, c.Session.Epoch, func(a *account.Account) error {
		if old = a.Number; old == "" && shut {
			return errShut
		}
		a.SetNumber(st.Number, st.Lang, "", now)
		return nil
	})
	if errors.Is(err, account.ErrReset) {
		return f.end(ctx, g, v.Session, Verification{Reason: event.AlreadyUsed, Ended: true})
	} else if errors.Is(err, errShut) {
		return f.refused(ctx, g, v.Session, Verification{Reason: event.EnrolmentShut, Session: v.Session}), nil
	} else if err != nil {
		return Verification{}, err
	}
	v.Session, err = f.changed(ctx, g, c, v.Session, a.Epoch, event.OK, old, st.Number, st.Lang)
	return v, err
}

var errShut = errors.New("enrolment is shut")

// changed is what follows another number, or none: this session goes on in the
// new epoch, the others end, and both numbers are told.
func (f *Flow) changed(ctx context.Context, g *Gate, c *Call, s *session.Session, epoch int, reason event.Reason, from, to, lang string) (*session.Session, error) {
	f.emit(ctx, g, s, event.Event{Name: event.NumberChanged, Reason: reason})
	_, ended := f.Sessions.DismissAll(ctx, g.App, s.User, s)
	next, err := f.Sessions.Update(ctx, &g.Gate, s, func(r session.Record) (session.Record, error) {
		r.Epoch = epoch
		return r, nil
	})
	if to == "" {
		f.tell(ctx, g, s.User, from, c.network(), lang, sms.Removed)
	} else {
		f.tell(ctx, g, s.User, from, c.network(), lang, sms.Changed)
		f.tell(ctx, g, s.User, to, c.network(), lang, sms.Added)
	}
	return next, errors.Join(ended, err)
}

// RemoveNumber takes the user's second factor away, where the policy lets him.
// The reason is OK, or why not.
func (f *Flow) RemoveNumber(ctx context.Context, g *Gate, c *Call) (event.Reason, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	s := c.Session
	set, err := f.factor(ctx, g, s)
	if err != nil {
		return "", err
	}
	switch {
	case set.Number == "":
		return event.NoNumber, nil
	case !set.Removable:
		return event.Required, nil
	case !set.Fresh:
		return event.ProofNeeded, nil
	}
	var was account.Account
	a, err := f.Accounts.Change(ctx, g.App, s.User, s.Epoch, func(a *account.Account) error {
		was = *a
		*a = account.Account{Epoch: a.Epoch + 1}
		return nil
	})
	if errors.Is(err, account.ErrReset) {
		return event.AlreadyUsed, nil
	} else if err != nil {
		return "", err
	}
	_, err = f.changed(ctx, g, c, s, a.Epoch, event.Removed, was.Number, "", was.Lang)
	return event.OK, err
}

// RecoveryCodes makes recovery codes: ten, in place of all others. They are
// shown to the user once. Without renew none are made where there are some.
func (f *Flow) RecoveryCodes(ctx context.Context, g *Gate, c *Call, renew bool) ([]string, event.Reason, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	s := c.Session
	set, err := f.factor(ctx, g, s)
	switch {
	case err != nil:
		return nil, "", err
	case set.Number == "":
		return nil, event.NoNumber, nil
	case !set.Fresh:
		return nil, event.ProofNeeded, nil
	}
	codes, reason, err := f.makeCodes(ctx, g.App, s.User, s.Epoch, renew)
	if reason == event.OK {
		f.emit(ctx, g, s, event.Event{Name: event.CodesMade, Reason: event.OK})
	}
	return codes, reason, err
}

var errCodesExist = errors.New("there are recovery codes")

func (f *Flow) makeCodes(ctx context.Context, app, user string, epoch int, renew bool) (codes []string, _ event.Reason, err error) {
	now, err := f.Store.Now(ctx)
	if err != nil {
		return nil, "", err
	}
	_, err = f.Accounts.Change(ctx, app, user, epoch, func(a *account.Account) error {
		if a.Codes != nil && !renew {
			return errCodesExist
		}
		codes = a.MakeCodes(now)
		return nil
	})
	switch {
	case errors.Is(err, errCodesExist):
		return nil, event.CodesExist, nil
	case errors.Is(err, account.ErrReset):
		return nil, event.AlreadyUsed, nil
	case err != nil:
		return nil, "", err
	}
	return codes, event.OK, nil
}

// Recover checks a recovery code, or a code of the help desk: it opens a pending
// session as its code would, and makes a verified one fresh. It counts toward the
// same locks as codes do.
func (f *Flow) Recover(ctx context.Context, g *Gate, c *Call, typed string) (Verification, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	s := c.Session
	code, ok := account.NormaliseCode(typed)
	if !ok {
		return f.refused(ctx, g, s, Verification{Reason: event.MalformedCode}), nil
	}
	now, err := f.Store.Now(ctx)
	if err != nil {
		return Verification{}, err
	}
	st, err := f.Challenge(s)
	if errors.Is(err, session.ErrGone) && s.Level == session.Verified {
		st, err = challenge.State{ID: f.refs.Ref("recover", string(s.ID[:]))}, nil // its tries are counted there
	}
	if err != nil {
		return Verification{}, err
	}
	left, v, err := f.count(ctx, g, c, st)
	if v.Reason != event.OK || err != nil {
		return v, err
	}

	var what account.Spent
	var by string
	a, err := f.Accounts.Change(ctx, g.App, s.User, s.Epoch, func(a *account.Account) error {
		a.Keep(s.Gen)
		if what, by = a.Spend(code, now); what == account.NoCode {
			return errNotNow
		}
		a.Forget("") // who has lost his telephone may have lost his computer as well (attack G5)
		return nil
	})
	switch {
	case errors.Is(err, errNotNow), errors.Is(err, account.ErrReset):
		return f.wrong(ctx, g, c, st, v, left, event.WrongRecovery)
	case err != nil:
		return Verification{}, err
	}
	e := event.Event{Name: event.Recovered, Reason: event.OK, By: by}
	if what == account.HelpDeskCode {
		e.Detail = "help desk's code"
	}
	f.emit(ctx, g, s, e)
	if number, _, err := f.number(ctx, g, s.User); err == nil && number != "" {
		f.tell(ctx, g, s.User, number, c.network(), a.Lang, sms.Recovered)
	}
	if s.Level == session.Pending {
		st.Enrol, st.Sends = false, 0 // no number was proven, and no text answered
		return f.accept(ctx, g, c, st, now)
	}
	next, err := f.Sessions.Update(ctx, &g.Gate, s, func(r session.Record) (session.Record, error) {
		r.ConfirmedAt = now
		return r, nil
	})
	if err != nil {
		return Verification{}, err
	}
	return Verification{Reason: event.OK, Session: next}, f.Accounts.Right(ctx, g.App, s.User)
}

// EndSession ends one of the user's sessions, as Settings lists them.
func (f *Flow) EndSession(ctx context.Context, g *Gate, c *Call, ref string) error {
	all, err := f.Sessions.Members(ctx, g.App, c.Session.User)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Ref == ref {
			f.emit(ctx, g, c.Session, event.Event{Name: event.SessionEnded, Reason: event.Removed})
			return f.Sessions.Dismiss(ctx, g.App, c.Session.User, m)
		}
	}
	return nil
}

// EndOthers ends all sessions of the user but this one.
func (f *Flow) EndOthers(ctx context.Context, g *Gate, c *Call) error {
	_, err := f.Sessions.DismissAll(ctx, g.App, c.Session.User, c.Session)
	f.emit(ctx, g, c.Session, event.Event{Name: event.SessionEnded, Reason: event.Removed})
	return err
}

// ForgetDevice ends the trust in one of the user's browsers, "" in all.
func (f *Flow) ForgetDevice(ctx context.Context, g *Gate, c *Call, id string) error {
	_, err := f.Accounts.Change(ctx, g.App, c.Session.User, c.Session.Epoch, func(a *account.Account) error {
		a.Forget(id)
		return nil
	})
	if errors.Is(err, account.ErrReset) {
		return nil
	}
	if err == nil {
		f.emit(ctx, g, c.Session, event.Event{Name: event.Trusted, Reason: event.Removed})
	}
	return err
}
