package session

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
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
// session lives; 0 is as long as that. A Released token may stand for several, each
// until its own end; any other stands for the last one.
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
	k := t.tokenKey(g, kind, client, token)
	now, err := t.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("session: clock: %w", err)
	}
	for {
		var was uint64
		var standing bearers
		if old, err := t.store.Get(ctx, k); err == nil {
			was = old.Version // the same token again
			if kind == Released {
				standing = t.bearers(g, kind, token, old.Value)
			}
		} else if !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("session: token: %w", err)
		}
		standing = standing.with(s.ID, now, now.Add(left))
		ttl := standing.last().Sub(now)
		switch _, err := t.store.Put(ctx, k, t.tokens.Seal(tokenBind(g.ID, kind, token), standing.encode()), was, store.Options{TTL: ttl}); {
		case err == nil:
			t.cache.opened(g.ID, k, handle{id: s.ID})
			return nil
		case !errors.Is(err, store.ErrConflict):
			return fmt.Errorf("session: token: %w", err)
		}
	}
}

// maxBearers is how many sessions one token stands for, the newest: applications
// with one fixed token for a user, or one for a second, give it to each of them.
const maxBearers = 16

// bearer is a session that a token was given to, and when it ends at the latest.
type bearer struct {
	id   ID
	ends time.Time
}

// bearers are the sessions of one token, the newest last.
type bearers []bearer

const bearerLen = len(ID{}) + 8

func (b bearers) encode() (out []byte) {
	for _, x := range b {
		out = binary.BigEndian.AppendUint64(append(out, x.id[:]...), uint64(x.ends.UnixMilli())) //nolint:gosec // after 1970
	}
	return out
}

// bearers reads a note; what was not written here is of nobody.
func (t *Table) bearers(g *Gate, kind Kind, token string, note []byte) (out bearers) {
	plain, err := t.tokens.Open(tokenBind(g.ID, kind, token), note)
	if err != nil || len(plain)%bearerLen != 0 {
		return nil
	}
	for ; len(plain) > 0; plain = plain[bearerLen:] {
		out = append(out, bearer{ID(plain[:len(ID{})]), time.UnixMilli(int64(binary.BigEndian.Uint64(plain[len(ID{}):])))}) //nolint:gosec // our own
	}
	return out
}

// with adds a session. Those that have ended by themselves, and the oldest of too
// many, make room.
func (b bearers) with(id ID, now, ends time.Time) bearers {
	b = slices.DeleteFunc(b, func(x bearer) bool { return x.id == id || !now.Before(x.ends) })
	b = append(b, bearer{id, ends})
	return b[max(0, len(b)-maxBearers):]
}

// last is when the last of the sessions ends.
func (b bearers) last() (t time.Time) {
	for _, x := range b {
		if x.ends.After(t) {
			t = x.ends
		}
	}
	return t
}

// Noted finds the session that a token stands for: a pending one for Second, a
// verified one for the other kinds. Of several it is the one beside it, which the
// request's handle names and which may be nil, or else the newest that is alive.
// It is ErrGone for a token that was not noted here, or whose sessions have ended;
// any other error means that the store could not answer.
func (t *Table) Noted(ctx context.Context, g *Gate, kind Kind, client, token string, beside *Session) (*Session, error) {
	if token == "" || len(token) > MaxToken {
		return nil, ErrGone
	}
	k := t.tokenKey(g, kind, client, token)
	at := k // where it is remembered
	if beside != nil {
		at += string(beside.ID[:])
	}
	// A remembered session may have ended, and the token been given to the next.
	// Tokens of these kinds are not taken back before their session ends.
	if h, ok := t.cache.handle(g.ID, at); ok && (kind == Released || kind == Access) {
		if s, err := t.stands(ctx, g, kind, h.id); !errors.Is(err, ErrGone) {
			return s, err
		}
	}
	rec, err := t.store.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrGone
	} else if err != nil {
		return nil, fmt.Errorf("session: token: %w", err)
	}
	standing := t.bearers(g, kind, token, rec.Value)
	if beside != nil {
		if i := slices.IndexFunc(standing, func(x bearer) bool { return x.id == beside.ID }); i >= 0 {
			standing = append(standing, standing[i]) // it is asked first
		}
	}
	for _, x := range slices.Backward(standing) {
		s, err := t.stands(ctx, g, kind, x.id)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err == nil {
			t.cache.opened(g.ID, at, handle{id: x.id})
		}
		return s, err
	}
	return nil, ErrGone
}

// stands finds a session of a token by its id.
func (t *Table) stands(ctx context.Context, g *Gate, kind Kind, id ID) (*Session, error) {
	s, state, err := t.find(ctx, g, handle{id: id})
	switch {
	case err != nil:
		return nil, err
	case state != Live || s.Level != kind.level():
		return nil, ErrGone
	}
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
