// Package bolt is the embedded store: one bbolt file for one process. Writes of
// many callers share a commit; what may be lost with the process is kept in
// memory.
//
// The file has mode 0600. It does not shrink: pages that became free are used
// again, and may hold old bytes until then, so callers seal their values.
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
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/memory"
)

// lockWait is how long Open waits for another process to leave the file.
const lockWait = time.Second

// Store is a [store.Store] in a file. See Open.
type Store struct {
	db    *bbolt.DB
	mem   *memory.Store
	clock clock
	kinds kinds

	ops    chan *op
	closed chan struct{}
	done   chan struct{}
	once   sync.Once
	moves  atomic.Uint64 // odd while a record changes its kind; see Get
}

// Open opens or makes the file, and its directory (mode 0700). A file that
// another process holds is an error after a second, which tells the operator
// what to use instead. The caller must Close the store.
func Open(path string) (*Store, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil { //nolint:gosec // the operator's path
		return nil, fmt.Errorf("embedded store: %w", err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("embedded store: another process holds %s: it is for one process; several need \"store redis\"", path)
	} else if err != nil {
		return nil, fmt.Errorf("embedded store: %s: %w", path, err)
	}
	s := &Store{
		db: db, mem: memory.New(memory.Options{}), kinds: kinds{held: map[string]struct{}{}},
		ops: make(chan *op), closed: make(chan struct{}), done: make(chan struct{}),
	}
	if err := errors.Join(os.Chmod(path, 0o600), db.Update(s.prepare), syncDir(dir)); err != nil { //nolint:gosec // the operator's path
		_ = db.Close()
		return nil, fmt.Errorf("embedded store: %s: %w", path, err)
	}
	go s.write()
	return s, nil
}

// prepare makes the buckets and takes the clock on from where it was.
func (s *Store) prepare(tx *bbolt.Tx) error {
	for _, name := range [][]byte{records, counters, sets, expiry, meta} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	if v := tx.Bucket(meta).Get(clockKey); len(v) == 8 {
		high := binary.BigEndian.Uint64(v)
		s.clock.set(time.Unix(0, int64(high))) //nolint:gosec // our own number
		s.kinds.version = high / 1000
	}
	return nil
}

// syncDir makes a new file's name survive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator's directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// view reads from the file as the last commit left it.
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

// Get implements [store.Store]. It waits for no commit, except when it meets a
// record that is changing its kind.
func (s *Store) Get(ctx context.Context, key string) (rec store.Record, err error) {
	moves := s.moves.Load()
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
	if errors.Is(err, store.ErrNotFound) && (moves%2 == 1 || s.moves.Load() != moves) {
		return s.getInTurn(ctx, key)
	}
	return rec, err
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, key string, value []byte, ifVersion uint64, opts store.Options) (uint64, error) {
	if err := store.CheckPut(key, value, opts); err != nil {
		return 0, err
	}
	if opts.Volatile {
		if v, done, err := s.putInMemory(ctx, key, value, ifVersion, opts); done {
			return v, err
		}
	}
	value = bytes.Clone(value) // the caller may leave before it is written
	var version uint64
	err := s.update(ctx, func(b *batch) (err error) {
		version, err = b.put(key, value, ifVersion, opts)
		return err
	}, key)
	if err != nil {
		return 0, err
	}
	return version, nil
}

// Take implements [store.Store].
func (s *Store) Take(ctx context.Context, key string) (store.Record, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	if rec, done, err := s.takeFromMemory(ctx, key); done {
		return rec, err
	}
	var rec store.Record
	err := s.update(ctx, func(b *batch) (err error) {
		rec, err = b.take(key)
		return err
	}, key)
	if err != nil {
		return store.Record{}, err
	}
	return rec, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	return s.update(ctx, func(b *batch) error { return b.remove(key) }, key)
}

// Add implements [store.Store].
func (s *Store) Add(ctx context.Context, key string, delta int64, window time.Duration) (store.Count, error) {
	if err := store.CheckAdd(key, window); err != nil {
		return store.Count{}, err
	}
	var c store.Count
	err := s.update(ctx, func(b *batch) (err error) {
		c, err = b.count(key, delta, window)
		return err
	})
	if err != nil {
		return store.Count{}, err
	}
	return c, nil
}

// Join implements [store.Store].
func (s *Store) Join(ctx context.Context, key, m string, ttl time.Duration) error {
	if err := store.CheckJoin(key, m, ttl); err != nil {
		return err
	}
	return s.update(ctx, func(b *batch) error {
		return b.set(sets, member(key, m), entry{expires: b.after(ttl)})
	})
}

// Leave implements [store.Store].
func (s *Store) Leave(ctx context.Context, key, m string) error {
	if err := store.CheckMember(key, m); err != nil {
		return err
	}
	return s.update(ctx, func(b *batch) error { return b.del(sets, member(key, m)) })
}

// Members implements [store.Store].
func (s *Store) Members(ctx context.Context, key string) (out []string, err error) {
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	prefix := member(key, "")
	err = s.view(ctx, func(tx *bbolt.Tx, now time.Time) error {
		c := tx.Bucket(sets).Cursor()
		for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if _, ok := decode(v, now); ok {
				out = append(out, string(k[len(prefix):]))
			}
		}
		return nil
	})
	return out, err
}

// Empty reports whether the file holds no record, as a new one does.
func (s *Store) Empty(ctx context.Context) (none bool, err error) {
	err = s.view(ctx, func(tx *bbolt.Tx, _ time.Time) error {
		k, _ := tx.Bucket(records).Cursor().First()
		none = k == nil
		return nil
	})
	return none, err
}

// Batch implements [store.Store]: what is durable shares a commit.
func (s *Store) Batch(ctx context.Context, ops ...*store.Op) {
	var durable []*store.Op
	var keys []string
	for _, o := range ops {
		switch o.Err = o.Check(); {
		case o.Err != nil:
		case o.Call == store.Get || o.Call == store.Put && o.Options.Volatile:
			o.Do(ctx, s)
		default:
			durable = append(durable, o)
			if o.Call == store.Put {
				keys = append(keys, o.Key)
			}
		}
	}
	if len(durable) == 0 {
		return
	}
	// The caller may leave before it is written: what is left then is the writer's.
	done := make([]store.Op, len(durable))
	for i, o := range durable {
		done[i] = *o
		done[i].Value = bytes.Clone(o.Value)
	}
	err := s.update(ctx, func(b *batch) error {
		for i := range done {
			switch o := &done[i]; o.Call {
			case store.Put:
				o.Record.Version, o.Err = b.put(o.Key, o.Value, o.IfVersion, o.Options)
			case store.Add:
				o.Count, o.Err = b.count(o.Key, o.Delta, o.Window)
			case store.Get:
			}
			if b.broken != nil {
				return b.broken
			}
		}
		return nil
	}, keys...)
	for i, o := range durable {
		if err != nil {
			o.Err = err
			continue
		}
		o.Record.Version, o.Count, o.Err = done[i].Record.Version, done[i].Count, done[i].Err
	}
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

// Close implements [store.Store]. What was acknowledged is on disk; calls that
// still wait get [store.ErrClosed].
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
