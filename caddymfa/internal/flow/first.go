package flow

import (
	"context"
	"crypto/subtle"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// First factors that come with every request: HTTP Basic, and whom Caddy itself
// has identified. The request is not forwarded to find out, and nothing of it is
// withheld.

// Basic proves an HTTP Basic credential by a probe and opens a challenge. A
// wrong one is the outcome WrongPassword.
func (f *Flow) Basic(ctx context.Context, g *Gate, c *Call, rule *login.Rule, cred *login.Credential) (Outcome, error) {
	return f.guess(ctx, g, c, rule.Name, func() (Outcome, error) { return f.proveBasic(ctx, g, c, rule, cred) })
}

func (f *Flow) proveBasic(ctx context.Context, g *Gate, c *Call, rule *login.Rule, cred *login.Credential) (Outcome, error) {
	return f.once(ctx, g, c, []string{"basic", cred.Field}, func(ctx context.Context) (Outcome, error) {
		probe := func(ctx context.Context, target, authorization string) (*upstream.Reply, error) {
			return c.Next.Get(ctx, c.R, target, "", authorization)
		}
		verdict, user, err := rule.Prove(ctx, cred, probe)
		if err != nil {
			return f.refuseLogin(ctx, g, rule, event.NoVerdict, err), nil
		}
		if verdict != login.Accepted {
			f.emit(ctx, g, nil, event.Event{Name: event.LoginFailed, Reason: event.WrongPassword, Rule: rule.Name})
			return Outcome{Reason: event.WrongPassword, wrong: true}, nil
		}
		f.emit(ctx, g, nil, event.Event{Name: event.LoginRecognised, Reason: event.OK, Rule: rule.Name, User: user})
		typed, plain := cred.Typed()
		if user == "" && !plain {
			return f.refuseLogin(ctx, g, rule, event.Ambiguous, errTyped), nil
		}
		if user, err = f.person(ctx, g, g.who(user, typed), nil); err != nil {
			return Outcome{}, err
		}
		a := accepted{rule: rule, user: user, basic: f.basic(g, cred)}
		a.password = a.basic
		if c.State == session.Live && c.Session.Level == session.Verified && user != "" && user == c.Session.User {
			// The same user with another password: it was changed. No new code.
			was := c.Session.Record
			was.Basic = a.basic
			return f.sameUser(ctx, g, c, nil, nil, was)
		}
		return f.withhold(ctx, g, c, a)
	})
}

func (f *Flow) basic(g *Gate, cred *login.Credential) []byte {
	return f.basics.MAC("credential", g.ID, cred.Field)
}

// IsBasic reports whether a session was opened with this very credential.
func (f *Flow) IsBasic(g *Gate, s *session.Session, cred *login.Credential) bool {
	return len(s.Basic) > 0 && subtle.ConstantTimeCompare(s.Basic, f.basic(g, cred)) == 1
}

// Identified opens a challenge for a user whom Caddy itself has identified.
func (f *Flow) Identified(ctx context.Context, g *Gate, c *Call, user string) (Outcome, error) {
	return f.once(ctx, g, c, []string{"first factor", user}, func(ctx context.Context) (Outcome, error) {
		f.emit(ctx, g, nil, event.Event{Name: event.LoginRecognised, Reason: event.OK, Rule: "first_factor", User: user})
		known, err := f.person(ctx, g, user, nil)
		if err != nil {
			return Outcome{}, err
		}
		return f.withhold(ctx, g, c, accepted{user: known, as: user})
	})
}
