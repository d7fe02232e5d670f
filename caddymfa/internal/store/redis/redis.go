// Package redis keeps the gate's state in Redis, for any number of processes:
// one server, Sentinel or Cluster.
package redis

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Config is a Redis. Values are resolved: no placeholders.
type Config struct {
	URLs                   []string
	Username, Password     string
	DB                     int
	KeyPrefix              string // default "mfa:"
	TLSCA, TLSCert, TLSKey string // files, PEM
	SentinelMaster         string
	ReplicasAck            int
}

// Times: a person waits, and a Redis that is slow is as good as away.
const (
	ioTime      = 500 * time.Millisecond
	waitTime    = 500 * time.Millisecond
	reloadEvery = 2 * time.Second
	// nonceLife is how long the answer of a write is kept for its own retry.
	nonceLife = 10 * time.Second
)

// Store is a [store.Store] in Redis. See Open.
type Store struct {
	client redis.UniversalClient
	prefix string
	acks   int
}

// go-redis prints to standard error by itself. What it has to say comes back
// as an error, and is logged by the gate.
func init() { redis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Validate checks the configuration without a connection.
func (c Config) Validate() error {
	_, err := c.options()
	return err
}

func (c Config) options() (*redis.UniversalOptions, error) {
	o := &redis.UniversalOptions{
		Username: c.Username, Password: c.Password, DB: c.DB, MasterName: c.SentinelMaster,
		DialTimeout: ioTime, ReadTimeout: ioTime, WriteTimeout: ioTime, ContextTimeoutEnabled: true,
		// A retry may meet its own write: the scripts know it by its nonce.
		MaxRetries: 1, DialerRetries: 1,
	}
	secure := false
	for _, raw := range c.URLs {
		u, err := redis.ParseURL(raw)
		if err != nil {
			return nil, errors.New("store redis: an address is not of the form redis://host:port, rediss://host:port or unix:///path") // err would show a password
		}
		secure = secure || u.TLSConfig != nil
		o.Addrs = append(o.Addrs, u.Addr)
		if u.Username != "" && o.Username == "" {
			o.Username = u.Username
		}
		if u.Password != "" && o.Password == "" {
			o.Password = u.Password
		}
		if u.DB != 0 && o.DB == 0 {
			o.DB = u.DB
		}
	}
	if len(o.Addrs) == 0 {
		return nil, errors.New("store redis: no address")
	}
	if len(o.Addrs) > 1 && c.SentinelMaster == "" && o.DB != 0 {
		return nil, errors.New("store redis: a cluster has no databases: leave db out")
	}
	if !secure && c.TLSCA == "" && c.TLSCert == "" {
		return o, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if host, _, err := net.SplitHostPort(o.Addrs[0]); err == nil && len(o.Addrs) == 1 {
		t.ServerName = host
	}
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
	if c.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("store redis: tls_cert, tls_key: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	o.TLSConfig = t
	return o, nil
}

// Open makes the client. It connects when it is first used.
func Open(c Config) (*Store, error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	if c.KeyPrefix == "" {
		c.KeyPrefix = "mfa:"
	}
	s := &Store{prefix: c.KeyPrefix, acks: c.ReplicasAck}
	if len(o.Addrs) > 1 && o.MasterName == "" {
		cluster := o.Cluster()
		cluster.ClusterStateReloadInterval = reloadEvery // the default, 60 s, is how long a failover would take
		s.client = redis.NewClusterClient(cluster)
	} else {
		s.client = redis.NewUniversalClient(o)
	}
	return s, nil
}

// Check asks the server whether it keeps what it is given.
func (s *Store) Check(ctx context.Context) (warnings []string, err error) {
	if err := s.client.Ping(ctx).Err(); err != nil {
		return nil, fmt.Errorf("store redis: %w", err)
	}
	info, err := s.client.Info(ctx, "persistence", "memory").Result()
	if err != nil {
		return []string{"redis: INFO is not allowed, so nobody can say whether the server keeps what it is given"}, nil //nolint:nilerr // an ACL without INFO is no fault
	}
	if strings.Contains(info, "aof_enabled:0") {
		warnings = append(warnings, "redis runs without AOF: after a crash used codes may be valid again and enrolments gone; set appendonly yes")
	}
	for line := range strings.Lines(info) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:"); ok && p != "noeviction" {
			warnings = append(warnings, "redis may evict sessions, locks and enrolments (maxmemory-policy "+p+"): set noeviction")
		}
	}
	return warnings, nil
}

// key places everything of one key on one shard.
func (s *Store) key(kind, key string) string { return s.prefix + kind + ":{" + key + "}" }

// Every write is one script. It begins by looking whether it has run before,
// under the caller's nonce: go-redis sends a write again when the answer was
// lost. KEYS: the key, the nonce's key.
const (
	guarded = `local done = redis.call('GET', KEYS[2])
if done then return cjson.decode(done) end
local function finish(r) redis.call('SET', KEYS[2], cjson.encode(r), 'PX', ARGV[1]) return r end
`
	putLua = guarded + `local v = redis.call('HGET', KEYS[1], 'v') or '0'
if v ~= ARGV[2] then return finish({0}) end
redis.call('HSET', KEYS[1], 'v', ARGV[3], 'd', ARGV[4])
if ARGV[5] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
return finish({1})`
	addLua = guarded + `local n = tonumber(redis.call('GET', KEYS[1]) or '0') + tonumber(ARGV[2])
if n < 0 then n = 0 end
local left = redis.call('PTTL', KEYS[1])
if left <= 0 then left = tonumber(ARGV[3]) end
redis.call('SET', KEYS[1], n, 'PX', left)
return finish({n, left})`
	// take keeps the value for the retry only, for as long as a retry may come.
	takeLua = `local done = redis.call('HMGET', KEYS[2], 'v', 'd')
if done[1] then return done end
local r = redis.call('HMGET', KEYS[1], 'v', 'd')
if not r[1] then return false end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[2], 'v', r[1], 'd', r[2])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return r`
	joinLua = `local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[2])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', KEYS[1], math.max(1, last[2] - now))
return 1`
	deleteLua  = `return redis.call('DEL', KEYS[1], KEYS[2])`
	membersLua = `local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')`
)

var (
	putScript     = redis.NewScript(putLua)
	addScript     = redis.NewScript(addLua)
	takeScript    = redis.NewScript(takeLua)
	deleteScript  = redis.NewScript(deleteLua)
	joinScript    = redis.NewScript(joinLua)
	membersScript = redis.NewScript(membersLua)
)

func millis(d time.Duration) int64 { return max(1, int64((d+time.Millisecond-1)/time.Millisecond)) }

// run runs a script under a nonce; durable ones wait for their replicas.
func (s *Store) run(ctx context.Context, script *redis.Script, key string, durable bool, args ...any) (any, error) {
	nonce := key + ":n:" + rand.Text()
	args = append([]any{millis(nonceLife)}, args...)
	if durable && s.acks > 0 {
		return s.runAcked(ctx, script, []string{key, nonce}, args)
	}
	v, err := script.Run(ctx, s.client, []string{key, nonce}, args...).Result()
	return v, s.wrap(ctx, err)
}

// runAcked sends the script and WAIT on one connection: WAIT speaks of the
// writes of its own connection only.
func (s *Store) runAcked(ctx context.Context, script *redis.Script, keys []string, args []any) (any, error) {
	node, err := s.node(ctx, keys[0])
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	var eval *redis.Cmd
	var wait *redis.Cmd
	for range 2 {
		_, _ = node.Pipelined(ctx, func(p redis.Pipeliner) error {
			eval = p.EvalSha(ctx, script.Hash(), keys, args...)
			wait = p.Do(ctx, "WAIT", s.acks, millis(waitTime))
			return nil
		})
		if !redis.HasErrorPrefix(eval.Err(), "NOSCRIPT") {
			break
		}
		if err := script.Load(ctx, node).Err(); err != nil {
			return nil, s.wrap(ctx, err)
		}
	}
	v, err := eval.Result()
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	if n, err := wait.Int64(); err != nil || n < int64(s.acks) {
		return nil, fmt.Errorf("store redis: %d of %d replicas have the write", n, s.acks)
	}
	return v, nil
}

func (s *Store) node(ctx context.Context, key string) (*redis.Client, error) {
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		return c.MasterForKey(ctx, key)
	case *redis.Client:
		return c, nil
	}
	return nil, errors.New("replicas_ack is not possible with this client")
}

// wrap hides nothing but nil; after a network error a cluster is looked at anew.
func (s *Store) wrap(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		return err
	}
	var ne net.Error
	if c, ok := s.client.(*redis.ClusterClient); ok && errors.As(err, &ne) {
		c.ReloadState(context.WithoutCancel(ctx))
	}
	if errors.Is(err, redis.ErrClosed) {
		return store.ErrClosed
	}
	return fmt.Errorf("store redis: %w", err)
}

func tooLarge(key string, value []byte) error {
	if len(key) > store.MaxKey || len(value) > store.MaxValue {
		return store.ErrTooLarge
	}
	return nil
}

// record reads {version, value}.
func record(v any) (store.Record, error) {
	list, ok := v.([]any)
	if !ok || len(list) != 2 || list[0] == nil {
		return store.Record{}, store.ErrNotFound
	}
	text, _ := list[0].(string)
	value, _ := list[1].(string)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return store.Record{}, fmt.Errorf("store redis: version: %w", err)
	}
	return store.Record{Value: []byte(value), Version: n}, nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := tooLarge(key, nil); err != nil {
		return store.Record{}, err
	}
	v, err := s.client.HMGet(ctx, s.key("r", key), "v", "d").Result()
	if err != nil {
		return store.Record{}, s.wrap(ctx, err)
	}
	return record(v)
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, key string, value []byte, ifVersion uint64, opts store.Options) (uint64, error) {
	if err := tooLarge(key, value); err != nil {
		return 0, err
	}
	ttl := int64(0)
	if opts.TTL > 0 {
		ttl = millis(opts.TTL)
	}
	v, err := s.run(ctx, putScript, s.key("r", key), !opts.Volatile,
		strconv.FormatUint(ifVersion, 10), strconv.FormatUint(ifVersion+1, 10), value, ttl)
	if err != nil {
		return 0, err
	}
	if first(v) != 1 {
		return 0, store.ErrConflict
	}
	return ifVersion + 1, nil
}

func first(v any) int64 {
	if list, ok := v.([]any); ok && len(list) > 0 {
		if n, ok := list[0].(int64); ok {
			return n
		}
	}
	return 0
}

// Take implements [store.Store].
func (s *Store) Take(ctx context.Context, key string) (store.Record, error) {
	if err := tooLarge(key, nil); err != nil {
		return store.Record{}, err
	}
	v, err := s.run(ctx, takeScript, s.key("r", key), true)
	if errors.Is(err, redis.Nil) {
		return store.Record{}, store.ErrNotFound
	} else if err != nil {
		return store.Record{}, err
	}
	return record(v)
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := tooLarge(key, nil); err != nil {
		return err
	}
	keys := []string{s.key("r", key), s.key("c", key)} // one hash tag: one shard
	if s.acks > 0 {
		_, err := s.runAcked(ctx, deleteScript, keys, nil)
		return err
	}
	return s.wrap(ctx, deleteScript.Run(ctx, s.client, keys).Err())
}

// Add implements [store.Store].
func (s *Store) Add(ctx context.Context, key string, delta int64, window time.Duration) (store.Count, error) {
	if err := tooLarge(key, nil); err != nil {
		return store.Count{}, err
	}
	if window <= 0 {
		return store.Count{}, errors.New("store redis: a counter needs a window")
	}
	v, err := s.run(ctx, addScript, s.key("c", key), true, delta, millis(window))
	if err != nil {
		return store.Count{}, err
	}
	list, ok := v.([]any)
	if !ok || len(list) != 2 {
		return store.Count{}, errors.New("store redis: unexpected answer")
	}
	left, _ := list[1].(int64)
	return store.Count{N: first(v), Resets: time.Duration(left) * time.Millisecond}, nil
}

// Join implements [store.Store].
func (s *Store) Join(ctx context.Context, key, member string, ttl time.Duration) error {
	if err := tooLarge(key+member, nil); err != nil {
		return err
	}
	return s.wrap(ctx, joinScript.Run(ctx, s.client, []string{s.key("s", key)}, millis(ttl), member).Err())
}

// Leave implements [store.Store].
func (s *Store) Leave(ctx context.Context, key, member string) error {
	return s.wrap(ctx, s.client.ZRem(ctx, s.key("s", key), member).Err())
}

// Members implements [store.Store].
func (s *Store) Members(ctx context.Context, key string) ([]string, error) {
	v, err := membersScript.Run(ctx, s.client, []string{s.key("s", key)}).StringSlice()
	return v, s.wrap(ctx, err)
}

// Now implements [store.Store]: all nodes go by the server's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	t, err := s.client.Time(ctx).Result()
	if err != nil {
		return time.Time{}, s.wrap(ctx, err)
	}
	return t, nil
}

// Close implements [store.Store].
func (s *Store) Close() error { return s.client.Close() }

var _ store.Store = (*Store)(nil)
