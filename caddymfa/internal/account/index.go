package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// remembered is for ever, as far as a set is concerned: its members need a time
// to live.
const remembered = 100 * 365 * 24 * time.Hour

func indexKey(app string) string { return key("i", app, "") }

// UID is the name of a user of an application for programs: 32 hex digits, the
// same on all nodes and after every rotation of secrets.
func UID(app, user string) string {
	sum := sha256.Sum256([]byte(key("uid", app, user)))
	return hex.EncodeToString(sum[:16])
}

// Remember makes a user known to Users and to UserOf.
func (b *Book) Remember(ctx context.Context, app, user string) error {
	uid := UID(app, user)
	k := key("u", app, uid)
	if _, err := b.store.Get(ctx, k); err == nil {
		return nil
	} else if !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("account: remember: %w", err)
	}
	// The name first: of two spellings that come at once one is the user. Then the
	// list: a crash between the two is made good at the next time.
	if err := b.claim(ctx, app, user, user); err != nil {
		return err
	}
	if err := b.store.Join(ctx, indexKey(app), uid, remembered); err != nil {
		return fmt.Errorf("account: remember: %w", err)
	}
	_, err := b.store.Put(ctx, k, b.keys.Seal(k, []byte(user)), 0, store.Options{})
	if errors.Is(err, store.ErrConflict) {
		return nil
	} else if err != nil {
		return fmt.Errorf("account: remember: %w", err)
	}
	return nil
}

// nameKey is where the name is kept by which a user is known, for every spelling
// that some application takes for it (attack K3).
func nameKey(app, name string) string { return key("x", app, intake.CoarseUser(name)) }

// Known finds the name by which a user is kept: the name itself where that very
// name is known, else the one that has the same fold or this alias, else the
// name, which nobody has yet.
func (b *Book) Known(ctx context.Context, app, name string) (string, error) {
	if err := b.index(ctx, app); err != nil {
		return "", err
	}
	exact, same := store.GetOp(key("u", app, UID(app, name))), store.GetOp(nameKey(app, name))
	b.store.Batch(ctx, exact, same)
	for _, o := range []*store.Op{exact, same} {
		if known, err := b.nameOf(o); known != "" || err != nil {
			return known, err
		}
	}
	return name, nil
}

// nameOf reads the name that a Get has found, "" for none.
func (b *Book) nameOf(o *store.Op) (string, error) {
	if errors.Is(o.Err, store.ErrNotFound) {
		return "", nil
	} else if o.Err != nil {
		return "", fmt.Errorf("account: name: %w", o.Err)
	}
	plain, err := b.keys.Open(o.Key, o.Record.Value)
	if err != nil {
		return "", errSecret
	}
	return string(plain), nil
}

// ErrTaken: the name is another user's.
var ErrTaken = errors.New("account: the name is another user's")

// claim makes a name, in all its spellings, one of a user's. Of two who want it one
// wins; the other is ErrTaken.
func (b *Book) claim(ctx context.Context, app, user, name string) error {
	k := nameKey(app, name)
	_, err := b.store.Put(ctx, k, b.keys.Seal(k, []byte(user)), 0, store.Options{})
	if err == nil {
		return nil
	} else if !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("account: name: %w", err)
	}
	o := store.GetOp(k)
	o.Do(ctx, b.store)
	if has, err := b.nameOf(o); err != nil || has == user {
		return err
	}
	return ErrTaken
}

// Alias makes another name one of a user's, as where an application takes the
// login name and an e-mail address. ErrTaken when it is another user's.
func (b *Book) Alias(ctx context.Context, app, user, alias string) error {
	if _, ok, err := b.UserOf(ctx, app, UID(app, alias)); err != nil {
		return err
	} else if ok && alias != user {
		return ErrTaken
	}
	if err := b.Remember(ctx, app, user); err != nil {
		return err
	}
	return b.claim(ctx, app, user, alias)
}

// index makes the names of users known that were met before names had an index,
// once for an application.
func (b *Book) index(ctx context.Context, app string) error {
	if _, done := b.indexed.Load(app); done {
		return nil
	}
	done := key("x", app, "")
	if _, err := b.store.Get(ctx, done); errors.Is(err, store.ErrNotFound) {
		users, err := b.Users(ctx, app)
		if err != nil {
			return err
		}
		for _, user := range users {
			if err := b.claim(ctx, app, user, user); err != nil && !errors.Is(err, ErrTaken) {
				return err
			}
		}
		if _, err := b.store.Put(ctx, done, []byte{1}, 0, store.Options{}); err != nil && !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("account: name: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("account: name: %w", err)
	}
	b.indexed.Store(app, true)
	return nil
}

// UserOf finds the user of a UID; ok is false for one that nobody has.
func (b *Book) UserOf(ctx context.Context, app, uid string) (user string, ok bool, err error) {
	raw, err := hex.DecodeString(uid)
	if err != nil || len(raw) != 16 {
		return "", false, nil //nolint:nilerr // nobody's
	}
	k := key("u", app, hex.EncodeToString(raw))
	rec, err := b.store.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	} else if err != nil {
		return "", false, fmt.Errorf("account: uid: %w", err)
	}
	plain, err := b.keys.Open(k, rec.Value)
	if err != nil {
		return "", false, errSecret
	}
	return string(plain), true, nil
}

// Users are the users of an application that the gate knows, in no order.
func (b *Book) Users(ctx context.Context, app string) ([]string, error) {
	uids, err := b.store.Members(ctx, indexKey(app))
	if err != nil {
		return nil, fmt.Errorf("account: list: %w", err)
	}
	users := make([]string, 0, len(uids))
	for _, uid := range uids {
		user, ok, err := b.UserOf(ctx, app, uid)
		if err != nil {
			return nil, err
		}
		if ok {
			users = append(users, user)
		}
	}
	return users, nil
}
