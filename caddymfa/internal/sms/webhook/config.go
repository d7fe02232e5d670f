package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Config is a gateway.
type Config struct {
	// URL begins with https://, or with http:// for a gateway in a trusted network.
	URL string
	// Method is POST or PUT. Default POST.
	Method string
	// Headers are added to the request, e.g. an API key. Content-Type chooses
	// how Body is filled: application/json (default) or
	// application/x-www-form-urlencoded.
	Headers map[string]string
	// Body is a template with {to}, the number in E.164, and {text}. In JSON
	// they stand inside quotes and are escaped as the insides of a string; in a
	// form they are percent-encoded. Default {"to":"{to}","text":"{text}"}.
	Body string
	// Secret signs requests: X-Caddymfa-Signature is "sha256=" and the
	// hexadecimal HMAC-SHA-256 of X-Caddymfa-Timestamp (Unix seconds), a dot and
	// the body. A gateway should refuse timestamps that are minutes off.
	Secret string
	// Timeout bounds one request with its answer. Default 5 s.
	Timeout time.Duration
}

const (
	defaultBody     = `{"to":"{to}","text":"{text}"}`
	timestampHeader = "X-Caddymfa-Timestamp"
	signatureHeader = "X-Caddymfa-Signature"
)

// reserved are headers that the request's own form decides.
var reserved = []string{"Content-Length", "Transfer-Encoding", "Connection", "Host", timestampHeader, signatureHeader}

// check says what is wrong, without values that may be secret, and returns how
// values are escaped in the body.
func (c *Config) check() (escape func(string) string, err error) {
	if c.Method == "" {
		c.Method = http.MethodPost
	}
	if c.Body == "" {
		c.Body = defaultBody
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the address is none: it begins with https:// (or http:// in a trusted network) and a host")
	case c.Method != http.MethodPost && c.Method != http.MethodPut:
		return nil, fmt.Errorf("method %s is not possible: use POST or PUT, others would put the code into an address, which is logged", c.Method)
	case !strings.Contains(c.Body, "{to}") || !strings.Contains(c.Body, "{text}"):
		return nil, errors.New("body lacks {to} or {text}: put both in, they stand for the number and the text")
	case c.Timeout < 0:
		return nil, errors.New("the time-out is negative: leave it out for 5 s")
	}
	kind := "application/json"
	for name, value := range c.Headers {
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return nil, fmt.Errorf("header %q is no header name", name)
		case !httpguts.ValidHeaderFieldValue(value):
			return nil, fmt.Errorf("the value of header %s has a line break or control character: remove it (a secret from a file may end in one)", name)
		case slices.ContainsFunc(reserved, func(r string) bool { return strings.EqualFold(r, name) }):
			return nil, fmt.Errorf("header %s is set by the request itself: remove it", name)
		case strings.EqualFold(name, "Content-Type"):
			kind, _, _ = mime.ParseMediaType(value)
		}
	}
	switch kind {
	case "application/json":
		// A word is valid inside quotes only, as a text is.
		if !json.Valid([]byte(fill(c.Body, "word", "word", inner))) {
			return nil, errors.New(`body is no JSON when it is filled in: write {to} and {text} inside quotes, such as {"to":"{to}","text":"{text}"}`)
		}
		return inner, nil
	case "application/x-www-form-urlencoded":
		return url.QueryEscape, nil
	}
	return nil, errors.New("this Content-Type is not possible: use application/json or application/x-www-form-urlencoded")
}

// fill puts the values in at once: a text that holds {to} stays as it is.
func fill(body, to, text string, escape func(string) string) string {
	return strings.NewReplacer("{to}", escape(to), "{text}", escape(text)).Replace(body)
}

// inner is the inside of a JSON string.
func inner(s string) string {
	b, _ := json.Marshal(s) //nolint:errchkjson // a string always has a form
	return string(b[1 : len(b)-1])
}
