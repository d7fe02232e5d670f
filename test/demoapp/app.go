// Package demoapp is a small, deliberately old-fashioned application: the kind
// that nobody wants to touch. Its session's id is the same before and after the
// login, it has a login by form and one by JSON, and it knows no second factor.
// The demo shows it behind the gate, and the tests use it.
package demoapp

import (
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"sync"
)

// Users and their passwords.
var Users = map[string]string{"alice": "Alice-pw-1", "bob": "Bob-pw-2"}

// Marker stands on every page behind the login, followed by the user's name.
const Marker = "SECRET-PAYROLL"

// Cookie is the name of the session's cookie.
const Cookie = "PAYSESS"

// App is one instance with its sessions.
type App struct {
	http.Handler

	mu       sync.Mutex
	sessions map[string]string // id -> user, "" before the login
	logins   int
}

// New makes an instance.
func New() *App {
	a := &App{sessions: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", a.loginPage)
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("POST /api/login", a.apiLogin)
	mux.HandleFunc("GET /me", a.me)
	mux.HandleFunc("GET /logout", a.logout)
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css")
		_, _ = fmt.Fprint(w, "body{font:1em/1.5 Georgia,serif;max-width:34em;margin:2em auto;padding:0 1em;background:#f5f1e6;color:#222}")
	})
	mux.HandleFunc("/", a.page)
	a.Handler = mux
	return a
}

// Logins is how many right passwords the application has seen.
func (a *App) Logins() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.logins
}

// session finds the client's session, or begins one.
func (a *App) session(w http.ResponseWriter, r *http.Request) (id, user string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, err := r.Cookie(Cookie); err == nil {
		if user, ok := a.sessions[c.Value]; ok {
			return c.Value, user
		}
	}
	id = rand.Text()
	a.sessions[id] = ""
	http.SetCookie(w, &http.Cookie{Name: Cookie, Value: id, Path: "/", HttpOnly: true})
	return id, ""
}

// promote logs a session in, under the id that it had before.
func (a *App) promote(id, user, password string) bool {
	if want, ok := Users[user]; !ok || want != password {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[id] = user
	a.logins++
	return true
}

func render(w http.ResponseWriter, title, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprintf(w, "<!doctype html><html lang=en><title>%s</title><link rel=stylesheet href=/style.css><h1>%s</h1>%s", title, title, body)
}

const form = `<form method=post action=/login><input type=hidden name=back value="%s">
<p><label>Name <input name=user autocomplete=username></label><p><label>Password <input name=password type=password></label>
<p><button>Sign in</button></form>`

func (a *App) loginPage(w http.ResponseWriter, r *http.Request) {
	a.session(w, r)
	render(w, "Payroll 1998: sign in", fmt.Sprintf(form, html.EscapeString(r.URL.Query().Get("back"))))
}

func (a *App) login(w http.ResponseWriter, r *http.Request) {
	id, _ := a.session(w, r)
	if !a.promote(id, r.PostFormValue("user"), r.PostFormValue("password")) {
		render(w, "Payroll 1998: sign in", "<p>Wrong name or password.</p>"+fmt.Sprintf(form, ""))
		return
	}
	to := r.PostFormValue("back")
	if len(to) == 0 || to[0] != '/' || len(to) > 1 && to[1] == '/' {
		to = "/"
	}
	http.Redirect(w, r, to, http.StatusFound)
}

func (a *App) apiLogin(w http.ResponseWriter, r *http.Request) {
	id, _ := a.session(w, r)
	var in struct{ User, Password string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || !a.promote(id, in.User, in.Password) {
		http.Error(w, `{"ok":false}`, http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "token": "app-token-of-" + in.User})
}

func (a *App) me(w http.ResponseWriter, r *http.Request) {
	if _, user := a.session(w, r); user != "" {
		render(w, "You", "<p id=user>Signed in as "+html.EscapeString(user)+".")
		return
	}
	http.Redirect(w, r, "/login", http.StatusFound)
}

func (a *App) logout(w http.ResponseWriter, r *http.Request) {
	id, _ := a.session(w, r)
	a.mu.Lock()
	a.sessions[id] = ""
	a.mu.Unlock()
	http.Redirect(w, r, "/login", http.StatusFound)
}

func (a *App) page(w http.ResponseWriter, r *http.Request) {
	_, user := a.session(w, r)
	if user == "" {
		http.Redirect(w, r, "/login?back="+r.URL.EscapedPath(), http.StatusFound)
		return
	}
	render(w, "Payroll 1998", fmt.Sprintf("<p>%s of %s: 1,234.56 at %s</p><p><a href=/logout>Sign out</a></p>",
		Marker, html.EscapeString(user), html.EscapeString(r.URL.Path)))
}

// Caddyfile puts the gate in front. It reads DEMO_DATA, DEMO_PORT,
// DEMO_UPSTREAM, DEMO_SMS and DEMO_COUNTRIES from the environment.
//
//go:embed Caddyfile
var Caddyfile string
