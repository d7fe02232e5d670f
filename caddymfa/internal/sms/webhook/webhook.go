// Package webhook sends texts by an HTTP gateway of the operator's own.
package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/gateway"
)

const provider = "webhook"

// Sender sends to one gateway. It is safe for concurrent use.
type Sender struct {
	c      Config
	body   template
	escape func(string) string
	http   *gateway.Client
}

// New checks the configuration. It asks the gateway nothing.
func New(c Config) (*Sender, error) {
	body, escape, err := c.check()
	if err != nil {
		return nil, err
	}
	return &Sender{c: c, body: body, escape: escape, http: gateway.New(provider, c.Timeout)}, nil
}

// CodesOnly implements [sms.CodesOnly]: the gateway is given no text.
func (s *Sender) CodesOnly() bool { return !s.body.has("text") }

// Send implements [sms.Sender]. 2xx accepts the text where Config.Success says so
// too, 422 refuses the number, 429 and 5xx mean later, everything else a wrong
// configuration. There is no second try: what a 429 or a lost connection means is
// the gateway's own.
//
// A 2xx without success is Unavailable, and Sent: why is not known, and a rule
// that is too narrow fails on texts that were sent. It cannot be Misconfigured,
// for which a sender is left out at once: one bad number would do.
func (s *Sender) Send(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	if m.Code == "" && s.CodesOnly() {
		return sms.Receipt{}, sms.Codeless(provider)
	}
	body := s.body.fill(m, s.escape)
	req, err := http.NewRequestWithContext(ctx, s.c.Method, s.c.URL, strings.NewReader(body))
	if err != nil { // its text holds the address
		return sms.Receipt{}, &sms.Error{Provider: provider, Kind: sms.Misconfigured, Code: "request", Err: errors.New("the request cannot be made: check the address")}
	}
	req.Header.Set("Content-Type", jsonType)
	if len(s.c.Form) > 0 {
		req.Header.Set("Content-Type", formType)
	}
	req.Header.Set("User-Agent", "caddymfa")
	for name, value := range s.c.Headers {
		req.Header.Set(name, value)
	}
	if s.c.Secret != "" {
		at := strconv.FormatInt(time.Now().Unix(), 10)
		req.Header.Set(timestampHeader, at)
		req.Header.Set(signatureHeader, "sha256="+sign(s.c.Secret, at, body))
	}
	a, err := s.http.Do(req)
	switch {
	case err != nil:
		return sms.Receipt{}, err
	case a.Status >= 200 && a.Status <= 299:
		if err := s.unsuccessful(a); err != nil {
			return sms.Receipt{}, err
		}
		return sms.Receipt{Provider: provider}, nil
	}
	e := s.http.Refusal(a)
	if a.Status == http.StatusUnprocessableEntity {
		e.Kind, e.Err = sms.Refused, errors.New("the gateway does not send to this number")
	}
	return sms.Receipt{}, e
}

// unsuccessful is the failure of a 2xx that is no success.
func (s *Sender) unsuccessful(a gateway.Answer) error {
	switch {
	case s.c.Success == nil || !a.Cut && s.c.Success(a.Status, a.Header, a.Body):
		return nil
	case a.Cut:
		return s.http.Unreadable(a)
	}
	return &sms.Error{
		Provider: provider, Kind: sms.Unavailable, Code: strconv.Itoa(a.Status), Sent: true,
		Err: fmt.Errorf("status %d, but no success condition holds", a.Status),
	}
}

func sign(secret, at, body string) string {
	h := hmac.New(sha256.New, []byte(secret))
	_, _ = h.Write([]byte(at + "." + body))
	return hex.EncodeToString(h.Sum(nil))
}

var (
	_ sms.Sender    = (*Sender)(nil)
	_ sms.CodesOnly = (*Sender)(nil)
)
