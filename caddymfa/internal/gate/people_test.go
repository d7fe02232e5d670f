package gate_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
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
