package directory

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Asked is a directory that is asked over the network.
type Asked interface {
	Number(ctx context.Context, user string) (string, error)
}

// Cached remembers the answers of a directory for a short time: a login asks
// more than once. Neither errors nor "nobody" are remembered.
type Cached struct {
	from Asked
	seen *lru.Cache[string, remembered]
}

type remembered struct {
	number string
	at     time.Time
}

// Bounds of what is remembered: entries, and the time for which a number that
// has changed goes on to work.
const (
	cacheSize = 4096
	cacheFor  = 30 * time.Second
)

// NewCached puts a memory before a directory.
func NewCached(from Asked) *Cached {
	seen, err := lru.New[string, remembered](cacheSize)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &Cached{from, seen}
}

// Number implements the flow's Directory.
func (c *Cached) Number(ctx context.Context, user string) (string, error) {
	if r, ok := c.seen.Get(user); ok && time.Since(r.at) < cacheFor {
		return r.number, nil
	}
	n, err := c.from.Number(ctx, user)
	if err == nil && n != "" {
		c.seen.Add(user, remembered{n, time.Now()})
	} else {
		c.seen.Remove(user)
	}
	return n, err
}
