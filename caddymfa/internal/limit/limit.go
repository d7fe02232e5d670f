// Package limit counts: texts per user, number, client network and number
// prefix, texts in all, and anonymous sessions per network. Every count is
// taken before the act that it allows; a refused act is given back.
package limit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Rate is so many acts in a window that starts with the first.
type Rate struct {
	N      int64         `json:"n"`
	Window time.Duration `json:"window"`
	// Record counts and alarms, and refuses nothing.
	Record bool `json:"record,omitempty"`
}

// Conversion is how many texts to a country must be answered by a right code.
// Who pumps texts for money answers none. Floor texts in a window are not looked
// at: they may be under way.
type Conversion struct {
	Percent, Floor int64
	Window         time.Duration
	Record         bool
}

// Limits are the bounds on sending. Zero rates are replaced by the defaults.
type Limits struct {
	// UserSends bounds texts that were not answered by a right code, for a user
	// and for a number each. Default 10 in 24 h.
	UserSends Rate
	// UserTotal bounds all texts for a user and for a number each. Default 30 in 24 h.
	UserTotal Rate
	// IPSends bounds texts that were not answered by a right code, per IPv4 address
	// or IPv6 /64. Default 20 in 1 h.
	IPSends Rate
	// IPLogins bounds wrong passwords per IPv4 address or IPv6 /64. Default 100 in 15 min.
	IPLogins Rate
	// PrefixSends bounds texts that were not answered by a right code, per number
	// without its last four digits: who pumps texts buys numbers in blocks. Default
	// 30 in 1 h.
	PrefixSends Rate
	// CountrySends and AppSends bound texts to the numbers of a country, and those
	// of an application. Default: the budget does.
	CountrySends, AppSends Rate
	// Budget bounds all texts. Default 1000 in 1 h.
	Budget Rate
	// Conversion stops a country whose texts nobody answers. Default 10 % above
	// 50 in 1 h.
	Conversion Conversion
}

// Defaults are the design's figures (section 5).
func Defaults() Limits {
	return Limits{
		UserSends:   Rate{N: 10, Window: 24 * time.Hour},
		UserTotal:   Rate{N: 30, Window: 24 * time.Hour},
		IPSends:     Rate{N: 20, Window: time.Hour},
		IPLogins:    Rate{N: 100, Window: 15 * time.Minute},
		PrefixSends: Rate{N: 30, Window: time.Hour},
		Budget:      Rate{N: 1000, Window: time.Hour},
		Conversion:  Conversion{Percent: 10, Floor: 50, Window: time.Hour},
	}
}

// Bounds on sessions from before a login. They protect the store; somebody who
// signs in needs one.
var (
	visitorsPerNetwork = Rate{N: 120, Window: 15 * time.Minute}
	visitorsInAll      = Rate{N: 50_000, Window: 15 * time.Minute}
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
	// Alarm is told when a limit that many users share is nearly reached, and when
	// it is. May be nil.
	Alarm func(context.Context, Alarm)
}

// Alarm is a limit that many users share, at 80 % or at 100 %.
type Alarm struct {
	Reason event.Reason
	// Of says whose: a country, an application; "" for all.
	Of      string
	Percent int
}

// New makes a counter.
func New(s store.Store, ring *keyring.Ring, l Limits) *Counter {
	d := Defaults()
	for _, p := range []struct{ have, def *Rate }{
		{&l.UserSends, &d.UserSends},
		{&l.UserTotal, &d.UserTotal},
		{&l.IPSends, &d.IPSends},
		{&l.IPLogins, &d.IPLogins},
		{&l.PrefixSends, &d.PrefixSends},
		{&l.Budget, &d.Budget},
	} {
		if p.have.N == 0 {
			*p.have = *p.def
		}
	}
	if l.Conversion.Floor == 0 {
		l.Conversion = d.Conversion
	}
	return &Counter{store: s, keys: ring.Key("limit"), limits: l}
}

// Text is one text that somebody wants sent.
type Text struct {
	App, User      string
	Number, Prefix string // E.164, and without the last four digits
	Country        string // of the number, ISO 3166-1 alpha-2
	Network        string // see Network
	// Unproven: the number is one that somebody has named and nobody has answered from.
	// Its texts have counts of their own, so that strangers who name a number use up
	// none of those of the person who has proven it (attack K17).
	Unproven bool
}

// of is a kind of count for the number's texts.
func (t Text) of(kind string) string {
	if t.Unproven {
		return kind + "-unproven"
	}
	return kind
}

type count struct {
	key    string
	rate   Rate
	reason event.Reason
	// of says whose count it is where many users share it; alarms name it.
	of     string
	shared bool
}

// key hides who is counted: counters lie in the store under keyed hashes.
func (c *Counter) key(kind string, of ...string) string {
	return "c:" + kind + ":" + c.keys.Ref(append([]string{kind}, of...)...)
}

func (c *Counter) unanswered(t Text) []count {
	return []count{
		{key: c.key("user", t.App, t.User), rate: c.limits.UserSends, reason: event.UserLimit},
		{key: c.key(t.of("number"), t.Number), rate: c.limits.UserSends, reason: event.NumberLimit},
	}
}

// Client names a network in a challenge, which keeps from where its texts were asked
// for: a right code may come from another place.
func (c *Counter) Client(network string) string { return c.keys.Ref("client", network) }

func (c *Counter) client(ref string) count {
	return count{key: "c:client:" + ref, rate: c.limits.IPSends, reason: event.ClientLimit}
}

func (c *Counter) prefix(t Text) count {
	return count{key: c.key(t.of("prefix"), t.Prefix), rate: c.limits.PrefixSends, reason: event.PrefixLimit}
}

// inAll are the counts that texts of every kind go into.
func (c *Counter) inAll(t Text) []count {
	counts := []count{
		{key: c.key("user-all", t.App, t.User), rate: c.limits.UserTotal, reason: event.UserLimit},
		{key: c.key(t.of("number-all"), t.Number), rate: c.limits.UserTotal, reason: event.NumberLimit},
	}
	if c.limits.CountrySends.N > 0 {
		counts = append(counts, count{key: c.key("country", t.Country), rate: c.limits.CountrySends, reason: event.CountryLimit, of: t.Country, shared: true})
	}
	if c.limits.AppSends.N > 0 {
		counts = append(counts, count{key: c.key("app", t.App), rate: c.limits.AppSends, reason: event.AppLimit, of: t.App, shared: true})
	}
	return append(counts, count{key: c.key("budget"), rate: c.limits.Budget, reason: event.Budget, shared: true})
}

// Prepare makes the counts of a text that somebody wants sent. They go to the
// store with its next batch, beside what has to be written anyway.
func (c *Counter) Prepare(t Text) *Taking {
	counts := append(c.unanswered(t), c.client(c.Client(t.Network)), c.prefix(t))
	k := c.taking(append(counts, c.inAll(t)...))
	k.country = t.Country
	k.sent = store.AddOp(c.key("sent", t.Country), 1, c.limits.Conversion.Window)
	k.answered = store.AddOp(c.key("answered", t.Country), 0, c.limits.Conversion.Window)
	k.Ops = append(k.Ops, k.sent, k.answered)
	return k
}

// Taking is one act that is counted against several limits, or against none.
type Taking struct {
	// Ops are the calls that count it.
	Ops []*store.Op

	c              *Counter
	counts         []count // in the order of Ops
	country        string
	sent, answered *store.Op // nil where conversion is not looked at
}

func (c *Counter) taking(counts []count) *Taking {
	k := &Taking{c: c, counts: counts}
	for _, n := range counts {
		k.Ops = append(k.Ops, store.AddOp(n.key, 1, n.rate.Window))
	}
	return k
}

// Settle says, after the batch, whether the act is allowed. When a limit is
// reached, what was counted is given back and the error is *Exceeded. Any other
// error means that the store failed, and the act must not be done.
func (k *Taking) Settle(ctx context.Context) error {
	err := k.settle(ctx)
	if err != nil {
		k.Undo(ctx)
	}
	return err
}

func (k *Taking) settle(ctx context.Context) error {
	for _, o := range k.Ops {
		if o.Err != nil {
			return fmt.Errorf("limit: %w", o.Err)
		}
	}
	for i, n := range k.counts {
		got := k.Ops[i].Count
		if n.shared {
			switch got.N {
			case (n.rate.N*4 + 4) / 5:
				k.c.alarm(ctx, Alarm{n.reason, n.of, 80}, n.rate.Window)
			case n.rate.N + 1:
				k.c.alarm(ctx, Alarm{n.reason, n.of, 100}, n.rate.Window)
			}
		}
		if got.N > n.rate.N && !n.rate.Record {
			return &Exceeded{n.reason, got.Resets}
		}
	}
	if k.sent != nil {
		return k.convert(ctx)
	}
	return nil
}

// convert holds a text against those of its country that were answered. The
// rule looks at the newest counts, so a country comes back by itself when people
// answer, and with the next window at the latest.
func (k *Taking) convert(ctx context.Context) error {
	rule := k.c.limits.Conversion
	over := k.sent.Count.N - rule.Floor
	if over <= 0 || k.answered.Count.N*100 >= over*rule.Percent {
		return nil
	}
	k.c.alarm(ctx, Alarm{event.Unanswered, k.country, 100}, rule.Window)
	if rule.Record {
		return nil
	}
	return &Exceeded{event.Unanswered, k.sent.Count.Resets}
}

// Undo gives back what was counted, for an act that provably was not done. A
// count that cannot be given back is only too strict.
func (k *Taking) Undo(ctx context.Context) {
	var back []*store.Op
	for _, o := range k.Ops {
		if o.Err == nil && o.Delta != 0 {
			back = append(back, store.AddOp(o.Key, -o.Delta, o.Window))
		}
	}
	k.c.store.Batch(ctx, back...)
}

// alarm tells of a limit once in its window, however often it is met.
func (c *Counter) alarm(ctx context.Context, a Alarm, window time.Duration) {
	if c.Alarm == nil {
		return
	}
	n, err := c.store.Add(ctx, c.key("alarm", string(a.Reason), a.Of, strconv.Itoa(a.Percent)), 1, window)
	if err == nil && n.N == 1 {
		c.Alarm(ctx, a)
	}
}

// TakeNotice counts a text that no one asked for, such as the word to an owner
// that the account is locked. It must not fail because an attacker's logins have
// used up the texts that wait for an answer.
func (c *Counter) TakeNotice(ctx context.Context, t Text) (*Taking, error) {
	return c.take(ctx, c.inAll(t))
}

// take counts by a batch of its own.
func (c *Counter) take(ctx context.Context, counts []count) (*Taking, error) {
	k := c.taking(counts)
	c.store.Batch(ctx, k.Ops...)
	return k, k.Settle(ctx)
}

// Answered says that n texts were answered by a right code, and gives back what they
// were counted against: an office is one client and one block of numbers (attack K19).
// clients are the networks that asked for those to this number, see Client. unmark:
// the number may be marked, and is not any more.
func (c *Counter) Answered(ctx context.Context, t Text, n int, clients []string, unmark bool) error {
	ops := []*store.Op{store.AddOp(c.key("answered", t.Country), int64(n), c.limits.Conversion.Window)}
	back := func(k count, n int) { ops = append(ops, store.AddOp(k.key, -int64(n), k.rate.Window)) }
	for _, k := range c.unanswered(t) {
		back(k, n)
	}
	asked := map[string]int{}
	for _, ref := range clients {
		asked[ref]++
	}
	for ref, n := range asked {
		back(c.client(ref), n)
	}
	if len(clients) > 0 {
		back(c.prefix(t), len(clients))
	}
	mark := c.MarkOp(t.Number)
	if unmark {
		ops = append(ops, mark)
	}
	c.store.Batch(ctx, ops...)
	for _, o := range ops {
		if o.Err != nil && !errors.Is(o.Err, store.ErrNotFound) {
			return fmt.Errorf("limit: %w", o.Err)
		}
	}
	if mark.Err == nil {
		if err := c.store.Delete(ctx, mark.Key); err != nil {
			return fmt.Errorf("limit: %w", err)
		}
	}
	return nil
}

// Forget takes back what was counted for a user and for a number.
func (c *Counter) Forget(ctx context.Context, t Text) error {
	keys := []string{c.key("user", t.App, t.User), c.key("user-all", t.App, t.User)}
	if t.Number != "" {
		keys = append(keys, c.markKey(t.Number))
		for _, t.Unproven = range []bool{false, true} {
			keys = append(keys, c.key(t.of("number"), t.Number), c.key(t.of("number-all"), t.Number))
		}
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
		{key: c.key("visitor", network), rate: visitorsPerNetwork, reason: event.TooManyVisitors},
		{key: c.key("visitors"), rate: visitorsInAll, reason: event.TooManyVisitors},
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
