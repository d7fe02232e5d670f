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

// begun is how many sessions there have been.
func (s *shapes) begun() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

func right(r *http.Request) bool {
	return demoapp.Users[r.PostFormValue("user")] == r.PostFormValue("password")
}

// form is the login page, and what a page says to somebody who is not signed in.
const form = `<!doctype html><html lang=en><title>Sign in</title>%s<form method=post action=/login>
<label>Name <input name=user></label> <label>Password <input name=password type=password></label> <button>Sign in</button></form>`

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
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	switch users := s.sessions[id]; {
	case r.URL.Path == "/login" && r.Method == http.MethodPost:
		s.login(s, w, r, id)
	case r.URL.Path == "/login":
		_, _ = fmt.Fprintf(w, form, "")
	case len(users) == 0:
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, form, "")
	case r.URL.Path == "/logout":
		s.sessions[id] = nil
		http.Redirect(w, r, "/login", http.StatusFound)
	case r.URL.Path == "/me":
		_, _ = io.WriteString(w, "I am "+users[0]+".")
	default:
		_, _ = fmt.Fprintf(w, "<!doctype html><html lang=en><title>Payroll</title><p>%s of %s</p><a href=/logout>Sign out</a>", demoapp.Marker, users[0])
	}
}

func wrong(w http.ResponseWriter) {
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = fmt.Fprintf(w, form, "<p>Wrong name or password.</p>")
}

// promoted logs the session in that was there before, without a Set-Cookie.
func promoted(s *shapes, w http.ResponseWriter, r *http.Request, id string) {
	if !right(r) {
		wrong(w)
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
		wrong(w)
		return
	}
	s.sessions[id] = append(s.sessions[id], r.PostFormValue("user"))
	http.Redirect(w, r, "/home", http.StatusFound)
}

const shapeBlock = `
		login_page /login
		session_cookies ^SID$
		logout /logout
		login {
			path /login
			user form user
			%s
		}`

// TestShapesOfLogins runs the generic rules against shapes that the real
// applications do not show.
func TestShapesOfLogins(t *testing.T) {
	identity := fmt.Sprintf(shapeBlock, `identity /me "I am ([^.]+)\."`)
	for _, tc := range []struct {
		name  string
		login func(*shapes, http.ResponseWriter, *http.Request, string)
		block string
	}{
		{"promoted session", promoted, identity},
		{"verdict one request later, by identity", later, fmt.Sprintf(shapeBlock, `identity /me "I am ([^.]+)\."`+"\n\t\t\tfailure next /home status 403")},
		{"verdict one request later, by next", later, fmt.Sprintf(shapeBlock, `success status 302 next /home status 200 body "`+demoapp.Marker+`"`+"\n\t\t\tfailure next /home status 403")},
		{"several users in one session", several, identity},
	} {
		s := &shapes{sessions: map[string][]string{}, login: tc.login}
		a := app{
			name: tc.name, block: tc.block,
			page: "/home", marker: demoapp.Marker, deep: "/deep/page", lands: "/home",
			loginPage: "/login", nameField: "user", passwordField: "password",
			doors: func(b *browser, user, password string) {
				// Cookies from elsewhere: ids that the application has given out
				// (they can be guessed), and one that it is made to promote.
				for n := range 5 {
					b.get("/home", "Cookie", fmt.Sprint("SID=session-", s.begun()-n)).mustNotHave(demoapp.Marker)
				}
				b.do(http.MethodPost, "/login", "application/x-www-form-urlencoded", url.Values{"user": {user}, "password": {password}}.Encode(), "Cookie", "SID=session-1")
				b.get("/home", "Cookie", "SID=session-1").mustNotHave(demoapp.Marker)
				for _, path := range []string{"//login", "/login;x", "/%6cogin", "/home"} {
					b.post(path, url.Values{"user": {user}, "password": {password}}).mustNotHave(demoapp.Marker)
					b.get("/home").mustNotHave(demoapp.Marker)
				}
				b.get("/login?" + url.Values{"user": {user}, "password": {password}}.Encode()).mustNotHave(demoapp.Marker)
			},
			logout: func(b *browser) { b.get("/logout") },
		}
		t.Run(tc.name, func(t *testing.T) {
			srv := httptest.NewServer(s)
			t.Cleanup(srv.Close)
			a.test(t, freePort(t), srv.Listener.Addr().String())
		})
	}
}
