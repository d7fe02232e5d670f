package account

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"
)

// InviteTTL is how long an invitation waits for its user.
const InviteTTL = 7 * 24 * time.Hour

// ErrNotInvited: there is no invitation, or another one by now.
var ErrNotInvited = errors.New("account: not invited")

// invitation is a code that an operator gave to a user who has no number yet.
type invitation struct {
	Salt  []byte    `json:"s,omitempty"`
	Hash  []byte    `json:"h,omitempty"` // empty when it was used
	Until time.Time `json:"t,omitzero"`
	Gen   uint64    `json:"g,omitempty"` // the store's generation at the time
}

func inviteKey(app, name string) string { return key("i", app, name) }

// Invite makes an invitation in place of another. name is folded, here and below:
// an operator need not know how the application spells a user who was never met.
// The code, xxxxx-xxxxx-xxxxx, is nowhere afterwards but with the caller.
// gen is the generation of the store: an invitation that a copy of the store brings
// back is none.
func (b *Book) Invite(ctx context.Context, app, name string, gen uint64, now time.Time) (code string, until time.Time, err error) {
	plain := newCode()
	i := invitation{Salt: salt(), Until: now.Add(InviteTTL), Gen: gen}
	i.Hash = hash(i.Salt, plain)
	err = b.setInvite(ctx, app, name, i)
	return show(plain), i.Until, err
}

func (b *Book) setInvite(ctx context.Context, app, name string, i invitation) error {
	return swap(ctx, b, inviteKey(app, name), InviteTTL, func(was *invitation) (bool, error) {
		*was = i
		return true, nil
	})
}

// Invited says until when a user is invited; zero when he is not.
func (b *Book) Invited(ctx context.Context, app, name string, gen uint64) (until time.Time, err error) {
	i, _, err := load[invitation](ctx, b, inviteKey(app, name))
	if i == nil || err != nil || len(i.Hash) == 0 || i.Gen != gen {
		return time.Time{}, err
	}
	return i.Until, nil
}

// Accept compares a code that was typed. proof is for UseInvite; it is nil when the
// code is not right. The caller has counted the try.
func (b *Book) Accept(ctx context.Context, app, name string, gen uint64, code string) (proof []byte, err error) {
	i, _, err := load[invitation](ctx, b, inviteKey(app, name))
	if i == nil || err != nil || len(i.Hash) == 0 || i.Gen != gen || subtle.ConstantTimeCompare(i.Hash, hash(i.Salt, code)) != 1 {
		return nil, err
	}
	return i.Hash, nil
}

// UseInvite uses an invitation up: of two who have proven it one wins, the other is
// ErrNotInvited.
func (b *Book) UseInvite(ctx context.Context, app, name string, proof []byte) error {
	return swap(ctx, b, inviteKey(app, name), time.Minute, func(i *invitation) (bool, error) {
		if len(proof) == 0 || subtle.ConstantTimeCompare(i.Hash, proof) != 1 {
			return false, ErrNotInvited
		}
		*i = invitation{}
		return true, nil
	})
}

// Uninvite takes an invitation back.
func (b *Book) Uninvite(ctx context.Context, app, name string) error {
	return b.setInvite(ctx, app, name, invitation{})
}
