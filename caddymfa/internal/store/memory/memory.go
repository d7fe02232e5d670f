// Package memory keeps a store in memory: the volatile half of the embedded
// store, and the store of unit tests. It is bounded in bytes, needs no
// goroutine, and goes by time.Now alone.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Defaults of [Options], in bytes.
const (
	DefaultMaxBytes      = 64 << 20
	DefaultMaxGuardBytes = 64 << 20
)

// Options bound a store. Keys, values and an overhead for each entry count.
type Options struct {
	// MaxBytes of records, default [DefaultMaxBytes]. Over it the records that
	// expire first make room.
	MaxBytes int64
	// MaxGuardBytes of counters and sets, default [DefaultMaxGuardBytes]. They
	// guard something, so none is evicted: over it a new one is [store.ErrFull].
	MaxGuardBytes int64
}

// Store is a [store.Store] in memory. See New.
type Store struct {
	opts Options

	mu       sync.Mutex
	closed   bool
	version  uint64 // the highest given
	records  map[string]*item
	expiring queue // of records
	counters map[string]*item
	sets     map[string]map[string]*item
	guards   queue // of counters and members
}

// New makes an empty store.
func New(opts Options) *Store {
	opts.MaxBytes = cmp.Or(opts.MaxBytes, DefaultMaxBytes)
	opts.MaxGuardBytes = cmp.Or(opts.MaxGuardBytes, DefaultMaxGuardBytes)
	return &Store{
		opts:    opts,
		records: map[string]*item{}, counters: map[string]*item{}, sets: map[string]map[string]*item{},
	}
}

// lock begins every call. It also drops what has expired: each entry is dropped
// once, so a call pays for about one. time.Now has a monotonic reading, so the
// clock does not go back with the machine's.
func (s *Store) lock(ctx context.Context) (now time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return now, fmt.Errorf("store: %w", err)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return now, store.ErrClosed
	}
	now = time.Now()
	for i := s.expiring.due(now); i != nil; i = s.expiring.due(now) {
		s.drop(i)
	}
	for i := s.guards.due(now); i != nil; i = s.guards.due(now) {
		s.unguard(i)
	}
	return now, nil
}

func (s *Store) drop(i *item) {
	s.expiring.remove(i)
	delete(s.records, i.key)
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	if _, err := s.lock(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.mu.Unlock()
	i := s.records[key]
	if i == nil {
		return store.Record{}, store.ErrNotFound
	}
	return store.Record{Value: bytes.Clone(i.value), Version: i.version}, nil
}

// Put implements [store.Store]. A record that is alone too large for the store
// is [store.ErrFull].
func (s *Store) Put(ctx context.Context, key string, value []byte, ifVersion uint64, opts store.Options) (uint64, error) {
	return s.PutVersion(ctx, key, value, ifVersion, 0, opts)
}

// PutVersion is Put for a caller that gives the versions itself: the record
// gets version, or a higher one if this store has given that already.
func (s *Store) PutVersion(ctx context.Context, key string, value []byte, ifVersion, version uint64, opts store.Options) (uint64, error) {
	if err := store.CheckPut(key, value, opts); err != nil {
		return 0, err
	}
	now, err := s.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	old := s.records[key]
	if (old == nil && ifVersion != 0) || (old != nil && old.version != ifVersion) {
		return 0, store.ErrConflict
	}
	next := &item{key: key, value: bytes.Clone(value)}
	if opts.TTL > 0 {
		next.expires = now.Add(min(opts.TTL, store.MaxTTL))
	}
	if next.size() > s.opts.MaxBytes {
		return 0, store.ErrFull
	}
	if old != nil {
		s.drop(old)
	}
	for s.expiring.bytes+next.size() > s.opts.MaxBytes {
		s.drop(s.expiring.first())
	}
	// The time in microseconds is above what was given before a restart.
	s.version = max(s.version+1, version, uint64(now.UnixMicro())) //nolint:gosec // after 1970
	next.version = s.version
	s.records[key] = next
	s.expiring.add(next)
	return next.version, nil
}

// Take implements [store.Store].
func (s *Store) Take(ctx context.Context, key string) (store.Record, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	if _, err := s.lock(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.mu.Unlock()
	i := s.records[key]
	if i == nil {
		return store.Record{}, store.ErrNotFound
	}
	s.drop(i)
	return store.Record{Value: i.value, Version: i.version}, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	if _, err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if i := s.records[key]; i != nil {
		s.drop(i)
	}
	if i := s.counters[key]; i != nil {
		s.unguard(i)
	}
	return nil
}

// Batch implements [store.Store].
func (s *Store) Batch(ctx context.Context, ops ...*store.Op) {
	for _, o := range ops {
		o.Do(ctx, s)
	}
}

// Now implements [store.Store].
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	now, err := s.lock(ctx)
	if err != nil {
		return time.Time{}, err
	}
	s.mu.Unlock()
	return now, nil
}

// Close implements [store.Store]. What was kept is gone.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.records, s.counters, s.sets = nil, nil, nil
	s.expiring, s.guards = queue{}, queue{}
	return nil
}

// Len is how many records the store holds.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

var _ store.Store = (*Store)(nil)
