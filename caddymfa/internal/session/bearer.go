package session

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// MaxBearer bounds a bearer token, in bytes: what applications give out fits
// into a header.
const MaxBearer = 8 << 10

// bearerKey is where the session of a bearer token is noted. The token itself is
// in no key and in no value.
func (t *Table) bearerKey(g *Gate, token string) string {
	return "b:" + base64.RawURLEncoding.EncodeToString(t.bearers.MAC("place", g.ID, token))
}

// bearerBind seals the note with the token, so that store and secret together
// do not lead to the session.
func bearerBind(gate, token string) string { return "bearer" + bind(gate, ID{}) + token }

// Release notes that a bearer token of the application was given out to a
// verified session: it belongs to that session from now on, and ends with it.
func (t *Table) Release(ctx context.Context, g *Gate, s *Session, token string) error {
	if token == "" || len(token) > MaxBearer {
		return nil // nobody can send it, and what is not noted is refused
	}
	left, err := t.left(ctx, s.Record)
	if err != nil {
		return err
	}
	k, note := t.bearerKey(g, token), t.bearers.Seal(bearerBind(g.ID, token), s.ID[:])
	for {
		var was uint64
		if old, err := t.store.Get(ctx, k); err == nil {
			was = old.Version // the same token again, for a session that came later
		} else if !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("session: bearer: %w", err)
		}
		switch _, err := t.store.Put(ctx, k, note, was, store.Options{TTL: left}); {
		case err == nil:
			t.cache.opened(g.ID, k, handle{id: s.ID})
			return nil
		case !errors.Is(err, store.ErrConflict):
			return fmt.Errorf("session: bearer: %w", err)
		}
	}
}

// LoadBearer finds the verified session that a bearer token was released to. It
// is ErrGone for a token that was not released here, or whose session has ended;
// any other error means that the store could not answer.
func (t *Table) LoadBearer(ctx context.Context, g *Gate, token string) (*Session, error) {
	if token == "" || len(token) > MaxBearer {
		return nil, ErrGone
	}
	k := t.bearerKey(g, token)
	// A remembered session may have ended, and the token been given to the next.
	if h, ok := t.cache.handle(g.ID, k); ok {
		if s, state, err := t.find(ctx, g, h); err != nil {
			return nil, err
		} else if state == Live && s.Level == Verified {
			return s, nil
		}
	}
	rec, err := t.store.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrGone
	} else if err != nil {
		return nil, fmt.Errorf("session: bearer: %w", err)
	}
	id, err := t.bearers.Open(bearerBind(g.ID, token), rec.Value)
	if err != nil || len(id) != len(ID{}) {
		return nil, ErrGone
	}
	h := handle{id: ID(id)}
	s, state, err := t.find(ctx, g, h)
	switch {
	case err != nil:
		return nil, err
	case state != Live || s.Level != Verified:
		return nil, ErrGone
	}
	t.cache.opened(g.ID, k, h)
	return s, nil
}
