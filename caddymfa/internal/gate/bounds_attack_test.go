package gate_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
)

// posts is how many requests with a body reached the application.
func (a *app) posts() (n int) {
	for _, r := range a.requests() {
		if strings.HasPrefix(r, http.MethodPost) {
			n++
		}
	}
	return n
}

// large is the usual application whose wrong passwords are answered by a page of
// 60 KiB, after a while.
func large() answers {
	l := newLegacy()
	return answers{func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond)
		if l.ServeHTTP(w, r); r.PostFormValue("password") != passwords[r.PostFormValue("user")] {
			_, _ = io.WriteString(w, strings.Repeat("x", 60<<10))
		}
	}, l}
}

// size is how many bytes of keys and values were written.
func (f *faulty) size() int { return len(f.dump()) }

func TestAttack_K11_K12_AFailedLoginKeepsNoPage(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 1, large())
		for _, handle := range []bool{true, false} {
			c := w.browser()
			if handle {
				c.get("/login")
			}
			before := w.store.size()
			if c.login("alice", "wrong"); c.status != http.StatusOK || len(c.body) < 60<<10 {
				t.Fatalf("%d, %d bytes", c.status, len(c.body))
			}
			if n := w.store.size() - before; n > 3<<10 {
				t.Errorf("handle %t: a wrong password wrote %d bytes", handle, n)
			}
			c.signIn("alice")
		}
	})
}

// A double click on a wrong password is two attempts, one after the other: each is
// answered, and whoever types the right one then is in.
func TestAttack_K11_AFailedLoginSentTwiceIsForwardedTwice(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 2, large())
		for _, handle := range []bool{true, false} {
			for _, node := range []int{0, 1} {
				c := w.browser()
				if handle {
					c.get("/login")
				}
				d, before := c.copy(), w.app.posts()
				d.node = node
				var clicks sync.WaitGroup
				clicks.Go(func() { d.login("alice", "wrong") })
				for w.app.posts() == before { // or the second click were the first
					time.Sleep(time.Millisecond)
				}
				c.login("alice", "wrong")
				clicks.Wait()
				for _, b := range []*client{c, d} {
					if b.status != http.StatusOK || !strings.HasPrefix(b.body, "WRONG") {
						t.Fatalf("handle %t, node %d: %d %.80s", handle, node, b.status, b.body)
					}
				}
				if n := w.app.posts() - before; n != 2 {
					t.Errorf("handle %t, node %d: forwarded %d times", handle, node, n)
				}
				if handle && c.handle() == d.handle() {
					t.Error("two attempts left one session")
				}
				if c.login("alice", "pw-a"); c.status != http.StatusSeeOther {
					t.Errorf("handle %t, node %d: the right password afterwards: %d", handle, node, c.status)
				}
			}
		}
	})
}

func TestAttack_K16_VisitorsCostTheStoreNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i := range 150 {
			v := w.browser()
			v.addr = fmt.Sprintf("203.0.113.%d", i%5)
			if v.get("/login"); v.status != http.StatusOK || v.handle() == "" {
				t.Fatalf("visitor %d: %d", i, v.status)
			}
			if v.get("/login"); v.status != http.StatusOK || len(v.head["Set-Cookie"]) != 0 {
				t.Fatalf("visitor %d again: %d, %v: the application knows its cookie", i, v.status, v.head["Set-Cookie"])
			}
		}
		if w.store.wrote("") || w.store.size() != 0 {
			t.Errorf("visits wrote %q", w.store.dump())
		}
		w.browser().signIn("alice")
	})
}

// A jar that fits into no cookie is kept by the store, and counted; one that grows
// out of its cookie goes there with all that it holds.
func TestAttack_K16_ALargeJarIsKeptAndCounted(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		l := newLegacy()
		w := newWorld(t, open(t), 1, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" && r.Method == http.MethodGet {
				if _, err := r.Cookie("BIG"); err != nil && r.Header.Get("X-Want") == "big" {
					http.SetCookie(rw, &http.Cookie{Name: "BIG", Value: strings.Repeat("x", 3600), Path: "/"})
				}
				if r.Header.Get("X-Want") == "seen" {
					_, _ = io.WriteString(rw, r.Header.Get("Cookie"))
					return
				}
			}
			l.ServeHTTP(rw, r)
		}))
		c := w.browser().get("/login")
		early := c.copy()
		if c.get("/login", "X-Want", "big"); len(c.handle()) > 160 {
			t.Fatalf("a handle of %d bytes", len(c.handle()))
		}
		for _, b := range []*client{c, early} { // the old handle is of the same session
			if b.get("/login", "X-Want", "seen"); !strings.Contains(b.body, "BIG=") || !strings.Contains(b.body, "SID=") {
				t.Errorf("the application gets %.60q", b.body)
			}
		}
		before := early.copy()
		c.signIn("alice")
		before.out()
		early.out()
		refused := 0
		for range 130 {
			v := w.browser()
			v.addr = "203.0.113.7"
			if v.get("/login", "X-Want", "big"); v.status == http.StatusTooManyRequests {
				refused++
			}
		}
		if refused != 10 {
			t.Errorf("%d of 130 were refused", refused)
		}
	})
}

// A handle that was carried before a login is dead for as long as it could be
// used, not only while the attempt is remembered for a double click (attack A1).
func TestAttack_A1_K16_ACarriedHandleStaysDead(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 2, newLegacy())
		for name, end := range map[string]func(c *client){
			"a right password": func(c *client) { c.login("alice", "pw-a") },
			"a wrong one, then the right one": func(c *client) {
				c.login("alice", "wrong")
				c.login("alice", "pw-a")
			},
			"the code": func(c *client) { c.login("alice", "pw-a").code(w.phones.last(t, "alice")) },
		} {
			c := w.browser().get("/login")
			old := c.copy()
			end(c)
			for node := range w.nodes {
				d := old.copy()
				d.node = node
				d.out()
				if d.get("/login"); d.status == http.StatusOK && strings.Contains(d.body, marker) {
					t.Errorf("%s, node %d: %d %s", name, node, d.status, d.body)
				}
			}
		}
	})
}

// Before a login is forwarded the store knows that the handle is dead, and when it
// cannot know, nothing is forwarded.
func TestAttack_K16_ALoginIsForwardedAfterItsMark(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login")
		var marked bool
		application := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				marked = w.store.wrote("s:")
			}
			application.ServeHTTP(rw, r)
		})
		old := c.copy()
		c.login("alice", "wrong")
		if !marked {
			t.Error("forwarded before the mark was written")
		}
		for _, o := range w.store.puts() {
			if o.Volatile {
				t.Error("the mark is lost with the process; the handle is not")
			}
		}
		w.store.down.Store(true)
		posts := w.app.posts()
		for _, b := range []*client{old, c} {
			if b.login("alice", "pw-a"); b.status != http.StatusServiceUnavailable {
				t.Errorf("without the store: %d", b.status)
			}
		}
		if w.app.posts() != posts {
			t.Error("forwarded without the store")
		}
	})
}

func TestAttack_K16_ForgedAndExpiredHandlesCostNoLookUp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login")
		h := c.handle()
		if h[0] != '2' {
			t.Fatalf("the session is not carried: %.10s", h)
		}
		w.store.ahead.Store(int64(15 * time.Minute))
		reads := len(w.store.read)
		for name, bad := range map[string]string{
			"expired": h, "cut": h[:len(h)-2], "longer": h + "AA", "changed": h[:20] + "xx" + h[22:], "other form": "1" + h[1:], "long": "2" + strings.Repeat("A", 3700),
		} {
			d := w.browser()
			d.cookies[w.cookie()] = bad
			d.get("/home").get("/login")
			if d.head.Get("Set-Cookie") == "" {
				t.Errorf("%s: no new session", name)
			}
		}
		if n := len(w.store.read) - reads; n != 0 {
			t.Errorf("%d look-ups", n)
		}
		w.store.ahead.Store(0)
		d := w.browser()
		d.cookies[w.cookie()] = h
		if d.get("/login", "Host", "other.example"); len(d.head["Set-Cookie"]) == 0 {
			t.Error("it counts at another gate")
		}
	})
}

// Two answers at once each give a visitor a cookie: none is lost.
func TestAttack_K26_AVisitorsParallelAnswersAddUp(t *testing.T) {
	each(t, func(t *testing.T, w *world) { w.together(t, w.browser().get("/login"), "/login", 1) })
}

func TestAttack_K26_ParallelAnswersAddUp(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			stores(t, func(t *testing.T, open func(t *testing.T) backend) {
				w := newWorld(t, open(t), nodes, newLegacy())
				w.together(t, w.browser().signIn("alice"), "/home", nodes)
			})
		})
	}
}

// together asks 120 times at once for a page that sets one of 40 cookies.
func (w *world) together(t *testing.T, c *client, page string, nodes int) {
	t.Helper()
	application := w.app.Handler
	var all sync.WaitGroup
	all.Add(120)
	w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X-Want") {
		case "":
			application.ServeHTTP(rw, r)
			return
		case "all":
			_, _ = io.WriteString(rw, r.Header.Get("Cookie"))
			return
		}
		all.Done()
		all.Wait() // all have been asked with the same jar
		http.SetCookie(rw, &http.Cookie{Name: "P" + r.Header.Get("X-Want"), Value: r.Header.Get("X-Want"), Path: "/"})
	})
	var asking sync.WaitGroup
	var mu sync.Mutex
	bad, last := map[int]int{}, c
	for i := range 120 {
		asking.Go(func() {
			d := c.copy()
			d.node = i % nodes
			d.get(page, "X-Want", fmt.Sprint(i%40))
			mu.Lock()
			defer mu.Unlock()
			if last = d; d.status != http.StatusOK {
				bad[d.status]++
			}
		})
	}
	asking.Wait()
	if len(bad) > 0 {
		t.Errorf("answers that are none: %v\n%s", bad, w.events)
	}
	if nodes > 1 {
		time.Sleep(1100 * time.Millisecond)
	}
	for node := range nodes {
		last.node = node
		last.get(page, "X-Want", "all")
		for i := range 40 {
			if !slices.Contains(strings.Split(last.body, "; "), fmt.Sprintf("P%d=%d", i, i)) {
				t.Errorf("node %d: cookie %d is lost", node, i)
			}
		}
	}
}

// An application with one token for a user gives it to each of his sessions: it
// stands for all of them, and each ends for itself.
func TestAttack_K27_OneTokenOfSeveralSessions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		in := func(name string) *client {
			c := w.browser()
			c.post("/api/login", url.Values{"user": {name}, "password": {passwords[name]}}, "Accept", "application/json")
			return c.code(w.phones.last(t, name)).in(name)
		}
		const token = "app-token-alice"
		get := func(c *client) *client { return c.get("/home", "Authorization", "Bearer "+token) }
		opens := func(what string, c *client, want bool) {
			t.Helper()
			if get(c); (c.body == marker+" of alice") != want {
				t.Errorf("%s: %d %s", what, c.status, c.body)
			}
		}
		a, b, other := in("alice"), in("alice"), in("bob")
		for range 3 {
			opens("the first", a.copy(), true)
			opens("the second", b.copy(), true)
			opens("alone", w.browser(), true)
			opens("beside another user's handle", other.copy(), false)
		}
		b.get("/logout")
		time.Sleep(1100 * time.Millisecond)
		opens("the first, when the second has ended", a.copy(), true)
		opens("alone, when one has ended", w.browser(), true)
		a.get("/logout")
		time.Sleep(1100 * time.Millisecond)
		opens("when both have ended", w.browser(), false)
		if w.events.count(event.Refused, event.UnknownToken) == 0 {
			t.Log(w.events)
		}
	}, func(g *gate.Gate, _ *login.Config) { g.Site.Bearer.JSON = []string{"access"} })
}

// Copies are without a long withheld answer; the person gets it whole, also after
// another text.
func TestAttack_K11_ALongAnswerIsWithheldWhole(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 1, newLegacy().greets(strings.Repeat("x", 30<<10)+"END"))
		c := w.browser().login("alice", "pw-a")
		w.store.ahead.Add(int64(31 * time.Second))
		c.post("/mfa/resend", url.Values{"secondfactorauthenticationtoken": {c.token()}})
		if c.code(w.phones.last(t, "alice")); c.status != http.StatusSeeOther {
			t.Fatalf("%d %s", c.status, c.body)
		}
		if c.get(c.head.Get("Location")); len(c.body) < 30<<10 || !strings.HasSuffix(c.body, "END") {
			t.Errorf("%d, %d bytes", c.status, len(c.body))
		}
	})
}
