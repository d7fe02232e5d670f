package login

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// Missing says what a rule lacks. Such a rule works, but some people are told
// nothing, or another's text may be taken for the application's word.
func (r *Rule) Missing() (out []string) {
	if r.Config.Basic == "" && len(r.Failure) == 0 && r.Identity == nil {
		out = append(out, "there is neither a failure line nor identity: only an answer with status 401 tells a wrong password, every other one that no success line names ends as \"no verdict\", and nobody is told that the password was wrong; "+
			"add failure with what the answer to a wrong password shows, such as failure status 200 body `<div class=\"error\"`")
	}
	if id := r.Identity; id != nil && id.Pattern != "" && !match.AnchoredGroup(id.Pattern) {
		out = append(out, fmt.Sprintf("identity: %s asks for no markup next to the name, so another user's text on %s may look like it, and then nobody who sees that text can sign in; "+
			"let it begin with the markup before the name, such as `id=\"user\">([^<]+)`", id.Pattern, id.Path))
	}
	for _, kind := range []struct {
		word  string
		lines [][]match.Condition
	}{{"success", r.Success}, {"failure", r.Failure}} {
		for _, line := range kind.lines {
			if body := unanchored(line); body != "" {
				out = append(out, fmt.Sprintf("%s: body %s asks for no markup, so a text on the page that a user has written, or a name that was typed and is shown again, may look like it; "+
					"add the markup around it, such as `<p class=\"message\">[^<]*…`", kind.word, body))
			}
		}
	}
	return out
}

// unanchored is the body condition of a line that a user's text may fulfil. With
// another condition that only the application can fulfil, the line is not its alone.
func unanchored(line []match.Condition) (body string) {
	for _, c := range line {
		switch {
		case c.Not:
		case c.Body != "":
			if match.Anchored(c.Body) {
				return ""
			}
			body = c.Body
		case c.Next != nil && c.Next.Body != "":
			if match.Anchored(c.Next.Body) {
				return ""
			}
			body = c.Next.Body
		case c.Cookie != nil, c.JSON != nil, c.Header != nil:
			return ""
		}
	}
	return body
}

// Weak says what is less certain than it could be. It is for lint: a rule may
// have good reasons.
func (r *Rule) Weak() (out []string) {
	if r.Config.Basic == "" && len(r.Failure) == 0 && r.Identity != nil && (r.Identity.JSON != "" || r.ReadsJSON()) {
		out = append(out, fmt.Sprintf("there is no failure line, and no form that the gate could see again: a wrong password is told only where %s answers strangers with 401 or leads them to a login form, or the login itself is answered with 401; "+
			"add failure with what the answer to a wrong password shows, and it is certain", r.Identity.Path))
	}
	for _, line := range r.Failure {
		if !r.steered(line) {
			continue
		}
		var words []string
		for _, c := range line {
			words = append(words, c.String())
		}
		out = append(out, "failure "+strings.Join(words, " ")+": a client may bring this about with a right password, by what else it sends or where it asks to be led back, and would go on with the session as if the password had been wrong; "+
			"add a body, json or header that only a wrong password gets, or not with the cookie or json of the success line")
	}
	return out
}

// steered reports whether a client may have a hand in all conditions of a failure
// line.
func (r *Rule) steered(line []match.Condition) bool {
	for _, c := range line {
		switch {
		case c.Not && r.succeedsBy(c), c.Status != nil && !c.Not && r.refusals(c.Status):
			return false
		case c.Not, c.Status != nil, c.Location != "", c.CookieChanged != "":
		default:
			return false
		}
	}
	return true
}

// refusals reports whether statuses refuse a login by themselves: 401, and where
// identity was asked before what the line says, every other 4xx.
func (r *Rule) refusals(codes []int) bool {
	return !slices.ContainsFunc(codes, func(s int) bool {
		return s != http.StatusUnauthorized && (r.Identity == nil || s/100 != 4 && s != 4)
	})
}

// succeedsBy reports whether a condition takes away what a success line asks for:
// an answer without it has given nobody a session.
func (r *Rule) succeedsBy(not match.Condition) bool {
	same := func(a, b *match.Pair) bool { return a != nil && b != nil && strings.EqualFold(a.Name, b.Name) }
	for _, line := range r.Success {
		if slices.ContainsFunc(line, func(c match.Condition) bool {
			return !c.Not && (same(c.Cookie, not.Cookie) || same(c.JSON, not.JSON) || same(c.Header, not.Header))
		}) {
			return true
		}
	}
	return false
}
