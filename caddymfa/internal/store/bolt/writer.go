package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

const (
	// maxBatch bounds the writes of one commit.
	maxBatch = 512
	// sweepEvery is how often expired entries are deleted when nobody writes;
	// sweepMost bounds what one commit deletes, so that writers do not wait.
	sweepEvery = 30 * time.Second
	sweepMost  = 1000
	// sweepAlong is how many every commit of a writer deletes.
	sweepAlong = 32
)

// States of an op: whoever changes it from waiting decides whether it is done.
const (
	waiting int32 = iota
	running
	abandoned
)

// op is one write. do runs inside the shared transaction; its own error is the
// caller's, an error of the commit everybody's.
type op struct {
	keys  []string // of the records it may change
	do    func(b *batch) error
	state atomic.Int32
	err   error
	done  chan struct{}
}

// update hands a write to the writer and waits for its commit. When ctx ends
// while it is being written, nobody knows the outcome. keys are those of the
// records that it may change.
func (s *Store) update(ctx context.Context, do func(b *batch) error, keys ...string) error {
	o := &op{keys: keys, do: do, done: make(chan struct{})}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("embedded store: %w", err)
	}
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
		o.state.CompareAndSwap(waiting, abandoned)
		return fmt.Errorf("embedded store: %w", ctx.Err())
	}
}

// write is the one writer: it takes all writes that wait, commits them
// together and answers each.
func (s *Store) write() {
	defer close(s.done)
	tick := time.NewTimer(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.closed:
			_, _ = s.commit(nil, 0) // keeps the clock
			return
		case <-tick.C:
			next := sweepEvery
			if n, err := s.commit(nil, sweepMost); err == nil && n == sweepMost {
				next = time.Millisecond // there is more; writers may go first
			}
			tick.Reset(next)
		case first := <-s.ops:
			s.answer(s.collect(first))
		}
	}
}

func (s *Store) collect(first *op) []*op {
	ops := []*op{first}
	for len(ops) < maxBatch {
		select {
		case o := <-s.ops:
			ops = append(ops, o)
		default:
			return ops
		}
	}
	return ops
}

func (s *Store) answer(ops []*op) {
	_, err := s.commit(ops, sweepAlong)
	for _, o := range ops {
		if err != nil {
			o.err = fmt.Errorf("embedded store: %w", err)
		}
		close(o.done)
	}
}

// commit runs ops in one transaction and deletes up to most expired entries.
// Without ops it writes the clock alone.
func (s *Store) commit(ops []*op, most int) (swept int, err error) {
	s.kinds.hold(ops)
	defer s.kinds.release()
	tx, err := s.db.Begin(true)
	if err != nil {
		return 0, err
	}
	b := &batch{s: s, tx: tx, now: s.clock.now(), wrote: len(ops) == 0}
	defer func() { b.end(err) }()
	for _, o := range ops {
		if !o.state.CompareAndSwap(waiting, running) {
			continue
		}
		if o.err = o.do(b); b.broken != nil {
			return 0, b.broken
		}
	}
	if !b.wrote {
		return 0, nil // refused or without effect, all of them: nothing to wait for the disk for
	}
	if swept, err = sweep(tx, b.now, most); err != nil {
		return 0, err
	}
	// Versions are made of the clock, and may be a little ahead of it.
	high := max(nanos(b.now), s.kinds.highest()*1000)
	if err := tx.Bucket(meta).Put(clockKey, binary.BigEndian.AppendUint64(nil, high)); err != nil {
		return 0, err
	}
	return swept, tx.Commit()
}

// batch is the transaction that ops share.
type batch struct {
	s      *Store
	tx     *bbolt.Tx
	now    time.Time
	wrote  bool
	broken error    // the file refused something: nothing may be committed
	moving bool     // a record changes its kind
	moved  []string // those that went from the file into memory
}

// end closes the transaction; after err, what it took into memory goes again.
// What it took out of memory is lost then, as volatile records may be.
func (b *batch) end(err error) {
	_ = b.tx.Rollback() // an error when it was committed
	if err != nil {
		for _, key := range b.moved {
			_ = b.s.mem.Delete(context.Background(), key)
		}
	}
	if b.moving {
		b.s.moves.Add(1)
	}
}

func (b *batch) after(d time.Duration) time.Time { return b.now.Add(min(d, store.MaxTTL)) }

func (b *batch) set(bucket, key []byte, e entry) error {
	b.wrote = true
	err := put(b.tx, bucket, key, e)
	b.broken = errors.Join(b.broken, err)
	return err
}

func (b *batch) del(bucket, key []byte) error {
	there, err := del(b.tx, bucket, key)
	b.wrote = b.wrote || there
	b.broken = errors.Join(b.broken, err)
	return err
}

func (b *batch) count(key string, delta int64, window time.Duration) (store.Count, error) {
	e, ok := find(b.tx, counters, []byte(key), b.now)
	if !ok {
		e = entry{expires: b.after(window)}
	}
	n, err := store.Sum(int64(e.number), delta) //nolint:gosec // was an int64
	if err != nil {
		return store.Count{}, err
	}
	c := store.Count{N: n, Resets: e.expires.Sub(b.now)}
	return c, b.set(counters, []byte(key), entry{number: uint64(n), expires: e.expires}) //nolint:gosec // not negative
}
