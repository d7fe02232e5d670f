package gate

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// Step is one question that the gate asks of a request, and what came of it.
type Step struct{ Question, Answer string }

// Explain says, question by question, what the gate makes of a request: the
// rows of Serve in their order, by the functions that Serve uses. The request is
// read and not forwarded. The last step is the outcome.
func (g *Gate) Explain(r *http.Request, in Input) []Step {
	host, ok := Hostname(r.Host)
	in.Server = silent{}
	v := &visit{r: r, in: in, site: g.site(host), call: &flow.Call{R: r, URL: in.URL, State: session.NoHandle, Navigation: navigation(r)}}
	var steps []Step
	say := func(question, format string, args ...any) {
		steps = append(steps, Step{question, fmt.Sprintf(format, args...)})
	}
	if !ok || r.URL.Path == "" || r.URL.Path[0] != '/' {
		say("outcome", "400: the host or the path is none")
		return steps
	}
	d := g.decide(v)
	say("application", "%s", v.site.App)
	if v.target.Canonical {
		say("path", "%s", v.target.Path)
	} else {
		say("path", "%s, which servers read in several ways: %s; so it opens nothing", v.target.Path, strings.Join(v.target.Spellings, "  "))
	}
	if d.reason == event.Denied {
		say("deny", "yes, by: deny %s", d.entry.Request)
		say("outcome", "403 at every level: shut for everybody")
		return steps
	}
	say("deny", "no, by none of %d entries", len(g.Deny))
	if d.reason == event.OwnRoute {
		prefix := g.Prefix
		if g.api(in.URL) || g.api(r.URL) {
			prefix = g.APIPrefix + ", the API's"
		}
		say("own route", "yes: below %s", prefix)
		reports := strings.HasSuffix(in.URL.Path, flow.ReceiptPath)
		switch {
		case reports && !g.Flow.Listening():
			say("outcome", "404: no sms block has a status_callback")
		case reports && r.Method != http.MethodPost:
			say("outcome", "405: providers of texts post their reports here")
		case reports:
			say("outcome", "a provider's report on a text: answered by the gate itself, 403 without the provider's signature for status_callback")
		default:
			say("outcome", "answered by the gate itself; the application does not see it")
		}
		return steps
	}
	say("own route", "no: not below %s", g.Prefix)
	if g.FirstFactor {
		g.explainFirstFactor(v, say)
		return steps
	}
	form, reason := g.read(v)
	if reason != "" {
		form = &intake.Form{}
	}
	for _, rule := range g.Rules {
		say("login "+rule.Name, "%s", rule.Explain(&v.target, form))
	}
	switch d.reason {
	case event.IsLogin:
		say("outcome", "a login: it is passed on without its answer being shown; a right password leads to the code, at every level; a wrong one to the application's own answer")
		return steps
	case event.LoginByGet:
		say("outcome", "400: a password by a method that the login is not for; it is not passed on and not logged")
		return steps
	case event.Ambiguous, event.BodyTooLarge:
		if len(g.Rules) > 0 && g.Rules.Candidate(&v.target) && reason != "" {
			say("outcome", "400: it may be a login, and its body could be read in two ways")
			return steps
		}
	case event.CrossSite:
		say("outcome", "403: a login from another site's page; allow_origin names those that may")
		return steps
	}
	g.explainOpen(v, d, say)
	return steps
}

func (g *Gate) explainFirstFactor(v *visit, say func(string, string, ...any)) {
	say("first_factor", "Caddy identifies the user, before the gate")
	if e := g.public(v); e != nil {
		say("public", "yes, by: %s", openedBy("public", e))
		say("outcome", "passed on without cookies and credentials")
		return
	}
	say("public", "no")
	say("outcome", "401 where Caddy has identified nobody; else the code is asked for, and the request is passed on after it")
}

func (g *Gate) explainOpen(v *visit, d decision, say func(string, string, ...any)) {
	flowOpen, publicOpen := g.loginFlow(v), g.public(v)
	say("login_flow", "%s", answerOpen("login_flow", flowOpen))
	say("public", "%s", answerOpen("public", publicOpen))
	pending := "the code page, or 403 with the challenge for a program"
	if publicOpen != nil {
		pending = "passed on without cookies and credentials"
	}
	switch {
	case d.reason == event.Ambiguous:
		say("outcome", "400 before signing in: the address could be read in two ways")
	case flowOpen != nil:
		kept := "passed on with the cookies of before the login"
		if flowOpen.restricts {
			kept += ", and without other parameters than those named"
		}
		say("outcome", "anonymous: %s; pending: %s; verified: passed on with the session's cookies", kept, pending)
	case publicOpen != nil:
		say("outcome", "anonymous and pending: passed on without cookies and credentials; verified: with the session's cookies")
	default:
		anonymous := "to " + g.signIn(v)
		switch {
		case !v.call.Navigation:
			anonymous = "401 (not a navigation: no Accept: text/html)"
		case g.asksBasic(v):
			anonymous = "401 that asks for HTTP Basic"
		case v.r.Method != http.MethodGet && v.r.Method != http.MethodHead:
			anonymous = "401 with a page that says the form was not sent"
		}
		say("outcome", "closed: nothing opens it. anonymous: %s; pending: %s; verified: passed on with the session's cookies", anonymous, pending)
	}
}

func answerOpen(word string, o *opening) string {
	if o == nil {
		return "no"
	}
	return "yes, by: " + openedBy(word, o)
}

func openedBy(word string, o *opening) string {
	switch {
	case o.loginPage:
		return "login_page " + entryText(o.entry)
	case o.asset:
		return "public_assets (its query is not passed on)"
	}
	return word + " " + entryText(o.entry)
}

func entryText(e *match.Entry) string { return e.Request.String() }
