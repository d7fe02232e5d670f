package gate_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// limited gives a gate limits of its own.
func limited(l limit.Limits) config {
	return func(g *gate.Gate, _ *login.Config) {
		ring, err := keyring.New([]byte("a secret of the tests with at least 32 bytes"))
		if err != nil {
			panic(err)
		}
		g.Flow.Limits = limit.New(g.Flow.Store, ring, l)
	}
}

// staff is an application with a user for every number of the block +44 7400 12....
type staff struct{ *legacy }

func (s staff) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if name := r.PostFormValue("user"); r.Method == http.MethodPost && strings.HasPrefix(name, "person") && r.PostFormValue("password") == "pw" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.n++
		id := fmt.Sprintf("staff-%d", s.n)
		s.sessions[id] = name
		http.SetCookie(w, &http.Cookie{Name: "SID", Value: id, Path: "/", HttpOnly: true})
		w.Header().Set("Location", "/home")
		w.WriteHeader(http.StatusFound)
		return
	}
	s.legacy.ServeHTTP(w, r)
}

type block struct{}

func (block) Number(_ context.Context, user string) (string, error) {
	i, ok := strings.CutPrefix(user, "person")
	if !ok {
		return numbers[user], nil
	}
	return "+44740012" + i, nil
}

// colleague signs one of them in; the code may be typed at another address.
func (c *client) colleague(i int, typedAt string) {
	t := c.w.t
	t.Helper()
	name := fmt.Sprintf("person%04d", i)
	if c.login(name, "pw"); c.status != http.StatusSeeOther {
		t.Fatalf("%s: %d %s", name, c.status, c.body)
	}
	number, _ := block{}.Number(t.Context(), name)
	code := c.w.phones.lastTo(t, number)
	c.addr = typedAt
	c.code(code)
	c.in(name)
}

func TestAttack_K19_P2_AnOfficeIsNoAttack(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 1, staff{newLegacy()}, limited(limit.Limits{}), func(g *gate.Gate, _ *login.Config) { g.Flow.Directory = block{} })
		for i := range 40 {
			c := w.browser()
			c.addr = "203.0.113.7"
			c.colleague(i, fmt.Sprintf("203.0.113.%d", 7+i%2))
		}
	})
}

func TestAttack_K17_StrangersUseUpNothingOfAProvenNumber(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.enrol("bob")
		for i := range 10 {
			c := w.browser()
			c.addr = fmt.Sprintf("203.0.113.%d", i)
			c.login("alice", "pw-a")
			c.send("phone", "phoneno2fa", numbers["bob"])
		}
		if n := w.phones.count(); n != 11 {
			t.Fatalf("%d texts", n)
		}
		c := w.browser().login("bob", "pw-b")
		if w.phones.count() != 12 {
			t.Fatalf("the owner gets no text\n%s", w.events)
		}
		c.code(w.phones.last(t, "bob")).in("bob")
	}, byThemselves, limited(limit.Limits{UserSends: limit.Rate{N: 10, Window: time.Hour}}))
}

// tooMany checks the answer to a password that is not tried.
func (c *client) tooMany(t *testing.T) {
	t.Helper()
	if c.status != http.StatusTooManyRequests || c.head.Get("Retry-After") == "" {
		t.Fatalf("%d %v\n%.300s", c.status, c.head, c.body)
	}
	if json := strings.HasPrefix(c.head.Get("Content-Type"), "application/json"); json && !strings.Contains(c.body, "LoginLockedTimeout") || !json && !strings.Contains(c.body, "15 minutes") {
		t.Errorf("it does not say when to try again: %s", c.body)
	}
}

func TestAttack_H_WrongPasswordsOfANetworkAreCountedBeforeTheyAreTried(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		at := func(addr string) *client {
			c := w.browser()
			c.addr = addr
			return c
		}
		for range 12 { // right ones, and the same user again
			at("203.0.113.7").login("alice", "pw-a")
		}
		old := at("203.0.113.7").get("/login")
		for i := range 5 {
			if c := at("203.0.113.7").login([]string{"alice", "bob"}[i%2], fmt.Sprint("wrong", i)); c.status != http.StatusOK {
				t.Fatalf("wrong password %d: %d", i, c.status)
			}
		}
		before, handle := w.app.posts(), old.handle()
		old.login("alice", "pw-a").tooMany(t)
		if old.handle() != handle {
			t.Error("the refusal took the handle away")
		}
		at("203.0.113.7").post("/api/login", url.Values{"user": {"alice"}, "password": {"pw-a"}}, "Accept", "application/json").tooMany(t)
		if w.app.posts() != before {
			t.Error("the application was asked")
		}
		at("203.0.113.8").signIn("alice")
	}, limited(limit.Limits{IPLogins: limit.Rate{N: 5, Window: 15 * time.Minute}}))
}

func TestAttack_H_WrongBasicPasswordsOfANetworkAreCounted(t *testing.T) {
	eachApp(t, guarded, func(t *testing.T, w *world) {
		c := w.browser()
		for i := range 6 {
			c.get("/home", "Authorization", basicAuth("alice", fmt.Sprint("wrong", i)))
		}
		asked := len(w.app.requests())
		if c.get("/home", "Authorization", basicAuth("alice", "pw-a")); c.status != http.StatusTooManyRequests || len(w.app.requests()) != asked {
			t.Errorf("%d, asked %d times", c.status, len(w.app.requests())-asked)
		}
		d := w.browser()
		d.addr = "192.0.2.200"
		d.get("/home", "Authorization", basicAuth("alice", "pw-a"), "Accept", "*/*")
		if d.status != http.StatusForbidden {
			t.Errorf("from elsewhere: %d", d.status)
		}
	}, overBasic, limited(limit.Limits{IPLogins: limit.Rate{N: 6, Window: 15 * time.Minute}}))
}

func TestAttack_K18_ANameAloneLocksNobodyOut(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		c.addr = "203.0.113.1"
		for i := range 10 {
			c.no(966, "POST", "/auth/login/2fa", "", fmt.Sprintf(`{"username":"alice","password":"wrong-%d"}`, i))
		}
		c.no(1198, "POST", "/auth/login/2fa", "", `{"username":"alice","password":"pw-a"}`)
		c.addr = "203.0.113.2"
		c.ok("POST", "/auth/login/2fa", "", `{"username":"alice","password":"pw-a"}`)
	})
}

func TestAttack_K19_P20_RightPasswordsOfAProgramAreNotCounted(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		for i := range 8 { // its limit is 3
			c.ok("POST", "/auth/login/2fa", "apikey="+otherKey, fmt.Sprintf(`{"username":%q,"password":%q}`, []string{"alice", "bob"}[i%2], passwords[[]string{"alice", "bob"}[i%2]]), "User-Agent", fmt.Sprint(i))
		}
	})
}

func TestAttack_K20_PendingSessionsOfAUserAreBounded(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 1, newLegacy())
		other := w.browser().login("bob", "pw-b")
		var all []*client
		for range session.MaxPending + 15 {
			all = append(all, w.browser().login("alice", "pw-a"))
		}
		time.Sleep(1100 * time.Millisecond)
		alive := func(c *client) bool {
			return c.get("/mfa").status == http.StatusOK && strings.Contains(c.body, "secondfactorauthenticationtoken")
		}
		for i, c := range all {
			if want := i >= 15; alive(c) != want {
				t.Errorf("pending session %d of %d: alive %t", i, len(all), !want)
			}
		}
		if !alive(other) {
			t.Error("another user's session has ended")
		}
	})
}

// Pages that are withheld have a bound in bytes over all users; beyond it a login
// works without its page.
func TestAttack_K20_WithheldPagesAreBoundedInAll(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 1, newLegacy().greets(strings.Repeat("x", 30<<10)))
		f := w.flow()
		if ok, err := f.Limits.Withhold(t.Context(), 256<<20); !ok || err != nil {
			t.Fatal(ok, err)
		}
		c, before := w.browser(), w.store.size()
		c.login("alice", "pw-a")
		if n := w.store.size() - before; n > 20<<10 {
			t.Errorf("%d bytes were written", n)
		}
		if c.code(w.phones.last(t, "alice")); c.head.Get("Location") != "/" {
			t.Errorf("to %q", c.head.Get("Location"))
		}
		c.in("alice")
		f.Limits.Unwithhold(t.Context(), 256<<20)
		for range 3 { // what is given out is given back
			if ok, err := f.Limits.Withhold(t.Context(), 200<<20); !ok || err != nil {
				t.Fatal(ok, err)
			}
			f.Limits.Unwithhold(t.Context(), 200<<20)
			d := w.browser().login("alice", "pw-a")
			d.code(w.phones.last(t, "alice"))
		}
		if ok, err := f.Limits.Withhold(t.Context(), 256<<20); !ok || err != nil {
			t.Error("a page that was given out still counts")
		}
	})
}

// Many colleagues at once: those whose passwords are right are all let through.
func TestAttack_P2_ManyRightPasswordsAtOnce(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 1, staff{newLegacy()}, limited(limit.Limits{IPLogins: limit.Rate{N: 5, Window: time.Hour}, IPSends: limit.Rate{N: 100, Window: time.Hour}}),
			func(g *gate.Gate, _ *login.Config) { g.Flow.Directory = block{} })
		var all sync.WaitGroup
		for i := range 25 {
			all.Go(func() {
				c := w.browser()
				c.addr = "203.0.113.7"
				if c.login(fmt.Sprintf("person%04d", i), "pw"); c.status != http.StatusSeeOther {
					t.Errorf("person %d: %d", i, c.status)
				}
			})
		}
		all.Wait()
		if n := w.events.count(event.LoginRefused, event.ClientLogins); n != 0 {
			t.Errorf("%d were refused", n)
		}
	})
}
