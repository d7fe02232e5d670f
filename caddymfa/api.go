package caddymfa

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/loginradius"
)

// APIConfig turns on LoginRadius' API for programs, at every site with the
// handler mfa.
type APIConfig struct {
	// Prefix is the path below which the calls lie. Default: /identity/v2.
	Prefix string `json:"prefix,omitempty"`
	// Clients may call it.
	Clients []APIClient `json:"clients,omitempty"`
}

// APIClient is a program that may call the API.
type APIClient struct {
	// Key names the client, at least 8 signs. Pages may carry it: it is no secret.
	Key string `json:"key"`
	// Secret, at least 16 signs, is for the calls of servers (/manage). Without
	// one there are none.
	Secret string `json:"secret,omitempty"`
	// AllowOrigin are foreign origins whose pages may call, such as
	// https://www.example.com.
	AllowOrigin []string `json:"allow_origin,omitempty"`
	// Logins bounds the wrong passwords that one network may try. Default: 20 in 15m.
	Logins *RateConfig `json:"logins,omitempty"`
}

const (
	defaultAPIPrefix = "/identity/v2"
	minAPISecret     = 16
)

// provisionAPI resolves and checks the clients.
func (a *App) provisionAPI() error {
	if a.API == nil {
		return nil
	}
	if a.API.Prefix == "" {
		a.API.Prefix = defaultAPIPrefix
	}
	if err := checkPrefix(a.API.Prefix); err != nil {
		return fmt.Errorf("api: %w", err)
	}
	if len(a.API.Clients) == 0 {
		return errors.New("api: there is no client, so nobody could call it; write a key")
	}
	repl := caddy.NewReplacer()
	for i, c := range a.API.Clients {
		client := &loginradius.Client{Logins: loginradius.DefaultLogins}
		var err error
		if client.Key, err = repl.ReplaceOrErr(c.Key, true, true); err != nil {
			return fmt.Errorf("api: key of client %d: %w", i+1, err)
		}
		if client.Secret, err = repl.ReplaceOrErr(c.Secret, true, true); err != nil {
			return fmt.Errorf("api: secret of client %d: %w", i+1, err)
		}
		switch {
		case !loginradius.Wellformed(client.Key):
			return fmt.Errorf("api: the key of client %d is missing, or no key: 8 to 256 signs of ASCII without blanks", i+1)
		case slices.ContainsFunc(a.clients, func(o *loginradius.Client) bool { return o.Key == client.Key }):
			return fmt.Errorf("api: client %d has the key of another: nobody could tell them apart", i+1)
		case c.Secret != "" && (!loginradius.Wellformed(client.Secret) || len(client.Secret) < minAPISecret):
			return fmt.Errorf("api: the secret of client %d: %d to 256 signs of ASCII without blanks are needed (openssl rand -hex 32)", i+1, minAPISecret)
		case c.Secret != "" && client.Secret == client.Key:
			return fmt.Errorf("api: the secret of client %d is its key, which is no secret", i+1)
		}
		if c.Secret != "" && c.Secret == client.Secret {
			a.log.Warn("the secret of an API client stands in the configuration itself, where the admin API and caddy adapt show it: use {file.*} or {env.*}", zap.Int("client", i+1))
		}
		for _, o := range c.AllowOrigin {
			if client.Origins, err = addOrigin(client.Origins, o); err != nil {
				return err
			}
		}
		if c.Logins != nil {
			client.Logins = limit.Rate{N: c.Logins.N, Window: time.Duration(c.Logins.Window)}
			if client.Logins.N < 1 || client.Logins.Window < time.Second {
				return fmt.Errorf("api: logins of client %d: a number above 0 and a duration", i+1)
			}
		}
		a.clients = append(a.clients, client)
	}
	return nil
}

func addOrigin(to []string, origin string) ([]string, error) {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.TrimPrefix(origin, u.Scheme+"://") != u.Host || strings.Contains(u.Host, "*") {
		return nil, fmt.Errorf("api: allow_origin %s: write scheme and host, such as https://www.example.com", origin)
	}
	return append(to, strings.ToLower(origin)), nil
}

// provisionAPI puts the API in front of the application, where it is on.
func (h *Handler) provisionAPI(g *gate.Gate, app *App) error {
	if app.API == nil {
		return nil
	}
	prefix := app.API.Prefix
	if intake.Below(prefix, g.Prefix) || intake.Below(g.Prefix, prefix) {
		return fmt.Errorf("path %s and the API's prefix %s: one lies within the other", g.Prefix, prefix)
	}
	if !slices.ContainsFunc(g.Rules, (*login.Rule).Fillable) {
		h.log.Warn("the API cannot log in here: no login says which field the password is (password form|json <name>)", zap.String("app", h.App))
	}
	api := &loginradius.API{Flow: app.flow, Prefix: prefix, Clients: app.clients, Rules: g.Rules, LoginPage: g.LoginURL()}
	g.API, g.APIPrefix = api.Serve, prefix
	return nil
}

// api reads a client.
func (a *App) api(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	if a.API == nil {
		a.API = &APIConfig{}
	}
	c := APIClient{}
	seen := map[string]bool{}
	for nest := d.Nesting(); d.NextBlock(nest); {
		word := d.Val()
		if seen[word] {
			return d.Errf("api: %s is there twice: the first would be lost", word)
		}
		seen[word] = true
		if err := a.apiWord(d, &c, word); err != nil {
			return err
		}
	}
	if c.Key == "" {
		return d.Err("api: the key is missing: without it nobody could call")
	}
	a.API.Clients = append(a.API.Clients, c)
	return nil
}

func (a *App) apiWord(d *caddyfile.Dispenser, c *APIClient, word string) error {
	switch word {
	case "key":
		return one(d, &c.Key)
	case "secret":
		return one(d, &c.Secret)
	case "allow_origin":
		return many(d, &c.AllowOrigin)
	case "logins":
		v, record, err := figures(d, "logins", "20 15m")
		if err != nil {
			return err
		}
		if record {
			return d.Err("api: logins cannot be recorded only: anybody with the key could guess passwords")
		}
		c.Logins = &RateConfig{N: v[0], Window: caddy.Duration(v[1])}
		return nil
	case "prefix":
		was := a.API.Prefix
		if err := one(d, &a.API.Prefix); err != nil {
			return err
		}
		if was != "" && was != a.API.Prefix {
			return d.Errf("api: prefix %s and %s: all clients call below the same one", was, a.API.Prefix)
		}
		return nil
	}
	return d.Errf("%q is no setting of api: use key, secret, prefix, allow_origin or logins", word)
}
