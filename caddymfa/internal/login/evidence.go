package login

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"

	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// Ask is how the application is asked for pages in order to judge a login.
type Ask struct {
	// As asks as the one who has just tried to log in, with the cookies and the
	// bearer token that the answer gave.
	As func(ctx context.Context, target string) (*upstream.Reply, error)
	// Stranger asks as somebody without any cookie. What it says may be remembered.
	Stranger func(ctx context.Context, target string) (*upstream.Reply, error)
	// Host is the site's name.
	Host string
	// User is the name that the request gives, or whose session it is: what
	// {user} in the path of identity stands for.
	User string
}

// A wrong password needs evidence, too: an application whose pages have changed,
// or a user who is not shown the page of identity, look like one otherwise, and
// the session of a right password would go on as nobody's (attack K29). Evidence
// is a failure line, or that the application still asks for the password: it
// answers the page of identity as it answers a stranger, and shows a login form.

// maxHops bounds the redirects on the way to a login form.
const maxHops = 3

// refused reports whether the application has shown that it knows nobody. rep is
// its answer for the page of identity, which names nobody; answer the one to the
// login, nil where there was none.
func (r *Rule) refused(ctx context.Context, answer *match.Answer, rep *upstream.Reply, ask Ask) (bool, error) {
	shown := map[string]bool{} // where a login form was
	now := r.viewOf(rep, ask.Host)
	if now.class == classOther {
		return false, nil
	}
	rep, err := ask.Stranger(ctx, InPath(r.Identity.Path, ask.User))
	if err != nil {
		return false, err
	}
	if r.viewOf(rep, ask.Host) != now {
		return false, nil
	}
	// A page that leads everybody to the same place shows nothing. The place must
	// ask for a password.
	for hop := 0; now.class == classRedirect && hop < maxHops; hop++ {
		shown[pathOf(now.target)] = true
		if rep, err = ask.As(ctx, now.target); err != nil {
			return false, err
		}
		now = r.viewOf(rep, ask.Host)
	}
	switch now.class {
	case classRefused:
		return true, nil // 401 is for who is not known, and for nobody else
	case classForm:
	case classOther, classRedirect:
		return false, nil
	}
	// A user who may not see the page of identity is led to the login form as a
	// stranger is. So the login's own answer must ask for the password, too.
	return answer == nil || denied(answer) || passwordForm(answer.Body) != "" ||
		answer.Status >= 300 && answer.Status <= 399 && shown[pathOf(targetOf(r.Identity.Path, answer.Header.Get("Location"), ask.Host))], nil
}

func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return strings.TrimRight(path, "/")
}

// class is what kind of answer the application gives to somebody.
type class int

const (
	classOther    class = iota // says nothing of whether he is known
	classRefused               // 401
	classRedirect              // to a page of this site
	classForm                  // a page that asks for a password
)

// view is what somebody sees of a page, as far as two can be compared that were
// asked for at different times.
type view struct {
	class  class
	status int
	// target is where a redirect leads; form is the form that asks for a password.
	target, form string
}

func (r *Rule) viewOf(rep *upstream.Reply, host string) view {
	v := view{status: rep.Status}
	switch {
	case rep.Status == http.StatusUnauthorized:
		v.class = classRefused
	case rep.Status >= 300 && rep.Status <= 399:
		if v.target = targetOf(r.Identity.Path, rep.Header.Get("Location"), host); v.target != "" {
			v.class = classRedirect
		}
	case rep.Status < 500:
		if v.form = passwordForm(rep.Body); v.form != "" {
			v.class = classForm
		}
	}
	return v
}

// word is a value of a query that is no secret and not made anew each time.
var word = regexp.MustCompile(`^[A-Za-z_.-]{0,24}$`)

// targetOf is the path of a redirect of this site, with the words of its query.
// "" for another site.
func targetOf(from, location, host string) string {
	base, err := url.Parse(from)
	if err != nil || location == "" {
		return ""
	}
	to, err := base.Parse(location)
	if err != nil || to.Host != "" && !strings.EqualFold(to.Hostname(), host) || !strings.HasPrefix(to.Path, "/") || strings.HasPrefix(to.Path, "//") {
		return ""
	}
	q := to.Query()
	for name, values := range q {
		if !slices.ContainsFunc(values, word.MatchString) {
			delete(q, name)
		}
	}
	out := (&url.URL{Path: to.Path}).EscapedPath()
	if len(q) > 0 {
		out += "?" + q.Encode()
	}
	return out
}

// passwordForm is the first form of a page that asks for a password, by where it
// is sent and the names of its fields. "" where there is none.
func passwordForm(page []byte) string {
	doc, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		return ""
	}
	for form := range doc.Descendants() {
		if form.Type != html.ElementNode || form.Data != "form" {
			continue
		}
		var names []string
		asks := false
		for n := range doc.Descendants() {
			if n.Type == html.ElementNode && n.Data == "input" && belongs(n, form) {
				names = append(names, attribute(n, "name"))
				asks = asks || strings.EqualFold(attribute(n, "type"), "password")
			}
		}
		if asks {
			slices.Sort(names)
			action, _, _ := strings.Cut(attribute(form, "action"), "?")
			action, _, _ = strings.Cut(action, ";")
			return action + " " + strings.Join(names, " ")
		}
	}
	return ""
}

// denied reports whether an answer itself is a refusal by its meaning: 401
// (RFC 9110 15.5.2), and no cookie with it.
func denied(a *match.Answer) bool {
	return a.Status == http.StatusUnauthorized && !slices.ContainsFunc(a.Sets, func(s jar.Set) bool { return !s.Blank })
}
