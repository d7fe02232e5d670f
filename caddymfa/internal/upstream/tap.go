package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Tap lets an answer pass to the client, but shows its head to OnHead first.
// When OnHead returns false nothing of the answer passes: neither head nor
// body nor an upgrade, and the caller writes something else after the handler
// has returned.
//
// 1xx answers are swallowed: a 103 may carry Set-Cookie, and nothing may leave
// before the final head was seen.
type Tap struct {
	W http.ResponseWriter
	// OnHead sees the final status and the live header map and may change it.
	OnHead Head

	status  int
	dropped bool
	cut     atomic.Bool

	held   *bytes.Buffer // the body, while it is held
	limit  int
	onBody func(h http.Header, body []byte) bool
	// strict: nothing passes that onBody has not let pass.
	strict bool
}

// Head decides by the head of an answer whether it passes.
type Head interface {
	OnHead(status int, h http.Header) bool
}

// HeadFunc is a function as a [Head].
type HeadFunc func(status int, h http.Header) bool

// OnHead implements [Head].
func (f HeadFunc) OnHead(status int, h http.Header) bool { return f(status, h) }

// Hold keeps head and body back until the answer is complete and onBody has seen
// it. OnHead calls it. When onBody returns false nothing of it passes. An
// answer that is longer than limit, or that is flushed before its end, passes
// unseen: a stream stays one.
func (t *Tap) Hold(limit int, onBody func(h http.Header, body []byte) bool) {
	t.held, t.limit, t.onBody = new(bytes.Buffer), limit, onBody
}

// Ask is Hold for a question that must be answered before anything passes: of an
// answer that is longer, or flushed, onBody sees the beginning. It is asked as
// late as that because many applications work at a session's requests one by one:
// one of ours would wait for the end of this one.
func (t *Tap) Ask(limit int, onBody func(h http.Header, body []byte) bool) {
	t.Hold(limit, onBody)
	t.strict = true
}

// Finish ends an answer whose handler has returned without an error.
func (t *Tap) Finish() {
	if t.held == nil {
		return
	}
	if !t.strict && !t.onBody(t.W.Header(), t.held.Bytes()) {
		t.dropped, t.held = true, nil
		return
	}
	_ = t.pass()
}

// pass lets go what was held.
func (t *Tap) pass() error {
	if t.held == nil {
		return nil
	}
	b := t.held.Bytes()
	t.held = nil
	if t.strict && !t.onBody(t.W.Header(), b) {
		t.dropped = true
		return nil
	}
	t.W.WriteHeader(t.status)
	if len(b) == 0 {
		return nil
	}
	_, err := t.W.Write(b)
	return err
}

// Status is the final status, 0 while there was none.
func (t *Tap) Status() int { return t.status }

// Dropped reports whether OnHead refused the answer.
func (t *Tap) Dropped() bool { return t.dropped }

// Header is the live header map of the client's answer.
func (t *Tap) Header() http.Header { return t.W.Header() }

// WriteHeader shows the head and passes it on.
func (t *Tap) WriteHeader(status int) {
	if t.status != 0 || (status < 200 && status != http.StatusSwitchingProtocols) {
		return
	}
	t.status = status
	if !t.OnHead.OnHead(status, t.W.Header()) {
		t.dropped = true
		return
	}
	if t.held == nil {
		t.W.WriteHeader(status)
	}
}

// ErrCut: the session of the answer has ended while it was under way.
var ErrCut = errors.New("the session has ended")

// Cut ends an answer that is under way, from another goroutine: nothing more of
// it is written, and the deadlines end the connection or the stream, and with it
// the request's context, although nobody writes or reads just now.
func (t *Tap) Cut() {
	t.cut.Store(true)
	c := http.NewResponseController(t.W)
	past := time.Unix(1, 0)
	_ = c.SetWriteDeadline(past) // not every writer knows deadlines: then the next write ends it
	_ = c.SetReadDeadline(past)
}

func (t *Tap) Write(b []byte) (int, error) {
	if t.status == 0 {
		t.WriteHeader(http.StatusOK)
	}
	switch {
	case t.cut.Load():
		return 0, ErrCut
	case t.dropped:
		return len(b), nil
	case t.held != nil && t.held.Len()+len(b) <= t.limit:
		return t.held.Write(b)
	}
	if err := t.pass(); err != nil {
		return 0, err
	}
	if t.dropped {
		return len(b), nil
	}
	return t.W.Write(b)
}

// ReadFrom keeps the fast path of large answers and still shows the head.
func (t *Tap) ReadFrom(r io.Reader) (int64, error) {
	if t.status == 0 {
		t.WriteHeader(http.StatusOK)
	}
	switch {
	case t.cut.Load():
		return 0, ErrCut
	case t.dropped:
		return io.Copy(io.Discard, r)
	case t.held != nil:
		return io.Copy(struct{ io.Writer }{t}, r)
	}
	if rf, ok := t.W.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{t.W}, r)
}

// FlushError passes a flush on. A flush before any write sends the head.
func (t *Tap) FlushError() error {
	if t.status == 0 {
		t.WriteHeader(http.StatusOK)
	}
	if t.dropped {
		return nil
	}
	if err := t.pass(); err != nil || t.dropped {
		return err
	}
	return http.NewResponseController(t.W).Flush()
}

// Hijack hands the connection over, unless the answer was refused.
func (t *Tap) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := t.pass(); err != nil {
		return nil, nil, err
	}
	if t.dropped {
		return nil, nil, errors.New("the gate refused this upgrade")
	}
	return http.NewResponseController(t.W).Hijack()
}

// Unwrap gives [http.ResponseController] the other features of the client's writer.
func (t *Tap) Unwrap() http.ResponseWriter { return t.W }
