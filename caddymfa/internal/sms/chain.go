package sms

import (
	"context"
	"errors"
)

// Chain tries senders in order. The next one is asked when one is down or
// misconfigured; not when the number was refused, because another provider
// will not make it a mobile phone, and not when the text may have been
// accepted, because the same code would arrive, and be billed, twice.
type Chain []Sender

// Send implements [Sender].
func (c Chain) Send(ctx context.Context, m Message) (Receipt, error) {
	last := error(&Error{Provider: "none", Kind: Misconfigured, Err: errors.New("no sender is configured")})
	for _, s := range c {
		r, err := s.Send(ctx, m)
		if err == nil {
			return r, nil
		}
		last = err
		var e *Error
		if errors.As(err, &e) && (e.Kind == Refused || e.Sent) || ctx.Err() != nil {
			break
		}
	}
	return Receipt{}, last
}
