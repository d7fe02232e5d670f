package gate_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// TestAttack_A1_ARequestThatWasHeldBack: its head came before the login, with the
// handle of then, and the end of its body afterwards.
func TestAttack_A1_ARequestThatWasHeldBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if w.http2 {
			t.Skip("the bytes of HTTP/1.1 are sent by hand")
		}
		c := w.browser().get("/login")
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.nodes[0].URL, "http://"))
		must(t, err)
		defer func() { _ = conn.Close() }()
		_, err = fmt.Fprintf(conn, "POST /reset HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: %s=%s\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n", w.cookie(), c.handle())
		must(t, err)
		time.Sleep(50 * time.Millisecond)
		c.login("alice", "pw-a").to("/mfa")
		_, err = io.WriteString(conn, "0\r\n\r\n")
		must(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		body, _ := io.ReadAll(res.Body)
		if strings.Contains(string(body), marker) || res.StatusCode < 400 {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
	}, func(g *gate.Gate, _ *login.Config) {
		g.LoginFlow = []*match.Entry{entry(t, match.Request{Methods: []string{"GET", "POST"}, Paths: []string{"/reset"}})}
	})
}

// TestAttack_A1_TheOtherNodeKnowsAtOnce that a login has taken the session of before.
func TestAttack_A1_TheOtherNodeKnowsAtOnce(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 2, newLegacy(), func(g *gate.Gate, _ *login.Config) {
			g.LoginFlow = []*match.Entry{entry(t, match.Request{Paths: []string{"/reset"}})}
		})
		c := w.browser().get("/login")
		old := c.copy()
		old.node = 1
		old.get("/reset") // the other node has a copy
		c.login("alice", "pw-a").to("/mfa")
		if old.get("/reset"); strings.Contains(old.body, marker) {
			t.Fatal(old.body)
		}
	})
}

// TestAttack_K3_CoarseSpellings: letters that a database takes for others.
func TestAttack_K3_CoarseSpellings(t *testing.T) {
	eachApp(t, func() http.Handler {
		l := newLegacy()
		fold := strings.NewReplacer("\u00e1", "a", "a\u0301", "a", "\u0131", "i", "\u3164", "", "\u00e9", "e")
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && r.URL.Path == "/login" && passwords[fold.Replace(r.PostFormValue("user"))] == r.PostFormValue("password") {
				l.mu.Lock()
				l.n++
				id := fmt.Sprintf("upstream-session-%d", l.n)
				l.sessions[id] = r.PostFormValue("user") // as it was typed
				l.mu.Unlock()
				http.SetCookie(w, &http.Cookie{Name: "SID", Value: id, Path: "/", HttpOnly: true})
				w.Header().Set("Location", "/home")
				w.WriteHeader(http.StatusFound)
				return
			}
			l.ServeHTTP(w, r)
		})
	}, func(t *testing.T, w *world) {
		must(t, w.flow().SetNumberOf(t.Context(), operator("alice"), numbers["alice"]))
		for _, name := range []string{"\u00e1lice", "a\u0301lice", "al\u0131ce", "alice\u3164", "alic\u00e9"} {
			c := w.browser().get("/login")
			c.login(name, "pw-a").to("/mfa")
			if c.get("/mfa"); strings.Contains(c.body, `name="phoneno2fa"`) {
				t.Errorf("%q may name a number", name)
			}
			c.out()
		}
	}, byThemselves)
}

// TestAttack_K29_AUserWithoutTheRightIsLedToTheLogin, too, as a stranger is.
func TestAttack_K29_AUserWithoutTheRightIsLedToTheLogin(t *testing.T) {
	eachApp(t, func() http.Handler {
		return &shell{users: map[string]string{}, form: true, me: func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", "/signin?next=%2Fme")
			w.WriteHeader(http.StatusFound)
		}}
	}, func(t *testing.T, w *world) {
		c := w.browser().get("/login")
		if c.login("alice", "pw-a"); c.status != http.StatusBadGateway || strings.Contains(c.body, marker) {
			t.Fatalf("%d %s", c.status, c.body)
		}
		c.out()
	})
}

// TestAttack_B8_K30_ALoginAtAnOpenEntry: the rule's own fields at an address that is
// open before a login and that no rule names.
func TestAttack_B8_K30_ALoginAtAnOpenEntry(t *testing.T) {
	eachApp(t, func() http.Handler { return newCareless() }, func(t *testing.T, w *world) {
		c := w.browser().get("/login")
		if c.post("/plugin", url.Values{"user": {"alice"}, "password": {"pw-a"}}); strings.Contains(c.body, marker) || c.status < 400 {
			t.Fatalf("%d %s", c.status, c.body)
		}
		c.out()
		d := w.browser()
		if d.post("/plugin", url.Values{"email": {"x"}}); d.status >= 400 && d.status != http.StatusUnauthorized {
			t.Errorf("an honest form: %d %s", d.status, d.body)
		}
	}, func(g *gate.Gate, _ *login.Config) {
		g.LoginFlow = []*match.Entry{entry(t, match.Request{Methods: []string{"POST"}, Paths: []string{"/plugin"}})}
	})
}

// TestAttack_K4_WithoutAWordOnSessionCookies every cookie may be the session's.
func TestAttack_K4_WithoutAWordOnSessionCookies(t *testing.T) {
	eachApp(t, func() http.Handler { return newCareless() }, func(t *testing.T, w *world) {
		c := w.browser().signIn("bob")
		if c.post("/other", url.Values{"u": {"alice"}, "pw": {"pw-a"}}); strings.Contains(c.body, marker) || c.status < 400 {
			t.Fatalf("%d %s", c.status, c.body)
		}
		if c.get("/home"); strings.Contains(c.body, "of alice") {
			t.Fatal(c.body)
		}
	}, func(g *gate.Gate, _ *login.Config) { g.Session, g.Site.Cookies.Session = nil, nil })
}
