package store

import (
	"context"
	"errors"
	"time"
)

// Call says which call of a [Store] an [Op] is.
type Call int

// The calls that go into a batch.
const (
	Get Call = iota
	Put
	Add
)

// Op is one call in a batch, and its answer.
type Op struct {
	Call Call
	Key  string

	// Value, IfVersion and Options of a Put.
	Value     []byte
	IfVersion uint64
	Options   Options
	// Delta and Window of an Add.
	Delta  int64
	Window time.Duration

	// Record is what a Get has found; its Version is also what a Put has given.
	Record Record
	// Count is the counter after an Add.
	Count Count
	// Err is what the single call would have returned; [ErrNotRun] before.
	Err error
}

// ErrNotRun: the batch of an operation has not run.
var ErrNotRun = errors.New("store: not run")

// GetOp is a Get for a batch.
func GetOp(key string) *Op { return &Op{Call: Get, Key: key, Err: ErrNotRun} }

// PutOp is a Put for a batch. The batch keeps value until it is written.
func PutOp(key string, value []byte, ifVersion uint64, opts Options) *Op {
	return &Op{Call: Put, Key: key, Value: value, IfVersion: ifVersion, Options: opts, Err: ErrNotRun}
}

// AddOp is an Add for a batch.
func AddOp(key string, delta int64, window time.Duration) *Op {
	return &Op{Call: Add, Key: key, Delta: delta, Window: window, Err: ErrNotRun}
}

// Check says whether an operation may be done, as the single call does.
func (o *Op) Check() error {
	switch o.Call {
	case Put:
		return CheckPut(o.Key, o.Value, o.Options)
	case Add:
		return CheckAdd(o.Key, o.Window)
	case Get:
	}
	return CheckKey(o.Key)
}

// Do runs an operation by the single call of s.
func (o *Op) Do(ctx context.Context, s Store) {
	switch o.Call {
	case Get:
		o.Record, o.Err = s.Get(ctx, o.Key)
	case Put:
		o.Record.Version, o.Err = s.Put(ctx, o.Key, o.Value, o.IfVersion, o.Options)
	case Add:
		o.Count, o.Err = s.Add(ctx, o.Key, o.Delta, o.Window)
	}
}
