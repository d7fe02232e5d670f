package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/test/demoapp"
	"github.com/caddymfa/caddymfa/test/servers"
	twiliotest "github.com/caddymfa/caddymfa/test/twilio"
)

// demo is the gate in front of the demo application.
func demo(t *testing.T, block, global string) (*gate, *demoapp.App) {
	t.Helper()
	app := demoapp.New()
	srv := httptest.NewServer(app)
	t.Cleanup(srv.Close)
	return startGate(t, freePort(t), srv.Listener.Addr().String(), block, global), app
}

// demoServer is the demo application alone.
func demoServer(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(demoapp.New())
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// directoryBlock is demoBlock with the directory's numbers.
var directoryBlock = strings.Replace(demoBlock, "enroll self", "enroll directory", 1)

func (b *browser) password(user, password string) *browser {
	b.t.Helper()
	return b.get("/login").submit(url.Values{"user": {user}, "password": {password}})
}

func TestDemoOverRedis(t *testing.T) {
	srv := servers.Redis(t)
	g, _ := demo(t, directoryBlock, "store redis "+srv.URL+"\n\t\tsecret a-secret-of-the-tests-with-32-bytes-or-more")
	b := g.browser(t)
	b.password("alice", alicePassword).code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker + " of alice")
	srv.Kill()
	time.Sleep(1200 * time.Millisecond)
	if b.get("/"); b.page.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("without Redis: %d", b.page.StatusCode)
	}
	b.mustNotHave(demoapp.Marker)
}

func TestTextsGoThroughTwilio(t *testing.T) {
	tw := twiliotest.Start(t)
	app := httptest.NewServer(demoapp.New())
	t.Cleanup(app.Close)
	const phone = "+12015550123"
	g := startGate(t, freePort(t), app.Listener.Addr().String(), strings.Replace(demoBlock, "enroll self", "enroll self", 1), "sms twilio {\n\t\t\taccount_sid "+tw.AccountSID+
		"\n\t\t\tauth_token "+tw.AuthToken+"\n\t\t\tfrom "+tw.From+"\n\t\t\tapi_url "+tw.URL+"\n\t\t}")
	b := g.browser(t)
	b.password("alice", alicePassword).mustHave(`name="phoneno2fa"`)
	b.submit(url.Values{"phoneno2fa": {phone}}).mustHave(codePage)
	messages := tw.Messages(phone)
	if len(messages) != 1 || !strings.Contains(messages[0].Body, "Payroll") {
		t.Fatalf("%+v", messages)
	}
	b.code(tw.LastCode(phone)).mustHave(demoapp.Marker + " of alice")
	if all := g.log.String(); strings.Contains(all, phone) || strings.Contains(all, tw.LastCode(phone)) || strings.Contains(all, tw.AuthToken) {
		t.Fatal("the log holds the number, the code or the token")
	}
}

func TestCodesGoThroughTwilioVerifyAndNoticesThroughTheNext(t *testing.T) {
	tw := twiliotest.Start(t)
	app := httptest.NewServer(demoapp.New())
	t.Cleanup(app.Close)
	const phone = "+12015550124"
	credentials := "\n\t\t\taccount_sid " + tw.AccountSID + "\n\t\t\tapi_key " + tw.APIKeySID + " " + tw.APIKeySecret
	g := startGate(t, freePort(t), app.Listener.Addr().String(), demoBlock, "sms twilio_verify {"+credentials+"\n\t\t\tservice "+tw.VerifyService+
		"\n\t\t\tapi_url "+tw.VerifyURL+"\n\t\t}\n\t\tsms twilio {"+credentials+"\n\t\t\tfrom "+tw.From+"\n\t\t\tapi_url "+tw.URL+"\n\t\t}")
	b := g.browser(t)
	b.password("alice", alicePassword)
	b.submit(url.Values{"phoneno2fa": {phone}}).mustHave(codePage)
	code, status := tw.Verification(phone)
	if status != "pending" || len(tw.Messages(phone)) != 0 {
		t.Fatalf("the Verification is %q, beside %d messages", status, len(tw.Messages(phone)))
	}
	b.code(code).mustHave(demoapp.Marker + " of alice")
	wrong := g.browser(t)
	wrong.password("alice", alicePassword).mustHave(codePage)
	for range 10 { // which locks, and tells the owner
		wrong.code(strings.Map(func(c rune) rune { return '0' + (c-'0'+1)%10 }, code))
		if !wrong.has(codePage) { // five tries a challenge
			wrong = g.browser(t)
			wrong.password("alice", alicePassword)
		}
	}
	notices := tw.Messages(phone)
	if len(notices) != 1 || !strings.Contains(notices[0].Body, "too many wrong codes") {
		t.Fatalf("notices: %+v", notices)
	}
	if all := g.log.String(); strings.Contains(all, phone) || strings.Contains(all, code) || strings.Contains(all, tw.APIKeySecret) {
		t.Fatal("the log holds the number, the code or the secret")
	}
}

func TestValidateAndReloadBesideARunningServer(t *testing.T) {
	g, _ := demo(t, directoryBlock, "")
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	b := g.browser(t)
	b.password("alice", alicePassword).code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker)
	run := func(args ...string) (string, error) {
		cmd := exec.Command(bin, args...)
		cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("validate", "--config", g.config, "--adapter", "caddyfile"); err != nil {
		t.Fatalf("validate: %v\n%s", err, lastLines(out, 3))
	}
	var requests, lost atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			requests.Add(1)
			res, err := b.http.Get(g.url + "/")
			if err != nil {
				// Caddy gives every configuration a socket of its own, and a
				// connection that the kernel has put into the old one's queue ends
				// with it: plain Caddy loses these too. A browser asks again.
				lost.Add(1)
				res, err = b.http.Get(g.url + "/")
			}
			if err != nil {
				t.Errorf("request %d was lost twice: %v", requests.Load(), err)
				continue
			}
			if res.StatusCode != http.StatusOK {
				t.Errorf("request %d: %d", requests.Load(), res.StatusCode)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}()
	text, _ := os.ReadFile(g.config)
	const reloads = 5
	for i := range reloads {
		changed := strings.Replace(string(text), "\tlog\n", strings.Repeat("\tlog\n", 1)+"\theader X-Reload "+strings.Repeat("x", i+1)+"\n", 1)
		if err := os.WriteFile(g.config, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run("reload", "--config", g.config, "--adapter", "caddyfile", "--address", "unix/"+filepath.Join(g.dir, "admin.sock")); err != nil {
			t.Fatalf("reload: %v\n%s", err, lastLines(out, 3))
		}
	}
	// A broken configuration is refused, and the old, guarded one stays (attack I1).
	if err := os.WriteFile(g.config, []byte(strings.Replace(string(text), "directory file", "directory file /no", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run("reload", "--config", g.config, "--adapter", "caddyfile", "--address", "unix/"+filepath.Join(g.dir, "admin.sock")); err == nil {
		t.Fatal("a broken configuration was loaded")
	}
	close(stop)
	<-done
	if lost.Load() > reloads || requests.Load() < 50 { // one connection waits at a time, so one may be lost at a reload
		t.Fatalf("%d of %d requests lost their connection in %d reloads", lost.Load(), requests.Load(), reloads)
	}
	b.get("/").mustHave(demoapp.Marker)
	g.browser(t).get("/").mustNotHave(demoapp.Marker)
}

func TestAttack_I1_BrokenConfigurationsAreRefusedAndTheOldOneStays(t *testing.T) {
	g, _ := demo(t, directoryBlock, "")
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	b := g.browser(t)
	b.password("alice", alicePassword).code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker)
	text, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"missing directory":   {"directory file", "directory file /no"},
		"broken directory":    {"directory file " + g.dir + "/numbers", "directory file " + g.config},
		"missing secret":      {"countries", "secret {file./no/such/file}\n\t\tcountries"},
		"short secret":        {"countries", "secret short\n\t\tcountries"},
		"unknown preset":      {"app \"Payroll\"", "preset nothing"},
		"no sender":           {"sms webhook " + g.phones.URL, ""},
		"store in a file":     {"store embedded " + g.dir, "store embedded " + g.config},
		"store with no place": {"store embedded " + g.dir, "store embedded /proc/no/such/place"},
		"bad expression":      {"([^<]+)", "("},
		"no login":            {"login form {\n\t\t\tpath /login\n", "login form {\n"},
		"path for the gate":   {"\tmfa {\n\n", "\tmfa /admin/* {\n\n"},
	} {
		broken := strings.Replace(string(text), change[0], change[1], 1)
		if broken == string(text) {
			t.Fatalf("%s: nothing was changed in\n%s", name, text)
		}
		if err := os.WriteFile(g.config, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bin, "reload", "--config", g.config, "--adapter", "caddyfile", "--address", "unix/"+filepath.Join(g.dir, "admin.sock"))
		if err := cmd.Run(); err == nil {
			t.Errorf("%s: it was loaded", name)
		}
		g.browser(t).get("/").mustNotHave(demoapp.Marker)
	}
	b.get("/").mustHave(demoapp.Marker)
}

func TestSecondProcessIsToldWhatToDo(t *testing.T) {
	g, _ := demo(t, directoryBlock, "")
	bin, _ := binary()
	text, _ := os.ReadFile(g.config)
	other := filepath.Join(g.dir, "other")
	_ = os.WriteFile(other, []byte(strings.NewReplacer("admin.sock", "admin2.sock", g.url, "http://127.0.0.1:"+"0").Replace(string(text))), 0o600)
	cmd := exec.Command(bin, "run", "--config", other, "--adapter", "caddyfile")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "store redis") {
		t.Fatalf("%v\n%s", err, lastLines(string(out), 3))
	}
}

// TestKilledGateAcceptsNothingThatWasRefused kills the process at several
// points of a sign-in and starts it again.
func TestKilledGateAcceptsNothingThatWasRefused(t *testing.T) {
	g, _ := demo(t, directoryBlock, "")
	bin, _ := binary()
	again := func() {
		_ = g.cmd.Process.Kill()
		_ = g.cmd.Wait()
		g.run(t, bin)
	}
	wrong := func(right string) string {
		if right == "000000" {
			return "000001"
		}
		return "000000"
	}

	b := g.browser(t)
	b.password("alice", alicePassword)
	right := g.phones.last(t, alicePhone)
	again() // the challenge is durable; nothing opens
	b.get("/").mustNotHave(demoapp.Marker)
	b.get("/mfa").mustHave(codePage)
	for range 3 {
		b.get("/mfa").code(wrong(right))
	}
	again() // tries are
	for range 2 {
		b.get("/mfa").code(wrong(right))
	}
	b.mustNotHave(codePage)
	b.get("/mfa")
	if b.has(codePage) {
		t.Fatal("more than five tries")
	}

	c := g.browser(t)
	c.password("alice", alicePassword)
	right = g.phones.last(t, alicePhone)
	c.get("/mfa")
	page := c.body
	c.code(right).mustHave(demoapp.Marker)
	again() // a verified session lives on, a used code does not
	c.get("/").mustHave(demoapp.Marker)
	d := g.browser(t)
	d.page, d.body = c.page, page
	d.code(right).mustNotHave(demoapp.Marker)

	c.get("/logout")
	again() // an ended session stays ended
	c.get("/").mustNotHave(demoapp.Marker)
}

func TestAttack_D7_DebugLogHoldsNoSecret(t *testing.T) {
	g, _ := demo(t, directoryBlock, "")
	b := g.browser(t)
	b.get("/login?user=alice&password=" + alicePassword)
	b.password("alice", "wrong-"+alicePassword)
	b.password("alice", alicePassword)
	code := g.phones.last(t, alicePhone)
	b.code(code).mustHave(demoapp.Marker)
	b.get("/home;jsessionid=session-in-the-path")
	all := g.log.String()
	if !strings.Contains(all, `"logger":"mfa"`) {
		t.Fatal("no log")
	}
	for _, secret := range []string{alicePassword, code, alicePhone, alicePhone[3:]} {
		if i := strings.Index(all, secret); i >= 0 {
			t.Errorf("%q is in the log: %.300s", secret, all[max(0, i-200):])
		}
	}
}
