package intake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Limits bound what is kept of a body while it is read.
type Limits struct {
	// Memory is how much of it lies in memory, in bytes. Default 1 MiB.
	Memory int64
	// Text is how long a form without files or a JSON text may be. Default: Memory.
	Text int64
	// Spool takes what is longer. Nil: it is refused.
	Spool *Spool
}

func (l Limits) memory() int64 {
	if l.Memory == 0 {
		return 1 << 20
	}
	return l.Memory
}

func (l Limits) text() int64 { return max(l.Text, l.memory()) }

// Spool is the room for long bodies of all requests together, in temporary
// files. It is safe for concurrent use.
type Spool struct {
	// Size is the room in bytes.
	Size int64
	used atomic.Int64
}

// Used is how many bytes lie in it.
func (s *Spool) Used() int64 { return s.used.Load() }

// Errors of bodies that are too long.
var (
	errTooLarge = &Error{http.StatusRequestEntityTooLarge, "body_too_large"}
	// errNoRoom: others take the room up, so a later try may pass.
	errNoRoom = &Error{http.StatusServiceUnavailable, "no_room_for_bodies"}
)

// take takes room, or is an error.
func (s *Spool) take(n int64) error {
	if s.used.Add(n) > s.Size {
		s.used.Add(-n)
		return errNoRoom
	}
	return nil
}

// stored is a body that can be read twice.
type stored struct {
	io.ReadSeeker
	size   int64
	closes []func() error
	closed sync.Once
}

// Close gives back what the body takes up. It may be called twice, also at once.
func (s *stored) Close() (err error) {
	s.closed.Do(func() {
		for _, c := range s.closes {
			err = errors.Join(err, c())
		}
	})
	return err
}

func (s *stored) rewind() error {
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}

// replace puts another text in the place of the body.
func (s *stored) replace(r *http.Request, text string) {
	s.ReadSeeker, s.size = strings.NewReader(text), int64(len(text))
	setBody(r, s, s.size)
}

func setBody(r *http.Request, body io.ReadCloser, size int64) {
	r.Body, r.ContentLength, r.TransferEncoding = body, size, nil
	r.Header["Content-Length"] = []string{strconv.FormatInt(size, 10)} // FastCGI reads it here
	if size == 0 {
		r.Body = http.NoBody
	}
}

// store keeps the body of a request.
func (l Limits) store(r *http.Request) (*stored, error) {
	memory := l.memory()
	if r.ContentLength > memory && l.Spool == nil || l.Spool != nil && r.ContentLength > l.Spool.Size {
		return nil, errTooLarge
	}
	head, err := io.ReadAll(io.LimitReader(r.Body, memory+1))
	if err != nil {
		return nil, bad("unreadable_body")
	}
	if int64(len(head)) <= memory {
		return &stored{ReadSeeker: bytes.NewReader(head), size: int64(len(head)), closes: []func() error{r.Body.Close}}, nil
	}
	if l.Spool == nil {
		return nil, errTooLarge
	}
	return l.Spool.keep(head, r.Body)
}

// keep writes a body into a temporary file. Nobody else can open it, and a crash
// leaves nothing.
func (s *Spool) keep(head []byte, rest io.ReadCloser) (_ *stored, err error) {
	file, err := os.CreateTemp("", "caddymfa-body-")
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	_ = os.Remove(file.Name())
	b := &stored{ReadSeeker: file}
	b.closes = []func() error{rest.Close, file.Close, func() error { s.used.Add(-b.size); return nil }}
	defer func() {
		if err != nil {
			_ = b.Close()
		}
	}()
	for chunk, from := head, io.Reader(rest); len(chunk) > 0; {
		if err := s.take(int64(len(chunk))); err != nil {
			return nil, err
		}
		b.size += int64(len(chunk))
		if _, err := file.Write(chunk); err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
		n, err := io.ReadFull(from, head[:cap(head)])
		if chunk = head[:n]; err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, bad("unreadable_body")
		}
	}
	return b, b.rewind()
}
