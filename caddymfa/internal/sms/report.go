package sms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"
)

// Reporter is a [Sender] that learns what becomes of its texts. Its provider
// posts reports to <path>/receipts of a gate, by default /mfa/receipts.
type Reporter interface {
	// Listening reports whether the provider is told to report.
	Listening() bool
	// Report reads a request of the provider and proves that it is the
	// provider's. The error is ErrForged or ErrAmbiguous, and holds nothing of the
	// request.
	Report(c Callback) (Report, error)
	// ReceiptTimeout is how long the report that a text was delivered may take
	// until the next sender is to send it as well; 0 is for ever.
	ReceiptTimeout() time.Duration
}

// Callback is a request that claims to be a provider's report. Anybody may have
// sent it.
type Callback struct {
	// Query is the address's, as it was sent. The host is left out on purpose: the
	// client names it.
	Query  string
	Header http.Header
	// Body is at most MaxReport bytes.
	Body []byte
}

// MaxReport bounds the body of a report, in bytes. Twilio's have less than 1 kB.
const MaxReport = 64 << 10

// Report is what became of a text.
type Report struct {
	// Ref is [Message].Ref, ID the [Receipt]'s.
	Ref, ID string
	// To is the receiver in E.164 form.
	To    string
	State State
	// Why is the class of a failure, Code the provider's own number for it; both
	// may be empty.
	Why  Why
	Code string
}

// State is how far a text has come.
type State string

// The states. Delivered and Failed are final.
const (
	Sent      State = "sent" // on its way, as far as anybody knows
	Delivered State = "delivered"
	Failed    State = "failed"
)

// Why is a class of failures: what the person or an operator can do. It is a
// closed set; pages, metrics and programs choose by it.
type Why string

// The classes.
const (
	Dead        Why = "number_dead"       // unknown or no longer in use
	Landline    Why = "number_landline"   // no mobile phone, or a network that takes no texts
	OptedOut    Why = "opted_out"         // until the person texts START
	Blocked     Why = "blocked"           // by the carrier, the phone or a filter
	Suspected   Why = "suspected_fraud"   // by the provider's protection against pumping
	Unreachable Why = "phone_unreachable" // switched off, without reception
	Undelivered Why = "undelivered"       // anything else
)

var whys = []Why{Dead, Landline, OptedOut, Blocked, Suspected, Unreachable, Undelivered}

// class is w where it is one of them, else "".
func (w Why) class() Why {
	if slices.Contains(whys, w) {
		return w
	}
	return ""
}

// AboutNumber reports whether the failure is the number's own: no provider will
// do better, and neither will another text.
func (w Why) AboutNumber() bool { return w == Dead || w == Landline || w == OptedOut }

// Elsewhere reports whether another provider may do better. One that takes us for
// a pumper is not to be got round.
func (w Why) Elsewhere() bool { return !w.AboutNumber() && w != Suspected }

// Errors of a [Reporter].
var (
	// ErrForged: it is not the provider's word, as far as this sender can tell.
	ErrForged = errors.New("not signed by the provider")
	// ErrAmbiguous: it could be read in two ways.
	ErrAmbiguous = errors.New("it could be read in two ways")
)

var refForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Reports says whether any sender is a [Reporter]: one that tells numbers from
// other failures, also where it is told nothing afterwards.
func (c *Chain) Reports() bool {
	return slices.ContainsFunc(c.links, func(l *link) bool { _, ok := l.Sender.(Reporter); return ok })
}

// Listening implements [Reporter]: whether any provider is told to report.
func (c *Chain) Listening() bool {
	return slices.ContainsFunc(c.links, func(l *link) bool {
		r, ok := l.Sender.(Reporter)
		return ok && r.Listening()
	})
}

// Report implements [Reporter]: the word of the first sender that proves it.
func (c *Chain) Report(b Callback) (Report, error) {
	verdict := ErrForged
	for _, l := range c.links {
		r, ok := l.Sender.(Reporter)
		if !ok {
			continue
		}
		rep, err := r.Report(b)
		switch {
		case err == nil && refForm.MatchString(rep.Ref):
			return rep.tidy(), nil
		case errors.Is(err, ErrAmbiguous):
			verdict = ErrAmbiguous
		}
	}
	return Report{}, verdict
}

// tidy keeps what senders of others say to the closed sets.
func (r Report) tidy() Report {
	switch r.State {
	case Failed:
		r.Why = cmp.Or(r.Why.class(), Undelivered)
		return r
	case Delivered, Sent:
	default:
		r.State = Sent
	}
	r.Why, r.Code = "", ""
	return r
}

// Patience is how long a receipt of the sender that accepted a text may take; 0
// when nobody is to send it after that time.
func (c *Chain) Patience(accepted Receipt) time.Duration {
	i := c.index(accepted)
	if i < 0 || i == len(c.links)-1 {
		return 0
	}
	if r, ok := c.links[i].Sender.(Reporter); ok {
		return r.ReceiptTimeout()
	}
	return 0
}

// SendAfter sends a text by the senders that come after the one that accepted it.
func (c *Chain) SendAfter(ctx context.Context, accepted Receipt, m Message) (Receipt, error) {
	i := c.index(accepted)
	if i < 0 {
		return Receipt{}, &Error{Provider: accepted.Provider, Kind: Misconfigured, Code: "none", Err: fmt.Errorf("%s is no longer configured", accepted.Provider)}
	}
	return (&Chain{links: c.links[i+1:]}).Send(ctx, m)
}

func (c *Chain) index(r Receipt) int {
	return slices.IndexFunc(c.links, func(l *link) bool { return l.Name == r.Provider })
}
