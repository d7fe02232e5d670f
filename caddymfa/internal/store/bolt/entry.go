package bolt

import (
	"bytes"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"
)

var (
	records  = []byte("records")  // key -> entry
	counters = []byte("counters") // key -> entry, the value a number
	sets     = []byte("sets")     // length of key, member -> entry without value
	expiry   = []byte("expiry")   // time, bucket's letter, key -> nothing
	meta     = []byte("meta")
	clockKey = []byte("clock") // in meta, nanoseconds
)

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

// decode reads an entry that has not expired. Its value is a part of b.
func decode(b []byte, now time.Time) (entry, bool) {
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

func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano()) //nolint:gosec // after 1970
}

// member is the key of a member. The length keeps ("a", "bc") and ("ab", "c")
// apart, whatever bytes they hold.
func member(key, m string) []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(key)+len(m)), uint16(len(key))) //nolint:gosec // at most store.MaxKey
	return append(append(b, key...), m...)
}

// find reads a living entry. Its value belongs to the transaction.
func find(tx *bbolt.Tx, bucket, key []byte, now time.Time) (entry, bool) {
	return decode(tx.Bucket(bucket).Get(key), now)
}

func put(tx *bbolt.Tx, bucket, key []byte, e entry) error {
	if _, err := del(tx, bucket, key); err != nil {
		return err
	}
	if !e.expires.IsZero() {
		if err := tx.Bucket(expiry).Put(mark(bucket, key, nanos(e.expires)), nil); err != nil {
			return err
		}
	}
	return tx.Bucket(bucket).Put(key, e.encode())
}

// del removes an entry, living or not, and its mark in the order of expiry. It
// says whether there was one.
func del(tx *bbolt.Tx, bucket, key []byte) (bool, error) {
	b := tx.Bucket(bucket).Get(key)
	if len(b) < 16 {
		return false, nil
	}
	if n := binary.BigEndian.Uint64(b[8:]); n != 0 {
		if err := tx.Bucket(expiry).Delete(mark(bucket, key, n)); err != nil {
			return false, err
		}
	}
	return true, tx.Bucket(bucket).Delete(key)
}

func mark(bucket, key []byte, at uint64) []byte {
	return append(append(binary.BigEndian.AppendUint64(nil, at), bucket[0]), key...)
}

// sweep deletes up to most entries that have expired, and says how many.
func sweep(tx *bbolt.Tx, now time.Time, most int) (int, error) {
	buckets := map[byte][]byte{records[0]: records, counters[0]: counters, sets[0]: sets}
	var due [][]byte
	c := tx.Bucket(expiry).Cursor()
	for k, _ := c.First(); k != nil && len(due) < most && binary.BigEndian.Uint64(k) <= nanos(now); k, _ = c.Next() {
		due = append(due, bytes.Clone(k)) // a deletion would move the cursor
	}
	for _, k := range due {
		if err := tx.Bucket(expiry).Delete(k); err != nil {
			return 0, err
		}
		if err := tx.Bucket(buckets[k[8]]).Delete(k[9:]); err != nil {
			return 0, err
		}
	}
	return len(due), nil
}
