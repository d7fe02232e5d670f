package gate_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

const (
	sibling = "https://www.example.com" // listed
	foreign = "https://evil.example"    // not listed
)

func listed(g *gate.Gate, _ *login.Config) {
	if err := g.Origins.Add("HTTPS://www.example.com"); err != nil {
		panic(err)
	}
}

// page is what a browser sends with a call of a script on a page of an origin.
func pageOf(origin string) []string {
	return []string{"Origin", origin, "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Accept", "*/*"}
}

// readableBy reports whether a script of the origin's page may read the answer.
func (c *client) readableBy(origin string) bool {
	return c.head.Get("Access-Control-Allow-Origin") == origin && len(c.head["Access-Control-Allow-Origin"]) == 1 &&
		c.head.Get("Access-Control-Allow-Credentials") == "true" && strings.Contains(strings.Join(c.head["Vary"], ","), "Origin")
}

func (c *client) preflight(target, origin, method, names string) *client {
	c.w.t.Helper()
	return c.do(http.MethodOptions, target, "", append(pageOf(origin), "Access-Control-Request-Method", method, "Access-Control-Request-Headers", names)...)
}

// A page of a listed origin signs its visitors in by scripts; no other page's
// script learns or does anything.
func TestPeople_P7_ListedOriginsSignInByScript(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, path := range []string{"/login", "/api/login", "/mfa/verify", "/mfa/status"} {
			c := w.browser().preflight(path, sibling, "POST", "content-type,x-csrf-token")
			if c.status != http.StatusNoContent || !c.readableBy(sibling) || !strings.Contains(c.head.Get("Access-Control-Allow-Methods"), "POST") ||
				c.head.Get("Access-Control-Allow-Headers") != "content-type,x-csrf-token" {
				t.Errorf("preflight of %s: %d %v", path, c.status, c.head)
			}
		}
		if seen := w.app.requests(); len(seen) != 0 {
			t.Errorf("a preflight reached the application: %v", seen)
		}
		if c := w.browser().preflight("/login", sibling, "POST", "x\"y<z>"); c.head.Get("Access-Control-Allow-Headers") != "" {
			t.Errorf("what is no list of names: %v", c.head)
		}

		c := w.browser()
		c.do(http.MethodGet, "/home", "", pageOf(sibling)...)
		if c.status != http.StatusUnauthorized || !c.readableBy(sibling) {
			t.Errorf("a refusal: %d %v", c.status, c.head)
		}
		c.do(http.MethodPost, "/api/login", "user=alice&password=pw-a", pageOf(sibling)...)
		if c.status != http.StatusForbidden || !c.readableBy(sibling) || !strings.Contains(c.head.Get("Access-Control-Expose-Headers"), "X-Mfa") {
			t.Fatalf("a challenge: %d %v", c.status, c.head)
		}
		send := append(pageOf(sibling), "Content-Type", "application/json")
		if c.do(http.MethodPost, "/mfa/verify", `{"otp":"1"}`, send...); c.status < 400 || !c.readableBy(sibling) {
			t.Errorf("a wrong code: %d %v", c.status, c.head)
		}
		c.do(http.MethodPost, "/mfa/resend", `{}`, send...)
		if !c.readableBy(sibling) {
			t.Errorf("a resend: %d %v", c.status, c.head)
		}
		code := w.phones.last(t, "alice")
		if c.do(http.MethodPost, "/mfa/verify", `{"otp":"`+code+`","release":"answer"}`, send...); c.status != http.StatusOK || !c.readableBy(sibling) || !strings.Contains(c.body, "app-token-alice") {
			t.Errorf("the withheld answer: %d %v %s", c.status, c.head, c.body)
		}
		c.in("alice")
		var state struct{ Level string }
		if c.do(http.MethodGet, "/mfa/status", "", pageOf(sibling)...); json.Unmarshal([]byte(c.body), &state) != nil || state.Level != "verified" || !c.readableBy(sibling) {
			t.Errorf("the state: %d %v %s", c.status, c.head, c.body)
		}
		// What the application itself answers, and the settings, are not the gate's to give.
		if c.do(http.MethodGet, "/home", "", pageOf(sibling)...); c.status != http.StatusOK || c.head.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("the application's page: %d %v", c.status, c.head)
		}
		if c.do(http.MethodGet, "/mfa/settings", "", pageOf(sibling)...); c.readableBy(sibling) {
			t.Errorf("the settings: %d %v", c.status, c.head)
		}
		if c.do(http.MethodPost, "/mfa/settings/sessions", `{"all":"others"}`, send...); c.status != http.StatusForbidden {
			t.Errorf("a change of the settings: %d %s", c.status, c.body)
		}
	}, listed)
}

func TestPeople_P7_OtherOriginsDoNot(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, origin := range []string{foreign, "null", sibling + ".evil.example", "https://www.example.com:8443", "http://www.example.com", ""} {
			for _, path := range []string{"/login", "/mfa/verify", "/home"} {
				if c := w.browser().preflight(path, origin, "POST", "content-type"); c.status < 400 || c.head.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("preflight of %s by %q: %d %v", path, origin, c.status, c.head)
				}
			}
		}
		// Of the application's other addresses the application decides, where it may.
		if c := w.browser().preflight("/home", sibling, "PUT", "content-type"); c.status < 400 {
			t.Errorf("another address: %d %v", c.status, c.head)
		}
		if c := w.browser().preflight("/login", sibling, "DELETE", "content-type"); c.status < 400 {
			t.Errorf("what no login is sent with: %d %v", c.status, c.head)
		}
		if seen := w.app.requests(); len(seen) != 0 {
			t.Errorf("a preflight reached the application: %v", seen)
		}
		c := w.browser()
		c.get("/login")
		c.login("alice", "pw-a")
		right := w.phones.last(t, "alice")
		for _, head := range [][]string{pageOf(foreign), pageOf("null"), {"Sec-Fetch-Site", "same-site", "Accept", "*/*"}} {
			c.do(http.MethodPost, "/mfa/verify", `{"otp":"`+right+`"}`, append(head, "Content-Type", "application/json")...)
			if c.status != http.StatusForbidden || c.head.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%v: %d %v", head, c.status, c.head)
			}
		}
		if c.code(right).status != http.StatusSeeOther {
			t.Errorf("the right code: %d", c.status)
		}
	}, listed)
}

// hidden are the fields of the form of a page of ours.
func hidden(t *testing.T, body string) (fields []string, encoding string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(body))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return fields, encoding
		case html.StartTagToken, html.SelfClosingTagToken:
			tok, at := z.Token(), map[string]string{}
			for _, a := range tok.Attr {
				at[a.Key] = a.Val
			}
			if tok.Data == "form" {
				encoding = at["enctype"]
			}
			if tok.Data == "input" {
				fields = append(fields, at["name"]+"="+at["value"])
			}
		}
	}
}

// callback is an application that an identity provider's form comes back to, with
// what it said in the visitor's session before.
func callback(application http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/acs" {
			application.ServeHTTP(rw, r)
			return
		}
		if r.Method == http.MethodGet {
			http.SetCookie(rw, &http.Cookie{Name: "STATE", Value: "asked", Path: "/"})
			return
		}
		c, _ := r.Cookie("STATE")
		_ = r.ParseMultipartForm(1 << 20)
		_, _ = fmt.Fprintf(rw, "state %v: %q", c != nil && c.Value == "asked", r.PostForm)
	})
}

func TestPeople_P8_AFormFromAnIdentityProviderFindsItsSession(t *testing.T) {
	provider := []string{"Origin", sibling, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}
	odd := `a"b<c>&'+%é` + "\r\n=;"
	each(t, func(t *testing.T, w *world) {
		w.app.Handler = callback(w.app.Handler)
		visitor := w.browser().get("/acs")
		stranger := visitor.copy() // what the browser sends across sites: no SameSite cookie
		stranger.cookies = map[string]string{}
		form := url.Values{"SAMLResponse": {strings.Repeat("PHNhbWw+", 10_000)}, "RelayState": {odd}, "submit": {"1"}}
		multipart := "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n" + odd + "\r\n--b--\r\n"
		for encoding, body := range map[string]string{"application/x-www-form-urlencoded": form.Encode(), "multipart/form-data": multipart} {
			before := len(w.app.requests())
			kind := encoding
			if strings.HasPrefix(kind, "multipart") {
				kind += "; boundary=b"
			}
			stranger.do(http.MethodPost, "/acs?x=1", body, append(provider, "Content-Type", kind)...)
			fields, again := hidden(t, stranger.body)
			if stranger.status != http.StatusOK || again != encoding || len(w.app.requests()) != before || !strings.Contains(stranger.head.Get("Cache-Control"), "no-store") ||
				strings.Contains(stranger.body, "action=") || len(stranger.head["Set-Cookie"]) != 0 {
				t.Fatalf("%s: %d %v %s %v", encoding, stranger.status, stranger.head, stranger.body, w.app.requests())
			}
			if want := "RelayState=" + odd + "|SAMLResponse=" + form.Get("SAMLResponse") + "|submit=1"; encoding == "application/x-www-form-urlencoded" && strings.Join(fields, "|") != strings.ReplaceAll(want, "\r\n", "\n") && strings.Join(fields, "|") != want {
				t.Errorf("%q", fields)
			}
		}
		// The page's own form comes from this site, with the handle.
		visitor.post("/acs?x=1", form, "Origin", w.nodes[0].URL, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate")
		if visitor.status != http.StatusOK || !strings.HasPrefix(visitor.body, "state true") || !strings.Contains(visitor.body, fmt.Sprintf("%q", odd)) {
			t.Errorf("the second time: %d %.200s", visitor.status, visitor.body)
		}
		// A verified session is found as well.
		user := w.browser().signIn("alice")
		user.post("/home", form, "Origin", w.nodes[0].URL, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate")
		if user.body != marker+" of alice" {
			t.Errorf("of alice: %d %s", user.status, user.body)
		}
	}, listed, func(g *gate.Gate, _ *login.Config) {
		g.LoginFlow = append(g.LoginFlow, entry(t, match.Request{Methods: []string{"GET", "POST"}, Paths: []string{"/acs"}}))
	})
}

func TestPeople_P8_NothingElseIsPostedAgain(t *testing.T) {
	again := regexp.MustCompile(`id="again"`)
	nav := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}
	each(t, func(t *testing.T, w *world) {
		w.app.Handler = callback(w.app.Handler)
		login := "user=alice&password=pw-a"
		file := "--b\r\nContent-Disposition: form-data; name=\"x\"; filename=\"y\"\r\n\r\nz\r\n--b--\r\n"
		for name, tc := range map[string]struct {
			target, body string
			head         []string
		}{
			"a foreign login":      {"/login", login, append(nav, "Origin", foreign)},
			"a foreign form":       {"/acs", "a=b", append(nav, "Origin", foreign)},
			"no origin":            {"/login", login, append(nav, "Origin", "null")},
			"our own routes":       {"/mfa/verify", "otp=123456", append(nav, "Origin", sibling)},
			"a script's call":      {"/acs", "a=b", pageOf(sibling)},
			"a file":               {"/acs", file, append(nav, "Origin", sibling, "Content-Type", "multipart/form-data; boundary=b")},
			"not UTF-8":            {"/acs", "a=%e9", append(nav, "Origin", sibling)},
			"too much":             {"/acs", "a=" + strings.Repeat("x", 300<<10), append(nav, "Origin", sibling)},
			"plain text":           {"/acs", "a=b", append(nav, "Origin", sibling, "Content-Type", "text/plain")},
			"an answer of nowhere": {"/acs", "", append(nav, "Origin", sibling)},
		} {
			if c := w.browser().do(http.MethodPost, tc.target, tc.body, tc.head...); again.MatchString(c.body) {
				t.Errorf("%s: %d", name, c.status)
			} else if strings.Contains(name, "foreign login") && c.status != http.StatusForbidden {
				t.Errorf("%s: %d %s", name, c.status, c.body)
			}
		}
		// Who has the handle is not asked for it.
		c := w.browser().get("/acs")
		if c.post("/acs", url.Values{"a": {"b"}}, append(nav, "Origin", sibling)...); !strings.HasPrefix(c.body, "state true") {
			t.Errorf("with the handle: %d %s", c.status, c.body)
		}
		if w.phones.count() != 0 {
			t.Error("a text was sent")
		}
	}, listed, func(g *gate.Gate, _ *login.Config) {
		g.LoginFlow = append(g.LoginFlow, entry(t, match.Request{Methods: []string{"GET", "POST"}, Paths: []string{"/acs"}}))
	})
}

// An origin that lists itself is not foreign: its forms would be posted for ever.
func TestPeople_P8_TheSiteItselfIsNotForeign(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		own := w.nodes[0].URL
		if err := w.gates[0].Origins.Add(own); err != nil {
			t.Fatal(err)
		}
		c := w.browser().post("/login", url.Values{"user": {"alice"}, "password": {"pw-a"}}, "Origin", own, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate")
		if c.status != http.StatusSeeOther {
			t.Errorf("%d %s", c.status, c.body)
		}
	})
}

func TestPeople_P14_BothSignOutsForgetThePages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		forgets := func(what string, c *client, want bool) {
			t.Helper()
			if got := strings.Contains(strings.Join(c.head["Clear-Site-Data"], ","), `"cache"`); got != want {
				t.Errorf("%s: %d %v", what, c.status, c.head)
			}
		}
		c := w.browser().signIn("alice")
		forgets("a page", c, false)
		forgets("the application's", c.get("/logout"), true)
		c.out()
		c.signIn("alice")
		token := c.token()
		forgets("ours", c.post("/mfa/logout", url.Values{"secondfactorauthenticationtoken": {token}}), true)
		c.out()
		c.signIn("alice")
		forgets("ours, by a script", c.do(http.MethodPost, "/mfa/logout", "{}", "Content-Type", "application/json"), true)
		c.out()
		application := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Clear-Site-Data", `"storage"`)
			application.ServeHTTP(rw, r)
		})
		c.signIn("alice")
		forgets("beside the application's own", c.get("/logout"), true)
		if !strings.Contains(strings.Join(c.head["Clear-Site-Data"], ","), `"storage"`) {
			t.Errorf("the application's own is gone: %v", c.head)
		}
	})
}

// Where the operator wants it, browsers keep no page of a session at all.
func TestPeople_P14_PagesThatAreNotKept(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		application := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Cache-Control", "private, max-age=3600")
			application.ServeHTTP(rw, r)
		})
		c := w.browser().signIn("alice")
		if got := c.head.Get("Cache-Control"); got != "no-store" {
			t.Errorf("a page: %q", got)
		}
		if c.get("/a.css", "Sec-Fetch-Mode", "no-cors"); c.head.Get("Cache-Control") != "private, max-age=3600" {
			t.Errorf("a part of a page: %v", c.head)
		}
		if c = w.browser().get("/public/x"); strings.Contains(c.head.Get("Cache-Control"), "no-store") {
			t.Errorf("what is everybody's: %v", c.head)
		}
	}, func(g *gate.Gate, _ *login.Config) { g.NoStore = true })
}

// Inside a frame of any site there is a page that leads out of it, and no form.
func TestPeople_P12_FramesOfOtherSites(t *testing.T) {
	frame := []string{"Sec-Fetch-Dest", "iframe", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site"}
	each(t, func(t *testing.T, w *world) {
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(rw, marker) })
		help := func(what string, c *client) {
			t.Helper()
			if c.head.Get("X-Frame-Options") != "" || strings.Contains(c.head.Get("Content-Security-Policy"), "frame-ancestors") || c.head.Get("Content-Security-Policy") == "" {
				t.Errorf("%s cannot be framed: %v", what, c.head)
			}
			if strings.Contains(c.body, "<form") || strings.Contains(c.body, "<input") || !strings.Contains(c.body, `target="_top"`) || strings.Contains(c.body, marker) {
				t.Errorf("%s: %s", what, c.body)
			}
		}
		help("a page of a stranger", w.browser().get("/home", frame...))
		help("our page of a stranger", w.browser().get("/mfa", frame...))
	})
	each(t, func(t *testing.T, w *world) {
		c := w.browser()
		c.get("/login")
		c.login("alice", "pw-a")
		for _, path := range []string{"/home", "/mfa"} {
			c.get(path, frame...)
			if c.head.Get("X-Frame-Options") != "" || strings.Contains(c.head.Get("Content-Security-Policy"), "frame-ancestors") || strings.Contains(c.body, "<form") {
				t.Errorf("%s, where the code is owed: %v %s", path, c.head, c.body)
			}
		}
		for _, path := range []string{"/mfa", "/mfa/recover"} {
			if c.get(path); c.head.Get("X-Frame-Options") != "DENY" || !strings.Contains(c.head.Get("Content-Security-Policy"), "frame-ancestors 'none'") || !strings.Contains(c.body, "<form") {
				t.Errorf("%s can be framed: %v", path, c.head)
			}
		}
	})
}
