package memory_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/memory"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memory.New(memory.Options{}) })
}

func put(t *testing.T, s *memory.Store, key string, size int, ttl time.Duration) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, make([]byte, size), 0, store.Options{TTL: ttl, Volatile: true}); err != nil {
		t.Fatal(err)
	}
}

func TestAttack_J16_FloodStaysWithinTheBound(t *testing.T) {
	s := memory.New(memory.Options{MaxBytes: 1 << 20})
	for i := range 50_000 {
		put(t, s, fmt.Sprint("k", i), 200, time.Hour)
	}
	if n := s.Len(); n > 1<<20/(200+128) || n < 2000 {
		t.Fatalf("%d records", n)
	}
}

func TestTheRecordsThatExpireFirstMakeRoom(t *testing.T) {
	s := memory.New(memory.Options{MaxBytes: 4 << 10})
	put(t, s, "never expires", 700, 0)
	put(t, s, "in two hours", 700, 2*time.Hour)
	put(t, s, "in an hour", 700, time.Hour)
	put(t, s, "in three hours", 700, 3*time.Hour)
	put(t, s, "new", 1200, time.Minute)
	for key, there := range map[string]bool{
		"never expires": true, "in two hours": false, "in an hour": false, "in three hours": true, "new": true,
	} {
		if _, err := s.Get(t.Context(), key); (err == nil) != there {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := s.Put(t.Context(), "vast", make([]byte, 5<<10), 0, store.Options{}); !errors.Is(err, store.ErrFull) {
		t.Errorf("a record larger than the store: %v", err)
	}
	if n := s.Len(); n != 3 {
		t.Errorf("a Put that was refused evicted others: %d are left", n)
	}
}

func TestAttack_J16_GuardsAreNotEvicted(t *testing.T) {
	s := memory.New(memory.Options{MaxBytes: 1 << 10, MaxGuardBytes: 10 << 10})
	ctx := t.Context()
	if _, err := s.Add(ctx, "victim", 5, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := s.Join(ctx, "user", "session", time.Minute); err != nil {
		t.Fatal(err)
	}
	full := 0
	for i := range 1000 {
		put(t, s, fmt.Sprint("k", i), 100, time.Hour)
		if _, err := s.Add(ctx, fmt.Sprint("c", i), 1, time.Hour); errors.Is(err, store.ErrFull) {
			full++
		}
		if err := s.Join(ctx, "user", fmt.Sprint("m", i), time.Hour); errors.Is(err, store.ErrFull) {
			full++
		}
	}
	if full == 0 {
		t.Error("counters and sets have no bound")
	}
	if c, err := s.Add(ctx, "victim", 1, time.Minute); err != nil || c.N != 6 {
		t.Errorf("the counter is %+v, %v", c, err)
	}
	if err := s.Join(ctx, "user", "session", time.Minute); err != nil {
		t.Errorf("joining again takes no more room: %v", err)
	}
}

func TestTimePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		ctx := t.Context()
		put(t, s, "k", 1, time.Hour)
		if _, err := s.Add(ctx, "c", 3, time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		if _, err := s.Get(ctx, "k"); err != nil {
			t.Errorf("a moment before its end: %v", err)
		}
		if c, err := s.Add(ctx, "c", 1, time.Hour); err != nil || c.N != 4 || c.Resets != 1 {
			t.Errorf("a moment before the window's end: %+v, %v", c, err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := s.Get(ctx, "k"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("at its end: %v", err)
		}
		if s.Len() != 0 {
			t.Error("an expired record is still held")
		}
		if c, err := s.Add(ctx, "c", 1, time.Hour); err != nil || c.N != 1 || c.Resets != time.Hour {
			t.Errorf("at the window's end: %+v, %v", c, err)
		}
	})
}
