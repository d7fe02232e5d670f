package gate_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
)

// invited users name their number with a code of the operator's.
func invited(g *gate.Gate, c *login.Config) {
	byThemselves(g, c)
	g.Site.Enroll = flow.Invite
}

// invite makes an invitation.
func (w *world) invite(user string) string {
	w.t.Helper()
	code, until, err := w.flow().Invite(w.t.Context(), operator(user))
	if err != nil || until.IsZero() {
		w.t.Fatal(err)
	}
	return code
}

func TestAnInvitationLetsAUserNameTheNumber(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.browser().get("/login").login("alice", "pw-a").is(http.StatusForbidden, "You need an invitation").out()
		code := w.invite("ALICE") // the operator does not know how the application writes it
		c := w.browser().get("/login").login("alice", "pw-a").to("/mfa")
		c.get("/mfa").is(http.StatusOK, `name="invite"`).out()
		c.send("invite", "invite", "abc").is(http.StatusBadRequest, "15 letters")
		c.get("/mfa").send("invite", "invite", strings.ToUpper(strings.ReplaceAll(code, "-", " "))).to("/mfa")
		c.get("/mfa").is(http.StatusOK, `name="phoneno2fa"`)
		c.send("phone", "phoneno2fa", numbers["alice"]).is(http.StatusOK)
		c.code(w.phones.last(t, "alice")).in("alice")
		if u, err := w.flow().Show(t.Context(), operator("alice")); err != nil || !u.Invited.IsZero() || u.Number == "" {
			t.Errorf("the invitation is used up: %+v, %v", u, err)
		}
		// The user is like any other from now on.
		w.browser().signIn("alice")
		c.get("/mfa/settings").is(http.StatusOK, "/mfa/settings/number")
		if _, _, err := w.flow().Invite(t.Context(), operator("alice")); err == nil {
			t.Error("who has a number was invited")
		}
		if w.events.count(event.Invited, event.OK) != 1 || w.events.count(event.Operated, event.OK) != 1 {
			t.Error(w.events)
		}
		if strings.Contains(w.events.String()+w.store.dump(), strings.ReplaceAll(code, "-", "")) {
			t.Error("the code is in the log or in the store")
		}
	}, invited)
}

func TestAttack_F6_NobodyNamesANumberWithoutAnInvitation(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		code, bobs := w.invite("alice"), w.invite("bob")
		c := w.browser().get("/login").login("alice", "pw-a").get("/mfa")
		none := func() {
			t.Helper()
			if n := w.phones.count(); n != 0 {
				t.Fatalf("%d texts", n)
			}
		}
		c.copy().send("phone", "phoneno2fa", numbers["alice"]).is(http.StatusForbidden)
		c.copy().send("phone", "phoneno2fa", numbers["alice"], "invite", code).is(http.StatusForbidden)
		c.copy().send("resend")
		none()
		for range 4 {
			c.get("/mfa").send("invite", "invite", bobs).is(http.StatusForbidden, "not correct").out()
		}
		c.get("/mfa").send("invite", "invite", "aaaaa-aaaaa-aaaaa").is(http.StatusForbidden, "Too many wrong codes").out()
		none()
		// Ten in a row lock the user, over all sessions.
		c = w.browser().get("/login").login("alice", "pw-a").get("/mfa")
		for range 4 {
			c.get("/mfa").send("invite", "invite", bobs).is(http.StatusForbidden)
		}
		c.get("/mfa").send("invite", "invite", bobs).is(http.StatusForbidden).out()
		if w.events.count(event.Locked, "") != 1 {
			t.Error(w.events)
		}
		w.browser().get("/login").login("alice", "pw-a").is(http.StatusForbidden).out()
		none()
	}, invited)
}

func TestAttack_F6_AnInvitationIsForOneNumber(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		code := w.invite("alice")
		var sessions []*client
		for _, number := range []string{numbers["alice"], another} {
			c := w.browser().get("/login").login("alice", "pw-a").get("/mfa")
			c.send("invite", "invite", code).to("/mfa").get("/mfa").send("phone", "phoneno2fa", number).is(http.StatusOK)
			sessions = append(sessions, c)
		}
		codes := []string{w.phones.last(t, "alice"), w.phones.lastTo(t, another)}
		var wg sync.WaitGroup
		for i, c := range sessions {
			wg.Go(func() { c.code(codes[i]) })
		}
		wg.Wait()
		in := 0
		for _, c := range sessions {
			if c.status == http.StatusSeeOther {
				c.in("alice")
				in++
			} else {
				c.out()
			}
		}
		if in != 1 || w.events.count(event.Enrolled, event.OK) != 1 {
			t.Errorf("%d are in\n%s", in, w.events)
		}
	}, invited)
}

func TestAttack_G1_AResetTakesTheInvitationBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		first := w.invite("alice")
		c := w.browser().get("/login").login("alice", "pw-a").get("/mfa")
		c.send("invite", "invite", first).to("/mfa").get("/mfa").send("phone", "phoneno2fa", numbers["alice"]).is(http.StatusOK)
		if err := w.flow().Reset(t.Context(), operator("alice")); err != nil {
			t.Fatal(err)
		}
		w.browser().get("/login").login("alice", "pw-a").is(http.StatusForbidden, "invitation").out()
		c.code(w.phones.last(t, "alice"))
		c.out()
		// The newest one is the only one.
		old, code := w.invite("alice"), w.invite("alice")
		c = w.browser().get("/login").login("alice", "pw-a").get("/mfa")
		c.send("invite", "invite", old).is(http.StatusForbidden, "not correct")
		c.get("/mfa").send("invite", "invite", code).to("/mfa")
	}, invited)
}

// A program gives the invitation with the number.
func TestAttack_F6_TheAPIAsksForTheInvitation(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		w.browser().no(1143, "POST", "/auth/login/2fa", "", `{"username":"alice","password":"pw-a"}`)
		c, code := w.browser(), w.invite("alice")
		number := func(more string) string { return `{"phoneno2fa":"` + numbers["alice"] + `"` + more + `}` }
		second := "secondfactorauthenticationtoken=" + c.password("alice")
		c.no(1067, "PUT", "/auth/login/2fa", second, number(""))
		c.no(1129, "PUT", "/auth/login/2fa", second, number(`,"invite":"aaaaa-aaaaa-aaaaa"`))
		if n := w.phones.count(); n != 0 {
			t.Fatalf("%d texts", n)
		}
		c.ok("PUT", "/auth/login/2fa", second, number(`,"invite":"`+code+`"`))
		out := c.ok("PUT", "/auth/login/2fa/verification/otp", second, `{"otp":"`+w.phones.last(t, "alice")+`"}`)
		if out["access_token"] == nil || w.events.count(event.Enrolled, event.OK) != 1 {
			t.Errorf("%v\n%s", out, w.events)
		}
	}, invited)
}
