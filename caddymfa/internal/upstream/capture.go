// Package upstream is everything between the gate and the application: the
// writer that withholds an answer, the tap that sees the head of an answer
// that passes, and the gate's own requests.
package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
)

// Handler is the application as the gate sees it: the rest of the route.
type Handler interface {
	ServeHTTP(w http.ResponseWriter, r *http.Request) error
}

// HandlerFunc is a function as a [Handler].
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// ServeHTTP implements [Handler].
func (f HandlerFunc) ServeHTTP(w http.ResponseWriter, r *http.Request) error { return f(w, r) }

// Errors of Capture. None of them is an answer: whoever gets one refuses.
var (
	// ErrTooLarge: the body is longer than the limit.
	ErrTooLarge = errors.New("the application's answer is too large to withhold")
	// ErrNoAnswer: nothing, or only half an answer, came back.
	ErrNoAnswer = errors.New("the application did not answer")
	// ErrUpgrade: the application wanted to leave HTTP.
	ErrUpgrade = errors.New("the application switched protocols")
	// ErrEncoding: the body is in an encoding that we did not ask for and cannot read.
	ErrEncoding = errors.New("the application's answer cannot be read")
)

// Reply is a whole answer, kept on our side. It is what gets sealed and stored.
type Reply struct {
	Status int         `json:"s"`
	Header http.Header `json:"h,omitempty"`
	Body   []byte      `json:"b,omitempty"`
}

// Capture runs the request and keeps the whole answer: nothing of it reaches
// the client, neither 1xx nor trailers nor an upgrade. limit bounds the body
// in bytes, decoded.
//
// The request is asked for without compression. gzip that comes all the same is
// decoded; any other encoding is ErrEncoding, because an answer that cannot be
// read cannot be judged.
func Capture(next Handler, r *http.Request, limit int64) (reply *Reply, err error) {
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Del("Range")
	c := &capture{header: make(http.Header), limit: limit}
	defer func() {
		// The proxy panics with ErrAbortHandler when the application dies in
		// the middle of its answer. That is half an answer, not a login.
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
				panic(p)
			}
			reply, err = nil, ErrNoAnswer
		}
	}()
	if err := next.ServeHTTP(c, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return c.reply()
}

// capture is the http.ResponseWriter of Capture. It has no Unwrap, so that
// nothing finds the client's connection behind it.
type capture struct {
	header http.Header // live: what the application is writing
	head   http.Header // as it was at WriteHeader: trailers come later
	status int
	body   bytes.Buffer
	limit  int64
	err    error
}

func (c *capture) Header() http.Header { return c.header }

func (c *capture) WriteHeader(status int) {
	switch {
	case status == http.StatusSwitchingProtocols:
		c.err = ErrUpgrade
	case status < 200 || c.status != 0: // 1xx are swallowed; the first final status counts
	default:
		c.status, c.head = status, c.header.Clone()
	}
}

func (c *capture) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.WriteHeader(http.StatusOK)
	}
	// Past the limit we go on reading and remember: an error here would make
	// the proxy abort the client's connection, and we could not explain.
	if c.err == nil && int64(c.body.Len())+int64(len(b)) > c.limit {
		c.err = ErrTooLarge
		c.body = bytes.Buffer{}
	}
	if c.err == nil {
		c.body.Write(b)
	}
	return len(b), nil
}

// FlushError lets handlers that flush do so without effect.
func (c *capture) FlushError() error { return nil }

func (c *capture) reply() (*Reply, error) {
	switch {
	case c.err != nil:
		return nil, c.err
	case c.status == 0:
		return nil, ErrNoAnswer
	}
	rep := &Reply{Status: c.status, Header: c.head, Body: c.body.Bytes()}
	if err := rep.decode(c.limit); err != nil {
		return nil, err
	}
	for _, name := range hopByHop {
		delete(rep.Header, name)
	}
	for name := range rep.Header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			delete(rep.Header, name)
		}
	}
	return rep, nil
}

// hopByHop are the fields of RFC 9110 7.6.1, the length (computed anew when the
// answer is given out) and what speaks about the connection it came by.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Content-Length", "Alt-Svc",
}

// Plain is the body of an answer without its encoding: as it is, or decoded from
// gzip up to limit bytes. ErrEncoding for any other.
func Plain(h http.Header, body []byte, limit int64) ([]byte, error) {
	rep := Reply{Header: http.Header{"Content-Encoding": slices.Clone(h["Content-Encoding"])}, Body: body}
	err := rep.decode(limit)
	return rep.Body, err
}

func (r *Reply) decode(limit int64) error {
	enc := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ",")))
	if len(r.Body) == 0 || enc == "" || enc == "identity" {
		delete(r.Header, "Content-Encoding")
		return nil
	}
	if enc != "gzip" && enc != "x-gzip" {
		return ErrEncoding
	}
	z, err := gzip.NewReader(bytes.NewReader(r.Body))
	if err != nil {
		return ErrEncoding
	}
	plain, err := io.ReadAll(io.LimitReader(z, limit+1))
	switch {
	case err != nil:
		return ErrEncoding
	case int64(len(plain)) > limit:
		return ErrTooLarge
	}
	r.Body = plain
	for _, h := range []string{"Content-Encoding", "Etag", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
		delete(r.Header, h) // they speak about the bytes that we decoded
	}
	return nil
}

// Write gives the answer out. What outer handlers set stays; what the
// application set for the same name wins.
func (r *Reply) Write(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range r.Header {
		if name == "Set-Cookie" {
			h[name] = append(h[name], values...)
			continue
		}
		h[name] = values
	}
	Private(h)
	h.Set("Cache-Control", "no-store, no-transform") // no-transform: see compression side channels, BREACH
	delete(h, "Etag")
	w.WriteHeader(r.Status)
	if r.Status >= 200 && r.Status != http.StatusNoContent && r.Status != http.StatusNotModified {
		_, _ = w.Write(r.Body)
	}
}

// Own makes and runs the gate's own requests to the application.
type Own struct {
	Next Handler
	// Prepare gives a request what the server gives to those it receives. It is
	// the one thing that only the outermost room can do. May be nil.
	Prepare func(parent, own *http.Request, w http.ResponseWriter) *http.Request
	// Limit bounds an answer's body in bytes.
	Limit int64
}

// For gives every request that runs through it what parent's server gives to
// those that it receives.
func (o *Own) For(parent *http.Request) *Own {
	if o.Prepare == nil {
		return o
	}
	return &Own{Limit: o.Limit, Next: HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return o.Next.ServeHTTP(w, o.Prepare(parent, r, w))
	})}
}

// Request makes a request of the gate's own for target (an absolute path with an
// optional query), as the client of parent would send it.
func Request(ctx context.Context, parent *http.Request, method, target string, body []byte) (*http.Request, error) {
	if !intake.Local(target) {
		return nil, fmt.Errorf("own request: the address is none of this site")
	}
	own, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("own request: %w", err)
	}
	own.Host, own.RemoteAddr, own.RequestURI = parent.Host, parent.RemoteAddr, target
	own.TLS, own.Proto, own.ProtoMajor, own.ProtoMinor = parent.TLS, parent.Proto, parent.ProtoMajor, parent.ProtoMinor
	// Only what tells the application who asks and in which language; nothing
	// that could make it answer something else than a plain page.
	for _, name := range []string{"User-Agent", "Accept-Language", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		if v := parent.Header.Values(name); len(v) > 0 {
			own.Header[name] = v
		}
	}
	own.Header.Set("Accept", "text/html, application/json;q=0.9, */*;q=0.8")
	return own, nil
}

// Get asks the application for target as the client of parent would, with
// exactly these fields Cookie and Authorization; "" is none. Redirects are not
// followed.
func (o *Own) Get(ctx context.Context, parent *http.Request, target, cookies, authorization string) (*Reply, error) {
	own, err := Request(ctx, parent, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	if cookies != "" {
		own.Header.Set("Cookie", cookies)
	}
	if authorization != "" {
		own.Header.Set("Authorization", authorization)
	}
	rep, err := Capture(o.For(parent).Next, own, o.Limit)
	if err == ErrNoAnswer { //nolint:errorlint // as it is: nobody behind the gate has even tried
		err = fmt.Errorf("%w: nothing behind the gate answers %s; does a handle block or a matcher keep it from the application?", err, own.URL.Path)
	}
	return rep, err
}
