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
	// as is the user's name as Caddy itself spells it, "" where it did not say.
	as string
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
		} else if until, err := f.Accounts.Invited(ctx, g.Users, intake.FoldUser(a.user), gen); err != nil {
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
	ch.URL, ch.Navigate, ch.Lang = local(c.URL.RequestURI()), c.Navigation, cmp.Or(c.language(), acc.Lang)
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
		ch = ch.Send(f.Codes, now).Counted(d.client)
	}
	kept, full := encode(answer), ""
	if room, err := f.Limits.Withhold(ctx, len(kept)); err != nil {
		return Outcome{}, err
	} else if !room {
		// The login counts all the same; only its page is not shown.
		full = "there are too many large answers: this one is not kept, and the user goes to / instead"
		answer.Reply = &upstream.Reply{Status: http.StatusSeeOther, Header: http.Header{"Location": {"/"}}}
		kept = encode(answer)
	}
	waiting := f.Sessions.Waiting(g.Users, a.user)
	s, err := f.Sessions.Create(ctx, &g.Gate, session.Record{
		Level: session.Pending, Jar: a.jar, User: a.user, As: a.as, Rule: a.ruleName(), Epoch: acc.Epoch, Basic: a.basic,
		Challenge: encode(ch), Reply: kept, ExpiresAt: now.Add(ends),
	}, append(slices.Clone(d.counts()), waiting)...)
	if err != nil {
		d.undo(ctx)
		return Outcome{}, err
	}
	f.emit(ctx, g, s, event.Event{Name: event.Challenge, Reason: event.OK, Rule: a.ruleName(), Detail: full})
	crowd := waiting.Err != nil || waiting.Count.N > session.MaxPending
	if crowd {
		f.crowd(ctx, g, s, true)
	}
	made := s
	var sending Sending
	if ch.Sends > 0 {
		// The challenge is durable and the text is counted; only now it goes out.
		if s, sending, err = f.deliver(ctx, g, s, ch, d); err != nil {
			return Outcome{}, err
		}
	}
	if !crowd {
		f.crowd(ctx, g, made, false) // nobody waits for it
	}
	return Outcome{Reason: event.Pending, Session: s, Text: sending.Receipt.ID}, nil
}

// crowd lists a user's pending session and, where there may be many, ends the oldest.
func (f *Flow) crowd(ctx context.Context, g *Gate, s *session.Session, many bool) {
	ended, err := f.Sessions.Crowd(ctx, g.Users, s, many)
	for _, size := range ended {
		f.Limits.Unwithhold(ctx, size)
	}
	if len(ended) > 0 {
		f.emit(ctx, g, s, event.Event{Name: event.SessionEnded, Reason: event.TooManyPending})
	}
	if err != nil {
		f.emit(ctx, g, s, event.Event{Name: event.StoreFailed, Reason: event.StoreDown, Err: err})
	}
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
		Level: session.Verified, Jar: a.jar, User: a.user, As: a.as, Rule: a.ruleName(), Epoch: epoch, Basic: a.basic,
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

// follow asks for the page behind the login at once, for applications that forget
// a login whose redirect is not followed. That answer is withheld in place of the
// redirect. One that cannot be had leaves the redirect as it is: the browser
// follows it later. The page is the operator's: what the redirect names may be
// the client's choice, and nothing of that is asked for as the user before the
// code (attack K5).
func (f *Flow) follow(ctx context.Context, g *Gate, c *Call, a *accepted, ch *challenge.State) {
	if a.reply.Status < 300 || a.reply.Status > 399 || a.reply.Header.Get("Location") == "" {
		return
	}
	to := a.rule.HoldPath
	rep, err := f.get(ctx, g, c, to, &a.jar, a.reply.Header, a.reply.Body)
	if err != nil {
		f.emit(ctx, g, nil, event.Event{Name: event.LoginRecognised, Reason: event.NoAnswer, Rule: a.ruleName(), User: a.user, Err: fmt.Errorf("hold follow: %w", err)})
		return
	}
	sets := upstream.TakeCookies(rep.Header, pathOf(to), time.Now())
	a.jar, _ = a.jar.Apply(sets, time.Now())
	a.reply, a.sets = rep, append(a.sets, sets...)
	ch.URL = to
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
	if err != nil || ref.Host == "" || !g.sameHost(ref) {
		return "/"
	}
	return local((&url.URL{Path: ref.Path, RawPath: ref.RawPath, RawQuery: ref.RawQuery}).RequestURI())
}

// local is a target on this site, or its root in place of any other.
func local(target string) string {
	if intake.Local(target) {
		return target
	}
	return "/"
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
func (f *Flow) release(ctx context.Context, g *Gate, c *Call, ch challenge.State, answer withheld) (rel Release, deliver bool) {
	rel = Release{Reply: answer.Reply, Copies: answer.Copies, Location: g.lead(c, ch.From)}
	to, at, leads := "", "/", true
	if answer.Reply != nil {
		if to = answer.Reply.Header.Get("Location"); to != "" {
			at, leads = g.redirect(ch.URL, to)
			answer.Reply.Header.Set("Location", at) // also where the answer itself is asked for
		}
	}
	switch {
	case !ch.Navigate:
		return rel, false
	case answer.Reply == nil: // the request was not forwarded yet
		rel.Location = ch.URL
		return rel, false
	}
	if s := answer.Reply.Status; s < 300 || s > 399 || s == http.StatusNotModified || to == "" {
		rel.Location = ch.URL
		return rel, true
	}
	rel.Location = g.lead(c, at)
	if !leads {
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
		if local := to.String(); intake.Local(local) {
			return local, true
		}
		return "/", false // another host to a browser
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
