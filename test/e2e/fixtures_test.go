package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/caddymfa/caddymfa/test/demoapp"
)

// shapes is an application with sessions by the cookie SID; how it logs in is
// what the shapes differ in.
type shapes struct {
	mu       sync.Mutex
	n        int
	sessions map[string][]string // id -> users
	login    func(s *shapes, w http.ResponseWriter, r *http.Request, id string)
}

func (s *shapes) begin(w http.ResponseWriter) string {
	s.n++
	id := fmt.Sprint("session-", s.n)
	s.sessions[id] = nil
	http.SetCookie(w, &http.Cookie{Name: "SID", Value: id, Path: "/", HttpOnly: true})
	return id
}

func right(r *http.Request) bool {
	return demoapp.Users[r.PostFormValue("user")] == r.PostFormValue("password")
}

func (s *shapes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := ""
	if c, err := r.Cookie("SID"); err == nil {
		id = c.Value
	}
	if _, ok := s.sessions[id]; !ok {
		id = s.begin(w)
	}
	switch users := s.sessions[id]; {
	case r.URL.Path == "/login" && r.Method == http.MethodPost:
		s.login(s, w, r, id)
	case r.URL.Path == "/login":
		_, _ = io.WriteString(w, `<form method=post action=/login><input name=user><input name=password></form>`)
	case len(users) == 0:
		w.WriteHeader(http.StatusForbidden)
	case r.URL.Path == "/me":
		_, _ = io.WriteString(w, "I am "+users[0]+".")
	default:
		_, _ = fmt.Fprintf(w, "%s of %s", demoapp.Marker, users[0])
	}
}

// promoted logs the session in that was there before, without a Set-Cookie.
func promoted(s *shapes, w http.ResponseWriter, r *http.Request, id string) {
	if !right(r) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.sessions[id] = []string{r.PostFormValue("user")}
	http.Redirect(w, r, "/home", http.StatusFound)
}

// later answers right and wrong passwords alike: the next page tells.
func later(s *shapes, w http.ResponseWriter, r *http.Request, _ string) {
	id := s.begin(w)
	if right(r) {
		s.sessions[id] = []string{r.PostFormValue("user")}
	}
	http.Redirect(w, r, "/home", http.StatusFound)
}

// several adds a user to the session and shows the first.
func several(s *shapes, w http.ResponseWriter, r *http.Request, id string) {
	if !right(r) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.sessions[id] = append(s.sessions[id], r.PostFormValue("user"))
	http.Redirect(w, r, "/home", http.StatusFound)
}

const shapeBlock = `
		login_page /login
		session_cookies ^SID$
		login {
			path /login
			user form user
			%s
		}`

func TestShapesOfLogins(t *testing.T) {
	identity := fmt.Sprintf(shapeBlock, `identity /me "I am ([^.]+)\."`)
	for name, tc := range map[string]struct {
		login func(*shapes, http.ResponseWriter, *http.Request, string)
		block string
	}{
		"promoted session":                       {promoted, identity},
		"verdict one request later, by identity": {later, identity},
		"verdict one request later, by next":     {later, fmt.Sprintf(shapeBlock, `success status 302 next status 200 body "`+demoapp.Marker+`"`)},
		"several users in one session":           {several, identity},
	} {
		t.Run(name, func(t *testing.T) {
			app := httptest.NewServer(&shapes{sessions: map[string][]string{}, login: tc.login})
			t.Cleanup(app.Close)
			g := startGate(t, freePort(t), app.Listener.Addr().String(), tc.block, "")
			b := g.browser(t)
			b.get("/login").submit(url.Values{"user": {"alice"}, "password": {"wrong"}})
			if b.get("/home").mustNotHave(demoapp.Marker); g.phones.count() != 0 {
				t.Fatalf("%d texts for a wrong password", g.phones.count())
			}
			b.get("/login").submit(url.Values{"user": {"alice"}, "password": {alicePassword}}).mustHave(codePage)
			before := *b
			b.get("/home").mustNotHave(demoapp.Marker)
			b.page, b.body = before.page, before.body
			b.code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker + " of alice")
			// Another user in the same browser is asked again, and sees his own.
			b.post("/login", url.Values{"user": {"bob"}, "password": {bobPassword}}).mustHave(codePage)
			b.code(g.phones.last(t, bobPhone)).mustHave(demoapp.Marker + " of bob")
		})
	}
}
