package caddymfa

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/console"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/twilio"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/webhook"
)

func init() {
	caddy.RegisterModule(TwilioSender{})
	caddy.RegisterModule(WebhookSender{})
	caddy.RegisterModule(ConsoleSender{})
}

// Aliases for modules of others in the namespaces mfa.senders and mfa.directories.
type (
	// Sender is what a module of the namespace mfa.senders implements.
	Sender = sms.Sender
	// Message is one text.
	Message = sms.Message
	// Receipt names an accepted text.
	Receipt = sms.Receipt
	// SendError is a failed send.
	SendError = sms.Error
	// Directory is what a module of the namespace mfa.directories implements.
	Directory = flow.Directory
)

// TwilioSender sends by Twilio's Messages API.
type TwilioSender struct {
	AccountSID string `json:"account_sid"`
	// AuthToken also checks status callbacks. Not needed with an API key.
	AuthToken    string `json:"auth_token,omitempty"`
	APIKeySID    string `json:"api_key_sid,omitempty"`
	APIKeySecret string `json:"api_key_secret,omitempty"`
	// From is a number, short code or name; or MessagingService a service's SID.
	From             string `json:"from,omitempty"`
	MessagingService string `json:"messaging_service,omitempty"`
	// APIURL. Default https://api.twilio.com.
	APIURL string `json:"api_url,omitempty"`
	// StatusCallback is a public address that Twilio reports to.
	StatusCallback string `json:"status_callback,omitempty"`

	*twilio.Sender `json:"-"`
	from           string
}

// CaddyModule returns the module's information.
func (TwilioSender) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.senders.twilio", New: func() caddy.Module { return new(TwilioSender) }}
}

// Provision resolves placeholders and checks the account's form.
func (s *TwilioSender) Provision(caddy.Context) error {
	c := twilio.Config{}
	err := resolveAll("sms twilio", []resolved{
		{&c.AccountSID, "account_sid", s.AccountSID},
		{&c.AuthToken, "auth_token", s.AuthToken},
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

// WebhookSender sends by a gateway of the operator's own.
type WebhookSender struct {
	URL string `json:"url"`
	// Method is POST or PUT. Default POST.
	Method  string            `json:"method,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Body is a template with {to} and {text}, put in as the insides of JSON
	// strings. Default {"to":"{to}","text":"{text}"}.
	Body string `json:"body,omitempty"`
	// Secret signs the requests.
	Secret string `json:"secret,omitempty"`

	*webhook.Sender `json:"-"`
}

// CaddyModule returns the module's information.
func (WebhookSender) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.senders.webhook", New: func() caddy.Module { return new(WebhookSender) }}
}

// Provision resolves placeholders.
func (s *WebhookSender) Provision(caddy.Context) error {
	c := webhook.Config{Method: s.Method, Body: s.Body, Headers: map[string]string{}}
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
	if s.Sender, err = webhook.New(c); err != nil {
		return fmt.Errorf("sms webhook: %w", err)
	}
	return nil
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
	chain := sms.NewChain(senders...)
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
