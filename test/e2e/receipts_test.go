package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/test/demoapp"
	twiliotest "github.com/caddymfa/caddymfa/test/twilio"
)

// TestReceiptsThroughTwilio goes from a login to "on your phone", and, for a text
// that failed, to the next provider. The reports are posted and signed by the
// stand-in.
func TestReceiptsThroughTwilio(t *testing.T) {
	tw := twiliotest.Start(t)
	app := httptest.NewServer(demoapp.New())
	t.Cleanup(app.Close)
	port := freePort(t)
	second := newPhones(t)
	g := startGate(t, port, app.Listener.Addr().String(), directoryBlock, fmt.Sprintf(`sms twilio {
			account_sid %s
			auth_token %s
			from %s
			api_url %s
			status_callback %s/mfa/receipts
			receipt_timeout 5s
		}
		sms webhook %s`, tw.AccountSID, tw.AuthToken, tw.From, tw.URL, siteURL(port), second.URL))
	newest := func(number string) twiliotest.Message {
		t.Helper()
		all := tw.Messages(number)
		if len(all) == 0 {
			t.Fatal("no text")
		}
		return all[len(all)-1]
	}

	b := g.browser(t)
	b.password("alice", alicePassword).mustHave(codePage)
	b.get("/mfa/status").mustHave(`"state":"sent"`)
	alices := newest(alicePhone)
	tw.Report(alices.SID, "sent")
	b.get("/mfa/status").mustHave(`"state":"sent"`)
	tw.Report(alices.SID, "delivered")
	b.get("/mfa/status").mustHave(`"state":"delivered"`)
	b.get("/mfa").mustHave("The text is on your phone.")
	// Somebody who only claims to be Twilio.
	res, err := http.PostForm(g.url+"/mfa/receipts?ref="+strings.Repeat("0", 32), url.Values{"MessageSid": {alices.SID}, "MessageStatus": {"failed"}, "AccountSid": {tw.AccountSID}})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("a forged report is answered %s", res.Status)
	}
	b.get("/mfa").mustHave("The text is on your phone.")
	alicesCode := tw.LastCode(alicePhone)
	b.code(alicesCode).mustHave(demoapp.Marker + " of alice")

	c := g.browser(t)
	c.password("bob", demoapp.Users["bob"]).mustHave(codePage)
	bobs := newest(bobPhone)
	tw.Report(bobs.SID, "undelivered")
	var got string
	for end := time.Now().Add(5 * time.Second); got == "" && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got, _ = second.code(bobPhone)
	}
	if got == "" || got != tw.LastCode(bobPhone) {
		t.Fatalf("the second provider has sent %q", got)
	}
	c.get("/mfa").code(got).mustHave(demoapp.Marker + " of bob")
	time.Sleep(5500 * time.Millisecond) // and nothing more when its time is over
	if n := second.count(); n != 1 {
		t.Errorf("%d texts by the second provider", n)
	}

	// What waits ends with its configuration: nothing of an old one acts on.
	g.browser(t).password("alice", alicePassword).mustHave(codePage)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	reload := exec.Command(bin, "reload", "--force", "--config", g.config, "--adapter", "caddyfile", "--address", "unix/"+filepath.Join(g.dir, "admin.sock"))
	reload.Env = append(os.Environ(), "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir)
	if out, err := reload.CombinedOutput(); err != nil {
		t.Fatalf("reload: %v\n%s", err, lastLines(string(out), 3))
	}
	time.Sleep(5500 * time.Millisecond)
	if n := second.count(); n != 1 {
		t.Errorf("%d texts by the second provider after the reload", n)
	}

	all := g.log.String()
	for _, event := range []string{`"msg":"receipt"`, `"reason":"delivered"`, `"reason":"forged"`, `"reason":"undelivered"`, `"msg":"sent_again"`} {
		if !strings.Contains(all, event) {
			t.Errorf("%s is not in the log", event)
		}
	}
	for _, secret := range []string{alicePhone, alicePhone[1:], bobPhone[1:], alicesCode, got, tw.AuthToken, alices.SID, bobs.SID, "ref="} {
		if i := strings.Index(all, secret); i >= 0 {
			t.Errorf("D7: %q is in the log: %.300s", secret, all[max(0, i-200):])
		}
	}
}

// TestBrowserIsToldOfReceipts watches the code page in Chromium.
func TestBrowserIsToldOfReceipts(t *testing.T) {
	tw := twiliotest.Start(t)
	app := httptest.NewServer(demoapp.New())
	t.Cleanup(app.Close)
	port := freePort(t)
	g := startGate(t, port, app.Listener.Addr().String(), directoryBlock, fmt.Sprintf("sms twilio {\n\t\t\taccount_sid %s\n\t\t\tauth_token %s\n\t\t\tfrom %s\n\t\t\tapi_url %s\n\t\t\tstatus_callback %s/mfa/receipts\n\t\t}",
		tw.AccountSID, tw.AuthToken, tw.From, tw.URL, siteURL(port)))
	report := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		all := tw.Messages(alicePhone)
		tw.Report(all[len(all)-1].SID, r.FormValue("status"))
	}))
	t.Cleanup(report.Close)
	runChromium(t, "receipts.mjs", g.url, report.URL)
}
