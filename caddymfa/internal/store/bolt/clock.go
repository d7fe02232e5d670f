package bolt

import (
	"sync"
	"time"
)

// clock is the machine's clock, but it never goes back, not over a restart
// either (its last value lies in the file), and never stands still: when the
// machine's clock was turned back, time goes on from the highest value by the
// time that has really passed (attack I8).
type clock struct {
	mu   sync.Mutex
	high time.Time // with a monotonic reading once now was called
	at   time.Time // when high was read, monotonic
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.high, c.at = t, time.Now()
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall := time.Now()
	t := wall.Round(0)
	if !c.at.IsZero() {
		if passed := c.high.Add(wall.Sub(c.at)); passed.After(t) {
			t = passed
		}
	}
	c.high, c.at = t, wall
	return t
}
