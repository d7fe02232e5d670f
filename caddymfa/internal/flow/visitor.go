package flow

import (
	"context"
	"errors"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// Visitor makes the session of a visitor who has none: one that the browser
// carries, or, where its cookies fit into no cookie of ours, one that the store
// keeps. Only that one is counted, because only that one costs anything; the error
// is *limit.Exceeded when the client's network has too many. network is nil where
// nothing is to be counted.
func (f *Flow) Visitor(ctx context.Context, g *Gate, network func() string, rec session.Record) (*session.Session, error) {
	rec.Level = session.Anonymous
	s, err := f.Sessions.Carry(ctx, &g.Gate, rec)
	if !errors.Is(err, session.ErrTooLarge) {
		return s, err
	}
	if network != nil {
		if err := f.Limits.Visitor(ctx, network()); err != nil {
			return nil, err
		}
	}
	return f.Sessions.Create(ctx, &g.Gate, rec)
}

// KeepCookies is session.Table.Update for what an answer has set. A visitor's
// session that has become too large for a cookie is counted as in Visitor, and kept
// by the store from then on.
func (f *Flow) KeepCookies(ctx context.Context, g *Gate, network func() string, s *session.Session, change func(session.Record) (session.Record, error)) (*session.Session, error) {
	next, err := f.Sessions.Update(ctx, &g.Gate, s, change)
	if !errors.Is(err, session.ErrTooLarge) {
		return next, err
	}
	if err := f.Limits.Visitor(ctx, network()); err != nil {
		return nil, err
	}
	return f.Sessions.Keep(ctx, &g.Gate, s, change)
}

// guess tries a password, which is counted before the application is asked. Only a
// wrong one stays counted; with too many of them from the client's network it is not
// tried, and nothing is taken away from anybody.
func (f *Flow) guess(ctx context.Context, g *Gate, c *Call, rule string, try func() (Outcome, error)) (Outcome, error) {
	counted, err := f.Limits.Guess(ctx, c.network())
	if full, ok := errors.AsType[*limit.Exceeded](err); ok {
		f.emit(ctx, g, nil, event.Event{Name: event.LoginRefused, Reason: full.Reason, Rule: rule})
		return Outcome{Reason: full.Reason, Until: time.Now().Add(full.After)}, nil
	} else if err != nil {
		return Outcome{}, err
	}
	out, err := try()
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	counted.Done(ctx, err == nil && out.wrong)
	return out, err
}
