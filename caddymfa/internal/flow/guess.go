package flow

import (
	"context"
	"errors"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
)

// guess tries a password, which is counted before the application is asked. Only a
// wrong one stays counted; with too many of them from the client's network it is not
// tried, and nothing is taken away from anybody.
func (f *Flow) guess(ctx context.Context, g *Gate, c *Call, rule string, try func() (Outcome, error)) (Outcome, error) {
	counted, err := f.Limits.Guess(ctx, c.network())
	if full, ok := errors.AsType[*limit.Exceeded](err); ok {
		f.emit(ctx, g, nil, event.Event{Name: event.LoginRefused, Reason: full.Reason, Rule: rule})
		return Outcome{Reason: full.Reason, Until: time.Now().Add(full.After)}, nil
	} else if err != nil {
		return Outcome{}, err
	}
	out, err := try()
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	counted.Done(ctx, err == nil && out.wrong)
	return out, err
}
