package caddymfa

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/prometheus/client_golang/prometheus"

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

// TestPeople_P19_AFileThatCannotBeReadIsAnEvent: a warning with file, line and cause,
// an event of Caddy, and a gauge, for as long as the last good version is in force.
func TestPeople_P19_AFileThatCannotBeReadIsAnEvent(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "numbers")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("alice +447400123456\n")
	if err := run(t, fmt.Sprintf(`{
	admin off
	persist_config off
	events {
		on mfa_directory_stale mfa_test
	}
	mfa {
		store embedded %s
		sms console
		countries GB
		directory file %s
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
}`, dir, file, freePort(t))); err != nil {
		t.Fatal(err)
	}
	gauge := prometheus.NewRegistry()
	gauge.MustRegister(staleDirectories)
	hear := func(reason, cause string, stale float64) {
		t.Helper()
		select {
		case e := <-heard:
			got, _ := e.Data["error"].(string)
			if e.Name() != DirectoryStaleEvent || e.Data["reason"] != reason || !strings.Contains(got, cause) || (cause == "") != (got == "") {
				t.Errorf("%s %v", e.Name(), e.Data)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("nobody was told")
		}
		if all, err := gauge.Gather(); err != nil || all[0].Metric[0].Gauge.GetValue() != stale {
			t.Errorf("the gauge is %v, %v; want %v", all, err, stale)
		}
	}
	write("alice +447400123456\ncarl 0151\n")
	hear("last_good_version", file+":2: the number has no country code", 1)
	write("alice +447400123456\ncarl +447400654321\n")
	hear("ok", "", 0)
}
