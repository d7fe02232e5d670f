package console

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

func TestConsolePrintsTheTextAndSaysWhatItIsFor(t *testing.T) {
	for name, to := range map[string]string{"number": "+12015550123", "no number": "hello"} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			const text = "123456 is your code.\n\n@login.example.com #123456"
			r, err := (&Sender{Log: zap.New(core)}).Send(t.Context(), sms.Message{To: to, Text: text})
			if err != nil || r.Provider != "console" || logs.Len() != 1 {
				t.Fatalf("Send = %+v, %v with %d lines", r, err, logs.Len())
			}
			line := logs.All()[0]
			if line.Level != zap.WarnLevel || !strings.Contains(line.Message, "for trying out only") || line.ContextMap()["text"] != text {
				t.Errorf("line is %+v", line)
			}
			if got, _ := line.ContextMap()["to"].(string); strings.Contains(got, "201555") || strings.Contains(got, "hello") {
				t.Errorf("L3: the receiver is logged as %q", got)
			}
		})
	}
}
