// Package sms sends texts: the contract that providers fulfil, the order in
// which they are tried, and the wording of a text.
package sms

import (
	"context"
	"fmt"
	"time"
)

// Message is one text to one phone.
type Message struct {
	// To is the receiver in E.164 form, e.g. +14155552671.
	To string
	// Text is the whole text, the origin-bound last line included.
	Text string
	// Code is the one-time code that Text carries, 6 to 10 digits; "" in a notice,
	// which tells an owner what has happened. Lang is the language of Text, a
	// BCP 47 tag such as de. A sender whose provider writes the text itself sends
	// from these; every other one sends Text as it is.
	Code, Lang string
	// Validity is how long the text is of use. A provider that can drop a text
	// which is still queued after that time should. 0: the provider decides.
	Validity time.Duration
	// Ref names the text, 32 hexadecimal digits, "" where nobody wants to know what
	// becomes of it. It says nothing of the number or the code. A [Reporter] hands
	// it to its provider and gets it back with every report.
	Ref string
	// Repeatable says that a second copy does no harm beyond its price, because
	// it carries the same code. Only then does a [Chain] ask another provider
	// after one that may have accepted the text.
	Repeatable bool
}

// Receipt names an accepted text at its provider. It holds nothing secret.
type Receipt struct {
	Provider string // e.g. twilio
	ID       string // the provider's id of the text, may be empty
	// Before is set by a [Chain]: what the senders have said that were asked before
	// the one that accepted; nil for nothing. With Sent in it two copies may arrive.
	Before *Error
	// Confirm is set by a [Chain] when the sender is a [Confirmer].
	Confirm bool
}

// Sender hands a text to a provider. Send returns when the provider has accepted
// or refused the text, or soon after ctx ends. Errors are *[Error]. The contract
// is written at caddymfa.Sender, and held by the package sendertest.
type Sender interface {
	Send(ctx context.Context, m Message) (Receipt, error)
}

// Confirmer is a [Sender] whose provider wants to know which texts were answered,
// see caddymfa.SendConfirmer.
type Confirmer interface {
	// Confirm says that the code of the text with this receipt was given back.
	Confirm(ctx context.Context, r Receipt) error
}

// CodesOnly is a [Sender] whose provider writes the text and knows texts with
// codes only, see caddymfa.SendCodesOnly.
type CodesOnly interface {
	// CodesOnly reports whether messages without a Code are Declined.
	CodesOnly() bool
}

// Kind says who can do something about a failed send.
type Kind int

const (
	// Unavailable: the provider could not be reached, is overloaded or broken.
	// Another provider, or the same one later, may accept the text.
	Unavailable Kind = iota
	// Refused: the provider will not send to this number (invalid, landline,
	// opted out). Another number is needed.
	Refused
	// Misconfigured: credentials, sender or account are wrong, for every text. An
	// operator is needed.
	Misconfigured
	// Declined: the sender does not send this text now, without a fault of its own
	// and without one of the number, such as a notice that its provider has no
	// words for, or a number that had its share of texts. Another sender may.
	Declined
)

// Error is a failed send. Its text holds no number, code or credential.
type Error struct {
	Provider string
	Kind     Kind
	// Code is the provider's own error code, e.g. 21211, or an HTTP status.
	Code string
	// Why is the class of a Refused, where the provider tells one.
	Why Why
	// RetryAfter is what the provider asked for; 0 if it did not say.
	RetryAfter time.Duration
	// Sent is true when the provider may have accepted the text although no
	// answer arrived: trying again may deliver (and bill) it twice.
	Sent bool
	Err  error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s did not accept the text (code %q): %v", e.Provider, e.Code, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
