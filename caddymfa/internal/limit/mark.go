package limit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Mark says why a number gets no text by itself: its provider has said so.
type Mark struct {
	Why  event.Reason `json:"why"`
	When time.Time    `json:"when"`
}

// How long marks are believed. Numbers come back into use after months, and a
// person may have changed the phone; who has opted out is asked to opt in at
// once, which no provider reports.
const (
	markTTL   = 30 * 24 * time.Hour
	optOutTTL = 24 * time.Hour
)

func (c *Counter) markKey(number string) string { return "n:" + c.keys.Ref("mark", number) }

// Mark keeps why a number, E.164, gets no texts. The newest word counts.
func (c *Counter) Mark(ctx context.Context, number string, why event.Reason) error {
	now, err := c.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("limit: mark: %w", err)
	}
	value, err := json.Marshal(Mark{why, now.UTC().Truncate(time.Second)})
	if err != nil {
		return fmt.Errorf("limit: mark: %w", err)
	}
	ttl := markTTL
	if why == event.OptedOut {
		ttl = optOutTTL
	}
	was, err := c.store.Get(ctx, c.markKey(number))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("limit: mark: %w", err)
	}
	_, err = c.store.Put(ctx, c.markKey(number), value, was.Version, store.Options{TTL: ttl})
	if err != nil && !errors.Is(err, store.ErrConflict) { // another report of this moment was faster
		return fmt.Errorf("limit: mark: %w", err)
	}
	return nil
}

// MarkOp looks for the mark of a number, in a batch; MarkOf is what it has found:
// a zero Mark where there is none, or where o is nil.
func (c *Counter) MarkOp(number string) *store.Op { return store.GetOp(c.markKey(number)) }

// MarkOf reads the answer of a MarkOp.
func MarkOf(o *store.Op) (m Mark, err error) {
	switch {
	case o == nil, errors.Is(o.Err, store.ErrNotFound):
		return Mark{}, nil
	case o.Err != nil:
		return Mark{}, fmt.Errorf("limit: mark: %w", o.Err)
	}
	if err := json.Unmarshal(o.Record.Value, &m); err != nil {
		return Mark{}, fmt.Errorf("limit: mark: %w", err)
	}
	return m, nil
}

// Marked finds the mark of a number.
func (c *Counter) Marked(ctx context.Context, number string) (Mark, error) {
	o := c.MarkOp(number)
	o.Do(ctx, c.store)
	return MarkOf(o)
}
