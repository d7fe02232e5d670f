package session

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Carried sessions. An anonymous session whose cookies fit lies in no store: the
// browser carries it, sealed, in its handle, so that a million visitors cost
// nothing. The store learns of one only when it ends, because a browser's copy
// cannot be taken back: a mark under its key keeps every handle of it dead until
// the last of them has expired by itself. The mark is written before a login is
// forwarded, and it outlives the process: whoever has a session from before a
// login must not find it signed in afterwards (attack A1).

const (
	// carriedForm is the first letter of a handle that carries its session.
	carriedForm = "2"
	// maxCarried bounds the whole Set-Cookie line: browsers keep 4,096 bytes of
	// name, value and attributes (RFC 6265bis 5.6), some of them a few less.
	maxCarried = 3800
	// attributes is what stands in that line beside name and value.
	attributes = len("=; Path=/; HttpOnly; Secure; SameSite=Lax")

	// markTTL is how long the end of a carried session is remembered. A handle lives
	// for AnonymousTTL after the answer that gave it, and that answer may have left
	// as long after the mark as a node's knowledge of it may be old; the rest is for
	// a clock that another node had a little earlier.
	markTTL = AnonymousTTL + 5*time.Minute

	// mergeFor is how long a node remembers what it has put into a session's last
	// handle: an answer to a request that was sent with an older one adds to it.
	mergeFor = time.Minute
)

// ErrTooLarge: a session fits into no cookie.
var ErrTooLarge = errors.New("session: too large for a cookie")

// cargo is what a handle carries beside id, version and end. Nothing of it is
// compressed: the length of a cookie must not tell how much a value that somebody
// chose is like one that is secret, and random values do not get shorter.
type cargo struct {
	Jar   jar.Jar `json:"j,omitzero"`
	Tried string  `json:"t,omitempty"`
	// Gen is the store's generation: with its content a store has lost the marks of
	// sessions that have ended.
	Gen uint64 `json:"g,omitempty"`
}

func (t *Table) sealCarried(gate string, s *Session) string {
	plain := binary.BigEndian.AppendUint64(append(make([]byte, 0, 512), s.ID[:]...), s.Version)
	plain = binary.BigEndian.AppendUint64(plain, uint64(s.ExpiresAt.Unix())) //nolint:gosec // after 1970
	rest, err := json.Marshal(cargo{s.Jar, s.Tried, s.Gen})
	if err != nil {
		panic(err) // our own types
	}
	return carriedForm + base64.RawURLEncoding.EncodeToString(t.carry.Seal(gate, append(plain, rest...)))
}

func (t *Table) openCarried(gate, value string) (*Session, bool) {
	if len(value) > maxCarried || !strings.HasPrefix(value, carriedForm) {
		return nil, false
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(value[len(carriedForm):])
	if err != nil {
		return nil, false
	}
	plain, err := t.carry.Open(gate, text)
	const head = len(ID{}) + 16
	if err != nil || len(plain) < head {
		return nil, false
	}
	var c cargo
	if err := json.Unmarshal(plain[head:], &c); err != nil {
		return nil, false
	}
	s := &Session{Version: binary.BigEndian.Uint64(plain[len(ID{}):]), carried: true}
	copy(s.ID[:], plain)
	ends := binary.BigEndian.Uint64(plain[len(ID{})+8:])
	s.Record = Record{Level: Anonymous, Jar: c.Jar, Tried: c.Tried, Gen: c.Gen, ExpiresAt: time.Unix(int64(ends), 0)} //nolint:gosec // our own
	return s, true
}

// fits reports whether a session can be carried.
func (t *Table) fits(g *Gate, s *Session) bool {
	if s.size() > 2*maxCarried {
		return false // not worth the sealing
	}
	return len(g.Cookie.secure)+len(t.sealCarried(g.ID, s))+attributes <= maxCarried
}

// Carry makes an anonymous session that its browser carries. It is ErrTooLarge
// where the cookies do not fit; then Create makes one that the store keeps.
func (t *Table) Carry(ctx context.Context, g *Gate, rec Record) (*Session, error) {
	now, err := t.store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("session: clock: %w", err)
	}
	gen, err := t.gen(ctx)
	if err != nil {
		return nil, err
	}
	rec.Level, rec.Gen, rec.ExpiresAt = Anonymous, gen, now.Add(AnonymousTTL)
	s := &Session{ID: newID(), Version: 1, Record: rec, carried: true}
	if !t.fits(g, s) {
		return nil, ErrTooLarge
	}
	t.cache.put(s) // nobody can have marked an id that was just made
	return s, nil
}

// Carried reports whether a session is in no store.
func (s *Session) Carried() bool { return s.carried }

// Sealed is a carried session as its handle holds it, and Unsealed the way back.
func (t *Table) Sealed(g *Gate, s *Session) string { return t.sealCarried(g.ID, s) }

// Unsealed is nil for what Sealed has not made at this gate.
func (t *Table) Unsealed(g *Gate, value string) *Session {
	s, _ := t.openCarried(g.ID, value)
	return s
}

// findCarried finds out what a carried session is worth: nothing when it has
// expired or was ended. What the store keeps under its key is newer.
func (t *Table) findCarried(ctx context.Context, g *Gate, s *Session) (*Session, State, error) {
	now, err := t.store.Now(ctx)
	if err != nil {
		return nil, NoHandle, fmt.Errorf("session: clock: %w", err)
	}
	if gen, err := t.gen(ctx); err != nil {
		return nil, NoHandle, err
	} else if gen != s.Gen || !now.Before(s.ExpiresAt) {
		return nil, Unknown, nil
	}
	cur, err := t.newest(ctx, g, s)
	if errors.Is(err, ErrGone) {
		return nil, Unknown, nil
	} else if err != nil {
		return nil, NoHandle, err
	}
	return cur, cur.state(), nil
}

// newest is a carried session as this node or the store knows it better; the mark
// in its place is no older than a second. ErrGone when it was ended.
func (t *Table) newest(ctx context.Context, g *Gate, s *Session) (*Session, error) {
	known, at := t.cache.last(s.ID)
	if known == nil || time.Since(at) > Freshness {
		cur, err := t.stored(ctx, g.ID, s.ID)
		if err != nil {
			return nil, err
		} else if cur != nil {
			t.cache.put(cur)
			return cur, nil
		}
		if at = time.Now(); known != nil && !known.carried {
			t.cache.drop(s.ID) // the store no longer keeps it
			known = nil
		}
	}
	switch {
	case known == nil:
	case !known.carried:
		return known, nil
	case known.Version > s.Version:
		s = known
	}
	t.cache.putAsOf(s, at)
	return s, nil
}

// updateCarried changes a carried session, or one that was. keep writes it into
// the store. The session's line is held.
func (t *Table) updateCarried(ctx context.Context, g *Gate, s *Session, change func(Record) (Record, error), keep bool) (*Session, error) {
	cur, err := t.newest(ctx, g, s)
	switch {
	case err != nil:
		return nil, err
	case cur.Level != Anonymous:
		return nil, ErrTaken
	case !cur.carried: // the store keeps it since
		return t.replace(ctx, g, cur, change)
	}
	rec, err := change(cur.Record)
	if err != nil {
		return nil, err
	}
	if keep {
		rec.ExpiresAt, rec.Loose = time.Time{}, true
		next, err := t.write(ctx, g, s.ID, rec, 0, AnonymousTTL)
		if errors.Is(err, store.ErrConflict) { // another node was faster, with a mark or with cookies
			if cur, err = t.read(ctx, g.ID, s.ID); err != nil {
				return nil, err
			} else if cur.Level != Anonymous {
				return nil, ErrTaken
			}
			return t.replace(ctx, g, cur, change)
		} else if err != nil {
			return nil, fmt.Errorf("session: keep: %w", err)
		}
		return next, nil
	}
	now, err := t.store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("session: clock: %w", err)
	}
	rec.ExpiresAt = now.Add(AnonymousTTL)
	next := &Session{ID: s.ID, Version: cur.Version + 1, Record: rec, carried: true}
	if !t.fits(g, next) {
		return nil, ErrTooLarge
	}
	_, at := t.cache.last(s.ID)
	t.cache.putAsOf(next, at)
	return next, nil
}

// Keep is Update for a carried session that has become too large: the store keeps
// it from now on, under its id, so that parallel answers find each other.
func (t *Table) Keep(ctx context.Context, g *Gate, s *Session, change func(Record) (Record, error)) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, updateTime)
	defer cancel()
	leave, err := t.line(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	defer leave()
	return t.updateCarried(ctx, g, s, change, true)
}

// takeCarried marks a carried session as taken. One taker wins.
func (t *Table) takeCarried(ctx context.Context, g *Gate, s *Session, attempt []byte) (*Session, error) {
	taken, err := t.write(ctx, g, s.ID, taken(attempt, s.Record, true), 0, markTTL)
	switch {
	case err == nil:
		return taken, nil
	case !errors.Is(err, store.ErrConflict):
		return nil, fmt.Errorf("session: write: %w", err)
	}
	cur, err := t.read(ctx, g.ID, s.ID)
	switch {
	case err != nil:
		return nil, err
	case cur.Level != Anonymous:
		return nil, ErrTaken
	}
	return t.Take(ctx, g, cur, attempt) // the store keeps it since
}

// bury ends a session of which browsers carry handles: something that is no
// session lies under its key until they have expired.
func (t *Table) bury(ctx context.Context, id ID) error {
	for {
		rec, err := t.store.Get(ctx, id.key())
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err //nolint:wrapcheck // End wraps it
		}
		_, err = t.store.Put(ctx, id.key(), []byte{0}, rec.Version, store.Options{TTL: markTTL})
		if !errors.Is(err, store.ErrConflict) {
			return err //nolint:wrapcheck // End wraps it
		}
	}
}
