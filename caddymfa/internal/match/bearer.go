package match

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Bearer says where an application gives out bearer tokens (RFC 6750), and where
// it takes them.
type Bearer struct {
	// JSON are dotted paths in the body of an answer, Headers fields of its head.
	JSON    []string `json:"json,omitempty"`
	Headers []string `json:"headers,omitempty"`
	// Query are parameters in which requests may carry a token besides the field
	// Authorization.
	Query []string `json:"query,omitempty"`
	// Scheme is the word before a token in the field Authorization, e.g. Token or JWT.
	// Default: Bearer.
	Scheme string `json:"scheme,omitempty"`
}

// On reports whether the application has bearer tokens at all.
func (b *Bearer) On() bool { return len(b.JSON)+len(b.Headers) > 0 }

// Check refuses a scheme that no field could carry.
func (b *Bearer) Check() error {
	if strings.ContainsFunc(b.Scheme, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._~+", c))
	}) {
		return fmt.Errorf("token: %q is no word for the field Authorization: write the one that the application wants before its token, e.g. Token", b.Scheme)
	}
	return nil
}

// Field is the field Authorization for a token.
func (b *Bearer) Field(token string) string { return cmp.Or(b.Scheme, bearer) + " " + token }

const bearer = "Bearer"

// Given are the tokens that an answer gives out. body is nil where only the head
// is known.
func (b *Bearer) Given(h http.Header, body []byte) (tokens []string) {
	for _, name := range b.Headers {
		for _, v := range h.Values(name) {
			if t := b.bare(v); t != "" {
				tokens = append(tokens, t)
			}
		}
	}
	for _, path := range b.JSON {
		if t, ok := JSONText(body, path); ok && t != "" {
			tokens = append(tokens, b.bare(t))
		}
	}
	return tokens
}

// Carried is the token that a request carries, "" for none. ok is false where it
// carries two: it is not known which one the application would take.
//
// Applications take a token with or without the word before it; another scheme is
// no bearer token.
func (b *Bearer) Carried(r *http.Request) (token string, ok bool) {
	values := r.Header["Authorization"]
	if len(values) > 1 {
		return "", false
	}
	token = b.InHeader(r)
	if len(b.Query) == 0 || r.URL.RawQuery == "" {
		return token, true
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", false
	}
	for _, name := range b.Query {
		for _, v := range q[name] {
			if v = b.bare(v); v == "" || v == token {
				continue
			}
			if token != "" {
				return "", false
			}
			token = v
		}
	}
	return token, true
}

// InHeader is the token in the field Authorization, "" where there is none or the
// field is of another scheme.
func (b *Bearer) InHeader(r *http.Request) string {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return ""
	}
	if t := b.bare(values[0]); !strings.ContainsAny(t, " ,\t") {
		return t
	}
	return ""
}

// bare is a token without the word Bearer, or the application's own.
func (b *Bearer) bare(v string) string {
	v = strings.TrimSpace(v)
	if scheme, t, found := strings.Cut(v, " "); found && (strings.EqualFold(scheme, bearer) || b.Scheme != "" && strings.EqualFold(scheme, b.Scheme)) {
		return strings.TrimSpace(t)
	}
	return v
}
