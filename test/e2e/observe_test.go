package e2e

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/test/demoapp"
)

// TestObserveAndReport runs the binary in mode observe: the application works as
// without it, and the report of its log ends in lines that load.
func TestObserveAndReport(t *testing.T) {
	g, _ := demo(t, strings.Replace(demoBlock, "enroll self", "enroll directory\n\t\tmode observe", 1), "")
	b := g.browser(t)
	b.get("/report/1").mustNotHave(demoapp.Marker)
	b.password("alice", alicePassword).mustHave(demoapp.Marker + " of alice")
	for _, c := range b.http.Jar.Cookies(mustParse(t, g.url)) {
		if c.Name != demoapp.Cookie {
			t.Errorf("a cookie of ours: %s", c.Name)
		}
	}
	if n := g.phones.count(); n != 0 {
		t.Errorf("%d texts", n)
	}
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "caddy.log")
	if err := os.WriteFile(file, []byte(g.log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "mfa", "report", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"# Payroll:", "login\n", "Logins:"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(string(out), alicePassword) {
		t.Error("the report holds the password")
	}
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
