package limit

import (
	"context"
	"fmt"
	"time"
)

// Withheld answers lie in the store until their codes are typed. Most are redirects of
// a few hundred bytes; pages are counted, and have a bound in bytes over all users.
const (
	smallAnswer    = 16 << 10
	withheldInAll  = 256 << 20
	withheldWindow = 10 * time.Minute // as long as one may wait
)

// Withhold counts a withheld answer of n bytes, and reports whether there is room for it.
func (c *Counter) Withhold(ctx context.Context, n int) (bool, error) {
	if n <= smallAnswer {
		return true, nil
	}
	got, err := c.store.Add(ctx, c.key("withheld"), int64(n), withheldWindow)
	if err != nil {
		return false, fmt.Errorf("limit: withheld: %w", err)
	}
	if got.N > withheldInAll {
		c.Unwithhold(ctx, n)
		return false, nil
	}
	return true, nil
}

// Unwithhold takes such an answer back: it was given out, or its session has ended.
// One that cannot be taken back counts until the window ends.
func (c *Counter) Unwithhold(ctx context.Context, n int) {
	if n > smallAnswer {
		_, _ = c.store.Add(ctx, c.key("withheld"), -int64(n), withheldWindow)
	}
}
