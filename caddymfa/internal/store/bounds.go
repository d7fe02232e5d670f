package store

import (
	"errors"
	"math"
	"time"
)

// Errors of a caller that asks for what no store may do. They are faults of the
// program; no caller decides by them.
var (
	errNoKey    = errors.New("store: empty key or member")
	errTTL      = errors.New("store: the time to live has passed already")
	errWindow   = errors.New("store: a counter needs a window")
	errOverflow = errors.New("store: the counter would overflow")
)

// MaxTTL is what implementations take a longer time to live for: some clocks
// end in 2262.
const MaxTTL = 100 * 365 * 24 * time.Hour

// CheckKey says whether key may be used. Every implementation asks it and its
// siblings first, so that all refuse the same.
func CheckKey(key string) error {
	switch {
	case key == "":
		return errNoKey
	case len(key) > MaxKey:
		return ErrTooLarge
	}
	return nil
}

// CheckPut says whether a Put may be done.
func CheckPut(key string, value []byte, opts Options) error {
	switch {
	case len(value) > MaxValue:
		return ErrTooLarge
	case opts.TTL < 0:
		return errTTL
	}
	return CheckKey(key)
}

// CheckAdd says whether an Add may be done.
func CheckAdd(key string, window time.Duration) error {
	if window <= 0 {
		return errWindow
	}
	return CheckKey(key)
}

// CheckJoin says whether a Join may be done.
func CheckJoin(key, member string, ttl time.Duration) error {
	if ttl <= 0 {
		return errTTL
	}
	return CheckMember(key, member)
}

// CheckMember says whether key and member may be used.
func CheckMember(key, member string) error {
	if err := CheckKey(member); err != nil {
		return err
	}
	return CheckKey(key)
}

// Sum is what a counter at n (not negative) holds after delta: at least 0. It
// is an error where int64 ends.
func Sum(n, delta int64) (int64, error) {
	if delta > 0 && n > math.MaxInt64-delta {
		return 0, errOverflow
	}
	return max(0, n+delta), nil
}
