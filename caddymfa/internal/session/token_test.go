package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTokensStandForOneSessionOnly(t *testing.T) {
	tb, _, g := table(t)
	ctx := t.Context()
	s, err := tb.Create(ctx, g, verified())
	if err != nil {
		t.Fatal(err)
	}
	const token = "6ba7b810-9dad-4bd1-80b4-00c04fd430c8"
	if err := tb.Note(ctx, g, s, Access, "client", token, 0); err != nil {
		t.Fatal(err)
	}
	if got, err := tb.Noted(ctx, g, Access, "client", token, nil); err != nil || got.ID != s.ID {
		t.Fatalf("%v, %v", got, err)
	}
	// F8: another kind, client, gate or value is nobody's.
	other := &Gate{ID: "app\x00other", Cookie: g.Cookie, Idle: g.Idle, Lifetime: g.Lifetime}
	for name, find := range map[string]func() (*Session, error){
		"kind":   func() (*Session, error) { return tb.Noted(ctx, g, Refresh, "client", token, nil) },
		"client": func() (*Session, error) { return tb.Noted(ctx, g, Access, "", token, nil) },
		"gate":   func() (*Session, error) { return tb.Noted(ctx, other, Access, "client", token, nil) },
		"cut":    func() (*Session, error) { return tb.Noted(ctx, g, Access, "client", token[:35], nil) },
		"empty":  func() (*Session, error) { return tb.Noted(ctx, g, Access, "client", "", nil) },
	} {
		if got, err := find(); !errors.Is(err, ErrGone) || got != nil {
			t.Errorf("another %s: %v, %v", name, got, err)
		}
	}
	if err := tb.End(ctx, s); err != nil {
		t.Fatal(err)
	}
	if _, err := tb.Noted(ctx, g, Access, "client", token, nil); !errors.Is(err, ErrGone) {
		t.Errorf("of an ended session: %v", err)
	}
}

func TestASecondFactorTokenFindsPendingSessionsOnly(t *testing.T) {
	tb, _, g := table(t)
	ctx := t.Context()
	rec := verified()
	rec.Level = Pending
	pending, err := tb.Create(ctx, g, rec)
	if err != nil {
		t.Fatal(err)
	}
	done, err := tb.Create(ctx, g, verified())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		s    *Session
		kind Kind
		ok   bool
	}{{pending, Second, true}, {pending, Access, false}, {done, Second, false}, {done, Access, true}, {done, StepUp, true}} {
		token := string(c.kind) + string(c.s.Level)
		if err := tb.Note(ctx, g, c.s, c.kind, "", token, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := tb.Noted(ctx, g, c.kind, "", token, nil); (err == nil) != c.ok {
			t.Errorf("%s of a %s session: %v", c.kind, c.s.Level, err)
		}
	}
}

func TestATokenIsTakenBackOnce(t *testing.T) {
	tb, _, g := table(t)
	s, err := tb.Create(t.Context(), g, verified())
	if err != nil {
		t.Fatal(err)
	}
	if err := tb.Note(t.Context(), g, s, StepUp, "", "x", 0); err != nil {
		t.Fatal(err)
	}
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := tb.Unnote(context.Background(), g, StepUp, "", "x"); err == nil {
				won.Add(1)
			} else if !errors.Is(err, ErrGone) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have won", won.Load())
	}
	if _, err := tb.Noted(t.Context(), g, StepUp, "", "x", nil); !errors.Is(err, ErrGone) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestATokenLivesAsLongAsItWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb, _, g := table(t)
		s, err := tb.Create(t.Context(), g, verified())
		if err != nil {
			t.Fatal(err)
		}
		if err := tb.Note(t.Context(), g, s, StepUp, "", "x", time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		if _, err := tb.Noted(t.Context(), g, StepUp, "", "x", nil); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if _, err := tb.Noted(t.Context(), g, StepUp, "", "x", nil); !errors.Is(err, ErrGone) {
			t.Errorf("after its time: %v", err)
		}
		tb.Close()
	})
}

func TestMembersAreListedAndDismissed(t *testing.T) {
	tb, _, g := table(t)
	ctx := t.Context()
	var all []*Session
	for range 3 {
		s, err := tb.Create(ctx, g, verified())
		if err != nil {
			t.Fatal(err)
		}
		if err := tb.Enlist(ctx, "app", s, "Firefox, Linux"); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := tb.End(ctx, all[2]); err != nil {
		t.Fatal(err)
	}
	list, err := tb.Members(ctx, "app", "alice")
	if err != nil || len(list) != 2 || list[0].Agent != "Firefox, Linux" || time.Since(list[0].Started) > time.Minute {
		t.Fatalf("%+v, %v", list, err)
	}
	if !list[0].Of(all[0]) && !list[1].Of(all[0]) || list[0].Of(nil) || list[0].Ref == list[1].Ref {
		t.Fatalf("%+v", list)
	}
	for _, who := range [][2]string{{"app", "bob"}, {"app2", "alice"}} {
		if other, err := tb.Members(ctx, who[0], who[1]); err != nil || len(other) != 0 {
			t.Errorf("%v has %v, %v", who, other, err)
		}
	}
	ended := make(chan struct{})
	tb.Tie(g, all[1], func() { close(ended) })
	if n, err := tb.DismissAll(ctx, "app", "alice", all[0]); err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	select {
	case <-ended: // at once, not by the watcher
	case <-time.After(time.Second):
		t.Error("a stream of the dismissed session goes on")
	}
	// Past no cache and past the copy of this node alike.
	if _, state, err := tb.find(ctx, g, handle{id: all[1].ID}); err != nil || state == Live {
		t.Errorf("the dismissed session: %v, %v", state, err)
	}
	if _, state, err := tb.find(ctx, g, handle{id: all[0].ID}); err != nil || state != Live {
		t.Errorf("the other one: %v, %v", state, err)
	}
	if list, err := tb.Members(ctx, "app", "alice"); err != nil || len(list) != 1 || !list[0].Of(all[0]) {
		t.Errorf("afterwards %+v, %v", list, err)
	}
}
