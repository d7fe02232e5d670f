package sms

import (
	"context"
	"errors"
	"fmt"
)

// Chain tries senders in order and gives the receipt of the first that accepts
// the text. The next one is asked when
//
//   - one is Unavailable or Misconfigured: another provider can do better;
//   - never when one has Refused: another provider will not make the number a
//     mobile phone that wants texts;
//   - never when one may have accepted the text ([Error].Sent), because the
//     text would arrive, and be billed, twice, and a caller that counts one
//     text would be wrong. A caller who prefers two copies to none says so with
//     [Message].Repeatable; even then one such doubt is accepted and no more.
type Chain []Sender

// Named is a sender with the name that receipts and errors carry, so that two
// accounts at one provider can be told apart.
type Named struct {
	Name string
	Sender
}

// NewChain makes a chain that tries senders in the order given.
func NewChain(senders ...Named) Chain {
	c := make(Chain, 0, len(senders))
	for _, s := range senders {
		c = append(c, s)
	}
	return c
}

// Send implements [Sender].
func (n Named) Send(ctx context.Context, m Message) (Receipt, error) {
	r, err := n.Sender.Send(ctx, m)
	if err != nil {
		e := *asError(err)
		e.Provider = n.Name
		return Receipt{}, &e
	}
	r.Provider = n.Name
	return r, nil
}

// Send implements [Sender]. When nobody accepts the text, the *Error has the
// kind and code of the failure that tells most (Refused, then Misconfigured,
// then Unavailable; the later of two alike), the texts of all, and Sent when
// any of them may have accepted it.
func (c Chain) Send(ctx context.Context, m Message) (Receipt, error) {
	if len(c) == 0 {
		return Receipt{}, &Error{Provider: "none", Kind: Misconfigured, Code: "none", Err: errors.New("no sender is configured: add an sms block")}
	}
	var failures []*Error
	doubt := false // one of failures may have accepted the text
	for _, s := range c {
		if ctx.Err() != nil {
			break
		}
		r, err := s.Send(ctx, m)
		if err == nil {
			return r, nil
		}
		e := asError(err)
		failures = append(failures, e)
		if e.Kind == Refused || e.Sent && (doubt || !m.Repeatable) {
			break
		}
		doubt = doubt || e.Sent
	}
	return Receipt{}, verdict(failures)
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
	case Unavailable:
	}
	return 0
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
