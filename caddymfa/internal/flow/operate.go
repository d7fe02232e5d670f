package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// What operators do. Each act names who did it, and is an event.

// Operator is who acts on a user of an application.
type Operator struct {
	// App is the application's name, as the gate has it.
	App string
	// User is the application's name of the user, in any spelling.
	User string
	// By names the operator for the audit.
	By string
}

// User is what an operator sees of a user. The number is masked.
type User struct {
	Name       string    `json:"user"`
	UID        string    `json:"uid"`
	Number     string    `json:"number,omitempty"`
	VerifiedAt time.Time `json:"verified_at,omitzero"`
	SetBy      string    `json:"set_by,omitempty"`
	// From says where codes go: the number of a directory, of an operator, or the
	// user's own, proven by a code.
	From NumberFrom `json:"number_from,omitempty"`
	// Mark says why the number, also a directory's, gets no text by itself; nil for
	// most.
	Mark *limit.Mark `json:"number_mark,omitempty"`
	// Codes is how many recovery codes are left, -1 when none were ever made.
	Codes    int       `json:"recovery_codes"`
	Devices  int       `json:"trusted_devices"`
	Sessions int       `json:"sessions"`
	Locked   bool      `json:"locked"`
	Disabled bool      `json:"disabled"`
	Until    time.Time `json:"locked_until,omitzero"`
	// Invited is until when the user may name a number, zero for not invited.
	Invited time.Time `json:"invited_until,omitzero"`
}

// NumberFrom is where a number comes from.
type NumberFrom string

// The sources of numbers.
const (
	ByDirectory NumberFrom = "directory"
	ByOperator  NumberFrom = "operator"
	ByUser      NumberFrom = "user"
)

// UID is a user's name for programs: 32 hex digits.
func (f *Flow) UID(app, user string) string { return account.UID(app, user) }

// UserOf finds the user of a UID.
func (f *Flow) UserOf(ctx context.Context, app, uid string) (user string, ok bool, err error) {
	return f.Accounts.UserOf(ctx, app, uid)
}

// Remember makes a user known to UserOf and Users.
func (f *Flow) Remember(ctx context.Context, app, user string) error {
	return f.Accounts.Remember(ctx, app, user)
}

// Users lists the users of an application that the gate keeps something of.
func (f *Flow) Users(ctx context.Context, app string) ([]string, error) {
	users, err := f.Accounts.Users(ctx, app)
	slices.Sort(users)
	return users, err
}

// canonical is the name under which a user is kept: the one the application gives,
// which the gate has met before in this spelling or in another.
func (o Operator) canonical(ctx context.Context, f *Flow) (string, error) {
	return f.Accounts.Known(ctx, o.App, o.User)
}

// Alias makes another name one of the user's, for applications that know people by
// several, such as a login name and an e-mail address.
func (f *Flow) Alias(ctx context.Context, o Operator, alias string) error {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	user, err := o.canonical(ctx, f)
	if err != nil {
		return err
	}
	if err := f.Accounts.Alias(ctx, o.App, user, alias); errors.Is(err, account.ErrTaken) {
		return fmt.Errorf("%w: %q: reset that user first", ErrTaken, alias)
	} else if err != nil {
		return err
	}
	f.operated(ctx, o, user, "alias "+strconv.Quote(alias))
	return nil
}

// Errors of operators' acts, to be shown to them.
var (
	// ErrTaken: the name is another user's.
	ErrTaken = errors.New("the name is another user's")
	// ErrEnrolled: the user has a number.
	ErrEnrolled = errors.New("the user has a number already: reset it first, or set another one with set-phone")
	// ErrNumber: no codes may go to the number.
	ErrNumber = errors.New("no codes may go to this number")
)

// changeNow changes an account as it is now: an operator has begun in no epoch.
func (f *Flow) changeNow(ctx context.Context, app, user string, change func(*account.Account) error) error {
	a, err := f.Accounts.Find(ctx, app, user)
	if err == nil {
		_, err = f.Accounts.Change(ctx, app, user, a.Epoch, change)
	}
	return err
}

func (f *Flow) operated(ctx context.Context, o Operator, user, what string) {
	f.emit(ctx, &Gate{App: o.App}, nil, event.Event{Name: event.Operated, Reason: event.OK, User: user, By: o.By, Detail: what})
}

// Show finds what is kept of a user.
func (f *Flow) Show(ctx context.Context, o Operator) (User, error) {
	user, err := o.canonical(ctx, f)
	if err != nil {
		return User{}, err
	}
	a, standing, err := f.Accounts.Look(ctx, o.App, user)
	if err != nil {
		return User{}, err
	}
	sessions, err := f.Sessions.Members(ctx, o.App, user)
	if err != nil {
		return User{}, err
	}
	gen, err := f.gen(ctx)
	if err != nil {
		return User{}, err
	}
	invited, err := f.Accounts.Invited(ctx, o.App, intake.FoldUser(user), gen)
	if err != nil {
		return User{}, err
	}
	out := User{
		Name: user, UID: account.UID(o.App, user), VerifiedAt: a.VerifiedAt, SetBy: a.By, Codes: -1, Devices: len(a.Devices),
		Sessions: len(sessions), Locked: standing.Locked, Disabled: standing.Disabled, Until: standing.Until, Invited: invited,
	}
	if a.Codes != nil {
		out.Codes = len(a.Codes.Hashes)
	}
	if number := f.showNumber(ctx, user, a, &out); number != "" {
		m, err := f.Limits.Marked(ctx, number)
		if err != nil {
			return User{}, err
		} else if m.Why != "" {
			out.Mark = &m
		}
	}
	return out, nil
}

// showNumber finds the number that codes go to, as a login does: a directory's word
// goes before what was enrolled. Of a directory that is away it is the word of the
// last login.
func (f *Flow) showNumber(ctx context.Context, user string, a account.Account, out *User) (number string) {
	if f.Directory != nil {
		var err error
		if number, err = f.Directory.Number(ctx, user); err != nil {
			number = a.Directory
		}
	}
	switch {
	case number != "":
		out.From, out.SetBy, out.VerifiedAt = ByDirectory, "", time.Time{}
	case a.Number == "":
		return ""
	case a.By != "":
		number, out.From = a.Number, ByOperator
	default:
		number, out.From = a.Number, ByUser
	}
	if n, err := phone.Parse(number, ""); err == nil {
		out.Number = n.Masked()
	}
	return number
}

// Reset takes a user's second factor away, and everything that came with it:
// number, recovery codes, trusted browsers, sessions, challenges under way,
// counters. The owner of the number is told.
func (f *Flow) Reset(ctx context.Context, o Operator) error {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	user, err := o.canonical(ctx, f)
	if err != nil {
		return err
	}
	// The epoch first: what is under way comes to nothing from here on.
	was, err := f.Accounts.Reset(ctx, o.App, user)
	if err != nil {
		return err
	}
	if _, err := f.Sessions.DismissAll(ctx, o.App, user, nil); err != nil {
		return err
	}
	if err := f.Accounts.Uninvite(ctx, o.App, intake.FoldUser(user)); err != nil {
		return err
	}
	if err := f.Limits.Forget(ctx, limit.Text{App: o.App, User: user, Number: was.Number}); err != nil {
		return err
	}
	f.operated(ctx, o, user, "reset")
	f.tell(ctx, &Gate{App: o.App}, user, was.Number, "", was.Lang, sms.WasReset)
	return nil
}

// SetNumberOf gives a user a number that the operator vouches for. Sessions and
// trusted browsers end; the old number and the new one are told.
func (f *Flow) SetNumberOf(ctx context.Context, o Operator, input string) error {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	user, err := o.canonical(ctx, f)
	if err != nil {
		return err
	}
	n, reason := f.parse(input)
	if reason != event.OK {
		return fmt.Errorf("%w: %s", ErrNumber, reason)
	}
	now, err := f.Store.Now(ctx)
	if err != nil {
		return err
	}
	var was account.Account
	if err := f.changeNow(ctx, o.App, user, func(a *account.Account) error {
		was = *a
		a.SetNumber(n.E164(), "", o.by(), now)
		return nil
	}); err != nil {
		return err
	}
	if _, err := f.Sessions.DismissAll(ctx, o.App, user, nil); err != nil {
		return err
	}
	f.operated(ctx, o, user, "set number "+n.Masked())
	f.tell(ctx, &Gate{App: o.App}, user, was.Number, "", was.Lang, sms.Changed)
	f.tell(ctx, &Gate{App: o.App}, user, n.E164(), "", was.Lang, sms.Added)
	return nil
}

// by is never empty: a number with a name is an operator's.
func (o Operator) by() string {
	if o.By == "" {
		return "operator"
	}
	return o.By
}

// Unlock forgets a user's wrong codes.
func (f *Flow) Unlock(ctx context.Context, o Operator) error {
	user, err := o.canonical(ctx, f)
	if err != nil {
		return err
	}
	if err := f.Accounts.Unlock(ctx, o.App, user); err != nil {
		return err
	}
	f.operated(ctx, o, user, "unlock")
	return nil
}

// HelpDeskCode makes a code for one login in place of a text: single use, one
// hour, for this user of this application.
func (f *Flow) HelpDeskCode(ctx context.Context, o Operator) (code string, until time.Time, err error) {
	user, err := o.canonical(ctx, f)
	if err != nil {
		return "", until, err
	}
	now, err := f.Store.Now(ctx)
	if err != nil {
		return "", until, err
	}
	gen, err := f.gen(ctx)
	if err != nil {
		return "", until, err
	}
	if err := f.changeNow(ctx, o.App, user, func(a *account.Account) error {
		code = a.MakeHelpDesk(o.by(), gen, now)
		return nil
	}); err != nil {
		return "", until, err
	}
	f.operated(ctx, o, user, "help desk's code")
	return code, now.Add(account.HelpDeskTTL), nil
}

// Invite makes an invitation, by which a user who has no number names one at the
// next login: single use, a week. A user who has a number is ErrEnrolled: who is to
// name another one must be reset first.
func (f *Flow) Invite(ctx context.Context, o Operator) (code string, until time.Time, err error) {
	user, err := o.canonical(ctx, f)
	if err != nil {
		return "", until, err
	}
	a, err := f.Accounts.Find(ctx, o.App, user)
	if err != nil {
		return "", until, err
	}
	if a.Number != "" {
		return "", until, ErrEnrolled
	}
	now, err := f.Store.Now(ctx)
	if err != nil {
		return "", until, err
	}
	gen, err := f.gen(ctx)
	if err != nil {
		return "", until, err
	}
	if code, until, err = f.Accounts.Invite(ctx, o.App, intake.FoldUser(user), gen, now); err != nil {
		return "", until, err
	}
	f.operated(ctx, o, user, "invitation")
	return code, until, nil
}

// EndSessionsOf ends all sessions of a user, and says how many there were.
func (f *Flow) EndSessionsOf(ctx context.Context, o Operator) (int, error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	user, err := o.canonical(ctx, f)
	if err != nil {
		return 0, err
	}
	n, err := f.Sessions.DismissAll(ctx, o.App, user, nil)
	if err == nil {
		f.operated(ctx, o, user, "end sessions")
	}
	return n, err
}

// NewCodes makes recovery codes for a user, as RecoveryCodes does.
func (f *Flow) NewCodes(ctx context.Context, o Operator, renew bool) ([]string, event.Reason, error) {
	user, err := o.canonical(ctx, f)
	if err != nil {
		return nil, "", err
	}
	a, err := f.Accounts.Find(ctx, o.App, user)
	if err != nil {
		return nil, "", err
	}
	codes, reason, err := f.makeCodes(ctx, o.App, user, a.Epoch, renew)
	if reason == event.OK {
		f.operated(ctx, o, user, "recovery codes")
		f.tell(ctx, &Gate{App: o.App}, user, cmp.Or(a.Directory, a.Number), "", a.Lang, sms.NewCodes)
	}
	return codes, reason, err
}

// gone reports whether an error only means that the session has ended.
func gone(err error) bool { return errors.Is(err, session.ErrGone) || errors.Is(err, session.ErrTaken) }
