package flow

import (
	"context"
	"encoding/json"
	"errors"
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
	// Session is the new session, nil when there is none: then the client's
	// handle is taken away.
	Session *session.Session `json:"-"`

	ID      session.ID    `json:"i,omitzero"`
	Version uint64        `json:"v,omitempty"`
	Level   session.Level `json:"l,omitempty"`
}

// Login runs a recognised login request: it takes the session out, asks the
// application, judges the answer and withholds it (design, section 4). An error
// means that the store failed; nothing was let in.
func (f *Flow) Login(ctx context.Context, g *Gate, c *Call, rule *login.Rule, form *intake.Form) (Outcome, error) {
	ctx, cancel := detached(ctx, attemptTime)
	defer cancel()

	sum := form.Sum()
	// The same request: the same handle, or without one the same network.
	attempt := f.attempts.MAC(c.R.Method, c.URL.RequestURI(), string(sum[:]))
	var taken *session.Session
	var err error
	switch c.State {
	case session.Live:
		taken, err = f.Sessions.Take(ctx, &g.Gate, c.Session, attempt)
	case session.Attempting:
		err = session.ErrTaken
	case session.NoHandle, session.Unknown:
		attempt = f.attempts.MAC(c.Network, c.R.Method, c.URL.RequestURI(), string(sum[:]))
		taken, err = f.Sessions.TakeNew(ctx, &g.Gate, attempt)
	}
	switch {
	case errors.Is(err, session.ErrTaken):
		return f.again(ctx, g, c, attempt)
	case errors.Is(err, session.ErrGone):
		return Outcome{Reason: event.UnknownHandle}, nil
	case err != nil:
		return Outcome{}, err
	}

	out, err := f.attempt(ctx, g, c, rule, form)
	if err != nil {
		return Outcome{}, err
	}
	if out.Session != nil {
		out.ID, out.Version, out.Level = out.Session.ID, out.Session.Version, out.Session.Level
	}
	if err := f.Sessions.Finish(ctx, &g.Gate, taken, encode(out)); err != nil {
		return Outcome{}, err
	}
	return out, nil
}

// again gives the same request, sent twice, the outcome of the first.
func (f *Flow) again(ctx context.Context, g *Gate, c *Call, attempt []byte) (Outcome, error) {
	s := c.Session
	if c.State != session.Attempting && c.State != session.Live {
		s = nil
	}
	kept, err := f.Sessions.Await(ctx, &g.Gate, s, attempt)
	switch {
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
func (f *Flow) attempt(ctx context.Context, g *Gate, c *Call, rule *login.Rule, form *intake.Form) (Outcome, error) {
	from, was := session.None, session.Record{}
	if c.State == session.Live {
		from, was = c.Session.Level, c.Session.Record
	}
	name := rule.RequestUser(form)
	tried := f.attempts.Ref("name", g.ID, name)
	now := time.Now()

	// Which of the session's cookies the login may use. Never those of somebody
	// who is not certainly the same user: applications keep several users in
	// one session (attacks J1, J2). What any browser may hold, such as a CSRF
	// token, goes along, or many login forms would not work.
	sent, own := was.Jar, false
	switch {
	case from == session.Anonymous && (was.Tried == "" || was.Tried == tried || rule.Identity != nil):
	case from == session.Verified && name != "" && name == intake.FoldUser(was.User):
		own = true
	default:
		sent = sent.Keep(g.Cookies.Bare)
	}

	ask := c.R.Clone(ctx)
	upstream.Dress(ask, g.Cookies.Up(c.R.Header["Cookie"], &sent, c.URL.Path, false, now), g.Credentials, false)
	intake.StripOverrides(ask.Header)
	reply, err := upstream.Capture(c.Next.Next, ask, g.MaxReply)
	if err != nil {
		reason := event.Unreadable
		if errors.Is(err, upstream.ErrNoAnswer) {
			reason = event.NoAnswer
		}
		f.emit(ctx, g, nil, event.Event{Name: event.LoginRefused, Reason: reason, Rule: rule.Name, Err: err})
		return Outcome{Reason: reason}, nil
	}
	sets := upstream.TakeCookies(reply.Header, c.URL.Path, now)
	fresh, _, err := sent.Apply(sets, now)
	if err != nil {
		f.emit(ctx, g, nil, event.Event{Name: event.LoginRefused, Reason: event.Unreadable, Rule: rule.Name, Err: err})
		return Outcome{Reason: event.Unreadable}, nil
	}

	verdict, user, err := f.judge(ctx, g, c, rule, reply, sets, &sent, &fresh)
	if err != nil {
		f.emit(ctx, g, nil, event.Event{Name: event.LoginRefused, Reason: event.NoVerdict, Rule: rule.Name, Err: err})
		return Outcome{Reason: event.NoVerdict}, nil
	}
	if verdict == login.Failed {
		f.emit(ctx, g, nil, event.Event{Name: event.LoginFailed, Reason: event.WrongPassword, Rule: rule.Name})
		if own {
			// What the verified user's session has become is nobody's now.
			fresh = fresh.Keep(g.Cookies.Bare)
		}
		return f.failed(ctx, g, c, from, reply, sets, fresh, tried)
	}
	f.emit(ctx, g, nil, event.Event{Name: event.LoginRecognised, Reason: event.OK, Rule: rule.Name, User: user})
	if user != "" && from == session.Verified && user == was.User {
		was.Jar = fresh
		return f.sameUser(ctx, g, reply, sets, was)
	}
	if user == "" && g.Enroll == FromDirectory {
		user = name
	}
	return f.withhold(ctx, g, c, rule, reply, sets, fresh, user)
}

func (f *Flow) judge(ctx context.Context, g *Gate, c *Call, rule *login.Rule, reply *upstream.Reply, sets []jar.Set, before, after *jar.Jar) (login.Verdict, string, error) {
	get := func(ctx context.Context, target string) (*upstream.Reply, error) {
		return c.Next.Get(ctx, c.R, target, g.Cookies.Up(nil, after, pathOf(target), false, time.Now()))
	}
	answer := &match.Answer{Status: reply.Status, Header: reply.Header, Body: reply.Body, Sets: sets, Jar: before}
	answer.Next = func(ctx context.Context) (*match.Answer, error) {
		to, err := c.URL.Parse(reply.Header.Get("Location"))
		if err != nil || (to.Host != "" && !g.sameHost(to)) {
			return nil, errors.New("the redirect leads to another host")
		}
		rep, err := get(ctx, to.RequestURI())
		if err != nil {
			return nil, err
		}
		return &match.Answer{Status: rep.Status, Header: rep.Header, Body: rep.Body}, nil
	}
	return rule.Judge(ctx, answer, get)
}

// failed lets the application's answer to a wrong password go on. The session
// continues as an anonymous one under a new id, with the cookies of before a
// login only.
func (f *Flow) failed(ctx context.Context, g *Gate, c *Call, from session.Level, reply *upstream.Reply, sets []jar.Set, fresh jar.Jar, tried string) (Outcome, error) {
	out := Outcome{Reply: reply, Reason: event.OK}
	g.copyDown(reply.Header, sets)
	if len(fresh.Cookies) == 0 {
		return out, nil
	}
	if from == session.None {
		if err := f.Limits.Visitor(ctx, c.Network); err != nil {
			return f.orLimit(out, err)
		}
	}
	s, err := f.Sessions.Create(ctx, &g.Gate, session.Record{Level: session.Anonymous, Jar: fresh, Tried: tried})
	if err != nil {
		return Outcome{}, err
	}
	out.Session = s
	return out, nil
}

// sameUser is a verified user who signed in again: no new code, and no later end.
func (f *Flow) sameUser(ctx context.Context, g *Gate, reply *upstream.Reply, sets []jar.Set, was session.Record) (Outcome, error) {
	was.SeenAt = time.Now()
	s, err := f.Sessions.Create(ctx, &g.Gate, was)
	if errors.Is(err, session.ErrGone) {
		return Outcome{Reason: event.UnknownHandle}, nil
	} else if err != nil {
		return Outcome{}, err
	}
	g.copyDown(reply.Header, sets)
	f.emit(ctx, g, s, event.Event{Name: event.Released, Reason: event.SameUser})
	return Outcome{Reply: reply, Reason: event.OK, Session: s}, nil
}

// copyDown adds copies of the cookies that a browser's scripts may have.
func (g *Gate) copyDown(h http.Header, sets []jar.Set) {
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
