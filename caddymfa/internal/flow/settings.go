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

// Aim is the one change that the second factor is proven for once more. The code of
// the sign-in allows none: a script of the page would not have to ask anybody for it
// (attack K21; NIST SP 800-63B-4 4.1.2.1).
type Aim string

// The aims. A proof counts for one change, once.
const (
	ForNumber  Aim = "number"
	ForCodes   Aim = "codes"
	ForRemoval Aim = "remove"
	// ForOne is one of them, whichever is first: clients of LoginRadius' API cannot
	// say which.
	ForOne Aim = "one"
)

// FreshFor is how long a proof of the second factor allows its change.
const FreshFor = 10 * time.Minute

// proven reports whether the second factor was proven for an aim lately enough.
func proven(r session.Record, aim Aim, now time.Time) bool {
	what := Aim(r.ConfirmedFor)
	return (what == aim || what == ForOne) && !r.ConfirmedAt.IsZero() && now.Sub(r.ConfirmedAt) < FreshFor
}

// use uses a proof up: of several changes that want it one gets it.
func (f *Flow) use(ctx context.Context, g *Gate, c *Call, aim Aim) (event.Reason, error) {
	now, err := f.Store.Now(ctx)
	if err != nil {
		return "", err
	}
	next, err := f.Sessions.Update(ctx, &g.Gate, c.Session, func(r session.Record) (session.Record, error) {
		if !proven(r, aim, now) {
			return r, errNotNow
		}
		r.ConfirmedAt, r.ConfirmedFor = time.Time{}, ""
		return r, nil
	})
	switch {
	case errors.Is(err, errNotNow):
		return event.ProofNeeded, nil
	case gone(err):
		return event.AlreadyUsed, nil
	case err != nil:
		return "", err
	}
	c.Session = next
	return event.OK, nil
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
	// Proven is what the second factor was proven for lately, "" for nothing.
	Proven Aim
	// changing: the proof was used up by the change that is under way.
	changing bool

	lang string // the account's
}

// Proof reports whether the second factor was proven for an aim.
func (s Settings) Proof(aim Aim) bool { return s.Proven == aim || s.Proven == ForOne }

// Settings finds them.
func (f *Flow) Settings(ctx context.Context, g *Gate, s *session.Session) (Settings, error) {
	out, err := f.factor(ctx, g, s)
	if err != nil {
		return Settings{}, err
	}
	out.Sessions, err = f.Sessions.Members(ctx, g.Users, s.User)
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
	out := Settings{Number: number, Codes: -1, Trust: g.TrustedDevice, lang: a.Lang}
	if aim := Aim(s.ConfirmedFor); proven(s.Record, aim, now) {
		out.Proven = aim
	} else if number != "" && changing(s.Record, now) {
		out.Proven, out.changing = ForNumber, true
	}
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
// prove it once more for one change.
func (f *Flow) Confirm(ctx context.Context, g *Gate, c *Call, aim Aim) (*session.Session, Sending, error) {
	ctx, cancel := detached(ctx, sendTime+5*time.Second)
	defer cancel()
	number, _, err := f.number(ctx, g, c.Session.User)
	if err != nil {
		return nil, Sending{}, err
	}
	if number == "" {
		return c.Session, Sending{Reason: event.NoNumber}, nil
	}
	return f.sendFor(ctx, g, c, challenge.Confirm, aim, number)
}

// sendFor sends the code of a verified session's challenge. One that is under
// way for the same purpose and number goes on.
func (f *Flow) sendFor(ctx context.Context, g *Gate, c *Call, what challenge.Purpose, aim Aim, number string) (*session.Session, Sending, error) {
	now, err := f.Store.Now(ctx)
	if err != nil {
		return nil, Sending{}, err
	}
	return f.send(ctx, g, c, c.Session, unasked, func(r session.Record) (challenge.State, error) {
		st, err := challengeOf(r)
		if err == nil && st.For == what && st.Aim == string(aim) && st.Number == number && (st.Sends == 0 || now.Before(st.LastSend.Add(challenge.Total))) {
			return st, nil
		} else if err != nil && !errors.Is(err, session.ErrGone) {
			return st, err
		}
		st = challenge.New(what)
		st.Aim, st.Number, st.Lang = string(aim), number, c.language()
		return st, nil
	})
}

// Confirmed checks the code of Confirm. The one change is open then.
func (f *Flow) Confirmed(ctx context.Context, g *Gate, c *Call, typed string) (Verification, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	st, now, t, v, err := f.try(ctx, g, c, challenge.Confirm, typed)
	if v.Reason != event.OK || err != nil {
		return v, err
	}
	return f.settle(ctx, g, c, st, t, now)
}

// changing reports whether a session's challenge is for another number: the proof for
// that change was used up when it was made.
func changing(r session.Record, now time.Time) bool {
	st, err := challengeOf(r)
	return err == nil && st.For == challenge.NewNumber && now.Before(st.LastSend.Add(challenge.Total))
}

// settle uses up the right code of a verified session's challenge: one winner.
func (f *Flow) settle(ctx context.Context, g *Gate, c *Call, st challenge.State, t tried, now time.Time) (Verification, error) {
	s, err := f.Sessions.Update(ctx, &g.Gate, c.Session, func(r session.Record) (session.Record, error) {
		if cur, err := challengeOf(r); err != nil || cur.ID != st.ID {
			return r, session.ErrGone
		}
		// A proof counts once: that of the change which this one completes is over.
		r.Challenge, r.ConfirmedAt, r.ConfirmedFor = nil, time.Time{}, ""
		if st.For == challenge.Confirm {
			r.ConfirmedAt, r.ConfirmedFor = now, st.Aim
		}
		return r, nil
	})
	if gone(err) {
		return f.refused(ctx, g, c.Session, Verification{Reason: event.AlreadyUsed}), nil
	} else if err != nil {
		return Verification{}, err
	}
	if err := f.Accounts.Right(ctx, g.Users, s.User, t.guess, keepTries); err != nil {
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
	case set.Number != "" && !set.Proof(ForNumber):
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
	if set.Number != "" && !set.changing {
		// The challenge stands for the proof from here on: it allows nothing else.
		if reason, err := f.use(ctx, g, c, ForNumber); reason != event.OK || err != nil {
			return c.Session, Sending{Reason: reason}, err
		}
	}
	return f.sendFor(ctx, g, c, challenge.NewNumber, "", n.E164())
}

// ProveNumber checks the code of ChangeNumber. The number is the user's from
// then on; his other sessions and his trusted browsers end, and both numbers are
// told.
func (f *Flow) ProveNumber(ctx context.Context, g *Gate, c *Call, typed string) (Verification, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	st, now, t, v, err := f.try(ctx, g, c, challenge.NewNumber, typed)
	if v.Reason != event.OK || err != nil {
		return v, err
	}
	if v, err = f.settle(ctx, g, c, st, t, now); v.Reason != event.OK || err != nil {
		return v, err
	}
	shut, err := f.shut(ctx)
	if err != nil {
		return Verification{}, err
	}
	old := ""
	a, err := f.Accounts.Change(ctx, g.Users, c.Session.User, c.Session.Epoch, func(a *account.Account) error {
		if old = a.Number; old == "" && shut {
			return errShut
		}
		a.SetNumber(st.Number, st.Lang, "", now)
		return nil
	})
	if errors.Is(err, account.ErrReset) {
		return f.end(ctx, g, v.Session, Verification{Reason: event.AlreadyUsed})
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
	_, ended := f.Sessions.DismissAll(ctx, g.Users, s.User, s)
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
	}
	if reason, err := f.use(ctx, g, c, ForRemoval); reason != event.OK || err != nil {
		return reason, err
	}
	s = c.Session
	var was account.Account
	a, err := f.Accounts.Change(ctx, g.Users, s.User, s.Epoch, func(a *account.Account) error {
		was = *a
		*a = account.Account{Epoch: a.Epoch + 1}
		return nil
	})
	if errors.Is(err, account.ErrReset) {
		return event.AlreadyUsed, nil
	} else if err != nil {
		return "", err
	}
	if next, err := f.changed(ctx, g, c, s, a.Epoch, event.Removed, was.Number, "", was.Lang); err != nil {
		return event.OK, err
	} else if next != nil {
		c.Session = next
	}
	return event.OK, nil
}

// RecoveryCodes makes recovery codes: ten, in place of all others. They are
// shown to the user once, who is told by text as well. Without renew none are made
// where there are some.
func (f *Flow) RecoveryCodes(ctx context.Context, g *Gate, c *Call, renew bool) ([]string, event.Reason, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	set, err := f.factor(ctx, g, c.Session)
	switch {
	case err != nil:
		return nil, "", err
	case set.Number == "":
		return nil, event.NoNumber, nil
	case set.Codes >= 0 && !renew:
		return nil, event.CodesExist, nil
	}
	if reason, err := f.use(ctx, g, c, ForCodes); reason != event.OK || err != nil {
		return nil, reason, err
	}
	s := c.Session
	codes, reason, err := f.makeCodes(ctx, g.Users, s.User, s.Epoch, renew)
	if reason == event.OK {
		f.emit(ctx, g, s, event.Event{Name: event.CodesMade, Reason: event.OK})
		f.tell(ctx, g, s.User, set.Number, c.network(), set.lang, sms.NewCodes)
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
// session as its code would, and in a verified one it proves the second factor for
// the call's aim. It counts toward the
// same locks as codes do.
func (f *Flow) Recover(ctx context.Context, g *Gate, c *Call, typed string) (Verification, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	s := c.Session
	code, ok := account.NormaliseCode(typed)
	if !ok {
		return f.refused(ctx, g, s, Verification{Reason: event.MalformedCode}), nil
	}
	if c.State == session.Attempting {
		return f.late(ctx, g, c, code)
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
	t, v, err := f.count(ctx, g, c, st.ID, code)
	if v.Reason != event.OK || err != nil {
		return v, err
	}

	var what account.Spent
	var by string
	a, err := f.Accounts.Change(ctx, g.Users, s.User, s.Epoch, func(a *account.Account) error {
		a.Keep(s.Gen)
		if what, by = a.Spend(code, now); what == account.NoCode {
			return errNotNow
		}
		a.Forget("") // who has lost his telephone may have lost his computer as well (attack G5)
		return nil
	})
	switch {
	case errors.Is(err, errNotNow) && s.Level == session.Pending:
		if v, twin, err := f.twin(ctx, g, c, t); twin || err != nil {
			return v, err
		}
		return f.wrong(ctx, g, c, st, t, event.WrongRecovery)
	case errors.Is(err, errNotNow), errors.Is(err, account.ErrReset):
		return f.wrong(ctx, g, c, st, t, event.WrongRecovery)
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
		return f.accept(ctx, g, c, st, t, now)
	}
	next, err := f.Sessions.Update(ctx, &g.Gate, s, func(r session.Record) (session.Record, error) {
		r.ConfirmedAt, r.ConfirmedFor = now, string(c.Aim)
		return r, nil
	})
	if err != nil {
		return Verification{}, err
	}
	return Verification{Reason: event.OK, Session: next}, f.Accounts.Right(ctx, g.Users, s.User, t.guess, keepTries)
}

// EndSession ends one of the user's sessions, as Settings lists them.
func (f *Flow) EndSession(ctx context.Context, g *Gate, c *Call, ref string) error {
	all, err := f.Sessions.Members(ctx, g.Users, c.Session.User)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Ref == ref {
			f.emit(ctx, g, c.Session, event.Event{Name: event.SessionEnded, Reason: event.Removed})
			return f.Sessions.Dismiss(ctx, g.Users, c.Session.User, m)
		}
	}
	return nil
}

// EndOthers ends all sessions of the user but this one.
func (f *Flow) EndOthers(ctx context.Context, g *Gate, c *Call) error {
	_, err := f.Sessions.DismissAll(ctx, g.Users, c.Session.User, c.Session)
	f.emit(ctx, g, c.Session, event.Event{Name: event.SessionEnded, Reason: event.Removed})
	return err
}

// ForgetDevice ends the trust in one of the user's browsers, "" in all.
func (f *Flow) ForgetDevice(ctx context.Context, g *Gate, c *Call, id string) error {
	_, err := f.Accounts.Change(ctx, g.Users, c.Session.User, c.Session.Epoch, func(a *account.Account) error {
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
