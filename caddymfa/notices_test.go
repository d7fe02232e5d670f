package caddymfa

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestNobodyTakesNotices: the operator is told once, when it is so.
func TestNobodyTakesNotices(t *testing.T) {
	const (
		verify  = `{"provider":"twilio_verify","account_sid":"AC0123456789abcdef0123456789abcdef","auth_token":"x1","service":"VA0123456789abcdef0123456789abcdef"}`
		byCode  = `{"provider":"webhook","url":"https://sms.example.com","form":[{"name":"to","value":"{to}"},{"name":"otp","value":"{code}"}]}`
		console = `{"provider":"console"}`
	)
	for name, tc := range map[string]struct {
		senders  []string
		warnings int
	}{
		"codes only":         {[]string{verify, byCode}, 1},
		"one takes notices":  {[]string{verify, console}, 0},
		"it is the only one": {[]string{console}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			a := &App{Countries: []string{"GB"}, log: zap.New(core)}
			for _, s := range tc.senders {
				a.SendersRaw = append(a.SendersRaw, json.RawMessage(s))
			}
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			defer cancel()
			if _, err := a.provisionSenders(ctx); err != nil {
				t.Fatal(err)
			}
			if n := logs.FilterMessageSnippet("no sender takes notices").Len(); n != tc.warnings {
				t.Errorf("%d warnings, want %d: %v", n, tc.warnings, logs.All())
			}
		})
	}
}
