package intake

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
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
	// Ambiguous: it is there twice, in query and body together, as a file, or
	// spelt in another way that some application takes for the same.
	Ambiguous
)

// Error is a request that must not be forwarded. It never holds a value.
type Error struct {
	Status int
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("request refused (%d): %s", e.Status, e.Reason) }

func bad(reason string) error { return &Error{http.StatusBadRequest, reason} }

// Form is a request's fields, read strictly.
type Form struct {
	Kind   Kind
	fields []field
	json   any
	sum    [sha256.Size]byte

	contentType string // ours, "" where there is no body
	body        *stored
	boundary    string // of a multipart body, as it came
	parts       []part
}

type field struct {
	source      Source
	name, value string
	key         fieldName
	// unread: a file, or a value too long for a name or a password, which is not
	// kept.
	unread bool
	// pair is how the field is written in an urlencoded body.
	pair string
}

// Sum tells requests apart: a hash of what was read. Two requests without a body
// that could be read never have the same.
func (f *Form) Sum() [sha256.Size]byte { return f.sum }

// Read reads query and body. Afterwards the body can be read again, as it came;
// Forward puts what was read in its place. A request whose error is an *Error
// must not be forwarded: it can be read in two ways, or is too large. A body of
// another kind than a form's or JSON is left alone.
func Read(r *http.Request, l Limits) (*Form, error) {
	f := &Form{}
	if err := f.pairs(Query, r.URL.RawQuery, maxQuery); err != nil {
		return nil, err
	}
	sum := sha256.New()
	defer func() { sum.Sum(f.sum[:0]) }()
	for _, x := range f.fields {
		note(sum, x.name, x.value)
	}
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return f, nil
	}
	params, err := f.media(r.Header)
	if err != nil {
		return nil, err
	}
	if f.Kind == Opaque {
		_, _ = io.CopyN(sum, rand.Reader, sha256.Size)
		return f, nil
	}
	if f.body, err = l.store(r); err != nil {
		return nil, err
	}
	if err = f.read(params, l, sum); err == nil {
		err = f.body.rewind()
	}
	if err != nil {
		_ = f.body.Close()
		return nil, err
	}
	if f.body.size == 0 {
		f.Kind = Empty
	}
	r.Body = f.body
	return f, nil
}

// note adds strings to a sum so that no two lists have the same.
func note(sum hash.Hash, list ...string) {
	for _, s := range list {
		_ = binary.Write(sum, binary.BigEndian, uint64(len(s)))
		_, _ = io.WriteString(sum, s)
	}
}

// charsets are those that a body may name. Browsers name none, also where a page
// is in another one; in one that is named, values and even names would be others.
var charsets = map[string]bool{"utf-8": true, "utf8": true, "us-ascii": true}

// media finds out what the body is, and under which type it is forwarded: a
// form and JSON under the plain name, what has no type as bytes. A type that
// only looks like a form's is refused: CGI.pm looks at its beginning only, and
// formidable takes all that is multipart (attack K2).
func (f *Form) media(h http.Header) (map[string]string, error) {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, &Error{http.StatusUnsupportedMediaType, "content_encoding"}
	}
	values := h["Content-Type"]
	switch {
	case len(values) > 1:
		return nil, bad("two_content_types")
	case len(values) == 0 || strings.TrimSpace(values[0]) == "":
		f.Kind, f.contentType = Opaque, "application/octet-stream" // RFC 9110 8.3
		return nil, nil
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil {
		return nil, bad("content_type")
	}
	charset := strings.ToLower(params["charset"])
	if charset != "" && !charsets[charset] {
		return nil, &Error{http.StatusUnsupportedMediaType, "charset"}
	}
	f.contentType = media
	switch {
	case media == "application/x-www-form-urlencoded":
		f.Kind = URLEncoded
	case media == "multipart/form-data":
		f.Kind = Multipart
	case media == "application/json", strings.HasSuffix(media, "+json"):
		f.Kind = JSONBody
	case formLike(values[0]):
		return nil, &Error{http.StatusUnsupportedMediaType, "content_type"}
	default:
		f.Kind, f.contentType = Opaque, values[0]
		return params, nil
	}
	if charset != "" {
		f.contentType = mime.FormatMediaType(media, map[string]string{"charset": charset})
	}
	return params, nil
}

func formLike(contentType string) bool {
	contentType = strings.ToLower(contentType)
	return strings.Contains(contentType, "urlencoded") || strings.Contains(contentType, "form-data") || strings.Contains(contentType, "multipart")
}

// MayBeJSON reports whether a body that was not read could be JSON to an
// application that does not look at its type, or not closely.
func (f *Form) MayBeJSON() bool {
	t := strings.ToLower(f.contentType)
	return f.Kind == Opaque && (strings.Contains(t, "json") || strings.HasPrefix(t, "text/"))
}

// Close gives back what a long body takes up.
func (f *Form) Close() {
	if f.body != nil {
		_ = f.body.Close()
	}
}

func (f *Form) read(params map[string]string, l Limits, sum hash.Hash) error {
	if f.Kind == Multipart {
		return f.multipart(params["boundary"], l.memory(), sum)
	}
	if f.body.size > l.text() {
		return errTooLarge
	}
	text, err := io.ReadAll(f.body)
	if err != nil {
		return bad("unreadable_body")
	}
	note(sum, string(text))
	if f.Kind == URLEncoded {
		return f.pairs(Body, string(text), int(l.text()))
	}
	f.json, err = strictJSON(text)
	return err
}

// pairs reads name=value&…. What the decoders of applications disagree on is
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
		k, v, valued := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(k)
		if err != nil {
			return bad("escape")
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			return bad("escape")
		}
		if source == Query && !utf8.ValidString(value) {
			return bad("encoding")
		}
		x := field{source: source, name: name, value: value, pair: spell(k, name)}
		if valued {
			x.pair += "=" + spell(v, value)
		}
		if err := f.add(x); err != nil {
			return err
		}
	}
	return nil
}

// spell writes a name or a value of an urlencoded body. The client's own
// spelling stays where every reader takes it for the same: who signs what it
// sends signs the spelling.
func spell(raw, plain string) string {
	for i := range len(raw) {
		switch c := raw[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.~*!'()+%,:@/", c) >= 0:
		default:
			return url.QueryEscape(plain)
		}
	}
	return raw
}

func (f *Form) add(x field) error {
	switch {
	case len(f.fields) >= maxFields:
		return bad("too_many_fields")
	case !validText(x.name):
		return bad("encoding")
	}
	x.key = readName(x.name)
	f.fields = append(f.fields, x)
	return nil
}

// validText refuses what is no UTF-8, and the byte-order mark that would make
// a decoder change its mind.
func validText(s string) bool {
	return utf8.ValidString(s) && !strings.HasPrefix(s, "\ufeff")
}

// Forward makes the request one that says what was read, and nothing else:
// its body is written anew from the fields, under a content type of ours. Then
// no parser can find in it what was not seen here.
func (f *Form) Forward(r *http.Request) {
	r.URL.RawQuery = plainQuery(r.URL.RawQuery)
	switch {
	case f.Kind == Empty:
		delete(r.Header, "Content-Type")
	case f.contentType != "":
		r.Header["Content-Type"] = []string{f.contentType}
	}
	switch f.Kind {
	case Empty, Opaque, JSONBody:
		return
	case URLEncoded:
		f.body.replace(r, f.urlencoded())
	case Multipart:
		f.rewrite(r)
	}
	for _, name := range []string{"Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
		delete(r.Header, name) // they speak about the bytes that came
	}
}

// plainQuery escapes what servers disagree on in a query: some take a ';' for
// another '&' (attacks J4, K2), and some no UTF-8.
func plainQuery(raw string) string {
	odd := func(c byte) bool { return c == ';' || c <= ' ' || c >= 0x7f }
	if !slices.ContainsFunc([]byte(raw), odd) {
		return raw
	}
	var b strings.Builder
	for i := range len(raw) {
		if c := raw[i]; odd(c) {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (f *Form) urlencoded() string {
	var b strings.Builder
	for _, x := range f.fields {
		if x.source != Body {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(x.pair)
	}
	return b.String()
}

// Lookup finds a field by its name, in every spelling that some application
// takes for it. The value is given when the state is Exact and the field stands
// where source says. A name with keys in brackets is ambiguous beside the bare
// name, which would take its place.
func (f *Form) Lookup(source Source, name string) (value string, state State) {
	want, beside := readName(name), false
	for i := range f.fields {
		x := &f.fields[i]
		switch {
		case !x.key.is(&want):
			for _, outer := range want.within {
				beside = beside || x.key.flat == outer
			}
			continue
		case state != Absent || x.name != name || x.unread:
			return "", Ambiguous
		}
		value, state = x.value, Exact
		if source != Any && x.source != source {
			return "", Ambiguous // it stands elsewhere than it should
		}
	}
	if beside && state == Exact {
		return "", Ambiguous
	}
	return value, state
}

// Pair is one field of a form: a name and its value.
type Pair struct{ Name, Value string }

// Plain lists the fields of the body in their order, where a form with hidden inputs
// posts exactly these again, with the encoding that is given. It is "" where there
// is no such form: a file, what is no UTF-8, or more than limit bytes.
func (f *Form) Plain(limit int) (fields []Pair, encoding string) {
	for _, x := range f.fields {
		if x.source != Body {
			continue
		}
		limit -= len(x.name) + len(x.value)
		switch {
		case limit < 0, x.unread, x.name == "", !utf8.ValidString(x.value), strings.Contains(x.name+x.value, "\x00"):
			return nil, ""
		case strings.EqualFold(x.name, "_charset_") && x.value != "UTF-8": // browsers fill it in (HTML 4.10.21.4)
			return nil, ""
		}
		fields = append(fields, Pair{x.name, x.value})
	}
	switch f.Kind {
	case URLEncoded:
		return fields, "application/x-www-form-urlencoded"
	case Multipart:
		return fields, "multipart/form-data"
	case Empty, JSONBody, Opaque:
	}
	return nil, ""
}
