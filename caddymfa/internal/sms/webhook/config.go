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

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
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
	// Body is a template with {to}, the number in E.164, {text}, {code} (empty in
	// a notice), {lang} (BCP 47) and {minutes} that the code is of use. {to} must
	// be there, and {text} or {code}; without {text} notices are declined. In JSON
	// they stand inside quotes and are escaped as the insides of a string; in a
	// form they are percent-encoded. Default {"to":"{to}","text":"{text}"}.
	Body string
	// Form is, in place of Body, the fields of application/x-www-form-urlencoded,
	// in this order; the values are templates.
	Form []Field
	// Secret signs requests: X-Caddymfa-Signature is "sha256=" and the
	// hexadecimal HMAC-SHA-256 of X-Caddymfa-Timestamp (Unix seconds), a dot and
	// the body. A gateway should refuse timestamps that are minutes off.
	Secret string
	// Success judges an answer with a 2xx status whose body was read whole. Nil:
	// any 2xx accepts the text.
	Success func(status int, header http.Header, body []byte) bool
	// LookUp resolves other placeholders with a dot in their name when the
	// configuration is checked, e.g. env.SMS_KEY.
	LookUp func(name string) (string, error)
	// Timeout bounds one request with its answer. Default 5 s.
	Timeout time.Duration
}

// Field is one of a form.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

const (
	defaultBody     = `{"to":"{to}","text":"{text}"}`
	timestampHeader = "X-Caddymfa-Timestamp"
	signatureHeader = "X-Caddymfa-Signature"

	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// reserved are headers that the request's own form decides.
var reserved = []string{"Content-Length", "Transfer-Encoding", "Connection", "Host", timestampHeader, signatureHeader}

// check says what is wrong, without values that may be secret, and returns the
// body's template and how values are escaped in it.
func (c *Config) check() (body template, escape func(string) string, err error) {
	if c.Method == "" {
		c.Method = http.MethodPost
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, nil, errors.New("the address is none: it begins with https:// (or http:// in a trusted network) and a host")
	case c.Method != http.MethodPost && c.Method != http.MethodPut:
		return nil, nil, fmt.Errorf("method %s is not possible: use POST or PUT, others would put the code into an address, which is logged", c.Method)
	case c.Body != "" && len(c.Form) > 0:
		return nil, nil, errors.New("body and form are both there, and a request has one of them: remove one")
	case c.Timeout < 0:
		return nil, nil, errors.New("the time-out is negative: leave it out for 5 s")
	}
	kind, err := c.contentType()
	if err != nil {
		return nil, nil, err
	}
	escape = inner
	if kind == formType {
		escape = url.QueryEscape
	}
	if len(c.Form) > 0 {
		body, err = c.form()
	} else {
		body, err = c.template(kind, escape)
	}
	if err != nil {
		return nil, nil, err
	}
	if !body.has("to") || !body.has("text") && !body.has("code") {
		return nil, nil, errors.New("the request lacks {to} or {text}: put both in, they stand for the number and the text ({code} may stand for {text} where the gateway writes the text itself)")
	}
	return body, escape, nil
}

// contentType checks the headers and says of which kind the body is.
func (c *Config) contentType() (kind string, err error) {
	kind = jsonType
	if len(c.Form) > 0 {
		kind = formType
	}
	for name, value := range c.Headers {
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return "", fmt.Errorf("header %q is no header name", name)
		case !httpguts.ValidHeaderFieldValue(value):
			return "", fmt.Errorf("the value of header %s has a line break or control character: remove it (a secret from a file may end in one)", name)
		case slices.ContainsFunc(reserved, func(r string) bool { return strings.EqualFold(r, name) }):
			return "", fmt.Errorf("header %s is set by the request itself: remove it", name)
		case strings.EqualFold(name, "Content-Type") && len(c.Form) > 0:
			return "", errors.New("header Content-Type is set by form: remove it")
		case strings.EqualFold(name, "Content-Type"):
			kind, _, _ = mime.ParseMediaType(value)
		}
	}
	if kind != jsonType && kind != formType {
		return "", errors.New("this Content-Type is not possible: use application/json or application/x-www-form-urlencoded")
	}
	return kind, nil
}

// template reads Body.
func (c *Config) template(kind string, escape func(string) string) (template, error) {
	text := c.Body
	if text == "" {
		text = defaultBody
		if kind == formType {
			text = "to={to}&text={text}"
		}
	}
	t, err := parse(text, c.LookUp, escape)
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	// A word is valid inside quotes only, as a text is.
	if kind == jsonType && !json.Valid([]byte(t.fill(sms.Message{To: "word", Text: "word", Code: "word", Lang: "word"}, escape))) {
		return nil, errors.New(`body is no JSON when it is filled in: write placeholders inside quotes, such as {"to":"{to}","text":"{text}"}`)
	}
	return t, nil
}

// form makes one template of all fields.
func (c *Config) form() (template, error) {
	var out template
	for i, f := range c.Form {
		if f.Name == "" || placeholder.MatchString(f.Name) {
			return nil, fmt.Errorf("form: %q is no field name: write a name without braces, and a value", f.Name)
		}
		t, err := parse(f.Value, c.LookUp, func(s string) string { return s })
		if err != nil {
			return nil, fmt.Errorf("form %s: %w", f.Name, err)
		}
		name := url.QueryEscape(f.Name) + "="
		if i > 0 {
			name = "&" + name
		}
		out = append(out, part{literal: name})
		for _, p := range t {
			out = append(out, part{literal: url.QueryEscape(p.literal), name: p.name})
		}
	}
	return out, nil
}
