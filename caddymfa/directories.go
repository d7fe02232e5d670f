package caddymfa

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddymfa/caddymfa/caddymfa/internal/directory"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
)

func init() {
	caddy.RegisterModule(FileDirectory{})
	caddy.RegisterModule(LDAPDirectory{})
	caddy.RegisterModule(HTTPDirectory{})
}

// FileDirectory reads users' numbers from a file.
type FileDirectory struct {
	// Path of the file: a name and a number on each line.
	Path string `json:"path"`
	// Region is the country of numbers without a country code, ISO 3166-1 alpha-2.
	Region string `json:"region,omitempty"`

	*directory.File `json:"-"`
}

// CaddyModule returns the module's information.
func (FileDirectory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.directories.file", New: func() caddy.Module { return new(FileDirectory) }}
}

// Provision reads the file.
func (d *FileDirectory) Provision(caddy.Context) (err error) {
	path := ""
	if err := resolveAll("directory file", []resolved{{&path, "path", d.Path}}); err != nil {
		return err
	}
	d.File, err = directory.Open(path, d.Region)
	return err
}

// LDAPDirectory finds users' numbers in LDAP servers.
type LDAPDirectory struct {
	// Servers are ldaps:// or ldap:// addresses of servers with the same content, tried in this order.
	Servers []string `json:"servers"`
	// StartTLS upgrades ldap:// connections. TLSCA is a PEM file of authorities in
	// place of the system's.
	StartTLS bool   `json:"start_tls,omitempty"`
	TLSCA    string `json:"tls_ca,omitempty"`
	// BindDN and BindPassword sign in. Without them the search is anonymous.
	BindDN       string `json:"bind_dn,omitempty"`
	BindPassword string `json:"bind_password,omitempty"`
	// Base is where the search begins.
	Base string `json:"base"`
	// Filter finds the one entry of {user}. Default: (uid={user}).
	Filter string `json:"filter,omitempty"`
	// Attributes are looked at in this order. Default: mobile.
	Attributes []string `json:"attributes,omitempty"`
	// Region is the country of numbers without a country code, ISO 3166-1 alpha-2.
	Region string `json:"region,omitempty"`
	// Timeout of a look-up. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	ldap   *directory.LDAP
	cached *directory.Cached
}

// SecretFields implements [SecretKeeper].
func (LDAPDirectory) SecretFields() []string { return []string{"bind_password"} }

// CaddyModule returns the module's information.
func (LDAPDirectory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.directories.ldap", New: func() caddy.Module { return new(LDAPDirectory) }}
}

// Provision checks the configuration; nothing is asked yet.
func (d *LDAPDirectory) Provision(caddy.Context) (err error) {
	c := directory.LDAPConfig{StartTLS: d.StartTLS, Filter: d.Filter, Attributes: d.Attributes, Region: d.Region, Timeout: time.Duration(d.Timeout)}
	c.Servers = make([]string, len(d.Servers))
	ca := ""
	all := []resolved{{&c.BindDN, "bind_dn", d.BindDN}, {&c.BindPassword, "bind_password", d.BindPassword}, {&c.Base, "base", d.Base}, {&ca, "tls_ca", d.TLSCA}}
	for i, s := range d.Servers {
		all = append(all, resolved{&c.Servers[i], "server", s})
	}
	if err := resolveAll("directory ldap", all); err != nil {
		return err
	}
	if c.TLS, err = authorities(ca); err != nil {
		return fmt.Errorf("directory ldap: %w", err)
	}
	if d.ldap, err = directory.NewLDAP(c); err != nil {
		return fmt.Errorf("directory ldap: %w", err)
	}
	d.cached = directory.NewCached(d.ldap)
	return nil
}

// Number implements [Directory].
func (d *LDAPDirectory) Number(ctx context.Context, user string) (string, error) {
	return d.cached.Number(ctx, user)
}

// Cleanup gives the connection up.
func (d *LDAPDirectory) Cleanup() error {
	if d.ldap == nil {
		return nil
	}
	return d.ldap.Close()
}

// HTTPDirectory asks an address for users' numbers.
type HTTPDirectory struct {
	// URL is asked by GET; {user} in it is the user's name.
	URL string `json:"url"`
	// Headers are sent along, e.g. Authorization.
	Headers map[string]string `json:"headers,omitempty"`
	// JSON is the dotted path of the number in the answer. Default: phone.
	JSON string `json:"json,omitempty"`
	// TLSCA is a PEM file of authorities in place of the system's.
	TLSCA string `json:"tls_ca,omitempty"`
	// Region is the country of numbers without a country code, ISO 3166-1 alpha-2.
	Region string `json:"region,omitempty"`
	// Timeout of a look-up. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	cached *directory.Cached
}

// SecretFields implements [SecretKeeper].
func (HTTPDirectory) SecretFields() []string { return []string{"headers"} }

// CaddyModule returns the module's information.
func (HTTPDirectory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.directories.http", New: func() caddy.Module { return new(HTTPDirectory) }}
}

// Provision checks the configuration; nothing is asked yet.
func (d *HTTPDirectory) Provision(caddy.Context) (err error) {
	c := directory.HTTPConfig{URL: d.URL, JSON: d.JSON, Region: d.Region, Timeout: time.Duration(d.Timeout), Header: http.Header{}}
	ca := ""
	all := []resolved{{&ca, "tls_ca", d.TLSCA}}
	values := map[string]*string{}
	for name, value := range d.Headers {
		values[name] = new(string)
		all = append(all, resolved{values[name], "header " + name, value})
	}
	if err := resolveAll("directory http", all); err != nil {
		return err
	}
	for name, value := range values {
		c.Header.Set(name, *value)
	}
	if c.TLS, err = authorities(ca); err != nil {
		return fmt.Errorf("directory http: %w", err)
	}
	asked, err := directory.NewHTTP(c)
	if err != nil {
		return fmt.Errorf("directory http: %w", err)
	}
	d.cached = directory.NewCached(asked)
	return nil
}

// Number implements [Directory].
func (d *HTTPDirectory) Number(ctx context.Context, user string) (string, error) {
	return d.cached.Number(ctx, user)
}

// authorities are those of a PEM file, nil for the system's.
func authorities(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file) //nolint:gosec // the operator's file
	if err != nil {
		return nil, fmt.Errorf("tls_ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("tls_ca: %s holds no certificate in PEM form", file)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// staleDirectories counts the files of numbers that cannot be used as they are now.
var staleDirectories = prometheus.NewGauge(prometheus.GaugeOpts{
	Namespace: "caddymfa", Name: "directories_stale",
	Help: "Files of numbers that cannot be used any more as they are; their last good version is in force.",
})

// watchDirectories tells the operator when a file of numbers cannot be used any more.
func (a *App) watchDirectories(all directories) {
	staleDirectories.Set(0)
	var stale sync.Map // the files that cannot be used
	for _, d := range all {
		f, ok := d.(*FileDirectory)
		if !ok {
			continue
		}
		f.Watch(a.ctx, func(err error) {
			e := event.Event{Name: event.DirectoryStale, Reason: event.OK, Detail: "the file " + f.Path + " can be used again, and is"}
			if err != nil {
				e.Reason, e.Err, e.Detail = event.LastGood, err, "the last good version of "+f.Path+" stays in force until the file is mended"
				stale.Store(f, true)
			} else {
				stale.Delete(f)
			}
			n := 0
			stale.Range(func(any, any) bool { n++; return true })
			staleDirectories.Set(float64(n))
			a.observe(a.ctx, e)
		})
	}
}

// directories asks several directories in order.
type directories []Directory

// Number implements [Directory].
func (d directories) Number(ctx context.Context, user string) (string, error) {
	for _, one := range d {
		n, err := one.Number(ctx, user)
		if err != nil || n != "" {
			return n, err
		}
	}
	return "", nil
}

func (a *App) provisionDirectories(ctx caddy.Context) (Directory, error) {
	if len(a.DirectoriesRaw) == 0 {
		return nil, nil
	}
	mods, err := ctx.LoadModule(a, "DirectoriesRaw")
	if err != nil {
		return nil, err
	}
	var all directories
	for _, mod := range mods.([]any) { //nolint:forcetypeassert // what LoadModule gives for a list
		d, ok := mod.(Directory)
		if !ok {
			return nil, fmt.Errorf("directory: module %T is no directory", mod)
		}
		all = append(all, d)
	}
	return all, nil
}
