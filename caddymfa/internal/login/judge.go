package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
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

// ErrNoEvidence is the ErrNoVerdict of an answer that shows neither a right nor a
// wrong password: the rule does not fit the application, or no longer.
var ErrNoEvidence = fmt.Errorf("%w: no evidence", ErrNoVerdict)

// maxUser bounds a user's name in bytes.
const maxUser = 256

// Judge asks the rules of one login in turn. The first that takes the answer for
// a login decides. What one rule cannot tell, another may know to be a wrong
// password; but where a rule finds a contradiction nobody can say.
func (rs Rules) Judge(ctx context.Context, a *match.Answer, ask Ask) (*Rule, string, error) {
	var unsure, unknown error
	var which, unknowing *Rule
	failed := false
	for _, r := range rs {
		v, user, err := r.Judge(ctx, a, ask)
		switch {
		case errors.Is(err, ErrNoEvidence):
			unknowing, unknown = cmp.Or(unknowing, r), cmp.Or(unknown, err)
		case err != nil:
			which, unsure = cmp.Or(which, r), cmp.Or(unsure, err)
		case v == Accepted:
			return r, user, nil
		default:
			failed = true
		}
	}
	switch {
	case unsure != nil:
		return which, "", unsure
	case failed:
		return nil, "", nil
	}
	return unknowing, "", unknown
}

// Judge says what an answer means, and whom it is about; user is "" when only
// the request names somebody. Wrong needs evidence as right does: an answer that
// shows neither is ErrNoEvidence.
func (r *Rule) Judge(ctx context.Context, a *match.Answer, ask Ask) (v Verdict, user string, err error) {
	failure, err := r.failure.Any(ctx, a)
	if err != nil {
		return Failed, "", fmt.Errorf("%w: failure: %w", ErrNoVerdict, err)
	}
	success := false
	if !failure {
		if success, err = r.success.Any(ctx, a); err != nil {
			return Failed, "", fmt.Errorf("%w: success: %w", ErrNoVerdict, err)
		}
	}
	if r.Identity != nil {
		return r.judgeIdentity(ctx, failure, success, a, ask)
	}
	switch {
	case failure, !success && denied(a):
		return Failed, "", nil
	case !success:
		return Failed, "", fmt.Errorf("%w: the answer (status %d) is none that success names, and no failure line says that it is a wrong password", ErrNoEvidence, a.Status)
	}
	if r.Names() {
		if user, err = r.answerUser(a); err != nil {
			return Failed, "", fmt.Errorf("%w: user: %w", ErrNoVerdict, err)
		}
	}
	return Accepted, user, nil
}

func (r *Rule) judgeIdentity(ctx context.Context, failure, success bool, a *match.Answer, ask Ask) (v Verdict, user string, err error) {
	fail := func(err error) (Verdict, string, error) {
		return Failed, "", fmt.Errorf("%w: identity %s: %w", ErrNoVerdict, r.Identity.Path, err)
	}
	rep, err := ask.As(ctx, InPath(r.Identity.Path, ask.User))
	if err != nil {
		return fail(err)
	}
	user, err = r.named(rep)
	switch {
	case err != nil:
		return fail(err)
	case user != "":
		return Accepted, user, nil
	case success:
		return fail(fmt.Errorf("the answer looks like a login, but the page names nobody (status %d)", rep.Status))
	case failure:
		return Failed, "", nil
	}
	refused, err := r.refused(ctx, a, rep, ask)
	switch {
	case err != nil:
		return fail(err)
	case refused, denied(a):
		return Failed, "", nil
	}
	return Failed, "", fmt.Errorf("%w: identity %s names nobody (status %d), and shows no login form as it does to a stranger: "+
		"if the password was right, its pattern does not fit this user's page; if it was wrong, a failure line must say so", ErrNoEvidence, r.Identity.Path, rep.Status)
}

// WhoIs asks who is logged in by a page of identity. "" is nobody; stranger says
// that the application has shown that.
func (r *Rule) WhoIs(ctx context.Context, ask Ask) (user string, stranger bool, err error) {
	rep, err := ask.As(ctx, InPath(r.Identity.Path, ask.User))
	if err != nil {
		return "", false, err
	}
	if user, err = r.named(rep); err != nil || user != "" {
		return user, false, err
	}
	stranger, err = r.refused(ctx, nil, rep, ask)
	return "", stranger, err
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

// accepted says what the rule's own conditions make of an answer.
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
	matches := r.identity.FindAllSubmatch(rep.Body, -1)
	for _, m := range matches {
		name, err := clean(html.UnescapeString(string(m[1])))
		switch {
		case err != nil:
			return "", err
		case name == "":
		case found != "" && found != name:
			return "", fmt.Errorf("%w: its %d matches name different ones: a text of another user on it may look like a match; anchor the regular expression in the page's markup", errTwoUsers, len(matches))
		default:
			found = name
		}
	}
	return found, nil
}

var errTwoUsers = errors.New("the page names two users")

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

// Named is the user whom an answer itself names, by the first rule that reads a name
// there; "" for none.
func (rs Rules) Named(a *match.Answer) string {
	for _, r := range rs {
		if r.User == nil || r.User.Source != AnswerJSON && r.User.Source != AnswerHeader {
			continue
		}
		if user, err := r.answerUser(a); err == nil {
			return user
		}
	}
	return ""
}

// CookieUser reads the user's name out of the cookies of an answer, for a rule
// that reads it there. named is false where none of them is such a cookie.
func (r *Rule) CookieUser(sets []jar.Set) (named bool, user string) {
	if r.User == nil || r.User.Source != AnswerCookie {
		return false, ""
	}
	name := regexp.MustCompile(r.User.Name) // checked by Compile
	if !slices.ContainsFunc(sets, func(s jar.Set) bool { return !s.Blank && name.MatchString(s.Cookie.Name) }) {
		return false, ""
	}
	user, _ = r.answerUser(&match.Answer{Sets: sets}) // none, or two, are not the one
	return true, user
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
