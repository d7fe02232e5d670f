package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// model is what a store must behave like. Short lives pass within the action
// that begins them, so nothing in it expires by itself.
type model struct {
	s        caller
	prefix   string // every run has keys of its own
	records  map[string]store.Record
	versions map[string]uint64 // the highest of each key, of records gone as well
	counters map[string]int64
	sets     map[string]map[string]bool
}

// caller makes the calls that a batch can make alone or, every other time, by a
// batch: nobody may see a difference.
type caller struct {
	store.Store
	turn *atomic.Int64
}

func (c caller) do(ctx context.Context, o *store.Op) *store.Op {
	if c.turn.Add(1)%2 == 0 {
		c.Batch(ctx, o)
	} else {
		o.Do(ctx, c.Store)
	}
	return o
}

func (c caller) Get(ctx context.Context, key string) (store.Record, error) {
	o := c.do(ctx, store.GetOp(key))
	return o.Record, o.Err
}

func (c caller) Put(ctx context.Context, key string, value []byte, v uint64, opts store.Options) (uint64, error) {
	o := c.do(ctx, store.PutOp(key, value, v, opts))
	return o.Record.Version, o.Err
}

func (c caller) Add(ctx context.Context, key string, delta int64, w time.Duration) (store.Count, error) {
	o := c.do(ctx, store.AddOp(key, delta, w))
	return o.Count, o.Err
}

const instant = 2 * time.Millisecond

// behaves runs random calls against the store and the model.
func behaves(t *testing.T, s store.Store) {
	var runs atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{
			s: caller{s, new(atomic.Int64)}, prefix: fmt.Sprintf("run %d ", runs.Add(1)),
			records: map[string]store.Record{}, versions: map[string]uint64{},
			counters: map[string]int64{}, sets: map[string]map[string]bool{},
		}
		rt.Repeat(map[string]func(*rapid.T){
			"get": m.get, "put": m.put, "put briefly": m.putBriefly, "take": m.take, "delete": m.delete,
			"add": m.add, "add briefly": m.addBriefly, "join": m.join, "leave": m.leave, "members": m.members,
		})
	})
}

var ctx = context.Background()

func (m *model) key(t *rapid.T) string {
	return m.prefix + rapid.SampledFrom([]string{"a", "b", "{c}"}).Draw(t, "key")
}

func options(t *rapid.T) store.Options {
	return store.Options{
		TTL:      rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "ttl"),
		Volatile: rapid.Bool().Draw(t, "volatile"),
	}
}

// same compares an answer with the model's record.
func (m *model) same(t *rapid.T, key string, got store.Record, err error) {
	want, ok := m.records[key]
	switch {
	case !ok && !errors.Is(err, store.ErrNotFound):
		t.Fatalf("%q is not there; got %v, %v", key, got, err)
	case ok && (err != nil || got.Version != want.Version || !bytes.Equal(got.Value, want.Value)):
		t.Fatalf("%q is %v; got %v, %v", key, want, got, err)
	}
}

func (m *model) get(t *rapid.T) {
	key := m.key(t)
	got, err := m.s.Get(ctx, key)
	m.same(t, key, got, err)
}

// write puts a value over a version that is mostly the right one.
func (m *model) write(t *rapid.T, key string, opts store.Options) bool {
	have := m.records[key].Version
	over := rapid.SampledFrom([]uint64{have, have, have, 0, 1, have + 1, m.versions[key]}).Draw(t, "version")
	value := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "value")
	v, err := m.s.Put(ctx, key, value, over, opts)
	switch {
	case over != have && !errors.Is(err, store.ErrConflict):
		t.Fatalf("Put over %d instead of %d: %v", over, have, err)
	case over != have:
		return false
	case err != nil || v <= m.versions[key]:
		t.Fatalf("Put: version %d after %d, %v", v, m.versions[key], err)
	}
	m.versions[key] = v
	m.records[key] = store.Record{Value: value, Version: v}
	return true
}

func (m *model) put(t *rapid.T) { m.write(t, m.key(t), options(t)) }

func (m *model) putBriefly(t *rapid.T) {
	key, opts := m.key(t), options(t)
	opts.TTL = instant
	if m.write(t, key, opts) {
		delete(m.records, key)
		time.Sleep(2 * instant)
	}
}

func (m *model) take(t *rapid.T) {
	key := m.key(t)
	got, err := m.s.Take(ctx, key)
	m.same(t, key, got, err)
	delete(m.records, key)
}

func (m *model) delete(t *rapid.T) {
	key := m.key(t)
	if err := m.s.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	delete(m.records, key)
	delete(m.counters, key)
}

func (m *model) addFor(t *rapid.T, key string, window time.Duration) {
	delta := rapid.Int64Range(-5, 10).Draw(t, "delta")
	want := max(0, m.counters[key]+delta)
	c, err := m.s.Add(ctx, key, delta, window)
	if err != nil || c.N != want || c.Resets <= 0 || c.Resets > time.Hour {
		t.Fatalf("Add: %+v instead of %d, %v", c, want, err)
	}
	m.counters[key] = want
}

func (m *model) add(t *rapid.T) { m.addFor(t, m.key(t), time.Hour) }

func (m *model) addBriefly(t *rapid.T) {
	key := m.key(t)
	_, known := m.counters[key]
	m.addFor(t, key, instant)
	if !known { // else the first window goes on
		delete(m.counters, key)
		time.Sleep(2 * instant)
	}
}

func (m *model) join(t *rapid.T) {
	key, member := m.key(t), rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "member")
	brief := rapid.Bool().Draw(t, "brief")
	ttl := time.Hour
	if brief {
		ttl = instant
	}
	if err := m.s.Join(ctx, key, member, ttl); err != nil {
		t.Fatal(err)
	}
	if m.sets[key] == nil {
		m.sets[key] = map[string]bool{}
	}
	if m.sets[key][member] = true; brief {
		delete(m.sets[key], member)
		time.Sleep(2 * instant)
	}
}

func (m *model) leave(t *rapid.T) {
	key, member := m.key(t), rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "member")
	if err := m.s.Leave(ctx, key, member); err != nil {
		t.Fatal(err)
	}
	delete(m.sets[key], member)
}

func (m *model) members(t *rapid.T) {
	key := m.key(t)
	got, err := m.s.Members(ctx, key)
	slices.Sort(got)
	if want := slices.Sorted(maps.Keys(m.sets[key])); err != nil || !slices.Equal(got, want) {
		t.Fatalf("members %v instead of %v, %v", got, want, err)
	}
}
