package gate_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// A service worker's script gets the gate's lines at every level, and no other
// request does.
func TestPeople_P11_AServiceWorkerLeavesTheGateAlone(t *testing.T) {
	const script = "self.addEventListener('fetch', (e) => e.respondWith(caches.match('/shell')));"
	each(t, func(t *testing.T, w *world) {
		application := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/sw.js") {
				application.ServeHTTP(rw, r)
				return
			}
			rw.Header().Set("ETag", `"kept"`)
			if r.Header.Get("If-None-Match") == `"kept"` {
				rw.WriteHeader(http.StatusNotModified)
				return
			}
			if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				rw.Header().Set("Content-Encoding", "gzip")
			}
			rw.Header().Set("Content-Type", "text/javascript")
			rw.Header().Set("Content-Length", strconv.Itoa(len(script)))
			_, _ = io.WriteString(rw, script)
		})
		asks := []string{"Service-Worker", "script", "Sec-Fetch-Dest", "serviceworker", "Sec-Fetch-Mode", "same-origin", "Accept", "*/*", "Accept-Encoding", "gzip, br"}
		added := func(what string, c *client) {
			t.Helper()
			lines, rest, _ := strings.Cut(c.body, "\n")
			if c.status != http.StatusOK || rest != script || !strings.Contains(lines, `["/mfa","/login"]`) || !strings.Contains(lines, "stopImmediatePropagation") ||
				c.head.Get("ETag") != "" || c.head.Get("Content-Length") != strconv.Itoa(len(c.body)) {
				t.Errorf("%s: %d %v %q", what, c.status, c.head, c.body)
			}
		}
		user := w.browser().signIn("alice")
		for what, c := range map[string]*client{"anonymous": w.browser(), "verified": user} {
			added(what, c.get("/sw.js", asks...))
			added(what+", which has a copy", c.get("/sw.js", append(asks, "If-None-Match", `"kept"`)...))
		}
		added("login flow", w.browser().get("/flow/sw.js", asks...))
		added("public", w.browser().get("/public/sw.js", asks...))
		for what, head := range map[string][]string{
			"a script of a page": {"Sec-Fetch-Dest", "script", "Accept", "*/*"},
			"another word":       {"Service-Worker", "navigation-preload", "Accept", "*/*"},
		} {
			if c := user.get("/sw.js", head...); c.body != script || c.head.Get("ETag") != `"kept"` {
				t.Errorf("%s: %d %v %q", what, c.status, c.head, c.body)
			}
			if c := user.get("/sw.js", append(head, "If-None-Match", `"kept"`)...); c.status != http.StatusNotModified {
				t.Errorf("%s, which has a copy: %d", what, c.status)
			}
		}
		if c := user.get("/home", asks...); c.body != marker+" of alice" {
			t.Errorf("no script: %d %s", c.status, c.body)
		}
		// What does not pass does not pass so either.
		if c := w.browser().get("/closed/sw.php", asks...); c.status != http.StatusUnauthorized {
			t.Errorf("closed: %d %s", c.status, c.body)
		}
	}, func(g *gate.Gate, _ *login.Config) {
		g.LoginFlow = append(g.LoginFlow, entry(t, match.Request{Paths: []string{"/flow/*"}}))
	})
}
