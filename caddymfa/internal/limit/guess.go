package limit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// passwordsPerUser bounds wrong passwords that one network tries for one user by the
// API. It is not one for a user alone: whoever knows a name could shut it out.
var passwordsPerUser = Rate{N: 10, Window: 15 * time.Minute}

// Guess is a password that is being tried. It is counted before the application is
// asked, and what is counted in the end are wrong ones: right ones never stop those
// who share an address, not even when all of them come at once.
type Guess struct {
	c      *Counter
	counts []count
}

// One counter holds both: wrong passwords, and above them, times trying, those whose
// verdict is still out. A crash leaves one that counts as wrong until the window ends.
const trying = 1 << 20

// guessWait is how long a password waits where only the verdicts on others keep it
// from being tried.
const guessWait = 5 * time.Second

// Guess counts a password that somebody at a network wants tried.
func (c *Counter) Guess(ctx context.Context, network string) (*Guess, error) {
	return c.guess(ctx, count{key: c.key("guess", network), rate: c.limits.IPLogins, reason: event.ClientLogins})
}

// Login counts a password that a program wants tried: against perNetwork for the
// program's client, named by who, and against those for the user from that network.
// A key that anybody may read must be no way to guess.
func (c *Counter) Login(ctx context.Context, who, network string, perNetwork Rate, app, user string) (*Guess, error) {
	return c.guess(ctx,
		count{key: c.key("login", who, network), rate: perNetwork, reason: event.ClientLogins},
		count{key: c.key("login-user", app, user, network), rate: passwordsPerUser, reason: event.UserLogins},
	)
}

func (c *Counter) guess(ctx context.Context, counts ...count) (*Guess, error) {
	g := &Guess{c, counts}
	end := time.Now().Add(guessWait)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		var ops []*store.Op
		for _, n := range counts {
			ops = append(ops, store.AddOp(n.key, trying, n.rate.Window))
		}
		c.store.Batch(ctx, ops...)
		full, final, err := over(counts, ops)
		if err == nil && full == nil {
			return g, nil
		}
		g.back(context.WithoutCancel(ctx), ops)
		switch {
		case err != nil:
			return nil, fmt.Errorf("limit: %w", err)
		case final || time.Now().Add(wait).After(end):
			return nil, full
		}
		select {
		case <-ctx.Done():
			return nil, full
		case <-time.After(wait/2 + rand.N(wait/2)): //nolint:gosec // nobody gains by guessing it
		}
	}
}

// over finds the limit that a password is over, and whether it is so by wrong
// passwords alone.
func over(counts []count, ops []*store.Op) (full *Exceeded, final bool, err error) {
	for i, n := range counts {
		if ops[i].Err != nil {
			return nil, false, ops[i].Err
		}
		wrong, open := ops[i].Count.N%trying, ops[i].Count.N/trying
		if n.rate.Record || wrong+open <= n.rate.N {
			continue
		}
		if full == nil || wrong >= n.rate.N {
			full = &Exceeded{n.reason, ops[i].Count.Resets}
		}
		final = final || wrong >= n.rate.N
	}
	return full, final, nil
}

func (g *Guess) back(ctx context.Context, ops []*store.Op) {
	var back []*store.Op
	for _, o := range ops {
		if o.Err == nil {
			back = append(back, store.AddOp(o.Key, -o.Delta, o.Window))
		}
	}
	g.c.store.Batch(ctx, back...)
}

// Done is the verdict on the password. One that cannot be written leaves the password
// counted: only too strict.
func (g *Guess) Done(ctx context.Context, wrong bool) {
	var ops []*store.Op
	for _, n := range g.counts {
		delta := int64(-trying)
		if wrong {
			delta++
		}
		ops = append(ops, store.AddOp(n.key, delta, n.rate.Window))
	}
	g.c.store.Batch(ctx, ops...)
}
