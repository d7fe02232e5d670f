package gate_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// TestExplainSaysWhatServeDoes holds the outcome that Explain tells against what
// Serve then does with the same request of a stranger.
func TestExplainSaysWhatServeDoes(t *testing.T) {
	targets := []string{
		"/", "/home", "/login", "/login?next=%2Fx", "/login/", "//login", "/LOGIN", "/%6cogin", "/login;x=1", "/public/x", "/public/../home", "/PUBLIC/x",
		"/public/%2e%2e/home", "/public/..;/home", "/public/x?a=1;b=2", "/a.css", "/a.css?x=%zz", "/a%2ecss", "/mfa", "/mfa/verify", "/MFA", "/mfa/../home", "/mfax",
		"/xmlrpc", "/xmlrpc/x", "//xmlrpc", "/%78mlrpc", "/api/login", "/home;jsessionid=1", "/x%00y", "/x\\y", "/forgot?step=1", "/forgot?step=2", "/forgot?step=1&step=1",
	}
	bodies := []string{"", "user=alice&password=wrong", "user=alice&user=bob", "other=1"}
	each(t, func(t *testing.T, w *world) {
		kinds := map[string]int{}
		for _, target := range targets {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, "PROPFIND"} {
				for _, body := range bodies {
					for _, accept := range []string{"text/html", "*/*"} {
						if body != "" && method != http.MethodPost {
							continue
						}
						steps, ok := w.explain(method, target, body, accept)
						if !ok {
							continue
						}
						outcome := steps[len(steps)-1].Answer
						before := len(w.app.requests())
						c := w.browser().do(method, target, body, "Accept", accept)
						forwarded := len(w.app.requests()) > before
						want, kind := outcomeFits(outcome, c, forwarded)
						kinds[kind]++
						if !want {
							t.Errorf("%s %s %q %s:\nexplained: %s\nserved: %d, forwarded: %v", method, target, body, accept, outcome, c.status, forwarded)
						}
					}
				}
			}
		}
		for _, kind := range []string{"400", "403", "own", "login", "flow", "public", "closed"} {
			if kinds[kind] == 0 {
				t.Errorf("no request was %s: %v", kind, kinds)
			}
		}
	}, func(g *gate.Gate, r *login.Config) {
		g.Deny = []*match.Entry{entry(t, match.Request{Methods: []string{"*"}, Paths: []string{"/xmlrpc", "/xmlrpc/*"}})}
		one := "1"
		g.LoginFlow = []*match.Entry{entry(t, match.Request{Methods: []string{"GET", "POST"}, Paths: []string{"/forgot"}, Query: []match.Param{{Name: "step", Value: &one}}})}
		r.Fields = []string{"user", "password"}
	})
}

func (w *world) explain(method, target, body, accept string) ([]gate.Step, bool) {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, false
	}
	r := httptest.NewRequest(method, "http://"+w.nodes[0].Listener.Addr().String()+"/", strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	original := *u
	r.URL, r.RequestURI = u, target
	r.Header.Set("Accept", accept)
	steps := w.gates[0].Explain(r, gate.Input{Method: method, URL: &original})
	_, _ = io.Copy(io.Discard, r.Body)
	return steps, true
}

func outcomeFits(outcome string, c *client, forwarded bool) (ok bool, kind string) {
	switch {
	case strings.HasPrefix(outcome, "400"):
		return c.status == http.StatusBadRequest && !forwarded, "400"
	case strings.HasPrefix(outcome, "403"):
		return c.status == http.StatusForbidden && !forwarded, "403"
	case strings.HasPrefix(outcome, "answered by the gate"):
		return !forwarded && c.status != http.StatusSeeOther, "own"
	case strings.HasPrefix(outcome, "a login"):
		return forwarded, "login"
	case strings.HasPrefix(outcome, "anonymous: passed on"):
		return forwarded, "flow"
	case strings.HasPrefix(outcome, "anonymous and pending: passed on"):
		return forwarded, "public"
	case strings.HasPrefix(outcome, "closed"):
		location := c.head.Get("Location")
		if strings.Contains(outcome, "anonymous: to ") {
			return !forwarded && c.status == http.StatusSeeOther && strings.Contains(outcome, "anonymous: to "+location+";"), "closed"
		}
		return !forwarded && c.status == http.StatusUnauthorized, "closed"
	}
	return false, "unknown"
}
