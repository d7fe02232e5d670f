package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		child(path)
		return
	}
	goleak.VerifyTestMain(m)
}

func openAt(tb testing.TB, path string) *Store {
	tb.Helper()
	s, err := Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func open(tb testing.TB) *Store {
	tb.Helper()
	return openAt(tb, filepath.Join(tb.TempDir(), "mfa", "mfa.db"))
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t) })
}

func TestSecondProcessIsToldWhatToDo(t *testing.T) {
	s := open(t)
	_, err := Open(s.db.Path())
	if err == nil || !strings.Contains(err.Error(), "store redis") {
		t.Fatalf("second open: %v", err)
	}
}

func TestFileIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mfa", "mfa.db")
	if err := openAt(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // what a careless restore leaves
		t.Fatal(err)
	}
	openAt(t, path)
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// left counts the entries of the file, expired ones included.
func left(t *testing.T, s *Store) (n int) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{records, counters, sets, expiry} {
			n += tx.Bucket(name).Inspect().KeyN
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatHasExpiredIsDeleted(t *testing.T) {
	fill := func(t *testing.T) *Store {
		s, ctx := open(t), t.Context()
		_, err := s.Put(ctx, "k", []byte("v"), 0, store.Options{TTL: time.Millisecond})
		_, err2 := s.Add(ctx, "c", 1, time.Millisecond)
		if err := errors.Join(err, err2, s.Join(ctx, "s", "m", time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		return s
	}
	t.Run("by the next write", func(t *testing.T) {
		s := fill(t)
		if _, err := s.Put(t.Context(), "other", nil, 0, store.Options{}); err != nil {
			t.Fatal(err)
		}
		if n := left(t, s); n != 1 {
			t.Errorf("%d entries instead of the new one", n)
		}
	})
	t.Run("without a write", func(t *testing.T) {
		s := fill(t)
		if n, err := s.commit(nil, sweepMost); err != nil || n > 3 {
			t.Errorf("swept %d, %v", n, err)
		}
		if n := left(t, s); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})
	t.Run("and nothing else", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		v, err := s.Put(ctx, "k", nil, 0, store.Options{TTL: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		// The longer life replaces the shorter, whose end must not remove it.
		if _, err := s.Put(ctx, "k", nil, v, store.Options{TTL: time.Hour}); err != nil {
			t.Skip("the machine is too slow to be in time")
		}
		time.Sleep(3 * time.Millisecond)
		if n, err := s.commit(nil, sweepMost); err != nil || n != 0 {
			t.Errorf("swept %d, %v", n, err)
		}
		if _, err := s.Get(ctx, "k"); err != nil {
			t.Error(err)
		}
	})
}

func TestVolatileRecordsNeverReachTheFile(t *testing.T) {
	s, ctx := open(t), t.Context()
	opts := store.Options{TTL: time.Hour, Volatile: true}
	v, err := s.Put(ctx, "k", []byte("v"), 0, opts)
	if err != nil || left(t, s) != 0 {
		t.Fatalf("%d entries, %v", left(t, s), err)
	}
	if v, err = s.Put(ctx, "k", []byte("v"), v, store.Options{}); err != nil || left(t, s) != 1 || s.mem.Len() != 0 {
		t.Fatalf("made durable: %d entries in the file, %d in memory, %v", left(t, s), s.mem.Len(), err)
	}
	if _, err = s.Put(ctx, "k", []byte("v"), v, opts); err != nil || left(t, s) != 0 || s.mem.Len() != 1 {
		t.Fatalf("made volatile: %d entries in the file, %d in memory, %v", left(t, s), s.mem.Len(), err)
	}
}

func TestFullDiskIsAnErrorAndChangesNothing(t *testing.T) {
	s, ctx := open(t), t.Context()
	v, err := s.Put(ctx, "k", []byte("v"), 0, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	volatile, err := s.Put(ctx, "volatile", nil, 0, store.Options{Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	s.db.MaxSize = 1 // the writer reads it behind the next op
	big := make([]byte, store.MaxValue)
	if _, err := s.Put(ctx, "k", big, v, store.Options{}); err == nil || errors.Is(err, store.ErrConflict) {
		t.Fatalf("Put on a full disk: %v", err)
	}
	if _, err := s.Put(ctx, "volatile", big, volatile, store.Options{}); err == nil || errors.Is(err, store.ErrConflict) {
		t.Fatalf("a move onto a full disk: %v", err)
	}
	move := func(b *batch) error { _, err := b.put("k", nil, v, store.Options{Volatile: true}); return err }
	fill := func(b *batch) error { _, err := b.put("big", big, 0, store.Options{}); return err }
	ops := []*op{{keys: []string{"k"}, do: move, done: make(chan struct{})}, {keys: []string{"big"}, do: fill, done: make(chan struct{})}}
	if s.answer(ops); ops[0].err == nil || ops[1].err == nil {
		t.Fatalf("a move off a full disk: %v, %v", ops[0].err, ops[1].err)
	}
	if rec, err := s.Get(ctx, "k"); err != nil || rec.Version != v || string(rec.Value) != "v" {
		t.Fatalf("what was there: %+v, %v", rec, err)
	}
	s.db.MaxSize = 0
	if _, err := s.Put(ctx, "k", big, v, store.Options{}); err != nil {
		t.Fatalf("after room was made: %v", err)
	}
}

func TestCallerWhoLeavesDoesNotWaitForTheDisk(t *testing.T) {
	s := open(t)
	tx, err := s.db.Begin(true) // nobody else can write
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	left, value := make(chan error), []byte("value")
	go func() {
		_, err := s.Put(ctx, "k", value, 0, store.Options{})
		left <- err
	}()
	for held := false; !held; { // until the writer has taken it
		s.kinds.mu.Lock()
		_, held = s.kinds.held["k"]
		s.kinds.mu.Unlock()
	}
	s.kinds.mu.Lock() // the writer needs it to make a version
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	clear(value) // it is the caller's again
	s.kinds.mu.Unlock()
	if _, err := s.Add(t.Context(), "c", 1, time.Hour); err != nil { // comes after it
		t.Fatal(err)
	}
	if rec, err := s.Get(t.Context(), "k"); err != nil || string(rec.Value) != "value" {
		t.Errorf("the write that was under way: %q, %v", rec.Value, err)
	}
}

func TestWriteIsNotBegunAfterItsCallerHasLeft(t *testing.T) {
	s := open(t)
	o := &op{keys: []string{"k"}, done: make(chan struct{}), do: func(*batch) error {
		t.Error("it was")
		return nil
	}}
	o.state.Store(abandoned)
	if _, err := s.commit([]*op{o}, 0); err != nil {
		t.Fatal(err)
	}
}

func TestVolatileWriteDoesNotPassTheWriter(t *testing.T) {
	s, ctx := open(t), t.Context()
	s.kinds.hold([]*op{{keys: []string{"k"}}})
	for _, key := range []string{"k", "other"} {
		_, put, err := s.putInMemory(ctx, key, nil, 0, store.Options{})
		_, take, err2 := s.takeFromMemory(ctx, key)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if want := key == "other"; put != want || take != want {
			t.Errorf("%s was put (%v) or taken (%v)", key, put, take)
		}
	}
}

func TestRefusedWritesOfABatchFailAlone(t *testing.T) {
	s := open(t)
	var ops []*op
	for i := range 6 {
		key := fmt.Sprint("k", i/2) // every second one is a conflict
		ops = append(ops, &op{keys: []string{key}, done: make(chan struct{}), do: func(b *batch) error {
			_, err := b.put(key, nil, 0, store.Options{})
			return err
		}})
	}
	if _, err := s.commit(ops, 0); err != nil {
		t.Fatal(err)
	}
	for i, o := range ops {
		if want := i%2 == 1; errors.Is(o.err, store.ErrConflict) != want || (o.err != nil) != want {
			t.Errorf("op %d: %v", i, o.err)
		}
	}
	if n := left(t, s); n != 3 {
		t.Errorf("%d records instead of 3", n)
	}
}

func TestAttack_I8_ClockNeverGoesBack(t *testing.T) {
	var c clock
	c.set(time.Now().Add(time.Hour)) // the machine's clock was an hour ahead, and was set right
	a := c.now()
	if !a.After(time.Now().Add(59 * time.Minute)) {
		t.Fatal("the clock went back with the machine's")
	}
	time.Sleep(2 * time.Millisecond)
	if b := c.now(); b.Sub(a) < time.Millisecond {
		t.Fatal("the clock stands still")
	}
}

func TestAttack_I8_RestartAfterTheClockWentBackRevivesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mfa.db")
	s, ctx := openAt(t, path), t.Context()
	v, err := s.Put(ctx, "k", []byte("v"), 0, store.Options{TTL: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s.clock.set(time.Now().Add(time.Hour)) // an hour passes
	if _, err := s.Get(ctx, "k"); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path) // by the machine's clock the hour has not passed
	if _, err := s.Get(ctx, "k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an expired record is valid again: %v", err)
	}
	if now, err := s.Now(ctx); err != nil || now.Before(time.Now().Add(59*time.Minute)) {
		t.Errorf("after a restart the clock is %s ahead: %v", time.Until(now), err)
	}
	if next, err := s.Put(ctx, "k", nil, 0, store.Options{}); err != nil || next <= v {
		t.Errorf("version %d after %d, %v", next, v, err)
	}
}

func TestDamagedEntriesAreNotThere(t *testing.T) {
	future := binary.BigEndian.AppendUint64(make([]byte, 8), nanos(time.Now().Add(time.Hour)))
	for name, b := range map[string][]byte{"empty": nil, "cut": future[:15], "expired": binary.BigEndian.AppendUint64(make([]byte, 8), 1)} {
		if e, ok := decode(b, time.Now()); ok {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if _, ok := decode(future, time.Now()); !ok {
		t.Error("a living entry without a value is there")
	}
}
