package gate_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// What people met, and must get through (the ids are those of the list of people).

// A cache in front of the gate keeps nothing that a signed-in person saw, whatever
// the application says of it.
func TestPeople_P3_NothingOfASessionIsShared(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		application := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/silent" {
				rw.Header().Set("Cache-Control", "public, max-age=3600, s-maxage=86400")
				rw.Header().Set("CDN-Cache-Control", "max-age=600")
				rw.Header().Set("X-Accel-Expires", "600")
			}
			switch r.URL.Path {
			case "/moved":
				http.Redirect(rw, r, "/home", http.StatusMovedPermanently)
			case "/pub/x":
				_, _ = io.WriteString(rw, "everybody's")
			default:
				application.ServeHTTP(rw, r)
			}
		})
		c := w.browser().get("/pub/x")
		if got := c.head.Get("Cache-Control"); c.status != http.StatusOK || !strings.Contains(got, "public") {
			t.Errorf("what is everybody's: %d %q", c.status, got)
		}
		shared := func(what string) {
			t.Helper()
			got := c.head.Get("Cache-Control")
			if !strings.Contains(got, "private") && !strings.Contains(got, "no-store") || strings.Contains(got, "public") || strings.Contains(got, "s-maxage") ||
				c.head.Get("CDN-Cache-Control") != "" || c.head.Get("X-Accel-Expires") != "" {
				t.Errorf("%s: %d %v", what, c.status, c.head)
			}
		}
		c = w.browser().get("/login") // gives a cookie
		shared("the login page")
		c.login("alice", "wrong")
		shared("a wrong password")
		c.get("/login")
		shared("the login page of a visitor")
		c.post("/login", url.Values{"user": {"alice"}, "password": {"pw-a"}})
		shared("a challenge")
		c.code(w.phones.last(t, "alice"))
		shared("a right code")
		c.in("alice")
		shared("a page")
		if got := c.head.Get("Cache-Control"); !strings.Contains(got, "max-age=3600") {
			t.Errorf("the browser's own time: %q", got)
		}
		for _, path := range []string{"/silent", "/moved", "/pub/x", "/style.css", "/none"} {
			c.get(path)
			shared(path)
		}
	}, func(g *gate.Gate, _ *login.Config) {
		g.Public = append(g.Public, entry(t, match.Request{Paths: []string{"/pub/*"}}))
	})
}

// Session cookies in pieces of 4 KB, and many small ones: as many as a browser keeps.
func TestPeople_P9_CookiesInPieces(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		application := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/many" {
				for i := range 60 {
					http.SetCookie(rw, &http.Cookie{Name: fmt.Sprint("small", i), Value: "x", Path: "/"})
				}
			}
			if r.URL.Path == "/cookies" {
				_, _ = fmt.Fprint(rw, len(r.Cookies()))
				return
			}
			if r.URL.Path == "/login" && r.Method == http.MethodPost {
				for i := range 5 {
					http.SetCookie(rw, &http.Cookie{Name: fmt.Sprint("piece", i), Value: strings.Repeat("x", 4000), Path: "/", HttpOnly: true})
				}
			}
			application.ServeHTTP(rw, r)
		})
		c := w.browser().signIn("alice")
		if c.get("/cookies"); c.body != "6" {
			t.Errorf("%d %s cookies reach the application", c.status, c.body)
		}
		c.get("/many").in("alice")
		if c.get("/cookies"); c.body != "66" {
			t.Errorf("%d %s cookies reach the application", c.status, c.body)
		}
		if w.events.count(event.CookiesDropped, "") != 0 {
			t.Error("some were dropped")
		}
		for range 3 {
			c.get("/many?again").in("alice")
		}
	})
}

// Of a visitor less is kept, also where it comes bit by bit, and the operator is told.
func TestPeople_P9_VisitorsHaveLessRoom(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		application := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" {
				if name := r.URL.Query().Get("next"); name != "" {
					http.SetCookie(rw, &http.Cookie{Name: name, Value: strings.Repeat("x", 4000), Path: "/", HttpOnly: true})
				}
				rw.Header().Set("X-Got", fmt.Sprint(len(r.Header.Get("Cookie"))))
			}
			application.ServeHTTP(rw, r)
		})
		c := w.browser()
		for i := range 20 {
			c.get(fmt.Sprintf("/login?next=piece%d", i))
		}
		c.get("/login")
		if got := c.head.Get("X-Got"); c.status != http.StatusOK || len(got) != 5 || got > "16500" || got < "12000" {
			t.Errorf("%d, %s bytes of cookies reach the application", c.status, got)
		}
		if w.events.count(event.CookiesDropped, "") != 1 {
			t.Error(w.events)
		}
		c.signIn("alice")
	})
}

// wordToken is an application that wants the word Token before its tokens, as
// Django REST framework does, and takes no other.
func wordToken() http.Handler {
	app := tokens()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		scheme, t, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if r.Header.Del("Authorization"); scheme == "Token" {
			r.Header.Set("Authorization", "Bearer "+t)
		}
		app.ServeHTTP(rw, r)
	})
}

func TestPeople_P6_AnotherWordBeforeTheToken(t *testing.T) {
	eachApp(t, wordToken, func(t *testing.T, w *world) {
		token := w.browser().tokenIn("alice")
		for field, opens := range map[string]bool{"Token " + token: true, "token " + token: false, "Token " + token + "x": false, "JWT " + token: false, "Token app-token-99": false} {
			if c := w.browser().get("/home", "Authorization", field, "Accept", "*/*"); opens != (c.body == marker+" of alice") {
				t.Errorf("%s: %d %s", strings.Fields(field)[0], c.status, c.body)
			}
		}
	}, overTokens, func(g *gate.Gate, _ *login.Config) { g.Site.Bearer.Scheme = "Token" })
	t.Run("without the word", func(t *testing.T) {
		eachApp(t, wordToken, func(t *testing.T, w *world) {
			for name, failure := range map[string]string{"right": "pw-a", "wrong": "no"} {
				c := w.browser().do(http.MethodPost, "/login", "user=alice&password="+failure, "Accept", "application/json")
				if strings.Contains(c.body, "app-token") || c.status < 400 {
					t.Errorf("%s: %d %s", name, c.status, c.body)
				}
			}
			// The right password is not logged as a wrong one, and the operator is told why.
			if w.events.count(event.LoginFailed, "") != 1 || w.events.count(event.LoginRefused, event.NoVerdict) != 1 || !strings.Contains(w.events.String(), "another word than Bearer") {
				t.Error(w.events)
			}
		}, overTokens)
	})
}

// A page that was refused is shown after the login, although the application never
// heard of it.
func TestPeople_P10_TheWantedPage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		enter := func(c *client, form url.Values) string {
			c.get("/login")
			c.post("/login", form)
			c.post("/mfa/verify", url.Values{"otp": {w.phones.last(t, "alice")}, "secondfactorauthenticationtoken": {c.token()}})
			if c.status != http.StatusSeeOther {
				t.Fatalf("%d %s", c.status, c.body)
			}
			return c.head.Get("Location")
		}
		form := url.Values{"user": {"alice"}, "password": {"pw-a"}}
		long := "/reports?q=" + strings.Repeat("x", 2500)
		for _, tc := range []struct{ wanted, to string }{
			{"/reports?year=2026&a=b%20c", "/reports?year=2026&a=b%20c"}, {long, long}, {"/r?" + strings.Repeat("x", 4000), "/home"}, {"", "/home"},
		} {
			w.store.ahead.Add(int64(time.Minute))
			c := w.browser()
			if tc.wanted != "" {
				c.get(tc.wanted).is(http.StatusSeeOther)
			}
			if to := enter(c, form); to != tc.to {
				t.Errorf("wanted %.60q: led to %.60q", tc.wanted, to)
			}
			for name := range c.cookies {
				if strings.HasSuffix(name, "-to") {
					t.Error("it is remembered longer than it is needed")
				}
			}
			c.in("alice")
		}
		// Where the application leads somewhere for a reason, it knows better; and no
		// cookie leads to another site.
		c := w.browser().get("/reports")
		if to := enter(c, url.Values{"user": {"alice"}, "password": {"pw-a"}, "to": {"/change-password"}}); to != "/change-password" {
			t.Errorf("led to %q", to)
		}
		for _, evil := range []string{"//evil.test/", `/\evil.test/`, "https://evil.test/", "javascript:alert(1)", "/x\r\nSet-Cookie: a=b"} {
			w.store.ahead.Add(int64(time.Minute))
			c := w.browser().get("/reports")
			for name := range c.cookies {
				if strings.HasSuffix(name, "-to") {
					c.cookies[name] = base64.RawURLEncoding.EncodeToString([]byte(evil))
				}
			}
			if to := enter(c, form); to != "/home" {
				t.Errorf("%q: led to %q", evil, to)
			}
		}
		// Neither is a call of a script a page that anybody wanted.
		c = w.browser()
		c.get("/api/items", "Accept", "application/json", "Sec-Fetch-Mode", "cors")
		if len(c.cookies) != 0 {
			t.Error(c.cookies)
		}
	}, func(g *gate.Gate, _ *login.Config) { g.Site.Home, g.LoginPage.Next = []string{"/home"}, "" })
}

// TestPeople_P19_ShowSaysWhereANumberComesFrom: a directory's word goes before what
// was enrolled, as at a login.
func TestPeople_P19_ShowSaysWhereANumberComesFrom(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		show := func(user, number string, from flow.NumberFrom, by string) {
			t.Helper()
			u, err := w.flow().Show(t.Context(), operator(user))
			if err != nil || !strings.HasSuffix(u.Number, number) || (u.Number == "") != (number == "") || u.From != from || u.SetBy != by {
				t.Errorf("%s: %+v, %v; want %q from %q by %q", user, u, err, number, from, by)
			}
		}
		alice := numbers["alice"]
		show("alice", alice[len(alice)-2:], flow.ByDirectory, "")
		if err := w.flow().SetNumberOf(t.Context(), operator("alice"), numbers["bob"]); err != nil {
			t.Fatal(err)
		}
		show("alice", alice[len(alice)-2:], flow.ByDirectory, "")
		if err := w.flow().SetNumberOf(t.Context(), operator("mallory"), numbers["bob"]); err != nil {
			t.Fatal(err)
		}
		bob := numbers["bob"]
		show("mallory", bob[len(bob)-2:], flow.ByOperator, "carol")
		show("nobody", "", "", "")
	})
}
