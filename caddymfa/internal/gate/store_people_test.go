package gate_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/redis"
	"github.com/caddymfa/caddymfa/test/servers"
)

// idles makes a client one whose last use lies back.
func (c *client) idles() *client {
	c.w.t.Helper()
	site, call := c.loaded()
	_, err := c.w.flow().Sessions.Update(c.w.t.Context(), &site.Gate, call.Session, func(r session.Record) (session.Record, error) {
		r.SeenAt = time.Now().Add(-2 * time.Minute)
		return r, nil
	})
	must(c.w.t, err)
	return c
}

// readOnly checks what works of a gate whose store can be read and not written.
func (w *world) readOnly(signedIn ...*client) {
	w.t.Helper()
	for _, c := range signedIn {
		for range 3 {
			c.in("alice")
		}
	}
	if n := w.events.count(event.StoreFailed, ""); n != 1 || w.events.count(event.StoreFailed, event.Unwritten) != 1 {
		w.t.Errorf("it was said %d times:\n%s", n, w.events)
	}
	if c := w.browser().login("bob", "pw-b"); c.status != http.StatusServiceUnavailable {
		w.t.Errorf("a login: %d", c.status)
	}
}

func TestPeople_P25_PagesGoOnWhereNothingCanBeWritten(t *testing.T) {
	for name, outage := range map[string]func(*faulty, bool){
		"full":          func(f *faulty, on bool) { f.full.Store(on) },
		"replicas away": func(f *faulty, on bool) { f.late.Store(on) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				a, b := w.browser().signIn("alice").idles(), w.browser().signIn("alice").idles()
				outage(w.store, true)
				w.readOnly(a, b)
				// A session that was ended is over all the same.
				outage(w.store, false)
				_, call := b.loaded()
				_, err := w.flow().Sessions.DismissAll(t.Context(), "Test", "alice", call.Session)
				must(t, err)
				outage(w.store, true)
				a.out()
				b.in("alice")
			})
		})
	}
}

func TestPeople_P25_RedisAtItsLimit(t *testing.T) {
	srv := servers.Redis(t)
	s, err := redis.Open(redis.Config{URLs: []string{srv.URL}})
	must(t, err)
	w := newWorld(t, backend{Store: s}, 1, newLegacy())
	c := w.browser().signIn("alice").idles()
	srv.Full()
	w.readOnly(c)
}
