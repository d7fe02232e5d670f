package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/test/demoapp"
)

// basicApp asks for HTTP Basic everywhere.
func basicApp(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if want, ok := demoapp.Users[user]; !ok || want != password {
		w.Header().Set("WWW-Authenticate", `Basic realm="payroll"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<!doctype html><title>Payroll</title>"+demoapp.Marker+" of "+user)
}

// remoteUser believes what Caddy says of the user.
func remoteUser(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<!doctype html><title>Payroll</title>"+demoapp.Marker+" of "+r.Header.Get("Remote-User"))
}

// The hash of alice's password, by bcrypt.
const aliceHash = "$2a$10$jN1.dBDq3QZA2Jr93dMLg.Fp6xrD0jwPQHQAuX/KypFSded5UmG22"

// TestBasicInChromium signs in by HTTP Basic, the application's own and Caddy's.
func TestBasicInChromium(t *testing.T) {
	t.Run("of the application", func(t *testing.T) {
		app := httptest.NewServer(http.HandlerFunc(basicApp))
		t.Cleanup(app.Close)
		g := startGate(t, freePort(t), app.Listener.Addr().String(), "login {\nbasic /probe\n}", "")
		g.chromium(t, "basic.mjs", g.url)
	})
	t.Run("of Caddy", func(t *testing.T) {
		app := httptest.NewServer(http.HandlerFunc(remoteUser))
		t.Cleanup(app.Close)
		g := startGate(t, freePort(t), app.Listener.Addr().String(), "first_factor {http.auth.user.id}", "", func(_ *gate, text string) string {
			text = strings.Replace(text, "\tlog\n", "\tlog\n\tbasic_auth {\n\t\talice "+aliceHash+"\n\t}\n", 1)
			return strings.Replace(text, "reverse_proxy "+app.Listener.Addr().String(),
				"reverse_proxy "+app.Listener.Addr().String()+" {\n\t\theader_up Remote-User {http.auth.user.id}\n\t}", 1)
		})
		g.chromium(t, "basic.mjs", g.url)
	})
}
