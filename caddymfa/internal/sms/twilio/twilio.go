// Package twilio sends texts by Twilio's Messages API.
package twilio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twilio/twilio-go/client"
	api "github.com/twilio/twilio-go/rest/api/v2010"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

const provider = "twilio"

// DefaultURL is where Twilio's API is.
const DefaultURL = "https://api.twilio.com"

// Config is an account and a sender.
type Config struct {
	AccountSID, AuthToken string
	// APIKeySID and APIKeySecret are used for sending in place of the token.
	APIKeySID, APIKeySecret string
	// From is a number, short code or name; MessagingService a service's SID.
	// Exactly one of them is set.
	From, MessagingService string
	// APIURL is DefaultURL when empty.
	APIURL string
	// StatusCallback is a public address that Twilio reports to; may be empty.
	StatusCallback string
}

var (
	accountSID = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)
	keySID     = regexp.MustCompile(`^SK[0-9a-fA-F]{32}$`)
	serviceSID = regexp.MustCompile(`^MG[0-9a-fA-F]{32}$`)
	plainText  = regexp.MustCompile(`^[a-zA-Z0-9]+$`)
)

// Sender sends by one account. It is safe for concurrent use.
type Sender struct {
	c    Config
	base *url.URL
	http *http.Client
}

// New checks the configuration.
func New(c Config) (*Sender, error) {
	if c.APIURL == "" {
		c.APIURL = DefaultURL
	}
	base, err := url.Parse(c.APIURL)
	switch {
	case !accountSID.MatchString(c.AccountSID):
		return nil, errors.New("account_sid must be AC and 32 hexadecimal digits, as Twilio's console shows it")
	case c.APIKeySID != "" && !keySID.MatchString(c.APIKeySID):
		return nil, errors.New("api_key must be SK and 32 hexadecimal digits, followed by its secret")
	case c.APIKeySID != "" && !plainText.MatchString(c.APIKeySecret):
		return nil, errors.New("the secret of api_key must be letters and digits")
	case c.APIKeySID == "" && !plainText.MatchString(c.AuthToken):
		return nil, errors.New("auth_token is missing, or is no token: it has letters and digits only")
	case c.From == "" && c.MessagingService == "":
		return nil, errors.New("name the sender: from, or messaging_service")
	case c.From != "" && c.MessagingService != "":
		return nil, errors.New("from and messaging_service are both set: Twilio takes one of them")
	case c.MessagingService != "" && !serviceSID.MatchString(c.MessagingService):
		return nil, errors.New("messaging_service must be MG and 32 hexadecimal digits")
	case err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http":
		return nil, fmt.Errorf("api_url %q is no address: it begins with https://", c.APIURL)
	}
	if c.StatusCallback != "" {
		u, err := url.Parse(c.StatusCallback)
		if err != nil || u.Host == "" || strings.Contains(u.Host, "_") {
			return nil, errors.New("status_callback must be a public address; Twilio refuses underscores in its host")
		}
	}
	return &Sender{c: c, base: base, http: sms.NewHTTPClient()}, nil
}

// Send implements [sms.Sender]. It tries again once where Twilio has certainly
// not taken the text: no connection, or 429 with a short wait.
func (s *Sender) Send(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	r, err := s.once(ctx, m)
	var e *sms.Error
	if err == nil || !errors.As(err, &e) || e.Sent || e.Kind != sms.Unavailable || e.RetryAfter > time.Second {
		return r, err
	}
	select {
	case <-ctx.Done():
		return r, err
	case <-time.After(max(200*time.Millisecond, e.RetryAfter)):
	}
	return s.once(ctx, m)
}

func (s *Sender) once(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	call := &request{s: s, ctx: ctx}
	// Edge and region are set, or twilio-go would read them from the environment.
	h := &client.RequestHandler{Client: call}
	p := &api.CreateMessageParams{}
	p.SetPathAccountSid(s.c.AccountSID)
	p.SetTo(m.To)
	p.SetBody(m.Text)
	if m.Validity > 0 {
		p.SetValidityPeriod(max(6, min(36000, int(m.Validity/time.Second)))) // Twilio: 1 to 36000 s, over 5 advised
	}
	if s.c.MessagingService != "" {
		p.SetMessagingServiceSid(s.c.MessagingService)
	} else {
		p.SetFrom(s.c.From)
	}
	if s.c.StatusCallback != "" {
		p.SetStatusCallback(s.c.StatusCallback)
	}
	msg, err := api.NewApiService(h).CreateMessage(p)
	switch {
	case call.err != nil:
		return sms.Receipt{}, call.err
	case err != nil:
		// An answer that is no message: it may have been taken.
		return sms.Receipt{}, &sms.Error{Provider: provider, Kind: sms.Unavailable, Code: "answer", Sent: true, Err: errors.New("unreadable answer")}
	}
	r := sms.Receipt{Provider: provider}
	if msg.Sid != nil {
		r.ID = *msg.Sid
	}
	return r, nil
}

// request is twilio-go's BaseClient for one call: it adds what twilio-go's own
// lacks, a context, a bound on the answer, and the head of an error.
type request struct {
	s   *Sender
	ctx context.Context //nolint:containedctx // twilio-go has no other place for it
	err *sms.Error
}

func (r *request) AccountSid() string       { return r.s.c.AccountSID }
func (r *request) SetTimeout(time.Duration) {}
func (r *request) SetOauth(client.OAuth)    {}
func (r *request) OAuth() client.OAuth      { return nil }

const maxAnswer = 64 << 10

// SendRequest sends to the configured address, whatever host twilio-go built.
func (r *request) SendRequest(method, rawURL string, data url.Values, _ map[string]any, _ ...byte) (*http.Response, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	u.Scheme, u.Host = r.s.base.Scheme, r.s.base.Host
	u.Path = strings.TrimSuffix(r.s.base.Path, "/") + u.Path
	req, err := http.NewRequestWithContext(r.ctx, method, u.String(), strings.NewReader(data.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if r.s.c.APIKeySID != "" {
		req.SetBasicAuth(r.s.c.APIKeySID, r.s.c.APIKeySecret)
	} else {
		req.SetBasicAuth(r.s.c.AccountSID, r.s.c.AuthToken)
	}
	res, err := r.s.http.Do(req) //nolint:gosec // the operator's address
	if err != nil {
		r.err = sms.Failed(provider, err)
		return nil, r.err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if res.StatusCode == http.StatusCreated || res.StatusCode == http.StatusOK {
		if err != nil || len(body) > maxAnswer {
			r.err = &sms.Error{Provider: provider, Kind: sms.Unavailable, Code: "answer", Sent: true, Err: errors.New("answer cut or too long")}
			return nil, r.err
		}
		res.Body = io.NopCloser(bytes.NewReader(body))
		return res, nil
	}
	r.err = refused(res, body)
	return nil, r.err
}

// refused reads an error. Twilio asks to decide by the HTTP status; among the
// 400s the code tells a bad number from a bad configuration.
func refused(res *http.Response, body []byte) *sms.Error {
	var t struct {
		Code int `json:"code"`
	}
	_ = json.Unmarshal(body, &t) // a proxy's error page has none
	e := &sms.Error{
		Provider: provider, Kind: sms.Misconfigured, Code: strconv.Itoa(res.StatusCode),
		RetryAfter: sms.RetryAfter(res.Header), Err: fmt.Errorf("status %d", res.StatusCode),
	}
	if t.Code != 0 {
		e.Code = strconv.Itoa(t.Code)
	}
	switch {
	case res.StatusCode == http.StatusTooManyRequests:
		e.Kind = sms.Unavailable // "never processed and always safe to retry"
	case res.StatusCode >= 500:
		e.Kind, e.Sent = sms.Unavailable, true
	case res.StatusCode == http.StatusBadRequest || res.StatusCode == http.StatusForbidden:
		switch t.Code {
		case 21201, 21211, 21212, 21408, 21610, 21612, 21614, 21635:
			e.Kind = sms.Refused
		}
	}
	return e
}
