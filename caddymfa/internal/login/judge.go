package login

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// Verdict is what the application's answer says.
type Verdict int

const (
	// Failed: the password was wrong.
	Failed Verdict = iota
	// Accepted: it was right.
	Accepted
)

// ErrNoVerdict: nobody can say. The session is over, and nothing is let in.
var ErrNoVerdict = errors.New("no verdict")

// maxUser bounds a user's name in bytes.
const maxUser = 256

// Judge asks the rules of one login in turn. The first that takes the answer for
// a login decides; one that cannot say ends the login.
func (rs Rules) Judge(ctx context.Context, a *match.Answer, probe func(context.Context, string) (*upstream.Reply, error)) (*Rule, string, error) {
	for _, r := range rs {
		v, user, err := r.Judge(ctx, a, probe)
		if err != nil {
			return r, "", err
		}
		if v == Accepted {
			return r, user, nil
		}
	}
	return nil, "", nil
}

// Judge says what an answer means, and whom it is about; user is "" when only
// the request names somebody. probe asks the application for the identity page
// with the cookies that it has just given.
func (r *Rule) Judge(ctx context.Context, a *match.Answer, probe func(context.Context, string) (*upstream.Reply, error)) (v Verdict, user string, err error) {
	success, err := r.accepted(ctx, a)
	if err != nil {
		return Failed, "", fmt.Errorf("%w: %w", ErrNoVerdict, err)
	}
	if r.Identity != nil {
		rep, err := probe(ctx, r.Identity.Path)
		if err != nil {
			return Failed, "", fmt.Errorf("%w: identity: %w", ErrNoVerdict, err)
		}
		user, err := r.named(rep)
		switch {
		case err != nil:
			return Failed, "", fmt.Errorf("%w: identity: %w", ErrNoVerdict, err)
		case user != "":
			return Accepted, user, nil
		case success:
			return Failed, "", fmt.Errorf("%w: the answer looks like a login, but identity names nobody (status %d)", ErrNoVerdict, rep.Status)
		}
		return Failed, "", nil
	}
	if !success {
		return Failed, "", nil
	}
	if r.Names() {
		if user, err = r.answerUser(a); err != nil {
			return Failed, "", fmt.Errorf("%w: user: %w", ErrNoVerdict, err)
		}
	}
	return Accepted, user, nil
}

// Guess says what an answer means as far as its own conditions tell. Nothing is
// asked of the application, so a rule that leaves the verdict to identity or next
// has none.
func (rs Rules) Guess(ctx context.Context, a *match.Answer) event.Verdict {
	verdict := event.Rejected
	for _, r := range rs {
		ok, err := r.accepted(ctx, a)
		switch {
		case ok:
			return event.Accepted
		case err != nil, len(r.success) == 0:
			verdict = event.Unasked
		}
	}
	return verdict
}

func (r *Rule) accepted(ctx context.Context, a *match.Answer) (bool, error) {
	if no, err := r.failure.Any(ctx, a); no || err != nil {
		return false, err
	}
	return r.success.Any(ctx, a)
}

// named reads the identity page. A page that is a redirect, or forbidden, or
// does not exist for strangers names nobody; an error page says nothing.
func (r *Rule) named(rep *upstream.Reply) (string, error) {
	switch {
	case rep.Status >= 300 && rep.Status <= 399,
		rep.Status == http.StatusUnauthorized, rep.Status == http.StatusForbidden, rep.Status == http.StatusNotFound:
		return "", nil
	case rep.Status != http.StatusOK:
		return "", fmt.Errorf("the page answered %d", rep.Status)
	}
	if r.Identity.JSON != "" {
		v, _ := match.JSONText(rep.Body, r.Identity.JSON)
		if v == "false" {
			v = ""
		}
		return clean(v)
	}
	found := ""
	for _, m := range r.identity.FindAllSubmatch(rep.Body, -1) {
		name, err := clean(html.UnescapeString(string(m[1])))
		switch {
		case err != nil:
			return "", err
		case name == "":
		case found != "" && found != name:
			return "", errors.New("the page names two users: make the regular expression narrower")
		default:
			found = name
		}
	}
	return found, nil
}

// answerUser reads the user's name out of the answer to the login.
func (r *Rule) answerUser(a *match.Answer) (string, error) {
	var values []string
	switch r.User.Source {
	case Constant:
		return r.User.Name, nil
	case AnswerHeader:
		values = a.Header.Values(r.User.Name)
	case AnswerJSON:
		if v, ok := match.JSONText(a.Body, r.User.Name); ok {
			values = []string{v}
		}
	case AnswerCookie:
		name := regexp.MustCompile(r.User.Name) // checked by Compile
		for _, s := range a.Sets {
			if !s.Delete && !s.Blank && name.MatchString(s.Cookie.Name) {
				v := s.Cookie.Value
				if plain, err := url.PathUnescape(v); err == nil {
					v = plain
				}
				values = append(values, v)
			}
		}
	}
	found := ""
	for _, v := range values {
		name, err := clean(cut(r.user, v))
		switch {
		case err != nil:
			return "", err
		case name == "":
		case found != "" && found != name:
			return "", errors.New("the answer names two users")
		default:
			found = name
		}
	}
	if found == "" {
		return "", errors.New("the answer names nobody")
	}
	return found, nil
}

// clean trims a name that the application gave. It is not folded: the
// application's own spelling tells its users apart.
func clean(name string) (string, error) {
	name = strings.TrimSpace(name)
	switch {
	case len(name) > maxUser:
		return "", fmt.Errorf("a name of %d bytes", len(name))
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return "", errors.New("a name with control characters")
	}
	return name, nil
}

// cut takes the name out of a value: the pattern's group, or its match.
func cut(re *regexp.Regexp, value string) string {
	if re == nil {
		return value
	}
	m := re.FindStringSubmatch(value)
	if m == nil {
		return ""
	}
	return m[len(m)-1]
}
