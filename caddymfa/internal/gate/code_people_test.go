package gate_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
)

// What people meet where they type the code, and must get through.

// typed is the form with the code.
func typed(code, token string) url.Values {
	return url.Values{"otp": {code}, "secondfactorauthenticationtoken": {token}}
}

// others are codes that are not right.
func others(code string) (out []string) {
	for d := '0'; d <= '9'; d++ {
		if c := strings.Repeat(string(d), 6); c != code {
			out = append(out, c)
		}
	}
	return out
}

// keeps checks that the last answer took no handle away.
func (c *client) keeps() *client {
	c.w.t.Helper()
	for _, line := range c.head.Values("Set-Cookie") {
		if strings.HasPrefix(line, c.w.cookie()+"=;") {
			c.w.t.Fatalf("the handle was taken away: %d %s", c.status, line)
		}
	}
	return c
}

// sessions is how many sessions a user is signed in with.
func (w *world) sessions(user string) int {
	w.t.Helper()
	all, err := w.flow().Sessions.Members(w.t.Context(), "Test", user)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(all)
}

func TestPeople_P1_TheSameFormHasTheSameOutcome(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 3, newLegacy())
		c := w.browser().get("/login").post("/login", url.Values{"user": {"alice"}, "password": {"pw-a"}, "to": {"/report/5"}})
		f := typed(w.phones.last(t, "alice"), c.token())
		old := c.copy()
		c.post("/mfa/verify", f).to("/report/5").in("alice")
		for node := range 3 { // the first answer never reached the browser
			again := old.copy()
			again.node = node
			again.post("/mfa/verify", f).to("/report/5").in("alice")
		}
		c.post("/mfa/verify", f).to("/report/5").keeps().in("alice") // it did, and the form was sent again
		if n := w.events.count(event.Released, event.OK); n != 1 || w.sessions("alice") != 1 || w.events.count(event.Verify, event.Repeated) != 3 {
			t.Errorf("%d releases, %d sessions\n%s", n, w.sessions("alice"), w.events)
		}
		if d := old.copy().do(http.MethodPost, "/mfa/verify", `{"otp":"`+f.Get("otp")+`"}`, "Content-Type", "application/json", "Accept", "application/json"); d.status != http.StatusOK || !strings.Contains(d.body, `"location":"/report/5"`) {
			t.Errorf("JSON: %d %s", d.status, d.body)
		}
	})
}

// The person has one try left, taps twice and more, and the requests come to all nodes
// at the same time.
func TestPeople_P1_AllAtOnce(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 3, newLegacy())
		c := w.browser().get("/login").login("alice", "pw-a")
		right, token := w.phones.last(t, "alice"), c.token()
		for range 4 {
			c.code(other(right))
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		var in []*client
		for i := range 50 {
			d := c.copy()
			d.node = i % 3
			wg.Go(func() {
				d.post("/mfa/verify", typed(right, token))
				mu.Lock()
				defer mu.Unlock()
				in = append(in, d)
			})
		}
		wg.Wait()
		for _, d := range in {
			d.to("/home").in("alice")
		}
		if n := w.events.count(event.Released, event.OK); n != 1 || w.sessions("alice") != 1 {
			t.Errorf("%d releases, %d sessions", n, w.sessions("alice"))
		}
		in[0].send("logout").is(http.StatusSeeOther)
		for _, d := range in {
			d.node = in[0].node // the others may remember it for a second
			d.out()             // it was one session
		}
	})
}

func TestPeople_P1_ARefusalTakesNoOtherHandleAway(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		right, token := w.phones.last(t, "alice"), c.token()
		old := c.copy()
		c.post("/mfa/verify", typed(right, token)).in("alice")
		for range 8 { // a browser keeps what the last answer says, also of an old request
			old.copy().post("/mfa/verify", typed(other(right), token)).keeps()
		}
		f := url.Values{"secondfactorauthenticationtoken": {token}}
		for _, route := range []string{"resend", "phone", "cancel", "logout", "recover"} {
			old.copy().post("/mfa/"+route, f).keeps()
		}
		old.copy().get("/mfa").keeps()
		old.copy().get("/home").keeps()
		c.in("alice")
	})
}

// What is kept of the outcome is for who has the old handle and the right code, and
// tries at it are counted like any others (E1, E4, E5).
func TestPeople_P1_ItIsNobodyElses(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		right, token := w.phones.last(t, "alice"), c.token()
		old := c.copy()
		another := w.browser().get("/login").login("alice", "pw-a") // with a challenge of its own
		if w.phones.last(t, "alice") != right {
			another.post("/mfa/verify", typed(right, another.token()))
		}
		c.post("/mfa/verify", typed(right, token)).in("alice")

		another.post("/mfa/verify", typed(right, token))
		another.out()
		w.browser().post("/mfa/verify", typed(right, token)).out() // without a handle
		old.copy().post("/mfa/verify", typed(right, another.token())).out()
		old.copy().post("/mfa/verify", typed(right, token), "User-Agent", "another browser").out()
		c.send("logout").is(http.StatusSeeOther)
		old.copy().post("/mfa/verify", typed(right, token)).out() // the session is over
	})
	// Somebody who has the old handle, but not the code, has four tries left: the fifth
	// ends it, or the right one would be found in the end.
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		right, token := w.phones.last(t, "alice"), c.token()
		old := c.copy()
		c.post("/mfa/verify", typed(right, token)).in("alice")
		for i := range 4 {
			old.copy().post("/mfa/verify", typed(others(right)[i], token)).out()
		}
		old.copy().post("/mfa/verify", typed(right, token)).in("alice")
		old.copy().post("/mfa/verify", typed(others(right)[4], token)).out()
		old.copy().post("/mfa/verify", typed(right, token)).keeps().out()
		c.in("alice")
	})
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		right, token := w.phones.last(t, "alice"), c.token()
		old := c.copy()
		c.post("/mfa/verify", typed(right, token)).in("alice")
		w.store.ahead.Add(int64(flow.AgainFor))
		old.post("/mfa/verify", typed(right, token)).keeps().out()
	})
}

func TestPeople_P1_TheRecoveryFormTwice(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 3, newLegacy(), byThemselves)
		codes := w.enrol("alice").codes()
		c := w.browser().pends("alice")
		token := c.token()
		var wg sync.WaitGroup
		var mu sync.Mutex
		var in []*client
		for i := range 9 {
			d := c.copy()
			d.node = i % 3
			wg.Go(func() {
				d.post("/mfa/recover", url.Values{"backupcode": {codes[0]}, "secondfactorauthenticationtoken": {token}})
				mu.Lock()
				defer mu.Unlock()
				in = append(in, d)
			})
		}
		wg.Wait()
		for _, d := range append(in, c.copy().post("/mfa/recover", url.Values{"backupcode": {codes[0]}, "secondfactorauthenticationtoken": {token}})) {
			d.in("alice")
		}
		in[0].get("/mfa/settings").is(http.StatusOK, "You have 9 left")
	})
}

// An outage that is answered by 503 costs no try beyond the one in flight.
func TestPeople_P27_AnOutageCostsNoTries(t *testing.T) {
	for name, outage := range map[string]func(*faulty, bool){
		"replicas away": func(f *faulty, on bool) { f.late.Store(on) },
		"store away":    func(f *faulty, on bool) { f.down.Store(on) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				c := w.browser().get("/login").login("alice", "pw-a")
				right, token := w.phones.last(t, "alice"), c.token()
				outage(w.store, true)
				for range 12 { // more than a challenge has, and more than lock a user
					if c.post("/mfa/verify", typed(right, token)); c.status != http.StatusServiceUnavailable {
						t.Fatalf("%d %s", c.status, c.body)
					}
				}
				outage(w.store, false)
				for i := range 3 { // of five tries one may have been in flight
					if c.code(other(right)); c.status != http.StatusForbidden || !strings.Contains(c.body, "name=\"otp\"") {
						t.Fatalf("wrong code %d: %d %s", i, c.status, c.body)
					}
				}
				c.code(right).in("alice")
			})
		})
	}
}

// Wrong codes are counted in an outage as ever: what was counted before it broke out
// stays counted, and a code that was compared is compared once.
func TestPeople_P27_WrongCodesStayCounted(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		right, token := w.phones.last(t, "alice"), c.token()
		for range 3 {
			c.code(other(right))
		}
		w.store.late.Store(true)
		for range 4 {
			c.post("/mfa/verify", typed(other(right), token))
		}
		w.store.late.Store(false)
		c.code(other(right)) // the fourth, which was in flight
		if c.code(other(right)); strings.Contains(c.body, "name=\"otp\"") {
			t.Errorf("the fifth: %d %s", c.status, c.body)
		}
		c.code(right)
		c.out()
	})
}
