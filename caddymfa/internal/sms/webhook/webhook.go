// Package webhook sends texts by a gateway of the operator's own.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

const provider = "webhook"

// Config is a gateway.
type Config struct {
	URL string
	// Method is POST when empty.
	Method string
	// Headers are added to the request, e.g. an API key.
	Headers map[string]string
	// Body is a template with {to} and {text}, which are put in as the insides
	// of JSON strings. Empty: {"to":"{to}","text":"{text}"}.
	Body string
	// Secret signs the request: X-Caddymfa-Signature is "sha256=" and the
	// hexadecimal HMAC-SHA-256 of X-Caddymfa-Timestamp, a dot and the body.
	Secret string
}

const defaultBody = `{"to":"{to}","text":"{text}"}`

// Sender sends to one gateway. It is safe for concurrent use.
type Sender struct {
	c    Config
	http *http.Client
}

// New checks the configuration.
func New(c Config) (*Sender, error) {
	if c.Method == "" {
		c.Method = http.MethodPost
	}
	if c.Body == "" {
		c.Body = defaultBody
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the webhook's address must begin with https:// or http://")
	case c.Method != http.MethodPost && c.Method != http.MethodPut:
		return nil, fmt.Errorf("method %s: a text is sent by POST or PUT", c.Method)
	case !strings.Contains(c.Body, "{to}") || !strings.Contains(c.Body, "{text}"):
		return nil, errors.New("body needs {to} and {text}")
	}
	return &Sender{c: c, http: sms.NewHTTPClient()}, nil
}

// Send implements [sms.Sender]. Any 2xx accepts the text; 422 refuses the number.
func (s *Sender) Send(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	body := strings.NewReplacer("{to}", inner(m.To), "{text}", inner(m.Text)).Replace(s.c.Body)
	req, err := http.NewRequestWithContext(ctx, s.c.Method, s.c.URL, bytes.NewReader([]byte(body)))
	if err != nil {
		return sms.Receipt{}, &sms.Error{Provider: provider, Kind: sms.Misconfigured, Code: "request", Err: errors.New("the request cannot be made")}
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range s.c.Headers {
		req.Header.Set(k, v)
	}
	if s.c.Secret != "" {
		at := strconv.FormatInt(time.Now().Unix(), 10)
		h := hmac.New(sha256.New, []byte(s.c.Secret))
		_, _ = io.WriteString(h, at+"."+body)
		req.Header.Set("X-Caddymfa-Timestamp", at)
		req.Header.Set("X-Caddymfa-Signature", "sha256="+hex.EncodeToString(h.Sum(nil)))
	}
	res, err := s.http.Do(req) //nolint:gosec // the operator's address
	if err != nil {
		return sms.Receipt{}, sms.Failed(provider, err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode >= 200 && res.StatusCode <= 299 {
		return sms.Receipt{Provider: provider}, nil
	}
	e := &sms.Error{
		Provider: provider, Kind: sms.Misconfigured, Code: strconv.Itoa(res.StatusCode),
		RetryAfter: sms.RetryAfter(res.Header), Err: fmt.Errorf("status %d", res.StatusCode),
	}
	switch {
	case res.StatusCode == http.StatusTooManyRequests:
		e.Kind = sms.Unavailable
	case res.StatusCode >= 500:
		e.Kind, e.Sent = sms.Unavailable, true
	case res.StatusCode == http.StatusUnprocessableEntity:
		e.Kind = sms.Refused
	}
	return sms.Receipt{}, e
}

// inner is a JSON string without its quotes.
func inner(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	return string(b[1 : len(b)-1])
}
