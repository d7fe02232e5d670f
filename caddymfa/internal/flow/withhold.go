package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
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

// accepted is a first factor that was right.
type accepted struct {
	// rule recognised it; nil where Caddy itself identified the user.
	rule *login.Rule
	user string
	// reply is the application's answer and sets its cookies; nil where the
	// request was not forwarded to find out (HTTP Basic, Caddy's identification).
	reply *upstream.Reply
	sets  []jar.Set
	jar   jar.Jar
	// ahead is what was looked up before; nil for nothing.
	ahead *ahead
	// basic is the keyed hash of an HTTP Basic credential, password that of the
	// password, nil where no rule says which field it is.
	basic, password []byte
}

func (a *accepted) ruleName() string {
	if a.rule == nil {
		return "first_factor"
	}
	return a.rule.Name
}

// withhold keeps the answer to a right password and opens a challenge.
func (f *Flow) withhold(ctx context.Context, g *Gate, c *Call, a accepted) (Outcome, error) {
	refuse := func(reason event.Reason, err error) (Outcome, error) {
		f.emit(ctx, g, nil, event.Event{Name: event.LoginRefused, Reason: reason, Rule: a.ruleName(), User: a.user, Err: err})
		return Outcome{Reason: reason}, nil
	}
	if a.user == "" {
		return refuse(event.NoUser, nil)
	}
	now, err := f.Store.Now(ctx)
	if err != nil {
		return Outcome{}, err
	}
	known, err := f.look(ctx, g, a.user, a.ahead)
	if err != nil {
		return Outcome{}, err
	}
	acc, standing := known.account, known.standing
	number, err := f.numberOf(ctx, g, a.user, acc)
	if err != nil {
		return Outcome{}, err
	}
	switch {
	case g.Policy != Off && number == "" && known.shut && g.Enroll != FromDirectory && (g.Policy == Optional || g.Enroll != Invite):
		return refuse(event.EnrolmentShut, nil)
	case g.Policy == Off, g.Policy == Optional && number == "":
		return f.letIn(ctx, g, c, a, acc.Epoch, now, event.NoFactor)
	case number == "" && g.Enroll == FromDirectory:
		return refuse(event.NoNumber, nil)
	case number == "" && g.Enroll == Invite:
		if gen, err := f.gen(ctx); err != nil {
			return Outcome{}, err
		} else if until, err := f.Accounts.Invited(ctx, g.App, intake.FoldUser(a.user), gen); err != nil {
			return Outcome{}, err
		} else if until.IsZero() {
			return refuse(event.NotInvited, nil)
		}
	}
	if acc, err = f.moved(ctx, g, c, a.user, number, acc); err != nil {
		return overtaken(err)
	}
	if standing.Locked {
		out, err := refuse(lockReason(standing.Disabled), nil)
		out.Until = standing.Until
		return out, err
	}

	if next, ok, err := f.trusted(ctx, g, c, &a, acc, now); err != nil {
		return overtaken(err)
	} else if ok {
		out, err := f.letIn(ctx, g, c, a, acc.Epoch, now, event.TrustedDevice)
		out.Device = next
		return out, err
	}

	ch := challenge.New(challenge.SignIn)
	ch.Number, ch.Enrol, ch.Template, ch.Password = number, number == "", c.Template, a.password
	ch.URL, ch.Navigate, ch.Lang = c.URL.RequestURI(), c.Navigation, cmp.Or(c.language(), acc.Lang)
	ch.From = sentFrom(c, g)
	ends := challenge.Total
	if a.rule != nil && a.rule.HoldFor() > 0 {
		ends = a.rule.HoldFor()
		ch.Ends = now.Add(ends)
	}
	if a.rule != nil && a.rule.Follows() {
		f.follow(ctx, g, c, &a, &ch)
	}
	answer := withheld{Reply: a.reply, Copies: copies(g, a.sets)}
	if a.reply == nil && c.R.Method != http.MethodGet && c.R.Method != http.MethodHead {
		ch.URL = "/" // nobody can send a form again that was not forwarded
	}
	// A first factor that comes with every request, by GET as well, opens the
	// challenge; the text waits for a button.
	var d draft
	if number != "" && a.reply != nil {
		d = f.draft(g, c, a.user, ch, unasked)
		ch = ch.Send(f.Codes, now)
	}
	s, err := f.Sessions.Create(ctx, &g.Gate, session.Record{
		Level: session.Pending, Jar: a.jar, User: a.user, Epoch: acc.Epoch, Basic: a.basic,
		Challenge: encode(ch), Reply: encode(answer), ExpiresAt: now.Add(ends),
	}, d.counts()...)
	if err != nil {
		d.undo(ctx)
		return Outcome{}, err
	}
	f.emit(ctx, g, s, event.Event{Name: event.Challenge, Reason: event.OK, Rule: a.ruleName()})
	var sending Sending
	if ch.Sends > 0 {
		// The challenge is durable and the text is counted; only now it goes out.
		if s, sending, err = f.deliver(ctx, g, s, ch, d); err != nil {
			return Outcome{}, err
		}
	}
	return Outcome{Reason: event.Pending, Session: s, Text: sending.Receipt.ID}, nil
}

// overtaken is a login that a reset has overtaken: its user begins again. Any other
// error stays one.
func overtaken(err error) (Outcome, error) {
	if errors.Is(err, account.ErrReset) {
		return Outcome{Reason: event.UnknownHandle}, nil
	}
	return Outcome{}, err
}

// letIn opens a verified session without a second factor, where the policy says so.
func (f *Flow) letIn(ctx context.Context, g *Gate, c *Call, a accepted, epoch int, now time.Time, why event.Reason) (Outcome, error) {
	s, err := f.open(ctx, g, c, session.Record{
		Level: session.Verified, Jar: a.jar, User: a.user, Epoch: epoch, Basic: a.basic,
		VerifiedAt: now, SeenAt: time.Now(), ExpiresAt: now.Add(g.Lifetime),
	})
	if errors.Is(err, session.ErrGone) {
		return Outcome{Reason: event.UnknownHandle}, nil
	} else if err != nil {
		return Outcome{}, err
	}
	if err := f.releaseTokens(ctx, g, s, a.reply); err != nil {
		return Outcome{}, err
	}
	f.emit(ctx, g, s, event.Event{Name: event.Released, Reason: why, Rule: a.ruleName()})
	if a.reply != nil {
		a.reply.Header["Set-Cookie"] = copies(g, a.sets)
	}
	return Outcome{Reply: a.reply, Reason: event.OK, Session: s}, nil
}

// copies are the Set-Cookie lines that the browser's scripts may have.
func copies(g *Gate, sets []jar.Set) (lines []string) {
	for _, s := range sets {
		if g.Cookies.Down(s) {
			lines = append(lines, s.Line())
		}
	}
	return lines
}

// follow asks for the page behind the withheld redirect at once, for
// applications that forget a login whose redirect is not followed. That answer is
// withheld in place of the redirect. One that cannot be had leaves the redirect
// as it is: the browser follows it later.
func (f *Flow) follow(ctx context.Context, g *Gate, c *Call, a *accepted, ch *challenge.State) {
	to, err := c.URL.Parse(a.reply.Header.Get("Location"))
	if err != nil || a.reply.Status < 300 || a.reply.Status > 399 || a.reply.Header.Get("Location") == "" || (to.Host != "" && !g.sameHost(to)) {
		return
	}
	rep, err := f.get(ctx, g, c, to.RequestURI(), &a.jar, a.reply.Header, a.reply.Body)
	if err != nil {
		f.emit(ctx, g, nil, event.Event{Name: event.LoginRecognised, Reason: event.NoAnswer, Rule: a.ruleName(), User: a.user, Err: fmt.Errorf("hold follow: %w", err)})
		return
	}
	sets := upstream.TakeCookies(rep.Header, to.Path, time.Now())
	next, _, err := a.jar.Apply(sets, time.Now())
	if err != nil {
		return
	}
	a.reply, a.jar, a.sets = rep, next, append(a.sets, sets...)
	ch.URL = to.RequestURI()
}

// releaseTokens notes the bearer tokens of an answer that is given out to a
// verified session: from now on they open the application. reply may be nil.
func (f *Flow) releaseTokens(ctx context.Context, g *Gate, s *session.Session, reply *upstream.Reply) error {
	if reply == nil {
		return nil
	}
	return f.Renew(ctx, g, s, g.Bearer.Given(reply.Header, reply.Body))
}

// Renew notes bearer tokens that the application gave to a verified session.
func (f *Flow) Renew(ctx context.Context, g *Gate, s *session.Session, tokens []string) error {
	for _, t := range tokens {
		if err := f.Sessions.Note(ctx, &g.Gate, s, session.Released, "", t, 0); err != nil {
			return err
		}
	}
	return nil
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
	// Reply is the answer itself, for callers that ask for it; nil where the
	// application was not asked yet.
	Reply *upstream.Reply
	// Copies are the cookies that the browser's scripts may have.
	Copies []string
	// Device is the cookie of a browser that needs no code for a while, "" for none.
	Device string
	// Session is the verified session.
	Session *session.Session
}

// release gives the withheld answer of a challenge its place (design, section
// 4.7). deliver is true when the answer itself must be shown at Location.
func (f *Flow) release(ctx context.Context, g *Gate, ch challenge.State, answer withheld) (rel Release, deliver bool) {
	rel = Release{Reply: answer.Reply, Copies: answer.Copies, Location: ch.From}
	switch {
	case !ch.Navigate:
		return rel, false
	case answer.Reply == nil: // the request was not forwarded yet
		rel.Location = ch.URL
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
