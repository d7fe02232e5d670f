package redis

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Defaults of [Config].
const (
	DefaultKeyPrefix = "mfa:"
	// A person waits, and a Redis that is slow is as good as away.
	DefaultTimeout = 500 * time.Millisecond
)

// reloadEvery is how often a cluster's layout is read: go-redis's default, 60 s,
// is how long a failover would take.
const reloadEvery = 2 * time.Second

// Config is a Redis. Values are resolved: no placeholders.
type Config struct {
	// URLs are redis://host:port, rediss://host:port (TLS) or unix:///path. One
	// is a server; several are the seeds of a cluster, or the sentinels when
	// SentinelMaster is set. User, password and database in them count where the
	// fields below are empty. Parameters other than ?db= are refused.
	URLs []string
	// Username and Password of an ACL user. See the package's documentation for
	// what it must be allowed.
	Username, Password string
	// DB is the database's number; a cluster has only 0.
	DB int
	// KeyPrefix of all keys, default "mfa:". It may not hold braces, which choose
	// the shard.
	KeyPrefix string
	// TLSCA, TLSCert and TLSKey are files, PEM. One of them switches TLS on.
	TLSCA, TLSCert, TLSKey string
	// SentinelMaster is the name of the master that the sentinels watch.
	SentinelMaster string
	// ReplicasAck is how many replicas must have a write that is not volatile
	// before it counts. Fewer within 3/5 of Timeout are an error. nil is as many as
	// the server has, see Store.need; 0 is none.
	ReplicasAck *int
	// Timeout of a connection, a read and a write. Default 500 ms. A call may
	// take three times as long: it is tried twice.
	Timeout time.Duration
}

// Validate checks the configuration without a connection.
func (c Config) Validate() error {
	_, err := c.options()
	return err
}

func (c Config) options() (*redis.UniversalOptions, error) {
	timeout := cmp.Or(c.Timeout, DefaultTimeout)
	o := &redis.UniversalOptions{
		Username: c.Username, Password: c.Password, DB: c.DB, MasterName: c.SentinelMaster,
		DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, ContextTimeoutEnabled: true,
		// A retry may meet its own write: the scripts know it by its nonce.
		MaxRetries: 1, DialerRetries: 1,
		PipelinePoolSize: -1, // a second pool that nothing here needs
	}
	secure := c.TLSCA != "" || c.TLSCert != "" || c.TLSKey != ""
	for _, raw := range c.URLs {
		u, err := parse(raw)
		if err != nil {
			return nil, err
		}
		secure = secure || u.TLSConfig != nil
		o.Addrs = append(o.Addrs, u.Addr)
		o.Username = cmp.Or(o.Username, u.Username)
		o.Password = cmp.Or(o.Password, u.Password)
		o.DB = cmp.Or(o.DB, u.DB)
	}
	switch {
	case len(o.Addrs) == 0:
		return nil, errors.New("store redis: no address")
	case len(o.Addrs) > 1 && c.SentinelMaster == "" && o.DB != 0:
		return nil, errors.New("store redis: a cluster has no databases: leave db out")
	case strings.ContainsAny(c.KeyPrefix, "{}"):
		return nil, errors.New("store redis: key_prefix may not hold { or }")
	case c.ReplicasAck != nil && *c.ReplicasAck < 0 || timeout < 0:
		return nil, errors.New("store redis: replicas_ack and the timeout may not be negative")
	}
	if secure {
		var err error
		if o.TLSConfig, err = c.tls(); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// parse reads an address. Its errors say nothing of the address: it may hold a
// password.
func parse(raw string) (*redis.Options, error) {
	u, err := url.Parse(raw)
	if err != nil || !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme) {
		return nil, errors.New("store redis: an address is not of the form redis://host:port, rediss://host:port or unix:///path")
	}
	query := u.Query()
	if delete(query, "db"); len(query) > 0 {
		return nil, errors.New("store redis: an address takes no parameter but db")
	}
	o, err := redis.ParseURL(raw)
	if err != nil {
		return nil, errors.New("store redis: an address has a wrong host, path or database")
	}
	return o, nil
}

// tls has no ServerName: go-redis takes the host of each connection.
func (c Config) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("store redis: tls_ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("store redis: tls_ca holds no certificate")
		}
	}
	if c.TLSCert != "" || c.TLSKey != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("store redis: tls_cert, tls_key: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
