// Package gateway makes the HTTP requests of senders: bounded in time and size,
// to one address only, with failures told as *sms.Error that hold nothing of
// the request.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"syscall"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// The times that a provider has: a person waits for it (requirement S12).
const (
	// ConnectTimeout bounds a TCP connection, and again its TLS handshake.
	ConnectTimeout = 2 * time.Second
	// Timeout is the default for everything together.
	Timeout = 5 * time.Second
)

// maxAnswer bounds what is read of an answer, in bytes. Twilio's have about 1 kB.
const maxAnswer = 64 << 10

// Codes of failures without an HTTP answer.
const (
	CodeConnect  = "connect"   // nothing was sent
	CodeNoAnswer = "no_answer" // the request may have arrived
)

// Client is one provider's. It is safe for concurrent use.
type Client struct {
	provider string
	http     *http.Client
}

// New makes a client whose errors name that provider. timeout bounds one
// request and its answer; 0 means [Timeout].
//
// Redirects are not followed, because credentials and codes go to one address
// only (S13). Nothing is read from the environment, so a proxy named there is
// not used. HTTP/1.1 is enough for a few texts a second, and there a request
// that timed out closes its connection; a dead HTTP/2 connection would fail
// every text after it.
func New(provider string, timeout time.Duration) *Client {
	if timeout <= 0 {
		timeout = Timeout
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &Client{provider: provider, http: &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: ConnectTimeout}).DialContext,
			TLSHandshakeTimeout:    ConnectTimeout,
			Protocols:              protocols,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        30 * time.Second, // less than most servers', which else close one just as it is used
			MaxResponseHeaderBytes: maxAnswer,
		},
	}}
}

// Answer is a provider's, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	// Body is at most 64 KiB; Cut is true when there was more or it broke off.
	Body []byte
	Cut  bool
}

// Do sends a request and reads the answer. Its error is an *sms.Error, and says
// whether the request may have arrived.
func (c *Client) Do(req *http.Request) (Answer, error) {
	// No connection, no delivery. The transport asks for another connection
	// only when it has written nothing to the first, hence the reset.
	connected := false
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GetConn: func(string) { connected = false },
		GotConn: func(httptrace.GotConnInfo) { connected = true },
	}))
	res, err := c.http.Do(req) //nolint:gosec // the operator's address
	if err != nil {
		e := &sms.Error{Provider: c.provider, Kind: sms.Unavailable, Code: CodeConnect, Err: fmt.Errorf("cannot connect: %s", reason(err))}
		if connected {
			e.Code, e.Sent, e.Err = CodeNoAnswer, true, fmt.Errorf("no answer: %s", reason(err))
		}
		return Answer{}, e
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	a := Answer{Status: res.StatusCode, Header: res.Header, Body: body, Cut: err != nil}
	if len(body) > maxAnswer {
		a.Body, a.Cut = body[:maxAnswer], true
	}
	return a, nil
}

// reason tells why without the error's own text, which may hold the address
// and with it a key.
func reason(err error) string {
	var (
		dns   *net.DNSError
		cert  *tls.CertificateVerificationError
		errno syscall.Errno
		nerr  net.Error
	)
	switch {
	case errors.As(err, &dns):
		return "the host's name was not found; check the address and this machine's DNS"
	case errors.As(err, &cert):
		return "the host's certificate is not trusted"
	case errors.Is(err, context.Canceled):
		return "the caller gave up"
	case errors.As(err, &nerr) && nerr.Timeout():
		return "it took too long"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	}
	return "the connection failed"
}

// Refusal describes an answer that accepts no text, by its HTTP status alone:
// 429 and 5xx are Unavailable, and with 5xx the text may have been accepted;
// everything else is Misconfigured.
func (c *Client) Refusal(a Answer) *sms.Error {
	wait, _ := RetryAfter(a.Header)
	e := &sms.Error{
		Provider: c.provider, Kind: sms.Misconfigured, Code: strconv.Itoa(a.Status),
		RetryAfter: wait, Err: fmt.Errorf("status %d", a.Status),
	}
	switch {
	case a.Status == http.StatusTooManyRequests:
		e.Kind = sms.Unavailable
	case a.Status >= 500:
		e.Kind, e.Sent = sms.Unavailable, true
	case a.Status >= 300 && a.Status < 400:
		e.Err = fmt.Errorf("status %d, a redirect, which is not followed: configure the final address", a.Status)
	}
	return e
}

// Unreadable is the failure of an answer whose status says yes and whose body
// does not: the text may have been accepted.
func (c *Client) Unreadable(a Answer) *sms.Error {
	return &sms.Error{
		Provider: c.provider, Kind: sms.Unavailable, Code: strconv.Itoa(a.Status), Sent: true,
		Err: fmt.Errorf("status %d, but the answer is not the provider's: something else may be at this address", a.Status),
	}
}

// maxRetryAfter is the longest wait that is believed.
const maxRetryAfter = 24 * time.Hour

// RetryAfter reads the header of that name, in seconds or as a date (RFC 9110
// 10.2.3). ok is false when there is none that makes sense.
func RetryAfter(h http.Header) (wait time.Duration, ok bool) {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil {
		if n < 0 || n > int(maxRetryAfter/time.Second) {
			return 0, false
		}
		return time.Duration(n) * time.Second, true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	wait = max(0, time.Until(at))
	if wait > maxRetryAfter {
		return 0, false
	}
	return wait, true
}
