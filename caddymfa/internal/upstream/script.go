package upstream

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Script adds one script element to a page on its way to the browser, as the
// first thing in its head, so that it runs before the page's own scripts; or its
// own lines to a service worker's script, so that they run before the others. What
// is no whole HTML page, or no script, passes as it is. Call Finish when the handler
// has returned.
type Script struct {
	W http.ResponseWriter
	// Element is the element, or the lines; Allow changes the page's head so that its
	// content security policy lets the element run.
	Element string
	Allow   func(h http.Header) (element string)
	// Worker: the request is for a service worker's script.
	Worker bool

	decided, adding bool
	status          int
	begin           []byte // the beginning of the page, until the place is found
	waiting         bool   // for the end of a tag
}

// Header is the live header map of the client's answer.
func (s *Script) Header() http.Header { return s.W.Header() }

// WriteHeader decides by the final head whether this is a page.
func (s *Script) WriteHeader(status int) {
	if s.decided || status < 200 && status != http.StatusSwitchingProtocols {
		s.W.WriteHeader(status)
		return
	}
	s.decided, s.status = true, status
	h := s.W.Header()
	if s.adding = s.fits(status, h); s.adding {
		if s.Allow != nil {
			s.Element = s.Allow(h)
		}
		if n, err := strconv.Atoi(h.Get("Content-Length")); err == nil {
			h.Set("Content-Length", strconv.Itoa(n+len(s.Element)))
		}
		// They speak about the page as it was, and about parts of it.
		for _, name := range []string{"Etag", "Last-Modified", "Accept-Ranges", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
			delete(h, name)
		}
	}
	s.W.WriteHeader(status)
}

// fits reports whether the answer is what is added to.
func (s *Script) fits(status int, h http.Header) bool {
	kind := strings.ToLower(h.Get("Content-Type"))
	enc := h.Get("Content-Encoding")
	if enc != "" && !strings.EqualFold(enc, "identity") || strings.Contains(kind, "utf-16") || h.Get("Content-Length") == "0" {
		return false
	}
	if s.Worker {
		kind, _, _ = strings.Cut(kind, ";")
		return status == http.StatusOK && slices.Contains(scriptTypes, strings.TrimSpace(kind))
	}
	return status >= 200 && status < 600 && status != http.StatusNoContent && status != http.StatusPartialContent && (status < 300 || status > 399) &&
		strings.HasPrefix(kind, "text/html") &&
		!strings.HasPrefix(strings.ToLower(h.Get("Content-Disposition")), "attachment")
}

// scriptTypes are the types that browsers take a service worker's script with
// (WHATWG MIME Sniffing 4.6, JavaScript MIME type).
var scriptTypes = []string{
	"text/javascript", "application/javascript", "application/x-javascript", "text/ecmascript", "application/ecmascript",
	"application/x-ecmascript", "text/x-javascript", "text/x-ecmascript", "text/jscript", "text/livescript",
}

func (s *Script) Write(b []byte) (int, error) {
	if !s.decided {
		s.WriteHeader(http.StatusOK)
	}
	if !s.adding {
		return s.W.Write(b)
	}
	s.begin = append(s.begin, b...)
	if s.waiting && bytes.IndexByte(b, '>') < 0 && len(s.begin) < maxBegin {
		return len(b), nil // what was begun is not at its end yet
	}
	at, found := s.place(s.begin)
	if s.waiting = !found; s.waiting && len(s.begin) < maxBegin {
		return len(b), nil
	}
	return len(b), s.add(at)
}

// add writes the beginning of the page with the element in its place.
func (s *Script) add(at int) error {
	begin := s.begin
	s.adding, s.begin = false, nil
	text := make([]byte, 0, len(begin)+len(s.Element))
	text = append(append(append(text, begin[:at]...), s.Element...), begin[at:]...)
	_, err := s.W.Write(text)
	return err
}

// Finish ends a page whose handler has returned. A page without a body stays so.
func (s *Script) Finish() {
	if s.adding && len(s.begin) > 0 {
		at, _ := s.place(s.begin)
		_ = s.add(at)
	}
}

// place is where the element goes, or the lines.
func (s *Script) place(begin []byte) (at int, found bool) {
	if !s.Worker {
		return place(begin)
	}
	// A script in strict mode stays so: the lines go behind its directive. The
	// beginning is looked at as a whole, up to maxBegin.
	if m := strict.FindSubmatchIndex(begin); m != nil {
		return m[3], false
	}
	if bytes.HasPrefix(begin, []byte(mark)) {
		return len(mark), false
	}
	return 0, false
}

// strict is the directive of strict mode at the beginning of a script (ECMA-262
// 11.2.1), and what may stand before it.
var strict = regexp.MustCompile(`^(?:\x{FEFF}|\s|//[^\n]*\n|(?s:/\*.*?\*/))*((?:"use strict"|'use strict')[ \t]*(?:;|\r?\n|$))`)

// maxBegin bounds how much of a page is looked through for its head, in bytes.
const maxBegin = 8 << 10

// prolog is what may stand before the first element of a head.
var prolog = regexp.MustCompile(`(?is)^(?:\x{FEFF}|\s|<!--.*?-->|<\?xml[^>]*>|<!doctype[^>]*>|<html(?:\s[^>]*)?>|<head(?:\s[^>]*)?>)*`)

const mark = "\ufeff" // the byte-order mark of UTF-8

// place is where the element goes; found is false while more of the page could
// move it.
func place(begin []byte) (at int, found bool) {
	if len(begin) < len(mark) && strings.HasPrefix(mark, string(begin)) {
		return 0, false
	}
	at = len(prolog.Find(begin))
	rest := strings.ToLower(string(begin[at:min(at+10, len(begin))]))
	if rest == "" {
		return at, false
	}
	for _, open := range []string{"<!--", "<?xml", "<!doctype", "<html", "<head"} {
		if strings.HasPrefix(open, rest) || strings.HasPrefix(rest, open) && !strings.HasPrefix(rest, "<header") {
			return at, false // begun, and not at its end yet
		}
	}
	return at, true
}

// ReadFrom keeps the fast path of what is no page.
func (s *Script) ReadFrom(r io.Reader) (int64, error) {
	if !s.decided {
		s.WriteHeader(http.StatusOK)
	}
	if rf, ok := s.W.(io.ReaderFrom); ok && !s.adding {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{s}, r)
}

// FlushError passes a flush on; a page whose head has not come yet waits for it.
func (s *Script) FlushError() error {
	if !s.decided {
		s.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(s.W).Flush()
}

// Hijack hands the connection over.
func (s *Script) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(s.W).Hijack()
}

// Unwrap gives [http.ResponseController] the other features of the client's writer.
func (s *Script) Unwrap() http.ResponseWriter { return s.W }
