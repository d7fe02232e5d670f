package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// attemptTime bounds a whole login attempt, the application's time included.
// It stays below session.AttemptTTL, so that the outcome finds its mark.
const attemptTime = 50 * time.Second

// Outcome is what a login attempt came to. It is kept, sealed, for the same
// request sent twice.
type Outcome struct {
	// Reply is the application's answer, to be given out now: a wrong password,
	// or the same user again.
	Reply *upstream.Reply `json:"r,omitempty"`
	// Reason is OK where Reply goes out, Pending where a code is owed, and
	// otherwise why the attempt was refused.
	Reason event.Reason `json:"w"`
	// Until is when a lock, or a limit, ends that refused the attempt; zero for none.
	Until time.Time `json:"u,omitzero"`
	// Device is the next value of a trusted browser's cookie, "" for no change.
	Device string `json:"d,omitempty"`
	// Text is the provider's id of the text that was sent now, "" for none.
	Text string `json:"t,omitempty"`
	// Session is the new session, nil when there is none: then the client's
	// handle is taken away.
	Session *session.Session `json:"-"`

	ID      session.ID    `json:"i,omitzero"`
	Version uint64        `json:"v,omitempty"`
	Level   session.Level `json:"l,omitempty"`
	// Failed: the application has refused the login. Its page is not kept: the same
	// request, sent once more, is a new attempt (attacks K11, K12). It comes from
	// the session that this one has left, which is Carried where no store has it.
	Failed  bool   `json:"f,omitempty"`
	Carried string `json:"c,omitempty"`

	wrong bool // a password was tried in vain for this very request
}

// maxLeft bounds, in bytes, the carried session that an outcome keeps; beyond it the
// same request, sent once more, comes without cookies.
const maxLeft = 1 << 10

// kept is what of an outcome is kept for the same request, sent once more.
func (f *Flow) kept(g *Gate, out Outcome) Outcome {
	if s := out.Session; s != nil && s.Carried() {
		if out.Carried = f.Sessions.Sealed(&g.Gate, s); len(out.Carried) > maxLeft {
			out.Carried = ""
		}
	} else if s != nil {
		out.ID, out.Version, out.Level = s.ID, s.Version, s.Level
	}
	if out.Failed {
		out.Reply = nil
	}
	return out
}

// Login runs a recognised login request: it takes the session out, asks the
// application, judges the answer and withholds it (design, section 4). An error
// means that the store failed; nothing was let in.
func (f *Flow) Login(ctx context.Context, g *Gate, c *Call, rules login.Rules, form *intake.Form) (Outcome, error) {
	sum := form.Sum()
	return f.guess(ctx, g, c, rules[0].Name, func() (Outcome, error) {
		return f.once(ctx, g, c, []string{c.R.Method, c.URL.RequestURI(), string(sum[:])}, func(ctx context.Context) (Outcome, error) {
			return f.attempt(ctx, g, c, rules, form)
		})
	})
}

// once makes an attempt that has taken the client's session out. The same
// attempt, made twice at once, has one outcome.
func (f *Flow) once(ctx context.Context, g *Gate, c *Call, same []string, decide func(context.Context) (Outcome, error)) (Outcome, error) {
	ctx, cancel := detached(ctx, attemptTime)
	defer cancel()

	taken, out, err := f.take(ctx, g, c, same)
	for n := 1; taken == nil && err == nil && out.Failed; n++ {
		if n == maxTurns {
			return Outcome{Reason: event.InProgress}, nil
		}
		if err := f.goOn(ctx, g, c, out); err != nil {
			return Outcome{}, err
		}
		taken, out, err = f.take(ctx, g, c, same)
	}
	if taken == nil {
		return out, err
	}
	out, err = decide(ctx)
	if err != nil {
		return Outcome{}, err
	}
	if out.Failed && c.State != session.Live {
		// Nothing is left of it: the next one begins as this one did.
		return out, f.Sessions.Forget(ctx, &g.Gate, taken.Attempt)
	}
	if err := f.Sessions.Finish(ctx, &g.Gate, taken, encode(f.kept(g, out)), session.AttemptTTL); err != nil {
		return Outcome{}, err
	}
	return out, nil
}

// maxTurns bounds how often a failed attempt that was sent several times at once is
// made: each waits for the one before.
const maxTurns = 4

// goOn makes c a call from what the same request, made before, has left.
func (f *Flow) goOn(ctx context.Context, g *Gate, c *Call, left Outcome) error {
	if c.State != session.Live && c.State != session.Attempting {
		return nil // it had no session either
	}
	c.Session, c.State = nil, session.Unknown
	switch {
	case left.Carried != "":
		c.Session = f.Sessions.Unsealed(&g.Gate, left.Carried)
	case left.Session != nil:
		s, err := f.Sessions.Reload(ctx, &g.Gate, left.Session)
		if err != nil && !errors.Is(err, session.ErrGone) {
			return err
		}
		c.Session = s
	}
	if c.Session != nil && c.Session.Level == session.Anonymous {
		c.State = session.Live
	}
	return nil
}

// take takes the client's session out for this attempt. Without a session there
// is an outcome instead: the one of the same request, sent twice, or a refusal.
// same tells attempts apart.
func (f *Flow) take(ctx context.Context, g *Gate, c *Call, same []string) (*session.Session, Outcome, error) {
	attempt := f.attempts.MAC(same...)
	var held *session.Session
	switch c.State {
	case session.Live:
		taken, err := f.Sessions.Take(ctx, &g.Gate, c.Session, attempt)
		switch {
		case err == nil:
			return taken, Outcome{}, nil
		case errors.Is(err, session.ErrGone):
			return nil, Outcome{Reason: event.UnknownHandle}, nil
		case !errors.Is(err, session.ErrTaken):
			return nil, Outcome{}, err
		}
		held = c.Session
	case session.Attempting:
		held = c.Session
	default:
		// Without a handle the same request is one of the same network and browser,
		// and of the same trusted browser: another one has another cookie, or none.
		attempt = f.attempts.MAC(append([]string{c.network(), c.R.UserAgent(), g.Cookie.Device(c.R, c.Secure)}, same...)...)
	}
	for range 2 {
		if held == nil {
			taken, err := f.Sessions.TakeNew(ctx, &g.Gate, attempt)
			if err == nil || !errors.Is(err, session.ErrTaken) {
				return taken, Outcome{}, err
			}
		}
		out, err := f.again(ctx, g, held, attempt)
		if held != nil || err != nil || out.Session == nil {
			return nil, out, err
		}
		// The first request's session may have been used since: then this is no
		// double click but somebody who signs in once more, and what was proven in
		// that session meanwhile is not his.
		// Nor is a verified session anybody's who has only the same password: it was
		// opened by the trusted browser's cookie, which he would have, or by policy,
		// which lets him in by himself (attack K7).
		mine := out.Level != session.Verified || g.Cookie.Device(c.R, c.Secure) != ""
		cur, err := f.Sessions.Reload(ctx, &g.Gate, out.Session)
		if err == nil && mine && cur.Level == out.Level && (cur.Level != session.Verified || cur.Version == out.Version) {
			return nil, out, nil
		} else if err != nil && !errors.Is(err, session.ErrGone) {
			return nil, Outcome{}, err
		}
		if err := f.Sessions.Forget(ctx, &g.Gate, attempt); err != nil {
			return nil, Outcome{}, err
		}
	}
	return nil, Outcome{Reason: event.InProgress}, nil
}

// again waits for the outcome of the attempt that holds a session, or of the
// same request without one.
func (f *Flow) again(ctx context.Context, g *Gate, held *session.Session, attempt []byte) (Outcome, error) {
	kept, err := f.Sessions.Await(ctx, &g.Gate, held, attempt)
	switch {
	case errors.Is(err, session.ErrGone) && held == nil:
		return Outcome{Reason: event.InProgress, Failed: true}, nil // it was forgotten
	case errors.Is(err, session.ErrGone), errors.Is(err, context.DeadlineExceeded):
		return Outcome{Reason: event.InProgress}, nil
	case err != nil:
		return Outcome{}, err
	}
	var out Outcome
	if err := json.Unmarshal(kept, &out); err != nil {
		return Outcome{Reason: event.InProgress}, nil //nolint:nilerr // no outcome that we could give
	}
	if out.Level != session.None {
		out.Session = &session.Session{ID: out.ID, Version: out.Version, Record: session.Record{Level: out.Level}}
	}
	return out, nil
}

// attempt forwards the login and decides. The session that it came from is out.
func (f *Flow) attempt(ctx context.Context, g *Gate, c *Call, rules login.Rules, form *intake.Form) (Outcome, error) {
	from, was := session.None, session.Record{}
	if c.State == session.Live {
		from, was = c.Session.Level, c.Session.Record
	}
	if !rules.Typed(form) {
		return f.refuseLogin(ctx, g, rules[0], event.Ambiguous, errTyped), nil
	}
	name := rules.RequestUser(form)
	tried := f.attempts.Ref("name", g.ID, name)

	// Which of the session's cookies the login may use. Never those of somebody
	// who is not certainly the same user: applications keep several users in
	// one session (attacks J1, J2). What any browser may hold, such as a CSRF
	// token, goes along, or many login forms would not work.
	sent, own := was.Jar, false
	switch {
	case from == session.Anonymous && (was.Tried == "" || was.Tried == tried || rules.Judged()):
	case from == session.Verified && name != "" && name == intake.FoldUser(was.User):
		own = true
	default:
		sent = sent.Keep(g.Cookies.Bare)
	}

	early := f.lookAhead(ctx, g, name)
	t, reason, err := f.submit(ctx, g, c, rules, rules.AsTyped(form), sent)
	if err != nil {
		out := f.refuseLogin(ctx, g, t.rule, reason, err)
		if c.Closed && errors.Is(err, login.ErrNoEvidence) {
			out.Reason = event.WrongPassword // nothing leaves there in any case (attack K30)
		}
		return out, nil
	}
	rule, user, reply, sets, fresh := t.rule, t.user, t.reply, t.sets, t.jar
	if rule == nil {
		// No login that we know. One that we do not know must not leave either.
		t.answer.Trap = true
		if hit, err := g.Traps.Any(ctx, t.answer); hit || err != nil {
			f.emit(ctx, g, nil, event.Event{Name: event.Trap, Reason: event.TrapHit, Rule: rules[0].Name, Err: err})
			return Outcome{Reason: event.TrapHit}, nil //nolint:nilerr // refused, which is what an error means here
		}
		f.emit(ctx, g, nil, event.Event{Name: event.LoginFailed, Reason: event.WrongPassword, Rule: rules[0].Name})
		if own {
			// What the verified user's session has become is nobody's now.
			fresh = fresh.Keep(g.Cookies.Bare)
		}
		return f.failed(ctx, g, c, from, reply, sets, fresh, tried)
	}
	f.emit(ctx, g, nil, event.Event{Name: event.LoginRecognised, Reason: event.OK, Rule: rule.Name, User: user})
	said := user != ""
	if user, err = f.person(ctx, g, g.who(user, name), early); err != nil {
		return Outcome{}, err
	}
	if said && from == session.Verified && user == was.User {
		was.Jar, was.Rule = fresh, rule.Name
		return f.sameUser(ctx, g, c, reply, sets, was)
	}
	a := accepted{rule: rule, user: user, reply: reply, sets: sets, jar: fresh, ahead: early}
	if typed := rule.RequestPassword(form); typed != "" {
		a.password = f.basics.MAC("password", g.ID, user, typed)
	}
	return f.withhold(ctx, g, c, a)
}

// errTyped is why a name is refused that only the request says.
var errTyped = errors.New("the name that was typed has letters or signs that the application's database may take for others, and nothing but this request says who it is: only printable ASCII is taken; " +
	"an identity in the login rule lets everybody in whom the application knows")

// submitted is the application's answer to a login, judged.
type submitted struct {
	// rule took the answer for a login of user; nil when none did.
	rule   *login.Rule
	user   string
	reply  *upstream.Reply
	sets   []jar.Set
	jar    jar.Jar // after the answer
	answer *match.Answer
}

// submit sends the login of the name that was typed to the application, with the
// cookies in sent, and judges the answer. An error comes with its reason, and with the rule that it is of.
func (f *Flow) submit(ctx context.Context, g *Gate, c *Call, rules login.Rules, name string, sent jar.Jar) (t submitted, reason event.Reason, err error) {
	now := time.Now()
	ask := c.R.Clone(ctx)
	upstream.Dress(ask, g.Cookies.Up(c.R.Header["Cookie"], &sent, c.URL.Path, false, now), g.Credentials, false)
	intake.StripOverrides(ask.Header)
	t.rule = rules[0]
	if t.reply, err = upstream.Capture(c.Next.Next, ask, g.MaxReply); errors.Is(err, upstream.ErrNoAnswer) {
		return t, event.NoAnswer, err
	} else if err != nil {
		return t, event.Unreadable, err
	}
	t.sets = upstream.TakeCookies(t.reply.Header, c.URL.Path, now)
	upstream.CutLocation(t.reply.Header)
	var changes []jar.Change
	t.jar, changes = sent.Apply(t.sets, now)
	f.Evicted(ctx, g, changes)
	t.answer = &match.Answer{Status: t.reply.Status, Header: t.reply.Header, Body: t.reply.Body, Sets: t.sets, Jar: &sent}
	if t.rule, t.user, err = f.judge(ctx, g, c, rules, name, t.answer, &t.jar); err != nil {
		return t, event.NoVerdict, err
	}
	return t, "", nil
}

// refuseLogin reports a login that was not let in.
func (f *Flow) refuseLogin(ctx context.Context, g *Gate, rule *login.Rule, reason event.Reason, err error) Outcome {
	e := event.Event{Name: event.LoginRefused, Reason: reason, Err: err}
	if rule != nil {
		e.Rule = rule.Name
	}
	f.emit(ctx, g, nil, e)
	return Outcome{Reason: reason}
}

func (f *Flow) judge(ctx context.Context, g *Gate, c *Call, rules login.Rules, name string, answer *match.Answer, after *jar.Jar) (*login.Rule, string, error) {
	ask := f.ask(g, c, name, after, answer.Header, answer.Body)
	answer.Next = func(ctx context.Context, target string) (*match.Answer, error) {
		rep, err := ask.As(ctx, login.InPath(target, name))
		if err != nil {
			return nil, err
		}
		return &match.Answer{Status: rep.Status, Header: rep.Header, Body: rep.Body}, nil
	}
	rule, user, err := rules.Judge(ctx, answer, ask)
	if rule == nil && err == nil && len(g.Bearer.Given(answer.Header, answer.Body)) > 0 {
		// Nobody gets a token for a wrong password.
		rule, err = rules[0], fmt.Errorf("%w: the answer gives a token, but no page says whose it is: if the application wants another word than Bearer before it, "+
			"name it at the end of the token line", login.ErrNoEvidence)
	}
	if errors.Is(err, login.ErrNoEvidence) {
		f.unsure(ctx, g, rule, err)
	}
	return rule, user, err
}

// unsure tells the operator, once per rule and hour, that a rule does not fit its
// application: nobody can sign in by it, or nobody is told of a wrong password.
func (f *Flow) unsure(ctx context.Context, g *Gate, rule *login.Rule, err error) {
	if f.hourly(g.App + "\x00" + rule.Name) {
		f.emit(ctx, g, nil, event.Event{Name: event.RuleUnsure, Reason: event.NoVerdict, Rule: rule.Name, Err: err})
	}
}

// hourly reports whether an operator is to be told of something: once an hour.
func (f *Flow) hourly(what string) bool {
	now := time.Now()
	if last, ok := f.told.Load(what); ok && now.Sub(last.(time.Time)) < time.Hour { //nolint:forcetypeassert // our own
		return false
	}
	f.told.Store(what, now)
	return true
}

// ask is how the application is asked about a login: with the cookies in after,
// and the bearer token of the answer; and as a stranger, whose view is kept for a
// while.
func (f *Flow) ask(g *Gate, c *Call, user string, after *jar.Jar, head http.Header, body []byte) login.Ask {
	return login.Ask{
		Host: g.Host, User: user,
		As: func(ctx context.Context, target string) (*upstream.Reply, error) {
			return f.get(ctx, g, c, target, after, head, body)
		},
		Stranger: func(ctx context.Context, target string) (*upstream.Reply, error) {
			return f.strangers.get(g.ID+"\x00"+c.language()+"\x00"+target, func() (*upstream.Reply, error) {
				return f.get(ctx, g, c, target, &jar.Jar{}, nil, nil)
			})
		},
	}
}

// get asks the application for a page as the one who has just logged in: with
// the cookies, and the bearer token, that its answer gave.
func (f *Flow) get(ctx context.Context, g *Gate, c *Call, target string, after *jar.Jar, head http.Header, body []byte) (*upstream.Reply, error) {
	authorization := ""
	if given := g.Bearer.Given(head, body); len(given) > 0 {
		authorization = g.Bearer.Field(given[0])
	}
	return c.Next.Get(ctx, c.R, target, g.Cookies.Up(nil, after, pathOf(target), false, time.Now()), authorization)
}

// failed lets the application's answer to a wrong password go on. The session
// continues as an anonymous one under a new id, with the cookies of before a
// login only.
func (f *Flow) failed(ctx context.Context, g *Gate, c *Call, from session.Level, reply *upstream.Reply, sets []jar.Set, fresh jar.Jar, tried string) (Outcome, error) {
	out := Outcome{Reply: reply, Reason: event.OK, Failed: true, wrong: true}
	if c.Closed {
		// What the application shows there is not for who is not signed in, and a
		// password is one more way to ask for it (attack K30).
		out = Outcome{Reason: event.WrongPassword, Failed: true, wrong: true}
	} else {
		g.CopyDown(reply.Header, sets)
	}
	if len(fresh.Cookies) == 0 {
		return out, nil
	}
	network := c.network
	if from != session.None {
		network = nil // counted before
	}
	s, err := f.Visitor(ctx, g, network, session.Record{Jar: fresh, Tried: tried})
	if err != nil {
		return f.orLimit(out, err)
	}
	out.Session = s
	return out, nil
}

// sameUser is a verified user who signed in again: no new code, and no later end.
func (f *Flow) sameUser(ctx context.Context, g *Gate, c *Call, reply *upstream.Reply, sets []jar.Set, was session.Record) (Outcome, error) {
	was.SeenAt = time.Now()
	s, err := f.open(ctx, g, c, was)
	if errors.Is(err, session.ErrGone) {
		return Outcome{Reason: event.UnknownHandle}, nil
	} else if err != nil {
		return Outcome{}, err
	}
	if err := f.releaseTokens(ctx, g, s, reply); err != nil {
		return Outcome{}, err
	}
	if reply != nil {
		g.CopyDown(reply.Header, sets)
	}
	f.emit(ctx, g, s, event.Event{Name: event.Released, Reason: event.SameUser})
	return Outcome{Reply: reply, Reason: event.OK, Session: s}, nil
}

// CopyDown adds copies of the cookies that a browser's scripts may have.
func (g *Gate) CopyDown(h http.Header, sets []jar.Set) {
	for _, s := range sets {
		if g.Cookies.Down(s) {
			h.Add("Set-Cookie", s.Line())
		}
	}
}

// pathOf is the path of a target of our own, without its query.
func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}
