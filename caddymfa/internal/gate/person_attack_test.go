package gate_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
)

// careless is an application that compares names without case and shows the name
// as it was typed. Its other doors are what no rule sees.
type careless struct {
	*legacy
	mu sync.Mutex
	// rotates: another session cookie with every answer. asked counts the questions
	// for whose session it is.
	rotates bool
	asked   int
	broken  bool // the page of identity is
	// switched is called when a login has been let in and is not answered yet.
	switched func()
}

func (a *careless) questions() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.asked
	a.asked = 0
	return n
}

func (a *careless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	rotates, broken := a.rotates, a.broken
	if r.URL.Path == "/me" {
		a.asked++
	}
	a.mu.Unlock()
	if broken && r.URL.Path == "/me" {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	path := strings.ToLower(r.URL.Path)
	doors := map[string]bool{"/login/": true, "/login.json": true, "/login/x": true, "/plugin": true, "/other": true}
	if r.Method == http.MethodPost && (path == "/login" || doors[path]) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(strings.ReplaceAll(string(body), ";", "&"))
		user, password := form.Get("user")+form.Get("u"), form.Get("password")+form.Get("pw")
		if want, ok := passwords[strings.ToLower(user)]; ok && want == password {
			a.legacy.mu.Lock()
			id := ""
			if c, err := r.Cookie("SID"); err == nil && path != "/other" { // the session is kept, and is another's
				id = c.Value
			}
			if id == "" || a.sessions[id] == "" && id != "" {
				a.n++
				id = fmt.Sprintf("upstream-session-%d", a.n)
				http.SetCookie(w, &http.Cookie{Name: "SID", Value: id, Path: "/", HttpOnly: true})
			}
			a.sessions[id] = user
			a.legacy.mu.Unlock()
			if a.switched != nil {
				a.switched()
			}
			w.Header().Set("Location", "/home")
			w.WriteHeader(http.StatusFound)
			_, _ = io.WriteString(w, marker+" of "+user)
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
	}
	if rotates && path == "/home" {
		a.legacy.mu.Lock()
		if c, err := r.Cookie("SID"); err == nil && a.sessions[c.Value] != "" {
			a.n++
			id := fmt.Sprintf("upstream-session-%d", a.n)
			a.sessions[id] = a.sessions[c.Value]
			http.SetCookie(w, &http.Cookie{Name: "SID", Value: id, Path: "/", HttpOnly: true})
		}
		a.legacy.mu.Unlock()
	}
	a.legacy.ServeHTTP(w, r)
}

func newCareless() *careless { return &careless{legacy: newLegacy()} }

// TestAttack_K3_AFoldOfAKnownNameIsThatPerson: with the password alone, in every
// spelling that the application takes, nobody new is enrolled.
func TestAttack_K3_AFoldOfAKnownNameIsThatPerson(t *testing.T) {
	for name, cfg := range map[string]config{
		"self":     func(*gate.Gate, *login.Config) {},
		"optional": func(g *gate.Gate, _ *login.Config) { g.Site.Policy = flow.Optional },
		"invite":   func(g *gate.Gate, _ *login.Config) { g.Site.Enroll = flow.Invite },
	} {
		t.Run(name, func(t *testing.T) {
			eachApp(t, func() http.Handler { return newCareless() }, func(t *testing.T, w *world) {
				must(t, w.flow().SetNumberOf(t.Context(), operator("alice"), numbers["alice"]))
				for _, spelling := range []string{"ALICE", "Alice", "aLiCe"} {
					texts := w.phones.count()
					c := w.browser().get("/login")
					c.login(spelling, "pw-a")
					if c.status != http.StatusSeeOther || c.head.Get("Location") != "/mfa" {
						t.Fatalf("%s: %d %s\n%s", spelling, c.status, c.body, w.events)
					}
					if c.get("/mfa"); strings.Contains(c.body, `name="phoneno2fa"`) || w.phones.count() != texts+1 {
						t.Fatalf("%s may name a number, or the known person got no text: %d", spelling, w.phones.count()-texts)
					}
					c.out()
					c.code(w.phones.last(t, "alice")).in(spelling)
				}
				if w.events.count(event.SpellingsMet, "") != 3 {
					t.Errorf("nobody was told: %s", w.events)
				}
				if users, err := w.flow().Users(t.Context(), "Test"); err != nil || len(users) != 1 {
					t.Errorf("%q %v", users, err)
				}
				// Another name is nobody's until an operator says whose.
				must(t, w.flow().Alias(t.Context(), operator("Alice"), "alice@example.com"))
				if user, err := w.flow().Accounts.Known(t.Context(), "Test", "ALICE@example.com"); err != nil || user != "alice" {
					t.Errorf("an alias: %q %v", user, err)
				}
				if err := w.flow().Alias(t.Context(), operator("bob"), "alice@Example.com"); err == nil {
					t.Error("an alias was taken from its user")
				}
			}, byThemselves, cfg)
		})
	}
	t.Run("first_factor", func(t *testing.T) {
		eachApp(t, whoami, func(t *testing.T, w *world) {
			must(t, w.flow().SetNumberOf(t.Context(), operator("alice"), numbers["alice"]))
			c := w.browser()
			as := func(method, target string, v url.Values) *client {
				return c.do(method, target, v.Encode(), "X-Test-User", "ALICE")
			}
			as(http.MethodGet, "/home", nil)
			m := tokenField.FindStringSubmatch(as(http.MethodGet, "/mfa", nil).body)
			if m == nil || strings.Contains(c.body, `name="phoneno2fa"`) {
				t.Fatal(c.body)
			}
			as(http.MethodPost, "/mfa/resend", url.Values{"secondfactorauthenticationtoken": {m[1]}})
			as(http.MethodPost, "/mfa/verify", url.Values{"secondfactorauthenticationtoken": {m[1]}, "otp": {w.phones.last(t, "alice")}})
			if as(http.MethodGet, "/home", nil); c.body != marker {
				t.Fatalf("%d %s\n%s", c.status, c.body, w.events)
			}
		}, byThemselves, func(g *gate.Gate, _ *login.Config) { g.FirstFactor, g.LoginPage = true, nil })
	})
}

// TestAttack_K4_WhoseSessionItIsIsAskedAgain: bob is verified, and gives alice's
// password by ways that no rule sees.
func TestAttack_K4_WhoseSessionItIsIsAskedAgain(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for name, tc := range map[string]struct{ target, kind, body string }{
		"trailing slash":       {"/login/", form, "user=alice&password=pw-a"},
		"another format":       {"/login.json", form, "user=alice&password=pw-a"},
		"path info":            {"/login/x", form, "user=alice&password=pw-a"},
		"case":                 {"/LOGIN/", form, "user=alice&password=pw-a"},
		"another content type": {"/login/", "text/plain", "user=alice&password=pw-a"},
		"a semicolon":          {"/login/", form, "x=1;user=alice;password=pw-a"},
		"a plug-in's form":     {"/plugin", form, "u=alice&password=pw-a"},
		"other names, cookie":  {"/other", form, "u=alice&pw=pw-a"},
	} {
		t.Run(name, func(t *testing.T) {
			eachApp(t, func() http.Handler { return newCareless() }, func(t *testing.T, w *world) {
				c := w.browser().signIn("bob")
				old := c.copy()
				if c.do(http.MethodPost, tc.target, tc.body, "Content-Type", tc.kind); strings.Contains(c.body, marker) || c.status < 400 {
					t.Fatalf("the answer passed: %d %v %s", c.status, c.head, c.body)
				}
				for _, d := range []*client{c, old} {
					if d.get("/home"); strings.Contains(d.body, marker) {
						t.Fatalf("bob's session shows %s\n%s", d.body, w.events)
					}
				}
				c.out()
			})
		})
	}
}

// TestAttack_K4_NothingPassesBeforeTheAnswer: while the application takes its time
// to answer alice's password, bob's session asks for a page.
func TestAttack_K4_NothingPassesBeforeTheAnswer(t *testing.T) {
	eachApp(t, func() http.Handler { return newCareless() }, func(t *testing.T, w *world) {
		a, _ := w.app.Handler.(*careless)
		var wg sync.WaitGroup
		c := w.browser().signIn("bob")
		pages := make([]*client, 4)
		a.switched = func() {
			before := len(w.app.requests())
			for i := range pages {
				pages[i] = c.copy()
				wg.Go(func() { pages[i].get("/home") })
			}
			for i := 0; i < 1000 && len(w.app.requests()) < before+len(pages); i++ {
				time.Sleep(5 * time.Millisecond)
			}
			time.Sleep(100 * time.Millisecond) // they have been answered, and could have left
		}
		d := c.copy()
		d.post("/plugin", url.Values{"u": {"alice"}, "password": {"pw-a"}})
		wg.Wait()
		for _, p := range append(pages, d) {
			if strings.Contains(p.body, marker) {
				t.Errorf("bob's session shows %s\n%s", p.body, w.events)
			}
		}
		c.out()

		// What is no login holds up, and takes away, nothing.
		a.switched = nil
		c = w.browser().signIn("bob")
		d = c.copy()
		application := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/settings" {
				pages[0] = c.copy()
				wg.Go(func() { pages[0].get("/home") })
				time.Sleep(100 * time.Millisecond)
			}
			application.ServeHTTP(rw, r)
		})
		d.post("/settings", url.Values{"password": {"new"}, "again": {"new"}})
		wg.Wait()
		pages[0].in("bob")
		d.in("bob")
	})
}

// TestAttack_K4_HonestPeopleGoOn: what looks like a login and is none, a cookie
// that changes at every answer, one's own new password. And what it costs.
func TestAttack_K4_HonestPeopleGoOn(t *testing.T) {
	eachApp(t, func() http.Handler { return newCareless() }, func(t *testing.T, w *world) {
		a, _ := w.app.Handler.(*careless)
		c := w.browser().signIn("bob")
		a.questions()
		for range 5 {
			c.in("bob")
			c.post("/save", url.Values{"text": {"x"}})
			c.do(http.MethodPost, "/upload", "\x00\x01", "Content-Type", "application/octet-stream")
		}
		if n := a.questions(); n != 0 {
			t.Errorf("%d questions for ordinary pages", n)
		}
		c.post("/settings", url.Values{"password": {"new"}, "again": {"new"}})
		if n := a.questions(); n != 1 {
			t.Errorf("%d questions for a form with a password", n)
		}
		c.in("bob")
		a.mu.Lock()
		a.rotates = true
		a.mu.Unlock()
		for range 10 {
			c.in("bob")
		}
		if n := a.questions(); n < 1 || n > 2 {
			t.Errorf("%d questions for ten changed cookies within ten seconds", n)
		}
		// An application that cannot say for a moment takes nothing away.
		a.mu.Lock()
		a.rotates = false
		a.mu.Unlock()
		c.in("bob")
		// A wrong password for another user ends what cannot be told to be his.
		if c.do(http.MethodPost, "/login/", "user=alice&password=wrong"); c.status == http.StatusOK && strings.Contains(c.body, marker+" of alice") {
			t.Errorf("%d %s", c.status, c.body)
		}
	})
}

func TestAttack_K7_NobodyGetsAnotherOnesSession(t *testing.T) {
	eachApp(t, func() http.Handler { return newLegacy() }, func(t *testing.T, w *world) {
		owner := w.enrol("alice")
		owner.get("/mfa")
		trusting := w.browser().pends("alice")
		trusting.send("verify", "otp", w.phones.last(t, "alice"), "trust", "on").is(http.StatusSeeOther)
		device := trusting.cookies[w.device()]
		if device == "" {
			t.Fatal("no device")
		}
		// The owner signs in without a code, and a thief with the password sends the
		// same form from the same address and browser, at once and a moment later.
		mine := w.browser()
		mine.cookies[w.device()] = device
		thief := mine.copy()
		delete(thief.cookies, w.device())
		var wg sync.WaitGroup
		wg.Go(func() { mine.login("alice", "pw-a") })
		wg.Go(func() { thief.login("alice", "pw-a") })
		wg.Wait()
		later := w.browser()
		later.addr = mine.addr
		later.login("alice", "pw-a")
		mine.in("alice")
		for name, d := range map[string]*client{"at once": thief, "later": later} {
			if d.get("/home"); strings.Contains(d.body, marker) {
				t.Errorf("%s: a session of the owner's", name)
			}
			if d.cookies[w.device()] != "" {
				t.Errorf("%s: the next cookie of the owner's browser", name)
			}
			d.out()
		}
		// The owner's own double click is one sign-in, and the browser stays trusted.
		again := w.browser()
		again.cookies[w.device()] = mine.cookies[w.device()]
		twice := again.copy()
		wg.Go(func() { again.login("alice", "pw-a") })
		wg.Go(func() { twice.login("alice", "pw-a") })
		wg.Wait()
		again.in("alice")
		twice.in("alice")
		if w.events.count(event.Trusted, event.CopiedDevice) != 0 {
			t.Error("a double click looks like a stolen cookie")
		}
	}, byThemselves)
	// Where the policy lets in without a number, a second poster has his own session.
	eachApp(t, func() http.Handler { return newLegacy() }, func(t *testing.T, w *world) {
		first := w.browser()
		first.login("alice", "pw-a")
		second := first.copy()
		delete(second.cookies, w.cookie())
		second.login("alice", "pw-a")
		if first.handle() == "" || first.handle() == second.handle() {
			t.Error("two browsers have one session")
		}
		first.in("alice")
		second.in("alice")
	}, byThemselves, func(g *gate.Gate, _ *login.Config) { g.Site.Policy = flow.Optional })
}

func TestAttack_K8_TenantsOfAWildcardSiteAreNotOnePeople(t *testing.T) {
	for name, shared := range map[string]bool{"each its own": false, "shared": true} {
		t.Run(name, func(t *testing.T) {
			eachApp(t, func() http.Handler { return newLegacy() }, func(t *testing.T, w *world) {
				sign := func(host, number string) *client {
					c := w.browser()
					c.get("/login", "Host", host)
					c.post("/login", url.Values{"user": {"alice"}, "password": {"pw-a"}}, "Host", host)
					c.get("/mfa", "Host", host)
					m := tokenField.FindStringSubmatch(c.body)
					if m == nil {
						t.Fatal(c.body)
					}
					if strings.Contains(c.body, `name="phoneno2fa"`) {
						c.post("/mfa/phone", url.Values{"phoneno2fa": {number}, "secondfactorauthenticationtoken": {m[1]}}, "Host", host)
					}
					return c
				}
				c := sign("one.example.com", "+447400111111")
				m := tokenField.FindStringSubmatch(c.get("/mfa", "Host", "one.example.com").body)
				c.post("/mfa/verify", url.Values{"otp": {w.phones.lastTo(t, "+447400111111")}, "secondfactorauthenticationtoken": {m[1]}}, "Host", "one.example.com")
				if c.get("/home", "Host", "one.example.com"); c.body != marker+" of alice" {
					t.Fatalf("%d %s", c.status, c.body)
				}
				texts := w.phones.count()
				sign("two.example.com", "+447400222222")
				want := "+447400222222"
				if shared {
					want = "+447400111111"
				}
				if got := w.phones.texts[len(w.phones.texts)-1].To; w.phones.count() != texts+1 || got != want {
					t.Errorf("the code of another tenant's alice went to %s", got)
				}
			}, byThemselves, func(g *gate.Gate, _ *login.Config) {
				g.SharedUsers, g.Hosts = shared, []string{"*.example.com"}
			})
		})
	}
}

func TestAttack_K32_AnotherSignInEndsTheFirst(t *testing.T) {
	eachApp(t, whoami, func(t *testing.T, w *world) {
		c := w.browser()
		as := func(user, method, target string, v url.Values) *client {
			return c.do(method, target, v.Encode(), "X-Test-User", user)
		}
		enter := func(user string) {
			as(user, http.MethodGet, "/home", nil)
			m := tokenField.FindStringSubmatch(as(user, http.MethodGet, "/mfa", nil).body)
			if m == nil {
				t.Fatalf("%s: %d %s", user, c.status, c.body)
			}
			as(user, http.MethodPost, "/mfa/resend", url.Values{"secondfactorauthenticationtoken": {m[1]}})
			as(user, http.MethodPost, "/mfa/verify", url.Values{"secondfactorauthenticationtoken": {m[1]}, "otp": {w.phones.last(t, user)}})
		}
		enter("alice")
		if as("alice", http.MethodGet, "/home", nil); c.body != marker {
			t.Fatalf("%d %s", c.status, c.body)
		}
		old := c.copy()
		as("bob", http.MethodGet, "/home", nil)
		if old.do(http.MethodGet, "/home", "", "X-Test-User", "alice"); old.body == marker {
			t.Error("alice's session lives on after bob's sign-in")
		}
	}, func(g *gate.Gate, _ *login.Config) { g.FirstFactor, g.LoginPage = true, nil })
}
