// Package limit counts: texts per user, number, client network and number
// prefix, texts in all, and anonymous sessions per network. Every count is
// taken before the act that it allows; a refused act is given back.
package limit

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Rate is so many acts in a window that starts with the first.
type Rate struct {
	N      int64         `json:"n"`
	Window time.Duration `json:"window"`
}

// Limits are the bounds on sending. Zero rates are replaced by the defaults.
type Limits struct {
	// UserSends bounds texts that were not answered by a right code, for a user
	// and for a number each. Default 10 in 24 h.
	UserSends Rate
	// UserTotal bounds all texts for a user and for a number each. Default 30 in 24 h.
	UserTotal Rate
	// IPSends bounds texts per IPv4 address or IPv6 /64. Default 20 in 1 h.
	IPSends Rate
	// PrefixSends bounds texts per number without its last four digits: who
	// pumps texts buys numbers in blocks. Default 30 in 1 h.
	PrefixSends Rate
	// Budget bounds all texts. Default 1000 in 1 h.
	Budget Rate
}

// Defaults are the design's figures (section 5).
func Defaults() Limits {
	return Limits{
		UserSends:   Rate{10, 24 * time.Hour},
		UserTotal:   Rate{30, 24 * time.Hour},
		IPSends:     Rate{20, time.Hour},
		PrefixSends: Rate{30, time.Hour},
		Budget:      Rate{1000, time.Hour},
	}
}

// Bounds on sessions from before a login. They protect the store; somebody who
// signs in needs one.
var (
	visitorsPerNetwork = Rate{120, 15 * time.Minute}
	visitorsInAll      = Rate{50_000, 15 * time.Minute}
)

// Exceeded is the error of a limit that was reached.
type Exceeded struct { //nolint:errname // reads better where it is used
	Reason event.Reason
	// After is how long it lasts until the window ends.
	After time.Duration
}

func (e *Exceeded) Error() string {
	return fmt.Sprintf("limit %s reached, for %s", e.Reason, e.After.Round(time.Second))
}

// Counter keeps the counts in the store, so that all nodes share them.
type Counter struct {
	store  store.Store
	keys   *keyring.Key
	limits Limits
}

// New makes a counter.
func New(s store.Store, ring *keyring.Ring, l Limits) *Counter {
	d := Defaults()
	for _, p := range []struct{ have, def *Rate }{
		{&l.UserSends, &d.UserSends},
		{&l.UserTotal, &d.UserTotal},
		{&l.IPSends, &d.IPSends},
		{&l.PrefixSends, &d.PrefixSends},
		{&l.Budget, &d.Budget},
	} {
		if p.have.N == 0 {
			*p.have = *p.def
		}
	}
	return &Counter{store: s, keys: ring.Key("limit"), limits: l}
}

// Text is one text that somebody wants sent.
type Text struct {
	App, User      string
	Number, Prefix string // E.164, and without the last four digits
	Network        string // see Network
}

type count struct {
	key    string
	rate   Rate
	reason event.Reason
}

// key hides who is counted: counters lie in the store under keyed hashes.
func (c *Counter) key(kind string, of ...string) string {
	return "c:" + kind + ":" + c.keys.Ref(append([]string{kind}, of...)...)
}

func (c *Counter) unanswered(t Text) []count {
	return []count{
		{c.key("user", t.App, t.User), c.limits.UserSends, event.UserLimit},
		{c.key("number", t.Number), c.limits.UserSends, event.NumberLimit},
	}
}

// Take counts a text against every limit, or against none: when one is
// reached, what was counted is given back and the error is *Exceeded. Any
// other error means that the store failed, and nothing may be sent. The
// returned function gives the text back, for one that provably was not sent.
func (c *Counter) Take(ctx context.Context, t Text) (undo func(context.Context), err error) {
	counts := append(c.unanswered(t),
		count{c.key("user-all", t.App, t.User), c.limits.UserTotal, event.UserLimit},
		count{c.key("number-all", t.Number), c.limits.UserTotal, event.NumberLimit},
		count{c.key("client", t.Network), c.limits.IPSends, event.ClientLimit},
		count{c.key("prefix", t.Prefix), c.limits.PrefixSends, event.PrefixLimit},
		count{c.key("budget"), c.limits.Budget, event.Budget},
	)
	return c.take(ctx, counts)
}

// TakeNotice counts a text that no one asked for: the word to an owner that the
// account is locked. It comes once in a lock, and must not fail because an
// attacker's logins have used up the texts that wait for an answer.
func (c *Counter) TakeNotice(ctx context.Context, t Text) (undo func(context.Context), err error) {
	return c.take(ctx, []count{
		{c.key("user-all", t.App, t.User), c.limits.UserTotal, event.UserLimit},
		{c.key("number-all", t.Number), c.limits.UserTotal, event.NumberLimit},
		{c.key("budget"), c.limits.Budget, event.Budget},
	})
}

func (c *Counter) take(ctx context.Context, counts []count) (func(context.Context), error) {
	var taken []count
	undo := func(ctx context.Context) {
		for _, k := range taken {
			// A count that cannot be given back is only too strict.
			_, _ = c.store.Add(ctx, k.key, -1, k.rate.Window)
		}
	}
	for _, k := range counts {
		n, err := c.store.Add(ctx, k.key, 1, k.rate.Window)
		if err != nil {
			undo(ctx)
			return nil, fmt.Errorf("limit: %w", err)
		}
		taken = append(taken, k)
		if n.N > k.rate.N {
			undo(ctx)
			return nil, &Exceeded{k.reason, n.Resets}
		}
	}
	return undo, nil
}

// Answered says that n texts were answered by a right code.
func (c *Counter) Answered(ctx context.Context, t Text, n int) error {
	for _, k := range c.unanswered(t) {
		if _, err := c.store.Add(ctx, k.key, -int64(n), k.rate.Window); err != nil {
			return fmt.Errorf("limit: %w", err)
		}
	}
	return nil
}

// Forget takes back what was counted for a user and for a number.
func (c *Counter) Forget(ctx context.Context, t Text) error {
	keys := []string{c.key("user", t.App, t.User), c.key("user-all", t.App, t.User)}
	if t.Number != "" {
		keys = append(keys, c.key("number", t.Number), c.key("number-all", t.Number))
	}
	for _, k := range keys {
		if err := c.store.Delete(ctx, k); err != nil {
			return fmt.Errorf("limit: %w", err)
		}
	}
	return nil
}

// Visitor counts a new session from before a login.
func (c *Counter) Visitor(ctx context.Context, network string) error {
	_, err := c.take(ctx, []count{
		{c.key("visitor", network), visitorsPerNetwork, event.TooManyVisitors},
		{c.key("visitors"), visitorsInAll, event.TooManyVisitors},
	})
	return err
}

// Network is what one client can choose addresses from: an IPv4 address or an
// IPv6 /64. What is no address shares one bucket.
func Network(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		if ap, err2 := netip.ParseAddrPort(addr); err2 == nil {
			ip = ap.Addr()
		} else {
			return "unknown"
		}
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return "unknown"
	}
	return p.String()
}
