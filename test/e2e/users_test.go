package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/test/demoapp"
)

// manage runs "caddymfa mfa users …" against a running gate.
func (g *gate) manage(t *testing.T, args ...string) (string, error) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, append(append([]string{"mfa", "users"}, args...), "--address", "unix/"+g.dir+"/admin.sock", "--by", "carol")...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (g *gate) mustManage(t *testing.T, args ...string) string {
	t.Helper()
	out, err := g.manage(t, args...)
	if err != nil {
		t.Fatalf("users %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// admin asks the admin endpoint itself.
func (g *gate) admin(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", g.dir+"/admin.sock")
	}}}
	defer c.CloseIdleConnections()
	req, err := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestOperatorsInviteUsers(t *testing.T) {
	g, _ := demo(t, strings.Replace(demoBlock, "enroll self", "enroll invite", 1), "")
	b := g.browser(t)
	if b.password("alice", alicePassword); b.page.StatusCode != http.StatusForbidden || !b.has("You need an invitation") || b.has(demoapp.Marker) {
		t.Errorf("%d %s", b.page.StatusCode, b.body)
	}
	code := regexp.MustCompile(`(?m)^code +(\S+)$`).FindStringSubmatch(g.mustManage(t, "invite", "Alice"))
	if code == nil {
		t.Fatal("no code")
	}
	b = g.browser(t)
	b.password("alice", alicePassword).submit(url.Values{"invite": {code[1]}}).submit(url.Values{"phoneno2fa": {alicePhone}})
	b.code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker + " of alice")
	if out, err := g.manage(t, "invite", "alice"); err == nil || !strings.Contains(out, "reset it first") {
		t.Errorf("%v, %s", err, out)
	}
	if strings.Contains(g.log.String(), code[1]) {
		t.Error("the code is in the log")
	}
}

func TestOperatorsManageUsers(t *testing.T) {
	g, _ := demo(t, demoBlock, "")
	if out := g.mustManage(t, "list"); strings.TrimSpace(out) != "" {
		t.Errorf("nobody has signed in, and there is %q", out)
	}
	b := g.browser(t)
	b.password("alice", alicePassword).submit(url.Values{"phoneno2fa": {alicePhone}}).code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker + " of alice")
	if out := g.mustManage(t, "list"); strings.TrimSpace(out) != "alice" {
		t.Errorf("list: %q", out)
	}
	shown := g.mustManage(t, "show", "ALICE")
	if !regexp.MustCompile(`(?m)^sessions +1$`).MatchString(shown) || strings.Contains(shown, alicePhone) || !strings.Contains(shown, alicePhone[len(alicePhone)-2:]) {
		t.Errorf("show: %s", shown)
	}

	// Every session ends at once.
	if out := g.mustManage(t, "end-sessions", "alice"); !regexp.MustCompile(`(?m)^sessions +1$`).MatchString(out) {
		t.Errorf("end-sessions: %s", out)
	}
	if b.get("/"); b.has(demoapp.Marker) {
		t.Fatal("the session goes on")
	}

	// A help desk's code opens one login, in place of a text.
	out := g.mustManage(t, "help-desk-code", "alice")
	code := regexp.MustCompile(`(?m)^code +(\S+)$`).FindStringSubmatch(out)
	if code == nil {
		t.Fatalf("help-desk-code: %s", out)
	}
	for i, ok := range []bool{true, false} {
		b := g.browser(t)
		b.password("alice", alicePassword).mustHave(codePage)
		b.post("/mfa/recover", url.Values{"backupcode": {code[1]}, "secondfactorauthenticationtoken": {b.token("secondfactorauthenticationtoken", "/mfa")}})
		if b.get("/"); b.has(demoapp.Marker+" of alice") != ok {
			t.Errorf("use %d of a help desk's code: %s", i+1, b.body)
		}
	}

	// Another number: sessions end, and the new one gets the codes.
	if out, err := g.manage(t, "set-phone", "alice", "12"); err == nil || !strings.Contains(out, "no codes may go to this number") {
		t.Errorf("set-phone to nothing: %v, %s", err, out)
	}
	g.mustManage(t, "set-phone", "alice", bobPhone)
	b = g.browser(t)
	b.password("alice", alicePassword).mustHave(codePage)
	b.code(g.phones.last(t, bobPhone)).mustHave(demoapp.Marker + " of alice")

	// A reset leaves nothing: the next login asks for a number.
	waiting := g.browser(t)
	waiting.password("alice", alicePassword).mustHave(codePage)
	pending := g.phones.last(t, bobPhone)
	g.mustManage(t, "reset", "alice")
	if b.get("/"); b.has(demoapp.Marker) {
		t.Error("a session has survived the reset")
	}
	if waiting.code(pending); waiting.has(demoapp.Marker) {
		t.Error("a challenge has survived the reset")
	}
	g.browser(t).password("alice", alicePassword).mustHave(`name="phoneno2fa"`)
	if out := g.mustManage(t, "show", "alice"); !regexp.MustCompile(`(?m)^number +none$`).MatchString(out) {
		t.Errorf("after the reset: %s", out)
	}
	g.mustManage(t, "unlock", "alice")

	// What cannot be right acts on nothing, and says so.
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"nothing", "alice"}, "no verb"},
		{[]string{"reset"}, "takes 1 words"},
		{[]string{"reset", "alice", "--app", "Pay"}, "Payroll"},
	} {
		if out, err := g.manage(t, c.args...); err == nil || !strings.Contains(out, c.says) {
			t.Errorf("users %v: %v, %s", c.args, err, out)
		}
	}

	// Each act names who did it to whom; the code and the numbers are nowhere.
	time.Sleep(200 * time.Millisecond) // the process's output comes by a pipe
	log := g.log.String()
	for _, act := range []string{"end sessions", "help desk's code", "set number", "reset", "unlock"} {
		if !regexp.MustCompile(`"operator"[^\n]*"user": ?"alice"[^\n]*"by": ?"carol"[^\n]*"detail": ?"` + act).MatchString(log) {
			t.Errorf("the log does not say who did %q", act)
		}
	}
	for _, secret := range []string{code[1], strings.ReplaceAll(code[1], "-", ""), alicePhone, bobPhone} {
		if strings.Contains(log, secret) {
			t.Error("the log holds the code or a number")
		}
	}
}

func TestTheAdminEndpointTakesNothingElse(t *testing.T) {
	g, _ := demo(t, demoBlock, "")
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{http.MethodGet, "/mfa/apps", "", http.StatusOK},
		{http.MethodPost, "/mfa/apps", "", http.StatusMethodNotAllowed},
		{http.MethodGet, "/mfa/users/reset", "", http.StatusMethodNotAllowed},
		{http.MethodPost, "/mfa/users/", "{}", http.StatusNotFound},
		{http.MethodPost, "/mfa/users/show", "", http.StatusBadRequest},
		{http.MethodPost, "/mfa/users/show", `{"user":"alice"}{}`, http.StatusBadRequest},
		{http.MethodPost, "/mfa/users/show", `{"user":"alice","role":"x"}`, http.StatusBadRequest},
		{http.MethodPost, "/mfa/users/show", `{"user":"` + strings.Repeat("a", 300) + `"}`, http.StatusBadRequest},
		{http.MethodPost, "/mfa/users/show", `{"user":"` + strings.Repeat("a", 20000) + `"}`, http.StatusBadRequest},
		{http.MethodPost, "/mfa/users/show", `{"app":"Payrol","user":"alice"}`, http.StatusBadRequest},
		{http.MethodPost, "/mfa/users/show", `{"app":"Payroll","user":"alice"}`, http.StatusOK},
	} {
		if status, body := g.admin(t, c.method, c.path, c.body); status != c.status {
			t.Errorf("%s %s %.60s: %d %s", c.method, c.path, c.body, status, body)
		}
	}
}
