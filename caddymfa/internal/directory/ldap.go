package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
)

// LDAP is a directory in one or several LDAP servers with the same content.
// It is safe for concurrent use.
type LDAP struct {
	c LDAPConfig

	mu   sync.Mutex
	conn *ldap.Conn // nil while there is none
	last int        // the server that answered last
}

// LDAPConfig says where users are and which attribute is the number.
type LDAPConfig struct {
	// Servers are ldap:// and ldaps:// addresses, tried in this order.
	Servers []string
	// StartTLS upgrades ldap:// connections. A password without TLS is refused.
	StartTLS bool
	// TLS are the roots and the client's certificate; nil is the system's.
	TLS *tls.Config
	// BindDN and BindPassword sign in; without them the search is anonymous.
	BindDN, BindPassword string
	// Base is where the search begins; it covers the whole subtree.
	Base string
	// Filter finds one entry; {user} is the name, escaped (RFC 4515 3). Default
	// (uid={user}).
	Filter string
	// Attributes are looked at in this order; the first with a number is it.
	// Default mobile.
	Attributes []string
	// Region is the country that numbers without a country code are read in, "" for none.
	Region string
	// Timeout bounds a look-up over all servers. Default 5 s.
	Timeout time.Duration
}

// placeholder stands for the user's name in filters and addresses.
const placeholder = "{user}"

// NewLDAP checks the configuration. It does not connect: a directory that is
// away when Caddy starts may be there at the first login.
func NewLDAP(c LDAPConfig) (*LDAP, error) {
	if c.Filter == "" {
		c.Filter = "(uid=" + placeholder + ")"
	}
	if len(c.Attributes) == 0 {
		c.Attributes = []string{"mobile"}
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Timeout < 0 || c.Timeout > 30*time.Second {
		return nil, fmt.Errorf("timeout %s: at most 30s, somebody is waiting", c.Timeout)
	}
	if len(c.Servers) == 0 {
		return nil, errors.New("a server's address is missing, e.g. ldaps://ldap.example.com")
	}
	for _, s := range c.Servers {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "ldap" && u.Scheme != "ldaps":
			return nil, fmt.Errorf("%q is no address of an LDAP server: write ldaps://host or ldap://host", s)
		case u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
			return nil, fmt.Errorf("%s: name the server only; who signs in and where to search are settings of their own", u.Host)
		case u.Scheme == "ldap" && !c.StartTLS && c.BindPassword != "" && !local(u.Hostname()):
			return nil, fmt.Errorf("%s: the password would travel in clear text: use ldaps:// or start_tls", s)
		}
	}
	switch {
	case c.Base == "":
		return nil, errors.New("base is missing: where the search for users begins, e.g. ou=people,dc=example,dc=com")
	case !strings.Contains(c.Filter, placeholder):
		return nil, fmt.Errorf("filter %q finds the same entry for everybody: put {user} into it", c.Filter)
	case (c.BindDN == "") != (c.BindPassword == ""):
		return nil, errors.New("bind_dn and bind_password belong together: a name without a password is an anonymous bind (RFC 4513 5.1.2)")
	}
	if _, err := ldap.ParseDN(c.Base); err != nil {
		return nil, fmt.Errorf("base %q: %w", c.Base, err)
	}
	if _, err := ldap.CompileFilter(strings.ReplaceAll(c.Filter, placeholder, "x")); err != nil {
		return nil, fmt.Errorf("filter %q: %w", c.Filter, err)
	}
	return &LDAP{c: c}, nil
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Number implements the flow's Directory. Nobody found, or an entry without a
// number, is "". Two entries for one name are an error: either could be meant.
func (d *LDAP) Number(ctx context.Context, user string) (string, error) {
	if user == "" {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.c.Timeout)
	defer cancel()
	var failed error
	for range len(d.c.Servers) + 1 { // a connection that has died unnoticed costs one round
		conn, err := d.connected(ctx)
		if err != nil {
			return "", errors.Join(err, failed)
		}
		entry, err := d.find(ctx, conn, user)
		switch {
		case err == nil && entry == nil:
			return "", nil
		case err == nil:
			return d.number(entry), nil
		case errors.Is(err, errSeveral):
			return "", err
		}
		failed = err
		d.drop(conn)
	}
	return "", failed
}

var errSeveral = errors.New("directory: several entries have this user's name: make the filter or the base narrower")

func (d *LDAP) find(ctx context.Context, conn *ldap.Conn, user string) (*ldap.Entry, error) {
	filter := strings.ReplaceAll(d.c.Filter, placeholder, ldap.EscapeFilter(user))
	seconds := max(1, int(d.c.Timeout/time.Second))
	req := ldap.NewSearchRequest(d.c.Base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, seconds, false, filter, d.c.Attributes, nil)
	type result struct {
		res *ldap.SearchResult
		err error
	}
	// The library knows no context for a search; the connection's own timeout
	// ends what nobody waits for any more.
	done := make(chan result, 1)
	go func() {
		res, err := conn.Search(req)
		done <- result{res, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		return nil, fmt.Errorf("directory: %w", ctx.Err())
	}
	switch {
	case ldap.IsErrorWithCode(r.err, ldap.LDAPResultSizeLimitExceeded):
		return nil, errSeveral
	case ldap.IsErrorWithCode(r.err, ldap.LDAPResultNoSuchObject):
		return nil, fmt.Errorf("directory: the base %q does not exist", d.c.Base)
	case r.err != nil:
		return nil, fmt.Errorf("directory: %w", r.err)
	case len(r.res.Entries) > 1:
		return nil, errSeveral
	case len(r.res.Entries) == 0:
		return nil, nil
	}
	return r.res.Entries[0], nil
}

func (d *LDAP) number(e *ldap.Entry) string {
	for _, name := range d.c.Attributes {
		for _, v := range e.GetEqualFoldAttributeValues(name) {
			if n, err := phone.Parse(v, d.c.Region); err == nil {
				return n.E164()
			}
		}
	}
	return ""
}

// connected returns the one connection, or makes it: to the server that
// answered last, then to the others.
func (d *LDAP) connected(ctx context.Context) (*ldap.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil && !d.conn.IsClosing() {
		return d.conn, nil
	}
	var failed error
	for i := range d.c.Servers {
		at := (d.last + i) % len(d.c.Servers)
		conn, err := d.dial(ctx, d.c.Servers[at])
		if err == nil {
			d.conn, d.last = conn, at
			return conn, nil
		}
		failed = errors.Join(failed, fmt.Errorf("directory: %s: %w", d.c.Servers[at], err))
	}
	return nil, failed
}

func (d *LDAP) dial(ctx context.Context, server string) (*ldap.Conn, error) {
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	// No server may use up the time of all.
	each := max(time.Second, left/time.Duration(len(d.c.Servers)))
	conn, err := ldap.DialURL(server, ldap.DialWithDialer(&net.Dialer{Timeout: min(each, left)}), ldap.DialWithTLSConfig(d.tls(server)))
	if err != nil {
		return nil, err
	}
	conn.SetTimeout(d.c.Timeout)
	if d.c.StartTLS && strings.HasPrefix(server, "ldap://") {
		if err := conn.StartTLS(d.tls(server)); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("start_tls: %w", err)
		}
	}
	if d.c.BindDN != "" {
		if err := conn.Bind(d.c.BindDN, d.c.BindPassword); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("bind: %w", err)
		}
	}
	return conn, nil
}

func (d *LDAP) tls(server string) *tls.Config {
	c := d.c.TLS.Clone()
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if u, err := url.Parse(server); err == nil {
		c.ServerName = u.Hostname()
	}
	return c
}

// drop gives up a connection that has failed, unless another caller has.
func (d *LDAP) drop(conn *ldap.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == conn {
		d.conn = nil
		d.last = (d.last + 1) % len(d.c.Servers)
	}
	_ = conn.Close()
}

// Close gives the connection up.
func (d *LDAP) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil {
		return nil
	}
	conn := d.conn
	d.conn = nil
	return conn.Close()
}
