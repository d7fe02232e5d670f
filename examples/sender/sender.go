// Package sender is an example to copy: a sender for an SMS gateway that caddymfa
// does not know, as a module for Caddy. It imports the public packages only.
//
// The gateway takes POST <url> with a bearer token and the JSON
//
//	{"recipient": "+12015550123", "content": "…"}
//
// and answers 202 {"id": "…"}, or 422 where it does not send to a number.
//
// Copy this directory into a module of your own, give the module ID and the
// Caddyfile word (here: example) a name of your own, and build:
//
//	xcaddy build --with github.com/caddymfa/caddymfa/caddymfa --with example.com/your/sender
//
// Then a Caddyfile may say:
//
//	{
//		mfa {
//			sms example https://sms.example.com/messages {
//				token {env.SMS_TOKEN}
//			}
//			countries DE
//		}
//	}
package sender

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymfa/caddymfa/caddymfa"
)

func init() {
	caddy.RegisterModule(Sender{})
}

// Sender is the module's configuration, which is also its JSON.
type Sender struct {
	// URL of the gateway.
	URL string `json:"url"`
	// Token signs in; it may be a placeholder such as {env.SMS_TOKEN}.
	Token string `json:"token"`

	token  string
	client *caddymfa.SenderClient
}

// CaddyModule returns the module's information. What follows mfa.senders. is the
// word after sms in a Caddyfile.
func (Sender) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.senders.example", New: func() caddy.Module { return new(Sender) }}
}

// UnmarshalCaddyfile reads:
//
//	example <url> {
//		token <token>
//	}
func (s *Sender) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&s.URL) {
		return d.Err("sms example needs the gateway's address")
	}
	for nest := d.Nesting(); d.NextBlock(nest); {
		switch name := d.Val(); {
		case name != "token":
			return d.Errf("%q is no setting of sms example: use token", name)
		case s.Token != "":
			return d.Err("sms example: token is there twice: the first would be lost")
		case !d.AllArgs(&s.Token):
			return d.ArgErr()
		}
	}
	return nil
}

// Provision resolves the secret and says what is wrong, without quoting it.
func (s *Sender) Provision(caddy.Context) error {
	u, err := url.Parse(s.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("sms example: the address is none: it begins with https:// and a host")
	}
	s.token, err = caddy.NewReplacer().ReplaceOrErr(s.Token, true, true)
	if err != nil || s.token == "" {
		return errors.New("sms example: token is missing, or its placeholder stands for nothing")
	}
	s.client = caddymfa.NewSenderClient("example", 0)
	return nil
}

var id = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}$`)

// Send implements [caddymfa.Sender].
func (s *Sender) Send(ctx context.Context, m caddymfa.Message) (caddymfa.Receipt, error) {
	body, err := json.Marshal(map[string]string{"recipient": m.To, "content": m.Text})
	if err != nil {
		return caddymfa.Receipt{}, s.failure("body")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return caddymfa.Receipt{}, s.failure("request")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+s.token)

	a, err := s.client.Do(req)
	if err != nil {
		return caddymfa.Receipt{}, err
	}
	if a.Status < 200 || a.Status > 299 {
		e := s.client.Refusal(a)
		if a.Status == http.StatusUnprocessableEntity {
			e.Kind, e.Err = caddymfa.SendRefused, errors.New("the gateway does not send to this number")
		}
		return caddymfa.Receipt{}, e
	}
	// Only an id is a yes, and it looks like one: a captive portal answers 200 as
	// well, and others quote the request.
	var accepted struct{ ID string }
	if err := json.Unmarshal(a.Body, &accepted); err != nil || a.Cut || !id.MatchString(accepted.ID) {
		return caddymfa.Receipt{}, s.client.Unreadable(a)
	}
	return caddymfa.Receipt{ID: accepted.ID}, nil
}

// failure is one of the configuration. It quotes nothing: the address may hold a key.
func (s *Sender) failure(code string) *caddymfa.SendError {
	return &caddymfa.SendError{
		Provider: "example", Kind: caddymfa.SendMisconfigured, Code: code, Err: errors.New("the request cannot be made: check the address"),
	}
}

var (
	_ caddymfa.Sender       = (*Sender)(nil)
	_ caddy.Provisioner     = (*Sender)(nil)
	_ caddyfile.Unmarshaler = (*Sender)(nil)
)
