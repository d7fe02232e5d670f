package gate_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/twilio"
	twiliotest "github.com/caddymfa/caddymfa/test/twilio"
)

const (
	twilioAccount = "AC0123456789abcdef0123456789abcdef"
	twilioToken   = "0123456789abcdef0123456789abcdef"
	otherToken    = "fedcba9876543210fedcba9876543210"
	callbackURL   = "https://login.example.com/mfa/receipts"
)

// provider takes texts as Twilio does.
type provider struct {
	*httptest.Server
	mu    sync.Mutex
	forms []url.Values
	// early is called before a text is answered; refuse is an error's code.
	early  func(sent url.Values)
	refuse int
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		p.mu.Lock()
		p.forms = append(p.forms, r.PostForm)
		sid, early, refuse := sidOf(len(p.forms)), p.early, p.refuse
		p.mu.Unlock()
		if early != nil {
			early(r.PostForm)
		}
		w.Header().Set("Content-Type", "application/json")
		if refuse != 0 {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"code":%d,"message":"no","status":400}`, refuse)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"sid":%q,"status":"queued"}`, sid)
	}))
	t.Cleanup(p.Close)
	return p
}

func sidOf(n int) string { return fmt.Sprintf("SM%032x", n) }

func (p *provider) sent() []url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.forms)
}

// callback is the address that the last text's reports go to.
func (p *provider) callback(t *testing.T) string {
	t.Helper()
	all := p.sent()
	if len(all) == 0 {
		t.Fatal("no text")
	}
	return all[len(all)-1].Get("StatusCallback")
}

func (p *provider) code(t *testing.T) string {
	t.Helper()
	all := p.sent()
	if len(all) == 0 {
		t.Fatal("no text")
	}
	return codeText.FindStringSubmatch(all[len(all)-1].Get("Body"))[1]
}

// hasty is a sender whose receipts may take less than an operator may say.
type hasty struct {
	*twilio.Sender
	patience time.Duration
}

func (h hasty) ReceiptTimeout() time.Duration { return h.patience }

// reporting is a gate whose texts go by the provider, then by the inbox.
func (p *provider) reporting(t *testing.T, patience time.Duration, inbox func() sms.Sender) config {
	t.Helper()
	return func(g *gate.Gate, _ *login.Config) {
		s, err := twilio.New(twilio.Config{AccountSID: twilioAccount, AuthToken: twilioToken, From: "+447700900000", APIURL: p.URL, StatusCallback: callbackURL})
		if err != nil {
			t.Fatal(err)
		}
		all := []sms.Named{{Name: "twilio", Sender: hasty{s, patience}}}
		if inbox != nil {
			all = append(all, sms.Named{Name: "second", Sender: inbox()})
		}
		chain := sms.NewChain(all...)
		g.Flow.SMS, g.Flow.Receipts = chain, chain
	}
}

func reportOf(status, code string) url.Values {
	form := url.Values{
		"MessageSid": {sidOf(1)}, "SmsSid": {sidOf(1)}, "MessageStatus": {status}, "SmsStatus": {status}, "AccountSid": {twilioAccount},
		"From": {"+447700900000"}, "To": {numbers["alice"]}, "ApiVersion": {"2010-04-01"}, "RawDlrDoneDate": {"2611250301"},
	}
	if code != "" {
		form.Set("ErrorCode", code)
	}
	return form
}

// report posts a report as Twilio would. at is the address that Twilio was given.
func (w *world) report(node int, at string, form url.Values) int {
	w.t.Helper()
	c := &client{w: w, node: node, addr: "203.0.113.9", cookies: map[string]string{}}
	_, query, _ := strings.Cut(at, "?")
	c.post("/mfa/receipts?"+query, form, "X-Twilio-Signature", twiliotest.Sign(twilioToken, at, form), "Accept", "*/*")
	if c.body != "" {
		w.t.Fatalf("a report was answered %q", c.body)
	}
	return c.status
}

// text is what the status says of the newest text.
func (c *client) text() page.Delivery {
	c.w.t.Helper()
	var s page.Status
	c.get("/mfa/status", "Accept", "application/json")
	if err := json.Unmarshal([]byte(c.body), &s); err != nil {
		c.w.t.Fatalf("status: %v: %s", err, c.body)
	}
	if s.Text == nil {
		return page.Delivery{}
	}
	return *s.Text
}

// over runs a test over every store, with gates that send by a provider.
func over(t *testing.T, nodes int, patience time.Duration, second bool, f func(t *testing.T, w *world, p *provider), cfg ...config) {
	t.Helper()
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		p, box := newProvider(t), &inbox{}
		var next func() sms.Sender
		if second {
			next = func() sms.Sender { return box }
		}
		w := newWorld(t, open(t), nodes, newLegacy(), append([]config{p.reporting(t, patience, next)}, cfg...)...)
		w.phones = box
		f(t, w, p)
	})
}

const onThePhone = "The text is on your phone."

func TestReceiptsOnThePageAndInTheStatus(t *testing.T) {
	t.Parallel()
	over(t, 2, 0, false, func(t *testing.T, w *world, p *provider) {
		c := w.browser()
		c.login("alice", passwords["alice"])
		if got := c.text(); got.State != sms.Sent || got.Message != "" {
			t.Fatalf("before a report: %+v", got)
		}
		if c.get("/mfa"); !strings.Contains(c.body, `id="delivery" role="status" data-status="/mfa/status"></div>`) {
			t.Fatalf("the page has no empty line for the script:\n%s", c.body)
		}
		for _, early := range []string{"queued", "sent"} {
			if code := w.report(0, p.callback(t), reportOf(early, "")); code != http.StatusNoContent {
				t.Fatalf("%s: %d", early, code)
			}
		}
		if got := c.text(); got.State != sms.Sent {
			t.Fatalf("%+v", got)
		}
		// At the other node than the one that sent it.
		if code := w.report(1, p.callback(t), reportOf("delivered", "")); code != http.StatusNoContent {
			t.Fatalf("%d\n%s", code, w.events)
		}
		for node := range 2 {
			c.node = node
			if got := c.text(); got.State != sms.Delivered || got.Message != onThePhone {
				t.Fatalf("node %d: %+v", node, got)
			}
			if c.get("/mfa"); !strings.Contains(c.body, onThePhone) {
				t.Fatalf("node %d: the page does not say it:\n%s", node, c.body)
			}
		}
		// Late, repeated and contradicting reports change nothing.
		for _, late := range []url.Values{reportOf("sent", ""), reportOf("undelivered", "30005"), reportOf("delivered", "")} {
			if code := w.report(0, p.callback(t), late); code != http.StatusNoContent {
				t.Fatal(code)
			}
		}
		if got := c.text(); got.State != sms.Delivered {
			t.Fatalf("%+v", got)
		}
		if n := w.events.count(event.Receipt, event.Known); n != 2 {
			t.Errorf("%d reports said nothing new", n)
		}
		c.code(p.code(t))
		c.in("alice")
		if got := c.text(); got != (page.Delivery{}) {
			t.Errorf("after signing in: %+v", got)
		}
		// Of a wish for another text the state begins anew.
		d := w.browser()
		d.login("alice", passwords["alice"])
		if got := d.text(); got.State != sms.Sent {
			t.Errorf("another sign-in: %+v", got)
		}
	})
}

// TestReportBeforeTheAnswer: Twilio may report a text before it has answered who
// sent it.
func TestReportBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	over(t, 1, 0, false, func(t *testing.T, w *world, p *provider) {
		p.early = func(sent url.Values) {
			if code := w.report(0, sent.Get("StatusCallback"), reportOf("delivered", "")); code != http.StatusNoContent {
				t.Errorf("%d", code)
			}
		}
		c := w.browser()
		if c.login("alice", passwords["alice"]); c.text().State != sms.Delivered {
			t.Fatalf("%+v\n%s", c.text(), w.events)
		}
	})
}

func TestFailedTextsAreExplained(t *testing.T) {
	t.Parallel()
	over(t, 1, 0, false, func(t *testing.T, w *world, p *provider) {
		for code, want := range map[string]struct {
			why  event.Reason
			says string
		}{
			"30003": {event.PhoneOff, "Turn it on"},
			"30004": {event.Blocked, "has not let the text through"},
			"30007": {event.Blocked, "has not let the text through"},
			"30450": {event.Suspected, "has not let the text through"},
			"30008": {event.Undelivered, "has not arrived"},
			"":      {event.Undelivered, "has not arrived"},
			"21610": {event.OptedOut, "Reply START"},
		} {
			c := w.browser()
			c.login("bob", passwords["bob"])
			form := reportOf("undelivered", code)
			form.Set("To", numbers["bob"])
			if status := w.report(0, p.callback(t), form); status != http.StatusNoContent {
				t.Fatal(status)
			}
			if got := c.text(); got.State != sms.Failed || got.Reason != want.why || !strings.Contains(got.Message, want.says) {
				t.Errorf("%s: %+v", code, got)
			}
			if c.get("/mfa"); !strings.Contains(c.body, want.says) {
				t.Errorf("%s: the page says nothing of it", code)
			}
			if w.events.count(event.Receipt, want.why) == 0 {
				t.Errorf("%s is not counted", code)
			}
			c.code(p.code(t)).in("bob") // which takes a mark away as well
		}
	})
}

// TestAttack_H8_ForgedReportsChangeNothing: nobody but the provider tells what
// became of a text.
func TestAttack_H8_ForgedReportsChangeNothing(t *testing.T) {
	t.Parallel()
	over(t, 1, 0, false, func(t *testing.T, w *world, p *provider) {
		c := w.browser()
		c.login("alice", passwords["alice"])
		at := p.callback(t)
		_, query, _ := strings.Cut(at, "?")
		if !strings.HasPrefix(at, callbackURL+"?ref=") || len(query) != len("ref=")+32 {
			t.Fatalf("the address is %s", at)
		}
		d := w.browser()
		d.login("bob", passwords["bob"])
		_, others, _ := strings.Cut(p.callback(t), "?")
		if others == query {
			t.Fatal("two texts have one reference")
		}

		form := reportOf("undelivered", "30005")
		right := twiliotest.Sign(twilioToken, at, form)
		tampered, stranger := reportOf("delivered", ""), reportOf("undelivered", "30005")
		stranger.Set("AccountSid", "AC00000000000000000000000000000000")
		twice := form.Encode() + "&MessageStatus=delivered"
		post := func(query, body string, head ...string) *client {
			x := &client{w: w, addr: "203.0.113.9", cookies: map[string]string{}}
			return x.do(http.MethodPost, "/mfa/receipts?"+query, body, head...)
		}
		const sig = "X-Twilio-Signature"
		for name, tc := range map[string]struct {
			answer *client
			status int
			reason event.Reason
		}{
			"no signature":          {post(query, form.Encode()), 403, event.Forged},
			"an empty signature":    {post(query, form.Encode(), sig, ""), 403, event.Forged},
			"another token":         {post(query, form.Encode(), sig, twiliotest.Sign(otherToken, at, form)), 403, event.Forged},
			"no token":              {post(query, form.Encode(), sig, twiliotest.Sign("", at, form)), 403, event.Forged},
			"another text":          {post(others, form.Encode(), sig, right), 403, event.Forged},
			"no text":               {post("", form.Encode(), sig, twiliotest.Sign(twilioToken, callbackURL, form)), 403, event.Forged},
			"a text of no form":     {post("ref=x", form.Encode(), sig, twiliotest.Sign(twilioToken, callbackURL+"?ref=x", form)), 403, event.Forged},
			"two texts":             {post(query+"&"+others, form.Encode(), sig, twiliotest.Sign(twilioToken, at+"&"+others, form)), 403, event.Forged},
			"a hash of the body":    {post(query+"&bodySHA256=00", form.Encode(), sig, twiliotest.Sign(twilioToken, at+"&bodySHA256=00", url.Values{})), 403, event.Forged},
			"a tampered body":       {post(query, tampered.Encode(), sig, right), 403, event.Forged},
			"a field more":          {post(query, form.Encode()+"&x=y", sig, right), 403, event.Forged},
			"another host, signed":  {post(query, form.Encode(), sig, twiliotest.Sign(twilioToken, strings.Replace(at, "login.", "evil.", 1), form)), 403, event.Forged},
			"the request's host":    {post(query, form.Encode(), "Host", "evil.example.com", sig, twiliotest.Sign(twilioToken, "https://evil.example.com/mfa/receipts?"+query, form)), 403, event.Forged},
			"plain http":            {post(query, form.Encode(), sig, twiliotest.Sign(twilioToken, strings.Replace(at, "https", "http", 1), form)), 403, event.Forged},
			"another account":       {post(query, stranger.Encode(), sig, twiliotest.Sign(twilioToken, at, stranger)), 403, event.Forged},
			"JSON":                  {post(query, `{"MessageStatus":"delivered"}`, sig, right, "Content-Type", "application/json"), 403, event.Forged},
			"a field twice":         {post(query, twice, sig, right), 403, event.Ambiguous},
			"a body of no form":     {post(query, "a=%zz", sig, right), 403, event.Ambiguous},
			"too large":             {post(query, form.Encode()+"&x="+strings.Repeat("y", sms.MaxReport), sig, right), 413, event.TooLarge},
			"by GET":                {(&client{w: w, cookies: map[string]string{}}).do(http.MethodGet, "/mfa/receipts?"+query, "", sig, right), 405, event.Denied},
			"by PUT":                {(&client{w: w, cookies: map[string]string{}}).do(http.MethodPut, "/mfa/receipts?"+query, form.Encode(), sig, right), 405, event.Denied},
			"with a session's page": {c.copy().post("/mfa/receipts?"+query, form), 403, event.Forged},
		} {
			if tc.answer.status != tc.status || tc.answer.body != "" {
				t.Errorf("%s: %d %q", name, tc.answer.status, tc.answer.body)
			}
			if w.events.count(event.Receipt, tc.reason) == 0 {
				t.Errorf("%s: %s is not counted", name, tc.reason)
			}
		}
		if n := w.events.count(event.Receipt, ""); n != 22 {
			t.Errorf("%d of 22 are counted\n%s", n, w.events)
		}
		if got := c.text(); got.State != sms.Sent {
			t.Errorf("a forged report counts: %+v", got)
		}
		if w.store.wrote("r:") || w.store.wrote("n:") {
			t.Error("a forged report is in the store")
		}
		all := w.events.String()
		for _, secret := range []string{numbers["alice"], query, query[4:], sidOf(1), right} {
			if strings.Contains(all, secret) {
				t.Errorf("D7: an event holds %q", secret)
			}
		}
		// The same report, unharmed, is believed: nothing above was refused for
		// another reason.
		if code := w.report(0, at, form); code != http.StatusNoContent || c.text().Reason != event.NumberDead {
			t.Errorf("%d %+v", code, c.text())
		}
	})
}

// TestAttack_H8_ReplayedReportsChangeNothing: a report that somebody has kept is
// worth nothing when its text is no longer waited for.
func TestAttack_H8_ReplayedReportsChangeNothing(t *testing.T) {
	t.Parallel()
	over(t, 1, 0, false, func(t *testing.T, w *world, p *provider) {
		c := w.browser()
		c.login("alice", passwords["alice"])
		at, dead := p.callback(t), reportOf("undelivered", "30005")
		w.report(0, at, dead)
		if w.report(0, at, dead); w.events.count(event.Receipt, event.Known) != 1 {
			t.Errorf("the replay was news\n%s", w.events)
		}
		c.code(p.code(t)).in("alice") // the number works, whatever was said
		w.report(0, at, dead)
		w.store.ahead.Store(int64(time.Hour))
		if code := w.report(0, at, dead); code != http.StatusNoContent || w.events.count(event.Receipt, event.TooLate) != 1 {
			t.Errorf("%d\n%s", code, w.events)
		}
		w.store.ahead.Store(0)
		d := w.browser()
		if d.login("alice", passwords["alice"]); len(p.sent()) != 2 {
			t.Errorf("a replay has marked the number: %d texts", len(p.sent()))
		}
	})
}

// TestNothingIsAskedWhereNobodyReports: senders without reports cost nothing.
func TestNothingIsAskedWhereNobodyReports(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		c := w.browser()
		c.login("alice", passwords["alice"])
		if c.post("/mfa/receipts?ref="+strings.Repeat("0", 32), reportOf("delivered", "")); c.status != http.StatusNotFound {
			t.Errorf("the route is there: %d", c.status)
		}
		if got := c.text(); got != (page.Delivery{}) {
			t.Errorf("%+v", got)
		}
		if c.get("/mfa"); strings.Contains(c.body, `id="delivery"`) {
			t.Error("the page has a line for it")
		}
		c.code(w.phones.last(t, "alice")).in("alice")
		if w.store.wrote("r:") || w.store.wrote("n:") || w.store.asked("r:") || w.store.asked("n:") {
			t.Error("the store was asked")
		}
		if w.phones.texts[0].Ref != "" {
			t.Error("the text has a reference")
		}
	})
}

func TestMarkedNumbersGetTextsOnlyOnRequest(t *testing.T) {
	t.Parallel()
	over(t, 2, 0, false, func(t *testing.T, w *world, p *provider) {
		c := w.browser()
		c.login("alice", passwords["alice"])
		w.report(0, p.callback(t), reportOf("undelivered", "30005"))
		// Its page has said so: its button sends.
		w.store.ahead.Store(int64(31 * time.Second))
		if c.post("/mfa/resend", url.Values{"secondfactorauthenticationtoken": {c.token()}}); c.status != http.StatusOK || len(p.sent()) != 2 {
			t.Fatalf("%d, %d texts", c.status, len(p.sent()))
		}
		if c.post("/mfa/cancel", url.Values{"secondfactorauthenticationtoken": {c.token()}}); c.status != http.StatusSeeOther {
			t.Fatal(c.status)
		}
		operator := flow.Operator{App: "Test", User: "alice"}
		if u, err := w.gates[0].Flow.Show(t.Context(), operator); err != nil || u.Mark == nil || u.Mark.Why != event.NumberDead {
			t.Errorf("the operator sees %+v, %v", u.Mark, err)
		}
		// The next login sends nothing and says why; its button sends.
		d := w.browser()
		d.node = 1
		if d.login("alice", passwords["alice"]); d.status != http.StatusSeeOther || len(p.sent()) != 2 {
			t.Fatalf("%d, %d texts", d.status, len(p.sent()))
		}
		if w.events.count(event.Send, event.NumberDead) != 1 {
			t.Errorf("it is not told\n%s", w.events)
		}
		for range 15 { // what is not sent is not counted
			w.browser().login("alice", passwords["alice"])
		}
		token := d.token()
		if !strings.Contains(d.body, "unknown or not in use") || !strings.Contains(d.body, `action="/mfa/resend"`) || strings.Contains(d.body, `name="otp"`) {
			t.Fatalf("%s", d.body)
		}
		if d.post("/mfa/resend", url.Values{"secondfactorauthenticationtoken": {token}}); d.status != http.StatusOK || len(p.sent()) != 3 {
			t.Fatalf("%d, %d texts\n%s", d.status, len(p.sent()), d.body)
		}
		// A right code from there takes the mark away.
		d.code(p.code(t)).in("alice")
		if u, err := w.gates[0].Flow.Show(t.Context(), operator); err != nil || u.Mark != nil {
			t.Errorf("the operator sees %+v, %v", u.Mark, err)
		}
		e := w.browser()
		if e.login("alice", passwords["alice"]); len(p.sent()) != 4 {
			t.Errorf("%d texts after the mark was taken away", len(p.sent()))
		}
		if dump := w.store.dump(); strings.Contains(dump, numbers["alice"]) {
			t.Error("the number lies in the store")
		}
	})
}

// TestMarkedNumbersInTheSettings: a confirmation is explained first as well, and
// the page does not keep a verified session alive.
func TestMarkedNumbersInTheSettings(t *testing.T) {
	t.Parallel()
	over(t, 1, 0, false, func(t *testing.T, w *world, p *provider) {
		c := w.browser()
		c.login("alice", passwords["alice"])
		at := p.callback(t)
		c.code(p.code(t)).in("alice")
		w.report(0, at, reportOf("undelivered", "30006"))
		confirm := func() *client {
			w.store.ahead.Store(int64(20 * time.Minute))
			return c.post("/mfa/settings/confirm", url.Values{"for": {"codes"}, "secondfactorauthenticationtoken": {token(t, c)}})
		}
		if confirm(); c.status != http.StatusBadRequest || len(p.sent()) != 1 || !strings.Contains(c.body, "not a mobile phone") {
			t.Fatalf("%d, %d texts\n%s", c.status, len(p.sent()), c.body)
		}
		if confirm(); c.status != http.StatusSeeOther || len(p.sent()) != 2 {
			t.Fatalf("%d, %d texts\n%s", c.status, len(p.sent()), c.body)
		}
		c.get("/mfa/settings/confirm?for=codes")
		if !strings.Contains(c.body, `id="delivery"`) || strings.Contains(c.body, "data-status") {
			t.Errorf("%s", c.body)
		}
		if got := c.text(); got.State != sms.Sent {
			t.Errorf("%+v", got)
		}
	})
}

// token reads the token of a page of the settings.
func token(t *testing.T, c *client) string {
	t.Helper()
	c.get("/mfa/settings/confirm?for=codes")
	m := tokenField.FindStringSubmatch(c.body)
	if m == nil {
		t.Fatalf("no token: %d %s", c.status, c.body)
	}
	return m[1]
}

// TestMarkedNumbersOfProgramsGetTextsOnlyOnRequest: a program asks with resend.
func TestMarkedNumbersOfProgramsGetTextsOnlyOnRequest(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		p := newProvider(t)
		w := apiWorld(t, open(t), 1, p.reporting(t, 0, nil))
		login := func() object {
			return w.browser().call("POST", "/auth/login/2fa", "", `{"username":"alice","password":"pw-a"}`)["SecondFactorAuthentication"].(object)
		}
		status, _ := login()["OTPStatus"].(object)
		if status["Sid"] != sidOf(1) {
			t.Errorf("%v", status)
		}
		w.report(0, p.callback(t), reportOf("failed", "30005"))
		if status := login()["OTPStatus"]; status != nil || len(p.sent()) != 1 {
			t.Errorf("%v, %d texts", status, len(p.sent()))
		}
	})
}

func TestRefusalsMarkNumbers(t *testing.T) {
	t.Parallel()
	over(t, 1, 0, false, func(t *testing.T, w *world, p *provider) {
		p.refuse = 21610
		c := w.browser()
		c.login("alice", passwords["alice"])
		if c.get("/mfa"); !strings.Contains(c.body, "Reply START") {
			t.Fatalf("%s", c.body)
		}
		if got := c.text(); got.State != sms.Failed || got.Reason != event.OptedOut {
			t.Errorf("%+v", got)
		}
		d := w.browser()
		if d.login("alice", passwords["alice"]); len(p.sent()) != 1 {
			t.Errorf("%d texts", len(p.sent()))
		}
		for k, o := range w.store.puts() {
			if strings.HasPrefix(k, "n:") && o.TTL != 24*time.Hour {
				t.Errorf("an opt-out is believed for %s", o.TTL)
			}
		}
		p.refuse = 0
		if d.post("/mfa/resend", url.Values{"secondfactorauthenticationtoken": {d.token()}}); d.status != http.StatusOK || len(p.sent()) != 2 {
			t.Errorf("%d, %d texts", d.status, len(p.sent()))
		}
	})
}

// TestWithoutACallbackNothingIsKnownOfATextButItsRefusal.
func TestWithoutACallbackNothingIsKnownOfATextButItsRefusal(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		p := newProvider(t)
		w := newWorld(t, open(t), 1, newLegacy(), func(g *gate.Gate, _ *login.Config) {
			s, err := twilio.New(twilio.Config{AccountSID: twilioAccount, AuthToken: twilioToken, From: "+447700900000", APIURL: p.URL})
			if err != nil {
				t.Fatal(err)
			}
			chain := sms.NewChain(sms.Named{Name: "twilio", Sender: s})
			g.Flow.SMS, g.Flow.Receipts = chain, chain
		})
		c := w.browser()
		c.login("bob", passwords["bob"])
		if got := c.text(); got != (page.Delivery{}) || w.store.asked("r:") || p.sent()[0].Has("StatusCallback") {
			t.Errorf("%+v", got)
		}
		if c.post("/mfa/receipts?ref="+strings.Repeat("0", 32), reportOf("delivered", "")); c.status != http.StatusNotFound {
			t.Errorf("the route is there: %d", c.status)
		}
		p.refuse = 21610
		c.login("alice", passwords["alice"])
		if c.login("alice", passwords["alice"]); len(p.sent()) != 2 {
			t.Errorf("%d texts", len(p.sent()))
		}
	})
}

func TestMarkedNumbersAreExplainedWhenTheyAreGiven(t *testing.T) {
	t.Parallel()
	self := func(g *gate.Gate, _ *login.Config) { g.Flow.Directory, g.Site.Enroll = nil, flow.Self }
	over(t, 1, 0, false, func(t *testing.T, w *world, p *provider) {
		p.refuse = 21614
		give := func(c *client) *client {
			return c.post("/mfa/phone", url.Values{"phoneno2fa": {numbers["alice"]}, "secondfactorauthenticationtoken": {c.token()}})
		}
		c := w.browser()
		c.login("alice", passwords["alice"])
		if give(c); c.status != http.StatusBadRequest || len(p.sent()) != 1 || !strings.Contains(c.body, "not a mobile phone") {
			t.Fatalf("%d, %d texts\n%s", c.status, len(p.sent()), c.body)
		}
		p.refuse = 0
		d := w.browser()
		d.login("bob", passwords["bob"])
		if give(d); d.status != http.StatusBadRequest || len(p.sent()) != 1 || !strings.Contains(d.body, "not a mobile phone") || !strings.Contains(d.body, `name="phoneno2fa"`) {
			t.Fatalf("%d, %d texts\n%s", d.status, len(p.sent()), d.body)
		}
		if give(d); d.status != http.StatusOK || len(p.sent()) != 2 {
			t.Fatalf("who asks again: %d, %d texts\n%s", d.status, len(p.sent()), d.body)
		}
		d.code(p.code(t)).in("bob")
	}, self)
}

// TestAttack_I4_TextsWithoutAReceiptGoByTheNextProvider, once, with the same code.
func TestAttack_I4_TextsWithoutAReceiptGoByTheNextProvider(t *testing.T) {
	t.Parallel()
	const patience = 300 * time.Millisecond
	over(t, 2, patience, true, func(t *testing.T, w *world, p *provider) {
		second := func(n int) {
			t.Helper()
			for end := time.Now().Add(5 * time.Second); w.phones.count() < n && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(2 * patience)
			if got := w.phones.count(); got != n {
				t.Fatalf("%d texts by the second provider, not %d\n%s", got, n, w.events)
			}
		}
		c := w.browser()
		c.login("alice", passwords["alice"])
		first := p.callback(t)
		second(1)
		if w.phones.last(t, "alice") != p.code(t) {
			t.Fatal("another code")
		}
		if n := w.events.count(event.SentAgain, event.Sent); n != 1 {
			t.Errorf("%d events", n)
		}
		// What became of the first copy is not what became of the text.
		w.report(0, first, reportOf("undelivered", "30008"))
		if got := c.text(); got.State != sms.Sent {
			t.Errorf("the copy is under way: %+v", got)
		}
		second(1)
		w.report(1, first, reportOf("delivered", ""))
		c.code(p.code(t)).in("alice")

		// A receipt in time, at any node, and nothing more is sent.
		d := w.browser()
		d.login("bob", passwords["bob"])
		bobs := reportOf("delivered", "")
		bobs.Set("To", numbers["bob"])
		w.report(1, p.callback(t), bobs)
		second(1)
		if d.text().State != sms.Delivered {
			t.Errorf("%+v", d.text())
		}

		// Of two texts of one challenge only the newest is sent again.
		x := w.browser()
		x.login("alice", passwords["alice"])
		w.store.ahead.Add(int64(31 * time.Second))
		if x.post("/mfa/resend", url.Values{"secondfactorauthenticationtoken": {x.token()}}); x.status != http.StatusOK {
			t.Fatalf("%d\n%s", x.status, x.body)
		}
		second(2)
		x.code(p.code(t)).in("alice")

		// A challenge that is over gets nothing more.
		e := w.browser()
		e.login("bob", passwords["bob"])
		e.code(p.code(t)).in("bob")
		second(2)
	})
}

func TestFailedTextsGoByTheNextProviderAtOnce(t *testing.T) {
	t.Parallel()
	over(t, 1, time.Hour, true, func(t *testing.T, w *world, p *provider) {
		fails := func(code string) *client {
			c := w.browser()
			c.login("alice", passwords["alice"])
			w.report(0, p.callback(t), reportOf("failed", code))
			time.Sleep(200 * time.Millisecond)
			return c
		}
		if fails("30008"); w.phones.count() != 1 {
			t.Fatalf("%d texts\n%s", w.phones.count(), w.events)
		}
		// Whom the provider takes for a fraud, and a number that is dead, get nothing.
		if fails("30450"); w.phones.count() != 1 {
			t.Fatalf("%d texts after 30450", w.phones.count())
		}
		if fails("30006"); w.phones.count() != 1 {
			t.Fatalf("%d texts after 30006", w.phones.count())
		}
	})
}

// TestCopiesCountAgainstTheLimits: a copy is a text.
func TestCopiesCountAgainstTheLimits(t *testing.T) {
	t.Parallel()
	over(t, 1, time.Hour, true, func(t *testing.T, w *world, p *provider) {
		// The first arrives, five do not: eleven texts, and ten in 24 hours are allowed.
		for i := range 6 {
			c := w.browser()
			c.login("alice", passwords["alice"])
			if i == 0 {
				w.report(0, p.callback(t), reportOf("delivered", ""))
				continue
			}
			w.report(0, p.callback(t), reportOf("failed", "30008"))
			for end := time.Now().Add(5 * time.Second); w.events.count(event.SentAgain, "") < i && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
		}
		if len(p.sent()) != 6 || w.phones.count() != 4 || w.events.count(event.SentAgain, event.UserLimit) != 1 {
			t.Errorf("%d and %d texts\n%s", len(p.sent()), w.phones.count(), w.events)
		}
		c := w.browser()
		c.login("alice", passwords["alice"])
		if got := c.text(); len(p.sent()) != 6 || got.Reason != event.UserLimit {
			t.Errorf("%d texts, %+v", len(p.sent()), got)
		}
	})
}

// TestTheProvidersIdOfATextIsTold, where LoginRadius tells it.
func TestTheProvidersIdOfATextIsTold(t *testing.T) {
	t.Parallel()
	over(t, 1, 0, false, func(t *testing.T, w *world, p *provider) {
		c := w.browser()
		c.post("/api/login", url.Values{"user": {"alice"}, "password": {passwords["alice"]}}, "Accept", "application/json")
		var owed struct {
			SecondFactorAuthentication struct{ OTPStatus *page.SMS }
		}
		if err := json.Unmarshal([]byte(c.body), &owed); err != nil {
			t.Fatalf("%v: %s", err, c.body)
		}
		if s := owed.SecondFactorAuthentication.OTPStatus; s == nil || s.Sid != sidOf(1) || s.AccountSid == "" {
			t.Errorf("%+v", s)
		}
		w.store.ahead.Store(int64(time.Minute))
		var again page.SMS
		c.do(http.MethodPost, "/mfa/resend", "{}", "Accept", "application/json", "Content-Type", "application/json")
		if err := json.Unmarshal([]byte(c.body), &again); err != nil || again.Sid != sidOf(2) {
			t.Errorf("%v: %s", err, c.body)
		}
	})
}

// TestMarksCostNoRoundTrip: the look for a mark goes with the challenge.
func TestMarksCostNoRoundTrip(t *testing.T) {
	t.Parallel()
	over(t, 1, time.Hour, true, func(t *testing.T, w *world, p *provider) {
		w.browser().signInBy("alice", p) // whose number the gate has not met before
		since := w.answers()
		var trips atomic.Int64
		p.early = func(url.Values) { trips.Store(since()) }
		if w.browser().login("alice", passwords["alice"]); trips.Load() != 1 {
			t.Errorf("%d round trips between the application's answer and the text", trips.Load())
		}
		if !w.store.asked("n:") {
			t.Error("nobody has looked for a mark")
		}
	})
}

// signInBy is signIn with the code that the provider has sent.
func (c *client) signInBy(user string, p *provider) {
	c.w.t.Helper()
	c.login(user, passwords[user])
	c.code(p.code(c.w.t)).in(user)
}

// TestPollingExtendsNothing: the page's script asks for the status.
func TestPollingExtendsNothing(t *testing.T) {
	t.Parallel()
	over(t, 1, 0, false, func(t *testing.T, w *world, _ *provider) {
		c := w.browser()
		c.login("alice", passwords["alice"])
		before := len(w.store.dump())
		for range 6 {
			c.text()
			if c.head.Get("Set-Cookie") != "" {
				t.Fatal("the status gives a handle")
			}
		}
		if len(w.store.dump()) != before {
			t.Error("asking writes")
		}
	})
}
