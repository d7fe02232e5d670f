// Package caddymfa is a Caddy module that puts an SMS code behind a legacy
// application's own login. The app "mfa" holds what all sites share (secret,
// store, senders), the handler http.handlers.mfa stands in front of one
// application. This package translates between Caddy and the rooms below
// internal/; it decides nothing.
package caddymfa

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/birth"
	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/loginradius"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

func init() {
	caddy.RegisterModule(App{})
}

// App is the app "mfa": what all sites share.
type App struct {
	// Secrets of at least 32 bytes each, the newest first; several for a
	// rotation. Placeholders such as {file./run/secrets/mfa} are resolved when
	// the configuration loads. Without one the embedded store makes its own.
	Secrets []string `json:"secrets,omitempty"`

	// StoreRaw is where sessions and enrolments lie. Default: embedded.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=mfa.stores inline_key=backend"`

	// SendersRaw are tried in this order. At least one is needed.
	SendersRaw []json.RawMessage `json:"senders,omitempty" caddy:"namespace=mfa.senders inline_key=provider"`

	// DirectoriesRaw know users' numbers; tried in this order.
	DirectoriesRaw []json.RawMessage `json:"directories,omitempty" caddy:"namespace=mfa.directories inline_key=kind"`

	// Countries whose numbers may get a text, ISO 3166-1 alpha-2. Default: the
	// country of a sender's numeric "from", with a warning.
	Countries []string `json:"countries,omitempty"`

	// Templates are texts by name and language, with {code}, {app}, {minutes}.
	// The one named default is sent unless a client of the API asks for another.
	Templates map[string]map[string]string `json:"templates,omitempty"`

	// Code says how codes are.
	Code *CodeConfig `json:"code,omitempty"`

	// Resend are the waits before each further text. Default 30s, 60s, 120s.
	Resend []caddy.Duration `json:"resend,omitempty"`

	// Limits bound texts and wrong codes.
	Limits *LimitsConfig `json:"limits,omitempty"`

	// Spool is the room in bytes, in temporary files, for long bodies that must be
	// read before they go on, of all requests together: uploads of verified users to
	// applications that take a login at any address. Default 1 GiB.
	Spool int64 `json:"spool,omitempty"`

	// Cache bounds the copies of sessions that this process keeps in memory for a
	// second, in bytes. Default 32 MiB.
	Cache int64 `json:"cache,omitempty"`

	// API turns on LoginRadius' API for programs.
	API *APIConfig `json:"api,omitempty"`

	ctx caddy.Context
	log *zap.Logger
	// emitter is Caddy's events app; nil where the app was not provisioned.
	emitter *caddyevents.App
	flow    *flow.Flow
	pages   *page.Pages
	ring    *keyring.Ring
	apps    *atomic.Pointer[[]string] // names of the applications, once started
	placing *placing
	held    []string // keys of the pool that this configuration holds
	codes   challenge.Rules
	phones  phone.Policy
	spool   *intake.Spool

	clients []*loginradius.Client
}

// CodeConfig says how codes are.
type CodeConfig struct {
	// Length in digits, 6 to 10. Default 6.
	Length int `json:"length,omitempty"`
	// Lifetime, at most 10m. Default 5m.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`
	// Tries per challenge. Default 5.
	Tries int `json:"tries,omitempty"`
}

// RateConfig is so many acts in a window.
type RateConfig struct {
	N      int64          `json:"n"`
	Window caddy.Duration `json:"window"`
	// Record counts and alarms, and refuses nothing.
	Record bool `json:"record,omitempty"`
}

// ConversionConfig stops texts to a country when too few are answered by a
// right code.
type ConversionConfig struct {
	// Percent that must be answered of those above Floor in a Window.
	Percent int64          `json:"percent"`
	Floor   int64          `json:"floor"`
	Window  caddy.Duration `json:"window"`
	Record  bool           `json:"record,omitempty"`
}

// LimitsConfig bounds texts and wrong codes.
type LimitsConfig struct {
	// UserSends bounds texts to a user, and to a number, that were not answered
	// by a right code. Default 10 in 24h.
	UserSends *RateConfig `json:"user_sends,omitempty"`
	// IPLogins bounds wrong passwords of an IPv4 address or IPv6 /64. Default 100 in 15m.
	IPLogins *RateConfig `json:"ip_logins,omitempty"`
	// IPSends bounds texts by an IPv4 address or IPv6 /64 that were not answered by a
	// right code. Default 20 in 1h.
	IPSends *RateConfig `json:"ip_sends,omitempty"`
	// PrefixSends bounds texts to a block of numbers that were not answered by a right
	// code. Default 30 in 1h.
	PrefixSends *RateConfig `json:"prefix_sends,omitempty"`
	// CountrySends bounds texts to a country, AppSends those of an application.
	// Default: the budget does.
	CountrySends *RateConfig `json:"country_sends,omitempty"`
	AppSends     *RateConfig `json:"app_sends,omitempty"`
	// Budget bounds all texts. Default 1000 in 1h.
	Budget *RateConfig `json:"budget,omitempty"`
	// Conversion. Default 10 % above 50 in 1h.
	Conversion *ConversionConfig `json:"conversion,omitempty"`
	// Wrong codes in a row that lock a user. Default 10.
	Wrong int `json:"wrong,omitempty"`
	// Lock is for how long. Default 30m.
	Lock caddy.Duration `json:"lock,omitempty"`
}

// CaddyModule returns the module's information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa", New: func() caddy.Module { return new(App) }}
}

// defaultSpool is the room for long bodies, in bytes.
const defaultSpool = 1 << 30

// pool keeps stores and session tables over reloads.
var pool = caddy.NewUsagePool()

// Provision checks the configuration and prepares everything, but opens no
// store: another Caddy may run beside this one, as with "caddy validate".
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.log, a.apps, a.placing = ctx, ctx.Logger(), new(atomic.Pointer[[]string]), new(placing)
	if err := a.provisionCodes(); err != nil {
		return err
	}
	if err := a.provisionAPI(); err != nil {
		return err
	}
	if a.spool = (&intake.Spool{Size: defaultSpool}); a.Spool != 0 {
		a.spool.Size = a.Spool
	}
	st, opener, err := a.provisionStore(ctx)
	if err != nil {
		return err
	}
	if err := a.provisionSecrets(opener); err != nil {
		return err
	}
	senders, err := a.provisionSenders(ctx)
	if err != nil {
		return err
	}
	texts, named, err := a.provisionTexts()
	if err != nil {
		return err
	}
	directory, err := a.provisionDirectories(ctx)
	if err != nil {
		return err
	}
	if a.pages, err = page.New(); err != nil {
		return err
	}
	if err := a.listenForAlarms(ctx); err != nil {
		return err
	}
	watch, err := a.watch(opener, st)
	if err != nil {
		return err
	}
	table, err := a.table(opener.Key(), st, watch)
	if err != nil {
		return err
	}
	if err := a.registerMetrics(ctx, table); err != nil {
		return err
	}
	limits, err := a.sendLimits()
	if err != nil {
		return err
	}
	a.flow = &flow.Flow{
		Sessions: table, Store: st, Birth: watch, Accounts: account.New(st, a.ring, a.wrongCodes()),
		Limits: limit.New(st, a.ring, limits), Directory: directory,
		SMS: senders, Texts: texts, Named: named, Phones: a.phones, Codes: a.codes, Events: a.observe,
	}
	if senders.Reports() {
		a.flow.Receipts = senders
	}
	a.flow.Open(a.ring)
	return nil
}

// Start places the gates on their hosts and opens the store. An embedded store that another process holds stops
// the configuration here, with its reason; a Redis that is away does not: it
// may come later, and until then everything is refused.
func (a *App) Start() error {
	if err := a.place(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if lazy, ok := a.flow.Store.(*lazyStore); ok {
		if err := lazy.start(ctx, a.log); err != nil {
			return err
		}
	}
	a.startWatch(ctx)
	if all, ok := a.flow.Directory.(directories); ok {
		a.watchDirectories(all)
	}
	return nil
}

// Stop does nothing: requests of the old configuration may still be under way.
func (a *App) Stop() error { return nil }

// Cleanup gives back what the pool holds for this configuration. The last one
// to leave closes it.
func (a *App) Cleanup() error {
	if a.flow != nil {
		a.flow.Close()
	}
	var err error
	for _, v := range slices.Backward(a.held) { // tables before their store
		_, e := pool.Delete(v)
		err = errors.Join(err, e)
	}
	a.held = nil
	return err
}

func (a *App) hold(key string, make func() (caddy.Destructor, error)) (any, error) {
	v, _, err := pool.LoadOrNew(key, make)
	if err == nil {
		a.held = append(a.held, key)
	}
	return v, err
}

func (a *App) provisionCodes() error {
	if a.Code != nil {
		a.codes = challenge.Rules{Length: a.Code.Length, Lifetime: time.Duration(a.Code.Lifetime), Tries: a.Code.Tries}
	}
	for _, d := range a.Resend {
		a.codes.Resend = append(a.codes.Resend, time.Duration(d))
	}
	return a.codes.Complete()
}

// StoreOpener is what a module of the namespace mfa.stores implements.
type StoreOpener interface {
	// Key tells stores apart; it holds no secret.
	Key() string
	// Open opens the store when it is first needed.
	Open() (Store, error)
	// Dir is where a secret can be kept beside the store, "" when several
	// processes share it and the secret must be configured.
	Dir() string
}

func (a *App) provisionStore(ctx caddy.Context) (store.Store, StoreOpener, error) {
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"backend":"embedded"}`)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return nil, nil, fmt.Errorf("store: %w", err)
	}
	opener, ok := mod.(StoreOpener)
	if !ok {
		return nil, nil, fmt.Errorf("store: module %T is no store", mod)
	}
	v, err := a.hold("store "+opener.Key(), func() (caddy.Destructor, error) { return &lazyStore{opener: opener}, nil })
	if err != nil {
		return nil, nil, fmt.Errorf("store: %w", err)
	}
	return v.(*lazyStore), opener, nil //nolint:forcetypeassert // the pool's own
}

// provisionSecrets resolves the secrets, or lets the embedded store keep one.
func (a *App) provisionSecrets(opener StoreOpener) error {
	var secrets [][]byte
	repl := caddy.NewReplacer()
	for i, s := range a.Secrets {
		v, err := repl.ReplaceOrErr(s, true, true)
		if err != nil {
			return fmt.Errorf("secret %d: %w", i+1, err)
		}
		if s == v {
			a.log.Warn("the secret stands in the configuration itself, where the admin API and caddy adapt show it: use {file.*} or {env.*}")
		}
		secrets = append(secrets, []byte(v))
	}
	if len(secrets) == 0 {
		if opener.Dir() == "" {
			return errors.New("secret is missing: with a shared store all nodes need the same one; write \"secret {file./path}\" with at least 32 bytes (openssl rand -hex 32)")
		}
		s, err := keptSecret(opener.Dir())
		if err != nil {
			return err
		}
		secrets = [][]byte{s}
	}
	var err error
	a.ring, err = keyring.New(secrets...)
	return err
}

// keptSecret reads the secret beside the embedded store, and makes it at the
// first start. Of two processes that make it at once one wins.
func keptSecret(dir string) ([]byte, error) {
	path := filepath.Join(dir, "secret")
	read := func() ([]byte, error) {
		b, err := os.ReadFile(path) //nolint:gosec // the operator's directory
		if err != nil {
			return nil, err
		}
		return []byte(strings.TrimSpace(string(b))), nil
	}
	if b, err := read(); err == nil {
		return b, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("secret: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("secret: %w (name a writable directory: store embedded <directory>)", err)
	}
	var fresh [32]byte
	_, _ = rand.Read(fresh[:]) // crypto/rand never fails since Go 1.24
	// Written whole under another name and linked: a reader sees all or nothing.
	tmp, err := os.CreateTemp(dir, "secret-")
	if err != nil {
		return nil, fmt.Errorf("secret: %w (name a writable directory: store embedded <directory>)", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(hex.EncodeToString(fresh[:]) + "\n")
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	// Now, so that a secret that "caddy validate" has made is no sign of a store.
	if err := birth.Unborn(filepath.Join(dir, markerFile)); err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("secret: %w", err)
	}
	return read()
}

// table shares the sessions of one store under the same secrets over reloads,
// so that streams opened before a reload still end with their session.
func (a *App) table(storeKey string, st store.Store, watch *birth.Watch) (*session.Table, error) {
	if a.Cache != 0 && a.Cache < minCache {
		return nil, fmt.Errorf("cache: %d bytes are too few, write at least 1MiB", a.Cache)
	}
	v, err := a.hold("table "+storeKey+" "+a.secretsKey(), func() (caddy.Destructor, error) {
		t := session.NewTable(st, a.ring)
		t.Within(watch.Generation)
		return &pooledTable{t}, nil
	})
	if err != nil {
		return nil, err
	}
	table := v.(*pooledTable).Table //nolint:forcetypeassert // the pool's own
	table.Bound(cmp.Or(a.Cache, session.DefaultCache))
	return table, nil
}

// minCache is the least that the copies of sessions may take, in bytes: with less,
// people at once push each other's out.
const minCache = 1 << 20

// secretsKey tells sets of secrets apart.
func (a *App) secretsKey() string {
	h := sha256.New()
	for _, s := range a.ring.Fingerprints() {
		h.Write([]byte(s))
	}
	return hex.EncodeToString(h.Sum(nil))
}

type pooledTable struct{ *session.Table }

// Destruct implements [caddy.Destructor].
func (t *pooledTable) Destruct() error { t.Close(); return nil }

func (a *App) wrongCodes() account.Rules {
	if a.Limits == nil {
		return account.Rules{}
	}
	return account.Rules{Wrong: a.Limits.Wrong, Lock: time.Duration(a.Limits.Lock)}
}

// sendLimits are the configured limits. One that is not complete would stand for
// the default, or for no text at all.
func (a *App) sendLimits() (l limit.Limits, err error) {
	if a.Limits == nil {
		return l, nil
	}
	for _, r := range []struct {
		name string
		from *RateConfig
		to   *limit.Rate
	}{
		{"user_sends", a.Limits.UserSends, &l.UserSends},
		{"ip_logins", a.Limits.IPLogins, &l.IPLogins},
		{"ip_sends", a.Limits.IPSends, &l.IPSends},
		{"prefix_sends", a.Limits.PrefixSends, &l.PrefixSends},
		{"country_sends", a.Limits.CountrySends, &l.CountrySends},
		{"app_sends", a.Limits.AppSends, &l.AppSends},
		{"budget", a.Limits.Budget, &l.Budget},
	} {
		if r.from == nil {
			continue
		}
		*r.to = limit.Rate{N: r.from.N, Window: time.Duration(r.from.Window), Record: r.from.Record}
		if r.to.N < 1 || r.to.Window < time.Second {
			return l, fmt.Errorf("limits: %s needs a number above 0 and a window of at least 1s", r.name)
		}
	}
	if c := a.Limits.Conversion; c != nil {
		l.Conversion = limit.Conversion{Percent: c.Percent, Floor: c.Floor, Window: time.Duration(c.Window), Record: c.Record}
		if c.Percent < 1 || c.Percent > 100 || c.Floor < 1 || l.Conversion.Window < time.Second {
			return l, errors.New("limits: conversion needs a percentage from 1 to 100, a floor above 0 and a window of at least 1s")
		}
	}
	return l, nil
}

// defaultTemplate is the text of the code where nobody asks for another.
const defaultTemplate = "default"

func (a *App) provisionTexts() (texts *sms.Templates, named map[string]*sms.Templates, err error) {
	named = map[string]*sms.Templates{}
	for name := range a.Templates {
		if named[name], err = sms.NewTemplates(a.Templates[name]); err != nil {
			return nil, nil, fmt.Errorf("template %s: %w", name, err)
		}
	}
	if texts = named[defaultTemplate]; texts == nil {
		texts, err = sms.NewTemplates(nil)
	}
	return texts, named, err
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
