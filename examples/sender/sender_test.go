package sender_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddymfa/caddymfa/caddymfa"
	"github.com/caddymfa/caddymfa/caddymfa/sendertest"
	"github.com/caddymfa/caddymfa/examples/sender"
)

const token = "invented-token-0123456789"

func TestContract(t *testing.T) {
	sendertest.Run(t, sendertest.Provider{
		New: func(url string) (caddymfa.Sender, error) {
			s := &sender.Sender{URL: url + "/messages", Token: token}
			return s, s.Provision(caddy.Context{})
		},
		Accept: func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+token {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"id":"0123"}`)
		},
		Got: func(_ *http.Request, body []byte) (m caddymfa.Message) {
			var v struct{ Recipient, Content string }
			_ = json.Unmarshal(body, &v)
			return caddymfa.Message{To: v.Recipient, Text: v.Content}
		},
		Secrets: []string{token},
	})
}

func TestCaddyfile(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("SMS_TOKEN", token)
	for block, want := range map[string]string{
		"https://sms.example.com/messages {\ntoken {env.SMS_TOKEN}\n}": "",
		"https://sms.example.com/messages {\ntokn x\n}":                "no setting of sms example",
		"https://sms.example.com/messages {\ntoken x\ntoken y\n}":      "twice",
		"https://sms.example.com/messages {\ntoken {env.NO_TOKEN}\n}":  "token is missing",
		"sms.example.com {\ntoken x\n}":                                "https://",
		"":                                                             "needs the gateway's address",
	} {
		adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
		out, _, err := adapter.Adapt([]byte("{\nadmin off\npersist_config off\nmfa {\nsms example "+block+"\ncountries DE\n}\n}\n:9999 {\nrespond ok\n}\n"), nil)
		if err == nil {
			if strings.Contains(string(out), token) {
				t.Errorf("%q: the secret is in the adapted configuration", block)
			}
			var cfg caddy.Config
			if err = json.Unmarshal(out, &cfg); err == nil {
				err = caddy.Validate(&cfg)
			}
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", block, err, want)
		}
	}
}
