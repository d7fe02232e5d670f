package gate_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// odd is an application whose sessions lie in the cookie SID. What a login does
// and what counts as one is each shape's own.
type oddApp struct {
	mu    sync.Mutex
	n     int
	users map[string][]string // by session
	// before: the login page gives a session that the login then uses.
	before bool
	// login answers POST /login; who says whose session a request is.
	login func(a *oddApp, w http.ResponseWriter, r *http.Request, user string)
	who   func(a *oddApp, r *http.Request) []string
}

func (a *oddApp) begin(w http.ResponseWriter, user string) string {
	a.n++
	id := fmt.Sprint("odd-session-", a.n)
	a.users[id] = []string{user}
	http.SetCookie(w, &http.Cookie{Name: "SID", Value: id, Path: "/", HttpOnly: true})
	return id
}

func value(r *http.Request, name string) string {
	if c, err := r.Cookie(name); err == nil {
		return c.Value
	}
	return ""
}

func (a *oddApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	users := a.users[value(r, "SID")]
	if a.who != nil {
		users = a.who(a, r)
	}
	name, password := r.FormValue("user"), r.FormValue("password")
	switch {
	case name != "" && (r.URL.Path == "/login" || r.Method == http.MethodPost):
		if want, ok := passwords[name]; !ok || want != password {
			name = ""
		}
		a.login(a, w, r, name)
	case r.URL.Path == "/login":
		if a.before && len(users) == 0 {
			a.begin(w, "")
		}
		_, _ = io.WriteString(w, "<form method=post action=/login>LOGIN-PAGE</form>")
	case len(users) == 0 || users[0] == "":
		w.WriteHeader(http.StatusForbidden)
	case r.URL.Path == "/me":
		_, _ = io.WriteString(w, "I am "+users[0]+".")
	default:
		_, _ = io.WriteString(w, marker+" of "+users[0])
	}
}

// found answers as most applications do: to a page, or back to the form.
func found(w http.ResponseWriter, user string) {
	if user == "" {
		_, _ = io.WriteString(w, "WRONG")
		return
	}
	w.Header().Set("Location", "/home")
	w.WriteHeader(http.StatusFound)
}

type shape struct {
	before bool
	login  func(a *oddApp, w http.ResponseWriter, r *http.Request, user string)
	who    func(a *oddApp, r *http.Request) []string
	cfg    config
	// fields are added to those of the form.
	fields url.Values
	// path is where the form is posted, /login by default.
	path string
	// landing is where the code leads to, /home by default; page a page of users.
	landing string
	// also is checked with a browser that owes the code.
	also func(t *testing.T, w *world, pending *client)
}

var shapes = map[string]shape{
	"promoted session": {
		before: true,
		login: func(a *oddApp, w http.ResponseWriter, r *http.Request, user string) {
			if id := value(r, "SID"); user != "" && a.users[id] != nil {
				a.users[id] = []string{user}
			} else if user != "" {
				a.begin(w, user)
			}
			found(w, user)
		},
	},
	"verdict one request later": {
		login: func(a *oddApp, w http.ResponseWriter, _ *http.Request, user string) {
			a.begin(w, user)
			w.Header().Set("Location", "/home")
			w.WriteHeader(http.StatusFound)
		},
		cfg: func(_ *gate.Gate, r *login.Config) {
			r.Identity = nil
			r.Success = [][]match.Condition{{{Status: []int{302}}, {Next: &match.Following{Path: "/home", Status: []int{200}, Body: marker}}}}
		},
	},
	"success in disguise": {
		login: func(a *oddApp, w http.ResponseWriter, _ *http.Request, user string) {
			if user != "" {
				a.begin(w, user)
			}
			_, _ = io.WriteString(w, "<form method=post action=/login>LOGIN-PAGE again</form>")
		},
		landing: "/login",
	},
	"steered Location": {
		login: func(a *oddApp, w http.ResponseWriter, r *http.Request, user string) {
			if user != "" {
				a.begin(w, user)
				w.Header().Set("Location", r.FormValue("to"))
			} else {
				w.Header().Set("Location", "/login?failed=1")
			}
			w.WriteHeader(http.StatusFound)
		},
		fields: url.Values{"to": {"/login?failed=1"}}, landing: "/login?failed=1",
	},
	"all cookies or none": {
		login: func(a *oddApp, w http.ResponseWriter, _ *http.Request, user string) {
			if user != "" {
				http.SetCookie(w, &http.Cookie{Name: "PAIR", Value: a.begin(w, user), Path: "/", HttpOnly: true})
			}
			found(w, user)
		},
		who: func(a *oddApp, r *http.Request) []string {
			sid, pair := value(r, "SID"), value(r, "PAIR")
			if (sid == "") != (pair == "") {
				delete(a.users, sid+pair)
				return nil
			}
			return a.users[sid]
		},
	},
	"remember-me alone": {
		login: func(a *oddApp, w http.ResponseWriter, _ *http.Request, user string) {
			if user != "" {
				http.SetCookie(w, &http.Cookie{Name: "REMEMBER", Value: a.begin(w, user), Path: "/", MaxAge: 1e6})
			}
			found(w, user)
		},
		who: func(a *oddApp, r *http.Request) []string {
			if users := a.users[value(r, "SID")]; users != nil {
				return users
			}
			return a.users[value(r, "REMEMBER")]
		},
		also: func(t *testing.T, w *world, _ *client) {
			t.Helper()
			c := w.browser() // the cookie, from the time before the gate or stolen
			c.cookies["REMEMBER"] = "odd-session-1"
			c.out()
		},
	},
	"several users in one session": {
		before: true,
		login: func(a *oddApp, w http.ResponseWriter, r *http.Request, user string) {
			if id := value(r, "SID"); user != "" && a.users[id] != nil {
				a.users[id] = append(slices.DeleteFunc(a.users[id], func(s string) bool { return s == "" }), user)
			} else if user != "" {
				a.begin(w, user)
			}
			found(w, user)
		},
	},
	"credentials at any path": {
		login: func(a *oddApp, w http.ResponseWriter, _ *http.Request, user string) {
			if user != "" {
				a.begin(w, user)
			}
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "not here")
		},
		cfg: func(_ *gate.Gate, r *login.Config) {
			r.Paths, r.AnyPath, r.Fields = nil, true, []string{"user", "password"}
		},
		path: "/no/such/page", landing: "/no/such/page",
		also: func(t *testing.T, w *world, _ *client) {
			t.Helper()
			for _, path := range []string{"//login", "/login;x=1", "/%6cogin", "/x/..;/admin", "/a.css", "/public/x"} {
				c := w.browser()
				c.post(path, url.Values{"user": {"alice"}, "password": {"pw-a"}})
				c.out()
				c = w.browser()
				c.get(path + "?user=alice&password=pw-a")
				c.out()
			}
		},
	},
	"client picks the token's place": {
		login: func(a *oddApp, w http.ResponseWriter, r *http.Request, user string) {
			if user != "" && r.FormValue("as") == "token" {
				a.n++
				token := fmt.Sprint("odd-token-", a.n)
				a.users[token] = []string{user}
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprintf(w, `{"token":%q}`, token)
				return
			}
			if user != "" {
				a.begin(w, user)
			}
			found(w, user)
		},
		who: func(a *oddApp, r *http.Request) []string {
			if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
				return a.users[token]
			}
			return a.users[value(r, "SID")]
		},
		cfg: func(g *gate.Gate, _ *login.Config) { g.Site.Bearer.JSON = []string{"token"} },
		also: func(t *testing.T, w *world, pending *client) {
			t.Helper()
			c := w.browser()
			c.post("/login", url.Values{"user": {"alice"}, "password": {"pw-a"}, "as": {"token"}})
			if strings.Contains(c.body, "odd-token") {
				t.Errorf("the token left: %s", c.body)
			}
			for i := range 5 {
				token := fmt.Sprint("Bearer odd-token-", i)
				for _, b := range []*client{w.browser(), c.copy(), pending.copy()} {
					if b.get("/home", "Authorization", token); strings.Contains(b.body, marker) {
						t.Errorf("%s opens: %s", token, b.body)
					}
				}
			}
		},
	},
	"first value wins, query wins": {
		login: func(a *oddApp, w http.ResponseWriter, _ *http.Request, user string) {
			if user != "" {
				a.begin(w, user)
			}
			found(w, user)
		},
		also: func(t *testing.T, w *world, _ *client) {
			t.Helper()
			before := w.app.requests()
			for target, body := range map[string]string{
				"/login": "user=alice&user=bob&password=pw-a", "/login?user=alice": "user=bob&password=pw-b", "/login?user[]=alice": "user=bob&password=pw-b",
			} {
				if c := w.browser().do(http.MethodPost, target, body); c.status != http.StatusBadRequest {
					t.Errorf("%s %s: %d", target, body, c.status)
				}
			}
			if now := w.app.requests(); !slices.Equal(now, before) {
				t.Errorf("the application saw %v", now[len(before):])
			}
		},
	},
	"gzip on a redirect": {
		login: func(a *oddApp, w http.ResponseWriter, _ *http.Request, user string) {
			if user == "" {
				found(w, user)
				return
			}
			a.begin(w, user)
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, _ = io.WriteString(z, "moved")
			_ = z.Close()
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Location", "http://127.0.0.1:8080/home") // its inner port
			w.WriteHeader(http.StatusFound)
			_, _ = w.Write(b.Bytes())
		},
	},
	"401 without WWW-Authenticate": {
		login: func(a *oddApp, w http.ResponseWriter, _ *http.Request, user string) {
			if user == "" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			a.begin(w, user)
			found(w, user)
		},
	},
	"login inside a socket": {
		login: func(a *oddApp, w http.ResponseWriter, _ *http.Request, user string) {
			if user != "" {
				a.begin(w, user)
			}
			found(w, user)
		},
		also: func(t *testing.T, w *world, pending *client) {
			t.Helper()
			if w.http2 {
				return // there a socket is opened by CONNECT, see TestAttack_B5_ExtendedConnectNeedsProof
			}
			before := len(w.app.requests())
			for _, c := range []*client{w.browser(), pending.copy()} {
				for _, path := range []string{"/socket", "/login", "/public/socket"} {
					c.get(path, "Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version", "13")
					if c.status == http.StatusSwitchingProtocols {
						t.Errorf("%s: a socket", path)
					}
				}
			}
			for _, h := range w.app.heads[before:] {
				if h.Get("Upgrade") != "" {
					t.Error("an upgrade reached the application before the code")
				}
			}
		},
	},
}

// TestShapesOfLogins holds the generic rules against the ways to log in that exist
// in the field: a wrong password sends nothing, a right one opens nothing by
// itself, the code opens, and another user is asked for his own.
func TestShapesOfLogins(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := func() http.Handler {
				return &oddApp{users: map[string][]string{}, before: s.before, login: s.login, who: s.who}
			}
			cfg := []config{}
			if s.cfg != nil {
				cfg = append(cfg, s.cfg)
			}
			eachApp(t, app, func(t *testing.T, w *world) { s.run(t, w) }, cfg...)
		})
	}
}

func (s *shape) post(c *client, user, password string) {
	v := url.Values{"user": {user}, "password": {password}}
	maps.Copy(v, s.fields)
	path := s.path
	if path == "" {
		path = "/login"
	}
	c.post(path, v)
}

func (s *shape) run(t *testing.T, w *world) {
	c := w.browser().get("/login")
	s.post(c, "alice", "wrong")
	if c.out(); w.phones.count() != 0 {
		t.Fatalf("%d texts for a wrong password", w.phones.count())
	}
	c = w.browser().get("/login")
	s.post(c, "alice", "pw-a")
	if c.status != http.StatusSeeOther || c.head.Get("Location") != "/mfa" || w.phones.count() != 1 {
		t.Fatalf("a right password: %d %v, %d texts\n%s", c.status, c.head, w.phones.count(), w.events)
	}
	code := w.phones.last(t, "alice")
	c.out()
	if s.also != nil {
		s.also(t, w, c)
	}
	landing := s.landing
	if landing == "" {
		landing = "/home"
	}
	if c.code(code); c.status != http.StatusSeeOther || c.head.Get("Location") != landing {
		t.Fatalf("the code: %d %v\n%s", c.status, c.head, w.events)
	}
	c.in("alice")
	s.post(c, "bob", "pw-b")
	if c.status != http.StatusSeeOther || c.head.Get("Location") != "/mfa" {
		t.Fatalf("bob in alice's session: %d %v", c.status, c.head)
	}
	c.out()
	c.code(w.phones.last(t, "bob"))
	c.in("bob")
}
