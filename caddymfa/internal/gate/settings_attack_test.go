package gate_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// another is the number that users change to.
const another = "+447400999999"

// byThemselves: users name their numbers, and may trust browsers.
func byThemselves(g *gate.Gate, _ *login.Config) {
	g.Site.Enroll, g.Flow.Directory, g.Site.TrustedDevice = flow.Self, nil, 30*24*time.Hour
}

func optional(g *gate.Gate, c *login.Config) {
	byThemselves(g, c)
	g.Site.Policy = flow.Optional
}

// send posts a form of one of our pages, with its token.
func (c *client) send(route string, pairs ...string) *client {
	c.w.t.Helper()
	v := url.Values{"secondfactorauthenticationtoken": {c.token()}}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return c.post("/mfa/"+route, v)
}

// to checks that the answer leads somewhere.
func (c *client) to(location string) *client {
	c.w.t.Helper()
	if c.status != http.StatusSeeOther || c.head.Get("Location") != location {
		c.w.t.Fatalf("%d %q, want %q\n%s\n%s", c.status, c.head.Get("Location"), location, c.body, c.w.events)
	}
	return c
}

// is checks an answer's status.
func (c *client) is(status int, words ...string) *client {
	c.w.t.Helper()
	for _, word := range words {
		if !strings.Contains(c.body, word) {
			c.w.t.Fatalf("no %q in %s\n%s", word, c.body, c.w.events)
		}
	}
	if c.status != status {
		c.w.t.Fatalf("%d, want %d\n%s\n%s", c.status, status, c.body, c.w.events)
	}
	return c
}

// enrol is the first login of a user who names the number himself.
func (w *world) enrol(user string) *client {
	w.t.Helper()
	c := w.browser().get("/login").login(user, passwords[user])
	c.send("phone", "phoneno2fa", numbers[user]).is(http.StatusOK)
	return c.code(w.phones.last(w.t, user)).in(user)
}

// later makes proofs of the second factor old.
func (w *world) later() { w.store.ahead.Add(int64(flow.FreshFor + time.Minute)) }

var codeItem = regexp.MustCompile(`<li><code>([a-z2-9-]{17})</code></li>`)

// prove gives the second factor once more, for one change.
func (c *client) prove(what string) *client {
	c.w.t.Helper()
	c.send("settings/confirm", "for", what).to("/mfa/settings/confirm?for=" + what)
	return c.send("settings/confirm/verify", "for", what, "otp", c.w.phones.latest(c.w.t)).to("/mfa/settings/" + what)
}

// codes makes recovery codes, with a proof for them.
func (c *client) codes() (codes []string) {
	c.w.t.Helper()
	c.prove("codes")
	c.send("settings/codes").is(http.StatusOK)
	for _, m := range codeItem.FindAllStringSubmatch(c.body, -1) {
		codes = append(codes, m[1])
	}
	if len(codes) != 10 || c.head.Get("Cache-Control") != "no-store, no-transform" {
		c.w.t.Fatalf("%d codes, %v\n%s", len(codes), c.head, c.body)
	}
	return codes
}

// change moves the number to another, with a proof for that.
func (c *client) change() *client {
	c.w.t.Helper()
	c.prove("number")
	c.send("settings/number", "phoneno2fa", another).to("/mfa/settings/number")
	return c.send("settings/number/verify", "otp", c.w.phones.lastTo(c.w.t, another)).is(http.StatusOK, "Your number was changed", "99")
}

// pends checks that a login is asked for a code.
func (c *client) pends(user string) *client {
	c.w.t.Helper()
	return c.get("/login").login(user, passwords[user]).to("/mfa")
}

func (w *world) flow() *flow.Flow { return w.gates[0].Flow }

func operator(user string) flow.Operator {
	return flow.Operator{App: "Test", User: user, By: "carol"}
}

func TestAUserChangesTheNumber(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.enrol("alice")
		elsewhere := w.browser().signIn("alice")
		c.get("/mfa/settings").is(http.StatusOK, "<strong>56</strong>", "/mfa/settings/number", "NIST")
		w.later()
		c.get("/mfa/settings/number").to("/mfa/settings/confirm?for=number")
		c.send("settings/number", "phoneno2fa", another).to("/mfa/settings/confirm?for=number") // M1: a stolen session
		texts := w.phones.count()
		for range 3 { // no text but by a button
			c.get("/mfa/settings/confirm?for=number").is(http.StatusOK, `action="/mfa/settings/confirm"`, "56")
			c.get("/mfa/settings/confirm?for=number&code=recovery").is(http.StatusOK, "backupcode")
		}
		if n := w.phones.count(); n != texts {
			t.Fatalf("%d texts by GET", n-texts)
		}
		c.send("settings/confirm", "for", "number").to("/mfa/settings/confirm?for=number")
		c.get("/mfa/settings/confirm?for=number").is(http.StatusOK, `action="/mfa/settings/confirm/verify"`, `name="for" value="number"`)
		c.send("resend").is(http.StatusTooManyRequests, `action="/mfa/settings/confirm/verify"`)
		c.send("settings/confirm/verify", "for", "number", "otp", other(w.phones.last(t, "alice"))).is(http.StatusForbidden, "not correct")
		c.send("settings/confirm/verify", "for", "number", "otp", "12").is(http.StatusBadRequest, "6 numbers")
		c.send("settings/confirm/verify", "for", "number", "otp", w.phones.last(t, "alice")).to("/mfa/settings/number")
		c.get("/mfa/settings/number").is(http.StatusOK, `name="phoneno2fa"`)
		for _, bad := range []string{"", "12", "+33612345678", "+442079460000", numbers["alice"]} {
			if c.send("settings/number", "phoneno2fa", bad); c.status != http.StatusBadRequest || !strings.Contains(c.body, "aria-invalid") {
				t.Errorf("%q: %d %s", bad, c.status, c.body)
			}
		}
		c.send("settings/number", "phoneno2fa", another).to("/mfa/settings/number")
		c.get("/mfa/settings/number").is(http.StatusOK, `action="/mfa/settings/number/verify"`, "99", "?number=1")
		c.get("/mfa/settings").is(http.StatusOK, "<strong>56</strong>") // not before the code
		c.send("settings/number/verify", "otp", other(w.phones.lastTo(t, another))).is(http.StatusForbidden, "not correct")
		c.send("settings/number/verify", "otp", w.phones.lastTo(t, another)).is(http.StatusOK, "Your number was changed")
		if !w.phones.told(numbers["alice"], "another number") || !w.phones.told(another, "now receives") {
			t.Errorf("who was told? %v", w.phones.texts)
		}
		c.in("alice").get("/mfa/settings").is(http.StatusOK, "<strong>99</strong>")
		elsewhere.out()
		c.send("settings/codes").to("/mfa/settings/confirm?for=codes") // the code of the change was for the change
		c.codes()                                                      // and the session goes on
		d := w.browser().pends("alice")
		d.code(w.phones.lastTo(t, another)).in("alice")
	}, byThemselves)
}

func TestAttack_G1_CodesFromBeforeAnotherNumberAreDead(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.enrol("alice")
		pending := w.browser().pends("alice")
		asking := w.browser().signIn("alice")
		asking.send("settings/confirm", "for", "number").to("/mfa/settings/confirm?for=number")
		confirm := w.phones.last(t, "alice")
		token := asking.token()
		c.send("settings/confirm", "for", "codes").to("/mfa/settings/confirm?for=codes") // this session's own
		own := w.phones.last(t, "alice")
		c.change()

		w.store.ahead.Add(int64(31 * time.Second)) // it is not too soon
		texts := w.phones.count()
		if pending.send("resend"); pending.status == http.StatusOK || w.phones.count() != texts {
			t.Errorf("the old challenge sends: %d", pending.status)
		}
		asking.post("/mfa/settings/confirm/verify", url.Values{"otp": {confirm}, "secondfactorauthenticationtoken": {token}})
		asking.out()
		if c.send("settings/confirm/verify", "otp", own); c.status != http.StatusForbidden {
			t.Errorf("this session's old code: %d", c.status)
		}
	}, byThemselves)
	// The code of a login, by each way to another number.
	for name, act := range map[string]func(t *testing.T, w *world, c *client){
		"change": func(_ *testing.T, _ *world, c *client) { c.change() },
		"operator": func(t *testing.T, w *world, _ *client) {
			must(t, w.flow().SetNumberOf(t.Context(), operator("alice"), another))
		},
		"reset": func(t *testing.T, w *world, _ *client) { must(t, w.flow().Reset(t.Context(), operator("alice"))) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				c := w.enrol("alice")
				d := w.browser().pends("alice")
				old := w.phones.last(t, "alice")
				act(t, w, c)
				if d.code(old); d.status == http.StatusSeeOther {
					t.Errorf("the code of before: %d %s", d.status, d.head.Get("Location"))
				}
				d.out()
			}, byThemselves)
		})
	}
	t.Run("enrolment", func(t *testing.T) {
		each(t, func(t *testing.T, w *world) {
			thief := w.browser().get("/login").login("alice", "pw-a")
			thief.send("phone", "phoneno2fa", another).is(http.StatusOK)
			w.enrol("alice")
			thief.code(w.phones.lastTo(t, another)).out()
			w.browser().pends("alice").code(w.phones.last(t, "alice")).in("alice")
		}, byThemselves)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAttack_G2_RecoveryCodesAreTheUsersAndWorkOnce(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 3, newLegacy(), byThemselves)
		alice, bob := w.enrol("alice").codes(), w.enrol("bob").codes()
		d := w.browser().pends("alice")
		d.get("/mfa").is(http.StatusOK, `href="/mfa/recover"`)
		d.get("/mfa/recover").is(http.StatusOK, `name="backupcode"`)
		d.send("recover", "backupcode", bob[0]).is(http.StatusForbidden, "used before", "4 tries left")
		d.send("recover", "backupcode", "no code").is(http.StatusBadRequest, "15 letters") // costs nothing
		d.out()
		d.send("recover", "backupcode", strings.ToUpper(strings.ReplaceAll(alice[0], "-", " "))).is(http.StatusOK, "You are signed in", "/mfa/settings", `href="/home"`)
		d.in("alice")
		if !w.phones.told(numbers["alice"], "recovery code") {
			t.Error("the owner was not told")
		}
		d.get("/mfa/settings").is(http.StatusOK, "You have 9 left")
		e := w.browser().pends("alice")
		e.send("recover", "backupcode", alice[0]).is(http.StatusForbidden)
		e.out()

		// As many browsers as may owe a code, one code.
		var all []*client
		for i := range session.MaxPending {
			c := w.browser()
			c.node = i % 3
			c.pends("alice")
			all = append(all, c)
		}
		var wg sync.WaitGroup
		var in atomic.Int64
		for _, c := range all {
			token := c.token()
			wg.Go(func() {
				c.post("/mfa/recover", url.Values{"backupcode": {alice[1]}, "secondfactorauthenticationtoken": {token}})
				if c.get("/home"); strings.Contains(c.body, marker) {
					in.Add(1)
				}
			})
		}
		wg.Wait()
		if n := w.events.count(event.Recovered, event.OK); n != 2 || in.Load() != 1 {
			t.Fatalf("%d were let in, %d recoveries", in.Load(), n-1)
		}
	})
}

func TestAttack_G2_WrongRecoveryCodesCountToTheSameLock(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.enrol("alice").codes()
		wrong := strings.Repeat("a", 15)
		for i := range 10 { // by turns: the text's code, a recovery code
			c := w.browser().pends("alice")
			if i%2 == 0 {
				c.code(other(w.phones.last(t, "alice")))
			} else {
				c.send("recover", "backupcode", wrong)
			}
			if i == 9 && !strings.Contains(c.body, "Signing in is locked") {
				t.Fatalf("the tenth: %d %s", c.status, c.body)
			}
		}
		if n := w.events.count(event.Locked, event.LockedOut); n != 1 || !w.phones.told(numbers["alice"], "too many wrong codes") {
			t.Errorf("locked %d times; was the owner told?", n)
		}
	}, byThemselves)
}

func TestAttack_E9_ALockedUserIsLockedAtEveryDoor(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.enrol("alice")
		codes := c.codes()
		trusting := w.browser().pends("alice")
		trusting.send("verify", "otp", w.phones.last(t, "alice"), "trust", "on").is(http.StatusSeeOther)
		device := w.browser()
		device.cookies[w.device()] = trusting.cookies[w.device()]
		var open [4]*client
		var right string
		for i := range open {
			open[i] = w.browser().pends("alice")
			right = w.phones.last(t, "alice")
		}
		for range 10 { // by somebody else
			if _, err := w.flow().Accounts.Try(t.Context(), "Test", "alice", account.Guess{}); err != nil {
				t.Fatal(err)
			}
		}
		for name, try := range map[string]func() *client{
			"page":     func() *client { return open[3].code(right) },
			"recovery": func() *client { return open[0].send("recover", "backupcode", codes[0]) },
			"JSON": func() *client {
				return open[1].do(http.MethodPost, "/mfa/verify", `{"otp":"`+right+`"}`, "Content-Type", "application/json")
			},
			"JSON recovery": func() *client {
				return open[2].do(http.MethodPost, "/mfa/recover", `{"backupcode":"`+codes[0]+`"}`, "Content-Type", "application/json")
			},
			"trusted browser": func() *client { return device.get("/login").login("alice", "pw-a") },
			"settings":        func() *client { return c.send("settings/confirm", "for", "number") },
			"settings, code": func() *client {
				return trusting.send("settings/confirm/verify", "for", "number", "backupcode", codes[0])
			},
		} {
			d := try()
			if d.status != http.StatusForbidden || !strings.Contains(strings.ToLower(d.body), "locked") {
				t.Errorf("%s: %d %s", name, d.status, d.body)
			}
			if name != "settings" {
				d.out()
			}
		}
	}, byThemselves)
}

// device is the name of the trusted browser's cookie.
func (w *world) device() string { return w.cookie() + "-device" }

// loaded is a browser's session as a request that is under way holds it.
func (c *client) loaded() (*flow.Gate, *flow.Call) {
	c.w.t.Helper()
	g := c.w.gates[0]
	u, err := url.Parse(c.w.nodes[0].URL)
	must(c.w.t, err)
	site := g.Site
	site.Host = u.Hostname()
	site.ID, site.Users = site.App+"\x00"+site.Host, site.App
	r := httptest.NewRequest(http.MethodPost, "/mfa", nil)
	r.AddCookie(&http.Cookie{Name: c.w.cookie(), Value: c.handle()})
	s, state, err := g.Flow.Sessions.Load(c.w.t.Context(), &site.Gate, r, c.w.http2)
	if err != nil || state != session.Live {
		c.w.t.Fatalf("%v, %v", state, err)
	}
	return &site, &flow.Call{R: r, URL: r.URL, Session: s, State: state, ClientIP: c.addr, Secure: c.w.http2}
}

func TestAttack_G3_AResetLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.enrol("alice")
		codes := c.codes()
		trusting := w.browser().pends("alice")
		trusting.send("verify", "otp", w.phones.last(t, "alice"), "trust", "on").is(http.StatusSeeOther)
		pending := w.browser().pends("alice")
		right := w.phones.last(t, "alice")
		recovering := w.browser().pends("alice")
		resending := w.browser().pends("alice")
		for range 6 {
			w.browser().pends("alice").code(other(right)) // counters
		}
		site, underWay := c.prove("codes").loaded()

		must(t, w.flow().Reset(t.Context(), operator("alice")))

		if !w.phones.told(numbers["alice"], "has reset") {
			t.Error("the owner was not told")
		}
		c.out()
		trusting.out()
		pending.code(right).out()
		recovering.send("recover", "backupcode", codes[0])
		recovering.out()
		w.store.ahead.Add(int64(31 * time.Second)) // it is not too soon
		texts := w.phones.count()
		if resending.send("resend"); resending.status == http.StatusOK || w.phones.count() != texts {
			t.Errorf("a challenge of before sends: %d", resending.status)
		}
		resending.out()
		u, err := w.flow().Show(t.Context(), operator("alice"))
		if err != nil || u.Number != "" || u.Codes != -1 || u.Devices != 0 || u.Sessions != 0 || u.Locked {
			t.Errorf("left: %+v, %v", u, err)
		}
		// As if new: ten wrong codes are left, and ten texts.
		d := w.browser()
		d.cookies[w.device()] = trusting.cookies[w.device()]
		d.pends("alice")
		d.get("/mfa").is(http.StatusOK, `name="phoneno2fa"`)
		d.send("phone", "phoneno2fa", numbers["alice"]).is(http.StatusOK)
		for range 4 {
			d.code(other(w.phones.last(t, "alice"))).is(http.StatusForbidden)
		}
		d.code(w.phones.last(t, "alice")).in("alice")
		texts = w.phones.count()
		for range 9 { // nine of before were never answered
			w.browser().pends("alice")
		}
		if n := w.phones.count() - texts; n != 9 {
			t.Errorf("%d texts to a user who was reset", n)
		}
		e := w.browser().pends("alice")
		for _, code := range codes[:3] {
			e.send("recover", "backupcode", code).is(http.StatusForbidden)
		}
		// What was under way when the reset came, and is written only now.
		if list, reason, err := w.flow().RecoveryCodes(t.Context(), site, underWay, true); len(list) > 0 || reason != event.AlreadyUsed || err != nil {
			t.Errorf("recovery codes of before: %v %s %v", list, reason, err)
		}
	}, byThemselves)
}

// trusts signs a user in and has the browser trusted.
func (w *world) trusts(user string) *client {
	w.t.Helper()
	c := w.browser().pends(user)
	c.get("/mfa").is(http.StatusOK, `name="trust"`, "30 days", "lowers security")
	if c.send("verify", "otp", w.phones.last(w.t, user), "trust", "on"); c.cookies[w.device()] == "" {
		w.t.Fatalf("no cookie: %d %s", c.status, c.body)
	}
	return c.in(user)
}

// returns is the same browser, without its session.
func (c *client) returns() *client {
	d := c.w.browser()
	d.cookies = maps.Clone(c.cookies)
	delete(d.cookies, c.w.cookie())
	return d
}

// free checks that no code is asked for.
func (c *client) free(user, password string) *client {
	c.w.t.Helper()
	return c.get("/login").login(user, password).is(http.StatusFound).in(user)
}

func TestAttack_G4_ACopiedTrustCookie(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.enrol("alice")
		c := w.trusts("alice")
		d := c.returns().free("alice", "pw-a").returns().free("alice", "pw-a")
		thief := c.returns() // has the cookie of before
		thief.pends("alice")
		thief.out()
		if n := w.events.count(event.Trusted, event.CopiedDevice); n != 1 {
			t.Errorf("%d events", n)
		}
		d.returns().pends("alice") // and its owner is asked as well
		// Two at once: one of them at most.
		e := w.trusts("alice")
		var wg sync.WaitGroup
		var in atomic.Int64
		for range 20 {
			f := e.returns()
			wg.Go(func() {
				if f.login("alice", "pw-a"); f.status == http.StatusFound {
					in.Add(1)
				}
			})
		}
		wg.Wait()
		if in.Load() > 1 {
			t.Errorf("%d were let in by one cookie", in.Load())
		}
	}, byThemselves)
}

func TestAttack_G5_WhatEndsTheTrust(t *testing.T) {
	withPassword := func(l http.Handler) http.Handler { // the application takes another password as well
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && r.PostFormValue("password") == "pw-new" {
				r.PostForm.Set("password", "pw-a")
			}
			l.ServeHTTP(rw, r)
		})
	}
	for name, tc := range map[string]struct {
		act      func(t *testing.T, w *world, c *client, codes []string)
		password string
		trusted  bool
	}{
		"nothing":          {func(*testing.T, *world, *client, []string) {}, "pw-a", true},
		"another password": {func(*testing.T, *world, *client, []string) {}, "pw-new", false},
		"number change":    {func(_ *testing.T, _ *world, c *client, _ []string) { c.change() }, "pw-a", false},
		"recovery": {func(_ *testing.T, w *world, _ *client, codes []string) {
			c := w.browser().pends("alice").send("recover", "backupcode", codes[0], "trust", "on").is(http.StatusOK).in("alice")
			if c.cookies[w.device()] != "" {
				w.t.Error("a recovery code has made a trusted browser")
			}
		}, "pw-a", false},
		"step-up by recovery code": {func(_ *testing.T, _ *world, c *client, codes []string) {
			c.send("settings/confirm/verify", "for", "codes", "backupcode", codes[0]).to("/mfa/settings/codes")
		}, "pw-a", false},
		"reset": {func(t *testing.T, w *world, _ *client, _ []string) {
			must(t, w.flow().Reset(t.Context(), operator("alice")))
		}, "pw-a", false},
		"operator's number": {func(t *testing.T, w *world, _ *client, _ []string) {
			must(t, w.flow().SetNumberOf(t.Context(), operator("alice"), another))
		}, "pw-a", false},
		"by its owner": {func(t *testing.T, w *world, c *client, _ []string) {
			c.get("/mfa/settings").is(http.StatusOK, "Trusted browsers")
			m := regexp.MustCompile(`name="id" value="([0-9a-f]+)"`).FindStringSubmatch(c.body)
			if m == nil {
				t.Fatal(c.body)
			}
			c.send("settings/devices", "id", m[1]).to("/mfa/settings")
		}, "pw-a", false},
		"all, by the owner": {func(_ *testing.T, _ *world, c *client, _ []string) {
			c.send("settings/devices", "all", "all").to("/mfa/settings")
		}, "pw-a", false},
	} {
		t.Run(name, func(t *testing.T) {
			stores(t, func(t *testing.T, open func(t *testing.T) backend) {
				w := newWorld(t, open(t), 1, withPassword(newLegacy()), byThemselves)
				c := w.enrol("alice")
				codes := c.codes()
				d := w.trusts("alice")
				tc.act(t, w, c, codes)
				d = d.returns()
				switch d.get("/login").login("alice", tc.password); {
				case tc.trusted:
					d.is(http.StatusFound).in("alice")
				default:
					d.to("/mfa").out()
				}
			})
		})
	}
}

func TestATrustedBrowserIsNoProof(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.enrol("alice")
		c := w.trusts("alice").returns().free("alice", "pw-a")
		c.send("settings/number", "phoneno2fa", another).to("/mfa/settings/confirm?for=number")
		c.send("settings/codes").to("/mfa/settings/confirm?for=codes")
		c.get("/mfa/settings/codes").to("/mfa/settings/confirm?for=codes")
		c.do(http.MethodPost, "/mfa/settings/codes", "{}", "Content-Type", "application/json").is(http.StatusForbidden, "proof_needed")
	}, byThemselves)
}

func TestAttack_G6_NumbersThatCountWithADirectory(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		s := open(t)
		newWorld(t, s, 1, newLegacy(), byThemselves).enrol("alice") // proven by whoever had the password
		w := newWorld(t, s, 1, newLegacy(), func(g *gate.Gate, _ *login.Config) { g.Flow.Directory = directory{} })
		c := w.browser().get("/login").login("alice", "pw-a")
		c.is(http.StatusForbidden, "no phone number").out()
		if n := w.phones.count(); n != 0 {
			t.Errorf("%d texts", n)
		}
		must(t, w.flow().SetNumberOf(t.Context(), operator("alice"), another))
		d := w.browser().pends("alice")
		d.code(w.phones.lastTo(t, another)).in("alice")
		// It is the operator's: the user does not change it.
		d.get("/mfa/settings").is(http.StatusOK, "administrator keeps the number")
		texts := w.phones.count()
		if d.send("settings/number", "phoneno2fa", numbers["alice"]); d.status != http.StatusForbidden || w.phones.count() != texts {
			t.Errorf("%d", d.status)
		}
		d.get("/mfa/settings/number").to("/mfa/settings")
		d.get("/mfa/settings/remove").to("/mfa/settings")
		d.send("settings/remove").to("/mfa/settings")
		d.get("/mfa/settings").is(http.StatusOK, "<strong>99</strong>")
	})
}

func TestAttack_G7_TheHelpDesksCode(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.enrol("alice")
		w.enrol("bob")
		f := w.flow()
		give := func(o flow.Operator) string {
			code, until, err := f.HelpDeskCode(t.Context(), o)
			if err != nil || time.Until(until) > time.Hour+time.Duration(w.store.ahead.Load()) {
				t.Fatalf("%v, %v", until, err)
			}
			return code
		}
		try := func(user, code string) *client { return w.browser().pends(user).send("recover", "backupcode", code) }
		code := give(operator("alice"))
		try("bob", code).is(http.StatusForbidden)
		other := operator("alice")
		other.App = "Another"
		try("alice", give(other)).is(http.StatusForbidden)
		try("alice", code).is(http.StatusOK).in("alice")
		try("alice", code).is(http.StatusForbidden)
		code = give(operator("alice"))
		w.store.ahead.Store(int64(time.Hour + time.Second))
		try("alice", code).is(http.StatusForbidden)
		found := 0
		w.events.mu.Lock()
		for _, e := range w.events.all {
			if e.Name == event.Recovered && e.Reason == event.OK && e.By == "carol" && e.User == "alice" && e.Detail == "help desk's code" {
				found++
			}
			if e.Name == event.Operated && e.By == "carol" && e.User == "alice" && e.Detail == "help desk's code" {
				found++
			}
		}
		w.events.mu.Unlock()
		if found != 4 { // three times given out, once used
			t.Errorf("%d events name both:\n%s", found, w.events)
		}
	}, byThemselves)
}

// settingsRoutes are all of them: GET, POST.
var settingsRoutes = map[string][2]bool{
	"settings": {true, false}, "settings/confirm": {true, true}, "settings/confirm/verify": {false, true},
	"settings/number": {true, true}, "settings/number/verify": {false, true}, "settings/remove": {true, true},
	"settings/codes": {true, true}, "settings/sessions": {false, true}, "settings/devices": {false, true},
}

func TestAttack_F6_SettingsAreForVerifiedSessionsOnly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		victim := w.enrol("alice")
		codes := victim.codes()
		victim.get("/mfa/settings").is(http.StatusOK)
		for name, c := range map[string]*client{
			"pending": w.browser().pends("alice"), "anonymous": w.browser().get("/login"), "nobody": w.browser(),
		} {
			token, texts := c.token(), w.phones.count()
			for route, methods := range settingsRoutes {
				for _, kind := range []string{"application/x-www-form-urlencoded", "application/json"} {
					body := url.Values{
						"secondfactorauthenticationtoken": {token}, "phoneno2fa": {another}, "otp": {"123456"}, "all": {"others"}, "for": {"number"},
						"backupcode": {codes[0]},
					}.Encode()
					if kind == "application/json" {
						body = `{"phoneno2fa":"` + another + `","all":"others","backupcode":"` + codes[0] + `"}`
					}
					c.do(http.MethodPost, "/mfa/"+route, body, "Content-Type", kind)
					if methods[1] && !(c.status == http.StatusSeeOther && c.head.Get("Location") == "/mfa" || c.status == http.StatusUnauthorized || c.status == http.StatusForbidden) {
						t.Errorf("%s: POST %s: %d %s", name, route, c.status, c.body)
					}
					if strings.Contains(c.body, "56") || strings.Contains(c.body, "this browser") {
						t.Errorf("%s: POST %s tells %s", name, route, c.body)
					}
				}
				for _, accept := range []string{"text/html", "application/json"} {
					c.get("/mfa/"+route, "Accept", accept)
					if c.status == http.StatusOK || strings.Contains(c.body, "<strong>56") || strings.Contains(c.body, "number_ending") {
						t.Errorf("%s: GET %s: %d %s", name, route, c.status, c.body)
					}
				}
			}
			if n := w.phones.count(); n != texts {
				t.Errorf("%s: %d texts", name, n-texts)
			}
		}
		victim.in("alice").get("/mfa/settings").is(http.StatusOK, "<strong>56</strong>", "You have 10 left")
		for route, methods := range settingsRoutes {
			for i, method := range []string{http.MethodGet, http.MethodPost} {
				if victim.do(method, "/mfa/"+route, ""); !methods[i] && (victim.status != http.StatusMethodNotAllowed || victim.head.Get("Allow") == "") {
					t.Errorf("%s %s: %d %v", method, route, victim.status, victim.head)
				}
			}
			victim.do(http.MethodPut, "/mfa/"+route, "").is(http.StatusMethodNotAllowed)
		}
	}, byThemselves)
}

// sessions are the names of a user's sessions, on the page of one of them.
func (c *client) sessions() (refs []string) {
	c.w.t.Helper()
	c.get("/mfa/settings").is(http.StatusOK)
	for _, m := range regexp.MustCompile(`name="ref" value="([^"]+)"`).FindAllStringSubmatch(c.body, -1) {
		refs = append(refs, m[1])
	}
	return refs
}

func TestAttack_M10_NamesInTheBodyChangeNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		bob, thief := w.enrol("bob"), w.enrol("alice")
		w.trusts("bob")
		bob.get("/mfa/settings")
		device := regexp.MustCompile(`name="id" value="([0-9a-f]+)"`).FindStringSubmatch(bob.body)[1]
		uid := w.flow().UID("Test", "bob")
		victims := bob.sessions()
		if len(victims) != 1 {
			t.Fatalf("%v", victims)
		}
		ids := []string{"user", "bob", "uid", uid, "app", "Test", "number", numbers["bob"], "device", device}
		thief.send("settings/sessions", append(ids, "ref", victims[0])...).to("/mfa/settings")
		thief.send("settings/sessions", append(ids, "all", "others")...).to("/mfa/settings")
		thief.send("settings/devices", append(ids, "id", device)...).to("/mfa/settings")
		thief.send("settings/devices", append(ids, "all", "all")...).to("/mfa/settings")
		thief.prove("codes").send("settings/codes", ids...).is(http.StatusOK)
		thief.prove("number").send("settings/number", append(ids, "phoneno2fa", another)...).to("/mfa/settings/number")
		thief.send("settings/number/verify", append(ids, "otp", w.phones.lastTo(t, another))...).is(http.StatusOK)
		bob.in("bob").get("/mfa/settings").is(http.StatusOK, "<strong>21</strong>", "You have none yet", device)
		if refs := bob.sessions(); !slices.Equal(refs, victims) {
			t.Errorf("%v, before %v", refs, victims)
		}
		// Which one, or all: not both, not neither, not everything by an empty name.
		for _, pairs := range [][]string{{}, {"id", ""}, {"id", device, "all", "all"}, {"all", "others"}, {"all", ""}} {
			if bob.send("settings/devices", pairs...); bob.status != http.StatusBadRequest {
				t.Errorf("%v: %d", pairs, bob.status)
			}
		}
		bob.get("/mfa/settings").is(http.StatusOK, device)
	}, byThemselves)
}

func TestASessionThatIsEndedEndsAtOnce(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		began := make(chan string, 8)
		w := newWorld(t, open(t), 1, slow(began), byThemselves)
		c := w.enrol("alice")
		var others []*client
		for range 3 {
			others = append(others, w.browser().signIn("alice"))
		}
		refs := c.sessions() // the newest first
		if len(refs) != 3 || !strings.Contains(c.body, "This browser") {
			t.Fatalf("%v\n%s", refs, c.body)
		}
		gone := make(chan string, 1)
		go func() {
			d := others[2].copy()
			req, _ := http.NewRequest(http.MethodGet, w.nodes[0].URL+"/download", nil)
			req.AddCookie(&http.Cookie{Name: w.cookie(), Value: d.handle()})
			if res, err := w.nodes[0].Client().Do(req); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
			gone <- ""
		}()
		<-began
		c.send("settings/sessions", "ref", refs[0]).to("/mfa/settings")
		ended := time.Now()
		if how := <-began; how != "cut" || time.Since(ended) > 1500*time.Millisecond { // not by the watcher, every 3 s
			t.Errorf("the download went on for %s: %s", time.Since(ended), how)
		}
		others[2].out()
		<-gone
		others[1].in("alice")
		c.send("settings/sessions", "all", "others").to("/mfa/settings")
		others[0].out()
		others[1].out()
		if refs := c.in("alice").sessions(); len(refs) != 0 {
			t.Errorf("left: %v", refs)
		}
		c.do(http.MethodGet, "/mfa/settings", "", "Accept", "application/json").is(http.StatusOK, `"this":true`, `"number_ending":"56"`)
	})
}

// TestAttack_F6_AFormThatWasUnderWayActsForNobody: a thief's browser has sent half
// of a form when its session is ended.
func TestAttack_F6_AFormThatWasUnderWayActsForNobody(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		owner := w.enrol("alice")
		thief, witness := w.browser().signIn("alice"), w.browser().signIn("alice")
		text := url.Values{"all": {"others"}, "pad": {strings.Repeat("x", 8<<10)}, "secondfactorauthenticationtoken": {thief.token()}}.Encode()
		body, form := io.Pipe()
		req, err := http.NewRequest(http.MethodPost, w.nodes[0].URL+"/mfa/settings/sessions", body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = int64(len(text))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Test-Client", thief.addr)
		req.AddCookie(&http.Cookie{Name: w.cookie(), Value: thief.handle()})
		go func() {
			defer func() { _ = form.Close() }()
			_, _ = io.WriteString(form, text[:6<<10])
			time.Sleep(100 * time.Millisecond) // its session has been looked up
			thief.copy().get("/logout")
			_, _ = io.WriteString(form, text[6<<10:])
		}()
		res, err := w.nodes[0].Client().Transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%d %s", res.StatusCode, w.events)
		}
		witness.in("alice")
		owner.in("alice")
	}, byThemselves)
}

func TestPolicyOptional_OnAndOffAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser()
		c.get("/login").login("alice", "pw-a").is(http.StatusFound)
		other := w.browser()
		other.get("/login").login("alice", "pw-a")
		c.in("alice").get("/mfa/settings").is(http.StatusOK, "Turn on codes by text")
		for _, route := range []string{"settings/codes", "settings/remove", "settings/confirm"} {
			c.get("/mfa/" + route).to("/mfa/settings")
			c.send(route).to("/mfa/settings")
		}
		// Who was let in by the password alone does not take over what another
		// session has set meanwhile.
		other.send("settings/number", "phoneno2fa", another).to("/mfa/settings/number")
		c.get("/mfa/settings/number").is(http.StatusOK, `name="phoneno2fa"`)
		c.send("settings/number", "phoneno2fa", numbers["alice"]).to("/mfa/settings/number")
		site, late := other.loaded()
		c.send("settings/number/verify", "otp", w.phones.last(t, "alice")).is(http.StatusOK, "Codes by text are on")
		if v, err := w.flow().ProveNumber(t.Context(), site, late, w.phones.lastTo(t, another)); err == nil && v.Reason == event.OK {
			t.Error("a number was replaced without its owner's proof")
		}
		other.out()
		c.get("/mfa/settings").is(http.StatusOK, "<strong>56</strong>", "Turn off codes by text")
		c.codes()
		w.later()
		c.get("/mfa/settings/remove").to("/mfa/settings/confirm?for=remove")
		c.send("settings/remove").to("/mfa/settings/confirm?for=remove")
		c.send("settings/confirm", "for", "remove").to("/mfa/settings/confirm?for=remove")
		c.send("settings/confirm/verify", "for", "remove", "otp", w.phones.last(t, "alice")).to("/mfa/settings/remove")
		c.get("/mfa/settings/remove").is(http.StatusOK, "Turn off codes by text?")
		c.send("settings/remove").is(http.StatusOK, "Codes by text are off")
		if !w.phones.told(numbers["alice"], "turned off") {
			t.Error("the owner was not told")
		}
		c.in("alice").get("/mfa/settings").is(http.StatusOK, "Turn on codes by text")
		c.send("settings/number", "phoneno2fa", numbers["alice"]).to("/mfa/settings/number") // the session goes on
	}, optional)
}

func TestAttack_D7_SettingsPutNoSecretInEvents(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.enrol("alice")
		codes := c.codes()
		d := w.trusts("alice")
		secrets := append([]string{}, codes...)
		for _, e := range []*client{c, d} {
			secrets = append(secrets, e.handle(), e.token())
		}
		secrets = append(secrets, d.cookies[w.device()], numbers["alice"], another)
		help, _, err := w.flow().HelpDeskCode(t.Context(), operator("alice"))
		must(t, err)
		secrets = append(secrets, help)
		w.browser().pends("alice").send("recover", "backupcode", codes[0]).is(http.StatusOK)
		w.browser().pends("alice").send("recover", "backupcode", help).is(http.StatusOK)
		w.browser().pends("alice").send("recover", "backupcode", codes[0]).is(http.StatusForbidden)
		d.returns().get("/login").login("alice", "pw-a")
		w.later()
		c.change()
		must(t, w.flow().Reset(t.Context(), operator("alice")))
		w.phones.mu.Lock()
		for _, m := range w.phones.texts {
			if code := codeText.FindStringSubmatch(m.Text); code != nil {
				secrets = append(secrets, "Code:"+code[1], `"`+code[1]+`"`)
			}
		}
		w.phones.mu.Unlock()
		events := w.events.String()
		for _, s := range secrets {
			if s != "" && (strings.Contains(events, s) || strings.Contains(events, strings.ReplaceAll(s, "-", ""))) {
				t.Errorf("%q is in the events:\n%s", s, events)
			}
		}
		for _, n := range []event.Name{event.Recovered, event.Trusted, event.CodesMade, event.NumberChanged, event.Operated} {
			if w.events.count(n, "") == 0 {
				t.Errorf("no event %s", n)
			}
		}
	}, byThemselves)
}

func TestAttack_E10_E11_CodesOfTheSettings(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.enrol("alice")
		w.later()
		c.send("settings/confirm", "for", "codes").to("/mfa/settings/confirm?for=codes")
		right := w.phones.last(t, "alice")
		token := c.token()
		for name, body := range map[string]string{
			"empty": "otp=", "twice": "otp=" + right + "&otp=" + right, "array": "otp[]=" + right, "letters": "otp=12345a", "long": "otp=" + strings.Repeat("1", 9000),
			"both": "otp=" + right + "&backupcode=", "no code": "backupcode=x", "two codes": "backupcode=" + strings.Repeat("a", 15) + "&backupcode=x",
		} {
			c.do(http.MethodPost, "/mfa/settings/confirm/verify", body+"&secondfactorauthenticationtoken="+token)
			if c.status != http.StatusBadRequest {
				t.Errorf("%s: %d", name, c.status)
			}
		}
		if n := w.events.count(event.Verify, event.WrongCode) + w.events.count(event.Verify, event.WrongRecovery); n != 0 {
			t.Errorf("%d tries were spent", n)
		}
		w.store.ahead.Add(int64(5*time.Minute + time.Second))
		c.send("settings/confirm/verify", "otp", right).is(http.StatusForbidden, "expired")
		c.send("settings/codes").to("/mfa/settings/confirm?for=codes")
		// A used one, and one for another step.
		c.send("resend", "for", "codes").is(http.StatusOK)
		fresh := w.phones.last(t, "alice")
		c.send("settings/number/verify", "otp", fresh).is(http.StatusForbidden)
		c.send("settings/confirm/verify", "for", "https://evil.example/", "otp", fresh).to("/mfa/settings/codes") // what it was sent for
		c.send("settings/confirm/verify", "otp", fresh).is(http.StatusForbidden)
		// Five wrong ones use a code up, and not the session.
		w.later()
		c.send("settings/confirm", "for", "number").to("/mfa/settings/confirm?for=number")
		right = w.phones.last(t, "alice")
		for range 5 {
			c.send("settings/confirm/verify", "otp", other(right)).is(http.StatusForbidden)
		}
		if !strings.Contains(c.body, "Too many wrong codes") {
			t.Errorf("%s", c.body)
		}
		c.send("settings/confirm/verify", "otp", right).is(http.StatusForbidden)
		c.in("alice").send("settings/confirm", "for", "number").to("/mfa/settings/confirm?for=number")
		c.send("settings/confirm/verify", "otp", w.phones.last(t, "alice")).to("/mfa/settings/number")
	}, byThemselves)
}

func TestAttack_E4_OneWinnerOfACodeInASession(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.enrol("alice")
		c.send("settings/confirm", "for", "codes").to("/mfa/settings/confirm?for=codes")
		token, right, before := c.token(), w.phones.last(t, "alice"), w.events.count(event.Verify, event.OK)
		var wg sync.WaitGroup
		for range 20 {
			d := c.copy()
			wg.Go(func() {
				d.post("/mfa/settings/confirm/verify", url.Values{"otp": {right}, "secondfactorauthenticationtoken": {token}})
			})
		}
		wg.Wait()
		if n := w.events.count(event.Verify, event.OK) - before; n != 1 {
			t.Errorf("one code was right %d times", n)
		}
		c.in("alice")
	}, byThemselves)
}

func TestAttack_E3_RecoveryInASessionIsBounded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.enrol("alice")
		codes := c.codes()
		token := c.token()
		var wg sync.WaitGroup
		for i := range 50 {
			d := c.copy()
			wg.Go(func() {
				d.post("/mfa/settings/confirm/verify", url.Values{
					"backupcode": {fmt.Sprintf("aaaaaaaaaaaaa%c%c", 'b'+i%20, 'b'+i/20)}, "for": {"codes"}, "secondfactorauthenticationtoken": {token},
				})
			})
		}
		wg.Wait()
		if n := w.events.count(event.Verify, event.WrongRecovery); n < 1 || n > 4 {
			t.Errorf("%d codes were compared, besides the last", n)
		}
		c.send("settings/confirm/verify", "for", "codes", "backupcode", codes[0]).is(http.StatusForbidden)
		c.get("/mfa/settings").is(http.StatusOK, "You have 10 left") // it was counted, not compared
	}, byThemselves)
}
