package intake

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// Kind is what a body is.
type Kind int

const (
	// Empty: there is no body.
	Empty Kind = iota
	// URLEncoded and Multipart are forms.
	URLEncoded
	Multipart
	// JSONBody is JSON.
	JSONBody
	// Opaque is anything else: it was not read.
	Opaque
)

// Source is where a field stands.
type Source int

// The sources; Any is both together.
const (
	Any Source = iota
	Query
	Body
)

// State says how a field stands in a request.
type State int

const (
	// Absent: it is not there.
	Absent State = iota
	// Exact: it is there once, spelt as the rule spells it.
	Exact
	// Ambiguous: it is there twice, in query and body together, or spelt in
	// another way that applications fold to the same.
	Ambiguous
)

// Error is a request that must not be forwarded. It never holds a value.
type Error struct {
	Status int
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("request refused (%d): %s", e.Status, e.Reason) }

func bad(reason string) error { return &Error{http.StatusBadRequest, reason} }

// Limits bound what is read of a body, in bytes. Between Memory (default 1 MiB)
// and Spool the body lies in a temporary file; beyond, the request is refused.
type Limits struct{ Memory, Spool int64 }

// Form is a request's fields, read strictly.
type Form struct {
	Kind   Kind
	fields []field
	json   any
	sum    [sha256.Size]byte
}

type field struct {
	source      Source
	name, value string
	unread      bool // too long for a name or a password: not kept
}

// Sum is a hash of the body's bytes.
func (f *Form) Sum() [sha256.Size]byte { return f.sum }

// Read reads query and body, and puts the body back as it was. A request that
// is an *Error is ambiguous or too large, and must not be forwarded.
func Read(r *http.Request, l Limits) (*Form, error) {
	if l.Memory == 0 {
		l.Memory = 1 << 20
	}
	f := &Form{}
	if err := f.pairs(Query, r.URL.RawQuery, maxQuery); err != nil {
		return nil, err
	}
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		f.sum = sha256.Sum256(nil)
		return f, nil
	}
	kind, params, err := contentType(r.Header)
	if err != nil {
		return nil, err
	}
	f.Kind = kind
	body, err := spool(r, l)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, body); err != nil {
		return nil, bad("unreadable_body")
	}
	h.Sum(f.sum[:0])
	if err := f.body(body, kind, params, l.Memory); err != nil {
		_ = body.Close()
		return nil, err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if body.Size() == 0 {
		f.Kind = Empty
	}
	r.Body = body
	return f, nil
}

func contentType(h http.Header) (Kind, map[string]string, error) {
	switch {
	case h.Get("Content-Encoding") != "" && !strings.EqualFold(h.Get("Content-Encoding"), "identity"):
		return 0, nil, &Error{http.StatusUnsupportedMediaType, "content_encoding"}
	case len(h["Content-Type"]) > 1:
		return 0, nil, bad("two_content_types")
	case len(h["Content-Type"]) == 0:
		return Opaque, nil, nil
	}
	media, params, err := mime.ParseMediaType(h["Content-Type"][0])
	if err != nil {
		return 0, nil, bad("content_type")
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") && !strings.EqualFold(c, "us-ascii") && !strings.EqualFold(c, "utf8") {
		return 0, nil, &Error{http.StatusUnsupportedMediaType, "charset"}
	}
	switch {
	case media == "application/x-www-form-urlencoded":
		return URLEncoded, params, nil
	case media == "multipart/form-data":
		return Multipart, params, nil
	case media == "application/json", strings.HasSuffix(media, "+json"):
		return JSONBody, params, nil
	}
	return Opaque, params, nil
}

// stored is a body that can be read twice.
type stored struct {
	io.ReadSeeker
	size   int64
	closes []io.Closer
}

func (s *stored) Size() int64 { return s.size }

func (s *stored) Close() error {
	var err error
	for _, c := range s.closes {
		err = errors.Join(err, c.Close())
	}
	return err
}

func spool(r *http.Request, l Limits) (*stored, error) {
	tooLarge := &Error{http.StatusRequestEntityTooLarge, "body_too_large"}
	if r.ContentLength > max(l.Memory, l.Spool) {
		return nil, tooLarge
	}
	head, err := io.ReadAll(io.LimitReader(r.Body, l.Memory+1))
	if err != nil {
		return nil, bad("unreadable_body")
	}
	if int64(len(head)) <= l.Memory {
		return &stored{bytes.NewReader(head), int64(len(head)), []io.Closer{r.Body}}, nil
	}
	if l.Spool <= l.Memory {
		return nil, tooLarge
	}
	file, err := os.CreateTemp("", "caddymfa-body-")
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	_ = os.Remove(file.Name()) // unlinked: nobody else can open it, and a crash leaves nothing
	n, err := io.Copy(file, io.MultiReader(bytes.NewReader(head), io.LimitReader(r.Body, l.Spool-int64(len(head))+1)))
	switch {
	case err != nil:
		_ = file.Close()
		return nil, bad("unreadable_body")
	case n > l.Spool:
		_ = file.Close()
		return nil, tooLarge
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("body: %w", err)
	}
	return &stored{file, n, []io.Closer{r.Body, file}}, nil
}

func (f *Form) body(b *stored, kind Kind, params map[string]string, memory int64) error {
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	switch kind {
	case URLEncoded, JSONBody:
		if b.size > memory {
			return &Error{http.StatusRequestEntityTooLarge, "body_too_large"}
		}
		text, err := io.ReadAll(b)
		if err != nil {
			return bad("unreadable_body")
		}
		if kind == URLEncoded {
			return f.pairs(Body, string(text), int(memory))
		}
		f.json, err = strictJSON(text)
		return err
	case Multipart:
		return f.multipart(b, params["boundary"], memory)
	case Empty, Opaque:
	}
	return nil
}

// pairs reads name=value&…; what the decoders of applications disagree on is
// refused.
func (f *Form) pairs(source Source, raw string, limit int) error {
	if raw == "" {
		return nil
	}
	if len(raw) > limit {
		return &Error{http.StatusRequestEntityTooLarge, "too_long"}
	}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(k)
		if err != nil {
			return bad("escape")
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			return bad("escape")
		}
		if err := f.add(source, name, value); err != nil {
			return err
		}
	}
	return nil
}

func (f *Form) add(source Source, name, value string) error {
	switch {
	case len(f.fields) >= maxFields:
		return bad("too_many_fields")
	case !validText(name) || !validText(value):
		return bad("encoding")
	}
	f.fields = append(f.fields, field{source: source, name: name, value: value})
	return nil
}

// validText refuses what is no UTF-8, and the byte-order mark that would make
// a decoder change its mind.
func validText(s string) bool {
	return strings.ToValidUTF8(s, "") == s && !strings.HasPrefix(s, "\ufeff")
}

const maxValue int64 = 64 << 10

func (f *Form) multipart(b io.Reader, boundary string, memory int64) error {
	if boundary == "" || len(boundary) > 70 {
		return bad("multipart_boundary")
	}
	m := multipart.NewReader(b, boundary)
	for kept := memory; ; {
		p, err := m.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return bad("multipart")
		}
		disposition := p.Header["Content-Disposition"]
		if len(disposition) != 1 {
			return bad("multipart_disposition")
		}
		_, params, err := mime.ParseMediaType(disposition[0])
		if err != nil || strings.Count(strings.ToLower(disposition[0]), "name") != countNames(params) || strings.Contains(disposition[0], "*=") {
			return bad("multipart_name")
		}
		switch enc := strings.ToLower(p.Header.Get("Content-Transfer-Encoding")); enc {
		case "", "7bit", "8bit", "binary":
		default:
			return bad("multipart_encoding")
		}
		part := strings.ToLower(p.Header.Get("Content-Type"))
		if strings.HasPrefix(part, "multipart/") || strings.Contains(part, "charset") && !strings.Contains(part, "utf-8") && !strings.Contains(part, "us-ascii") {
			return bad("multipart_type")
		}
		name, named := params["name"]
		if !named {
			return bad("multipart_name")
		}
		if _, file := params["filename"]; file {
			if _, err := io.Copy(io.Discard, p); err != nil {
				return bad("multipart")
			}
			if err := f.add(Body, name, ""); err != nil {
				return err
			}
			continue
		}
		// A page of a wiki is longer than what a rule could ask for; it passes,
		// and a rule that asks for it all the same finds it ambiguous.
		most := min(maxValue, kept)
		value, err := io.ReadAll(io.LimitReader(p, most+1))
		if err != nil {
			return bad("multipart")
		}
		unread := int64(len(value)) > most
		if unread {
			if _, err := io.Copy(io.Discard, p); err != nil {
				return bad("multipart")
			}
			value = nil
		}
		kept -= int64(len(value))
		if err := f.add(Body, name, string(value)); err != nil {
			return err
		}
		f.fields[len(f.fields)-1].unread = unread
	}
}

// countNames counts how often "name" stands in the parameters that were read;
// more in the text means a name that another parser could see.
func countNames(params map[string]string) int {
	n := 0
	for k, v := range params {
		n += strings.Count(strings.ToLower(k), "name") + strings.Count(strings.ToLower(v), "name")
	}
	return n
}

// Lookup finds a field by its name as applications fold names. The value is
// given when the state is Exact and the field stands where source says.
func (f *Form) Lookup(source Source, name string) (string, State) {
	want, value, state := Fold(name), "", Absent
	for _, x := range f.fields {
		if Fold(x.name) != want {
			continue
		}
		if state != Absent || x.name != name || x.unread {
			return "", Ambiguous
		}
		value, state = x.value, Exact
		if source != Any && x.source != source {
			return "", Ambiguous // it stands elsewhere than it should
		}
	}
	return value, state
}
