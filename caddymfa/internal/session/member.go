package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Member is one of a user's verified sessions, as the user may see it. It does
// not lead to the session: it can only be ended.
type Member struct {
	// Ref tells a user's sessions apart.
	Ref     string
	Started time.Time
	// Agent is what the browser says it is, shortened.
	Agent string

	key, raw string
}

// Of reports whether s is this session.
func (m Member) Of(s *Session) bool { return s != nil && m.key == s.ID.key() }

// note is what is kept, sealed, with a session's place in its user's list.
type note struct {
	Started time.Time `json:"t"`
	Agent   string    `json:"a,omitempty"`
}

// maxAgent bounds the name of a browser, in bytes.
const maxAgent = 80

// membersKey is where a user's sessions are listed.
func membersKey(app, user string) string { return "m:" + listed("caddymfa members ", app, user) }

// listed hides whose list it is.
func listed(what, app, user string) string {
	h := sha256.New()
	h.Write([]byte(what))
	for _, part := range []string{app, user} {
		sum := sha256.Sum256([]byte(part))
		h.Write(sum[:])
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func memberBind(app, user, key string) string {
	return "member\x00" + app + "\x00" + user + "\x00" + key
}

// Enlist adds a session to those of its user.
func (t *Table) Enlist(ctx context.Context, app string, s *Session, agent string) error {
	left, err := t.left(ctx, s.Record)
	if err != nil {
		return err
	}
	k := s.ID.key()
	plain, err := json.Marshal(note{s.VerifiedAt, agent[:min(len(agent), maxAgent)]})
	if err != nil {
		return fmt.Errorf("session: enlist: %w", err)
	}
	raw := k + "." + base64.RawURLEncoding.EncodeToString(t.records.Seal(memberBind(app, s.User, k), plain))
	if err := t.store.Join(ctx, membersKey(app, s.User), raw, left); err != nil {
		return fmt.Errorf("session: enlist: %w", err)
	}
	return nil
}

// Members lists a user's verified sessions, the newest first.
func (t *Table) Members(ctx context.Context, app, user string) ([]Member, error) {
	list := membersKey(app, user)
	raws, err := t.store.Members(ctx, list)
	if err != nil {
		return nil, fmt.Errorf("session: members: %w", err)
	}
	var out []Member
	for _, raw := range raws {
		k, sealed, _ := strings.Cut(raw, ".")
		if _, err := t.store.Get(ctx, k); errors.Is(err, store.ErrNotFound) {
			_ = t.store.Leave(ctx, list, raw) // it ended by itself; the list forgets it later at the latest
			continue
		} else if err != nil {
			return nil, fmt.Errorf("session: members: %w", err)
		}
		m := Member{key: k, raw: raw, Ref: strings.TrimPrefix(k, "s:")[:16]}
		if b, err := base64.RawURLEncoding.DecodeString(sealed); err == nil {
			if plain, err := t.records.Open(memberBind(app, user, k), b); err == nil {
				var n note
				if json.Unmarshal(plain, &n) == nil {
					m.Started, m.Agent = n.Started, n.Agent
				}
			}
		}
		out = append(out, m) // also one that cannot be read: it must be possible to end it
	}
	slices.SortFunc(out, func(a, b Member) int { return b.Started.Compare(a.Started) })
	return out, nil
}

// Dismiss ends one of a user's sessions: at once on this node, within a second
// on all.
func (t *Table) Dismiss(ctx context.Context, app, user string, m Member) error {
	if err := t.store.Delete(ctx, m.key); err != nil {
		return fmt.Errorf("session: dismiss: %w", err)
	}
	for _, id := range append(t.cache.ids(), t.live.ids()...) {
		if id.key() == m.key {
			t.cache.drop(id)
			t.live.end(id)
		}
	}
	if err := t.store.Leave(ctx, membersKey(app, user), m.raw); err != nil {
		return fmt.Errorf("session: dismiss: %w", err)
	}
	return nil
}

// DismissAll ends all sessions of a user but one, which may be nil. It returns
// how many there were.
func (t *Table) DismissAll(ctx context.Context, app, user string, but *Session) (n int, err error) {
	all, err := t.Members(ctx, app, user)
	if err != nil {
		return 0, err
	}
	for _, m := range all {
		if m.Of(but) {
			continue
		}
		if err := t.Dismiss(ctx, app, user, m); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
