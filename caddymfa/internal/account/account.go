// Package account is what the gate remembers of a user beyond a session: the
// verified number, recovery codes, trusted browsers, and how many wrong codes
// were given in a row, over all sessions and nodes.
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
	"sync"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Book keeps the accounts. It is safe for concurrent use.
type Book struct {
	store store.Store
	keys  *keyring.Key
	rules Rules
	// indexed are the applications whose users' names have an index.
	indexed sync.Map
	// lines are where the tries of a user wait for each other on this node; the first
	// letter of a user's key says which.
	lines *store.Lines
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
	return &Book{store: s, keys: ring.Key("account"), rules: r, lines: store.NewLines()}
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

// Account is what is kept of a user. A zero Account is a user without anything.
type Account struct {
	// User is the name the application knows the user by; the keys hold a hash.
	User string `json:"u,omitempty"`
	// Epoch counts resets and numbers. What was begun before a reset, or with
	// another number, carries an older one, and comes to nothing (attacks G1, G3).
	Epoch int `json:"p,omitempty"`
	// Number is where codes go, E.164, "" for none; VerifiedAt when it was proven
	// or an operator set it.
	Number     string    `json:"n,omitempty"`
	VerifiedAt time.Time `json:"v,omitzero"`
	// Directory is the number that a directory gave at the last login, "" for none.
	Directory string `json:"i,omitempty"`
	// By names the operator who set the number, "" when the user proved it.
	By string `json:"b,omitempty"`
	// Lang is the language the user was met in when the number was proven.
	Lang string `json:"l,omitempty"`
	// Codes are the recovery codes; nil when none were ever made.
	Codes *Codes `json:"c,omitempty"`
	// HelpDesk is a code that an operator gave out; nil for none.
	HelpDesk *HelpDesk `json:"h,omitempty"`
	// Devices are the browsers that need no code for a while.
	Devices []Device `json:"d,omitempty"`
}

// Find returns the account of a user; a zero one when there is none.
func (b *Book) Find(ctx context.Context, app, user string) (Account, error) {
	a, _, err := load[Account](ctx, b, key("a", app, user))
	if a == nil || err != nil {
		return Account{}, err
	}
	return *a, nil
}

// ErrReset: the account was reset since the caller's epoch, or has another number.
var ErrReset = errors.New("account: reset meanwhile, or another number")

// Change changes an account, one writer after the other. change sees the newest
// state; an error of it ends the change and is returned as it is. epoch is the
// one that the caller has begun in: when it is over the change is ErrReset.
func (b *Book) Change(ctx context.Context, app, user string, epoch int, change func(*Account) error) (out Account, err error) {
	err = swap(ctx, b, key("a", app, user), 0, func(a *Account) (bool, error) {
		if a.Epoch != epoch {
			return false, ErrReset
		}
		fresh := a.User == ""
		if err := change(a); err != nil {
			return false, err
		}
		if a.User = user; fresh {
			if err := b.Remember(ctx, app, user); err != nil {
				return false, err
			}
		}
		out = *a
		return true, nil
	})
	return out, err
}

// ErrEnrolled: the user has another number by now.
var ErrEnrolled = errors.New("account: another number was verified meanwhile")

// Enrol keeps the first verified number of a user, and returns the epoch that
// begins with it. Of two that are verified at once one wins; the other is
// ErrEnrolled or ErrReset.
func (b *Book) Enrol(ctx context.Context, app, user string, epoch int, number, lang string, now time.Time) (int, error) {
	a, err := b.Change(ctx, app, user, epoch, func(a *Account) error {
		if a.Number != "" {
			return ErrEnrolled
		}
		a.SetNumber(number, lang, "", now)
		return nil
	})
	return a.Epoch, err
}

// SetNumber puts a number in the place of another, or of none. What was trusted
// because of the other one is trusted no longer, and an epoch begins.
func (a *Account) SetNumber(number, lang, by string, now time.Time) {
	a.Number, a.VerifiedAt, a.By, a.Devices = number, now, by, nil
	a.Epoch++
	if lang != "" {
		a.Lang = lang
	}
}

// Reset takes everything from a user: number, codes, devices, the count of wrong
// codes. The epoch, which stays, ends what is under way.
func (b *Book) Reset(ctx context.Context, app, user string) (was Account, err error) {
	err = swap(ctx, b, key("a", app, user), 0, func(a *Account) (bool, error) {
		was, *a = *a, Account{Epoch: a.Epoch + 1}
		return true, nil
	})
	if err != nil {
		return was, err
	}
	return was, b.Unlock(ctx, app, user)
}

// Unlock forgets the wrong codes of a user.
func (b *Book) Unlock(ctx context.Context, app, user string) error {
	if err := b.store.Delete(ctx, key("g", app, user)); err != nil {
		return fmt.Errorf("account: unlock: %w", err)
	}
	return nil
}

// swap changes what lies under a key, one writer after the other. change sees the
// newest value, a zero one where there is none, and says whether it is to be
// written; an error of it ends the swap and is returned as it is.
func swap[T any](ctx context.Context, b *Book, k string, ttl time.Duration, change func(*T) (write bool, err error)) error {
	for i := range maxRetries {
		v, version, err := load[T](ctx, b, k)
		if err != nil {
			return err
		}
		if v == nil {
			v = new(T)
		}
		if write, err := change(v); err != nil || !write {
			return err
		}
		if err = save(ctx, b, k, *v, version, ttl); !errors.Is(err, store.ErrConflict) {
			return err
		}
		if err := pause(ctx, i); err != nil {
			return err
		}
	}
	return errTooMany
}

// maxRetries is how often a writer that lost to another one tries again.
const maxRetries = 64

var errTooMany = errors.New("account: too many writers at once")

// pause spreads writers that got in each other's way.
func pause(ctx context.Context, retries int) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("account: %w", ctx.Err())
	case <-time.After(rand.N(time.Duration(retries+1) * time.Millisecond)): //nolint:gosec // spreads retries, no secret
		return nil
	}
}

var errSecret = errors.New("account: sealed with a secret that is not configured any more: add the old secret behind the new one")

func load[T any](ctx context.Context, b *Book, k string) (*T, uint64, error) {
	o := store.GetOp(k)
	o.Do(ctx, b.store)
	return opened[T](b, o)
}

// opened reads what a Get has found; nil when there is nothing.
func opened[T any](b *Book, o *store.Op) (*T, uint64, error) {
	if errors.Is(o.Err, store.ErrNotFound) {
		return nil, 0, nil
	} else if o.Err != nil {
		return nil, 0, fmt.Errorf("account: read: %w", o.Err)
	}
	plain, err := b.keys.Open(o.Key, o.Record.Value)
	if err != nil {
		// Closed: an account that cannot be read is not "no account", or a
		// stranger could enrol in its place.
		return nil, 0, errSecret
	}
	v := new(T)
	if err := json.Unmarshal(plain, v); err != nil {
		return nil, 0, fmt.Errorf("account: decode: %w", err)
	}
	return v, o.Record.Version, nil
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
