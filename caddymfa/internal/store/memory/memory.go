// Package memory keeps a store in memory: the volatile half of the embedded
// store, and the store of unit tests. It is bounded, and needs no goroutine.
package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// DefaultMaxBytes bounds records: keys, values and overhead.
const DefaultMaxBytes = 64 << 20

const (
	overhead    = 128 // of an entry, in bytes, about
	maxCounters = 1_000_000
)

// Store is a [store.Store] in memory. See New.
type Store struct {
	max int64

	mu       sync.Mutex
	closed   bool
	bytes    int64
	records  map[string]record
	counters map[string]counter
	sets     map[string]map[string]time.Time
	swept    time.Time
	last     time.Time
}

type record struct {
	value   []byte
	version uint64
	expires time.Time // zero: never
}

type counter struct {
	n       int64
	expires time.Time
}

// New makes an empty store; maxBytes 0 is DefaultMaxBytes.
func New(maxBytes int64) *Store {
	if maxBytes == 0 {
		maxBytes = DefaultMaxBytes
	}
	return &Store{
		max: maxBytes, records: map[string]record{}, counters: map[string]counter{}, sets: map[string]map[string]time.Time{},
	}
}

// lock is the beginning of every call; it also sweeps, once a minute.
func (s *Store) lock(ctx context.Context, key string) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, fmt.Errorf("store: %w", err)
	}
	if len(key) > store.MaxKey {
		return time.Time{}, store.ErrTooLarge
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return time.Time{}, store.ErrClosed
	}
	now := time.Now()
	if now.Before(s.last) {
		now = s.last
	}
	s.last = now
	if now.Sub(s.swept) > time.Minute {
		s.sweep(now)
	}
	return now, nil
}

func (s *Store) sweep(now time.Time) {
	s.swept = now
	for k, r := range s.records {
		if gone(r.expires, now) {
			s.remove(k)
		}
	}
	for k, c := range s.counters {
		if gone(c.expires, now) {
			delete(s.counters, k)
		}
	}
	for k, set := range s.sets {
		for m, e := range set {
			if gone(e, now) {
				delete(set, m)
			}
		}
		if len(set) == 0 {
			delete(s.sets, k)
		}
	}
}

func gone(expires, now time.Time) bool { return !expires.IsZero() && !now.Before(expires) }

func size(k string, r record) int64 { return int64(len(k)+len(r.value)) + overhead }

func (s *Store) remove(k string) {
	if r, ok := s.records[k]; ok {
		s.bytes -= size(k, r)
		delete(s.records, k)
	}
}

func (s *Store) get(k string, now time.Time) (record, bool) {
	r, ok := s.records[k]
	if ok && gone(r.expires, now) {
		s.remove(k)
		return record{}, false
	}
	return r, ok
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	now, err := s.lock(ctx, key)
	if err != nil {
		return store.Record{}, err
	}
	defer s.mu.Unlock()
	r, ok := s.get(key, now)
	if !ok {
		return store.Record{}, store.ErrNotFound
	}
	return store.Record{Value: bytes.Clone(r.value), Version: r.version}, nil
}

// Put implements [store.Store]. Over the bound the records that expire first
// make room.
func (s *Store) Put(ctx context.Context, key string, value []byte, ifVersion uint64, opts store.Options) (uint64, error) {
	if len(value) > store.MaxValue {
		return 0, store.ErrTooLarge
	}
	now, err := s.lock(ctx, key)
	if err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	r, _ := s.get(key, now)
	if r.version != ifVersion {
		return 0, store.ErrConflict
	}
	next := record{value: bytes.Clone(value), version: ifVersion + 1}
	if opts.TTL > 0 {
		next.expires = now.Add(opts.TTL)
	}
	s.remove(key)
	s.records[key] = next
	s.bytes += size(key, next)
	s.evict(key)
	return next.version, nil
}

// evict lets records go until the bound holds, out of a sample (a map's order
// is random) the one that expires first.
func (s *Store) evict(keep string) {
	for s.bytes > s.max {
		first, n := "", 0
		var at time.Time
		for k, r := range s.records {
			if k != keep && (first == "" || !r.expires.IsZero() && (at.IsZero() || r.expires.Before(at))) {
				first, at = k, r.expires
			}
			if n++; n > 32 {
				break
			}
		}
		if first == "" {
			return
		}
		s.remove(first)
	}
}

// Take implements [store.Store].
func (s *Store) Take(ctx context.Context, key string) (store.Record, error) {
	now, err := s.lock(ctx, key)
	if err != nil {
		return store.Record{}, err
	}
	defer s.mu.Unlock()
	r, ok := s.get(key, now)
	if !ok {
		return store.Record{}, store.ErrNotFound
	}
	s.remove(key)
	return store.Record{Value: r.value, Version: r.version}, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if _, err := s.lock(ctx, key); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.remove(key)
	delete(s.counters, key)
	return nil
}

// Add implements [store.Store].
func (s *Store) Add(ctx context.Context, key string, delta int64, window time.Duration) (store.Count, error) {
	if window <= 0 {
		return store.Count{}, errors.New("store: a counter needs a window")
	}
	now, err := s.lock(ctx, key)
	if err != nil {
		return store.Count{}, err
	}
	defer s.mu.Unlock()
	c, ok := s.counters[key]
	if !ok || gone(c.expires, now) {
		if len(s.counters) >= maxCounters {
			return store.Count{}, store.ErrFull
		}
		c = counter{expires: now.Add(window)}
	}
	c.n = max(0, c.n+delta)
	s.counters[key] = c
	return store.Count{N: c.n, Resets: c.expires.Sub(now)}, nil
}

// Join implements [store.Store].
func (s *Store) Join(ctx context.Context, key, member string, ttl time.Duration) error {
	now, err := s.lock(ctx, key)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.sets[key] == nil {
		s.sets[key] = map[string]time.Time{}
	}
	s.sets[key][member] = now.Add(ttl)
	return nil
}

// Leave implements [store.Store].
func (s *Store) Leave(ctx context.Context, key, member string) error {
	if _, err := s.lock(ctx, key); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.sets[key], member)
	return nil
}

// Members implements [store.Store].
func (s *Store) Members(ctx context.Context, key string) ([]string, error) {
	now, err := s.lock(ctx, key)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var out []string
	for m, e := range s.sets[key] {
		if !gone(e, now) {
			out = append(out, m)
		}
	}
	return out, nil
}

// Now implements [store.Store].
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	now, err := s.lock(ctx, "")
	if err != nil {
		return time.Time{}, err
	}
	s.mu.Unlock()
	return now, nil
}

// Close implements [store.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// Len is how many records lie in the store, expired ones included.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

var _ store.Store = (*Store)(nil)
