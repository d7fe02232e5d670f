package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/caddymfa/caddymfa/test/demoapp"
)

// old serves an application by HTTP/1.0: one answer a connection, its end is the
// connection's, and no length.
func old(t *testing.T, app http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				w := httptest.NewRecorder()
				app.ServeHTTP(w, r)
				_, _ = fmt.Fprintf(c, "HTTP/1.0 %d \r\n", w.Code)
				_ = w.Header().Write(c)
				_, _ = fmt.Fprintf(c, "\r\n%s", w.Body)
			}()
		}
	}()
	return l.Addr().String()
}

// TestAnApplicationThatSpeaksHTTP10: its answers are withheld, judged and released
// like any others.
func TestAnApplicationThatSpeaksHTTP10(t *testing.T) {
	g := startGate(t, freePort(t), old(t, demoapp.New()), directoryBlock, "")
	b := g.browser(t)
	b.get("/report/1").mustNotHave(demoapp.Marker)
	b.password("alice", "wrong").mustNotHave(codePage)
	if n := g.phones.count(); n != 0 {
		t.Fatalf("%d texts for a wrong password", n)
	}
	b.password("alice", alicePassword).mustHave(codePage)
	page := *b
	b.get("/").mustNotHave(demoapp.Marker)
	b.page, b.body = page.page, page.body
	b.code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker + " of alice")
	b.post("/login", url.Values{"user": {"bob"}, "password": {bobPassword}}).mustHave(codePage)
	b.get("/").mustNotHave(demoapp.Marker)
}
