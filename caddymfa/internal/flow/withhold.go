package flow

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// withheld is an answer on its way to its user: what is sealed in a pending
// session.
type withheld struct {
	Reply *upstream.Reply `json:"r"`
	// Copies are the Set-Cookie lines for the browser's scripts.
	Copies []string `json:"c,omitempty"`
}

// withhold keeps the answer to a right password and opens a challenge.
func (f *Flow) withhold(ctx context.Context, g *Gate, c *Call, rule *login.Rule, reply *upstream.Reply, sets []jar.Set, fresh jar.Jar, user string) (Outcome, error) {
	refuse := func(reason event.Reason, err error) (Outcome, error) {
		f.emit(ctx, g, nil, event.Event{Name: event.LoginRefused, Reason: reason, Rule: rule.Name, User: user, Err: err})
		return Outcome{Reason: reason}, nil
	}
	if user == "" {
		return refuse(event.NoUser, nil)
	}
	now, err := f.Store.Now(ctx)
	if err != nil {
		return Outcome{}, err
	}
	rec := session.Record{Level: session.Pending, Jar: fresh, User: user}
	answer := withheld{Reply: reply}
	for _, s := range sets {
		if g.Cookies.Down(s) {
			answer.Copies = append(answer.Copies, s.Line())
		}
	}

	number, err := f.number(ctx, g, user)
	if err != nil {
		return Outcome{}, err
	}
	switch {
	case g.Policy == Off, g.Policy == Optional && number == "":
		rec.Level, rec.VerifiedAt, rec.SeenAt, rec.ExpiresAt = session.Verified, now, time.Now(), now.Add(g.Lifetime)
		s, err := f.Sessions.Create(ctx, &g.Gate, rec)
		if err != nil {
			return Outcome{}, err
		}
		f.emit(ctx, g, s, event.Event{Name: event.Released, Reason: event.NoFactor, Rule: rule.Name})
		reply.Header["Set-Cookie"] = answer.Copies
		return Outcome{Reply: reply, Reason: event.OK, Session: s}, nil
	case number == "" && g.Enroll != Self:
		return refuse(event.NoNumber, nil)
	}
	standing, err := f.Accounts.Standing(ctx, g.App, user)
	if err != nil {
		return Outcome{}, err
	}
	if standing.Locked {
		out, err := refuse(lockReason(standing.Disabled), nil)
		out.Until = standing.Until
		return out, err
	}

	ch := challenge.New()
	ch.Number, ch.Enrol = number, number == ""
	ch.URL, ch.Navigate, ch.Lang = c.URL.RequestURI(), c.Navigation, c.R.Header.Get("Accept-Language")
	ch.From = sentFrom(c, g)
	rec.Challenge, rec.Reply, rec.ExpiresAt = encode(ch), encode(answer), now.Add(challenge.Total)
	s, err := f.Sessions.Create(ctx, &g.Gate, rec)
	if err != nil {
		return Outcome{}, err
	}
	f.emit(ctx, g, s, event.Event{Name: event.Challenge, Reason: event.OK, Rule: rule.Name})
	if number == "" {
		return Outcome{Reason: event.Pending, Session: s}, nil
	}
	// The challenge is durable; only now the text goes out.
	s, _, err = f.send(ctx, g, c, s, func(st challenge.State) challenge.State { return st })
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Reason: event.Pending, Session: s}, nil
}

// number finds where codes for a user go: the directory, then what the user
// has proven. The directory's word is not proven by a code, but it is the
// operator's.
func (f *Flow) number(ctx context.Context, g *Gate, user string) (string, error) {
	if f.Directory != nil {
		n, err := f.Directory.Number(ctx, user)
		if n != "" || err != nil {
			return n, err
		}
	}
	if g.Enroll == FromDirectory {
		return "", nil
	}
	a, err := f.Accounts.Find(ctx, g.App, user)
	if a == nil || err != nil {
		return "", err
	}
	return a.Number, nil
}

func lockReason(disabled bool) event.Reason {
	if disabled {
		return event.Disabled
	}
	return event.LockedOut
}

// sentFrom is the page whose script sent a login: where a browser goes after
// the code, because the login's own address answers to scripts.
func sentFrom(c *Call, g *Gate) string {
	ref, err := url.Parse(c.R.Header.Get("Referer"))
	if err != nil || ref.Host == "" || !g.sameHost(ref) || !strings.HasPrefix(ref.Path, "/") || strings.HasPrefix(ref.Path, "//") {
		return "/"
	}
	return (&url.URL{Path: ref.Path, RawPath: ref.RawPath, RawQuery: ref.RawQuery}).RequestURI()
}

// sameHost reports whether u names this site, whatever its port or scheme: an
// application behind a gate often knows only its inner port.
func (g *Gate) sameHost(u *url.URL) bool {
	return strings.EqualFold(strings.TrimSuffix(u.Hostname(), "."), g.Host)
}

// Release is a withheld answer on its way out.
type Release struct {
	// Location is where a browser goes: a path of this site, or a host that the
	// operator allowed.
	Location string
	// Reply is the answer itself, for callers that ask for it.
	Reply *upstream.Reply
	// Copies are the cookies that the browser's scripts may have.
	Copies []string
	// Session is the verified session.
	Session *session.Session
}

// release gives the withheld answer of a challenge its place (design, section
// 4.7). deliver is true when the answer itself must be shown at Location.
func (f *Flow) release(ctx context.Context, g *Gate, ch challenge.State, answer withheld) (rel Release, deliver bool) {
	rel = Release{Reply: answer.Reply, Copies: answer.Copies, Location: ch.From}
	if !ch.Navigate {
		return rel, false
	}
	to := answer.Reply.Header.Get("Location")
	if s := answer.Reply.Status; s < 300 || s > 399 || s == http.StatusNotModified || to == "" {
		rel.Location = ch.URL
		return rel, true
	}
	var ok bool
	if rel.Location, ok = g.redirect(ch.URL, to); !ok {
		f.emit(ctx, g, nil, event.Event{
			Name: event.Released, Reason: event.Denied,
			Detail: "the application wanted to redirect to a host that allow_redirect does not name; the user went to / instead",
		})
	}
	return rel, false
}

// redirect resolves the Location of a withheld answer against the login's
// address. Only this site and the allowed hosts are redirected to (attack A12).
func (g *Gate) redirect(from, location string) (string, bool) {
	base, err := url.Parse(from)
	if err != nil || strings.ContainsAny(location, "\\\r\n\t") {
		return "/", false
	}
	to, err := base.Parse(strings.TrimSpace(location))
	if err != nil {
		return "/", false
	}
	switch {
	case to.Host == "" && to.Scheme == "", to.Host != "" && g.sameHost(to) && (to.Scheme == "http" || to.Scheme == "https" || to.Scheme == ""):
		to.Scheme, to.Host, to.User = "", "", nil
		if !strings.HasPrefix(to.Path, "/") {
			to.Path, to.RawPath = "/"+to.Path, ""
		}
		if strings.HasPrefix(to.Path, "//") {
			return "/", false // another host to a browser
		}
		return to.String(), true
	case to.Scheme == "https" || to.Scheme == "http":
		if slices.ContainsFunc(g.AllowRedirect, func(h string) bool { return strings.EqualFold(h, to.Host) || strings.EqualFold(h, to.Hostname()) }) && to.User == nil {
			return to.String(), true
		}
	}
	return "/", false
}

// orLimit turns a limit that was reached into a reason; other errors stay errors.
func (f *Flow) orLimit(out Outcome, err error) (Outcome, error) {
	if _, ok := errors.AsType[*limit.Exceeded](err); ok {
		return out, nil
	}
	return Outcome{}, err
}
