package caddymfa_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/webhook"
	"github.com/caddymfa/caddymfa/caddymfa/sendertest"
	twiliotest "github.com/caddymfa/caddymfa/test/twilio"
)

// Everything is invented.
const (
	twilioAccount = "AC0123456789abcdef0123456789abcdef"
	twilioToken   = "a123456789abcdef0123456789abcdef"
	twilioSecret  = "fedcba9876543210fedcba9876543210"
	webhookKey    = "invented-key-0123456789"
	webhookSecret = "invented-secret-0123456789"
)

// made answers with what Twilio has made.
func made(sid string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != twilioToken && password != twilioSecret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"sid":"`+sid+`0123456789abcdef0123456789abcdef","status":"queued"}`)
	}
}

const twilioReports = "https://login.example.com/mfa/receipts"

func twilioReport(ref, to string) caddymfa.SendCallback {
	fields := url.Values{"AccountSid": {twilioAccount}, "MessageSid": {"SM1"}, "MessageStatus": {"delivered"}, "To": {to}}
	query := "ref=" + ref
	return caddymfa.SendCallback{Query: query, Body: []byte(fields.Encode()), Header: http.Header{
		"Content-Type":       {"application/x-www-form-urlencoded"},
		"X-Twilio-Signature": {twiliotest.Sign(twilioToken, twilioReports+"?"+query, fields)},
	}}
}

// inForm reads the fields of a form.
func inForm(to, text, code string) func(*http.Request, []byte) caddymfa.Message {
	return func(_ *http.Request, body []byte) caddymfa.Message {
		v, _ := url.ParseQuery(string(body))
		return caddymfa.Message{To: v.Get(to), Text: v.Get(text), Code: v.Get(code)}
	}
}

func inJSON(_ *http.Request, body []byte) caddymfa.Message {
	var v struct{ To, Text string }
	_ = json.Unmarshal(body, &v)
	return caddymfa.Message{To: v.To, Text: v.Text}
}

// TestContract holds every sender of ours against the contract of the public
// interface.
func TestContract(t *testing.T) {
	provisioned := func(s interface {
		caddymfa.Sender
		caddy.Provisioner
	},
	) (caddymfa.Sender, error) {
		return s, s.Provision(caddy.Context{})
	}
	accept := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }
	}
	for name, p := range map[string]sendertest.Provider{
		"twilio": {
			New: func(url string) (caddymfa.Sender, error) {
				return provisioned(&caddymfa.TwilioSender{AccountSID: twilioAccount, AuthToken: twilioToken, From: "+15005550006", APIURL: url, StatusCallback: twilioReports})
			},
			Accept: made("SM"), Got: inForm("To", "Body", ""), Report: twilioReport, Secrets: []string{twilioToken},
		},
		"twilio_verify": {
			New: func(url string) (caddymfa.Sender, error) {
				return provisioned(&caddymfa.TwilioVerifySender{
					AccountSID: twilioAccount, APIKeySID: "SK" + twilioAccount[2:], APIKeySecret: twilioSecret,
					Service: "VA" + twilioAccount[2:], APIURL: url,
				})
			},
			Accept: made("VE"), Got: inForm("To", "", "CustomCode"), Secrets: []string{twilioSecret},
		},
		"webhook by status": {
			New: func(url string) (caddymfa.Sender, error) {
				return provisioned(&caddymfa.WebhookSender{URL: url, Secret: webhookSecret, Headers: map[string]string{"X-Key": webhookKey}})
			},
			Accept: accept("ok"), Got: inJSON, Secrets: []string{webhookKey, webhookSecret}, AnyBody: true,
		},
		"webhook with a condition": {
			New: func(url string) (caddymfa.Sender, error) {
				return provisioned(&caddymfa.WebhookSender{
					URL: url, Headers: map[string]string{"X-Key": webhookKey},
					Form:    []webhook.Field{{Name: "to", Value: "{to}"}, {Name: "msg", Value: "{text}"}, {Name: "n", Value: "{code}"}, {Name: "key", Value: webhookKey}},
					Success: [][]match.Condition{{{JSON: &match.Pair{Name: "state", Value: "taken"}}}},
				})
			},
			Accept: accept(`{"state":"taken"}`), Got: inForm("to", "msg", "n"), Secrets: []string{webhookKey},
		},
		"webhook with codes only": {
			New: func(url string) (caddymfa.Sender, error) {
				return provisioned(&caddymfa.WebhookSender{
					URL: url, Form: []webhook.Field{{Name: "to", Value: "{to}"}, {Name: "n", Value: "{code}"}},
					Success: [][]match.Condition{{{Body: "^OK"}}},
				})
			},
			Accept: accept("OK 17"), Got: inForm("to", "", "n"),
		},
		"console": {New: func(string) (caddymfa.Sender, error) {
			s := &caddymfa.ConsoleSender{}
			s.Log = zap.NewNop()
			return s, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sendertest.Run(t, p)
		})
	}
}
