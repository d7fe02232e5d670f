package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

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
	// The list first: a crash between the two is made good at the next time.
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
