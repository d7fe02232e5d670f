// Package store is the contract between the gate and the place where its state
// lives: versioned records with a time to live, counters with a window, and
// sets. It is small on purpose. There are no transactions over several keys:
// whoever needs two steps orders them so that a crash between them fails closed.
//
// Implementations: [github.com/caddymfa/caddymfa/caddymfa/internal/store/memory],
// store/bolt (the embedded default) and store/redis. All of them pass the one
// conformance suite in store/storetest.
package store

import (
	"context"
	"errors"
	"time"
)

// Errors that callers decide by. Every other error means that the store could
// not do what it was asked, and that nobody can say whether it did: callers
// treat it as "unavailable" and refuse.
var (
	// ErrNotFound: there is no record under this key, or it has expired.
	ErrNotFound = errors.New("store: no such record")
	// ErrConflict: the record has another version than the caller expected.
	ErrConflict = errors.New("store: record has changed")
	// ErrTooLarge: the key, member or value is longer than MaxKey or MaxValue.
	ErrTooLarge = errors.New("store: key or value too large")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store: closed")
	// ErrFull: a bound of the store was reached; nothing was written.
	ErrFull = errors.New("store: full")
)

// Bounds of keys, members and values, in bytes.
const (
	MaxKey   = 512
	MaxValue = 1 << 20
)

// Record is one stored value. Value belongs to the caller.
type Record struct {
	Value []byte
	// Version is at least 1 and below 1<<53. It grows with every Put of the same
	// key, also when the record was taken, deleted or has expired in between: who
	// holds a version of a record that is gone cannot overwrite its successor.
	Version uint64
}

// Options say how a record is kept.
type Options struct {
	// TTL is the time after which the record is gone, counted from this Put by
	// the store's clock. 0 keeps it until it is deleted; less is an error, so that
	// a time left that was computed too late does not mean "for ever".
	TTL time.Duration
	// Volatile records may be lost with the process. The embedded store keeps
	// them in memory, bounded, and evicts those that expire first. A Put may
	// change the kind of a record: its versions are one line.
	Volatile bool
}

// Count is the state of a counter after an Add.
type Count struct {
	N int64
	// Resets is the time until the window ends and the counter is 0 again.
	Resets time.Duration
}

// Store keeps the gate's state. Its methods are safe for concurrent use; each
// is atomic on its key, over all processes that share the store.
//
// A Store that was closed answers every call with an error.
type Store interface {
	// Get returns the record under key, or ErrNotFound.
	Get(ctx context.Context, key string) (Record, error)

	// Put writes value under key when the stored version is ifVersion; 0 means
	// that no record may exist. It returns the new version. Otherwise it
	// returns ErrConflict and writes nothing: of several writers that name the
	// same version one wins. A call whose answer was lost and that is retried
	// inside the store must not report ErrConflict against itself.
	Put(ctx context.Context, key string, value []byte, ifVersion uint64, opts Options) (uint64, error)

	// Take returns the record and removes it in one step: of several takers one
	// gets it, the others get ErrNotFound.
	Take(ctx context.Context, key string) (Record, error)

	// Delete removes the record or counter under key. A missing one is no error.
	Delete(ctx context.Context, key string) error

	// Add adds delta to the counter under key and returns the sum. A counter
	// that does not exist starts at 0; its window is set then and not extended
	// by later calls. Sums below 0 are kept as 0. A window of 0 or less and a sum
	// that overflows are errors. Counters and records do not share keys.
	Add(ctx context.Context, key string, delta int64, window time.Duration) (Count, error)

	// Join puts member into the set under key; the member leaves by itself ttl
	// (more than 0) after its last Join. Leave takes it out. Members lists the set in no order.
	Join(ctx context.Context, key, member string, ttl time.Duration) error
	Leave(ctx context.Context, key, member string) error
	Members(ctx context.Context, key string) ([]string, error)

	// Batch runs calls in one round trip and leaves each one's answer in it. Each
	// is atomic on its key and fails for itself; together they are not atomic, and
	// have no order: no two may name the same key.
	Batch(ctx context.Context, ops ...*Op)

	// Now is the clock by which the store lets records expire. It never goes
	// back, also not when the machine's clock does.
	Now(ctx context.Context) (time.Time, error)

	// Close releases what the store holds.
	Close() error
}
