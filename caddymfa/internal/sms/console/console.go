// Package console is a sender for trying the gate out: it writes texts to the
// log. It is the one place where a code is printed, and must be named in the
// configuration.
package console

import (
	"context"

	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// Sender writes to a log.
type Sender struct{ Log *zap.Logger }

// Send implements [sms.Sender]. The text is logged whole, the number masked:
// the code is what somebody who tries the gate out needs. It never fails.
func (s *Sender) Send(_ context.Context, m sms.Message) (sms.Receipt, error) {
	to := "an unreadable number"
	if n, err := phone.Parse(m.To, ""); err == nil {
		to = n.Masked()
	}
	s.Log.Warn("this text was not sent but printed: the console sender is for trying out only, anybody who reads this log can sign in",
		zap.String("to", to), zap.String("text", m.Text))
	return sms.Receipt{Provider: "console"}, nil
}

var _ sms.Sender = (*Sender)(nil)
