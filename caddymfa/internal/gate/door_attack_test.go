package gate_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// doors is the usual application with more ways in: HTTP Basic, a key in a
// header or in the query, XML-RPC, a second login page, a link by mail.
type doors struct{ *legacy }

func (d doors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	form, _ := url.ParseQuery(string(body))
	key := r.Header.Get("X-Api-Key") == "alices-key" || r.URL.Query().Get("key") == "alices-key"
	switch {
	case key, user != "" && passwords[user] == password,
		r.URL.Path == "/xmlrpc.php" && strings.Contains(string(body), "pw-a"):
		_, _ = io.WriteString(w, marker+" of alice")
		return
	case r.Method == http.MethodPost && r.URL.Path != "/login" && passwords[form.Get("user")] == form.Get("password") && form.Has("user"):
		d.mu.Lock()
		d.sessions["by-another-door"] = form.Get("user")
		d.mu.Unlock()
		http.SetCookie(w, &http.Cookie{Name: "SID", Value: "by-another-door", Path: "/", HttpOnly: true})
		_, _ = io.WriteString(w, marker+" of "+form.Get("user"))
		return
	case r.URL.Path == "/sso" && form.Get("u") == "alice" && form.Get("p") == "pw-a", r.URL.Path == "/reset" && r.URL.Query().Get("token") == "by-mail":
		d.mu.Lock()
		d.sessions["by-another-door"] = "alice"
		d.mu.Unlock()
		http.SetCookie(w, &http.Cookie{Name: "SID", Value: "by-another-door", Path: "/", HttpOnly: true})
		w.Header().Set("Location", "/home")
		w.WriteHeader(http.StatusFound)
		return
	}
	d.legacy.ServeHTTP(w, r)
}

func eachDoor(t *testing.T, f func(t *testing.T, w *world), cfg ...config) {
	t.Helper()
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		f(t, newWorld(t, open(t), 1, doors{newLegacy()}, cfg...))
	})
}

// closed sends a request before the code and checks that it shows nothing and
// leads nowhere.
func (c *client) closed(method, target, body string, head ...string) {
	c.w.t.Helper()
	if c.do(method, target, body, head...); strings.Contains(c.body, marker) || strings.Contains(fmt.Sprint(c.head), "by-another-door") {
		c.w.t.Errorf("%s %s %v: %d %s", method, target, head, c.status, c.body)
	}
	c.out()
}

func TestAttack_B1_BasicOpensNothing(t *testing.T) {
	eachDoor(t, func(t *testing.T, w *world) {
		pending := w.browser().get("/login").login("alice", "pw-a")
		for _, path := range []string{"/home", "/", "/login", "/public/x", "/a.css", "/dav/", "/mfa/status"} {
			for _, method := range []string{"GET", "HEAD", "PROPFIND", "OPTIONS", "POST"} {
				for _, c := range []*client{w.browser(), pending.copy()} {
					c.closed(method, path, "", "Authorization", "Basic YWxpY2U6cHctYQ==")
				}
			}
		}
	})
}

func TestAttack_B2_B8_SideDoorsGiveNoSession(t *testing.T) {
	eachDoor(t, func(t *testing.T, w *world) {
		c := w.browser()
		c.closed("POST", "/xmlrpc.php", "<methodCall>alice pw-a</methodCall>", "Content-Type", "text/xml")
		c.closed("GET", "/reset?token=by-mail", "")
		c.signIn("alice")
	})
	// Declared as a part of signing in it works, and opens nothing all the same:
	// what the application gives for it is a session from before the code.
	eachDoor(t, func(t *testing.T, w *world) {
		c := w.browser()
		c.closed("GET", "/reset?token=by-mail", "")
		if last := w.app.requests(); !strings.Contains(strings.Join(last, " "), "/reset?token=by-mail") {
			t.Fatal("the declared path does not reach the application")
		}
		c.signIn("alice")
	}, func(g *gate.Gate, _ *login.Config) {
		g.LoginFlow = []*match.Entry{entry(t, match.Request{Paths: []string{"/reset"}, Query: []match.Param{{Name: "token"}}})}
	})
}

func TestAttack_B3_B12_SecondLoginPage(t *testing.T) {
	eachDoor(t, func(t *testing.T, w *world) {
		w.browser().closed("POST", "/sso", "u=alice&p=pw-a") // not declared: shut
	})
	eachDoor(t, func(t *testing.T, w *world) {
		for _, enter := range []func(*client){
			func(c *client) { c.login("alice", "pw-a") },
			func(c *client) { c.do("POST", "/sso", "u=alice&p=pw-a") },
		} {
			c := w.browser().get("/login")
			if enter(c); c.status != http.StatusSeeOther || c.head.Get("Location") != "/mfa" {
				t.Fatalf("%d %s\n%s", c.status, c.body, w.events)
			}
			c.out()
			c.code(w.phones.last(t, "alice"))
			c.in("alice")
		}
	}, func(g *gate.Gate, _ *login.Config) { // declared: the same step
		r, err := login.Config{
			Name: "sso", Paths: []string{"/sso"}, User: &login.User{Source: login.Form, Name: "u"},
			Identity: &login.Identity{Path: "/me", Pattern: `I am ([^.]+)\.`},
		}.Compile()
		if err != nil {
			t.Fatal(err)
		}
		g.Rules = append(g.Rules, r)
	})
}

func TestAttack_B6_LoginFormAtAnyPath(t *testing.T) {
	paths := []string{
		"/", "/index.php", "/a/b/c", "/a.css", "/img/x.png", "/nothing-here", "/public/x", "/login", "/home", "/me", "/api/v1/items", "/feed.xml",
		"/x?login=1", "/%41", "/.well-known/x", "/side-door", "/logout", "/a.b.c", "/~user", "/mfaa",
	}
	eachDoor(t, func(t *testing.T, w *world) {
		for i, path := range paths {
			user := []string{"alice", "bob"}[i%2] // each may have ten texts
			c := w.browser()
			if c.do("POST", path, "user="+user+"&password="+passwords[user]); c.status != http.StatusSeeOther || c.head.Get("Location") != "/mfa" {
				t.Errorf("%s: %d %s", path, c.status, c.head.Get("Location"))
			}
			c.out()
		}
		if n := w.phones.count(); n != len(paths) {
			t.Errorf("%d texts for %d logins", n, len(paths))
		}
	}, func(_ *gate.Gate, c *login.Config) {
		c.Paths, c.AnyPath, c.Fields = nil, true, []string{"user", "password"}
	})
	eachDoor(t, func(t *testing.T, w *world) { // a rule that knows one page: the others are shut
		for _, path := range paths {
			w.browser().closed("POST", path, "user=alice&password=pw-a")
		}
		if path := strings.Join(w.app.requests(), " "); strings.Count(path, "POST") != 1 {
			t.Errorf("the application saw %s", path)
		}
	})
}

func TestAttack_B11_KeysOpenNothingBeforeTheCode(t *testing.T) {
	eachDoor(t, func(t *testing.T, w *world) {
		for _, path := range []string{"/home", "/login", "/public/x", "/a.css"} {
			w.browser().closed("GET", path, "", "X-Api-Key", "alices-key")
			w.browser().closed("GET", path, "", "X_Api_Key", "alices-key")
			w.browser().closed("GET", path+"?key=alices-key", "")
			w.browser().closed("GET", path+"?k%65y=alices-key", "")
		}
		c := w.browser().signIn("bob")
		if c.get("/home?key=alices-key", "X-Api-Key", "alices-key"); c.body != marker+" of bob" {
			t.Errorf("a verified user's key counts: %s", c.body)
		}
	}, func(g *gate.Gate, _ *login.Config) {
		g.Site.Credentials, g.CredentialQuery = []string{"X-Api-Key"}, []string{"key"}
	})
}
