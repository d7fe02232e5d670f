package differential

import (
	"io"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
)

// input is what a client may choose of a request that carries a form.
type input struct {
	types       []string // Content-Type fields
	query, body string
}

// request is the request as a server hands it on; ok is false for what net/http
// answers by itself.
func (in input) request() (r *http.Request, ok bool) {
	if strings.ContainsFunc(in.query, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '#' }) {
		return nil, false
	}
	h := http.Header{}
	for _, t := range in.types {
		if !httpguts.ValidHeaderFieldValue(t) {
			return nil, false
		}
		h.Add("Content-Type", strings.Trim(t, " \t"))
	}
	return &http.Request{
		Method: http.MethodPost, Host: "example.com", URL: &url.URL{Path: "/login", RawQuery: in.query}, Header: h,
		Body: io.NopCloser(strings.NewReader(in.body)), ContentLength: int64(len(in.body)),
	}, true
}

// gate says what the gate read, and what the application is given. A nil form
// is a refusal.
type gate func(input) (*intake.Form, input)

// forwarded is the gate as it is.
func forwarded(in input) (*intake.Form, input) {
	f, r := read(in)
	if f == nil {
		return nil, in
	}
	f.Forward(r)
	return f, after(r)
}

// asItWas is the gate without its rule: the application is given what came. It
// is there to show that the inputs of the corpus are worth something.
func asItWas(in input) (*intake.Form, input) {
	f, r := read(in)
	if f == nil {
		return nil, in
	}
	return f, after(r)
}

func read(in input) (*intake.Form, *http.Request) {
	r, ok := in.request()
	if !ok {
		return nil, nil
	}
	f, err := intake.Read(r, intake.Limits{})
	if err != nil {
		return nil, nil
	}
	// As the gate does for every login; see CheckTarget in package gate.
	for _, name := range watched {
		if _, state := f.Lookup(intake.Any, name); state != intake.Absent && r.URL.RawQuery != "" && intake.CheckTarget(r) != nil {
			return nil, nil
		}
	}
	return f, r
}

func after(r *http.Request) input {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err) // it lies in memory
	}
	return input{r.Header["Content-Type"], r.URL.RawQuery, string(body)}
}
