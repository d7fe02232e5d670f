// Package bolt is the embedded store: one bbolt file for one process. Writes of
// many callers share a commit; what may be lost with the process is kept in
// memory.
package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/memory"
)

// lockWait is how long Open waits for another process to leave the file: a
// reload's old configuration may hold it for a moment.
const lockWait = 2 * time.Second

// sweepEvery is how often expired entries are deleted.
const sweepEvery = 30 * time.Second

var (
	records  = []byte("records")  // key -> entry
	counters = []byte("counters") // key -> entry, the value a number
	sets     = []byte("sets")     // key 0x00 member -> entry without value
	expiry   = []byte("expiry")   // time, bucket's letter, key -> nothing
	meta     = []byte("meta")
	clockKey = []byte("clock")
)

// Store is a [store.Store] in a file. See Open.
type Store struct {
	db  *bbolt.DB
	mem *memory.Store

	ops    chan *op
	closed chan struct{}
	done   chan struct{}
	once   sync.Once

	clock clock
}

// op is one write. do runs inside the shared transaction; its own error is the
// caller's, an error of the commit everybody's.
type op struct {
	do   func(tx *bbolt.Tx, now time.Time) error
	err  error
	done chan struct{}
}

// Open opens or makes the file. Its directory is made with mode 0700, the file
// with 0600.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil { //nolint:gosec // the operator's path
		return nil, fmt.Errorf("embedded store: %w", err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("embedded store: another process holds %s: it is for one process; several need \"store redis\"", path)
	} else if err != nil {
		return nil, fmt.Errorf("embedded store: %s: %w", path, err)
	}
	s := &Store{
		db: db, mem: memory.New(0),
		ops: make(chan *op), closed: make(chan struct{}), done: make(chan struct{}),
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{records, counters, sets, expiry, meta} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		if v := tx.Bucket(meta).Get(clockKey); len(v) == 8 {
			s.clock.set(time.Unix(0, int64(binary.BigEndian.Uint64(v)))) //nolint:gosec // our own number
		}
		return nil
	})
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("embedded store: %s: %w", path, err)
	}
	go s.write()
	return s, nil
}

// maxBatch bounds the writes of one commit.
const maxBatch = 512

// write is the one writer: it takes all writes that wait, commits them
// together and answers each.
func (s *Store) write() {
	defer close(s.done)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.closed:
			return
		case <-tick.C:
			_ = s.db.Update(func(tx *bbolt.Tx) error { return sweep(tx, s.clock.now()) })
		case first := <-s.ops:
			batch := []*op{first}
			for len(batch) < maxBatch {
				select {
				case o := <-s.ops:
					batch = append(batch, o)
					continue
				default:
				}
				break
			}
			s.commit(batch)
		}
	}
}

func (s *Store) commit(batch []*op) {
	now := s.clock.now()
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for _, o := range batch {
			o.err = o.do(tx, now)
		}
		return tx.Bucket(meta).Put(clockKey, binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano()))) //nolint:gosec // after 1970
	})
	for _, o := range batch {
		if err != nil {
			o.err = fmt.Errorf("embedded store: %w", err)
		}
		close(o.done)
	}
}

// update hands a write to the writer and waits for its commit. When ctx ends
// first nobody knows whether it was written.
func (s *Store) update(ctx context.Context, key string, do func(tx *bbolt.Tx, now time.Time) error) error {
	if len(key) > store.MaxKey {
		return store.ErrTooLarge
	}
	o := &op{do: do, done: make(chan struct{})}
	select {
	case s.ops <- o:
	case <-s.closed:
		return store.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("embedded store: %w", ctx.Err())
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		return fmt.Errorf("embedded store: %w", ctx.Err())
	}
}

func (s *Store) view(ctx context.Context, do func(tx *bbolt.Tx, now time.Time) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("embedded store: %w", err)
	}
	err := s.db.View(func(tx *bbolt.Tx) error { return do(tx, s.clock.now()) })
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	return err
}

// entry is version and expiry before the value; counters keep their number in
// the version's place.
type entry struct {
	number  uint64
	expires time.Time // zero: never
	value   []byte
}

func (e entry) encode() []byte {
	b := make([]byte, 16, 16+len(e.value))
	binary.BigEndian.PutUint64(b, e.number)
	binary.BigEndian.PutUint64(b[8:], nanos(e.expires))
	return append(b, e.value...)
}

func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano()) //nolint:gosec // after 1970
}

// find reads a living entry. Its value belongs to the transaction.
func find(tx *bbolt.Tx, bucket, key []byte, now time.Time) (entry, bool) {
	b := tx.Bucket(bucket).Get(key)
	if len(b) < 16 {
		return entry{}, false
	}
	e := entry{number: binary.BigEndian.Uint64(b), value: b[16:]}
	if n := binary.BigEndian.Uint64(b[8:]); n != 0 {
		e.expires = time.Unix(0, int64(n)) //nolint:gosec // our own number
		if !now.Before(e.expires) {
			return entry{}, false
		}
	}
	return e, true
}

func put(tx *bbolt.Tx, bucket, key []byte, e entry) error {
	if err := del(tx, bucket, key); err != nil {
		return err
	}
	if !e.expires.IsZero() {
		if err := tx.Bucket(expiry).Put(mark(bucket, key, nanos(e.expires)), nil); err != nil {
			return err
		}
	}
	return tx.Bucket(bucket).Put(key, e.encode())
}

// del removes an entry and its mark in the order of expiry.
func del(tx *bbolt.Tx, bucket, key []byte) error {
	b := tx.Bucket(bucket).Get(key)
	if len(b) < 16 {
		return nil
	}
	if n := binary.BigEndian.Uint64(b[8:]); n != 0 {
		if err := tx.Bucket(expiry).Delete(mark(bucket, key, n)); err != nil {
			return err
		}
	}
	return tx.Bucket(bucket).Delete(key)
}

func mark(bucket, key []byte, at uint64) []byte {
	return append(append(binary.BigEndian.AppendUint64(nil, at), bucket[0]), key...)
}

// maxSweep bounds one sweep, so that writers do not wait for it long.
const maxSweep = 5000

func sweep(tx *bbolt.Tx, now time.Time) error {
	buckets := map[byte][]byte{records[0]: records, counters[0]: counters, sets[0]: sets}
	c := tx.Bucket(expiry).Cursor()
	var due [][]byte
	for k, _ := c.First(); k != nil && len(due) < maxSweep && binary.BigEndian.Uint64(k) <= nanos(now); k, _ = c.Next() {
		due = append(due, bytes.Clone(k))
	}
	for _, k := range due {
		if err := tx.Bucket(expiry).Delete(k); err != nil {
			return err
		}
		if err := tx.Bucket(buckets[k[8]]).Delete(k[9:]); err != nil {
			return err
		}
	}
	return nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (rec store.Record, err error) {
	if rec, err = s.mem.Get(ctx, key); !errors.Is(err, store.ErrNotFound) {
		return rec, err
	}
	err = s.view(ctx, func(tx *bbolt.Tx, now time.Time) error {
		e, ok := find(tx, records, []byte(key), now)
		if !ok {
			return store.ErrNotFound
		}
		rec = store.Record{Value: bytes.Clone(e.value), Version: e.number}
		return nil
	})
	return rec, err
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, key string, value []byte, ifVersion uint64, opts store.Options) (uint64, error) {
	if len(value) > store.MaxValue {
		return 0, store.ErrTooLarge
	}
	if opts.Volatile {
		return s.mem.Put(ctx, key, value, ifVersion, opts)
	}
	err := s.update(ctx, key, func(tx *bbolt.Tx, now time.Time) error {
		e, _ := find(tx, records, []byte(key), now)
		if e.number != ifVersion {
			return store.ErrConflict
		}
		next := entry{number: ifVersion + 1, value: value}
		if opts.TTL > 0 {
			next.expires = now.Add(opts.TTL)
		}
		return put(tx, records, []byte(key), next)
	})
	if err != nil {
		return 0, err
	}
	return ifVersion + 1, nil
}

// Take implements [store.Store].
func (s *Store) Take(ctx context.Context, key string) (rec store.Record, err error) {
	if rec, err = s.mem.Take(ctx, key); !errors.Is(err, store.ErrNotFound) {
		return rec, err
	}
	err = s.update(ctx, key, func(tx *bbolt.Tx, now time.Time) error {
		e, ok := find(tx, records, []byte(key), now)
		if !ok {
			return store.ErrNotFound
		}
		rec = store.Record{Value: bytes.Clone(e.value), Version: e.number}
		return del(tx, records, []byte(key))
	})
	if err != nil {
		return store.Record{}, err
	}
	return rec, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.mem.Delete(ctx, key); err != nil {
		return err
	}
	return s.update(ctx, key, func(tx *bbolt.Tx, _ time.Time) error {
		return errors.Join(del(tx, records, []byte(key)), del(tx, counters, []byte(key)))
	})
}

// Add implements [store.Store].
func (s *Store) Add(ctx context.Context, key string, delta int64, window time.Duration) (c store.Count, err error) {
	if window <= 0 {
		return c, errors.New("embedded store: a counter needs a window")
	}
	err = s.update(ctx, key, func(tx *bbolt.Tx, now time.Time) error {
		e, ok := find(tx, counters, []byte(key), now)
		if !ok {
			e = entry{expires: now.Add(window)}
		}
		c = store.Count{N: max(0, int64(e.number)+delta), Resets: e.expires.Sub(now)} //nolint:gosec // counts stay small
		e.number, e.value = uint64(c.N), nil                                          //nolint:gosec // not negative
		return put(tx, counters, []byte(key), e)
	})
	return c, err
}

func member(key, m string) []byte { return []byte(key + "\x00" + m) }

// Join implements [store.Store].
func (s *Store) Join(ctx context.Context, key, m string, ttl time.Duration) error {
	return s.update(ctx, key+m, func(tx *bbolt.Tx, now time.Time) error {
		return put(tx, sets, member(key, m), entry{expires: now.Add(ttl)})
	})
}

// Leave implements [store.Store].
func (s *Store) Leave(ctx context.Context, key, m string) error {
	return s.update(ctx, key+m, func(tx *bbolt.Tx, _ time.Time) error { return del(tx, sets, member(key, m)) })
}

// Members implements [store.Store].
func (s *Store) Members(ctx context.Context, key string) (out []string, err error) {
	prefix := member(key, "")
	err = s.view(ctx, func(tx *bbolt.Tx, now time.Time) error {
		c := tx.Bucket(sets).Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			if _, ok := find(tx, sets, k, now); ok {
				out = append(out, string(k[len(prefix):]))
			}
		}
		return nil
	})
	return out, err
}

// Now implements [store.Store].
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, fmt.Errorf("embedded store: %w", err)
	}
	select {
	case <-s.closed:
		return time.Time{}, store.ErrClosed
	default:
		return s.clock.now(), nil
	}
}

// Close implements [store.Store]. What was acknowledged is on disk.
func (s *Store) Close() (err error) {
	s.once.Do(func() {
		close(s.closed)
		<-s.done
		_ = s.mem.Close()
		err = s.db.Close()
	})
	return err
}

var _ store.Store = (*Store)(nil)
