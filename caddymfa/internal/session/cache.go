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
// a lock, and there is nothing to clear. The copies are bounded in bytes, because
// strangers choose how large they are.
type cache struct {
	copies [1 << copyBits]atomic.Pointer[cached]
	bytes  atomic.Int64 // of all copies, about
	bound  atomic.Int64
	hand   atomic.Uint32 // the place that makes room next
	// handles are those that were unsealed lately, by cookie value: the requests of
	// a page carry the same one, and unsealing costs more than all the rest of the
	// gate.
	handles [1 << handleBits]atomic.Pointer[opened]
	seed    maphash.Seed
}

// 4,096 handles are well below one MiB: none is longer than maxHandle.
const (
	copyBits   = 14
	handleBits = 12
)

// DefaultCache bounds a node's copies of records, in bytes: a copy is about 1 KiB
// and is used for a second, so this is for tens of thousands of people at once.
const DefaultCache = 32 << 20

// opened is a handle, the cookie value that it was unsealed from, and the gate
// that it was sealed for.
type opened struct {
	sum         uint64 // of value, under a seed that nobody knows
	gate, value string
	handle
}

type cached struct {
	s    *Session
	at   time.Time // when the store was asked
	size int64
}

func newCache() *cache {
	c := &cache{seed: maphash.MakeSeed()}
	c.bound.Store(DefaultCache)
	return c
}

func (c *cache) place(id ID) *atomic.Pointer[cached] {
	return &c.copies[(int(id[0])<<8|int(id[1]))&(1<<copyBits-1)]
}

func (c *cache) get(id ID, version uint64) (*Session, bool) {
	e := c.place(id).Load()
	if e == nil || e.s.ID != id || e.s.carried || e.s.Version < version || time.Since(e.at) > Freshness {
		return nil, false
	}
	return e.s, true
}

// last is the newest that this node knows of a session, however old, and when the
// store was asked.
func (c *cache) last(id ID) (*Session, time.Time) {
	e := c.place(id).Load()
	if e == nil || e.s.ID != id {
		return nil, time.Time{}
	}
	return e.s, e.at
}

// put keeps the newer of two copies: a slow reader must not bring back what a
// writer has replaced.
func (c *cache) put(s *Session) { c.putAsOf(s, time.Now()) }

func (c *cache) putAsOf(s *Session, at time.Time) {
	s = s.light()
	p, fresh := c.place(s.ID), &cached{s, at, s.size()}
	if fresh.size > c.bound.Load()/8 {
		c.drop(s.ID) // one must not push all others out
		return
	}
	for {
		e := p.Load()
		if e != nil && e.s.ID == s.ID && e.s.newer(s) {
			return
		}
		if c.swap(p, e, fresh) {
			break
		}
	}
	for range c.copies {
		if c.bytes.Load() <= c.bound.Load() {
			return
		}
		other := &c.copies[c.hand.Add(1)&(1<<copyBits-1)]
		if e := other.Load(); e != nil && other != p {
			c.swap(other, e, nil)
		}
	}
}

// newer: what the store has said of a session is newer than what a browser carries,
// whose versions are a line of their own.
func (s *Session) newer(than *Session) bool {
	if s.carried != than.carried {
		return than.carried
	}
	return s.Version > than.Version
}

func (c *cache) swap(p *atomic.Pointer[cached], was, now *cached) bool {
	if !p.CompareAndSwap(was, now) {
		return false
	}
	var n int64
	if was != nil {
		n -= was.size
	}
	if now != nil {
		n += now.size
	}
	c.bytes.Add(n)
	return true
}

func (c *cache) drop(id ID) {
	p := c.place(id)
	for {
		e := p.Load()
		if e == nil || e.s.ID != id || c.swap(p, e, nil) {
			return
		}
	}
}

// sweep drops the copies that are of no more use, so that memory comes back when
// a rush is over.
func (c *cache) sweep() {
	for i := range c.copies {
		p := &c.copies[i]
		e := p.Load()
		if e == nil {
			continue
		}
		useful := Freshness
		if e.s.carried {
			useful = mergeFor
		}
		if time.Since(e.at) > useful {
			c.swap(p, e, nil)
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

// keptReply is the longest withheld answer that a copy keeps, in bytes: a redirect
// is shorter. A page is read from the store once, when the code was right.
const keptReply = 4 << 10

// light is a session as copies keep it: without what is large and asked for once.
func (s *Session) light() *Session {
	if len(s.Reply) <= keptReply && len(s.Outcome) == 0 {
		return s
	}
	c := *s
	c.Outcome = nil
	if len(c.Reply) > keptReply {
		c.Reply, c.cut = nil, true
	}
	return &c
}

// size is about what a session takes in memory, in bytes.
func (s *Session) size() int64 {
	n := 512 + len(s.User) + len(s.Tried) + len(s.Challenge) + len(s.Reply) + len(s.Basic) + len(s.Deliver) + len(s.Attempt) + len(s.Outcome)
	for _, c := range s.Jar.Cookies {
		n += 96 + len(c.Name) + len(c.Value) + len(c.Path)
	}
	for _, g := range s.Jar.Guarded {
		n += 16 + len(g)
	}
	return int64(n)
}
