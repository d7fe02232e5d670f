// Package account is what the gate remembers of a user beyond a session: the
// verified number, and how many wrong codes were given in a row, over all
// sessions and nodes.
package account

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Book keeps the accounts. It is safe for concurrent use.
type Book struct {
	store store.Store
	keys  *keyring.Key
	rules Rules
}

// Rules bound wrong codes per user. Zero values are replaced by the defaults.
type Rules struct {
	// Wrong codes in a row that lock the user. Default 10 (PCI DSS 8.3.4: at most 10).
	Wrong int
	// Lock is how long. Default 30 min (PCI DSS 8.3.4: at least 30).
	Lock time.Duration
	// Disable is how many wrong codes in a row end the factor until somebody
	// resets it. Default 50 (NIST SP 800-63B-4 3.2.2: at most 100).
	Disable int
	// Daily bounds wrong codes in 24 h, right ones between them or not. Default 30.
	Daily int
}

// Defaults are the design's figures (section 5).
func Defaults() Rules { return Rules{Wrong: 10, Lock: 30 * time.Minute, Disable: 50, Daily: 30} }

// New opens the book.
func New(s store.Store, ring *keyring.Ring, r Rules) *Book {
	d := Defaults()
	if r.Wrong == 0 {
		r.Wrong = d.Wrong
	}
	if r.Lock == 0 {
		r.Lock = d.Lock
	}
	if r.Disable == 0 {
		r.Disable = d.Disable
	}
	if r.Daily == 0 {
		r.Daily = d.Daily
	}
	return &Book{store: s, keys: ring.Key("account"), rules: r}
}

// key is not keyed by a secret: an account must be found after the secrets
// were rotated. What lies under it is sealed.
func key(kind, app, user string) string {
	h := sha256.New()
	for _, part := range []string{kind, app, user} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part)))
		h.Write([]byte(part))
	}
	return kind + ":" + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Account is a user's verified number.
type Account struct {
	Number     string    `json:"n"` // E.164
	VerifiedAt time.Time `json:"v"`
}

// Find returns the account of a user, or nil when there is none.
func (b *Book) Find(ctx context.Context, app, user string) (*Account, error) {
	a, _, err := load[Account](ctx, b, key("a", app, user))
	return a, err
}

// ErrEnrolled: the user has another number by now.
var ErrEnrolled = errors.New("account: another number was verified meanwhile")

// Enrol keeps the first verified number of a user. Of two that are verified at
// once one wins; the other is ErrEnrolled.
func (b *Book) Enrol(ctx context.Context, app, user string, a Account) error {
	err := save(ctx, b, key("a", app, user), a, 0, 0)
	if errors.Is(err, store.ErrConflict) {
		return ErrEnrolled
	}
	return err
}

// guard counts wrong codes.
type guard struct {
	InRow       int       `json:"r,omitempty"`
	LockedUntil time.Time `json:"l,omitzero"`
	Day         time.Time `json:"d,omitzero"` // when the 24 h window began
	InDay       int       `json:"n,omitempty"`
}

// Standing is a user's state before a code is compared.
type Standing struct {
	// Locked: no code is compared. Until is when that ends; zero when only a
	// reset ends it (Disabled).
	Locked, Disabled bool
	Until            time.Time
	// JustLocked: this very try was the last one, should it be wrong. The owner
	// is told once.
	JustLocked bool
}

// Standing looks without counting.
func (b *Book) Standing(ctx context.Context, app, user string) (Standing, error) {
	now, err := b.store.Now(ctx)
	if err != nil {
		return Standing{}, fmt.Errorf("account: clock: %w", err)
	}
	g, _, err := load[guard](ctx, b, key("g", app, user))
	if err != nil || g == nil {
		return Standing{}, err
	}
	return b.standing(*g, now), nil
}

func (b *Book) standing(g guard, now time.Time) Standing {
	switch {
	case g.InRow >= b.rules.Disable:
		return Standing{Locked: true, Disabled: true}
	case now.Before(g.LockedUntil):
		return Standing{Locked: true, Until: g.LockedUntil}
	case g.InDay >= b.rules.Daily && now.Before(g.Day.Add(24*time.Hour)):
		return Standing{Locked: true, Until: g.Day.Add(24 * time.Hour)}
	}
	return Standing{}
}

// Try counts a try as wrong before it is compared, and says whether it may be
// compared at all. When it is the one that fills the measure, the lock is set
// with it: a right code takes it away again (Right).
func (b *Book) Try(ctx context.Context, app, user string) (st Standing, err error) {
	err = b.change(ctx, app, user, func(g guard, now time.Time) (guard, bool) {
		if st = b.standing(g, now); st.Locked {
			return g, false
		}
		if !now.Before(g.Day.Add(24 * time.Hour)) {
			g.Day, g.InDay = now, 0
		}
		g.InRow++
		g.InDay++
		if g.InRow%b.rules.Wrong == 0 {
			g.LockedUntil = now.Add(b.rules.Lock)
		}
		after := b.standing(g, now)
		st = Standing{JustLocked: after.Locked, Until: after.Until, Disabled: after.Disabled}
		return g, true
	})
	return st, err
}

// Right takes back the last try, which was right, and ends the row. The day's
// wrong ones stay.
func (b *Book) Right(ctx context.Context, app, user string) error {
	return b.change(ctx, app, user, func(g guard, _ time.Time) (guard, bool) {
		g.InRow, g.LockedUntil, g.InDay = 0, time.Time{}, max(0, g.InDay-1)
		return g, true
	})
}

// guardTTL keeps the count of a row long after its last try.
const guardTTL = 400 * 24 * time.Hour

// change is one compare-and-swap on the guard; parallel tries wait in line.
func (b *Book) change(ctx context.Context, app, user string, f func(guard, time.Time) (guard, bool)) error {
	k := key("g", app, user)
	now, err := b.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("account: clock: %w", err)
	}
	for i := range 64 {
		g, v, err := load[guard](ctx, b, k)
		if err != nil {
			return err
		}
		if g == nil {
			g = &guard{}
		}
		next, write := f(*g, now)
		if !write {
			return nil
		}
		err = save(ctx, b, k, next, v, guardTTL)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("account: %w", ctx.Err())
		case <-time.After(rand.N(time.Duration(i+1) * time.Millisecond)): //nolint:gosec // spreads retries, no secret
		}
	}
	return errors.New("account: too many tries at once")
}

func load[T any](ctx context.Context, b *Book, k string) (*T, uint64, error) {
	rec, err := b.store.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, nil
	} else if err != nil {
		return nil, 0, fmt.Errorf("account: read: %w", err)
	}
	plain, err := b.keys.Open(k, rec.Value)
	if err != nil {
		// Closed: an account that cannot be read is not "no account", or a
		// stranger could enrol in its place.
		return nil, 0, errors.New("account: sealed with a secret that is not configured any more: add the old secret behind the new one")
	}
	v := new(T)
	if err := json.Unmarshal(plain, v); err != nil {
		return nil, 0, fmt.Errorf("account: decode: %w", err)
	}
	return v, rec.Version, nil
}

func save[T any](ctx context.Context, b *Book, k string, v T, ifVersion uint64, ttl time.Duration) error {
	plain, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("account: encode: %w", err)
	}
	if _, err := b.store.Put(ctx, k, b.keys.Seal(k, plain), ifVersion, store.Options{TTL: ttl}); err != nil {
		return fmt.Errorf("account: write: %w", err)
	}
	return nil
}
