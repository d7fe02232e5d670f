// Package wire speaks HTTP by hand: requests that no proper client sends.
package wire

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const patience = 10 * time.Second

// HTTP1 writes text on a new connection, as it stands, and reads the answers
// until the server closes or is silent for quiet.
func HTTP1(tb testing.TB, addr, text string, quiet time.Duration) []*http.Response {
	tb.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		tb.Fatal(err)
	}
	var out []*http.Response
	for r := bufio.NewReader(c); ; {
		_ = c.SetReadDeadline(time.Now().Add(quiet))
		if len(out) == 0 {
			_ = c.SetReadDeadline(time.Now().Add(patience))
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return out
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		res.Body = io.NopCloser(bytes.NewReader(body))
		out = append(out, res)
	}
}

// Stream is a request over HTTP/2, on a connection of its own.
type Stream struct {
	// Status is 0 when the server reset the stream or the connection instead
	// of answering.
	Status int
	Header http.Header

	conn net.Conn
	fr   *http2.Framer
	data bytes.Buffer
	end  bool
	// ExtendedConnect: the server offers RFC 8441.
	ExtendedConnect bool
}

// HTTP2 sends one request over TLS with exactly these fields, pseudo-fields
// first, and reads the head of the answer. name is the TLS server name. Where
// end is false the stream stays open for Write.
func HTTP2(tb testing.TB, addr, name string, end bool, fields ...[2]string) *Stream {
	tb.Helper()
	// The certificate is not what is tested here.
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // a server of the test
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	s := &Stream{conn: c, fr: http2.NewFramer(c, c), Header: http.Header{}}
	s.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	s.fr.AllowIllegalWrites = true
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range fields {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			tb.Fatal(err)
		}
	}
	if _, err = io.WriteString(c, http2.ClientPreface); err == nil {
		err = s.fr.WriteSettings()
	}
	for settled := false; err == nil && !settled; { // what the server offers comes first
		err = s.read()
		settled = true
	}
	if err == nil {
		err = s.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: end, EndHeaders: true})
	}
	for err == nil && s.Status < 200 && !s.end {
		err = s.read()
	}
	if err != nil && !s.end && s.Status == 0 && !errors.Is(err, io.EOF) {
		tb.Logf("HTTP/2: %v", err)
	}
	return s
}

// read handles one frame.
func (s *Stream) read() error {
	f, err := s.fr.ReadFrame()
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		if v, ok := f.Value(http2.SettingEnableConnectProtocol); ok && v == 1 {
			s.ExtendedConnect = true
		}
		return s.fr.WriteSettingsAck()
	case *http2.MetaHeadersFrame:
		for _, h := range f.Fields {
			if h.Name == ":status" {
				if _, err := fmt.Sscan(h.Value, &s.Status); err != nil {
					return err
				}
				continue
			}
			s.Header.Add(h.Name, h.Value)
		}
		s.end = f.StreamEnded()
	case *http2.DataFrame:
		s.data.Write(f.Data())
		s.end = f.StreamEnded()
	case *http2.RSTStreamFrame, *http2.GoAwayFrame:
		s.end = true
	}
	return nil
}

// Write sends bytes on the open stream.
func (s *Stream) Write(b []byte) (int, error) {
	return len(b), s.fr.WriteData(1, false, b)
}

// Read gives what the server sends on the stream.
func (s *Stream) Read(b []byte) (int, error) {
	for s.data.Len() == 0 {
		if s.end {
			return 0, io.EOF
		}
		if err := s.read(); err != nil {
			return 0, err
		}
	}
	return s.data.Read(b)
}

// Close closes the connection.
func (s *Stream) Close() error { return s.conn.Close() }
