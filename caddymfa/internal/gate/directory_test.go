package gate_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
)

// moving is a directory whose answer changes.
type moving struct {
	mu     sync.Mutex
	number string
	fail   error
}

func (d *moving) set(number string, fail error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.number, d.fail = number, fail
}

func (d *moving) Number(context.Context, string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.number, d.fail
}

func TestAttack_G5_AnotherNumberInTheDirectoryEndsTrust(t *testing.T) {
	const before, after = "+447400123456", "+447400654321"
	each(t, func(t *testing.T, w *world) {
		d := w.gates[0].Flow.Directory.(*moving) //nolint:forcetypeassert // this world's own
		code := func(number string) string {
			w.phones.mu.Lock()
			defer w.phones.mu.Unlock()
			for _, m := range w.phones.texts {
				if m.To == number && len(m.Text) > 6 && m.Text[6] == ' ' {
					return m.Text[:6]
				}
			}
			return ""
		}
		first := w.browser()
		first.login("alice", passwords["alice"])
		first.post("/mfa/verify", map[string][]string{"otp": {code(before)}, "trust": {"on"}, "secondfactorauthenticationtoken": {first.token()}})
		first.in("alice")
		again := func() *client {
			c := w.browser()
			for name, value := range first.cookies {
				if strings.HasSuffix(name, "-device") {
					c.cookies[name] = value
				}
			}
			c.login("alice", passwords["alice"])
			return c
		}
		trusted := again()
		trusted.in("alice")
		first.cookies = trusted.cookies // the cookie has a new value

		underWay := w.browser().pends("alice") // has its code when the directory changes (attack G1)
		stale := w.phones.lastTo(t, before)

		d.set(after, nil)
		other := again()
		if underWay.code(stale); underWay.status == http.StatusSeeOther {
			t.Errorf("a code to the old number: %d", underWay.status)
		}
		underWay.out()
		other.out()
		if code(after) == "" {
			t.Fatalf("the new number got no code\n%s", w.events)
		}
		first.out()
		told := false
		w.phones.mu.Lock()
		for _, m := range w.phones.texts {
			told = told || m.To == before && strings.Contains(m.Text, "another number")
		}
		w.phones.mu.Unlock()
		if !told || w.events.count(event.NumberChanged, event.ByDirectory) != 1 {
			t.Errorf("the old number was not told\n%s", w.events)
		}
		other.code(code(after))
		other.in("alice")

		// An outage is no user without a number: the login is refused, and says why.
		d.set("", errors.New("away"))
		n := w.phones.count()
		late := w.browser()
		if late.login("alice", passwords["alice"]); late.status != http.StatusServiceUnavailable {
			t.Errorf("without the directory: %d", late.status)
		}
		late.out()
		if w.phones.count() != n {
			t.Error("a text went out")
		}
	}, func(g *gate.Gate, _ *login.Config) {
		g.Flow.Directory, g.Site.TrustedDevice = &moving{number: before}, time.Hour
	})
}
