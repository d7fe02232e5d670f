package gate_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// broken accepts no text.
type broken struct{ *sms.Error }

func (b broken) Send(context.Context, sms.Message) (sms.Receipt, error) {
	return sms.Receipt{}, b.Error
}

// A person does not notice that a provider is down; the operator is told, and how
// many texts may have been paid for twice.
func TestAttack_I4_AFailOverIsTold(t *testing.T) {
	for doubt, reason := range map[bool]event.Reason{false: event.GatewayDown, true: event.TwoCopies} {
		each(t, func(t *testing.T, w *world) {
			w.browser().signIn("alice")
			if w.events.count(event.FailedOver, reason) != 1 || w.events.count(event.FailedOver, "") != 1 || !strings.Contains(w.events.String(), "accepted by second") {
				t.Error(w.events)
			}
		}, func(g *gate.Gate, _ *login.Config) {
			first := broken{&sms.Error{Kind: sms.Unavailable, Code: "500", Sent: doubt, Err: errors.New("no answer")}}
			g.Flow.SMS = sms.NewChain(sms.Named{Name: "first", Sender: first}, sms.Named{Name: "second", Sender: g.Flow.SMS})
		})
	}
}
