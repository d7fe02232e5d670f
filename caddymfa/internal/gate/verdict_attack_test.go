package gate_test

import (
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
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// shell is an application that shows who is signed in at its login page and at
// every open entry. What its page of identity shows, to whom, is each case's.
type shell struct {
	mu    sync.Mutex
	n     int
	users map[string]string
	me    func(w http.ResponseWriter, user string)
	// form: a login form stands at /signin for everybody.
	form bool
}

func (a *shell) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	user := a.users[value(r, "SID")]
	switch {
	case r.Method == http.MethodPost && r.PostFormValue("user") != "":
		name := r.PostFormValue("user")
		a.n++
		id := fmt.Sprint("shell-session-", a.n)
		http.SetCookie(w, &http.Cookie{Name: "SID", Value: id, Path: "/", HttpOnly: true})
		if passwords[name] == r.PostFormValue("password") {
			a.users[id] = name
			_, _ = io.WriteString(w, marker+" of "+name)
			return
		}
		_, _ = io.WriteString(w, "WRONG "+loginForm)
	case r.URL.Path == "/me":
		a.me(w, user)
	case user == "", a.form && r.URL.Path == "/signin":
		_, _ = io.WriteString(w, loginForm)
	default:
		_, _ = io.WriteString(w, marker+" of "+user)
	}
}

// TestAttack_K29_NoEvidenceIsNoVerdict: the pattern of the identity does not match
// and nothing else tells a right password; then nothing of that session shows.
func TestAttack_K29_NoEvidenceIsNoVerdict(t *testing.T) {
	same := func(status int, body string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, _ string) { w.WriteHeader(status); _, _ = io.WriteString(w, body) }
	}
	for name, me := range map[string]func(w http.ResponseWriter, user string){
		"the page has changed": func(w http.ResponseWriter, user string) {
			if user == "" {
				_, _ = io.WriteString(w, loginForm)
				return
			}
			_, _ = io.WriteString(w, "Welcome "+user)
		},
		"a page for everybody": same(http.StatusOK, "<div id=app></div>"),
		"forbidden":            same(http.StatusForbidden, "no"),
		"not there":            same(http.StatusNotFound, "no"),
		"everybody is led elsewhere": func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", "/me/")
			w.WriteHeader(http.StatusMovedPermanently)
		},
		"another form with a password": func(w http.ResponseWriter, user string) {
			if user == "" {
				_, _ = io.WriteString(w, loginForm)
				return
			}
			_, _ = io.WriteString(w, "<form action=/profile><input type=password name=old><input type=password name=new></form>")
		},
		"forbidden to him alone": func(w http.ResponseWriter, user string) {
			if user == "" {
				w.Header().Set("Location", "/login")
				w.WriteHeader(http.StatusFound)
				return
			}
			w.WriteHeader(http.StatusForbidden)
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachApp(t, func() http.Handler { return &shell{users: map[string]string{}, me: me} }, func(t *testing.T, w *world) {
				c := w.browser().get("/login")
				old := c.copy()
				if c.login("alice", "pw-a"); c.status != http.StatusBadGateway || strings.Contains(c.body, marker) || !strings.Contains(c.body, "did not work") {
					t.Fatalf("%d %s", c.status, c.body)
				}
				if c.login("alice", "pw-a"); w.phones.count() != 0 {
					t.Fatal("a text")
				}
				for _, d := range []*client{c, old} {
					for _, target := range []string{"/login", "/login?next=/", "/reset", "/public/x", "/", "/home", "/x.css"} {
						if d.get(target); strings.Contains(d.body, marker) {
							t.Fatalf("%s shows %s", target, d.body)
						}
					}
				}
				if n := w.events.count(event.RuleUnsure, ""); n != 1 {
					t.Errorf("the operator was told %d times", n)
				}
			}, func(g *gate.Gate, r *login.Config) {
				g.LoginFlow = []*match.Entry{entry(t, match.Request{Methods: []string{"GET", "POST"}, Paths: []string{"/reset"}})}
				r.Identity.Pattern = "I am ([^.]+), really"
			})
		})
	}
}

// TestAttack_K29_TyposAreForgiven: where the application shows that a password was
// wrong, its own page and its own session go on, and the right one is next.
func TestAttack_K29_TyposAreForgiven(t *testing.T) {
	for name, cfg := range map[string]config{
		"by its login form": func(*gate.Gate, *login.Config) {},
		"by a failure line": func(_ *gate.Gate, r *login.Config) { r.Failure = [][]match.Condition{{{Body: "WRONG"}}} },
		"where nobody says so": func(_ *gate.Gate, r *login.Config) {
			withCookieOf(r)
			r.Failure = [][]match.Condition{{{Body: "WRONG"}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachApp(t, func() http.Handler {
				return &shell{users: map[string]string{}, me: func(w http.ResponseWriter, user string) {
					if user == "" {
						w.Header().Set("Location", "/login?next=%2Fme")
						w.WriteHeader(http.StatusFound)
						return
					}
					_, _ = io.WriteString(w, "I am "+user+".")
				}}
			}, func(t *testing.T, w *world) {
				c := w.browser().get("/login")
				for range 2 {
					if c.login("alice", "typo"); c.status != http.StatusOK || !strings.Contains(c.body, "WRONG") {
						t.Fatalf("%d %s\n%s", c.status, c.body, w.events)
					}
				}
				if c.login("alice", "pw-a"); c.status != http.StatusSeeOther {
					t.Fatalf("%d %s\n%s", c.status, c.body, w.events)
				}
				if n := w.events.count(event.RuleUnsure, ""); n != 0 {
					t.Error(w.events)
				}
			}, cfg)
		})
	}
}

// withCookieOf judges by the application's cookie alone.
func withCookieOf(r *login.Config) {
	r.Identity, r.User = nil, &login.User{Source: login.Constant, Name: "alice"}
	r.Success = [][]match.Condition{{{Cookie: &match.Pair{Name: "^SID$"}}, {Body: marker}}}
}

// TestAttack_K30_AnswersLeaveWhereItIsOpen: an application that takes name and
// password at any address, without a session, and answers with the data at once.
func TestAttack_K30_AnswersLeaveWhereItIsOpen(t *testing.T) {
	eachApp(t, func() http.Handler {
		l := newLegacy()
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if name := r.PostFormValue("user"); strings.HasPrefix(r.URL.Path, "/rest/") && name != "" {
				if passwords[name] == r.PostFormValue("password") {
					_, _ = io.WriteString(w, marker+" of "+name)
					return
				}
				_, _ = io.WriteString(w, "what strangers see of "+r.URL.Path)
				return
			}
			l.ServeHTTP(w, r)
		})
	}, func(t *testing.T, w *world) {
		for _, password := range []string{"pw-a", "wrong"} {
			for _, accept := range []string{"text/html", "*/*"} {
				c := w.browser()
				c.post("/rest/ticket/1", url.Values{"user": {"alice"}, "password": {password}}, "Accept", accept)
				if c.status != http.StatusUnauthorized || strings.Contains(c.body, marker) || strings.Contains(c.body, "strangers") || w.phones.count() != 0 {
					t.Errorf("%s: %d %s", password, c.status, c.body)
				}
			}
		}
		c := w.browser().get("/login")
		if c.login("alice", "wrong"); c.status != http.StatusOK || !strings.Contains(c.body, "WRONG") {
			t.Errorf("at the login page: %d %s", c.status, c.body)
		}
		c.login("alice", "pw-a").code(w.phones.last(t, "alice"))
		c.in("alice")
	}, anyPath)
}

// TestAttack_K5_NothingOfTheClientsChoiceIsAskedFor before the code, as the user.
func TestAttack_K5_NothingOfTheClientsChoiceIsAskedFor(t *testing.T) {
	for name, cfg := range map[string]config{
		"hold follow": func(_ *gate.Gate, r *login.Config) { r.Hold, r.HoldPath = "follow", "/welcome" },
		"next": func(_ *gate.Gate, r *login.Config) {
			r.Identity, r.User = nil, &login.User{Source: login.Constant, Name: "alice"}
			r.Success = [][]match.Condition{{{Status: []int{302}}, {Next: &match.Following{Path: "/welcome", Status: []int{200}, Body: marker}}}}
		},
		"identity": func(*gate.Gate, *login.Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			eachApp(t, func() http.Handler { return newLegacy() }, func(t *testing.T, w *world) {
				for _, to := range []string{"/transfer?to=mallory", "//evil.example/transfer", "https://evil.example/", "/welcome/../transfer"} {
					c := w.browser().get("/login")
					c.post("/login", url.Values{"user": {"alice"}, "password": {"pw-a"}, "to": {to}})
					if c.head.Get("Location") != "/mfa" {
						t.Fatalf("%d %s\n%s", c.status, c.body, w.events)
					}
				}
				if seen := w.app.requests(); slices.ContainsFunc(seen, func(s string) bool { return strings.Contains(s, "transfer") }) {
					t.Errorf("asked for before the code: %q", seen)
				}
			}, cfg)
		})
	}
	for _, c := range []login.Config{
		{Paths: []string{"/l"}, Identity: &login.Identity{Path: "/me", Pattern: "(.)"}, Hold: "follow"},
		{Paths: []string{"/l"}, Identity: &login.Identity{Path: "/me", Pattern: "(.)"}, Hold: "follow", HoldPath: "//evil.example/"},
		{Paths: []string{"/l"}, User: &login.User{Source: login.Constant, Name: "x"}, Success: [][]match.Condition{{{Next: &match.Following{Status: []int{200}, Body: "x"}}}}},
		{Paths: []string{"/l"}, Identity: &login.Identity{Path: "//evil.example/me", Pattern: "(.)"}},
		{Paths: []string{"/l"}, Identity: &login.Identity{Path: "/me/{users}", Pattern: "(.)"}},
		{Basic: `/\evil.example/`},
	} {
		if _, err := c.Compile(); err == nil {
			t.Errorf("%+v compiles", c)
		}
	}
}

// TestAttack_K6_NothingPassesAsAnAsset where Caddy itself knows the user: every
// request is that user's.
func TestAttack_K6_NothingPassesAsAnAsset(t *testing.T) {
	eachApp(t, whoami, func(t *testing.T, w *world) {
		c := w.browser()
		for _, target := range []string{"/report.php/x.css", "/x.css", "/a/b.png", "/report.css/", "/favicon.ico"} {
			if c.do(http.MethodGet, target, "", "X-Test-User", "alice"); strings.Contains(c.body, marker) {
				t.Errorf("%s: %d %s", target, c.status, c.body)
			}
		}
	}, func(g *gate.Gate, _ *login.Config) { g.FirstFactor, g.LoginPage = true, nil })
	each(t, func(t *testing.T, w *world) {
		for _, target := range []string{"/report.php/x.css", "/a.cgi/b.png", "/x.jsp/y.js"} {
			before := len(w.app.requests())
			if w.browser().get(target); len(w.app.requests()) != before {
				t.Errorf("%s passes as a file", target)
			}
		}
		if c := w.browser().get("/v1.2/x.css"); c.status != http.StatusFound { // the application's own redirect
			t.Errorf("a file: %d", c.status)
		}
	})
}

// TestAttack_K14_TheBrowserStaysHere wherever a login was posted to.
func TestAttack_K14_TheBrowserStaysHere(t *testing.T) {
	eachApp(t, func() http.Handler {
		return &shell{users: map[string]string{}, me: func(w http.ResponseWriter, user string) {
			if user == "" {
				_, _ = io.WriteString(w, loginForm)
				return
			}
			_, _ = io.WriteString(w, "I am "+user+".")
		}}
	}, func(t *testing.T, w *world) {
		away := func(at string) bool {
			return strings.HasPrefix(at, "//") || strings.HasPrefix(at, `/\`) || strings.Contains(at, "://")
		}
		for _, target := range []string{"//evil.example/x", "/\\evil.example/x", "///evil.example", "/%5cevil.example", "/x//evil.example"} {
			for name, head := range map[string][]string{"page": nil, "script": {"Accept", "*/*", "Referer", w.nodes[0].URL + "//evil.example/"}} {
				c := w.browser()
				c.do(http.MethodPost, target, "user=alice&password=pw-a", head...)
				if c.status != http.StatusSeeOther && c.status != http.StatusForbidden {
					t.Fatalf("%s: %d %s\n%s", target, c.status, c.body, w.events)
				}
				token := c.copy().token()
				c.post("/mfa/verify", url.Values{"otp": {w.phones.last(t, "alice")}, "secondfactorauthenticationtoken": {token}}, head...)
				at := c.head.Get("Location")
				if name == "script" {
					var out struct{ Location string }
					must(t, json.Unmarshal([]byte(c.body), &out))
					at = out.Location
				}
				if at == "" || away(at) {
					t.Errorf("%s, %s: leads to %q", target, name, at)
				}
			}
			// Nor where nobody is signed in.
			if at := w.browser().get(target).head.Get("Location"); away(at) || strings.Contains(at, "=%2F%2F") {
				t.Errorf("%s leads to %s", target, at)
			}
		}
	}, anyPath)
}

// TestAttack_K22_TwoNamesOnThePageAreAWordToTheOperator.
func TestAttack_K22_TwoNamesOnThePageAreAWordToTheOperator(t *testing.T) {
	l := newLegacy()
	eachApp(t, func() http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l.ServeHTTP(w, r)
			if r.URL.Path == "/me" {
				_, _ = io.WriteString(w, "a comment of bob's: I am mallory.")
			}
		})
	}, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		if c.status != http.StatusBadGateway || w.events.count(event.LoginRefused, event.NoVerdict) != 1 {
			t.Fatalf("%d %s", c.status, w.events)
		}
		if log := w.events.String(); !strings.Contains(log, "/me") || !strings.Contains(log, "2 matches") || strings.Contains(log, "mallory") {
			t.Error(log)
		}
	})
}

// TestAttack_K31_APageOfOnesOwn: HTTP Basic where every user has a page of his own
// and is kept from those of others.
func TestAttack_K31_APageOfOnesOwn(t *testing.T) {
	eachApp(t, func() http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			switch want, ok := passwords[user]; {
			case !ok || want != password:
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			case r.URL.Path == "/dav/":
				w.WriteHeader(http.StatusForbidden)
			case strings.HasPrefix(r.URL.Path, "/dav/") && r.URL.Path != "/dav/"+user+"/":
				w.WriteHeader(http.StatusForbidden)
			default:
				_, _ = io.WriteString(w, marker+" of "+user)
			}
		})
	}, func(t *testing.T, w *world) {
		for _, user := range []string{"alice", "bob"} {
			if c := w.browser().get("/dav/"+user+"/", "Authorization", basicAuth(user, "wrong")); c.status != http.StatusUnauthorized {
				t.Errorf("a wrong password: %d", c.status)
			}
			if c := w.browser().get("/dav/"+user+"/", "Authorization", basicAuth(user, passwords[user])); c.status != http.StatusSeeOther || c.head.Get("Location") != "/mfa" {
				t.Errorf("%s: %d %s\n%s", user, c.status, c.body, w.events)
			}
		}
		for _, user := range []string{"..", "../x", "a/../../b", "a?b", "a#b"} {
			w.browser().get("/dav/", "Authorization", basicAuth(user, "x"))
		}
		for _, seen := range w.app.requests() {
			if !strings.HasPrefix(seen, "GET /dav/") || strings.Contains(seen, "/../") || strings.ContainsAny(seen, "?#") {
				t.Errorf("asked for: %s", seen)
			}
		}
	}, func(g *gate.Gate, r *login.Config) {
		*r = login.Config{Name: "basic", Basic: "/dav/{user}/"}
		g.LoginPage = nil
	})
	eachApp(t, func() http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			if want, ok := passwords[user]; !ok || want != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.WriteHeader(http.StatusForbidden)
		})
	}, func(t *testing.T, w *world) {
		if c := w.browser().get("/", "Authorization", basicAuth("alice", "pw-a")); c.status != http.StatusSeeOther {
			t.Errorf("%d %s", c.status, w.events)
		}
		if c := w.browser().get("/", "Authorization", basicAuth("alice", "x")); c.status != http.StatusUnauthorized {
			t.Errorf("a wrong password: %d", c.status)
		}
	}, func(g *gate.Gate, r *login.Config) {
		*r = login.Config{Name: "basic", Basic: "/manager", BasicStatus: []int{403}}
		g.LoginPage = nil
	})
}

// TestAttack_K9_TypedNamesAreASCII where nobody but the request says who it is, by
// every door.
func TestAttack_K9_TypedNamesAreASCII(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, name := range []string{"alic\u00e9", "\u212alice", "ali\u017fe", "alice\u200b", "alice\x07", "a\u0300lice", "al  ice"} {
			before := len(w.app.requests())
			c := w.browser()
			if c.post("/login", url.Values{"user": {name}, "password": {"pw-a"}}); c.status != http.StatusBadRequest || len(w.app.requests()) != before {
				t.Errorf("%q: %d", name, c.status)
			}
		}
		if c := w.browser().get("/login").login(" Alice ", "x"); c.status == http.StatusBadRequest {
			t.Errorf("blanks and case: %d", c.status)
		}
	}, func(_ *gate.Gate, r *login.Config) {
		r.Identity = nil
		r.Success = [][]match.Condition{{{Cookie: &match.Pair{Name: "^SID$"}}}}
		r.Failure = [][]match.Condition{{{Body: "WRONG"}}}
	})
	eachApp(t, guarded, func(t *testing.T, w *world) {
		for _, name := range []string{"alic\u00e9", "alice\u200b"} {
			if c := w.browser().get("/home", "Authorization", basicAuth(name, "pw-a")); c.status < 400 || w.phones.count() != 0 {
				t.Errorf("%q: %d", name, c.status)
			}
		}
	}, overBasic)
}
