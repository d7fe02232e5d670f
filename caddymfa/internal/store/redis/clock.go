package redis

import (
	"sync"
	"time"
)

// overtaken is by how much the answers of two calls at once may differ: less
// than that is no clock that went back.
const overtaken = time.Second

// clock is the server's clock, but for this process it does not go back: not
// when the server's does, nor when the server's successor is behind. It goes on
// by the time that really passes, until the server has caught up.
type clock struct {
	mu     sync.Mutex
	last   time.Time     // the highest given
	seen   time.Time     // when it was, monotonic
	behind time.Duration // the server, since its clock went back

	server time.Time // what the server said last
	asked  time.Time // when it did, monotonic
}

// fresh is how long an answer of the server is gone by.
const fresh = time.Second

// at is the time when the server says that it is now.
func (c *clock) at(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.asked = now, time.Now()
	return c.goOn(now)
}

// recent is the time without asking, where the last answer is fresh.
func (c *clock) recent() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := time.Since(c.asked)
	if c.asked.IsZero() || age >= fresh {
		return time.Time{}, false
	}
	return c.goOn(c.server.Add(age)), true
}

// stop: the next time is asked for again.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = time.Time{}
}

// goOn takes the clock on to now, or lets it go on.
func (c *clock) goOn(now time.Time) time.Time {
	if !now.Before(c.last) {
		c.behind = 0
	}
	t := now.Add(c.behind)
	if back := c.last.Sub(t); back > overtaken {
		c.behind += back + time.Since(c.seen)
		t = now.Add(c.behind)
	}
	if t.After(c.last) {
		c.last, c.seen = t, time.Now()
	}
	return c.last
}
