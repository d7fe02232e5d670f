package caddymfa

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms/webhook"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("mfa", parseGlobal)
}

func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		return nil, d.Err("a second global mfa block: it would replace the first one, with its secret, store and senders; put everything into one")
	}
	a := new(App)
	if err := a.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "mfa", Value: caddyconfig.JSON(a, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from tokens. Syntax:
//
//	mfa {
//		secret    <value>...
//		store     embedded [<directory>] | redis <url>... { … }
//		sms       twilio { … } | twilio_verify { … } | webhook <url> { … } | console
//		countries <ISO code>...
//		template  <name> {
//			<lang> "<text with {code} {app} {minutes}>"
//		}
//		directory file <path> { … } | ldap <url>... { … } | http <url> { … }
//		code {
//			length   <digits>
//			lifetime <duration>
//			tries    <n>
//		}
//		resend <duration>...
//		spool  <size>
//		limits {
//			user_sends|ip_sends|ip_logins|prefix_sends|country_sends|app_sends|budget <n> <duration> [record]
//			conversion <percent> <floor> <duration> [record]
//			wrong <n>
//			lock  <duration>
//		}
//		cache <size>
//		api {
//			key          <key>
//			secret       <secret>
//			prefix       <path>
//			allow_origin <origin>...
//			logins       <n> <duration>
//		}
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.Errf("unexpected argument %q: settings stand in the block", d.Val())
	}
	seen := map[string]bool{}
	for nest := d.Nesting(); d.NextBlock(nest); {
		name := d.Val()
		if seen[name] && name != "sms" && name != "directory" && name != "template" && name != "api" {
			return d.Errf("%s is there twice: the first would be lost", name)
		}
		seen[name] = true
		if err := a.word(d, name); err != nil {
			return err
		}
	}
	return nil
}

func (a *App) word(d *caddyfile.Dispenser, name string) error {
	switch name {
	case "secret":
		return many(d, &a.Secrets)
	case "store":
		return guest(d, "mfa.stores.", "backend", func(raw json.RawMessage) { a.StoreRaw = raw })
	case "sms":
		return guest(d, "mfa.senders.", "provider", func(raw json.RawMessage) { a.SendersRaw = append(a.SendersRaw, raw) })
	case "directory":
		return guest(d, "mfa.directories.", "kind", func(raw json.RawMessage) { a.DirectoriesRaw = append(a.DirectoriesRaw, raw) })
	case "countries":
		return many(d, &a.Countries)
	case "template":
		return a.template(d)
	case "code":
		return a.code(d)
	case "resend":
		return a.resend(d)
	case "limits":
		return a.limits(d)
	case "cache":
		return a.cache(d)
	case "api":
		return a.api(d)
	case "spool":
		return size(d, &a.Spool)
	}
	return d.Errf("%q is no setting of the global option mfa: it would have been without effect; the settings are secret, store, sms, countries, template, directory, code, resend, limits, cache, spool, api", name)
}

// guest reads a module by the name after the word.
func guest(d *caddyfile.Dispenser, namespace, key string, keep func(json.RawMessage)) error {
	word := d.Val()
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	if _, err := caddy.GetModule(namespace + name); err != nil {
		var known []string
		for _, m := range caddy.GetModules(strings.TrimSuffix(namespace, ".")) {
			known = append(known, m.ID.Name())
		}
		return d.Errf("%s %s is not in this version: there is %s", word, name, strings.Join(known, ", "))
	}
	v, err := caddyfile.UnmarshalModule(d, namespace+name)
	if err != nil {
		return err
	}
	keep(caddyconfig.JSONModuleObject(v, key, name, nil))
	return nil
}

func (a *App) template(d *caddyfile.Dispenser) error {
	var name string
	if !d.AllArgs(&name) {
		return d.ArgErr()
	}
	if a.Templates == nil {
		a.Templates = map[string]map[string]string{}
	}
	if a.Templates[name] != nil {
		return d.Errf("template %s is there twice: the first would be lost", name)
	}
	a.Templates[name] = map[string]string{}
	for nest := d.Nesting(); d.NextBlock(nest); {
		lang := d.Val()
		var text string
		if !d.AllArgs(&text) {
			return d.Errf("template %s: write the text of %s as one word in quotes", name, lang)
		}
		if a.Templates[name][lang] != "" {
			return d.Errf("template %s: %s is there twice", name, lang)
		}
		a.Templates[name][lang] = text
	}
	return nil
}

func (a *App) code(d *caddyfile.Dispenser) error {
	a.Code = &CodeConfig{}
	for nest := d.Nesting(); d.NextBlock(nest); {
		var err error
		switch d.Val() {
		case "length":
			err = number(d, &a.Code.Length)
		case "lifetime":
			err = duration(d, &a.Code.Lifetime)
		case "tries":
			err = number(d, &a.Code.Tries)
		default:
			err = d.Errf("%q is no setting of code: use length, lifetime or tries", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func number(d *caddyfile.Dispenser, to *int) error {
	var v string
	if !d.AllArgs(&v) {
		return d.ArgErr()
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return d.Errf("%q is no number above 0", v)
	}
	*to = n
	return nil
}

func (a *App) cache(d *caddyfile.Dispenser) error {
	var v string
	if !d.AllArgs(&v) {
		return d.ArgErr()
	}
	n, err := humanize.ParseBytes(v)
	if err != nil || n < minCache || n > math.MaxInt64 {
		return d.Errf("cache %s: write a size of at least 1MiB", v)
	}
	a.Cache = int64(n) //nolint:gosec // bounded above
	return nil
}

func (a *App) resend(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	for _, v := range args {
		t, err := caddy.ParseDuration(v)
		if err != nil {
			return d.Errf("%q is no duration: write 30s or 2m", v)
		}
		a.Resend = append(a.Resend, caddy.Duration(t))
	}
	return nil
}

func (a *App) limits(d *caddyfile.Dispenser) error {
	a.Limits = &LimitsConfig{}
	rates := map[string]**RateConfig{
		"user_sends": &a.Limits.UserSends, "ip_sends": &a.Limits.IPSends, "ip_logins": &a.Limits.IPLogins,
		"prefix_sends": &a.Limits.PrefixSends, "country_sends": &a.Limits.CountrySends, "app_sends": &a.Limits.AppSends, "budget": &a.Limits.Budget,
	}
	seen := map[string]bool{}
	for nest := d.Nesting(); d.NextBlock(nest); {
		name := d.Val()
		if seen[name] {
			return d.Errf("limits: %s is there twice: the first would be lost", name)
		}
		seen[name] = true
		switch to, ok := rates[name]; {
		case ok:
			v, record, err := figures(d, name, "10 24h")
			if err != nil {
				return err
			}
			*to = &RateConfig{N: v[0], Window: caddy.Duration(v[1]), Record: record}
		case name == "conversion":
			v, record, err := figures(d, name, "10 50 1h")
			if err != nil {
				return err
			}
			if v[0] > 100 {
				return d.Errf("limits: conversion %d: at most 100 percent of texts can be answered", v[0])
			}
			a.Limits.Conversion = &ConversionConfig{Percent: v[0], Floor: v[1], Window: caddy.Duration(v[2]), Record: record}
		case name == "wrong":
			if err := number(d, &a.Limits.Wrong); err != nil {
				return err
			}
		case name == "lock":
			if err := duration(d, &a.Limits.Lock); err != nil {
				return err
			}
		default:
			return d.Errf("%q is no limit: use user_sends, ip_sends, ip_logins, prefix_sends, country_sends, app_sends, budget, conversion, wrong or lock", name)
		}
	}
	return nil
}

// figures reads numbers above 0, a duration as the last of them, and perhaps the
// word record, in the form of an example.
func figures(d *caddyfile.Dispenser, name, example string) (v []int64, record bool, err error) {
	args := d.RemainingArgs()
	if n := len(args); n > 0 && args[n-1] == "record" {
		args, record = args[:n-1], true
	}
	wrong := d.Errf("%s takes numbers above 0 and a duration, and perhaps the word record, e.g. %s %s", name, name, example)
	want := strings.Count(example, " ") + 1
	if len(args) != want {
		return nil, false, wrong
	}
	for _, arg := range args[:want-1] {
		n, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || n < 1 {
			return nil, false, wrong
		}
		v = append(v, n)
	}
	t, err := caddy.ParseDuration(args[want-1])
	if err != nil || t < time.Second {
		return nil, false, wrong
	}
	return append(v, int64(t)), record, nil
}

// settings reads a block of single values, each a word and a value.
func settings(d *caddyfile.Dispenser, what string, to map[string]*string) error {
	seen := map[string]bool{}
	for nest := d.Nesting(); d.NextBlock(nest); {
		name := d.Val()
		p, ok := to[name]
		switch {
		case !ok:
			return d.Errf("%q is no setting of %s", name, what)
		case seen[name]:
			return d.Errf("%s: %s is there twice: the first would be lost", what, name)
		case !d.AllArgs(p):
			return d.ArgErr()
		}
		seen[name] = true
	}
	return nil
}

// UnmarshalCaddyfile reads: embedded [<directory>]
func (s *EmbeddedStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		s.Directory = d.Val()
	}
	return none(d)
}

// UnmarshalCaddyfile reads:
//
//	redis <url>... {
//		username        <ACL user>
//		password        <password>
//		db              <number>
//		key_prefix      <prefix>
//		tls_ca          <file>
//		tls_cert        <file>
//		tls_key         <file>
//		sentinel_master <name>
//		replicas_ack    <n>
//	}
func (s *RedisStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	s.URLs = d.RemainingArgs()
	if len(s.URLs) == 0 {
		return d.Err("store redis needs an address, e.g. redis://127.0.0.1:6379")
	}
	var db, acks string
	err := settings(d, "store redis", map[string]*string{
		"username": &s.Username, "password": &s.Password, "db": &db, "key_prefix": &s.KeyPrefix, "tls_ca": &s.TLSCA,
		"tls_cert": &s.TLSCert, "tls_key": &s.TLSKey, "sentinel_master": &s.SentinelMaster, "replicas_ack": &acks,
	})
	if err != nil {
		return err
	}
	if acks != "" { // 0 is another word than none
		s.ReplicasAck = new(int)
	}
	for _, n := range []struct {
		name, value string
		to          *int
	}{{"db", db, &s.DB}, {"replicas_ack", acks, s.ReplicasAck}} {
		if n.value == "" {
			continue
		}
		if *n.to, err = strconv.Atoi(n.value); err != nil || *n.to < 0 {
			return d.Errf("store redis: %s %q is no number", n.name, n.value)
		}
	}
	return nil
}

// UnmarshalCaddyfile reads: twilio { … }
func (s *TwilioSender) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return twilioAccount(d, "sms twilio", &s.APIKeySID, &s.APIKeySecret, map[string]*string{
		"account_sid": &s.AccountSID, "from": &s.From, "messaging_service": &s.MessagingService,
		"api_url": &s.APIURL, "status_callback": &s.StatusCallback,
		"risk_check": &s.RiskCheck, "content_retention": &s.ContentRetention, "address_retention": &s.AddressRetention,
	}, map[string]func() error{
		"receipt_timeout": func() error { return duration(d, &s.ReceiptAfter) },
		"auth_token": func() error {
			args := d.RemainingArgs()
			if len(args) < 1 || len(args) > 2 {
				return d.Err("sms twilio: auth_token takes the account's token, and the other one while it is changed")
			}
			if s.AuthToken = args[0]; len(args) == 2 {
				s.SecondaryAuthToken = args[1]
			}
			return nil
		},
	})
}

// UnmarshalCaddyfile reads: twilio_verify { … }
func (s *TwilioVerifySender) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return twilioAccount(d, "sms twilio_verify", &s.APIKeySID, &s.APIKeySecret, map[string]*string{
		"account_sid": &s.AccountSID, "auth_token": &s.AuthToken, "service": &s.Service, "template": &s.Template,
		"risk_check": &s.RiskCheck, "api_url": &s.APIURL,
	}, nil)
}

// twilioAccount reads the block of an account at Twilio: words with one value,
// api_key, and others.
func twilioAccount(d *caddyfile.Dispenser, what string, keySID, keySecret *string, to map[string]*string, others map[string]func() error) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := map[string]bool{}
	for nest := d.Nesting(); d.NextBlock(nest); {
		name := d.Val()
		if seen[name] {
			return d.Errf("%s: %s is there twice: the first would be lost", what, name)
		}
		seen[name] = true
		switch p, ok := to[name]; {
		case others[name] != nil:
			if err := others[name](); err != nil {
				return err
			}
		case name == "api_key":
			if !d.AllArgs(keySID, keySecret) {
				return d.Errf("%s: api_key takes the key's SID and its secret", what)
			}
		case !ok:
			return d.Errf("%q is no setting of %s: use api_key, %s", name, what, strings.Join(slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Keys(to)), slices.Collect(maps.Keys(others))))), ", "))
		case !d.AllArgs(p):
			return d.ArgErr()
		}
	}
	return nil
}

// UnmarshalCaddyfile reads:
//
//	webhook <url> {
//		method  POST|PUT
//		header  <name> <value>
//		body    <template of JSON>
//		form    <name> <template>
//		secret  <secret>
//		success [not] status <code>|2xx... | json <path> [<value>] | body <regexp>
//	}
func (s *WebhookSender) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&s.URL) {
		return d.Err("sms webhook needs the gateway's address")
	}
	to := map[string]*string{"method": &s.Method, "body": &s.Body, "secret": &s.Secret}
	for nest := d.Nesting(); d.NextBlock(nest); {
		name := d.Val()
		if err := s.word(d, name, to[name]); err != nil {
			return err
		}
	}
	return nil
}

func (s *WebhookSender) word(d *caddyfile.Dispenser, name string, p *string) error {
	switch {
	case name == "header":
		var k, v string
		if !d.AllArgs(&k, &v) {
			return d.Err("sms webhook: header takes a name and a value")
		}
		for other := range s.Headers {
			if strings.EqualFold(other, k) {
				return d.Errf("sms webhook: header %s is there twice: the first would be lost", k)
			}
		}
		if s.Headers == nil {
			s.Headers = map[string]string{}
		}
		s.Headers[k] = v
	case name == "form":
		var f webhook.Field
		if !d.AllArgs(&f.Name, &f.Value) {
			return d.Err("sms webhook: form takes a field's name and its value, such as {to} or {text}")
		}
		s.Form = append(s.Form, f)
	case name == "success":
		if err := (&parser{}).lines(d, &s.Success); err != nil {
			return err
		}
		_, err := s.success()
		if err != nil {
			return d.WrapErr(err)
		}
	case p == nil:
		return d.Errf("%q is no setting of sms webhook: use method, header, body, form, secret or success", name)
	case *p != "":
		return d.Errf("sms webhook: %s is there twice: the first would be lost", name)
	case !d.AllArgs(p):
		return d.ArgErr()
	}
	return nil
}

// UnmarshalCaddyfile reads: console
func (s *ConsoleSender) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return none(d)
}

// UnmarshalCaddyfile reads: file <path> { region <country> }
func (f *FileDirectory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&f.Path) {
		return d.Err("directory file needs a path")
	}
	return directoryBlock(d, "directory file", map[string]*string{"region": &f.Region}, nil)
}

// UnmarshalCaddyfile reads: ldap <url>... { … }
func (l *LDAPDirectory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if l.Servers = d.RemainingArgs(); len(l.Servers) == 0 {
		return d.Err("directory ldap needs a server's address, e.g. ldaps://ldap.example.com")
	}
	return directoryBlock(d, "directory ldap", map[string]*string{
		"tls_ca": &l.TLSCA, "bind_dn": &l.BindDN, "bind_password": &l.BindPassword, "base": &l.Base, "filter": &l.Filter, "region": &l.Region,
	}, map[string]func() error{
		"timeout":   func() error { return duration(d, &l.Timeout) },
		"start_tls": func() error { l.StartTLS = true; return none(d) },
		"attribute": func() error { return many(d, &l.Attributes) },
	})
}

// UnmarshalCaddyfile reads: http <url> { … }
func (h *HTTPDirectory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&h.URL) {
		return d.Err("directory http needs an address with {user} in it, e.g. https://people.example.com/{user}")
	}
	h.Headers = map[string]string{}
	return directoryBlock(d, "directory http", map[string]*string{"json": &h.JSON, "tls_ca": &h.TLSCA, "region": &h.Region}, map[string]func() error{
		"timeout": func() error { return duration(d, &h.Timeout) },
		"header *": func() error {
			var k, v string
			if !d.AllArgs(&k, &v) {
				return d.Err("directory http: header takes a name and a value")
			}
			if h.Headers[k] != "" {
				return d.Errf("directory http: header %s is there twice: the first would be lost", k)
			}
			h.Headers[k] = v
			return nil
		},
	})
}

// directoryBlock reads the block of a directory: words with one value, and others, of
// which those with a star may repeat.
func directoryBlock(d *caddyfile.Dispenser, what string, values map[string]*string, others map[string]func() error) error {
	seen := map[string]bool{}
	for nest := d.Nesting(); d.NextBlock(nest); {
		name := d.Val()
		if seen[name] {
			return d.Errf("%s: %s is there twice: the first would be lost", what, name)
		}
		seen[name] = true
		var err error
		switch {
		case values[name] != nil:
			if !d.AllArgs(values[name]) {
				err = d.ArgErr()
			}
		case others[name] != nil:
			err = others[name]()
		case others[name+" *"] != nil:
			seen[name] = false
			err = others[name+" *"]()
		default:
			err = d.Errf("%q is no setting of %s", name, what)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
