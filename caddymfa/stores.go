package caddymfa

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/bolt"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/redis"
)

func init() {
	caddy.RegisterModule(EmbeddedStore{})
	caddy.RegisterModule(RedisStore{})
}

// Store is what a module of the namespace mfa.stores opens. Its contract is
// documented with the type; every implementation must pass the conformance suite.
type Store = store.Store

// StoreOp is one call in a [Store]'s batch.
type StoreOp = store.Op

// lazyStore opens its store when it is first needed. A store that cannot be
// opened is an error of every call, and tried again after a second.
type lazyStore struct {
	opener StoreOpener

	mu     sync.Mutex
	store  store.Store
	err    error
	tried  time.Time
	closed bool
}

func (l *lazyStore) get() (store.Store, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.store != nil:
		return l.store, nil
	case l.closed:
		return nil, store.ErrClosed
	case l.err != nil && time.Since(l.tried) < time.Second:
		return nil, l.err
	}
	s, err := l.opener.Open()
	l.tried, l.err = time.Now(), err
	if err != nil {
		return nil, err // s may be a nil pointer in an interface
	}
	l.store = s
	return s, nil
}

// checker is a store that can say what it thinks of its server.
type checker interface {
	Check(ctx context.Context) (warnings []string, err error)
}

func (l *lazyStore) start(ctx context.Context, log *zap.Logger) error {
	st, err := l.get()
	if err != nil {
		return err
	}
	c, ok := st.(checker)
	if !ok {
		return nil
	}
	warnings, err := c.Check(ctx)
	for _, w := range warnings {
		log.Warn("store: " + w)
	}
	if err != nil {
		log.Error("the store does not answer; until it does, everything but public pages is refused", zap.Error(err))
	}
	return nil
}

// empty reports whether the store holds no record; false where it cannot say.
func (l *lazyStore) empty(ctx context.Context) (bool, error) {
	st, err := l.get()
	if err != nil {
		return false, err
	}
	e, ok := st.(empty)
	if !ok {
		return false, nil
	}
	return e.Empty(ctx)
}

// Destruct implements [caddy.Destructor].
func (l *lazyStore) Destruct() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.store == nil {
		return nil
	}
	err := l.store.Close()
	l.store = nil
	return err
}

func (l *lazyStore) Get(ctx context.Context, key string) (store.Record, error) {
	s, err := l.get()
	if err != nil {
		return store.Record{}, err
	}
	return s.Get(ctx, key)
}

func (l *lazyStore) Put(ctx context.Context, key string, value []byte, v uint64, o store.Options) (uint64, error) {
	s, err := l.get()
	if err != nil {
		return 0, err
	}
	return s.Put(ctx, key, value, v, o)
}

func (l *lazyStore) Take(ctx context.Context, key string) (store.Record, error) {
	s, err := l.get()
	if err != nil {
		return store.Record{}, err
	}
	return s.Take(ctx, key)
}

func (l *lazyStore) Delete(ctx context.Context, key string) error {
	s, err := l.get()
	if err != nil {
		return err
	}
	return s.Delete(ctx, key)
}

func (l *lazyStore) Add(ctx context.Context, key string, n int64, w time.Duration) (store.Count, error) {
	s, err := l.get()
	if err != nil {
		return store.Count{}, err
	}
	return s.Add(ctx, key, n, w)
}

func (l *lazyStore) Join(ctx context.Context, key, m string, ttl time.Duration) error {
	s, err := l.get()
	if err != nil {
		return err
	}
	return s.Join(ctx, key, m, ttl)
}

func (l *lazyStore) Leave(ctx context.Context, key, m string) error {
	s, err := l.get()
	if err != nil {
		return err
	}
	return s.Leave(ctx, key, m)
}

func (l *lazyStore) Members(ctx context.Context, key string) ([]string, error) {
	s, err := l.get()
	if err != nil {
		return nil, err
	}
	return s.Members(ctx, key)
}

func (l *lazyStore) Batch(ctx context.Context, ops ...*store.Op) {
	s, err := l.get()
	if err == nil {
		s.Batch(ctx, ops...)
		return
	}
	for _, o := range ops {
		o.Err = err
	}
}

func (l *lazyStore) Now(ctx context.Context) (time.Time, error) {
	s, err := l.get()
	if err != nil {
		return time.Time{}, err
	}
	return s.Now(ctx)
}

func (l *lazyStore) Close() error { return nil } // the pool closes it

// EmbeddedStore keeps everything in one file, for one Caddy process.
type EmbeddedStore struct {
	// Directory of the file mfa.db and, when none is configured, of the secret.
	// Default: "mfa" in Caddy's data directory.
	Directory string `json:"directory,omitempty"`

	dir string
}

// CaddyModule returns the module's information.
func (EmbeddedStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.stores.embedded", New: func() caddy.Module { return new(EmbeddedStore) }}
}

// Provision finds the directory.
func (s *EmbeddedStore) Provision(caddy.Context) error {
	dir, err := caddy.NewReplacer().ReplaceOrErr(s.Directory, true, false)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	if dir == "" {
		dir = filepath.Join(caddy.AppDataDir(), "mfa")
	}
	s.dir, err = filepath.Abs(dir)
	return err
}

// Key implements [StoreOpener].
func (s *EmbeddedStore) Key() string { return "embedded " + filepath.Clean(s.dir) }

// Dir implements [StoreOpener].
func (s *EmbeddedStore) Dir() string { return s.dir }

// Open implements [StoreOpener].
func (s *EmbeddedStore) Open() (Store, error) { return bolt.Open(filepath.Join(s.dir, "mfa.db")) }

// RedisStore keeps everything in Redis, for any number of Caddy processes.
type RedisStore struct {
	// URLs of the server (redis://, rediss://, unix://); several are the seeds
	// of a cluster, or the sentinels when SentinelMaster is set.
	URLs []string `json:"urls"`
	// Username and Password of an ACL user; placeholders are resolved.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	// DB is the database's number. Default 0.
	DB int `json:"db,omitempty"`
	// KeyPrefix of all keys. Default "mfa:".
	KeyPrefix string `json:"key_prefix,omitempty"`
	// TLSCA, TLSCert and TLSKey are files in PEM form.
	TLSCA   string `json:"tls_ca,omitempty"`
	TLSCert string `json:"tls_cert,omitempty"`
	TLSKey  string `json:"tls_key,omitempty"`
	// SentinelMaster is the name of the master that sentinels watch.
	SentinelMaster string `json:"sentinel_master,omitempty"`
	// ReplicasAck is how many replicas must have a write before it counts. Default:
	// all that are there and not late, at most 3. With fewer, a failover while a
	// replica is late makes used codes valid again; 0 waits for none.
	ReplicasAck *int `json:"replicas_ack,omitempty"`

	config redis.Config
}

// SecretFields implements [SecretKeeper].
func (RedisStore) SecretFields() []string { return []string{"password"} }

// CaddyModule returns the module's information.
func (RedisStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mfa.stores.redis", New: func() caddy.Module { return new(RedisStore) }}
}

// Provision resolves placeholders and checks the addresses.
func (s *RedisStore) Provision(caddy.Context) error {
	if len(s.URLs) == 0 {
		return errors.New("store redis needs an address, e.g. redis://127.0.0.1:6379")
	}
	s.config = redis.Config{DB: s.DB, SentinelMaster: s.SentinelMaster, ReplicasAck: s.ReplicasAck}
	repl := caddy.NewReplacer()
	resolve := func(to *string, name, value string) error {
		v, err := repl.ReplaceOrErr(value, value != "", true)
		if err != nil {
			return fmt.Errorf("store redis: %s: %w", name, err)
		}
		*to = v
		return nil
	}
	for _, u := range s.URLs {
		var v string
		if err := resolve(&v, "address", u); err != nil {
			return err
		}
		s.config.URLs = append(s.config.URLs, v)
	}
	for _, f := range []struct {
		to          *string
		name, value string
	}{
		{&s.config.Username, "username", s.Username},
		{&s.config.Password, "password", s.Password},
		{&s.config.KeyPrefix, "key_prefix", s.KeyPrefix},
		{&s.config.TLSCA, "tls_ca", s.TLSCA},
		{&s.config.TLSCert, "tls_cert", s.TLSCert},
		{&s.config.TLSKey, "tls_key", s.TLSKey},
	} {
		if err := resolve(f.to, f.name, f.value); err != nil {
			return err
		}
	}
	return s.config.Validate()
}

// Key implements [StoreOpener].
func (s *RedisStore) Key() string {
	c, acks := s.config, "" // a pointer says nothing
	if c.ReplicasAck != nil {
		acks = strconv.Itoa(*c.ReplicasAck)
		c.ReplicasAck = nil
	}
	h := sha256.Sum256([]byte(strings.Join(c.URLs, " ") + fmt.Sprintf("%+v", c) + acks))
	return "redis " + hex.EncodeToString(h[:])
}

// Place is where the store is, whoever asks and however.
func (s *RedisStore) Place() string {
	var at []string
	for _, raw := range s.config.URLs {
		if u, err := url.Parse(raw); err == nil {
			u.User = nil
			u.Scheme = strings.Replace(u.Scheme, "rediss", "redis", 1)
			raw = u.String()
		}
		at = append(at, raw)
	}
	slices.Sort(at)
	return fmt.Sprintf("redis %s db %d prefix %q master %q", strings.Join(at, " "), s.config.DB, cmp.Or(s.config.KeyPrefix, redis.DefaultKeyPrefix), s.config.SentinelMaster)
}

// Dir implements [StoreOpener]: nodes share the store, so they must share a
// configured secret.
func (s *RedisStore) Dir() string { return "" }

// Open implements [StoreOpener].
func (s *RedisStore) Open() (Store, error) { return redis.Open(s.config) }

var (
	_ StoreOpener       = (*EmbeddedStore)(nil)
	_ StoreOpener       = (*RedisStore)(nil)
	_ caddy.Provisioner = (*EmbeddedStore)(nil)
	_ caddy.Provisioner = (*RedisStore)(nil)
)
