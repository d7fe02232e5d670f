package session

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Kind says what a token that stands for a session is.
type Kind string

// The kinds. A token of one kind is none of another.
const (
	// Released is the application's own bearer token, given out to the session.
	Released Kind = "bearer"
	// Access and Refresh are ours, for clients of the API.
	Access  Kind = "access"
	Refresh Kind = "refresh"
	// Second stands for a pending session of a client of the API.
	Second Kind = "second"
	// StepUp proves that the second factor was given once more.
	StepUp Kind = "step-up"
)

func (k Kind) level() Level {
	if k == Second {
		return Pending
	}
	return Verified
}

// MaxToken bounds a token, in bytes: what applications give out fits into a header.
const MaxToken = 8 << 10

// tokenKey is where the session of a token is noted. The token itself is in no
// key and in no value. client is whom it was given to, "" for whoever has it.
func (t *Table) tokenKey(g *Gate, kind Kind, client, token string) string {
	return "b:" + base64.RawURLEncoding.EncodeToString(t.tokens.MAC(string(kind), g.ID, client, token))
}

// tokenBind seals the note with the token, so that store and secret together
// do not lead to the session.
func tokenBind(gate string, kind Kind, token string) string {
	return string(kind) + bind(gate, ID{}) + token
}

// Note notes that a token stands for a session, for ttl and no longer than the
// session lives; 0 is as long as that.
func (t *Table) Note(ctx context.Context, g *Gate, s *Session, kind Kind, client, token string, ttl time.Duration) error {
	if token == "" || len(token) > MaxToken {
		return nil // nobody can send it, and what is not noted is refused
	}
	left, err := t.left(ctx, s.Record)
	if err != nil {
		return err
	}
	if ttl > 0 {
		left = min(left, ttl)
	}
	k, note := t.tokenKey(g, kind, client, token), t.tokens.Seal(tokenBind(g.ID, kind, token), s.ID[:])
	for {
		var was uint64
		if old, err := t.store.Get(ctx, k); err == nil {
			was = old.Version // the same token again, for a session that came later
		} else if !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("session: token: %w", err)
		}
		switch _, err := t.store.Put(ctx, k, note, was, store.Options{TTL: left}); {
		case err == nil:
			t.cache.opened(g.ID, k, handle{id: s.ID})
			return nil
		case !errors.Is(err, store.ErrConflict):
			return fmt.Errorf("session: token: %w", err)
		}
	}
}

// Noted finds the session that a token stands for: a pending one for Second, a
// verified one for the other kinds. It is ErrGone for a token that was not noted
// here, or whose session has ended; any other error means that the store could
// not answer.
func (t *Table) Noted(ctx context.Context, g *Gate, kind Kind, client, token string) (*Session, error) {
	if token == "" || len(token) > MaxToken {
		return nil, ErrGone
	}
	k := t.tokenKey(g, kind, client, token)
	// A remembered session may have ended, and the token been given to the next.
	// Tokens of these kinds are not taken back before their session ends.
	if h, ok := t.cache.handle(g.ID, k); ok && (kind == Released || kind == Access) {
		if s, state, err := t.find(ctx, g, h); err != nil {
			return nil, err
		} else if state == Live && s.Level == kind.level() {
			return s, nil
		}
	}
	rec, err := t.store.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrGone
	} else if err != nil {
		return nil, fmt.Errorf("session: token: %w", err)
	}
	id, err := t.tokens.Open(tokenBind(g.ID, kind, token), rec.Value)
	if err != nil || len(id) != len(ID{}) {
		return nil, ErrGone
	}
	h := handle{id: ID(id)}
	s, state, err := t.find(ctx, g, h)
	switch {
	case err != nil:
		return nil, err
	case state != Live || s.Level != kind.level():
		return nil, ErrGone
	}
	t.cache.opened(g.ID, k, h)
	return s, nil
}

// Unnote takes a token back. Of several who do one wins; the others get ErrGone.
func (t *Table) Unnote(ctx context.Context, g *Gate, kind Kind, client, token string) error {
	if _, err := t.store.Take(ctx, t.tokenKey(g, kind, client, token)); errors.Is(err, store.ErrNotFound) {
		return ErrGone
	} else if err != nil {
		return fmt.Errorf("session: token: %w", err)
	}
	return nil
}
