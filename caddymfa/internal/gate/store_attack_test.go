package gate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/birth"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/bolt"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/redis"
	"github.com/caddymfa/caddymfa/test/servers"
)

func byInvitation(g *gate.Gate, c *login.Config) {
	byThemselves(g, c)
	g.Site.Enroll = flow.Invite
}

// started has looked at the store, as every node does when it starts.
func (w *world) started() *world {
	w.t.Helper()
	for _, b := range w.births {
		if _, err := b.Look(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
	return w
}

// shutFor checks that a stranger who knows the password is not asked for a number,
// and not let in.
func (w *world) shutFor(node int, user string) {
	w.t.Helper()
	texts := w.phones.count()
	thief := w.browser()
	thief.node = node
	thief.get("/login").login(user, passwords[user]).is(http.StatusForbidden, "cannot be added right now", "help desk")
	thief.send("phone", "phoneno2fa", another)
	thief.out()
	js := w.browser()
	js.node = node
	js.get("/login").post("/login", url.Values{"user": {user}, "password": {passwords[user]}}, "Accept", "application/json")
	js.is(http.StatusForbidden, `"reason":"enrolment_shut"`)
	js.out()
	if n := w.phones.count(); n != texts {
		w.t.Errorf("%d texts were sent", n-texts)
	}
}

// opens confirms, and checks that a first number can be named again.
func (w *world) opens(node int, user string) {
	w.t.Helper()
	if n := w.events.count(event.StoreLost, ""); n != 1 {
		w.t.Errorf("%d events of one loss:\n%s", n, w.events)
	}
	if _, err := w.births[0].Confirm(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.births[0].Confirm(w.t.Context()); !errors.Is(err, birth.ErrOpen) {
		w.t.Errorf("confirmed twice: %v", err)
	}
	c := w.browser()
	c.node = node
	c.get("/login").login(user, passwords[user])
	c.send("phone", "phoneno2fa", numbers[user]).is(http.StatusOK)
	c.code(w.phones.last(w.t, user)).in(user)
	if n := w.events.count(event.StoreLost, ""); n != 1 {
		w.t.Errorf("%d events after it was confirmed", n)
	}
}

// overRedis is a Redis of its own, and nodes that remember it in markers of theirs.
func overRedis(t *testing.T) (srv *servers.Server, open func() backend, born func(int) birth.Options) {
	t.Helper()
	srv = servers.Redis(t)
	open = func() backend {
		s, err := redis.Open(redis.Config{URLs: []string{srv.URL}})
		if err != nil {
			t.Fatal(err)
		}
		return backend{Store: s}
	}
	dir := t.TempDir()
	return srv, open, func(node int) birth.Options {
		return birth.Options{Markers: []string{filepath.Join(dir, fmt.Sprint("marker-", node, ".json"))}}
	}
}

func TestAttack_K33_FlushallUnderRunningNodes(t *testing.T) {
	for name, cfg := range map[string]config{"required": byThemselves, "optional": optional} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, open, born := overRedis(t)
			w := newWorldOf(t, open(), born, 2, newLegacy(), cfg).started()
			var c, late *client
			if name == "required" {
				c = w.enrol("alice")
				late = w.browser().get("/login").login("bob", "pw-b")
				late.send("phone", "phoneno2fa", another).is(http.StatusOK)
			} else {
				c = w.browser().get("/login").login("bob", "pw-b").in("bob") // has none, and may do without
				c.send("settings/number", "phoneno2fa", another).to("/mfa/settings/number")
			}
			srv.Flush()
			if late != nil {
				late.code(w.phones.lastTo(t, another)).out() // its challenge is gone with the rest
			}
			w.shutFor(1, "alice")
			w.shutFor(0, "bob")
			time.Sleep(1100 * time.Millisecond) // copies of sessions
			c.out()
			if name == "required" {
				w.opens(1, "alice")
				return
			}
			if _, err := w.births[1].Confirm(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.browser().get("/login").login("bob", "pw-b").in("bob")
		})
	}
}

// A node's copies of sessions end with their generation, not a second later.
func TestAttack_K33_CopiesEndWithTheirGeneration(t *testing.T) {
	srv, open, born := overRedis(t)
	w := newWorldOf(t, open(), born, 1, newLegacy(), byThemselves).started()
	c := w.enrol("alice").in("alice")
	srv.Flush()
	if _, err := w.births[0].Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.out()
}

// An operator's invitation is no password alone; one that a copy of the store would
// bring back is none.
func TestAttack_K33_WhoIsInvitedGetsIn(t *testing.T) {
	srv, open, born := overRedis(t)
	w := newWorldOf(t, open(), born, 1, newLegacy(), byInvitation)
	before, _, err := w.flow().Invite(t.Context(), operator("alice"))
	must(t, err)
	srv.Flush()
	d := w.browser().get("/login").login("alice", "pw-a")
	d.is(http.StatusForbidden, "You need an invitation")
	code, _, err := w.flow().Invite(t.Context(), operator("alice"))
	must(t, err)
	d = w.browser().get("/login").login("alice", "pw-a")
	d.send("invite", "invite", before).is(http.StatusForbidden)
	d.send("invite", "invite", code).to("/mfa")
	d.send("phone", "phoneno2fa", numbers["alice"]).is(http.StatusOK)
	d.code(w.phones.last(t, "alice")).in("alice")
	if s, err := w.births[0].Look(t.Context()); err != nil || !s.IsShut() {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestAttack_K33_ARedisWithoutItsVolume(t *testing.T) {
	t.Run("the node remembers on its machine", func(t *testing.T) {
		t.Parallel()
		srv, open, born := overRedis(t)
		w := newWorldOf(t, open(), born, 1, newLegacy(), byThemselves)
		w.enrol("alice")
		srv.Empty()
		w = newWorldOf(t, open(), born, 2, newLegacy(), byThemselves).started() // restarted, with a new one beside it
		w.shutFor(0, "alice")
		w.shutFor(1, "alice")
		w.opens(1, "alice")
	})
	t.Run("another node remembers", func(t *testing.T) {
		t.Parallel()
		srv, open, _ := overRedis(t)
		w := newWorldOf(t, open(), nil, 2, newLegacy(), byThemselves).started()
		w.enrol("alice")
		srv.Empty()
		// A node that knows of nothing takes the store for a new one, and a stranger
		// is quick. The one that knows better looks every two seconds.
		w.node(w.ring, w.cfg)
		thief := w.browser()
		thief.node = 2
		thief.get("/login").login("alice", "pw-a")
		thief.send("phone", "phoneno2fa", another).is(http.StatusOK)
		slow := w.browser()
		slow.node = 2
		token := slow.get("/login").login("alice", "pw-a").token()
		if _, err := w.births[0].Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		texts := w.phones.count()
		slow.post("/mfa/phone", url.Values{"phoneno2fa": {another}, "secondfactorauthenticationtoken": {token}})
		if slow.status == http.StatusOK || w.phones.count() != texts {
			t.Errorf("a text after the loss was noticed: %d", slow.status)
		}
		thief.code(w.phones.lastTo(t, another)).out()
		for node := range 3 {
			w.shutFor(node, "alice")
		}
		w.opens(2, "alice")
		if u, err := w.flow().Show(t.Context(), operator("alice")); err != nil || !strings.HasSuffix(u.Number, "56") {
			t.Errorf("%+v, %v", u, err)
		}
	})
}

func TestAttack_K33_AFreshInstallationNeedsNobody(t *testing.T) {
	_, open, born := overRedis(t)
	w := newWorldOf(t, open(), born, 5, newLegacy(), byThemselves)
	var wg sync.WaitGroup
	ids := make([]string, len(w.births))
	for i, b := range w.births {
		wg.Go(func() {
			s, err := b.Look(context.Background())
			if err != nil || s.IsShut() {
				t.Errorf("node %d: %+v, %v", i, s, err)
			}
			ids[i] = s.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Errorf("the nodes know different stores: %v", ids)
		}
	}
	for node := range w.births {
		c := w.browser()
		c.node = node
		c.get("/login").login("bob", "pw-b")
		if node == 0 {
			c.send("phone", "phoneno2fa", numbers["bob"]).is(http.StatusOK)
		}
		c.code(w.phones.last(t, "bob")).in("bob")
		w.store.ahead.Add(int64(time.Minute))
	}
	if n := w.events.count(event.StoreLost, ""); n != 0 {
		t.Errorf("%d losses", n)
	}
}

// embedded is a store's file and what its machine remembers beside it.
type embedded struct {
	t    *testing.T
	path string
	app  *legacy
	cfg  config
	used bool // there is a secret beside it, which was not just made
}

func (e *embedded) open() *world {
	e.t.Helper()
	s, err := bolt.Open(e.path)
	if err != nil {
		e.t.Fatal(err)
	}
	return newWorldOf(e.t, backend{Store: s}, func(int) birth.Options {
		o := birth.Options{Alone: true, Markers: []string{filepath.Join(filepath.Dir(e.path), "store.json")}}
		if e.used {
			o.Used = s.Empty
		}
		return o
	}, 1, e.app, e.cfg)
}

// stop ends a process as it should, kill as it should not.
func (e *embedded) stop(w *world) { w.births[0].Close(); e.kill(w) }
func (e *embedded) kill(w *world) { _ = w.store.Close() }

func TestAttack_K33_AnEmbeddedFileThatIsGone(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, path string){
		"deleted":   func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"truncated": func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) },
		"emptied": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			s, err := bolt.Open(path)
			must(t, err)
			must(t, s.Close())
		},
		"deleted, and the marker": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, os.Remove(filepath.Join(filepath.Dir(path), "store.json")))
		},
		"deleted, and the marker damaged": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, os.WriteFile(filepath.Join(filepath.Dir(path), "store.json"), []byte("{"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &embedded{t: t, app: newLegacy(), cfg: byThemselves, path: filepath.Join(t.TempDir(), "mfa.db"), used: true}
			// A fresh one: the secret is new.
			must(t, birth.Unborn(filepath.Join(filepath.Dir(e.path), "store.json")))
			w := e.open()
			c := w.enrol("alice")
			e.stop(w)
			w = e.open() // an ordinary restart
			c.w = w
			c.in("alice")
			w.browser().pends("alice")
			e.kill(w)
			w = e.open()
			c.w = w
			c.in("alice")
			e.kill(w)
			lose(t, e.path)
			w = e.open()
			c.w = w
			c.out()
			w.shutFor(0, "alice")
			e.stop(w)
			w2 := e.open() // it stays shut
			w2.events = w.events
			w2.shutFor(0, "alice")
			w2.opens(0, "alice")
			e.stop(w2)
			w = e.open()
			w.browser().pends("alice")
			if n := w.events.count(event.StoreLost, ""); n != 0 {
				t.Errorf("%d losses after a restart", n)
			}
		})
	}
}

func TestAttack_K33_AnOlderCopyRevivesNothing(t *testing.T) {
	e := &embedded{t: t, app: newLegacy(), cfg: byThemselves, path: filepath.Join(t.TempDir(), "mfa.db")}
	w := e.open()
	alice := w.enrol("alice")
	ended := w.browser().signIn("alice")
	trusting := w.browser().pends("alice")
	trusting.send("verify", "otp", w.phones.last(t, "alice"), "trust", "on").is(http.StatusSeeOther)
	pending := w.browser().pends("alice")
	right := w.phones.last(t, "alice")
	help, _, err := w.flow().HelpDeskCode(t.Context(), operator("alice"))
	must(t, err)
	e.kill(w) // the worst: there is no last beat
	old, err := os.ReadFile(e.path)
	must(t, err)

	w = e.open()
	for _, c := range []*client{alice, ended, trusting, pending} {
		c.w = w
	}
	alice.in("alice")
	ended.in("alice").send("logout")
	ended.out()
	w.enrol("bob")
	e.stop(w)
	must(t, os.WriteFile(e.path, old, 0o600))

	w = e.open()
	for _, c := range []*client{alice, ended, trusting, pending} {
		c.w = w
	}
	for name, c := range map[string]*client{"alice": alice, "ended": ended, "trusting": trusting} {
		if c.get("/home"); strings.Contains(c.body, marker) {
			t.Errorf("%s: a session of before opens", name)
		}
	}
	if pending.code(right); pending.status == http.StatusSeeOther && pending.head.Get("Location") != "/login" {
		t.Errorf("a code of before: %d %v", pending.status, pending.head)
	}
	pending.out()
	device := w.browser()
	device.cookies[w.device()] = trusting.cookies[w.device()]
	device.get("/login").login("alice", "pw-a").to("/mfa") // a code is asked for
	device.out()
	device.send("recover", "backupcode", help).is(http.StatusForbidden)
	w.shutFor(0, "bob")
	if w.events.count(event.StoreLost, event.StoreRestored) != 1 {
		t.Errorf("events: %s", w.events)
	}
	w.browser().signIn("alice") // whom the copy knows
	w.opens(0, "bob")
}

// A copy that was made while it ran, and put back after an orderly stop.
func TestAttack_K33_ACopyOfARunningStoreIsOlder(t *testing.T) {
	e := &embedded{t: t, app: newLegacy(), cfg: byThemselves, path: filepath.Join(t.TempDir(), "mfa.db")}
	w := e.open()
	c := w.enrol("alice")
	old, err := os.ReadFile(e.path)
	must(t, err)
	ended := c.copy()
	c.send("logout")
	ended.out()
	e.stop(w)
	must(t, os.WriteFile(e.path, old, 0o600))
	w = e.open()
	ended.w = w
	ended.out()
	if w.events.count(event.StoreLost, event.StoreRestored) != 1 {
		t.Errorf("events: %s", w.events)
	}
}

// Nor does it revive an invitation that was used.
func TestAttack_K33_AnOlderCopyInvitesNobody(t *testing.T) {
	e := &embedded{t: t, app: newLegacy(), cfg: byInvitation, path: filepath.Join(t.TempDir(), "mfa.db")}
	w := e.open()
	code, _, err := w.flow().Invite(t.Context(), operator("alice"))
	must(t, err)
	old, err := os.ReadFile(e.path)
	must(t, err)
	c := w.browser().get("/login").login("alice", "pw-a")
	c.send("invite", "invite", code).to("/mfa")
	c.send("phone", "phoneno2fa", numbers["alice"]).is(http.StatusOK)
	c.code(w.phones.last(t, "alice")).in("alice")
	e.stop(w)
	must(t, os.WriteFile(e.path, old, 0o600))
	w = e.open()
	w.browser().get("/login").login("alice", "pw-a").is(http.StatusForbidden, "You need an invitation")
	if u, err := w.flow().Show(t.Context(), operator("alice")); err != nil || !u.Invited.IsZero() {
		t.Errorf("%+v, %v", u, err)
	}
}

// Who needs no second factor may have one; not by the password alone, though, when
// the store cannot say that he has none.
func TestAttack_K33_NobodyNamesANumberInTheSettings(t *testing.T) {
	srv, open, born := overRedis(t)
	w := newWorldOf(t, open(), born, 1, newLegacy(), func(g *gate.Gate, c *login.Config) {
		byThemselves(g, c)
		g.Site.Policy = flow.Off
	}).started()
	srv.Flush()
	c := w.browser().get("/login").login("alice", "pw-a").in("alice")
	if _, err := w.births[0].Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.get("/login").login("alice", "pw-a").in("alice")
	texts := w.phones.count()
	c.send("settings/number", "phoneno2fa", another).is(http.StatusForbidden, "nobody can add a first phone number")
	if n := w.phones.count(); n != texts {
		t.Errorf("%d texts", n-texts)
	}
}

// What a Redis that was restarted on its own files has, is what it had.
func TestAttack_K33_ACrashIsNoLoss(t *testing.T) {
	srv, open, born := overRedis(t)
	app := newLegacy()
	w := newWorldOf(t, open(), born, 2, app, byThemselves).started()
	c := w.enrol("alice")
	for range 3 {
		srv.Restart()
		for _, b := range w.births {
			if s, err := b.Look(t.Context()); err != nil || s.IsShut() {
				t.Errorf("%+v, %v", s, err)
			}
		}
	}
	c.in("alice")
	c.w = newWorldOf(t, open(), born, 1, app, byThemselves)
	c.in("alice")
}

// One look of all nodes is enough for a request of a verified session.
func TestAttack_K33_GenerationsCostNoRoundTrip(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.enrol("alice").in("alice")
		if _, err := w.births[0].Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(session.Freshness + 50*time.Millisecond)
		before := w.store.trips.Load()
		if c.in("alice"); w.store.trips.Load()-before > 1 {
			t.Errorf("%d round trips", w.store.trips.Load()-before)
		}
		if w.store.asked("birth") {
			w.store.mu.Lock()
			defer w.store.mu.Unlock()
			for i, k := range w.store.read {
				if k == "birth" && !strings.HasPrefix(w.store.read[max(0, i-1)], "g:") {
					t.Error("the birth record was read on its own")
				}
			}
		}
	}, byThemselves)
}
