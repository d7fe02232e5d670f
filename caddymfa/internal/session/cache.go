package session

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

// cache is a node's copies of records, at most a second old. It saves the
// decoding of a record for a page's many requests; it is no second truth: a
// copy that is older than the handle's version is not used.
//
// Ids are random, so each has one place by its own bytes, and takes it from
// whoever was there: copies die within a second anyway. Nobody waits for
// a lock, and there is nothing to clear.
type cache struct {
	copies [1 << copyBits]atomic.Pointer[cached]
	// handles are those that were unsealed lately, by cookie value: the requests of
	// a page carry the same one, and unsealing costs more than all the rest of the
	// gate.
	handles [1 << handleBits]atomic.Pointer[opened]
	seed    maphash.Seed
}

// 16,384 copies of 2 KiB are 32 MiB; 4,096 handles well below one.
const (
	copyBits   = 14
	handleBits = 12
)

// opened is a handle, the cookie value that it was unsealed from, and the gate
// that it was sealed for.
type opened struct {
	sum         uint64 // of value, under a seed that nobody knows
	gate, value string
	handle
}

type cached struct {
	s  *Session
	at time.Time
}

func newCache() *cache { return &cache{seed: maphash.MakeSeed()} }

func (c *cache) place(id ID) *atomic.Pointer[cached] {
	return &c.copies[(int(id[0])<<8|int(id[1]))&(1<<copyBits-1)]
}

func (c *cache) get(id ID, version uint64) (*Session, bool) {
	e := c.place(id).Load()
	if e == nil || e.s.ID != id || e.s.Version < version || time.Since(e.at) > Freshness {
		return nil, false
	}
	return e.s, true
}

// put keeps the newer of two copies: a slow reader must not bring back what a
// writer has replaced.
func (c *cache) put(s *Session) {
	p, fresh := c.place(s.ID), &cached{s, time.Now()}
	for {
		e := p.Load()
		if e != nil && e.s.ID == s.ID && e.s.Version > s.Version {
			return
		}
		if p.CompareAndSwap(e, fresh) {
			return
		}
	}
}

func (c *cache) drop(id ID) {
	p := c.place(id)
	for {
		e := p.Load()
		if e == nil || e.s.ID != id || p.CompareAndSwap(e, nil) {
			return
		}
	}
}

// ids are the sessions that there are copies of. It is asked seldom.
func (c *cache) ids() (out []ID) {
	for i := range c.copies {
		if e := c.copies[i].Load(); e != nil {
			out = append(out, e.s.ID)
		}
	}
	return out
}

// handle finds what a cookie value was unsealed to before at this gate. The sum
// is compared first, so that the time of an answer says nothing about how much
// of a guessed value is right.
func (c *cache) handle(gate, value string) (handle, bool) {
	sum := maphash.String(c.seed, value)
	o := c.handles[sum&(1<<handleBits-1)].Load()
	if o == nil || o.sum != sum || o.value != value || o.gate != gate {
		return handle{}, false
	}
	return o.handle, true
}

func (c *cache) opened(gate, value string, h handle) {
	sum := maphash.String(c.seed, value)
	c.handles[sum&(1<<handleBits-1)].Store(&opened{sum, gate, value, h})
}
