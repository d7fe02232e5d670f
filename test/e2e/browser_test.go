package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/caddymfa/caddymfa/test/demoapp"
	"github.com/caddymfa/caddymfa/test/servers"
)

const demoBlock = `
		app "Payroll"
		login_page /login?back={next}
		login form {
			path /login
			user form user
			identity /me "Signed in as ([^<]+)\."
		}
		login json {
			path /api/login
			user json user
			identity /me "Signed in as ([^<]+)\."
		}
		session_cookies ^PAYSESS$
		enroll self
		logout /logout`

// TestBrowser walks the demo application in Debian's Chromium.
func TestBrowser(t *testing.T) {
	chromium := os.Getenv("CHROMIUM")
	if chromium == "" {
		chromium = "/usr/bin/chromium"
	}
	if _, err := os.Stat(chromium); err != nil {
		servers.Missing(t, "chromium (apt-get install chromium)")
	}
	if _, err := exec.LookPath("node"); err != nil {
		servers.Missing(t, "node (apt-get install nodejs npm)")
	}
	dir := filepath.Join(servers.Root(t), "test", "browser")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "playwright-core")); err != nil {
		cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			servers.Missing(t, "playwright-core from the npm registry: "+string(out))
		}
	}
	app := httptest.NewServer(demoapp.New())
	t.Cleanup(app.Close)
	g := startGate(t, freePort(t), app.Listener.Addr().String(), demoBlock, "")
	texts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, g.phones.last(t, alicePhone))
	}))
	t.Cleanup(texts.Close)
	pictures := os.Getenv("PICTURES")
	if pictures == "" {
		pictures = t.TempDir()
	}
	cmd := exec.Command("node", "walk.mjs", g.url, texts.URL, pictures)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CHROMIUM="+chromium)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
