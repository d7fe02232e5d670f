package gate_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// slow is the usual application with answers that take their time.
func slow(began chan<- string) http.Handler {
	l := newLegacy()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Cookie") == "":
		case r.URL.Path == "/poll": // no head for a while
			began <- r.URL.Path
			time.Sleep(1500 * time.Millisecond)
			_, _ = io.WriteString(rw, marker)
			return
		case r.URL.Path == "/download": // a head, and a body that goes on
			rw.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(rw).Flush()
			began <- r.URL.Path
			for range 60 {
				if _, err := io.WriteString(rw, marker+strings.Repeat(".", 4096)+"\n"); err != nil {
					began <- "cut"
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			began <- "whole"
			return
		}
		l.ServeHTTP(rw, r)
	})
}

// TestAnswersDoNotOutliveTheirSession: what was asked for by a session that has
// ended meanwhile does not arrive, or not to its end.
func TestAnswersDoNotOutliveTheirSession(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		began := make(chan string, 8)
		w := newWorld(t, open(t), 2, slow(began))
		for node := range 2 {
			for _, path := range []string{"/poll", "/download"} {
				c := w.browser().signIn("alice")
				old := *c
				old.node = node
				arrived := make(chan string, 1)
				go func() {
					req, _ := http.NewRequest(http.MethodGet, w.nodes[node].URL+path, nil)
					req.AddCookie(&http.Cookie{Name: w.cookie(), Value: old.handle()})
					res, err := w.nodes[node].Client().Do(req)
					if err != nil {
						arrived <- ""
						return
					}
					b, _ := io.ReadAll(res.Body)
					_ = res.Body.Close()
					arrived <- string(b)
				}()
				<-began
				c.get("/logout") // at the first node
				switch body := <-arrived; path {
				case "/poll":
					if strings.Contains(body, marker) {
						t.Errorf("node %d: the answer of an ended session arrived", node)
					}
				case "/download":
					if how := <-began; how != "cut" {
						t.Errorf("node %d: the download went on to its end: %s, %d bytes", node, how, len(body))
					}
				}
			}
		}
	})
}

// TestATrapAnswersAPageToALongAnswer: the session that a trap ends does not cut
// off the page that says so.
func TestATrapAnswersAPageToALongAnswer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().signIn("alice")
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Set-Cookie", "REMEMBER=bob-forever; Path=/")
			for range 4 {
				_, _ = io.WriteString(rw, marker+strings.Repeat(".", 64<<10))
				_ = http.NewResponseController(rw).Flush()
			}
		})
		if c.get("/anything"); c.status != http.StatusForbidden || strings.Contains(c.body, marker) || !strings.Contains(c.body, "<h1>") {
			t.Fatalf("%d %.200s", c.status, c.body)
		}
		if _, ok := c.cookies[w.cookie()]; ok {
			t.Error("the handle is still there")
		}
	}, func(g *gate.Gate, _ *login.Config) {
		traps, err := match.Compile([][]match.Condition{{{Cookie: &match.Pair{Name: "^REMEMBER$"}}}})
		if err != nil {
			t.Fatal(err)
		}
		g.Site.Traps = traps
	})
}
