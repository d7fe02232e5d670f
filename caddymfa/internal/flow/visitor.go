package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// Visitor makes the session of a visitor who has none: one that the browser
// carries, or, where its cookies fit into no cookie of ours, one that the store
// keeps. Only that one is counted, because only that one costs anything; the error
// is *limit.Exceeded when the client's network has too many. network is nil where
// nothing is to be counted.
func (f *Flow) Visitor(ctx context.Context, g *Gate, network func() string, rec session.Record) (*session.Session, error) {
	rec.Level = session.Anonymous
	rec = f.bounded(ctx, g, rec)
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
	within := func(rec session.Record) (session.Record, error) {
		rec, err := change(rec)
		return f.bounded(ctx, g, rec), err
	}
	next, err := f.Sessions.Update(ctx, &g.Gate, s, within)
	if !errors.Is(err, session.ErrTooLarge) {
		return next, err
	}
	if err := f.Limits.Visitor(ctx, network()); err != nil {
		return nil, err
	}
	return f.Sessions.Keep(ctx, &g.Gate, s, within)
}

// bounded is a record whose jar has no more than its level may have: a visitor's
// less than that of who has signed in.
func (f *Flow) bounded(ctx context.Context, g *Gate, rec session.Record) session.Record {
	if rec.Level == session.Anonymous {
		var evicted []jar.Change
		rec.Jar, evicted = rec.Jar.Bound(jar.VisitorBytes)
		f.Evicted(ctx, g, evicted)
	}
	return rec
}

// Evicted tells the operator, once an hour for an application, that a session's
// oldest cookies have gone because there were too many.
func (f *Flow) Evicted(ctx context.Context, g *Gate, changes []jar.Change) {
	i := slices.IndexFunc(changes, func(c jar.Change) bool { return c.Evicted })
	if i >= 0 && f.hourly(g.App+"\x00\x00cookies") {
		f.emit(ctx, g, nil, event.Event{
			Name: event.CookiesDropped, Reason: event.OK, Detail: changes[i].Name,
			Err: fmt.Errorf("the application keeps more than %d cookies, or %d KiB of them (%d before a login), in one session: the oldest are dropped, as a browser does",
				jar.MaxCookies, jar.MaxBytes>>10, jar.VisitorBytes>>10),
		})
	}
}
