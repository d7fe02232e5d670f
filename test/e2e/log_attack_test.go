package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAttack_K23_NoSecretOfAnAddressInALog: with debugging on, where a login goes
// by GET, and where an address is only nearly the API's.
func TestAttack_K23_NoSecretOfAnAddressInALog(t *testing.T) {
	var asked []string
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI())
		c, err := r.Cookie("SID")
		switch {
		case r.URL.Path == "/enter" && r.URL.Query().Get("pw") == alicePassword:
			http.SetCookie(w, &http.Cookie{Name: "SID", Value: "1", Path: "/", HttpOnly: true})
			http.Redirect(w, r, "/", http.StatusFound)
		case r.URL.Path == "/enter":
			w.WriteHeader(http.StatusUnauthorized)
		case err == nil && c.Value == "1":
			_, _ = io.WriteString(w, "<b>alice</b>")
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(app.Close)
	g := startGate(t, freePort(t), app.Listener.Addr().String(), `
		login {
			method   GET
			path     /enter
			fields   user pw
			user     query user
			identity / "<b>([^<]+)</b>"
		}
		session_cookies ^SID$`, "api {\n\t\t\tkey "+apiKey+"\n\t\t}")
	b := g.browser(t)
	b.get("/enter?user=alice&pw=wrong-password-1")
	b.get("/enter?user=alice&pw=" + alicePassword)
	b.code(g.phones.last(t, alicePhone)).mustHave("<b>alice</b>")
	b.get("/enter?user=alice&pw=" + alicePassword + "&again=1")
	for i, path := range []string{"//identity/v2/auth/login/2fa", "/identity//v2/auth/login/2fa", "/identity%2fv2/auth", "/identity/v2/auth/x", "/x/..;/identity/v2/auth"} {
		for _, c := range []*browser{b, g.browser(t)} {
			if c.get(fmt.Sprintf("%s?apikey=%s&access_token=secret-token-%d", path, apiKey, i)); c.page.StatusCode < 400 {
				t.Errorf("%s: %d", path, c.page.StatusCode)
			}
		}
	}
	log := g.log.String()
	for _, secret := range []string{alicePassword, "wrong-password-1", "secret-token"} {
		if strings.Contains(log, secret) {
			i := strings.Index(log, secret)
			t.Errorf("%s stands in the log: …%s", secret, log[max(0, i-300):min(len(log), i+40)])
		}
	}
	if !strings.Contains(log, "upstream roundtrip") {
		t.Error("the proxy says nothing: this test proves nothing")
	}
	for _, uri := range asked {
		if strings.Contains(uri, "secret-token") {
			t.Errorf("the application got %s", uri)
		}
	}
}
