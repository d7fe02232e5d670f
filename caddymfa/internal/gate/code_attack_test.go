package gate_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// other is a code that is not right.
func other(code string) string {
	if code == "000000" {
		return "000001"
	}
	return "000000"
}

func TestAttack_E1_TheRightCodeFailsAfterTheTries(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		right := w.phones.last(t, "alice")
		for i := range 5 {
			if c.code(other(right)); c.status != http.StatusForbidden {
				t.Fatalf("try %d: %d", i, c.status)
			}
		}
		c.code(right)
		c.out()
		if n := w.events.count(event.Verify, event.WrongCode) + w.events.count(event.Verify, event.UsedUp); n != 5 {
			t.Fatalf("%d tries were counted", n)
		}
	})
}

func TestAttack_E2_E7_E9_WrongCodesAddUpOverLogins(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 3, newLegacy())
		enter := func(user string, node int) *client { // at an address of its own
			c := w.browser()
			c.node = node
			return c.get("/login").login(user, passwords[user])
		}
		for i := range 10 {
			c := enter("alice", i%3)
			c.code(other(w.phones.last(t, "alice")))
			if i == 9 {
				if !strings.Contains(c.body, "Signing in is locked") {
					t.Fatalf("the tenth: %d %s", c.status, c.body)
				}
				c.out()
			}
		}
		texts := w.phones.count()
		if texts != 11 || !strings.Contains(w.phones.texts[10].Text, "too many wrong codes") {
			t.Fatalf("%d texts; the owner was not told: %v", texts, w.phones.texts[texts-1].Text)
		}
		for i := range 40 { // fifty logins in all
			c := enter("alice", i%3)
			if c.status != http.StatusForbidden || w.phones.count() != texts {
				t.Fatalf("locked: %d, %d texts", c.status, w.phones.count()-texts)
			}
			if i == 0 {
				if !strings.Contains(c.body, "Try again in 30 minutes") {
					t.Errorf("the page does not say for how long: %s", c.body)
				}
				c.out()
			}
		}
		w.browser().signIn("bob") // nobody else is locked
	})
}

func TestAttack_E9_LockHoldsForChallengesThatAreOpen(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var open []*client
		var codes []string
		for range 6 {
			open = append(open, w.browser().get("/login").login("alice", "pw-a"))
			codes = append(codes, w.phones.last(t, "alice"))
		}
		for i := range 5 {
			for range 2 {
				open[i].code(other(codes[i]))
			}
		}
		if open[5].code(codes[5]); !strings.Contains(open[5].body, "Signing in is locked") {
			t.Fatalf("a right code while locked: %d %s", open[5].status, open[5].body)
		}
		open[5].out()
	})
}

func TestAttack_E6_LockSurvivesTheProcess(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		s := open(t)
		w := newWorld(t, s, 1, newLegacy())
		for range 10 {
			c := w.browser().get("/login").login("alice", "pw-a")
			c.code(other(w.phones.last(t, "alice")))
		}
		again := newWorld(t, s, 1, newLegacy())
		if c := again.browser().get("/login").login("alice", "pw-a"); c.status != http.StatusForbidden {
			t.Fatalf("a fresh process: %d", c.status)
		}
	})
}

func TestAttack_E3_ParallelGuessesOnThreeNodes(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 3, newLegacy())
		c := w.browser().get("/login").login("alice", "pw-a")
		token, right := c.token(), w.phones.last(t, "alice")
		var wg sync.WaitGroup
		for i := range 200 {
			d := c.copy()
			d.node = i % 3
			wg.Go(func() {
				d.post("/mfa/verify", url.Values{"otp": {other(right)}, "secondfactorauthenticationtoken": {token}})
			})
		}
		wg.Wait()
		compared := w.events.count(event.Verify, event.WrongCode)
		// The fifth ends the challenge, and is reported as that.
		if compared < 1 || compared > 4 {
			t.Fatalf("%d guesses were compared, besides the last", compared)
		}
		c.code(right)
		c.out()
	})
}

func TestAttack_E4_OneReleaseOfFiftyRightCodes(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 3, newLegacy(), func(g *gate.Gate, _ *login.Config) { g.Flow.Codes.Tries = 10 })
		c := w.browser().get("/login").login("alice", "pw-a")
		token, right := c.token(), w.phones.last(t, "alice")
		var wg sync.WaitGroup
		var in atomic.Int64
		for i := range 50 {
			d := c.copy()
			d.node = i % 3
			wg.Go(func() {
				d.post("/mfa/verify", url.Values{"otp": {right}, "secondfactorauthenticationtoken": {token}})
				if d.get("/home"); strings.Contains(d.body, marker) {
					in.Add(1)
				}
			})
		}
		wg.Wait()
		if n := w.events.count(event.Released, event.OK); n != 1 || in.Load() < 1 {
			t.Fatalf("%d releases, %d clients are in", n, in.Load())
		}
		// Who has sent the form several times is in one session, and one only.
		sessions, err := w.flow().Sessions.Members(t.Context(), "Test", "alice")
		if err != nil || len(sessions) != 1 {
			t.Fatalf("%d sessions, %v", len(sessions), err)
		}
	})
}

func TestAttack_E5_UsedCodeIsDead(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		old := c.copy()
		token, used := c.token(), w.phones.last(t, "alice")
		c.code(used)
		c.in("alice")
		// The same form from the same browser is one form for a moment (P1), and dead then;
		// and it is nothing in any other browser.
		form := url.Values{"otp": {used}, "secondfactorauthenticationtoken": {token}}
		old.copy().post("/mfa/verify", form, "User-Agent", "another browser").out()
		w.store.ahead.Add(int64(flow.AgainFor))
		old.post("/mfa/verify", form)
		old.out()
		for _, user := range []string{"alice", "bob"} {
			d := w.browser().get("/login").login(user, passwords[user])
			if w.phones.last(t, user) == used {
				continue // by chance the same code
			}
			d.code(used)
			d.out()
		}
	})
}

func TestAttack_E8_I3_NoStoreCallMayFailOpen(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		// Every call of a whole sign-in fails once, with all that follow.
		for n := int64(1); ; n++ {
			w := newWorld(t, open(t), 1, newLegacy())
			w.store.after.Store(n)
			c := w.browser().get("/login")
			c.login("alice", "pw-a")
			if strings.Contains(c.body, marker) {
				t.Fatalf("call %d: %s", n, c.body)
			}
			sent := w.phones.count()
			if sent > 0 && !w.store.down.Load() {
				c.code(w.phones.last(t, "alice"))
			}
			if !w.store.down.Load() {
				if n < 8 {
					t.Fatalf("a sign-in takes only %d calls?", n)
				}
				break
			}
			if c.status >= 500 && c.status != http.StatusServiceUnavailable && c.status != http.StatusBadGateway {
				t.Fatalf("call %d: %d", n, c.status)
			}
			c.get("/home")
			if strings.Contains(c.body, marker) {
				t.Fatalf("call %d: let in with the store down", n)
			}
			w.store.down.Store(false)
			w.store.after.Store(0)
			// What was refused before is not accepted after, without a new code.
			if c.get("/home"); strings.Contains(c.body, marker) && w.events.count(event.Verify, event.OK) == 0 {
				t.Fatalf("call %d: let in afterwards", n)
			}
		}
	})
}

func TestAttack_E8_LoginIsNotForwardedWithoutAStore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login")
		verified := w.browser().signIn("bob")
		w.store.down.Store(true)
		before := len(w.app.requests())
		for _, d := range []*client{c, w.browser()} {
			if d.login("alice", "pw-a"); d.status != http.StatusServiceUnavailable {
				t.Errorf("%d", d.status)
			}
		}
		time.Sleep(1100 * time.Millisecond) // past the copy's life
		if verified.get("/home"); verified.status != http.StatusServiceUnavailable {
			t.Errorf("verified: %d", verified.status)
		}
		if n := len(w.app.requests()); n != before {
			t.Errorf("the application saw %v", w.app.requests()[before:])
		}
	})
}

func TestAttack_E11_StrangeCodesAreRefusedAndCostNoTry(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		token, right := c.token(), w.phones.last(t, "alice")
		f := func(otp ...string) url.Values {
			return url.Values{"otp": otp, "secondfactorauthenticationtoken": {token}}
		}
		for name, v := range map[string]url.Values{
			"empty": f(""), "missing": f(), "twice": f(right, right), "short": f("12345"), "long": f("1234567"), "letters": f("12345a"),
			"three arabic digits": f("١٢٣"), "sign": f("+12345"), "exponent": f("1e5"), "10 kB": f(strings.Repeat("1", 10_000)), "NUL": f("123456\x00"),
		} {
			if c.post("/mfa/verify", v); c.status != http.StatusBadRequest {
				t.Errorf("%s: %d", name, c.status)
			}
		}
		array := url.Values{"otp[]": {right}, "secondfactorauthenticationtoken": {token}}
		if c.post("/mfa/verify", array); c.status != http.StatusBadRequest {
			t.Errorf("array: %d", c.status)
		}
		if c.get("/mfa/verify?otp=" + right); c.status != http.StatusMethodNotAllowed {
			t.Errorf("GET: %d", c.status)
		}
		for _, body := range []string{`{"otp":` + right + `,"otp":"1"}`, `{"otp":["` + right + `"]}`, `{"otp":{}}`, `{"otp":null}`, `{`, `"` + right + `"`, `{"OTP":"` + right + `"}`} {
			if c.do(http.MethodPost, "/mfa/verify", body, "Content-Type", "application/json"); c.status != http.StatusBadRequest {
				t.Errorf("%s: %d %s", body, c.status, c.body)
			}
		}
		if n := w.events.count(event.Verify, event.WrongCode); n != 0 {
			t.Errorf("%d tries were spent", n)
		}
		c.post("/mfa/verify", f(right[:3]+" "+right[3:])) // as people type it
		c.in("alice")
	})
}

func TestAttack_F1_TokensAndCodesOfTwoChallengesDoNotMix(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.browser().get("/login").login("alice", "pw-a")
		b := w.browser().get("/login").login("bob", "pw-b")
		codeA, codeB, tokenA, tokenB := w.phones.last(t, "alice"), w.phones.last(t, "bob"), a.token(), b.token()
		if codeA == codeB {
			t.Skip("by chance the same code")
		}
		for _, v := range [][2]string{{codeB, tokenB}, {codeA, tokenB}, {codeB, tokenA}, {codeA, ""}} {
			a.post("/mfa/verify", url.Values{"otp": {v[0]}, "secondfactorauthenticationtoken": {v[1]}})
			a.out()
		}
		a.do(http.MethodPost, "/mfa/verify", `{"otp":"`+codeA+`","secondfactorauthenticationtoken":"`+tokenB+`"}`, "Content-Type", "application/json")
		a.out()
		for _, token := range []string{tokenA[:len(tokenA)-1], tokenA + "0", tokenA + tokenB, tokenA[:18] + tokenB[18:]} {
			a.post("/mfa/verify", url.Values{"otp": {codeA}, "secondfactorauthenticationtoken": {token}})
			a.out()
		}
		b.code(codeB)
		b.in("bob")
	})
}

// pending is the store's key of the challenge that a login has brought: of all
// that it writes, what stays as long as a challenge does.
func (w *world) pending(login func()) string {
	w.store.mu.Lock()
	w.store.put = nil
	w.store.mu.Unlock()
	login()
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	key := ""
	for k, o := range w.store.put {
		if strings.HasPrefix(k, "s:") && o.TTL > challenge.Total-time.Minute && o.TTL <= challenge.Total {
			key = k
		}
	}
	if key == "" {
		w.t.Fatal("no challenge was written")
	}
	return key
}

func TestAttack_E12_ChallengeIsBoundToItsSessionAndGate(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 2, newLegacy())
		a, b := w.browser(), w.browser()
		keyA := w.pending(func() { a.get("/login").login("alice", "pw-a") })
		keyB := w.pending(func() { b.get("/login").login("bob", "pw-b") })
		codeA, codeB, tokenA := w.phones.last(t, "alice"), w.phones.last(t, "bob"), a.token()
		if codeA == codeB {
			t.Skip("by chance the same code")
		}
		// Who can write to the store lays bob's challenge under alice's session.
		// The second node has no copy of what was there.
		ctx, o := t.Context(), store.Options{TTL: time.Minute}
		was, err := w.store.Store.Get(ctx, keyA)
		if err != nil {
			t.Fatal(err)
		}
		bobs, err := w.store.Store.Get(ctx, keyB)
		if err != nil {
			t.Fatal(err)
		}
		v, err := w.store.Store.Put(ctx, keyA, bobs.Value, was.Version, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range []string{codeA, codeB} {
			d := a.copy()
			d.node = 1
			d.post("/mfa/verify", url.Values{"otp": {code}, "secondfactorauthenticationtoken": {tokenA}})
			d.out()
		}
		if _, err := w.store.Store.Put(ctx, keyA, was.Value, v, o); err != nil {
			t.Fatal(err)
		}
		// The same browser at another host: the same record is another gate's.
		d := a.copy()
		d.node = 1
		if d.post("/mfa/verify", url.Values{"otp": {codeA}, "secondfactorauthenticationtoken": {tokenA}}, "Host", "other.example"); d.status < 400 {
			t.Fatalf("another gate: %d", d.status)
		}
		d.out()
		a.code(codeA)
		a.in("alice")
	})
}

func TestAttack_F6_EnrolledUsersNumberIsNotChangedByAPendingLogin(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		before := w.phones.count()
		c.post("/mfa/phone", url.Values{"phoneno2fa": {"+447400999999"}, "secondfactorauthenticationtoken": {c.token()}})
		if c.status != http.StatusForbidden || w.phones.count() != before {
			t.Fatalf("%d, %d texts", c.status, w.phones.count()-before)
		}
	})
}

func TestAttack_F7_F10_OwnRoutesAloneGiveNoSession(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		victim := w.browser().get("/login").login("alice", "pw-a")
		token, right := victim.token(), w.phones.last(t, "alice")
		for _, route := range []string{"verify", "resend", "phone", "cancel", "logout", "x", "assets/../verify", ""} {
			for _, v := range []url.Values{
				{},
				{"otp": {right}, "secondfactorauthenticationtoken": {token}},
				{"user": {"alice"}, "skip": {"1"}, "redirect": {"/home"}, "verified": {"true"}, "phoneno2fa": {"+447400123456"}},
			} {
				c := w.browser()
				if c.post("/mfa/"+route, v); c.status < 400 || len(c.cookies) > 0 {
					t.Errorf("%s %v: %d %v", route, v, c.status, c.cookies)
				}
				c.out()
			}
		}
		c := w.browser()
		c.get("/mfa?secondfactorauthenticationtoken=" + token)
		c.out()
		victim.code(right)
		victim.in("alice")
	})
}

func TestAttack_F3_F4_SpellingsOfANameAreOneUser(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		// The application takes any spelling; the gate has no identity to ask, and
		// knows people by the folded name of the request.
		w := newWorld(t, open(t), 1, answers{func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "OK", Value: "1", Path: "/"})
			w.WriteHeader(http.StatusNoContent)
		}, newLegacy()}, func(g *gate.Gate, c *login.Config) {
			withCookie(g, c)
			c.User = &login.User{Source: login.Form, Name: "user"}
		})
		enter := func(name string) *client {
			return w.browser().post("/login", url.Values{"user": {name}, "password": {"pw-a"}})
		}
		for _, name := range []string{"Alice", " alice ", "ALICE", "aLICE", " alicE"} {
			c := enter(name)
			if c.head.Get("Location") != "/mfa" {
				t.Fatalf("%q: %d %s", name, c.status, w.events)
			}
			c.code(other(w.phones.last(t, "alice")))
		}
		// Spellings that a database may take for hers are refused (attack K9).
		for _, name := range []string{"ａｌｉｃｅ", "a\u200blice", "alicé", "alice\x00", "al\u0131ce", "\u200b"} {
			if c := enter(name); c.status != http.StatusBadRequest {
				t.Fatalf("%q: %d", name, c.status)
			} else {
				c.out()
			}
		}
		for _, name := range []string{"DOMAIN\\alice", "alice@example.com", "al ice", ""} {
			if c := enter(name); c.status != http.StatusForbidden {
				t.Fatalf("%q is unknown: %d", name, c.status)
			} else {
				c.out()
			}
		}
		for range 5 {
			enter("alice").code(other(w.phones.last(t, "alice")))
		}
		if n := w.events.count(event.Locked, ""); n != 1 {
			t.Fatalf("ten wrong codes under several spellings locked %d times", n)
		}
	})
}

func TestAttack_F5_J3_AmbiguousFieldsAreRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, body := range []string{
			"user=alice&user=bob&password=pw-a", "user=alice&User=bob&password=pw-a", "user=alice&+user=bob&password=pw-a",
			"user%00x=bob&user=alice&password=pw-a", "user[]=alice&password=pw-a", "USER=alice&password=pw-a", ".user=alice&password=pw-a",
			"user=alice&user[x]=bob&password=pw-a", "user=%zz&password=pw-a", "ｕser=bob&user=alice&password=pw-a",
		} {
			before := len(w.app.requests())
			c := w.browser()
			if c.do(http.MethodPost, "/login", body); c.status != http.StatusBadRequest {
				t.Errorf("%s: %d", body, c.status)
			}
			if n := len(w.app.requests()); n != before {
				t.Errorf("%s reached the application", body)
			}
		}
		c := w.browser()
		if c.do(http.MethodPost, "/login?user=bob", "user=alice&password=pw-a"); c.status != http.StatusBadRequest {
			t.Errorf("query and body: %d", c.status)
		}
	})
}

func TestAttack_B7_J4_J5_PasswordsInTheAddress(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, target := range []string{"/login?user=alice&password=pw-a", "/login?a=1;user=alice", "/login?User=alice&password=x"} {
			before := len(w.app.requests())
			c := w.browser()
			if c.get(target); c.status != http.StatusBadRequest || len(w.app.requests()) != before {
				t.Errorf("%s: %d", target, c.status)
			}
		}
		c := w.browser()
		if c.do(http.MethodPost, "/login?a=1;user=bob", "user=alice&password=pw-a"); c.status != http.StatusBadRequest {
			t.Errorf("a semicolon in the query: %d", c.status)
		}
	})
}

func TestAttack_B9_BodiesThatCanBeReadInTwoWays(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		multi := func(head, value string) string {
			return "--b\r\nContent-Disposition: form-data; " + head + "\r\n\r\n" + value + "\r\n--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\npw-a\r\n--b--\r\n"
		}
		for name, tc := range map[string]struct{ kind, body string }{
			"text":              {"text/plain", "user=alice&password=pw-a"},
			"xml":               {"text/xml", "<user>alice</user>"},
			"utf-16":            {"application/x-www-form-urlencoded; charset=utf-16", "user=alice"},
			"name twice":        {"multipart/form-data; boundary=b", multi(`name="user"; name="x"`, "alice")},
			"no boundary":       {"multipart/form-data", multi(`name="user"`, "alice")},
			"a huge name":       {"multipart/form-data; boundary=b", multi(`name="user"`, strings.Repeat("x", 70_000))},
			"padding":           {"application/x-www-form-urlencoded", "pad=" + strings.Repeat("x", 2<<20) + "&user=alice&password=pw-a"},
			"json twice":        {"application/json", `{"user":"alice","user":"bob"}`},
			"json case":         {"application/json", `{"user":"alice","USER":"bob"}`},
			"json trailing":     {"application/json", `{"user":"alice"} {"user":"bob"}`},
			"json deep":         {"application/json", strings.Repeat("[", 100) + strings.Repeat("]", 100)},
			"too many fields":   {"application/x-www-form-urlencoded", strings.Repeat("a=1&", 1000) + "user=alice"},
			"byte order mark":   {"application/json", "\ufeff{}"},
			"two content types": {"", "user=alice"},
		} {
			before := len(w.app.requests())
			c := w.browser()
			if c.do(http.MethodPost, "/login", tc.body, "Content-Type", tc.kind); c.status < 400 || c.status >= 500 || len(w.app.requests()) != before {
				t.Errorf("%s: %d", name, c.status)
			}
		}
		c := w.browser()
		if c.do(http.MethodPost, "/login", "user=alice", "Content-Encoding", "gzip"); c.status != http.StatusBadRequest {
			t.Errorf("content encoding: %d", c.status)
		}
		c = w.browser() // a proper multipart form is a login
		if c.do(http.MethodPost, "/login", multi(`name="user"`, "alice"), "Content-Type", "multipart/form-data; boundary=b"); c.head.Get("Location") != "/mfa" {
			t.Errorf("multipart: %d %s", c.status, w.events)
		}
	})
}

func TestAttack_H2_ReloadsSendOneText(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		for range 30 {
			c.get("/mfa")
			c.get("/home")
			c.get("/login")
			c.do(http.MethodHead, "/mfa", "")
		}
		if w.phones.count() != 1 {
			t.Fatalf("%d texts", w.phones.count())
		}
		token := c.token()
		for range 3 {
			if c.post("/mfa/resend", url.Values{"secondfactorauthenticationtoken": {token}}); c.status != http.StatusTooManyRequests || c.head.Get("Retry-After") == "" {
				t.Fatalf("resend at once: %d", c.status)
			}
		}
		if w.phones.count() != 1 {
			t.Fatalf("%d texts", w.phones.count())
		}
	})
}

func TestAttack_H4_SendLimitsAreSharedByNodes(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 3, newLegacy())
		for i := range 14 {
			c := w.browser()
			c.node = i % 3
			c.get("/login").login("alice", "pw-a")
			c.out()
		}
		if n := w.phones.count(); n != 10 {
			t.Fatalf("%d texts to one user", n)
		}
		if n := w.events.count(event.Send, event.UserLimit); n != 4 {
			t.Fatalf("%d refusals", n)
		}
		w.browser().signIn("bob")
	})
}

func TestAttack_I4_GatewayDownIsSaidAndNothingSkipped(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.phones.fail = &sms.Error{Provider: "test", Kind: sms.Unavailable, Err: fmt.Errorf("down")}
		c := w.browser().get("/login").login("alice", "pw-a")
		c.get("/mfa")
		if !strings.Contains(c.body, "could not send the text") || !strings.Contains(c.body, "/mfa/resend") {
			t.Fatalf("%d %s", c.status, c.body)
		}
		c.out()
		w.phones.mu.Lock()
		w.phones.fail = nil
		w.phones.mu.Unlock()
		if c.post("/mfa/resend", url.Values{"secondfactorauthenticationtoken": {c.token()}}); c.status != http.StatusOK {
			t.Fatalf("again: %d %s", c.status, c.body)
		}
		c.code(w.phones.last(t, "alice"))
		c.in("alice")
	})
}

func TestSelfEnrolment(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		if c.get("/mfa"); !strings.Contains(c.body, `name="phoneno2fa"`) || w.phones.count() != 0 {
			t.Fatalf("%d texts; %s", w.phones.count(), c.body)
		}
		phone := func(n string) *client {
			return c.post("/mfa/phone", url.Values{"phoneno2fa": {n}, "secondfactorauthenticationtoken": {c.token()}})
		}
		for _, bad := range []string{"", "12", "+33612345678", "+442079460000", "+449012345678", "javascript:alert(1)", strings.Repeat("1", 1000)} {
			if phone(bad); c.status != http.StatusBadRequest || w.phones.count() != 0 {
				t.Errorf("%.20s: %d", bad, c.status)
			}
		}
		if phone("07400 123456"); c.status != http.StatusOK || w.phones.count() != 1 {
			t.Fatalf("%d %s", c.status, c.body)
		}
		c.code(w.phones.last(t, "alice"))
		c.in("alice")
		d := w.browser().get("/login").login("alice", "pw-a") // from now on the number is known
		if d.get("/mfa"); !strings.Contains(d.body, `name="otp"`) || w.phones.count() != 2 {
			t.Fatalf("%d texts; %s", w.phones.count(), d.body)
		}
	}, func(g *gate.Gate, _ *login.Config) {
		g.Site.Enroll = flow.Self
		g.Flow.Directory = nil
	})
}

func TestAttack_E10_ExpiredCodeIsRefusedEverywhere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		right := w.phones.last(t, "alice")
		w.store.ahead.Store(int64(5*time.Minute + time.Second))
		if c.code(right); c.status != http.StatusForbidden || !strings.Contains(c.body, "expired") {
			t.Fatalf("form: %d %s", c.status, c.body)
		}
		if c.do(http.MethodPost, "/mfa/verify", `{"otp":"`+right+`"}`, "Content-Type", "application/json"); c.status != http.StatusForbidden || !strings.Contains(c.body, `"ErrorCode":1069`) {
			t.Fatalf("JSON: %d %s", c.status, c.body)
		}
		c.out()
		// Another text brings another code, within the life of the challenge.
		if c.post("/mfa/resend", url.Values{"secondfactorauthenticationtoken": {c.token()}}); c.status != http.StatusOK {
			t.Fatalf("resend: %d %s", c.status, c.body)
		}
		if fresh := w.phones.last(t, "alice"); fresh != right {
			c.code(right)
			c.out()
			c.code(fresh)
			c.in("alice")
		}
	})
}

func TestAttack_H3_WhoKnowsOnlyTheNameLocksNobodyOut(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i := range 60 {
			w.browser().post("/login", url.Values{"user": {"alice"}, "password": {fmt.Sprint("guess", i)}})
		}
		if w.phones.count() != 0 {
			t.Fatalf("%d texts", w.phones.count())
		}
		w.browser().signIn("alice")
	})
}
