package login

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// Credential is what a request carries by HTTP Basic (RFC 7617).
type Credential struct {
	// User is the name as it was sent.
	User string
	// Field is the whole Authorization field in its one canonical form.
	Field string
}

// ErrCredential: the field Authorization could be read in two ways.
var ErrCredential = errors.New("ambiguous Authorization")

// ReadBasic reads the HTTP Basic credential of a request, nil when it carries
// none.
func ReadBasic(h http.Header) (*Credential, error) {
	values := h["Authorization"]
	if len(values) == 0 {
		return nil, nil
	}
	scheme, text, _ := strings.Cut(strings.TrimLeft(values[0], " \t"), " ")
	if !strings.EqualFold(scheme, "Basic") {
		return nil, nil
	}
	if len(values) > 1 || len(text) > 4096 {
		return nil, ErrCredential
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(strings.Trim(text, " \t"))
	if err != nil || !utf8.Valid(plain) || strings.ContainsFunc(string(plain), func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return nil, ErrCredential
	}
	user, _, found := strings.Cut(string(plain), ":")
	if !found || user == "" || len(user) > maxUser {
		return nil, ErrCredential
	}
	return &Credential{User: user, Field: "Basic " + base64.StdEncoding.EncodeToString(plain)}, nil
}

// NewBasic is the credential of a name and a password. ErrCredential for what
// HTTP Basic cannot carry.
func NewBasic(user, password string) (*Credential, error) {
	if strings.Contains(user, ":") {
		return nil, ErrCredential
	}
	return ReadBasic(http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}})
}

// Basic finds the rule of a site for HTTP Basic that covers a request, nil for
// none.
func (rs Rules) Basic(q *Request) *Rule {
	for _, r := range rs {
		if r.Config.Basic != "" && r.covers(q) {
			return r
		}
	}
	return nil
}

// Prove asks the application whether a credential is right, without showing it
// the client's request: the probe must be refused without the credential and
// answered with it (design, section 4). user is who it says, "" when only the
// credential names somebody. probe asks for a page with an Authorization field.
func (r *Rule) Prove(ctx context.Context, c *Credential, probe func(ctx context.Context, target, authorization string) (*upstream.Reply, error)) (v Verdict, user string, err error) {
	target := InPath(r.Config.Basic, c.User)
	without, err := probe(ctx, target, "")
	if err != nil {
		return Failed, "", fmt.Errorf("%w: basic: %w", ErrNoVerdict, err)
	}
	if without.Status != http.StatusUnauthorized {
		return Failed, "", fmt.Errorf("%w: basic: %s answers %d to nobody; name a page that needs a password", ErrNoVerdict, r.Config.Basic, without.Status)
	}
	with, err := probe(ctx, target, c.Field)
	if err != nil {
		return Failed, "", fmt.Errorf("%w: basic: %w", ErrNoVerdict, err)
	}
	switch s := with.Status; {
	case s == http.StatusUnauthorized:
		return Failed, "", nil
	case s >= 200 && s < 400, s == http.StatusNotFound, slices.Contains(r.BasicStatus, s):
	default:
		return Failed, "", fmt.Errorf("%w: basic: %s answers %d to the credential; if that is what a user with a right password gets, write basic %s %d", ErrNoVerdict, target, s, r.Config.Basic, s)
	}
	if r.Identity == nil {
		if r.User != nil && r.User.Source == Constant {
			return Accepted, r.User.Name, nil
		}
		return Accepted, "", nil
	}
	page := with
	if r.Identity.Path != r.Config.Basic {
		if page, err = probe(ctx, InPath(r.Identity.Path, c.User), c.Field); err != nil {
			return Failed, "", fmt.Errorf("%w: identity: %w", ErrNoVerdict, err)
		}
	}
	user, err = r.named(page)
	switch {
	case err != nil:
		return Failed, "", fmt.Errorf("%w: identity: %w", ErrNoVerdict, err)
	case user == "":
		return Failed, "", fmt.Errorf("%w: the password is right, but identity names nobody (status %d)", ErrNoVerdict, page.Status)
	}
	return Accepted, user, nil
}

// Typed is the credential's name, folded, where nobody else says who it is; see
// intake.TypedUser.
func (c *Credential) Typed() (string, bool) { return intake.TypedUser(c.User) }
