package twilio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/twilio/twilio-go/client"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/gateway"
)

// rest is one account at one of Twilio's APIs. It is safe for concurrent use.
type rest struct {
	account        string
	user, password string
	base           *url.URL
	timeout        time.Duration
	http           *gateway.Client
}

// newREST signs in by the API key where there is one.
func newREST(provider string, c *Config, base *url.URL) *rest {
	r := &rest{account: c.AccountSID, user: c.AccountSID, password: c.AuthToken, base: base, timeout: c.Timeout}
	if c.APIKeySID != "" {
		r.user, r.password = c.APIKeySID, c.APIKeySecret
	}
	if r.timeout == 0 {
		r.timeout = gateway.Timeout
	}
	r.http = gateway.New(provider, r.timeout)
	return r
}

// do makes a request, and once more where Twilio has certainly not taken the
// first: no connection, or 429 with a wait of at most one second. Twilio has no
// idempotency key, so anything else could arrive twice.
func (r *rest) do(ctx context.Context, request func(*call) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	first := &call{r: r, ctx: ctx}
	err := request(first)
	if err == nil || !first.again {
		return err
	}
	select {
	case <-ctx.Done():
		return err
	case <-time.After(first.wait):
	}
	return request(&call{r: r, ctx: ctx})
}

// call is one request to Twilio, and twilio-go's BaseClient for it.
type call struct {
	r   *rest
	ctx context.Context //nolint:containedctx // twilio-go has no other place for it

	// again is set when the request failed without a trace at Twilio, and may be
	// made again after wait.
	again bool
	wait  time.Duration
	// status of the answer, 0 without one.
	status int
}

// handler is a literal, because twilio-go's constructor reads TWILIO_EDGE and
// TWILIO_REGION: an edge belongs into api_url.
func (c *call) handler() *client.RequestHandler { return &client.RequestHandler{Client: c} }

// accepted is the failure of a request, or nil when Twilio's answer names what it
// has made: a 2xx alone may be anybody's. Twilio's library says why it could not
// read an answer, but quotes it.
func (c *call) accepted(sid *string, err error) error {
	var failed *sms.Error
	switch {
	case errors.As(err, &failed):
		return failed
	case err != nil || sid == nil || !anySID.MatchString(*sid):
		return c.r.http.Unreadable(gateway.Answer{Status: http.StatusOK})
	}
	return nil
}

var anySID = regexp.MustCompile(`^[A-Z]{2}[0-9a-f]{32}$`)

// SendRequest sends to the configured address, whatever host twilio-go built.
func (c *call) SendRequest(method, rawURL string, data url.Values, _ map[string]any, _ ...byte) (*http.Response, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	u.Scheme, u.Host = c.r.base.Scheme, c.r.base.Host
	u.Path = strings.TrimSuffix(c.r.base.Path, "/") + u.Path
	req, err := http.NewRequestWithContext(c.ctx, method, u.String(), strings.NewReader(data.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "caddymfa")
	req.SetBasicAuth(c.r.user, c.r.password)
	a, err := c.r.http.Do(req)
	if err != nil {
		var e *sms.Error
		c.again = errors.As(err, &e) && !e.Sent
		c.wait = 100*time.Millisecond + rand.N(200*time.Millisecond) //nolint:gosec // spreads retries, guards nothing
		return nil, err
	}
	c.status = a.Status
	if a.Status < 200 || a.Status > 299 {
		e := c.r.refusal(a)
		if a.Status == http.StatusTooManyRequests && e.Kind == sms.Unavailable { // "never processed and always safe to retry"
			wait, said := gateway.RetryAfter(a.Header)
			c.again, c.wait = said && wait <= time.Second, wait
		}
		return nil, e
	}
	if a.Cut {
		return nil, c.r.http.Unreadable(a)
	}
	return &http.Response{StatusCode: a.Status, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body))}, nil
}

// AccountSid implements [client.BaseClient].
func (c *call) AccountSid() string { return c.r.account }

// SetTimeout implements [client.BaseClient]; times are the context's.
func (c *call) SetTimeout(time.Duration) {}

// SetOauth implements [client.BaseClient]; it is not used.
func (c *call) SetOauth(client.OAuth) {}

// OAuth implements [client.BaseClient]; it is not used.
func (c *call) OAuth() client.OAuth { return nil }

var _ client.BaseClient = (*call)(nil)
