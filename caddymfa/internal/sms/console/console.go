// Package console is a sender for trying the gate out: it writes texts to the
// log. It is the one place where a code is printed, and must be named in the
// configuration.
package console

import (
	"context"

	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// Sender writes to a log.
type Sender struct{ Log *zap.Logger }

// Send implements [sms.Sender].
func (s *Sender) Send(_ context.Context, m sms.Message) (sms.Receipt, error) {
	s.Log.Warn("this text was not sent: the console sender is for trying out", zap.String("to", m.To), zap.String("text", m.Text))
	return sms.Receipt{Provider: "console"}, nil
}
