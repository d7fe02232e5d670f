package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// race runs f n times at once and counts who won. Losers must be told that they
// lost, and nothing else.
func race(t *testing.T, n int, f func(i int) error) int {
	t.Helper()
	var wg sync.WaitGroup
	var wins atomic.Int64
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			switch err := f(i); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound):
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	return int(wins.Load())
}

func oneWinner(t *testing.T, s store.Store, opts store.Options) {
	ctx := t.Context()
	if n := race(t, 200, func(int) error { _, err := s.Put(ctx, "k", []byte("x"), 0, opts); return err }); n != 1 {
		t.Errorf("%d writers made the same record", n)
	}
	v := must[store.Record](t)(s.Get(ctx, "k")).Version
	if n := race(t, 200, func(int) error { _, err := s.Put(ctx, "k", []byte("y"), v, opts); return err }); n != 1 {
		t.Errorf("%d writers replaced the same version", n)
	}
	if n := race(t, 200, func(int) error { _, err := s.Take(ctx, "k"); return err }); n != 1 {
		t.Errorf("%d takers got the record", n)
	}
}

// changeKind: a record that becomes durable, or volatile, is the same record.
func changeKind(t *testing.T, s store.Store) {
	ctx := t.Context()
	kind := func(i int) store.Options { return store.Options{TTL: time.Minute, Volatile: i%2 == 0} }
	var v uint64
	for i := range 4 {
		if i > 0 {
			if _, err := s.Put(ctx, "k", []byte("x"), 0, kind(i)); !errors.Is(err, store.ErrConflict) {
				t.Fatalf("step %d: a record of the other kind was not seen: %v", i, err)
			}
		}
		next := must[uint64](t)(s.Put(ctx, "k", []byte{byte(i)}, v, kind(i)))
		rec := must[store.Record](t)(s.Get(ctx, "k"))
		if next <= v || rec.Version != next || rec.Value[0] != byte(i) {
			t.Fatalf("step %d: version %d after %d; Get: %+v", i, next, v, rec)
		}
		v = next
	}
	must[store.Record](t)(s.Take(ctx, "k"))
	if _, err := s.Take(ctx, "k"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a record of the other kind was left behind: %v", err)
	}

	if n := race(t, 200, func(i int) error { _, err := s.Put(ctx, "k", []byte("x"), 0, kind(i)); return err }); n != 1 {
		t.Errorf("%d writers of both kinds made the same record", n)
	}
	for range 20 {
		v := must[store.Record](t)(s.Get(ctx, "k")).Version
		if n := race(t, 20, func(i int) error { _, err := s.Put(ctx, "k", []byte("y"), v, kind(i)); return err }); n != 1 {
			t.Errorf("%d writers of both kinds replaced the same version", n)
		}
	}
	if n := race(t, 200, func(int) error { _, err := s.Take(ctx, "k"); return err }); n != 1 {
		t.Errorf("%d takers got the record", n)
	}
	seenWhileItMoves(t, s)
}

// seenWhileItMoves: a record that exists all the time is found all the time.
func seenWhileItMoves(t *testing.T, s store.Store) {
	ctx := t.Context()
	v := must[uint64](t)(s.Put(ctx, "moving", nil, 0, store.Options{TTL: time.Minute}))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for last := uint64(0); ; {
				select {
				case <-stop:
					return
				default:
				}
				rec, err := s.Get(ctx, "moving")
				if err != nil || rec.Version < last {
					t.Errorf("version %d after %d, %v", rec.Version, last, err)
					return
				}
				last = rec.Version
			}
		})
	}
	for i := range 100 {
		v = must[uint64](t)(s.Put(ctx, "moving", nil, v, store.Options{TTL: time.Minute, Volatile: i%2 == 0}))
	}
	close(stop)
	wg.Wait()
}

// versions: who holds the version of a record that is gone cannot overwrite the
// one that came after it.
func versions(t *testing.T, s store.Store) {
	ctx := t.Context()
	end := map[string]func(key string){
		"Take":   func(key string) { must[store.Record](t)(s.Take(ctx, key)) },
		"Delete": func(key string) { _ = s.Delete(ctx, key) },
		"expiry": func(string) { time.Sleep(2 * short) },
	}
	for name, gone := range end {
		for _, volatile := range []bool{false, true} {
			opts := store.Options{TTL: short, Volatile: volatile}
			old := must[uint64](t)(s.Put(ctx, name, nil, 0, opts))
			gone(name)
			opts.TTL = time.Minute
			next := must[uint64](t)(s.Put(ctx, name, nil, 0, opts))
			if next <= old || next >= 1<<53 {
				t.Errorf("after %s: version %d follows %d", name, next, old)
			}
			if _, err := s.Put(ctx, name, nil, old, opts); !errors.Is(err, store.ErrConflict) {
				t.Errorf("after %s: a writer of the former record won: %v", name, err)
			}
			if err := s.Delete(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
	}
}
