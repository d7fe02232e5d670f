package caddymfa

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
)

func init() { caddy.RegisterModule(listener{}) }

// listener is a handler of Caddy's events app.
type listener struct{}

var heard = make(chan caddy.Event, 10)

func (listener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.mfa_test", New: func() caddy.Module { return new(listener) }}
}

func (*listener) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*listener) Handle(_ context.Context, e caddy.Event) error {
	heard <- e
	return nil
}

func TestAlarmsAreEventsOfCaddy(t *testing.T) {
	dir := t.TempDir()
	if err := run(t, fmt.Sprintf(`{
	admin off
	persist_config off
	events {
		on mfa_limit_alarm mfa_test
	}
	mfa {
		store embedded %s
		sms console
		countries GB
	}
}
http://a.example.com:%d {
	mfa {
		login {
			path /l
			user constant x
			success cookie x
		}
	}
}`, dir, freePort(t))); err != nil {
		t.Fatal(err)
	}
	app, err := caddy.ActiveContext().App("mfa")
	if err != nil {
		t.Fatal(err)
	}
	observe := app.(*App).observe //nolint:forcetypeassert // the app of that name
	observe(t.Context(), event.Event{Name: event.Send, Reason: event.Budget})
	observe(t.Context(), event.Event{Name: event.LimitAlarm, Reason: event.CountryLimit, Detail: "80 % GB"})
	select {
	case e := <-heard:
		if e.Name() != AlarmEvent || e.Data["limit"] != "country_limit" || e.Data["detail"] != "80 % GB" || len(e.Data) != 2 {
			t.Errorf("%s %v", e.Name(), e.Data)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("nobody was told")
	}
	select {
	case e := <-heard:
		t.Errorf("another event: %s %v", e.Name(), e.Data)
	case <-time.After(50 * time.Millisecond):
	}
}
