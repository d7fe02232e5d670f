package limit

import (
	"context"
	"errors"
	"fmt"
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
			if err := c.Answered(t.Context(), alice, 1, false); err != nil {
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

// TestLoginsAreCounted: per network and key, and the wrong ones per user; what is
// refused costs nothing.
func TestLoginsAreCounted(t *testing.T) {
	c, per := counter(t, Limits{}), Rate{N: 3, Window: time.Hour}
	login := func(who, network, user string) (func(context.Context), event.Reason) {
		right, err := c.Login(t.Context(), who, network, per, "app", user)
		if full, ok := errors.AsType[*Exceeded](err); ok {
			return nil, full.Reason
		} else if err != nil {
			t.Fatal(err)
		}
		return right, ""
	}
	for i := range 4 {
		if _, reason := login("key", "192.0.2.1", fmt.Sprint("user", i)); (reason == event.ClientLogins) != (i == 3) {
			t.Fatalf("login %d of a network: %q", i, reason)
		}
	}
	if _, reason := login("other key", "192.0.2.1", "user9"); reason != "" {
		t.Fatalf("another key: %q", reason)
	}
	for i := range 20 { // right ones
		right, reason := login(fmt.Sprint("key", i), "192.0.2.2", "alice")
		if reason != "" {
			t.Fatalf("login %d: %q", i, reason)
		}
		right(t.Context())
	}
	for i := range 11 { // wrong ones, from anywhere
		if _, reason := login(fmt.Sprint("key", i), fmt.Sprint("198.51.100.", i), "alice"); (reason == event.UserLogins) != (i == 10) {
			t.Fatalf("wrong password %d: %q", i, reason)
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
