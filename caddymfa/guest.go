package caddymfa

import (
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/gateway"
)

// What modules of others need. A sender is a Caddy module with an ID in the
// namespace mfa.senders, e.g. mfa.senders.example for "sms example { … }" in a
// Caddyfile; it implements [Sender], and caddyfile.Unmarshaler. An example to copy
// is examples/sender; the package sendertest holds a sender against the contract.

// Sender is what a module of the namespace mfa.senders implements:
//
//	Send(ctx context.Context, m Message) (Receipt, error)
//
// Send returns when the provider has accepted or refused the text, or soon after
// ctx ends; a nil error means that the provider has said in its own words that it
// takes the text, not that something answered 200. Errors are *[SendError], and
// honest about Sent; the text of any other error is withheld, because nobody has
// promised that it holds no number, and counts as one that may have sent.
//
// Send is called by many goroutines at once. It asks the provider once: trying
// again is the gate's, and the sender's only where the provider says that the
// first request was not processed. It sends number, code and credentials to the
// configured address only, so it follows no redirect; it logs none of them, puts
// none into an error or a receipt, and bounds what it reads of an answer. A
// [SenderClient] does all of this that is about HTTP.
type Sender = sms.Sender

// SendConfirmer may be implemented beside [Sender] where the provider wants to
// know which texts were answered:
//
//	Confirm(ctx context.Context, r Receipt) error
//
// It says that the code of the text with this receipt was given back; after the
// fact, at most for a few seconds, and perhaps in another process than the one that
// sent. Nothing waits for it and nothing tries again; errors are *[SendError] and
// logged.
type SendConfirmer = sms.Confirmer

// SendCodesOnly may be implemented beside [Sender] where the provider writes the
// text, and knows texts with codes only:
//
//	CodesOnly() bool
//
// Where it is true, which does not change while the sender is in use, messages
// without a Code are not offered by the gate, and Declined when they are.
type SendCodesOnly = sms.CodesOnly

// SendReporter may be implemented beside [Sender] where the provider reports what
// became of a text:
//
//	Listening() bool
//	Report(c SendCallback) (SendReport, error)
//	ReceiptTimeout() time.Duration
//
// Listening says whether the provider is told to report; it posts to
// <path>/receipts of a gate, by default /mfa/receipts, and gives Message.Ref back.
// Report reads such a request, which anybody may have sent, and proves it; every
// error means that it did not. The SendReport has the Ref, the Receipt's ID, the
// receiver To in E.164, the State "sent", "delivered" or "failed", of a failure the
// provider's Code, and as Why "number_dead", "number_landline", "opted_out",
// "blocked", "suspected_fraud", "phone_unreachable" or "undelivered". What was not
// delivered after ReceiptTimeout goes once more by the next sender; 0 is for ever.
type SendReporter = sms.Reporter

// SendCallback is a request to <path>/receipts: Query, Header, and at most 64 KiB
// of Body.
type SendCallback = sms.Callback

// SendReport is what became of a text.
type SendReport = sms.Report

// Message is one text to one phone: To in E.164, the whole Text, and for senders
// whose provider writes the text itself Code ("" in a notice) and Lang. Validity
// is how long it is of use, and Ref, "" or 32 hexadecimal digits, is for a
// [SendReporter].
type Message = sms.Message

// Receipt names an accepted text by the provider's ID of it, which may be empty.
// It holds nothing secret. The gate fills in the rest.
type Receipt = sms.Receipt

// SendError is a failed send: Kind says who can do something about it, Code is the
// provider's own error code or an HTTP status, RetryAfter what the provider asked
// for. Sent is true when the provider may have taken the text all the same: no
// answer, 5xx, an answer that is not the provider's. The gate then sends at most
// one more copy, of a code only. Err and Code hold no number, code or credential,
// also not by quoting an answer.
type SendError = sms.Error

// SendKind says who can do something about a failed send.
type SendKind = sms.Kind

// The kinds.
const (
	// SendUnavailable: away, overloaded or broken. The next sender is asked, and
	// this one again; after five in a row it is left out for a while.
	SendUnavailable = sms.Unavailable
	// SendRefused: the provider will not send to this number. No other sender is
	// asked; the user is told to use another number.
	SendRefused = sms.Refused
	// SendMisconfigured: wrong for every text, so that an operator is needed. The
	// next sender is asked; this one is left out for a while at once.
	SendMisconfigured = sms.Misconfigured
	// SendDeclined: not this text, for no fault of the sender's or the number's.
	// The next sender is asked, and nothing counts against this one.
	SendDeclined = sms.Declined
)

// SenderClient makes a sender's HTTP requests: it follows no redirect, reads no
// environment, bounds time and size, and gives failures as *[SendError] that hold
// nothing of the request and know whether it may have arrived. Do sends a request,
// Refusal is the failure of an answer by its status, Unreadable that of a 2xx that
// is not the provider's. It is safe for concurrent use.
type SenderClient = gateway.Client

// SenderAnswer is what a provider answered: Status, Header, and at most 64 KiB of
// Body; Cut is true when there was more, or it broke off.
type SenderAnswer = gateway.Answer

// NewSenderClient makes a client whose errors name that provider. timeout bounds a
// request with its answer; 0 means 5 s.
func NewSenderClient(provider string, timeout time.Duration) *SenderClient {
	return gateway.New(provider, timeout)
}

// Directory is what a module of the namespace mfa.directories implements.
type Directory = flow.Directory
