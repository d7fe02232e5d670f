package gate_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
)

// guarded is an application that asks for HTTP Basic everywhere but at /open.
func guarded() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch want, ok := passwords[user]; {
		case r.URL.Path == "/open", strings.HasPrefix(r.URL.Path, "/public/"):
			_, _ = io.WriteString(rw, "open")
		case !ok || want != password:
			rw.Header().Set("WWW-Authenticate", `Basic realm="application"`)
			rw.WriteHeader(http.StatusUnauthorized)
		default:
			_, _ = io.WriteString(rw, marker+" of "+user)
		}
	})
}

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func overBasic(g *gate.Gate, r *login.Config) {
	*r = login.Config{Name: "basic", Basic: "/probe"}
	g.LoginPage = nil
}

// eachApp is each with another application.
func eachApp(t *testing.T, app func() http.Handler, f func(t *testing.T, w *world), cfg ...config) {
	t.Helper()
	stores(t, func(t *testing.T, open func(t *testing.T) backend) { f(t, newWorld(t, open(t), 1, app(), cfg...)) })
}

func TestAttack_B1_J7_BasicNeedsTheCode(t *testing.T) {
	eachApp(t, guarded, func(t *testing.T, w *world) {
		c := w.browser()
		if c.get("/home"); c.status != http.StatusUnauthorized || !strings.HasPrefix(c.head.Get("WWW-Authenticate"), `Basic realm="Test"`) {
			t.Fatalf("a stranger: %d %v", c.status, c.head)
		}
		auth := []string{"Authorization", basicAuth("alice", "pw-a")}
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete, "PROPFIND"} {
			for _, accept := range []string{"text/html", "*/*"} {
				d := w.browser().do(method, "/delete-everything", "", append(auth, "Accept", accept)...)
				if strings.Contains(d.body, marker) || d.status == http.StatusOK || d.status == http.StatusUnauthorized {
					t.Errorf("%s %s: %d %s", method, accept, d.status, d.body)
				}
			}
		}
		for _, seen := range w.app.requests() { // J7: the application never saw the request itself
			if seen != "GET /probe" {
				t.Errorf("the application saw %s", seen)
			}
		}
		if w.phones.count() != 0 {
			t.Errorf("%d texts before anybody asked for one", w.phones.count())
		}
		// In a browser: the page asks, the button sends, the code opens what was asked for.
		c.get("/home?x=1", auth...)
		if c.status != http.StatusSeeOther || c.head.Get("Location") != "/mfa" {
			t.Fatalf("%d %v", c.status, c.head)
		}
		if token := c.token(); token == "" || !strings.Contains(c.body, "One more step") || w.phones.count() != 0 {
			t.Fatalf("the page: %s", c.body)
		}
		if c.post("/mfa/resend", url.Values{"secondfactorauthenticationtoken": {c.token()}}); c.status != http.StatusOK || w.phones.count() != 1 {
			t.Fatalf("the button: %d %s", c.status, c.body)
		}
		if c.code(w.phones.last(t, "alice")); c.status != http.StatusSeeOther || c.head.Get("Location") != "/home?x=1" {
			t.Fatalf("the code: %d %v %s", c.status, c.head, c.body)
		}
		if c.get("/home", auth...); c.body != marker+" of alice" {
			t.Fatalf("%d %s", c.status, c.body)
		}
		// Only the credential of this session passes, and never a bearer of another kind.
		if c.copy().get("/home", "Authorization", "Digest username=alice"); w.app.head().Get("Authorization") != "" {
			t.Error("another scheme was forwarded")
		}
		// The same user with a password that is wrong now: the session is over.
		d := c.copy()
		if d.get("/home", "Authorization", basicAuth("alice", "old")); d.status != http.StatusUnauthorized {
			t.Errorf("a wrong password: %d", d.status)
		}
		if c.get("/home", auth...); strings.Contains(c.body, marker) {
			t.Errorf("after it: %d %s", c.status, c.body)
		}
	}, overBasic)
}

func TestAttack_F2_AnotherBasicUserIsAskedAgain(t *testing.T) {
	eachApp(t, guarded, func(t *testing.T, w *world) {
		c := w.browser()
		c.basicIn("alice")
		c.get("/home", "Authorization", basicAuth("bob", "pw-b"))
		if c.status != http.StatusSeeOther || c.head.Get("Location") != "/mfa" {
			t.Fatalf("bob in alice's session: %d %s", c.status, c.body)
		}
		if c.get("/home", "Authorization", basicAuth("alice", "pw-a")); strings.Contains(c.body, marker) {
			t.Fatalf("alice's proof opens still: %s", c.body)
		}
	}, overBasic)
}

// basicIn signs a user in over HTTP Basic.
func (c *client) basicIn(user string) {
	t := c.w.t
	t.Helper()
	auth := []string{"Authorization", basicAuth(user, passwords[user])}
	c.get("/home", auth...)
	c.post("/mfa/resend", url.Values{"secondfactorauthenticationtoken": {c.token()}})
	c.code(c.w.phones.last(t, user))
	if c.get("/home", auth...); c.body != marker+" of "+user {
		t.Fatalf("%s is not in: %d %s\n%s", user, c.status, c.body, c.w.events)
	}
}

func TestAttack_J8_AWrongBasicPasswordSendsNothing(t *testing.T) {
	eachApp(t, guarded, func(t *testing.T, w *world) {
		wrong := basicAuth("alice", "wrong")
		for _, path := range []string{"/home", "/open", "/probe", "/nowhere"} {
			c := w.browser()
			if c.get(path, "Authorization", wrong); c.status != http.StatusUnauthorized || !strings.HasPrefix(c.head.Get("WWW-Authenticate"), "Basic ") || len(c.cookies) != 0 {
				t.Errorf("%s: %d %v", path, c.status, c.head)
			}
		}
		// A declared public path needs no password, so none is tried there.
		if c := w.browser().get("/public/x", "Authorization", wrong); c.body != "open" || w.app.head().Get("Authorization") != "" {
			t.Errorf("public: %d %s", c.status, c.body)
		}
		for _, bad := range []string{"Basic", "Basic !!!", "Basic " + base64.StdEncoding.EncodeToString([]byte("nocolon")), "Basic " + base64.StdEncoding.EncodeToString([]byte("a\x00:b")), "Basic " + base64.StdEncoding.EncodeToString([]byte(":b"))} {
			if c := w.browser().get("/home", "Authorization", bad); c.status != http.StatusBadRequest {
				t.Errorf("%q: %d", bad, c.status)
			}
		}
		if w.phones.count() != 0 || w.events.count(event.Challenge, "") != 0 {
			t.Errorf("%d texts, %s", w.phones.count(), w.events)
		}
	}, overBasic)
}

// TestBasicWithoutAVerdictIsClosed: a probe that needs no password, or whose
// answer says nothing, lets nobody in.
func TestBasicWithoutAVerdictIsClosed(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"needs no password": func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, marker) },
		"an error": func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				rw.WriteHeader(http.StatusUnauthorized)
				return
			}
			rw.WriteHeader(http.StatusInternalServerError)
		},
		"forbidden": func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				rw.WriteHeader(http.StatusUnauthorized)
				return
			}
			rw.WriteHeader(http.StatusForbidden)
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachApp(t, func() http.Handler { return answer }, func(t *testing.T, w *world) {
				c := w.browser()
				if c.get("/home", "Authorization", basicAuth("alice", "pw-a")); c.status != http.StatusBadGateway || len(c.cookies) != 0 {
					t.Errorf("%d %s", c.status, c.body)
				}
			}, overBasic)
		})
	}
}

// TestParallelBasicRequestsAreOneSignIn: a page's many requests with the same
// credential and no handle yet open one challenge.
func TestParallelBasicRequestsAreOneSignIn(t *testing.T) {
	eachApp(t, guarded, func(t *testing.T, w *world) {
		c := w.browser()
		var wg sync.WaitGroup
		for i := range 8 {
			d := c.copy()
			wg.Go(func() { d.get(fmt.Sprint("/page/", i), "Authorization", basicAuth("alice", "pw-a")) })
		}
		wg.Wait()
		if n := w.events.count(event.Challenge, ""); n != 1 {
			t.Errorf("%d challenges", n)
		}
	}, overBasic)
}

func overFirstFactor(g *gate.Gate, _ *login.Config) {
	g.FirstFactor, g.LoginPage = true, nil
}

// whoami shows a page to everybody: the gate is all there is.
func whoami() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, marker) })
}

func TestAttack_F7_F10_FirstFactorOfCaddy(t *testing.T) {
	eachApp(t, whoami, func(t *testing.T, w *world) {
		c := w.browser()
		if c.get("/home"); c.status != http.StatusUnauthorized || strings.Contains(c.body, marker) {
			t.Fatalf("nobody: %d %s", c.status, c.body)
		}
		if c.get("/home", "X-Test-User", "alice"); c.status != http.StatusSeeOther || c.head.Get("Location") != "/mfa" || w.phones.count() != 0 {
			t.Fatalf("alice: %d %v", c.status, c.head)
		}
		as := func(c *client, user, method, target, body string) *client {
			return c.do(method, target, body, "X-Test-User", user)
		}
		token := func(user string) string {
			m := tokenField.FindStringSubmatch(as(c, user, http.MethodGet, "/mfa", "").body)
			if m == nil {
				return ""
			}
			return m[1]
		}
		// The challenge is alice's: bob, or nobody, cannot use it although he has the handle.
		for _, other := range []string{"bob", ""} {
			d := c.copy()
			if as(d, other, http.MethodPost, "/mfa/resend", "secondfactorauthenticationtoken="+token("alice")); d.status == http.StatusOK || w.phones.count() != 0 {
				t.Fatalf("%q: %d", other, d.status)
			}
		}
		as(c, "alice", http.MethodPost, "/mfa/resend", "secondfactorauthenticationtoken="+token("alice"))
		as(c, "alice", http.MethodPost, "/mfa/verify", "otp="+w.phones.last(t, "alice")+"&secondfactorauthenticationtoken="+token("alice"))
		if c.status != http.StatusSeeOther || c.head.Get("Location") != "/home" {
			t.Fatalf("the code: %d %s", c.status, c.body)
		}
		if as(c, "alice", http.MethodGet, "/home", ""); c.body != marker {
			t.Fatalf("alice: %d", c.status)
		}
		for _, other := range []string{"bob", "", "Alice"} {
			if d := as(c.copy(), other, http.MethodGet, "/home", ""); strings.Contains(d.body, marker) {
				t.Errorf("%q uses alice's session", other)
			}
		}
	}, overFirstFactor)
}

// tokens is an application with bearer tokens: POST /login gives one, POST
// /refresh another, and everything else wants one.
func tokens() http.Handler {
	var mu sync.Mutex
	valid := map[string]string{}
	n := 0
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		give := func(user string) {
			n++
			t := fmt.Sprintf("app-token-%d", n)
			valid[t] = user
			rw.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(rw, `{"ok":true,"data":{"token":%q}}`, t)
		}
		t := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if t == "" {
			t = r.URL.Query().Get("access_token")
		}
		user := valid[t]
		switch {
		case r.URL.Path == "/login" && r.Method == http.MethodPost:
			name := r.PostFormValue("user")
			if want, ok := passwords[name]; !ok || want != r.PostFormValue("password") {
				rw.WriteHeader(http.StatusUnauthorized)
				return
			}
			give(name)
		case strings.HasPrefix(r.URL.Path, "/public/"):
			_, _ = io.WriteString(rw, "open "+t)
		case user == "":
			rw.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/refresh":
			give(user)
		case r.URL.Path == "/me":
			_, _ = io.WriteString(rw, "I am "+user+".")
		default:
			_, _ = io.WriteString(rw, marker+" of "+user)
		}
	})
}

func overTokens(g *gate.Gate, _ *login.Config) {
	g.Site.Bearer.JSON, g.Site.Bearer.Query = []string{"data.token"}, []string{"access_token"}
}

func given(t *testing.T, body string) string {
	t.Helper()
	var v struct{ Data struct{ Token string } }
	if err := json.Unmarshal([]byte(body), &v); err != nil || v.Data.Token == "" {
		t.Fatalf("no token in %q", body)
	}
	return v.Data.Token
}

// tokenIn signs a user in by script and returns the released token.
func (c *client) tokenIn(user string) string {
	t := c.w.t
	t.Helper()
	c.do(http.MethodPost, "/login", url.Values{"user": {user}, "password": {passwords[user]}}.Encode(), "Accept", "application/json")
	if c.status != http.StatusForbidden || strings.Contains(c.body, "app-token") {
		t.Fatalf("login: %d %s\n%s", c.status, c.body, c.w.events)
	}
	c.do(http.MethodPost, "/mfa/verify", `{"otp":"`+c.w.phones.last(t, user)+`","release":"answer"}`, "Content-Type", "application/json", "Accept", "application/json")
	return given(t, c.body)
}

func TestAttack_A6_BearerTokensOpenOnlyWhenReleased(t *testing.T) {
	eachApp(t, tokens, func(t *testing.T, w *world) {
		c := w.browser()
		token := c.tokenIn("alice")
		program := func(token string, more ...string) *client {
			return w.browser().get("/home", append([]string{"Authorization", "Bearer " + token, "Accept", "*/*"}, more...)...)
		}
		if d := program(token); d.body != marker+" of alice" || len(d.cookies) != 0 {
			t.Fatalf("a client without cookies: %d %s %v", d.status, d.body, d.cookies)
		}
		if d := w.browser().get("/home?access_token=" + token); d.body != marker+" of alice" {
			t.Errorf("in the query: %d %s", d.status, d.body)
		}
		if c.get("/home", "Authorization", "Bearer "+token); c.body != marker+" of alice" {
			t.Errorf("with the handle: %d %s", c.status, c.body)
		}
		// A token opens nothing for what stands beside it.
		if w.browser().get("/home?access_token="+token, "Authorization", basicAuth("bob", "pw-b")); w.app.head().Get("Authorization") != "" {
			t.Errorf("a credential beside the token was forwarded: %v", w.app.head())
		}
		// What was withheld and never released opens nothing, although the application knows it.
		d := w.browser()
		d.do(http.MethodPost, "/login", "user=bob&password=pw-b", "Accept", "*/*")
		for _, unknown := range []string{"app-token-2", "app-token-9", "x"} {
			if e := program(unknown); e.status != http.StatusUnauthorized || strings.Contains(e.body, marker) {
				t.Errorf("%s: %d %s", unknown, e.status, e.body)
			}
			if e := c.copy().get("/home", "Authorization", "Bearer "+unknown); e.status != http.StatusUnauthorized || strings.Contains(e.body, marker) {
				t.Errorf("%s in alice's session: %d %s", unknown, e.status, e.body)
			}
			if e := d.copy().get("/home", "Authorization", "Bearer "+unknown); strings.Contains(e.body, marker) {
				t.Errorf("%s in a pending session: %d %s", unknown, e.status, e.body)
			}
		}
		// A handle beside a token must be its session's.
		bob := w.browser()
		bobs := bob.tokenIn("bob")
		if e := c.copy().get("/home", "Authorization", "Bearer "+bobs); e.status != http.StatusUnauthorized {
			t.Errorf("bob's token in alice's session: %d %s", e.status, e.body)
		}
		if e := d.copy().get("/home", "Authorization", "Bearer "+bobs); strings.Contains(e.body, marker) {
			t.Errorf("bob's token in a pending session: %d %s", e.status, e.body)
		}
		// Two tokens, or one that could be another, are refused.
		if e := program(token + "?"); e.status != http.StatusUnauthorized {
			t.Errorf("changed: %d", e.status)
		}
		if e := w.browser().get("/home?access_token="+bobs, "Authorization", "Bearer "+token); e.status != http.StatusBadRequest {
			t.Errorf("two tokens: %d", e.status)
		}
		// No public path lets a token through that was not released.
		if e := w.browser().get("/public/x?access_token=app-token-2", "Authorization", "Bearer app-token-2"); e.body != "open " {
			t.Errorf("public: %q", e.body)
		}
		// A refreshed token belongs to the session as well, and all end with it.
		// A token is no handle: it opens none of our pages, and gets no cookie there.
		for _, path := range []string{"/mfa", "/mfa/settings", "/mfa/settings/codes"} {
			for _, accept := range []string{"*/*", "text/html"} {
				e := w.browser().get(path, "Authorization", "Bearer "+token, "Accept", accept)
				if strings.Contains(e.body, "alice") || strings.Contains(e.body, "verified") || e.handle() != "" || path != "/mfa" && e.status != http.StatusUnauthorized {
					t.Errorf("%s by a token: %d %.200s", path, e.status, e.body)
				}
			}
		}
		if e := w.browser().do(http.MethodPost, "/mfa/settings/codes", "{}", "Authorization", "Bearer "+token, "Content-Type", "application/json"); e.status != http.StatusUnauthorized {
			t.Errorf("recovery codes by a token: %d %.200s", e.status, e.body)
		}
		c.post("/refresh", nil, "Authorization", "Bearer "+token)
		fresh := given(t, c.body)
		if e := program(fresh); e.body != marker+" of alice" {
			t.Errorf("refreshed: %d %s", e.status, e.body)
		}
		c.get("/logout", "Authorization", "Bearer "+token)
		for _, old := range []string{token, fresh} {
			if e := program(old); e.status != http.StatusUnauthorized {
				t.Errorf("after the logout: %d %s", e.status, e.body)
			}
		}
		if dump := w.store.dump(); strings.Contains(dump, token) || strings.Contains(dump, fresh) {
			t.Error("a token is readable in the store")
		}
		if strings.Contains(w.events.String(), "app-token") {
			t.Error("a token is in the log")
		}
	}, overTokens)
}

// TestASecondSignInTakesItsTokenOver: an application that gives the same token
// again gives it to the newer session.
func TestASecondSignInTakesItsTokenOver(t *testing.T) {
	app := func() http.Handler {
		inner := tokens()
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" {
				rw.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(rw, `{"data":{"token":"static"}}`)
				return
			}
			if r.Header.Get("Authorization") == "Bearer static" {
				if r.URL.Path == "/me" {
					_, _ = io.WriteString(rw, "I am alice.")
					return
				}
				_, _ = io.WriteString(rw, marker)
				return
			}
			inner.ServeHTTP(rw, r)
		})
	}
	eachApp(t, app, func(t *testing.T, w *world) {
		for range 2 {
			c := w.browser()
			token := c.tokenIn("alice")
			if d := w.browser().get("/home", "Authorization", "Bearer "+token); d.body != marker {
				t.Fatalf("%d %s", d.status, d.body)
			}
			c.get("/logout", "Authorization", "Bearer "+token)
			if d := w.browser().get("/home", "Authorization", "Bearer "+token); strings.Contains(d.body, marker) {
				t.Fatalf("after the logout: %d %s", d.status, d.body)
			}
		}
	}, overTokens)
}

// forgetful ends a login whose redirect is not followed before another request.
func forgetful() http.Handler {
	l := newLegacy()
	var mu sync.Mutex
	followed := true
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		switch {
		case r.URL.Path == "/login" && r.Method == http.MethodPost:
			followed = false
		case r.URL.Path == "/welcome":
			_, _ = io.WriteString(rw, "WELCOME once")
			followed = true
			mu.Unlock()
			return
		case r.URL.Path != "/me" && !followed:
			rw.WriteHeader(http.StatusGone)
			mu.Unlock()
			return
		}
		mu.Unlock()
		l.ServeHTTP(rw, r)
	})
}

func TestHoldFollowsTheWithheldRedirect(t *testing.T) {
	eachApp(t, forgetful, func(t *testing.T, w *world) {
		c := w.browser().get("/login")
		c.post("/login", url.Values{"user": {"alice"}, "password": {"pw-a"}, "to": {"/welcome"}})
		if !slices.Contains(w.app.requests(), "GET /welcome") {
			t.Fatal("the redirect was not followed")
		}
		if c.get("/home"); strings.Contains(c.body, marker) || strings.Contains(c.body, "WELCOME") {
			t.Fatalf("before the code: %s", c.body)
		}
		c.code(w.phones.last(t, "alice"))
		if c.head.Get("Location") != "/welcome" {
			t.Fatalf("%d %v", c.status, c.head)
		}
		if c.get("/welcome"); c.body != "WELCOME once" {
			t.Fatalf("%d %s", c.status, c.body)
		}
		c.in("alice")
	}, func(_ *gate.Gate, r *login.Config) { r.Hold, r.HoldPath = "follow", "/welcome" })
}

func TestHoldCapsTheChallengeAndSaysSo(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		code := w.phones.last(t, "alice")
		if c.get("/mfa"); !strings.Contains(c.body, "The code works for 1 minute.") || !strings.Contains(w.phones.texts[0].Text, "1 minute") {
			t.Errorf("%s\n%s", w.phones.texts[0].Text, c.body)
		}
		w.store.ahead.Store(int64(111e9))
		if c.code(code); c.status == http.StatusSeeOther {
			t.Error("the code was accepted after the hold")
		}
		c.out()
	}, func(_ *gate.Gate, r *login.Config) { r.Hold = "110s" })
}
