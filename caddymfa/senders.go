package caddymfa

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/console"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/twilio"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/webhook"
)

func init() {
	caddy.RegisterModule(TwilioSender{})
	caddy.RegisterModule(TwilioVerifySender{})
	caddy.RegisterModule(WebhookSender{})
	caddy.RegisterModule(ConsoleSender{})
}

// TwilioSender sends by Twilio's Messages API.
type TwilioSender struct {
	AccountSID string `json:"account_sid"`
	// AuthToken also checks status callbacks. Not needed with an API key.
	AuthToken string `json:"auth_token,omitempty"`
	// SecondaryAuthToken is believed in status callbacks as well, while the token
	// is changed.
	SecondaryAuthToken string `json:"secondary_auth_token,omitempty"`

	APIKeySID    string `json:"api_key_sid,omitempty"`
	APIKeySecret string `json:"api_key_secret,omitempty"`
	// From is a number, short code or name; or MessagingService a service's SID.
	From             string `json:"from,omitempty"`
	MessagingService string `json:"messaging_service,omitempty"`
	// APIURL. Default https://api.twilio.com.
	APIURL string `json:"api_url,omitempty"`
	// StatusCallback is the public address of <path>/receipts of a gate, by default
	// https://<host>/mfa/receipts: Twilio reports there.
	StatusCallback string `json:"status_callback,omitempty"`
	// RiskCheck, on or off, is Twilio's SMS pumping protection for these texts.
	// Default: what the account has.
	RiskCheck string `json:"risk_check,omitempty"`
	// ContentRetention "discard" lets Twilio keep no text, AddressRetention
	// "obfuscate" no number in full. Both need Message Redaction on the account.
	ContentRetention string `json:"content_retention,omitempty"`
	AddressRetention string `json:"address_retention,omitempty"`
	// ReceiptAfter is how long the report that a text was delivered may take, 5s to
	// 2m; then the next sender sends it as well. Default: for ever.
	ReceiptAfter caddy.Duration `json:"receipt_timeout,omitempty"`

	*twilio.Sender `json:"-"`
	from           string
}

// SecretFields implements [SecretKeeper].
func (TwilioSender) SecretFields() []string {
	return []string{"auth_token", "secondary_auth_token", "api_key_secret"}
}

// CaddyModule returns the module's information.
func (TwilioSender) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.senders.twilio", New: func() caddy.Module { return new(TwilioSender) }}
}

// Provision resolves placeholders and checks the account's form.
func (s *TwilioSender) Provision(caddy.Context) error {
	c := twilio.Config{ReceiptTimeout: time.Duration(s.ReceiptAfter), RiskCheck: s.RiskCheck, ContentRetention: s.ContentRetention, AddressRetention: s.AddressRetention}
	err := resolveAll("sms twilio", []resolved{
		{&c.AccountSID, "account_sid", s.AccountSID},
		{&c.AuthToken, "auth_token", s.AuthToken},
		{&c.SecondaryToken, "auth_token", s.SecondaryAuthToken},
		{&c.APIKeySID, "api_key", s.APIKeySID},
		{&c.APIKeySecret, "api_key", s.APIKeySecret},
		{&c.From, "from", s.From},
		{&c.MessagingService, "messaging_service", s.MessagingService},
		{&c.APIURL, "api_url", s.APIURL},
		{&c.StatusCallback, "status_callback", s.StatusCallback},
	})
	if err != nil {
		return err
	}
	s.from = c.From
	if s.Sender, err = twilio.New(c); err != nil {
		return fmt.Errorf("sms twilio: %w", err)
	}
	return nil
}

// Origin is the sender's own number, from which its country is read.
func (s *TwilioSender) Origin() string { return s.from }

// TwilioVerifySender sends codes by a service of Twilio Verify, in Twilio's words.
// It takes no notices: those go to the next sender.
type TwilioVerifySender struct {
	AccountSID   string `json:"account_sid"`
	AuthToken    string `json:"auth_token,omitempty"`
	APIKeySID    string `json:"api_key_sid,omitempty"`
	APIKeySecret string `json:"api_key_secret,omitempty"`
	// Service is a Verify service's SID. "Enable Custom Verification Code" is
	// turned on for it in Twilio's console: the codes are ours.
	Service string `json:"service"`
	// Template is a Verify template's SID. Default: the service's own.
	Template string `json:"template,omitempty"`
	// RiskCheck, on or off. Default: Twilio's own, on.
	RiskCheck string `json:"risk_check,omitempty"`
	// APIURL. Default https://verify.twilio.com.
	APIURL string `json:"api_url,omitempty"`

	*twilio.Verify `json:"-"`
}

// SecretFields implements [SecretKeeper].
func (TwilioVerifySender) SecretFields() []string { return []string{"auth_token", "api_key_secret"} }

// CaddyModule returns the module's information.
func (TwilioVerifySender) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.senders.twilio_verify", New: func() caddy.Module { return new(TwilioVerifySender) }}
}

// Provision resolves placeholders and checks the account's form.
func (s *TwilioVerifySender) Provision(caddy.Context) error {
	c := twilio.VerifyConfig{RiskCheck: s.RiskCheck}
	err := resolveAll("sms twilio_verify", []resolved{
		{&c.AccountSID, "account_sid", s.AccountSID},
		{&c.AuthToken, "auth_token", s.AuthToken},
		{&c.APIKeySID, "api_key", s.APIKeySID},
		{&c.APIKeySecret, "api_key", s.APIKeySecret},
		{&c.Service, "service", s.Service},
		{&c.Template, "template", s.Template},
		{&c.APIURL, "api_url", s.APIURL},
	})
	if err != nil {
		return err
	}
	if s.Verify, err = twilio.NewVerify(c); err != nil {
		return fmt.Errorf("sms twilio_verify: %w", err)
	}
	return nil
}

// WebhookSender sends by a gateway of the operator's own.
type WebhookSender struct {
	URL string `json:"url"`
	// Method is POST or PUT. Default POST.
	Method  string            `json:"method,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Body is a template with {to}, {text}, {code}, {lang} and {minutes}, put in as
	// the insides of JSON strings. Default {"to":"{to}","text":"{text}"}.
	Body string `json:"body,omitempty"`
	// Form is, in place of Body, the fields of application/x-www-form-urlencoded;
	// their values are such templates.
	Form []webhook.Field `json:"form,omitempty"`
	// Secret signs the requests: X-Caddymfa-Signature is "sha256=" and the
	// hexadecimal HMAC-SHA-256 of X-Caddymfa-Timestamp (Unix seconds), a dot and
	// the body.
	Secret string `json:"secret,omitempty"`
	// Success are alternatives of conditions on an answer, of status, json and
	// body. An answer that has no 2xx is never a success. Default: any 2xx is.
	Success [][]match.Condition `json:"success,omitempty"`

	*webhook.Sender `json:"-"`
}

// SecretFields implements [SecretKeeper].
func (WebhookSender) SecretFields() []string { return []string{"secret", "headers", "form"} }

// CaddyModule returns the module's information.
func (WebhookSender) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.senders.webhook", New: func() caddy.Module { return new(WebhookSender) }}
}

// Provision resolves placeholders.
func (s *WebhookSender) Provision(caddy.Context) error {
	c := webhook.Config{Method: s.Method, Body: s.Body, Form: s.Form, Headers: map[string]string{}, LookUp: lookUp}
	all := []resolved{{&c.URL, "address", s.URL}, {&c.Secret, "secret", s.Secret}}
	values := make(map[string]*string, len(s.Headers))
	for k, v := range s.Headers {
		values[k] = new(string)
		all = append(all, resolved{values[k], "header " + k, v})
	}
	if err := resolveAll("sms webhook", all); err != nil {
		return err
	}
	for k, v := range values {
		c.Headers[k] = *v
	}
	var err error
	if c.Success, err = s.success(); err == nil {
		s.Sender, err = webhook.New(c)
	}
	if err != nil {
		return fmt.Errorf("sms webhook: %w", err)
	}
	return nil
}

// success compiles the conditions of a 2xx that accepts the text.
func (s *WebhookSender) success() (func(int, http.Header, []byte) bool, error) {
	for _, line := range s.Success {
		for _, c := range line {
			if c.Status == nil && c.JSON == nil && c.Body == "" {
				return nil, errors.New("success takes the conditions status, json and body: the others are about logins")
			}
			if slices.ContainsFunc(c.Status, func(n int) bool { return n != 2 && n/100 != 2 }) {
				return nil, errors.New("success: status takes 2xx only: no other answer accepts a text")
			}
		}
	}
	lines, err := match.Compile(s.Success)
	if err != nil || len(lines) == 0 {
		return nil, err
	}
	return func(status int, h http.Header, body []byte) bool {
		ok, err := lines.Any(context.Background(), &match.Answer{Status: status, Header: h, Body: body})
		return ok && err == nil
	}, nil
}

// lookUp resolves a placeholder of Caddy in a template.
func lookUp(name string) (string, error) {
	return caddy.NewReplacer().ReplaceOrErr("{"+name+"}", true, true)
}

// ConsoleSender writes texts to the log: for trying out.
type ConsoleSender struct {
	console.Sender `json:"-"`
}

// CaddyModule returns the module's information.
func (ConsoleSender) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.senders.console", New: func() caddy.Module { return new(ConsoleSender) }}
}

// Provision takes the log and warns.
func (s *ConsoleSender) Provision(ctx caddy.Context) error {
	s.Log = ctx.Logger()
	s.Log.Warn("sms console: codes are written to this log, which is for trying out only")
	return nil
}

type resolved struct {
	to          *string
	name, value string
}

// resolveAll resolves placeholders; one that stands for nothing is an error, or
// a missing file would be an empty secret.
func resolveAll(where string, all []resolved) error {
	repl := caddy.NewReplacer()
	for _, r := range all {
		if r.value == "" {
			continue
		}
		v, err := repl.ReplaceOrErr(r.value, true, true)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", where, r.name, err)
		}
		*r.to = v
	}
	return nil
}

// senderName tells senders apart in logs: twilio, twilio 2.
func senderName(mod any, before []sms.Named) string {
	name := "sender"
	if m, ok := mod.(caddy.Module); ok {
		name = m.CaddyModule().ID.Name()
	}
	same := 1
	for _, b := range before {
		if kind, _, _ := strings.Cut(b.Name, " "); kind == name {
			same++
		}
	}
	if same > 1 {
		return fmt.Sprintf("%s %d", name, same)
	}
	return name
}

// patient reports whether another sender is to send what this one does not confirm.
func patient(s sms.Named) bool {
	r, ok := s.Sender.(SendReporter)
	return ok && r.ReceiptTimeout() > 0
}

// provisionSenders loads the senders and works out whose numbers get texts.
func (a *App) provisionSenders(ctx caddy.Context) (*sms.Chain, error) {
	if len(a.SendersRaw) == 0 {
		return nil, errors.New("no sms block: codes could not be sent; add \"sms twilio { … }\" (or \"sms console\" for trying out)")
	}
	mods, err := ctx.LoadModule(a, "SendersRaw")
	if err != nil {
		return nil, err
	}
	var senders []sms.Named
	var guess []string
	for _, mod := range mods.([]any) { //nolint:forcetypeassert // what LoadModule gives for a list
		s, ok := mod.(Sender)
		if !ok {
			return nil, fmt.Errorf("sms: module %T is no sender", mod)
		}
		senders = append(senders, sms.Named{Name: senderName(mod, senders), Sender: s})
		if o, ok := mod.(interface{ Origin() string }); ok {
			if r := phone.RegionOf(o.Origin()); r != "" {
				guess = append(guess, r)
			}
		}
	}
	if last := senders[len(senders)-1]; patient(last) {
		return nil, fmt.Errorf("sms %s: receipt_timeout, and no sms block behind it: nobody could send the text that did not arrive; add another sms block after it, or remove receipt_timeout", last.Name)
	}
	chain := sms.NewChain(senders...)
	if chain.CodesOnly() {
		a.log.Warn("no sender takes notices: owners are not told of locks, changed numbers and used recovery codes; add an sms block that sends any text, such as sms twilio, after this one")
	}
	if len(a.Countries) == 0 && len(guess) > 0 {
		a.log.Warn("countries is not set: only numbers of the sender's country get texts", zap.Strings("countries", guess))
		a.phones.Countries = guess
		return chain, nil
	}
	if len(a.Countries) == 0 {
		return nil, errors.New("countries is missing: name the countries whose numbers may get texts, e.g. \"countries DE AT CH\"; anybody could else make you pay for texts anywhere")
	}
	a.phones.Countries, err = phone.Countries(a.Countries)
	return chain, err
}
