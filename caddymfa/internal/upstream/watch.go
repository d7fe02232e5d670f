package upstream

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
)

// Watch lets an answer pass untouched and remembers its head, and the beginning
// of its body where it is asked to.
type Watch struct {
	W http.ResponseWriter
	// Keep is how much of the body is remembered, in bytes.
	Keep int

	status int
	header http.Header
	body   bytes.Buffer
}

// Seen is what was remembered. Header is nil while there was no head.
func (t *Watch) Seen() (status int, h http.Header, body []byte) {
	return t.status, t.header, t.body.Bytes()
}

// Header is the live header map of the client's answer.
func (t *Watch) Header() http.Header { return t.W.Header() }

// WriteHeader remembers the final head and passes it on.
func (t *Watch) WriteHeader(status int) {
	if t.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		t.status, t.header = status, t.W.Header().Clone()
	}
	t.W.WriteHeader(status)
}

func (t *Watch) begin() {
	if t.status == 0 {
		t.status, t.header = http.StatusOK, t.W.Header().Clone()
	}
}

func (t *Watch) note(b []byte) {
	if n := t.Keep - t.body.Len(); n > 0 {
		t.body.Write(b[:min(n, len(b))])
	}
}

func (t *Watch) Write(b []byte) (int, error) {
	t.begin()
	t.note(b)
	return t.W.Write(b)
}

// ReadFrom keeps the fast path of answers whose body is not remembered.
func (t *Watch) ReadFrom(r io.Reader) (int64, error) {
	t.begin()
	if rf, ok := t.W.(io.ReaderFrom); ok && t.Keep <= t.body.Len() {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{t}, r)
}

// FlushError passes a flush on.
func (t *Watch) FlushError() error {
	t.begin()
	return http.NewResponseController(t.W).Flush()
}

// Hijack hands the connection over.
func (t *Watch) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(t.W).Hijack()
}

// Unwrap gives [http.ResponseController] the other features of the client's writer.
func (t *Watch) Unwrap() http.ResponseWriter { return t.W }
