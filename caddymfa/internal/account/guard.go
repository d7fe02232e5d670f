package account

import (
	"context"
	"crypto/subtle"
	"fmt"
	"slices"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// guard counts wrong codes.
type guard struct {
	InRow       int       `json:"r,omitempty"`
	LockedUntil time.Time `json:"l,omitzero"`
	Day         time.Time `json:"d,omitzero"` // when the 24 h window began
	InDay       int       `json:"n,omitempty"`
	// Tries are those of the challenges that are under way.
	Tries []tries `json:"t,omitempty"`
}

// tries are the tries of one challenge.
type tries struct {
	Of string `json:"o"`
	// N is how many were counted, Until when they are forgotten.
	N     int       `json:"n"`
	Until time.Time `json:"u"`
	// Open are those of N that nobody has found to be wrong: the right one, what is
	// being compared just now, and what an outage has kept from being compared.
	Open []open `json:"p,omitempty"`
	// Over: there was a try too many.
	Over bool `json:"e,omitempty"`
}

// open is a try that was counted, by a keyed hash of what was typed.
type open struct {
	Typed []byte `json:"c"`
	// Row is guard.InRow with this try.
	Row int `json:"r"`
	// Twice: the same guess was made again.
	Twice bool `json:"t,omitempty"`
}

func (t *tries) open(typed []byte) int {
	return slices.IndexFunc(t.Open, func(o open) bool { return len(typed) > 0 && subtle.ConstantTimeCompare(o.Typed, typed) == 1 })
}

// of is the guard's place for a challenge. What has come to its end is forgotten.
func (g *guard) of(guess Guess, now time.Time) *tries {
	g.Tries = slices.DeleteFunc(g.Tries, func(t tries) bool { return !now.Before(t.Until) })
	i := slices.IndexFunc(g.Tries, func(t tries) bool { return t.Of == guess.Of })
	if i < 0 {
		i = len(g.Tries)
		g.Tries = append(g.Tries, tries{Of: guess.Of, Until: now.Add(guess.For)})
	}
	return &g.Tries[i]
}

// Guess is what somebody has typed in answer to a challenge.
type Guess struct {
	// Of names the challenge, "" for none: then only the user's tries are counted.
	Of string
	// Typed is a keyed hash of what was typed.
	Typed []byte
	// Most is how many tries the challenge has, For how long they are remembered.
	Most int
	For  time.Duration
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
	// Left is how many tries the challenge has after this one. Below 0 this one is
	// too many, and is not compared.
	Left int
	// Waiting: this one is too many, but one that was counted may still be right.
	Waiting bool
}

// Look finds the account of a user and his state, without counting, in one round
// trip, in which with go along.
func (b *Book) Look(ctx context.Context, app, user string, with ...*store.Op) (a Account, s Standing, err error) {
	now, err := b.store.Now(ctx)
	if err != nil {
		return a, s, fmt.Errorf("account: clock: %w", err)
	}
	account, guards := store.GetOp(key("a", app, user)), store.GetOp(key("g", app, user))
	b.store.Batch(ctx, append([]*store.Op{account, guards}, with...)...)
	found, _, err := opened[Account](b, account)
	if err != nil {
		return a, s, err
	}
	g, _, err := opened[guard](b, guards)
	if err != nil {
		return a, s, err
	}
	if found != nil {
		a = *found
	}
	if g != nil {
		s = b.standing(*g, now)
	}
	return a, s, nil
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
//
// The same guess at the same challenge is counted once until somebody has found it
// wrong: a form that was sent twice, or a code that could not be compared because
// the store was away, costs a person one try, and tells nobody more than one. The
// first guess of another kind that is one too many ends that.
func (b *Book) Try(ctx context.Context, app, user string, guess Guess) (st Standing, err error) {
	err = b.change(ctx, app, user, func(g *guard, now time.Time) bool {
		var t *tries
		if guess.Of != "" {
			t = g.of(guess, now)
			if i := t.open(guess.Typed); i >= 0 && !t.Over {
				// Written once more, because the store may not have kept the first time.
				st = b.counted(g, now, t.Open[i].Row)
				st.Left = guess.Most - t.N
				t.Open[i].Twice = true
				return !st.Locked
			}
		}
		if st = b.add(g, now, guess, t); st.Left < 0 {
			// Somebody goes on guessing. What may be right, or was, is no longer free: it
			// would be found in the end.
			write := !t.Over
			t.Over = true
			return write
		} else if st.Locked {
			return false
		}
		if t != nil {
			t.Open = append(t.Open, open{Typed: guess.Typed, Row: g.InRow})
		}
		return true
	})
	return st, err
}

// add counts one more try, where one may be made. t is nil for none of a challenge.
func (b *Book) add(g *guard, now time.Time, guess Guess, t *tries) Standing {
	st := b.standing(*g, now)
	if st.Locked {
		return st
	}
	if t != nil {
		if t.N >= guess.Most {
			return Standing{Left: -1, Waiting: len(t.Open) > 0}
		}
		t.N++
	}
	if !now.Before(g.Day.Add(24 * time.Hour)) {
		g.Day, g.InDay = now, 0
	}
	g.InRow++
	g.InDay++
	if g.InRow%b.rules.Wrong == 0 {
		g.LockedUntil = now.Add(b.rules.Lock)
	}
	st = b.counted(g, now, g.InRow)
	if t != nil {
		st.Left = guess.Most - t.N
	}
	return st
}

// counted is what a try means that was counted as the one of this row. A lock that
// it has set itself does not keep it from being compared; one of a later try does.
func (b *Book) counted(g *guard, now time.Time, row int) Standing {
	st := b.standing(*g, now)
	if st.Locked && g.InRow == row {
		st.JustLocked, st.Locked = true, false
	}
	return st
}

// Wrong says that a try was compared in vain: the same guess is another try from now
// on. Where the same one, sent at the same time, has said so before, this one is
// counted here.
func (b *Book) Wrong(ctx context.Context, app, user string, guess Guess) (st Standing, err error) {
	err = b.change(ctx, app, user, func(g *guard, now time.Time) bool {
		t := g.of(guess, now)
		i := t.open(guess.Typed)
		if i < 0 {
			st = b.add(g, now, guess, t)
			return !st.Locked && st.Left >= 0
		}
		st = b.counted(g, now, t.Open[i].Row)
		t.Open = slices.Delete(t.Open, i, i+1)
		st.Left = guess.Most - t.N + len(t.Open) // those may still be right
		return true
	})
	return st, err
}

// Twice reports whether the same guess was made more than once, and nobody has found
// it wrong.
func (b *Book) Twice(ctx context.Context, app, user string, guess Guess) (bool, error) {
	now, err := b.store.Now(ctx)
	if err != nil {
		return false, fmt.Errorf("account: clock: %w", err)
	}
	g, _, err := load[guard](ctx, b, key("g", app, user))
	if g == nil || err != nil {
		return false, err
	}
	t := g.of(guess, now)
	i := t.open(guess.Typed)
	return i >= 0 && t.Open[i].Twice, nil
}

// Right takes back the last try, which was right, and ends the row. The day's
// wrong ones stay. The challenge's tries are remembered for keep: the same guess
// within that time costs nothing, and another one is a try as before.
func (b *Book) Right(ctx context.Context, app, user string, guess Guess, keep time.Duration) error {
	return b.change(ctx, app, user, func(g *guard, now time.Time) bool {
		g.InRow, g.LockedUntil, g.InDay = 0, time.Time{}, max(0, g.InDay-1)
		if guess.Of == "" {
			return true
		}
		if t := g.of(guess, now); now.Add(keep).Before(t.Until) {
			t.Until = now.Add(keep)
		}
		return true
	})
}

// guardTTL keeps the count of a row long after its last try.
const guardTTL = 400 * 24 * time.Hour

// change changes the guard; parallel tries wait in line, on this node for each
// other and then for those of other nodes.
func (b *Book) change(ctx context.Context, app, user string, f func(*guard, time.Time) bool) error {
	now, err := b.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("account: clock: %w", err)
	}
	k := key("g", app, user)
	leave, err := b.lines.Enter(ctx, k[len("g:")])
	if err != nil {
		return fmt.Errorf("account: waiting for other tries: %w", err)
	}
	defer leave()
	return swap(ctx, b, k, guardTTL, func(g *guard) (write bool, _ error) { return f(g, now), nil })
}
