package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/test/demoapp"
	"github.com/caddymfa/caddymfa/test/servers"
)

const (
	apiKey    = "5f2b1c9e-6a0d-4f57-9a51-5a3b6f1f0c11"
	apiSecret = "a-secret-of-the-tests-for-servers"
)

// apiBlock are the lines of the demo application, with what the API needs.
const apiBlock = `
		app "Payroll"
		enroll self
		login_page /login?back={next}
		login form {
			path /login
			user form user
			password form password
			identity /me "<p id=user>Signed in as ([^<]+)\."
		}
		session_cookies ^PAYSESS$
		logout /logout`

// TestLoginRadiusSDK drives the API by LoginRadius' own client for Node, over TLS
// with a certificate of Caddy's internal authority.
func TestLoginRadiusSDK(t *testing.T) {
	dir := servers.NPM(t, "loginradius", "loginradius-sdk")
	app := httptest.NewServer(demoapp.New())
	t.Cleanup(app.Close)
	port := freePort(t)
	global := fmt.Sprintf("resend 10s 60s\n\t\ttemplate short {\n\t\t\ten \"{code} it is.\"\n\t\t}\n\t\tapi {\n\t\t\tkey %s\n\t\t\tsecret {env.API_SECRET}\n\t\t\tlogins 100 15m\n\t\t}", apiKey)
	g := startGate(t, freePort(t), app.Listener.Addr().String(), apiBlock, global, func(g *gate, text string) string {
		g.env = append(g.env, "API_SECRET="+apiSecret)
		// A second address of the same site, with a certificate of the internal authority.
		text = strings.Replace(text, "auto_https off", "auto_https disable_redirects\n\tskip_install_trust\n\tlocal_certs", 1)
		return siteLine.ReplaceAllStringFunc(text, func(line string) string {
			return strings.Replace(line, " {", fmt.Sprintf(", https://localhost:%d {", port), 1)
		})
	})
	root := filepath.Join(g.dir, "caddy", "pki", "authorities", "local", "root.crt")
	pem, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	waitHTTP(t, secure, fmt.Sprintf("https://localhost:%d/mfa/status", port))

	codes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g.phones.mu.Lock()
		defer g.phones.mu.Unlock()
		out := map[string]map[string]any{}
		for number, texts := range g.phones.texts {
			last := ""
			for _, text := range texts {
				if m := code.FindStringSubmatch(text); m != nil {
					last = m[1]
				}
			}
			out[number] = map[string]any{"code": last, "sent": len(texts), "text": texts[len(texts)-1]}
		}
		_ = json.NewEncoder(w).Encode(out)
	}))
	t.Cleanup(codes.Close)
	cmd := exec.Command("node", "walk.cjs", fmt.Sprint(port), apiKey, apiSecret, codes.URL, "alice", demoapp.Users["alice"])
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+root)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	// The addresses of these calls hold tokens; no log does.
	for _, word := range []string{apiSecret, "access_token=", "secondFactorAuthenticationToken=", "refresh_Token=", demoapp.Users["alice"]} {
		if strings.Contains(strings.ToLower(g.log.String()), strings.ToLower(word)) {
			t.Errorf("%s is in the log", word)
		}
	}
	if !strings.Contains(g.log.String(), "PUT /auth/login/2fa/verification/otp") {
		t.Error("no line of the log tells of the calls")
	}
}
