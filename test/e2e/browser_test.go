package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
			identity /me "<p id=user>Signed in as ([^<]+)\."
		}
		login json {
			path /api/login
			user json user
			identity /me "<p id=user>Signed in as ([^<]+)\."
		}
		session_cookies ^PAYSESS$
		enroll self
		logout /logout`

// demoBlockDirectory is the same with numbers from a directory.
var demoBlockDirectory = strings.Replace(demoBlock, "enroll self", "enroll directory", 1)

// TestBrowser walks the demo application and every page of ours in Chromium.
func TestBrowser(t *testing.T) {
	app := httptest.NewServer(demoapp.New())
	t.Cleanup(app.Close)
	g := startGate(t, freePort(t), app.Listener.Addr().String(), demoBlock, "")
	g.chromium(t, "walk.mjs", g.url)
}

// TestBrowserSettings walks the pages by which users manage the second factor.
func TestBrowserSettings(t *testing.T) {
	app := httptest.NewServer(demoapp.New())
	t.Cleanup(app.Close)
	block := strings.Replace(demoBlock, "user form user\n", "user form user\n\t\t\tpassword form password\n", 1) + `
		policy optional
		trusted_device 30d`
	g := startGate(t, freePort(t), app.Listener.Addr().String(), block, "")
	g.chromium(t, "settings.mjs", g.url)
}

// inChromium walks a real application, or a fixture, in Chromium: without the
// gate, and through it.
func (a *app) inChromium(t *testing.T, g *gate, upstream string) {
	// The same addresses, asked of the application itself.
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", upstream },
		// Chromium gives up what it asked for when it leaves a page.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	t.Cleanup(proxy.Close)
	g.chromium(t, "sign-in.mjs", a.name, g.url, proxy.URL)
}

// chromium runs a script of test/browser against the gate. After its own
// arguments it is told where the phones are and where pictures go.
func (g *gate) chromium(t *testing.T, script string, args ...string) {
	t.Helper()
	phones := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		codes := map[string]string{}
		for user, number := range map[string]string{"alice": alicePhone, "bob": bobPhone, "carol": carolPhone} {
			if c, ok := g.phones.code(number); ok {
				codes[user] = c
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"sent": g.phones.count(), "codes": codes})
	}))
	t.Cleanup(phones.Close)
	runChromium(t, script, append(args, phones.URL)...)
}

// runChromium runs a script of test/browser in Debian's Chromium. After its own
// arguments it is told where pictures go.
func runChromium(t *testing.T, script string, args ...string) {
	t.Helper()
	chromium := os.Getenv("CHROMIUM")
	if chromium == "" {
		chromium = "/usr/bin/chromium"
	}
	if _, err := os.Stat(chromium); err != nil {
		servers.Missing(t, "chromium (apt-get install chromium)")
	}
	dir := servers.NPM(t, "browser", "playwright-core")
	pictures := os.Getenv("PICTURES")
	if pictures == "" {
		pictures = t.TempDir()
	}
	cmd := exec.Command(servers.Node(dir), append([]string{script}, append(args, filepath.Join(pictures, t.Name()))...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CHROMIUM="+chromium)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
