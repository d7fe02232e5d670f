// Package storetest is the conformance suite that every store passes, and a
// real Redis that its tests may take away and give back.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

const short = 150 * time.Millisecond

// Run holds the contract against a store. open gives a store of its own keys,
// and is called once for each part of the suite, which run in parallel. It takes
// about two seconds, for short lives that really pass.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, kind := range []struct {
		name     string
		volatile bool
	}{{"durable", false}, {"volatile", true}} {
		t.Run("records "+kind.name, func(t *testing.T) {
			t.Parallel()
			records(t, open(t), func(ttl time.Duration) store.Options { return store.Options{TTL: ttl, Volatile: kind.volatile} })
		})
		t.Run("one winner "+kind.name, func(t *testing.T) {
			t.Parallel()
			oneWinner(t, open(t), store.Options{TTL: time.Minute, Volatile: kind.volatile})
		})
	}
	t.Run("records change their kind", func(t *testing.T) { t.Parallel(); changeKind(t, open(t)) })
	t.Run("versions do not come again", func(t *testing.T) { t.Parallel(); versions(t, open(t)) })
	t.Run("behaves like the model", func(t *testing.T) { t.Parallel(); behaves(t, open(t)) })
	t.Run("counters", func(t *testing.T) { t.Parallel(); counters(t, open(t)) })
	t.Run("sets", func(t *testing.T) { t.Parallel(); sets(t, open(t)) })
	t.Run("batch", func(t *testing.T) { t.Parallel(); batch(t, open(t)) })
	t.Run("bounds", func(t *testing.T) { t.Parallel(); bounds(t, open(t)) })
	t.Run("clock", func(t *testing.T) { t.Parallel(); clock(t, open(t)) })
	t.Run("closed", func(t *testing.T) { t.Parallel(); closed(t, open(t)) })
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func records(t *testing.T, s store.Store, opts func(time.Duration) store.Options) {
	ctx, forever := t.Context(), opts(time.Minute)
	if _, err := s.Get(ctx, "k"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get of nothing: %v", err)
	}
	if _, err := s.Put(ctx, "k", []byte("x"), 7, forever); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Put over a version that is not there: %v", err)
	}
	v1 := must[uint64](t)(s.Put(ctx, "k", []byte("one\x00\xff"), 0, forever))
	if _, err := s.Put(ctx, "k", []byte("again"), 0, forever); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Put of what exists: %v", err)
	}
	rec := must[store.Record](t)(s.Get(ctx, "k"))
	if string(rec.Value) != "one\x00\xff" || rec.Version != v1 {
		t.Fatalf("Get: %q, version %d", rec.Value, rec.Version)
	}
	v2 := must[uint64](t)(s.Put(ctx, "k", nil, v1, forever))
	if v2 <= v1 {
		t.Fatalf("version %d after %d", v2, v1)
	}
	if _, err := s.Put(ctx, "k", []byte("late"), v1, forever); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Put of an old version: %v", err)
	}
	if rec := must[store.Record](t)(s.Get(ctx, "k")); len(rec.Value) != 0 || rec.Version != v2 {
		t.Fatalf("Get after the second Put: %q, %d", rec.Value, rec.Version)
	}
	if rec := must[store.Record](t)(s.Take(ctx, "k")); rec.Version != v2 {
		t.Fatalf("Take: version %d", rec.Version)
	}
	if _, err := s.Take(ctx, "k"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("second Take: %v", err)
	}
	must[uint64](t)(s.Put(ctx, "k", []byte("new"), 0, forever))
	if err := errors.Join(s.Delete(ctx, "k"), s.Delete(ctx, "k"), s.Delete(ctx, "never")); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	if _, err := s.Get(ctx, "k"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get after Delete: %v", err)
	}

	v := must[uint64](t)(s.Put(ctx, "short", []byte("x"), 0, opts(short)))
	v = must[uint64](t)(s.Put(ctx, "short", []byte("x"), v, opts(short))) // the life is that of the last Put
	time.Sleep(2 * short)
	if _, err := s.Get(ctx, "short"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get of what has expired: %v", err)
	}
	if _, err := s.Take(ctx, "short"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Take of what has expired: %v", err)
	}
	if _, err := s.Put(ctx, "short", []byte("x"), v, forever); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Put over what has expired: %v", err)
	}
	must[uint64](t)(s.Put(ctx, "short", []byte("x"), 0, forever))

	must[uint64](t)(s.Put(ctx, "long", []byte("x"), 0, opts(0)))
	must[store.Record](t)(s.Get(ctx, "long"))
}

func counters(t *testing.T, s store.Store) {
	ctx := t.Context()
	for _, window := range []time.Duration{0, -1} {
		if _, err := s.Add(ctx, "c", 1, window); err == nil {
			t.Fatalf("a counter with a window of %s", window)
		}
	}
	if c := must[store.Count](t)(s.Add(ctx, "c", 2, time.Minute)); c.N != 2 || c.Resets <= 0 || c.Resets > time.Minute {
		t.Fatalf("first Add: %+v", c)
	}
	if c := must[store.Count](t)(s.Add(ctx, "c", 3, time.Hour)); c.N != 5 || c.Resets > time.Minute {
		t.Fatalf("second Add must not extend the window: %+v", c)
	}
	if c := must[store.Count](t)(s.Add(ctx, "c", -9, time.Minute)); c.N != 0 {
		t.Fatalf("below zero: %+v", c)
	}
	must[store.Count](t)(s.Add(ctx, "most", math.MaxInt64-1, time.Minute))
	if c, err := s.Add(ctx, "most", 2, time.Minute); err == nil {
		t.Fatalf("a sum over int64: %+v", c)
	}
	must[store.Count](t)(s.Add(ctx, "w", 5, short))
	time.Sleep(2 * short)
	if c := must[store.Count](t)(s.Add(ctx, "w", 1, time.Minute)); c.N != 1 {
		t.Fatalf("after the window: %+v", c)
	}
	var wg sync.WaitGroup
	var most atomic.Int64
	for range 100 {
		wg.Go(func() {
			c, err := s.Add(ctx, "sum", 1, time.Minute)
			if err != nil {
				t.Error(err)
			}
			for old := most.Load(); c.N > old && !most.CompareAndSwap(old, c.N); old = most.Load() {
			}
		})
	}
	wg.Wait()
	if most.Load() != 100 {
		t.Fatalf("100 parallel Adds came to %d", most.Load())
	}
	if err := s.Delete(ctx, "sum"); err != nil {
		t.Fatal(err)
	}
	if c := must[store.Count](t)(s.Add(ctx, "sum", 1, time.Minute)); c.N != 1 {
		t.Fatalf("after Delete: %+v", c)
	}
}

func sets(t *testing.T, s store.Store) {
	ctx := t.Context()
	for _, m := range []string{"a", "b", "a"} {
		if err := s.Join(ctx, "s", m, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Join(ctx, "s", "brief", short), s.Join(ctx, "s2", "other", time.Minute), s.Leave(ctx, "s", "b"), s.Leave(ctx, "s", "none")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * short)
	got := must[[]string](t)(s.Members(ctx, "s"))
	slices.Sort(got)
	if !slices.Equal(got, []string{"a"}) {
		t.Fatalf("members %v", got)
	}
	if got := must[[]string](t)(s.Members(ctx, "none")); len(got) != 0 {
		t.Fatalf("members of nothing: %v", got)
	}
	if err := errors.Join(s.Join(ctx, "a", "bc", time.Minute), s.Join(ctx, "ab", "c", time.Minute), s.Join(ctx, "a\x00b", "d", time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := must[[]string](t)(s.Members(ctx, "a")); !slices.Equal(got, []string{"bc"}) {
		t.Fatalf("members of another set: %q", got)
	}
	if s.Join(ctx, "s", "m", 0) == nil || s.Join(ctx, "s", "", time.Minute) == nil {
		t.Fatal("a member without a life or a name")
	}
}

func bounds(t *testing.T, s store.Store) {
	ctx, opts := t.Context(), store.Options{TTL: time.Minute}
	big := bytes.Repeat([]byte("x"), store.MaxValue)
	must[uint64](t)(s.Put(ctx, "big", big, 0, opts))
	if rec := must[store.Record](t)(s.Get(ctx, "big")); !bytes.Equal(rec.Value, big) {
		t.Fatal("a value of the largest size came back changed")
	}
	if _, err := s.Put(ctx, "big2", append(big, 'x'), 0, opts); !errors.Is(err, store.ErrTooLarge) {
		t.Fatalf("too large a value: %v", err)
	}
	if _, err := s.Put(ctx, "late", nil, 0, store.Options{TTL: -time.Second}); err == nil {
		t.Fatal("a life that has passed already was taken for one without end")
	}
	if _, err := s.Get(ctx, "late"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get of what was refused: %v", err)
	}
	must[uint64](t)(s.Put(ctx, "ever", nil, 0, store.Options{TTL: math.MaxInt64}))
	must[store.Record](t)(s.Get(ctx, "ever"))
	refuse(t, s, "", nil)
	refuse(t, s, strings.Repeat("k", store.MaxKey+1), store.ErrTooLarge)
	for _, key := range []string{"a:{b}", "ä\x00\n", "}{", strings.Repeat("k", store.MaxKey)} {
		must[uint64](t)(s.Put(ctx, key, []byte(key), 0, opts))
		if rec := must[store.Record](t)(s.Get(ctx, key)); string(rec.Value) != key {
			t.Fatalf("key %q", key)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for name, call := range calls(ended, s, "big") {
		if err := call(); err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
			t.Errorf("%s after the caller left: %v", name, err)
		}
	}
}

// refuse holds that no call takes key: with want, or any error that no caller
// decides by.
func refuse(t *testing.T, s store.Store, key string, want error) {
	t.Helper()
	for name, call := range calls(t.Context(), s, key) {
		err := call()
		if err == nil || want != nil && !errors.Is(err, want) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
			t.Errorf("%s with a key of %d bytes: %v", name, len(key), err)
		}
	}
}

// calls is every call with a key.
func calls(ctx context.Context, s store.Store, key string) map[string]func() error {
	return map[string]func() error{
		"Get": func() error { _, err := s.Get(ctx, key); return err },
		"Put": func() error { _, err := s.Put(ctx, key, nil, 0, store.Options{TTL: time.Minute}); return err },
		"Put volatile": func() error {
			_, err := s.Put(ctx, key, nil, 0, store.Options{TTL: time.Minute, Volatile: true})
			return err
		},
		"Take":           func() error { _, err := s.Take(ctx, key); return err },
		"Delete":         func() error { return s.Delete(ctx, key) },
		"Add":            func() error { _, err := s.Add(ctx, key, 1, time.Minute); return err },
		"Join":           func() error { return s.Join(ctx, key, "m", time.Minute) },
		"Leave":          func() error { return s.Leave(ctx, key, "m") },
		"Members":        func() error { _, err := s.Members(ctx, key); return err },
		"Get in a batch": func() error { return one(ctx, s, store.GetOp(key)) },
		"Put in a batch": func() error { return one(ctx, s, store.PutOp(key, nil, 0, store.Options{TTL: time.Minute})) },
		"Put volatile in a batch": func() error {
			return one(ctx, s, store.PutOp(key, nil, 0, store.Options{TTL: time.Minute, Volatile: true}))
		},
		"Add in a batch": func() error { return one(ctx, s, store.AddOp(key, 1, time.Minute)) },
	}
}

// one runs a batch of one call.
func one(ctx context.Context, s store.Store, o *store.Op) error {
	s.Batch(ctx, o)
	return o.Err
}

// batch: each call does what it does alone, whatever becomes of the others.
func batch(t *testing.T, s store.Store) {
	ctx := t.Context()
	for _, volatile := range []bool{false, true} {
		name := func(key string) string { return fmt.Sprintf("%s %v", key, volatile) }
		opts := store.Options{TTL: time.Minute, Volatile: volatile}
		v := must[uint64](t)(s.Put(ctx, name("there"), []byte("old"), 0, opts))
		must[store.Count](t)(s.Add(ctx, name("most"), math.MaxInt64, time.Minute))
		had := must[uint64](t)(s.Put(ctx, name("read"), []byte("value"), 0, opts))

		read, none := store.GetOp(name("read")), store.GetOp(name("none"))
		made, late := store.PutOp(name("made"), []byte("m"), 0, opts), store.PutOp(name("there"), []byte("late"), 0, opts)
		first, over := store.AddOp(name("first"), 2, time.Minute), store.AddOp(name("most"), 1, time.Minute)
		bad, past := store.AddOp(name("window"), 1, 0), store.PutOp(name("past"), nil, 0, store.Options{TTL: -1})
		all := []*store.Op{read, none, made, late, first, over, bad, past}
		for _, o := range all {
			if !errors.Is(o.Err, store.ErrNotRun) {
				t.Fatalf("%s before its batch: %v", o.Key, o.Err)
			}
		}
		s.Batch(ctx, all...)
		if read.Err != nil || string(read.Record.Value) != "value" || read.Record.Version != had {
			t.Errorf("read: %+v", read)
		}
		if !errors.Is(none.Err, store.ErrNotFound) || !errors.Is(late.Err, store.ErrConflict) {
			t.Errorf("%v, %v", none.Err, late.Err)
		}
		if over.Err == nil || bad.Err == nil || past.Err == nil {
			t.Errorf("%v, %v, %v", over.Err, bad.Err, past.Err)
		}
		if rec := must[store.Record](t)(s.Get(ctx, name("made"))); made.Err != nil || rec.Version != made.Record.Version || string(rec.Value) != "m" {
			t.Errorf("made: %+v, %v", rec, made.Err)
		}
		if rec := must[store.Record](t)(s.Get(ctx, name("there"))); rec.Version != v || string(rec.Value) != "old" {
			t.Errorf("overwritten: %+v", rec)
		}
		if first.Err != nil || first.Count.N != 2 || first.Count.Resets <= 0 || first.Count.Resets > time.Minute {
			t.Errorf("first: %+v, %v", first.Count, first.Err)
		}
		next, more := store.PutOp(name("there"), []byte("new"), v, opts), store.AddOp(name("first"), 3, time.Hour)
		s.Batch(ctx, next, more)
		if next.Err != nil || next.Record.Version <= v || more.Err != nil || more.Count.N != 5 || more.Count.Resets > time.Minute {
			t.Errorf("the next: %+v, %+v", next, more)
		}
	}
	s.Batch(ctx)
	// Of many batches that make the same record one wins, and all are counted.
	if n := race(t, 100, func(i int) error {
		won, n := store.PutOp("raced", nil, 0, store.Options{TTL: time.Minute, Volatile: i%2 == 0}), store.AddOp("counted", 1, time.Minute)
		s.Batch(ctx, won, n)
		if n.Err != nil {
			return n.Err
		}
		return won.Err
	}); n != 1 {
		t.Errorf("%d batches made the same record", n)
	}
	if c := must[store.Count](t)(s.Add(ctx, "counted", 0, time.Minute)); c.N != 100 {
		t.Errorf("100 batches counted %d", c.N)
	}
}

func clock(t *testing.T, s store.Store) {
	last := must[time.Time](t)(s.Now(t.Context()))
	if d := time.Since(last).Abs(); d > time.Minute {
		t.Fatalf("the clock is %s off", d)
	}
	for range 50 {
		now := must[time.Time](t)(s.Now(t.Context()))
		if now.Before(last) {
			t.Fatal("the clock went back")
		}
		last = now
	}
}

func closed(t *testing.T, s store.Store) {
	ctx := t.Context()
	must[uint64](t)(s.Put(ctx, "k", []byte("x"), 0, store.Options{TTL: time.Minute}))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all := calls(ctx, s, "k")
	all["Now"] = func() error { _, err := s.Now(ctx); return err }
	for name, call := range all {
		if err := call(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s of a closed store: %v", name, err)
		}
	}
}
