package match

import (
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
}

// On reports whether the application has bearer tokens at all.
func (b *Bearer) On() bool { return len(b.JSON)+len(b.Headers) > 0 }

// Given are the tokens that an answer gives out. body is nil where only the head
// is known.
func (b *Bearer) Given(h http.Header, body []byte) (tokens []string) {
	for _, name := range b.Headers {
		for _, v := range h.Values(name) {
			if t := bare(v); t != "" {
				tokens = append(tokens, t)
			}
		}
	}
	for _, path := range b.JSON {
		if t, ok := JSONText(body, path); ok && t != "" {
			tokens = append(tokens, bare(t))
		}
	}
	return tokens
}

// Carried is the token that a request carries, "" for none. ok is false where it
// carries two: it is not known which one the application would take.
//
// Applications take a token with or without the word Bearer; another scheme is
// no bearer token.
func (b *Bearer) Carried(r *http.Request) (token string, ok bool) {
	values := r.Header["Authorization"]
	if len(values) > 1 {
		return "", false
	}
	token = InHeader(r)
	if len(b.Query) == 0 || r.URL.RawQuery == "" {
		return token, true
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", false
	}
	for _, name := range b.Query {
		for _, v := range q[name] {
			if v = bare(v); v == "" || v == token {
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
func InHeader(r *http.Request) string {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return ""
	}
	if t := bare(values[0]); !strings.ContainsAny(t, " ,\t") {
		return t
	}
	return ""
}

// bare is a token without the word Bearer.
func bare(v string) string {
	v = strings.TrimSpace(v)
	if scheme, t, found := strings.Cut(v, " "); found && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(t)
	}
	return v
}
