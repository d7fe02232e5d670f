package limit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func counter(tb testing.TB, l Limits) *Counter {
	tb.Helper()
	ring, err := keyring.New([]byte("a secret of the tests with at least 32 bytes"))
	if err != nil {
		tb.Fatal(err)
	}
	s := memory.New(memory.Options{})
	tb.Cleanup(func() { _ = s.Close() })
	return New(s, ring, l)
}

func text(user, number, network string) Text {
	return Text{App: "app", User: user, Number: number, Prefix: number[:len(number)-4], Network: network}
}

// take counts a text as a sender does.
func take(c *Counter, t Text) (*Taking, error) {
	k := c.Prepare(t)
	c.store.Batch(context.Background(), k.Ops...)
	return k, k.Settle(context.Background())
}

// refused is the reason of a refusal, "" for none.
func refused(tb testing.TB, c *Counter, t Text) event.Reason {
	tb.Helper()
	_, err := take(c, t)
	var full *Exceeded
	if err != nil && !errors.As(err, &full) {
		tb.Fatal(err)
	}
	if full == nil {
		return ""
	}
	if full.After <= 0 || full.After > 24*time.Hour {
		tb.Errorf("the window ends in %s", full.After)
	}
	return full.Reason
}

func TestNetworks(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "192.0.2.1:99": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8::1": "2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff": "2001:db8::/64", "[2001:db8::1]:99": "2001:db8::/64",
		"2001:db8:0:1::1": "2001:db8:0:1::/64", "fe80::1%eth0": "fe80::/64",
		// What is no address must not be a new client each time (attack D4).
		"": "unknown", "garbage": "unknown", "192.0.2.1, 10.0.0.1": "unknown", "192.0.2.256": "unknown", "0x7f.1": "unknown", "192.0.2.1\n": "unknown",
	} {
		if got := Network(addr); got != want {
			t.Errorf("%q: %q, want %q", addr, got, want)
		}
	}
}

func TestAttack_H5_OneAddressManyCountries(t *testing.T) {
	c, sent := counter(t, Limits{}), 0
	for i := range 200 {
		if refused(t, c, text(fmt.Sprint("bought", i), fmt.Sprintf("+%d79001%04d", 30+i%60, i), "198.51.100.1")) == "" {
			sent++
		}
	}
	if sent != 20 {
		t.Fatalf("%d texts from one address", sent)
	}
	if r := refused(t, c, text("alice", "+447400123456", "198.51.100.2")); r != "" {
		t.Fatalf("a real user: %s", r)
	}
}

func TestAttack_H5_ManyAddressesOneCountry(t *testing.T) {
	c, sent := counter(t, Limits{}), 0
	for i := range 400 { // numbers are bought in blocks
		if refused(t, c, text(fmt.Sprint("bought", i), fmt.Sprintf("+22501020%04d", i), fmt.Sprintf("198.51.%d.%d", i/250, i%250))) == "" {
			sent++
		}
	}
	if sent != 30 {
		t.Fatalf("%d texts to one block of numbers", sent)
	}
	for i := range 5 {
		if r := refused(t, c, text(fmt.Sprint("real", i), fmt.Sprintf("+44740012345%d", i), "203.0.113.9")); r != "" {
			t.Fatalf("a real user of another country: %s", r)
		}
	}
}

func TestEveryLimitHasItsOwnReason(t *testing.T) {
	one := Rate{N: 1, Window: time.Hour}
	first := text("alice", "+447400123456", "192.0.2.1")
	for name, tc := range map[string]struct {
		limits Limits
		second Text
		want   event.Reason
	}{
		"user":           {Limits{UserSends: one}, text("alice", "+447400999999", "192.0.2.2"), event.UserLimit},
		"number":         {Limits{UserSends: one}, text("bob", first.Number, "192.0.2.2"), event.NumberLimit},
		"all of a user":  {Limits{UserTotal: one}, text("alice", "+447400999999", "192.0.2.2"), event.UserLimit},
		"client":         {Limits{IPSends: one}, text("bob", "+447400999999", first.Network), event.ClientLimit},
		"block":          {Limits{PrefixSends: one}, text("bob", "+447400129999", "192.0.2.2"), event.PrefixLimit},
		"budget":         {Limits{Budget: one}, text("bob", "+491711234567", "192.0.2.2"), event.Budget},
		"something else": {Limits{}, text("bob", "+491711234567", "192.0.2.2"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := counter(t, tc.limits)
			if r := refused(t, c, first); r != "" {
				t.Fatalf("the first: %s", r)
			}
			if r := refused(t, c, tc.second); r != tc.want {
				t.Fatalf("the second: %q, want %q", r, tc.want)
			}
		})
	}
}

func TestRightCodeGivesTheUnansweredBackAndNotTheTotal(t *testing.T) {
	c := counter(t, Limits{})
	alice := text("alice", "+447400123456", "192.0.2.1")
	sent := 0
	for range 60 {
		alice.Network = fmt.Sprint("192.0.2.", sent)
		alice.Prefix = fmt.Sprint(sent) // neither is what is tested here
		if refused(t, c, alice) == "" {
			sent++
			if err := c.Answered(t.Context(), alice, 1, nil, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if sent != 30 {
		t.Fatalf("%d texts in a day", sent)
	}
}

func TestNoticeComesWhenTheTextsAreUsedUp(t *testing.T) {
	c := counter(t, Limits{})
	alice := text("alice", "+447400123456", "192.0.2.1")
	for range 12 {
		_ = refused(t, c, alice)
	}
	if r := refused(t, c, alice); r != event.UserLimit {
		t.Fatalf("%q", r)
	}
	if _, err := c.TakeNotice(t.Context(), alice); err != nil {
		t.Fatalf("the word to the owner: %v", err)
	}
}

func TestVisitorsOfOneNetworkAreBounded(t *testing.T) {
	c := counter(t, Limits{})
	for i := range 121 {
		err := c.Visitor(t.Context(), "192.0.2.1")
		var full *Exceeded
		if got, want := errors.As(err, &full), i == 120; got != want {
			t.Fatalf("visitor %d: %v", i, err)
		}
	}
	if err := c.Visitor(t.Context(), "192.0.2.2"); err != nil {
		t.Fatalf("another network: %v", err)
	}
}

// TestPropertyRefusedTextsCostNothing: whatever is sent and given back, each
// count is the number of texts that went out, and no limit is passed.
func TestPropertyRefusedTextsCostNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := func(name string) Rate { return Rate{N: rapid.Int64Range(1, 6).Draw(t, name), Window: time.Hour} }
		l := Limits{UserSends: rate("user"), UserTotal: rate("total"), IPSends: rate("client"), PrefixSends: rate("prefix"), Budget: rate("budget")}
		ring, err := keyring.New([]byte("a secret of the tests with at least 32 bytes"))
		if err != nil {
			t.Fatal(err)
		}
		s := memory.New(memory.Options{})
		c := New(s, ring, l)
		users, numbers, networks, out := map[string]int64{}, map[string]int64{}, map[string]int64{}, int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "texts") {
			tx := text(rapid.SampledFrom([]string{"alice", "bob", "carol"}).Draw(t, "user"), rapid.SampledFrom([]string{"+447400123456", "+447400123457", "+491711234567"}).Draw(t, "number"),
				rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2"}).Draw(t, "network"))
			allowed := users[tx.User] < min(l.UserSends.N, l.UserTotal.N) && numbers[tx.Number] < min(l.UserSends.N, l.UserTotal.N) &&
				networks[tx.Network] < l.IPSends.N && numbers["p"+tx.Prefix] < l.PrefixSends.N && out < l.Budget.N
			k, err := take(c, tx)
			if (err == nil) != allowed {
				t.Fatalf("%+v: %v, allowed %t", tx, err, allowed)
			}
			if err != nil {
				continue
			}
			if rapid.Bool().Draw(t, "give back") {
				k.Undo(context.Background())
				continue
			}
			users[tx.User]++
			numbers[tx.Number]++
			numbers["p"+tx.Prefix]++
			networks[tx.Network]++
			out++
		}
		_ = s.Close()
	})
}

// tried is the verdict on passwords that are tried one after the other.
func tried(t *testing.T, g *Guess, err error, wrong bool) event.Reason {
	t.Helper()
	if full, ok := errors.AsType[*Exceeded](err); ok {
		return full.Reason
	} else if err != nil {
		t.Fatal(err)
	}
	g.Done(t.Context(), wrong)
	return ""
}

// Wrong passwords of the API are counted per network and key, and per user and
// network: a name alone locks nobody out elsewhere (attack K18). Right ones are not
// (people P20).
func TestAttack_K18_LoginsAreCounted(t *testing.T) {
	c, per := counter(t, Limits{}), Rate{N: 30, Window: time.Hour}
	login := func(who, network, user string, wrong bool) event.Reason {
		g, err := c.Login(t.Context(), who, network, per, "app", user)
		return tried(t, g, err, wrong)
	}
	for i := range 31 {
		if reason := login("key", "192.0.2.1", fmt.Sprint("user", i), true); (reason == event.ClientLogins) != (i == 30) {
			t.Fatalf("wrong password %d of a network: %q", i, reason)
		}
	}
	if reason := login("other key", "192.0.2.1", "user99", true); reason != "" {
		t.Fatalf("another key: %q", reason)
	}
	for i := range 100 {
		if reason := login("key", "192.0.2.2", fmt.Sprint("alice", i%3), false); reason != "" {
			t.Fatalf("right password %d: %q", i, reason)
		}
	}
	for i := range 11 {
		if reason := login("key", "198.51.100.1", "alice", true); (reason == event.UserLogins) != (i == 10) {
			t.Fatalf("wrong password %d for a user: %q", i, reason)
		}
	}
	if reason := login("key", "198.51.100.2", "alice", false); reason != "" {
		t.Fatalf("the user from elsewhere: %q", reason)
	}
}

// However many right passwords come at once from one address, all of them are
// tried; of wrong ones no more than the limit, also at once.
func TestGuessesAtOnce(t *testing.T) {
	for wrong, want := range map[bool]int{false: 60, true: 10} {
		c := counter(t, Limits{IPLogins: Rate{N: 10, Window: time.Hour}})
		var all sync.WaitGroup
		var allowed, most, now atomic.Int64
		for range 60 {
			all.Go(func() {
				g, err := c.Guess(t.Context(), "192.0.2.1")
				if err != nil {
					return
				}
				allowed.Add(1)
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(20 * time.Millisecond)
				now.Add(-1)
				g.Done(t.Context(), wrong)
			})
		}
		all.Wait()
		if allowed.Load() != int64(want) || most.Load() > 10 {
			t.Errorf("wrong %t: %d were tried, %d at once", wrong, allowed.Load(), most.Load())
		}
	}
}

// Right codes give back what their texts were counted against: the office, and the
// block of numbers, from where the text was asked for.
func TestAttack_K19_RightCodesGiveBackClientAndBlock(t *testing.T) {
	c := counter(t, Limits{})
	for i := range 100 {
		who := text(fmt.Sprint("user", i), fmt.Sprintf("+44740012%04d", i), "192.0.2.1")
		if r := refused(t, c, who); r != "" {
			t.Fatalf("person %d: %s", i, r)
		}
		who.Network = "203.0.113.99" // the code is typed elsewhere
		if err := c.Answered(t.Context(), who, 1, []string{c.Client("192.0.2.1")}, false); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 21 { // what is not answered stays counted
		if r := refused(t, c, text(fmt.Sprint("other", i), fmt.Sprintf("+49171123%04d", i), "192.0.2.1")); (r == event.ClientLimit) != (i == 20) {
			t.Fatalf("text %d: %q", i, r)
		}
	}
}

// Strangers who name somebody's number use up none of his texts.
func TestAttack_K17_UnprovenTextsHaveTheirOwnCounts(t *testing.T) {
	c := counter(t, Limits{})
	sent := 0
	for i := range 60 {
		stranger := text(fmt.Sprint("stranger", i), "+447400123456", fmt.Sprint("198.51.100.", i))
		stranger.Unproven = true
		if refused(t, c, stranger) == "" {
			sent++
		}
		stranger.Number = fmt.Sprintf("+44740012%04d", i) // of the same block
		_ = refused(t, c, stranger)
	}
	if sent != 10 {
		t.Errorf("%d texts of strangers", sent)
	}
	for i := range 10 {
		if r := refused(t, c, text("alice", "+447400123456", fmt.Sprint("192.0.2.", i))); r != "" {
			t.Fatalf("the owner's text %d: %s", i, r)
		}
	}
}

// What was not counted is not given back: that would be a text for nothing.
func TestOnlyWhatWasCountedIsGivenBack(t *testing.T) {
	c, ctx := counter(t, Limits{UserSends: Rate{N: 2, Window: time.Hour}}), context.Background()
	who := text("alice", "+447400123456", "192.0.2.1")
	for range 2 {
		if _, err := take(c, who); err != nil {
			t.Fatal(err)
		}
	}
	k := c.Prepare(who)
	k.Undo(ctx) // its batch has not run
	if err := k.Settle(ctx); err == nil {
		t.Error("allowed without having been counted")
	}
	if r := refused(t, c, who); r != event.UserLimit {
		t.Errorf("the third text: %q", r)
	}
}
