package gate_test

import (
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
)

// changes are what a proof is needed for: the request of a script of the page, by the
// name of the proof.
var changes = map[string]func(c *client) *client{
	"codes":  func(c *client) *client { return c.script("settings/codes", `{}`) },
	"number": func(c *client) *client { return c.script("settings/number", `{"phoneno2fa":"`+another+`"}`) },
	"remove": func(c *client) *client { return c.script("settings/remove", `{}`) },
}

// script is what a script of the same origin sends, with the user's cookies.
func (c *client) script(route, body string) *client {
	c.w.t.Helper()
	return c.do(http.MethodPost, "/mfa/"+route, body, "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin", "Accept", "application/json")
}

// turnOn is a user who may do without, and does not.
func (w *world) turnOn(user string) *client {
	w.t.Helper()
	c := w.browser().get("/login").login(user, passwords[user]).in(user)
	c.send("settings/number", "phoneno2fa", numbers[user]).to("/mfa/settings/number")
	return c.send("settings/number/verify", "otp", w.phones.last(w.t, user)).is(http.StatusOK, "Codes by text are on")
}

func TestAttack_K21_NothingChangesByTheCodeOfTheSignIn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		enrolled := w.turnOn("alice")
		again := w.browser().signIn("alice")
		texts := w.phones.count()
		for who, c := range map[string]*client{"enrolled": enrolled, "signed in": again} {
			for what, change := range changes {
				if change(c).is(http.StatusForbidden, `"reason":"proof_needed"`); c.status == http.StatusOK {
					t.Errorf("%s: %s", who, what)
				}
				c.get("/mfa/settings/" + what).to("/mfa/settings/confirm?for=" + what)
			}
			c.script("settings/confirm", `{}`).is(http.StatusForbidden) // a proof for nothing
			c.send("settings/confirm").to("/mfa/settings")
		}
		if n := w.phones.count(); n != texts {
			t.Errorf("%d texts", n-texts)
		}
		enrolled.get("/mfa/settings").is(http.StatusOK, "<strong>56</strong>", "You have none yet")
	}, optional)
}

func TestAttack_K21_AProofCountsForItsPurposeOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.turnOn("alice")
		refused := func(but string) {
			t.Helper()
			for what, change := range changes {
				if what != but {
					change(c).is(http.StatusForbidden, `"reason":"proof_needed"`)
				}
			}
		}
		c.prove("number")
		refused("number")
		c.prove("remove")
		refused("remove") // the other proof is over
		c.prove("codes")
		refused("codes")
		changes["codes"](c).is(http.StatusOK, "BackUpCodes")
		refused("") // once
		if !w.phones.told(numbers["alice"], "new recovery codes were made") {
			t.Error("the owner was not told")
		}
		codes := c.codes()
		if c.get("/mfa/settings/codes").to("/mfa/settings/confirm?for=codes"); len(codes) != 10 {
			t.Error(codes)
		}

		// A recovery code proves one change as well, and is not spent for nothing.
		c.send("settings/confirm/verify", "backupcode", codes[0]).is(http.StatusBadRequest)
		c.send("settings/confirm/verify", "for", "codes", "backupcode", codes[0]).to("/mfa/settings/codes")
		refused("codes")
		c.send("settings/codes").is(http.StatusOK).listed()
		refused("")

		// The code of a change is no proof for the next.
		c.change()
		refused("")

		// Not for long.
		c.prove("codes")
		w.store.ahead.Add(int64(flow.FreshFor + time.Second))
		refused("")

		// A code that was sent for one change proves no other.
		c.send("settings/confirm", "for", "number").to("/mfa/settings/confirm?for=number")
		right := w.phones.latest(t)
		c.get("/mfa/settings/confirm?for=codes").is(http.StatusOK, `action="/mfa/settings/confirm"`) // nothing was sent for those
		c.send("settings/confirm/verify", "for", "codes", "otp", right).to("/mfa/settings/number")
		refused("number")
	}, optional)
}

// listed are the recovery codes of a page.
func (c *client) listed() (codes []string) {
	for _, m := range codeItem.FindAllStringSubmatch(c.body, -1) {
		codes = append(codes, m[1])
	}
	return codes
}

func TestAttack_K21_OfParallelChangesOneWins(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 3, newLegacy(), byThemselves)
		c := w.enrol("alice")
		c.prove("codes")
		var made atomic.Int64
		var wg sync.WaitGroup
		for i := range 30 {
			d := c.copy()
			d.node = i % 3
			wg.Go(func() {
				if d.script("settings/codes", `{}`); d.status == http.StatusOK {
					made.Add(1)
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 {
			t.Errorf("one proof made codes %d times", made.Load())
		}
	})
}

func TestAttack_K21_NoticesStayWithinTheLimits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.enrol("alice")
		notices := 0
		for range 40 {
			before := w.phones.count()
			if c.send("settings/confirm", "for", "codes"); c.status != http.StatusSeeOther {
				break // the limit of texts, right codes or not
			}
			c.post("/mfa/settings/confirm/verify", url.Values{"otp": {w.phones.latest(t)}, "secondfactorauthenticationtoken": {c.token()}})
			c.send("settings/codes").is(http.StatusOK) // shown all the same
			notices += w.phones.count() - before - 1
		}
		if notices < 1 || notices > 20 {
			t.Errorf("%d notices", notices)
		}
	}, byThemselves)
}
