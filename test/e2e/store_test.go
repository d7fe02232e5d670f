package e2e

import (
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/test/demoapp"
	"github.com/caddymfa/caddymfa/test/servers"
)

// store runs "caddymfa mfa store …" against a running gate.
func (g *gate) store(t *testing.T, args ...string) (string, error) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, append(append([]string{"mfa", "store"}, args...), "--address", "unix/"+g.dir+"/admin.sock", "--by", "carol")...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// enrols is a first login of alice, who names a number.
func (g *gate) enrols(t *testing.T, phone string) {
	t.Helper()
	b := g.browser(t)
	b.password("alice", alicePassword).submit(url.Values{"phoneno2fa": {phone}}).code(g.phones.last(t, phone)).mustHave(demoapp.Marker + " of alice")
}

// lines are those of the log that hold a word.
func (g *gate) lines(word string) (lines []string) {
	time.Sleep(200 * time.Millisecond) // the process's output comes by a pipe
	for line := range strings.Lines(g.log.String()) {
		if strings.Contains(line, word) {
			lines = append(lines, line)
		}
	}
	return lines
}

// lost checks what everybody sees of a loss, and confirms it.
func (g *gate) lost(t *testing.T) {
	t.Helper()
	b := g.browser(t)
	if b.password("alice", alicePassword); b.page.StatusCode != http.StatusForbidden || !b.has("cannot be added right now") || b.has(`name="phoneno2fa"`) {
		t.Fatalf("%d %s", b.page.StatusCode, b.body)
	}
	b.mustNotHave(demoapp.Marker)
	if lines := g.lines(`"store_lost"`); len(lines) != 1 || !strings.Contains(lines[0], `"level":"error"`) || !strings.Contains(lines[0], "caddymfa mfa store confirm") {
		t.Errorf("the log says %d times: %s", len(lines), lines)
	}
	out, err := g.store(t)
	if err != nil || !regexp.MustCompile(`(?m)^enrolment  shut since \S+ \(store_forgotten\)$`).MatchString(out) || !strings.Contains(out, "mfa store confirm") {
		t.Errorf("%v: %s", err, out)
	}
	if status, body := g.admin(t, http.MethodGet, "/metrics", ""); status != http.StatusOK || !strings.Contains(body, "caddymfa_enrolment_shut 1") {
		t.Errorf("%d, no gauge", status)
	}
	if out, err = g.store(t, "confirm"); err != nil || !regexp.MustCompile(`(?m)^enrolment  open$`).MatchString(out) {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err = g.store(t, "confirm"); err == nil || !strings.Contains(out, "nothing to confirm") {
		t.Errorf("a second time: %v: %s", err, out)
	}
	if out, err = g.store(t, "forget"); err == nil || !strings.Contains(out, "no verb") {
		t.Errorf("%v: %s", err, out)
	}
	if lines := g.lines("confirm store"); len(lines) != 1 || !strings.Contains(lines[0], "carol") {
		t.Errorf("who confirmed? %s", lines)
	}
	if _, body := g.admin(t, http.MethodGet, "/metrics", ""); !strings.Contains(body, "caddymfa_enrolment_shut 0") {
		t.Error("the gauge stays")
	}
}

func TestAttack_K33_ADeletedFileShutsEnrolment(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	validated := func(g *gate, text string) string { // before the first start, which makes the secret
		file := filepath.Join(g.dir, "validated")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bin, "validate", "--config", file, "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("validate: %v\n%s", err, lastLines(string(out), 3))
		}
		if _, err := os.Stat(filepath.Join(g.dir, "mfa.db")); err == nil {
			t.Error("validate has opened the store")
		}
		return text
	}
	app := demoServer(t)
	g := startGate(t, freePort(t), app, demoBlock, "", validated)
	g.enrols(t, alicePhone)
	g.stop()
	g.run(t, bin) // an ordinary restart
	g.browser(t).password("alice", alicePassword).mustHave(codePage)
	if out, err := g.store(t); err != nil || !strings.Contains(out, "enrolment  open") {
		t.Fatalf("%v: %s", err, out)
	}
	g.stop()
	if err := os.Remove(filepath.Join(g.dir, "mfa.db")); err != nil {
		t.Fatal(err)
	}
	g.run(t, bin)
	g.lost(t)
	g.enrols(t, bobPhone)
}

func TestAttack_K33_FlushallShutsEnrolment(t *testing.T) {
	srv := servers.Redis(t)
	g, _ := demo(t, demoBlock, "store redis "+srv.URL+"\n\t\tsecret a-secret-of-the-tests-with-32-bytes-or-more")
	g.enrols(t, alicePhone)
	srv.Flush()
	g.lost(t)
	g.enrols(t, bobPhone)
	if left := g.lines("a-secret-of"); len(left) > 0 {
		t.Error("the log holds the secret")
	}
	markers, err := filepath.Glob(filepath.Join(g.dir, "caddy", "mfa", "stores", "*.json"))
	if err != nil || len(markers) != 1 {
		t.Errorf("this machine remembers %v, %v", markers, err)
	}
}
