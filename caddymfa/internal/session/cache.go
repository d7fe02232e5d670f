package session

import (
	"sync"
	"time"
)

// cache is a node's copies of records, at most a second old. It saves the
// decoding of a record for a page's many requests; it is no second truth: a
// copy that is older than the handle's version is not used.
//
// Copies die within a second, so dropping all of a shard that is full is as
// good as any order of use and needs no list.
type cache struct{ shards [16]cacheShard }

const shardSize = 1024 // copies; 16 shards of them are some 32 MiB at 2 KiB each

type cacheShard struct {
	mu sync.Mutex
	m  map[ID]cached
	// opened are handles that were unsealed lately, by cookie value: the requests
	// of a page carry the same one, and unsealing costs more than all the rest of
	// the gate.
	opened map[string]opened
}

// opened is a handle and the gate that it was sealed for.
type opened struct {
	gate string
	handle
}

type cached struct {
	s  *Session
	at time.Time
}

func newCache() *cache {
	c := &cache{}
	for i := range c.shards {
		c.shards[i].m = make(map[ID]cached)
		c.shards[i].opened = make(map[string]opened)
	}
	return c
}

func (c *cache) shard(id ID) *cacheShard { return &c.shards[id[0]%16] }

func (c *cache) get(id ID, version uint64) (*Session, bool) {
	sh := c.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e, ok := sh.m[id]
	if !ok || e.s.Version < version || time.Since(e.at) > Freshness {
		return nil, false
	}
	return e.s, true
}

// handle finds what a cookie value was unsealed to before at this gate. A
// value's last sign is as good as any to spread values.
func (c *cache) handle(gate, value string) (handle, bool) {
	sh := &c.shards[value[len(value)-1]%16]
	sh.mu.Lock()
	o, ok := sh.opened[value]
	sh.mu.Unlock()
	return o.handle, ok && o.gate == gate
}

func (c *cache) opened(gate, value string, h handle) {
	sh := &c.shards[value[len(value)-1]%16]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if len(sh.opened) >= shardSize {
		clear(sh.opened)
	}
	sh.opened[value] = opened{gate, h}
}

// put keeps the newer of two copies: a slow reader must not bring back what a
// writer has replaced.
func (c *cache) put(s *Session) {
	sh := c.shard(s.ID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e, ok := sh.m[s.ID]; ok && e.s.Version > s.Version {
		return
	}
	if len(sh.m) >= shardSize {
		clear(sh.m)
	}
	sh.m[s.ID] = cached{s, time.Now()}
}

func (c *cache) drop(id ID) {
	sh := c.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.m, id)
}
