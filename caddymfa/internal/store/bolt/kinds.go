package bolt

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// kinds keeps volatile and durable records of one key apart in time. A write
// to memory alone needs no commit, but may not pass the writer at the same key:
// the writer holds the keys of its batch, and who finds one held queues up.
type kinds struct {
	mu      sync.Mutex // held over a write to memory and the look at the file before it
	held    map[string]struct{}
	version uint64 // the highest given
}

func (k *kinds) hold(ops []*op) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, o := range ops {
		for _, key := range o.keys {
			k.held[key] = struct{}{}
		}
	}
}

func (k *kinds) release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.held)
}

// next makes a version: the time in microseconds, or one more than the last. So
// it is above every version of this key that was ever given, without a trace of
// records that are gone.
func (k *kinds) next(now time.Time) uint64 {
	k.version = max(k.version+1, uint64(now.UnixMicro())) //nolint:gosec // after 1970
	return k.version
}

func (k *kinds) highest() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.version
}

// putInMemory writes a volatile record, unless the writer must do it: then
// done is false.
func (s *Store) putInMemory(ctx context.Context, key string, value []byte, ifVersion uint64, opts store.Options) (v uint64, done bool, err error) {
	s.kinds.mu.Lock()
	defer s.kinds.mu.Unlock()
	if alone, err := s.onlyInMemory(ctx, key); err != nil || !alone {
		return 0, err != nil, err
	}
	v, err = s.mem.PutVersion(ctx, key, value, ifVersion, s.kinds.next(s.clock.now()), opts)
	return v, true, err
}

// takeFromMemory takes a volatile record, or finds that there is none of any
// kind, unless the writer must do it: then done is false.
func (s *Store) takeFromMemory(ctx context.Context, key string) (rec store.Record, done bool, err error) {
	s.kinds.mu.Lock()
	defer s.kinds.mu.Unlock()
	if alone, err := s.onlyInMemory(ctx, key); err != nil || !alone {
		return rec, err != nil, err
	}
	rec, err = s.mem.Take(ctx, key)
	return rec, true, err
}

// onlyInMemory says that neither the file nor the writer has a record of key.
func (s *Store) onlyInMemory(ctx context.Context, key string) (bool, error) {
	if _, held := s.kinds.held[key]; held {
		return false, nil
	}
	there := false
	err := s.view(ctx, func(tx *bbolt.Tx, now time.Time) error {
		_, there = find(tx, records, []byte(key), now)
		return nil
	})
	return !there, err
}

// getInTurn reads behind all writes that wait, so that it meets no record on
// its way from one kind to the other.
func (s *Store) getInTurn(ctx context.Context, key string) (store.Record, error) {
	var rec store.Record
	err := s.update(ctx, func(b *batch) error {
		cur, _, err := b.current(key)
		rec = store.Record{Value: bytes.Clone(cur.Value), Version: cur.Version}
		return err
	}, key)
	if err != nil {
		return store.Record{}, err
	}
	return rec, nil
}

// current is the record of key, of whichever kind, or ErrNotFound. Its value
// belongs to the transaction.
func (b *batch) current(key string) (rec store.Record, inFile bool, err error) {
	if rec, err = b.s.mem.Get(context.Background(), key); !errors.Is(err, store.ErrNotFound) {
		return rec, false, err
	}
	e, ok := find(b.tx, records, []byte(key), b.now)
	if !ok {
		return rec, false, store.ErrNotFound
	}
	return store.Record{Value: e.value, Version: e.number}, true, nil
}

// move is called before a record changes its kind: readers that look at both
// places one after the other may miss it from here to the commit's end.
func (b *batch) move() {
	if !b.moving {
		b.moving = true
		b.s.moves.Add(1)
	}
}

func (b *batch) put(key string, value []byte, ifVersion uint64, opts store.Options) (uint64, error) {
	cur, inFile, err := b.current(key)
	there := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	if cur.Version != ifVersion {
		return 0, store.ErrConflict
	}
	b.s.kinds.mu.Lock()
	version := max(cur.Version+1, b.s.kinds.next(b.now))
	b.s.kinds.mu.Unlock()
	ctx := context.Background()
	switch {
	case opts.Volatile && inFile:
		b.move()
		v, err := b.s.mem.PutVersion(ctx, key, value, 0, version, opts)
		if err != nil {
			return 0, err
		}
		b.moved = append(b.moved, key)
		return v, b.del(records, []byte(key))
	case opts.Volatile:
		return b.s.mem.PutVersion(ctx, key, value, ifVersion, version, opts)
	case there && !inFile:
		b.move()
		if err := b.s.mem.Delete(ctx, key); err != nil {
			return 0, err
		}
	}
	e := entry{number: version, value: value}
	if opts.TTL > 0 {
		e.expires = b.after(opts.TTL)
	}
	return version, b.set(records, []byte(key), e)
}

func (b *batch) take(key string) (store.Record, error) {
	cur, inFile, err := b.current(key)
	if err != nil {
		return store.Record{}, err
	}
	if !inFile {
		return b.s.mem.Take(context.Background(), key)
	}
	cur.Value = bytes.Clone(cur.Value)
	return cur, b.del(records, []byte(key))
}

func (b *batch) remove(key string) error {
	return errors.Join(
		b.s.mem.Delete(context.Background(), key),
		b.del(records, []byte(key)),
		b.del(counters, []byte(key)),
	)
}
