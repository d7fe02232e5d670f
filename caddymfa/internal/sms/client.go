package sms

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"
)

// The times that a provider has: 2 s to connect, 5 s in all. A person waits.
const (
	connectTime = 2 * time.Second
	sendTime    = 5 * time.Second
)

// NewHTTPClient is the client that senders use: short times, and no redirects,
// because credentials and texts go to one address only.
func NewHTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one unless somebody replaced it
	t.DialContext = (&net.Dialer{Timeout: connectTime}).DialContext
	t.MaxIdleConnsPerHost = 4
	return &http.Client{
		Timeout: sendTime, Transport: t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Failed describes a request that got no answer. It keeps nothing of the
// request, whose address or body may be secret.
func Failed(provider string, err error) *Error {
	e := &Error{Provider: provider, Kind: Unavailable, Code: "connection", Sent: true, Err: errors.New("no answer")}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		e.Sent, e.Err = false, errors.New("cannot connect")
	}
	return e
}

// RetryAfter reads the header of that name in seconds; dates are left out.
func RetryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 || n > 24*3600 {
		return 0
	}
	return time.Duration(n) * time.Second
}
