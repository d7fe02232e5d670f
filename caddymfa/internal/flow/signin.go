package flow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// SignIn is a first factor that does not come by the application's own page.
type SignIn struct {
	// Rules are the site's, Page the address of its login page.
	Rules login.Rules
	Page  string
	// Client says who asks: two clients' same login is not one attempt.
	Client         string
	User, Password string
}

// SignIn logs a user in at the application as a browser would: it asks for the
// login page, fills the form in and sends it with the cookies that the page set.
// The answer is judged and withheld like that of any login. The outcome's session
// is pending or verified; without one the first factor was not right, or Reason
// says why it was refused. c has no session.
func (f *Flow) SignIn(ctx context.Context, g *Gate, c *Call, in SignIn) (Outcome, error) {
	out, err := f.signIn(ctx, g, c, in)
	if err != nil || out.Session == nil {
		return out, err
	}
	if out.Session.Level == session.Anonymous {
		// The application's cookies from before a login are of no use to a program.
		if out.Session.Carried() {
			return Outcome{Reason: event.WrongPassword}, nil // nobody has them
		}
		end, cancel := detached(ctx, verifyTime)
		defer cancel()
		return Outcome{Reason: event.WrongPassword}, f.Sessions.End(end, out.Session)
	}
	if out.Session.User == "" { // kept of the same attempt, made twice
		if out.Session, err = f.Sessions.Reload(ctx, &g.Gate, out.Session); errors.Is(err, session.ErrGone) {
			return Outcome{Reason: event.InProgress}, nil
		}
	}
	return out, err
}

func (f *Flow) signIn(ctx context.Context, g *Gate, c *Call, in SignIn) (Outcome, error) {
	if i := slices.IndexFunc(in.Rules, func(r *login.Rule) bool { return r.Config.Basic != "" }); i >= 0 && !slices.ContainsFunc(in.Rules, func(r *login.Rule) bool { return r.Password != nil }) {
		cred, err := login.NewBasic(in.User, in.Password)
		if err != nil {
			return Outcome{Reason: event.WrongPassword}, nil //nolint:nilerr // nobody's credential
		}
		return f.proveBasic(ctx, g, c, in.Rules[i], cred) // its caller counts
	}
	out, err := f.once(ctx, g, c, []string{"api", in.Client, in.User, in.Password}, func(ctx context.Context) (Outcome, error) {
		call, rules, form, err := f.fill(ctx, g, c, in)
		if err != nil {
			return f.refuseLogin(ctx, g, nil, fillReason(err), err), nil
		}
		return f.attempt(ctx, g, call, rules, form)
	})
	if err == nil && out.Reason == event.OK && out.Session == nil {
		out = Outcome{Reason: event.WrongPassword}
	}
	return out, err
}

// Password reports whether a password is right for the user of c's session, by
// signing in to the application once more. Nothing of that login is kept. The
// reason is OK, WrongPassword, or why nobody can say.
func (f *Flow) Password(ctx context.Context, g *Gate, c *Call, in SignIn) (event.Reason, error) {
	ctx, cancel := detached(ctx, attemptTime)
	defer cancel()
	in.User = c.Session.User
	refuse := func(rule *login.Rule, reason event.Reason, err error) event.Reason {
		return f.refuseLogin(ctx, g, rule, reason, err).Reason
	}
	call, rules, form, err := f.fill(ctx, g, c, in)
	if err != nil {
		return refuse(nil, fillReason(err), err), nil
	}
	t, reason, err := f.submit(ctx, g, call, rules, in.User, call.Session.Jar)
	if err != nil {
		return refuse(t.rule, reason, err), nil
	}
	if t.user, err = f.person(ctx, g, g.who(t.user, rules.RequestUser(form)), nil); err != nil {
		return "", err
	}
	if t.rule == nil || t.user == "" || intake.FoldUser(t.user) != intake.FoldUser(c.Session.User) {
		f.emit(ctx, g, c.Session, event.Event{Name: event.LoginFailed, Reason: event.WrongPassword, Rule: rules[0].Name})
		return event.WrongPassword, nil
	}
	f.emit(ctx, g, c.Session, event.Event{Name: event.LoginRecognised, Reason: event.OK, Rule: t.rule.Name})
	return event.OK, nil
}

func fillReason(err error) event.Reason {
	if errors.Is(err, upstream.ErrNoAnswer) {
		return event.NoAnswer
	}
	return event.NoForm
}

// fill makes the call of a browser that has loaded the login page and filled it
// in. Its session, with the page's cookies, is in no store.
func (f *Flow) fill(ctx context.Context, g *Gate, c *Call, in SignIn) (*Call, login.Rules, *intake.Form, error) {
	var cookies jar.Jar
	at, rep, err := f.loginPage(ctx, g, c, in.Page, &cookies)
	if err != nil {
		return nil, nil, nil, err
	}
	filled, err := in.Rules.Fill(at, rep, in.User, in.Password)
	if err != nil {
		return nil, nil, nil, err
	}
	r, err := upstream.Request(ctx, c.R, filled.Method, filled.Target, filled.Body)
	if err != nil {
		return nil, nil, nil, err
	}
	scheme := "http"
	if c.Secure {
		scheme = "https"
	}
	// Frameworks refuse a form that comes from nowhere.
	r.Header.Set("Origin", scheme+"://"+c.R.Host)
	r.Header.Set("Referer", scheme+"://"+c.R.Host+at.RequestURI())
	if filled.ContentType != "" {
		r.Header.Set("Content-Type", filled.ContentType)
	}
	form, err := intake.Read(r, intake.Limits{})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", login.ErrNoForm, err)
	}
	// What was filled in is held against the rules like any request.
	rules, reason := in.Rules.Match(&login.Request{
		Request: r, Path: strings.ToLower(r.URL.Path), Canonical: intake.Canonical(r.URL.EscapedPath(), r.URL.Path),
	}, form)
	if reason != "" || len(rules) == 0 {
		return nil, nil, nil, fmt.Errorf("%w: what it sends is none of this site's logins", login.ErrNoForm)
	}
	call := &Call{
		R: r, URL: &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
		ClientIP: c.ClientIP, Secure: c.Secure, Next: c.Next.For(c.R), Template: c.Template,
		Session: &session.Session{Record: session.Record{Level: session.Anonymous, Jar: cookies}}, State: session.Live,
	}
	return call, rules, form, nil
}

// maxHops bounds the redirects on the way to the login page.
const maxHops = 3

// loginPage asks for the login page as a browser that comes for the first time.
func (f *Flow) loginPage(ctx context.Context, g *Gate, c *Call, target string, cookies *jar.Jar) (*url.URL, *upstream.Reply, error) {
	at, err := url.Parse(target)
	if err != nil {
		return nil, nil, fmt.Errorf("login page: %w", err)
	}
	at.Host = g.Host
	for hop := 0; ; hop++ {
		rep, err := c.Next.Get(ctx, c.R, at.RequestURI(), g.Cookies.Up(nil, cookies, at.Path, false, time.Now()), "")
		if err != nil {
			return nil, nil, err
		}
		*cookies, _ = cookies.Apply(upstream.TakeCookies(rep.Header, at.Path, time.Now()), time.Now())
		to := at
		if rep.Status >= 300 && rep.Status <= 399 && rep.Status != http.StatusNotModified && hop < maxHops {
			if to, err = at.Parse(rep.Header.Get("Location")); err != nil {
				return nil, nil, fmt.Errorf("login page: %w", err)
			}
		}
		if to == at || !g.sameHost(to) {
			return at, rep, nil
		}
		to.Host = g.Host
		at = to
	}
}
