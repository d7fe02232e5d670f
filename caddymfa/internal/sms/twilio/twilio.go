// Package twilio sends texts by Twilio's Messages API. It uses the typed
// parameters and models of Twilio's library, with a client of its own, because
// the library's has no context, reads the environment, and loses the status
// and the head of an error.
package twilio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/twilio/twilio-go/client"
	api "github.com/twilio/twilio-go/rest/api/v2010"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/gateway"
)

const provider = "twilio"

// Sender sends by one account. It is safe for concurrent use.
type Sender struct {
	c    Config
	base *url.URL
	http *gateway.Client
}

// New checks the configuration. It asks Twilio nothing.
func New(c Config) (*Sender, error) {
	base, err := c.check()
	if err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = gateway.Timeout
	}
	return &Sender{c: c, base: base, http: gateway.New(provider, c.Timeout)}, nil
}

// Send implements [sms.Sender]. It tries a second time, with the same text,
// only where Twilio has certainly not taken the first: no connection, or 429
// with a wait of at most one second. Twilio has no idempotency key, so anything
// else could arrive twice.
func (s *Sender) Send(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, s.c.Timeout)
	defer cancel()
	first := &call{s: s, ctx: ctx}
	r, err := first.create(m)
	if err == nil || !first.again {
		return r, err
	}
	select {
	case <-ctx.Done():
		return r, err
	case <-time.After(first.wait):
	}
	return (&call{s: s, ctx: ctx}).create(m)
}

// call is one request to Twilio, and twilio-go's BaseClient for it.
type call struct {
	s   *Sender
	ctx context.Context //nolint:containedctx // twilio-go has no other place for it

	// again is set when the request failed without a trace at Twilio, and may be
	// made again after wait.
	again bool
	wait  time.Duration
}

// Limits of ValidityPeriod in seconds: Twilio takes 1 to 36000 and advises
// against 5 and less.
const minValidity, maxValidity = 6, 36000

func (c *call) create(m sms.Message) (sms.Receipt, error) {
	p := &api.CreateMessageParams{}
	p.SetPathAccountSid(c.s.c.AccountSID)
	p.SetTo(m.To)
	p.SetBody(m.Text)
	if m.Validity > 0 {
		p.SetValidityPeriod(min(maxValidity, max(minValidity, int(m.Validity/time.Second))))
	}
	if c.s.c.MessagingService != "" {
		p.SetMessagingServiceSid(c.s.c.MessagingService)
	} else {
		p.SetFrom(c.s.c.From)
	}
	if c.s.c.StatusCallback != "" {
		p.SetStatusCallback(c.s.c.StatusCallback)
	}
	// A literal, because twilio-go's constructor reads TWILIO_EDGE and
	// TWILIO_REGION: an edge belongs into api_url.
	h := &client.RequestHandler{Client: c}
	msg, err := api.NewApiService(h).CreateMessage(p)
	var failed *sms.Error
	switch {
	case errors.As(err, &failed):
		return sms.Receipt{}, failed
	case err != nil || msg.Sid == nil || *msg.Sid == "":
		// Some 2xx that is no message. Twilio's library says why, but quotes it.
		return sms.Receipt{}, c.s.http.Unreadable(gateway.Answer{Status: http.StatusOK})
	}
	return sms.Receipt{Provider: provider, ID: *msg.Sid}, nil
}

// SendRequest sends to the configured address, whatever host twilio-go built.
func (c *call) SendRequest(method, rawURL string, data url.Values, _ map[string]any, _ ...byte) (*http.Response, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	u.Scheme, u.Host = c.s.base.Scheme, c.s.base.Host
	u.Path = strings.TrimSuffix(c.s.base.Path, "/") + u.Path
	req, err := http.NewRequestWithContext(c.ctx, method, u.String(), strings.NewReader(data.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "caddymfa")
	if c.s.c.APIKeySID != "" {
		req.SetBasicAuth(c.s.c.APIKeySID, c.s.c.APIKeySecret)
	} else {
		req.SetBasicAuth(c.s.c.AccountSID, c.s.c.AuthToken)
	}
	a, err := c.s.http.Do(req)
	if err != nil {
		var e *sms.Error
		c.again = errors.As(err, &e) && !e.Sent
		c.wait = 100*time.Millisecond + rand.N(200*time.Millisecond) //nolint:gosec // spreads retries, guards nothing
		return nil, err
	}
	if a.Status < 200 || a.Status > 299 {
		if a.Status == http.StatusTooManyRequests { // "never processed and always safe to retry"
			wait, said := gateway.RetryAfter(a.Header)
			c.again, c.wait = said && wait <= time.Second, wait
		}
		return nil, c.s.refusal(a)
	}
	if a.Cut {
		return nil, c.s.http.Unreadable(a)
	}
	return &http.Response{StatusCode: a.Status, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body))}, nil
}

// AccountSid implements [client.BaseClient].
func (c *call) AccountSid() string { return c.s.c.AccountSID }

// SetTimeout implements [client.BaseClient]; times are the context's.
func (c *call) SetTimeout(time.Duration) {}

// SetOauth implements [client.BaseClient]; it is not used.
func (c *call) SetOauth(client.OAuth) {}

// OAuth implements [client.BaseClient]; it is not used.
func (c *call) OAuth() client.OAuth { return nil }

var (
	_ sms.Sender        = (*Sender)(nil)
	_ client.BaseClient = (*call)(nil)
)
