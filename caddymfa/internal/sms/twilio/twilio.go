// Package twilio sends texts by Twilio's Messages API, and codes by its Verify
// API. It uses the typed parameters and models of Twilio's library, with a client
// of its own, because the library's has no context, reads the environment, and
// loses the status and the head of an error.
package twilio

import (
	"context"
	"net/url"
	"time"

	api "github.com/twilio/twilio-go/rest/api/v2010"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

const provider = "twilio"

// Sender sends by one account. It is safe for concurrent use.
type Sender struct {
	c    Config
	rest *rest
	// report is StatusCallback, nil for none.
	report *url.URL
}

// New checks the configuration. It asks Twilio nothing.
func New(c Config) (*Sender, error) {
	base, report, err := c.check()
	if err != nil {
		return nil, err
	}
	return &Sender{c: c, rest: newREST(provider, &c, base), report: report}, nil
}

// Send implements [sms.Sender]. It tries a second time, with the same text, only
// where Twilio has certainly not taken the first.
func (s *Sender) Send(ctx context.Context, m sms.Message) (r sms.Receipt, err error) {
	err = s.rest.do(ctx, func(c *call) (err error) {
		r, err = s.create(c, m)
		return err
	})
	return r, err
}

// Limits of ValidityPeriod in seconds: Twilio takes 1 to 36000 and advises
// against 5 and less.
const minValidity, maxValidity = 6, 36000

func (s *Sender) create(c *call, m sms.Message) (sms.Receipt, error) {
	p := &api.CreateMessageParams{}
	p.SetPathAccountSid(s.c.AccountSID)
	p.SetTo(m.To)
	p.SetBody(m.Text)
	if m.Validity > 0 {
		p.SetValidityPeriod(min(maxValidity, max(minValidity, int(m.Validity/time.Second))))
	}
	if s.c.MessagingService != "" {
		p.SetMessagingServiceSid(s.c.MessagingService)
	} else {
		p.SetFrom(s.c.From)
	}
	if s.report != nil {
		p.SetStatusCallback(s.address(m.Ref).String())
	}
	if s.c.RiskCheck != "" {
		p.SetRiskCheck(riskChecks[s.c.RiskCheck])
	}
	if s.c.ContentRetention != "" {
		p.SetContentRetention(s.c.ContentRetention)
	}
	if s.c.AddressRetention != "" {
		p.SetAddressRetention(s.c.AddressRetention)
	}
	msg, err := api.NewApiService(c.handler()).CreateMessage(p)
	var sid *string
	if msg != nil {
		sid = msg.Sid
	}
	if err := c.accepted(sid, err); err != nil {
		return sms.Receipt{}, err
	}
	return sms.Receipt{Provider: provider, ID: *sid}, nil
}

var _ sms.Sender = (*Sender)(nil)
