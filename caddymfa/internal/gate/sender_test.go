package gate_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// curious is a sender that wants to know which texts were answered.
type curious struct {
	*inbox
	mu        sync.Mutex
	confirmed []string
	confirm   func(ctx context.Context) error
}

// Send gives the number as the text's id.
func (c *curious) Send(ctx context.Context, m sms.Message) (sms.Receipt, error) {
	r, err := c.inbox.Send(ctx, m)
	r.ID, r.Confirm = m.To, true
	return r, err
}

func (c *curious) Confirm(ctx context.Context, r sms.Receipt) error {
	c.mu.Lock()
	c.confirmed = append(c.confirmed, r.ID)
	do := c.confirm
	c.mu.Unlock()
	if do != nil {
		return do(ctx)
	}
	return nil
}

// told are the numbers of which the sender was told, once there are n.
func (c *curious) told(t *testing.T, n int) []string {
	t.Helper()
	for range 200 {
		c.mu.Lock()
		all := slices.Clone(c.confirmed)
		c.mu.Unlock()
		if len(all) >= n {
			return all
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the sender was not told of %d texts", n)
	return nil
}

func withCurious(g *gate.Gate, c *login.Config) {
	byThemselves(g, c)
	g.Flow.SMS = &curious{inbox: g.Flow.SMS.(*inbox)}
}

func TestASenderIsToldWhichTextsWereAnswered(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := w.flow().SMS.(*curious)
		c := w.browser().get("/login").login("alice", passwords["alice"])
		c.send("phone", "phoneno2fa", numbers["alice"]).is(http.StatusOK)
		c.code(other(w.phones.last(t, "alice")))
		c.code(w.phones.last(t, "alice")).in("alice")
		codes := c.codes()
		w.later()
		c.change()
		// No text was answered by a recovery code.
		w.browser().pends("alice").send("recover", "backupcode", codes[0]).is(http.StatusOK)
		w.browser().pends("alice").code(w.phones.lastTo(t, another)).in("alice")
		if got, want := s.told(t, 5), []string{numbers["alice"], numbers["alice"], numbers["alice"], another, another}; !slices.Equal(got, want) {
			t.Errorf("told of %v, want %v", got, want)
		}
		for _, m := range w.phones.texts {
			if has := codeText.FindStringSubmatch(m.Text); m.Lang != "en" || m.Code == "" != (has == nil) || has != nil && has[1] != m.Code {
				t.Errorf("D7: the message %+v", m)
			}
		}
	}, withCurious)
}

func TestALoginDoesNotWaitForTheSenderToBeTold(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	for name, confirm := range map[string]func(context.Context) error{
		"it hangs": func(context.Context) error { <-over; return nil }, // whatever its context says
		"it fails": func(context.Context) error {
			return &sms.Error{Provider: "curious", Code: "500", Err: errors.New("broken")}
		},
		"it panics": func(context.Context) error { panic("a sender of others") },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				s := w.flow().SMS.(*curious)
				s.confirm = confirm
				w.enrol("alice")
				s.told(t, 1)
				if name == "it hangs" {
					for range 20 { // more than it is told at a time
						w.browser().signIn("alice")
					}
					if told := len(s.told(t, 16)); told != 16 {
						t.Errorf("it is told of %d texts at a time", told)
					}
					return
				}
				for range 200 {
					if w.events.count(event.Feedback, event.GatewayDown) == 1 {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
				t.Errorf("nobody learns of it:\n%s", w.events)
			}, withCurious)
		})
	}
}

// wordless is a sender whose provider has no words for notices.
type wordless struct{ *inbox }

func (wordless) CodesOnly() bool { return true }

func TestNoNoticeIsTriedWhereNobodyHasWordsForIt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.enrol("alice")
		c.change()
		for _, m := range w.phones.texts {
			if m.Code == "" {
				t.Errorf("a notice: %q", m.Text)
			}
		}
		if w.events.count(event.Send, event.GatewayDown) != 0 || strings.Contains(w.events.String(), "notice") {
			t.Errorf("a notice was tried:\n%s", w.events)
		}
	}, byThemselves, func(g *gate.Gate, _ *login.Config) { g.Flow.SMS = wordless{g.Flow.SMS.(*inbox)} })
}
