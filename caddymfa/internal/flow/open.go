package flow

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// open makes a verified session and makes it known as one of its user's. It is
// session.ErrGone when the account was reset since rec.Epoch.
func (f *Flow) open(ctx context.Context, g *Gate, c *Call, rec session.Record) (*session.Session, error) {
	s, err := f.Sessions.Create(ctx, &g.Gate, rec)
	if err != nil {
		return nil, err
	}
	if err = f.Sessions.Enlist(ctx, g.Users, s, agent(c.R)); err == nil {
		// Only now: a reset finds the session in the list, or is found here.
		var a account.Account
		if a, err = f.Accounts.Find(ctx, g.Users, rec.User); err == nil && a.Epoch != rec.Epoch {
			err = session.ErrGone
		}
	}
	if err != nil {
		_ = f.Sessions.End(ctx, s) // nobody has its handle
		return nil, err
	}
	return s, nil
}

// person is the user whom a name belongs to. A spelling of a known user's name is
// that user: an application that shows a name as it was typed would otherwise let
// a stranger with the password be somebody new, without a number (attack K3).
// early is what was looked up before, nil for nothing.
func (f *Flow) person(ctx context.Context, g *Gate, name string, early *ahead) (user string, err error) {
	if name == "" {
		return "", nil
	}
	if early.of(name) {
		user = early.user
	} else if user, err = f.Accounts.Known(ctx, g.Users, name); err != nil {
		return "", err
	}
	if user != name && intake.FoldUser(name) != name { // a folded name is the gate's own spelling
		f.emit(ctx, g, nil, event.Event{Name: event.SpellingsMet, Reason: event.OK, User: user, Detail: "called " + strconv.Quote(name)})
	}
	return user, nil
}

// ahead is a user's account, looked up before anybody knows that the login is right.
type ahead struct {
	name     string // folded
	done     chan struct{}
	user     string
	account  account.Account
	standing account.Standing
	shut     bool // nobody enrols by the password alone
	err      error
}

// of reports whether what was looked up is about this name, and waits for it.
func (a *ahead) of(name string) bool {
	if a == nil || a.name != intake.FoldUser(name) {
		return false
	}
	<-a.done
	// Where nobody of that name was known, the application's spelling is the one.
	return a.err == nil && (a.user != a.name || a.name == name)
}

// lookAhead looks for the user whom a login names while the application is asked, so
// that a right password does not wait for it. It may be old by the time it is used:
// what begins in an epoch that is over comes to nothing (attack G1), and a lock is
// looked at again with every code.
func (f *Flow) lookAhead(ctx context.Context, g *Gate, name string) *ahead {
	if name == "" {
		return nil
	}
	a := &ahead{name: name, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		if a.user, a.err = f.Accounts.Known(ctx, g.Users, name); a.err == nil {
			f.lookInto(ctx, g, a)
		}
	}()
	return a
}

// lookInto looks for the account of a user, and whether the store can be believed
// where it has none.
func (f *Flow) lookInto(ctx context.Context, g *Gate, a *ahead) {
	with, shut := f.beside()
	if a.account, a.standing, a.err = f.Accounts.Look(ctx, g.Users, a.user, with...); a.err == nil {
		a.shut, a.err = shut(ctx)
	}
}

// look is the user's account, from what was looked up ahead if it is of that user.
func (f *Flow) look(ctx context.Context, g *Gate, user string, early *ahead) (*ahead, error) {
	if early.of(user) && early.user == user {
		return early, nil
	}
	a := &ahead{user: user}
	f.lookInto(ctx, g, a)
	return a, a.err
}

// number finds where codes for a user go: the directory, then what the user
// has proven. The directory's word is not proven by a code, but it is the
// operator's; so is a number that an operator has set.
func (f *Flow) number(ctx context.Context, g *Gate, user string) (number string, a account.Account, err error) {
	if a, err = f.Accounts.Find(ctx, g.Users, user); err != nil {
		return "", a, err
	}
	number, err = f.numberOf(ctx, g, user, a)
	return number, a, err
}

// numberOf is number for an account that was found already.
func (f *Flow) numberOf(ctx context.Context, g *Gate, user string, a account.Account) (string, error) {
	if f.Directory != nil {
		if number, err := f.Directory.Number(ctx, user); number != "" || err != nil {
			return number, err
		}
	}
	if g.Enroll == FromDirectory && a.By == "" {
		return "", nil
	}
	return a.Number, nil
}

// moved notices that a directory names another number than it did at the last
// login: what was trusted because of the old one ends, and the old one is told.
func (f *Flow) moved(ctx context.Context, g *Gate, c *Call, user, number string, a account.Account) (account.Account, error) {
	if f.Directory == nil || number == "" || number == a.Number || number == a.Directory {
		return a, nil
	}
	old := cmp.Or(a.Directory, a.Number)
	next, err := f.Accounts.Change(ctx, g.Users, user, a.Epoch, func(a *account.Account) error {
		if a.Directory = number; old != "" {
			a.Forget("")
			a.Epoch++ // a code on its way to the old one opens nothing (attack G1)
		}
		return nil
	})
	if err != nil || old == "" {
		return next, err
	}
	f.emit(ctx, g, nil, event.Event{Name: event.NumberChanged, Reason: event.ByDirectory, User: user})
	if _, err := f.Sessions.DismissAll(ctx, g.Users, user, nil); err != nil {
		return next, err
	}
	f.tell(ctx, g, user, old, c.network(), a.Lang, sms.Changed)
	return next, nil
}

// trusted reports whether the request's browser needs no code for a while, and
// gives its cookie the next value. A cookie that was used before ends the trust.
func (f *Flow) trusted(ctx context.Context, g *Gate, c *Call, a *accepted, acc account.Account, now time.Time) (next string, ok bool, err error) {
	if g.TrustedDevice <= 0 || len(acc.Devices) == 0 {
		return "", false, nil
	}
	token := g.Cookie.Device(c.R, c.Secure)
	if token == "" {
		return "", false, nil
	}
	gen, err := f.gen(ctx)
	if err != nil {
		return "", false, err
	}
	var found account.Recognition
	_, err = f.Accounts.Change(ctx, g.Users, a.user, acc.Epoch, func(acc *account.Account) error {
		acc.Keep(gen)
		next, found = acc.Recognise(token, agent(c.R), a.password, now)
		return nil
	})
	if err != nil {
		return "", false, err
	}
	if found == account.Copied {
		f.emit(ctx, g, nil, event.Event{Name: event.Trusted, Reason: event.CopiedDevice, User: a.user})
	}
	return next, found == account.Known, nil
}

// trust makes a browser one that needs no code for a while, where the person
// wants it and the site allows it.
func (f *Flow) trust(ctx context.Context, g *Gate, c *Call, s *session.Session, password []byte, now time.Time) (token string, err error) {
	if !c.Trust || g.TrustedDevice <= 0 {
		return "", nil
	}
	_, err = f.Accounts.Change(ctx, g.Users, s.User, s.Epoch, func(a *account.Account) error {
		a.Keep(s.Gen)
		token = a.Trust(agent(c.R), password, s.Gen, now, now.Add(g.TrustedDevice))
		return nil
	})
	if err != nil {
		return "", err
	}
	f.emit(ctx, g, s, event.Event{Name: event.Trusted, Reason: event.OK})
	return token, nil
}

// agent names a browser as its owner knows it. The names are in the order in
// which one hides behind another.
func agent(r *http.Request) string {
	ua := r.UserAgent()
	first := func(names [][2]string) string {
		for _, n := range names {
			if strings.Contains(ua, n[0]) {
				return n[1]
			}
		}
		return ""
	}
	browser := first([][2]string{
		{"Edg", "Edge"},
		{"OPR/", "Opera"},
		{"SamsungBrowser", "Samsung Internet"},
		{"Firefox", "Firefox"},
		{"FxiOS", "Firefox"},
		{"CriOS", "Chrome"},
		{"Chrom", "Chrome"},
		{"Safari", "Safari"},
		{"curl", "curl"},
	})
	system := first([][2]string{
		{"Windows", "Windows"}, {"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Mac OS", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	})
	if browser == "" || system == "" {
		return browser + system
	}
	return browser + ", " + system
}
