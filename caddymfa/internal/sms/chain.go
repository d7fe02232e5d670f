package sms

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Chain tries senders in order and gives the receipt of the first that accepts
// the text. The next one is asked when
//
//   - one is Unavailable or Misconfigured: another provider can do better;
//   - one has Declined, which counts for nothing against it;
//   - never when one has Refused: another provider will not make the number a
//     mobile phone that wants texts;
//   - never when one may have accepted the text ([Error].Sent), because the
//     text would arrive, and be billed, twice, and a caller that counts one
//     text would be wrong. A caller who prefers two copies to none says so with
//     [Message].Repeatable; even then one such doubt is accepted and no more.
//
// When all are Unavailable, they are asked again, at most [rounds] times in all
// and for as long as the context lasts, after what they asked for (Retry-After)
// or a wait that doubles, with jitter. A sender that fails again and again is left
// out for a while, so that nobody waits for it.
type Chain struct {
	links []*link
}

// Named is a sender with the name that receipts and errors carry, so that two
// accounts at one provider can be told apart.
type Named struct {
	Name string
	Sender
}

// link is a sender and its circuit breaker.
type link struct {
	Named
	breaker breaker
}

// NewChain makes a chain that tries senders in the order given.
func NewChain(senders ...Named) *Chain {
	c := &Chain{}
	for _, s := range senders {
		c.links = append(c.links, &link{Named: s})
	}
	return c
}

// Send implements [Sender].
func (n Named) Send(ctx context.Context, m Message) (Receipt, error) {
	r, err := n.Sender.Send(ctx, m)
	if err != nil {
		e := *asError(err)
		e.Provider, e.Why = n.Name, e.Why.class()
		return Receipt{}, &e
	}
	r.Provider = n.Name
	_, r.Confirm = n.Sender.(Confirmer)
	return r, nil
}

const (
	// rounds is how often a chain is gone through, and pauses what lies between
	// two rounds unless a provider asks for more.
	rounds = 3
	pause  = 500 * time.Millisecond
)

// Send implements [Sender]. When nobody accepts the text, the *Error has the
// kind and code of the failure that tells most (Refused, then Misconfigured, then
// Unavailable, then Declined; the later of two alike), the texts of all, and Sent when
// any of them may have accepted it.
func (c *Chain) Send(ctx context.Context, m Message) (Receipt, error) {
	if len(c.links) == 0 {
		return Receipt{}, &Error{Provider: "none", Kind: Misconfigured, Code: "none", Err: errors.New("no sender is configured: add an sms block")}
	}
	a := attempt{m: m}
	for round := range rounds {
		for _, l := range c.links {
			if r, done := a.ask(ctx, l); done {
				if a.accepted {
					r.Before = before(a.failures)
					return r, nil
				}
				return Receipt{}, verdict(a.failures)
			}
		}
		if !a.again || round == rounds-1 || !wait(ctx, max(a.after, backoff(round))) {
			break
		}
		a.again, a.after = false, 0
	}
	return Receipt{}, verdict(a.failures)
}

// CodesOnly implements [CodesOnly]: no sender takes a message without a code.
func (c *Chain) CodesOnly() bool {
	return len(c.links) > 0 && !slices.ContainsFunc(c.links, func(l *link) bool { return !l.codesOnly() })
}

// Confirm implements [Confirmer]: the sender that accepted the text is told, if it
// wants to know.
func (c *Chain) Confirm(ctx context.Context, r Receipt) error {
	i := c.index(r)
	if i < 0 {
		return nil // no longer configured
	}
	s, ok := c.links[i].Sender.(Confirmer)
	if !ok {
		return nil
	}
	if err := s.Confirm(ctx, r); err != nil {
		e := *asError(err)
		e.Provider = r.Provider
		return &e
	}
	return nil
}

func (l *link) codesOnly() bool {
	s, ok := l.Sender.(CodesOnly)
	return ok && s.CodesOnly()
}

// attempt is a text on its way through a chain.
type attempt struct {
	m        Message
	failures []*Error
	accepted bool
	// doubt: one of failures may have accepted the text.
	doubt bool
	// again: a sender may accept it later, the first of them after that time.
	again bool
	after time.Duration
}

// ask asks one sender. done means that no other may be asked.
func (a *attempt) ask(ctx context.Context, l *link) (r Receipt, done bool) {
	if ctx.Err() != nil {
		return r, true
	}
	if a.m.Code == "" && l.codesOnly() { // before the breaker, whose one try it would use up
		a.failures = append(a.failures, Codeless(l.Name))
		return r, false
	}
	if open := l.breaker.open(); open > 0 {
		a.failures = append(a.failures, &Error{
			Provider: l.Name, Kind: Unavailable, Code: "paused", RetryAfter: open, Err: errors.New("it has failed again and again and is left out for a while"),
		})
		return r, false
	}
	r, err := l.Send(ctx, a.m)
	if err == nil {
		l.breaker.worked()
		a.accepted = true
		return r, true
	}
	e := asError(err)
	l.breaker.failed(e, ctx.Err() != nil)
	a.failures = append(a.failures, e)
	if e.Kind == Refused || e.Sent && (a.doubt || !a.m.Repeatable) {
		return r, true
	}
	a.doubt = a.doubt || e.Sent
	if e.Kind == Unavailable {
		if !a.again || e.RetryAfter < a.after {
			a.after = e.RetryAfter
		}
		a.again = true
	}
	return r, false
}

// backoff doubles with each round; half of it is left to chance, so that what
// failed together does not come back together.
func backoff(round int) time.Duration {
	d := pause << round
	return d/2 + rand.N(d/2) //nolint:gosec // spreads retries, no secret
}

// wait waits, unless the time does not suffice for that and an answer.
func wait(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d+time.Second {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// before is what those have said who were asked before a text was accepted. What
// they declined counts for nothing.
func before(failures []*Error) *Error {
	failures = slices.DeleteFunc(slices.Clone(failures), func(e *Error) bool { return e.Kind == Declined })
	if len(failures) == 0 {
		return nil
	}
	return verdict(failures)
}

func verdict(failures []*Error) *Error {
	if len(failures) == 0 {
		return &Error{Provider: "none", Kind: Unavailable, Code: "time", Err: errors.New("no time was left to send it")}
	}
	tells := failures[0]
	for _, e := range failures[1:] {
		if rank(e.Kind) >= rank(tells.Kind) {
			tells = e
		}
	}
	all := *tells
	for _, e := range failures {
		all.Sent = all.Sent || e.Sent
		if e != tells {
			all.Err = fmt.Errorf("%w; and %w", all.Err, e)
		}
	}
	return &all
}

func rank(k Kind) int {
	switch k {
	case Refused:
		return 2
	case Misconfigured:
		return 1
	case Declined:
		return -1
	case Unavailable:
	}
	return 0
}

// Codeless is the failure of a sender that [CodesOnly] when a message has no code.
func Codeless(provider string) *Error {
	return &Error{Provider: provider, Kind: Declined, Code: "no_code", Err: errors.New("it sends codes only, and this is a notice")}
}

// asError is err as the contract wants it. The text of an error that is no
// *Error is dropped: nobody has promised that it holds no number and no code
// (attack D7). What such a sender did is unknown, so it may have sent the text.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{
		Provider: "sender", Kind: Unavailable, Code: "unknown", Sent: true,
		Err: fmt.Errorf("the sender failed with a %T; its text is withheld, senders must answer with *sms.Error", err),
	}
}
