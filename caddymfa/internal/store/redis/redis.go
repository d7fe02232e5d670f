// Package redis keeps the gate's state in Redis, for any number of processes:
// one server, Sentinel or Cluster, version 6.2 or later.
//
// The promise of at most one winner holds within the history of one primary.
// Where there are replicas, a write counts only when they have it, so that it
// holds over a failover too; Config.ReplicasAck may ask for fewer. A server without
// AOF breaks it when it crashes. Check warns about both.
//
// An ACL user needs the keys "mfa:*" (or Config.KeyPrefix) and
//
//	+@read +@write +@connection +@transaction +eval +evalsha +script|load
//	+time +wait +info, with Sentinel +role, with Cluster +cluster|slots
//	+cluster|shards +command
//
// Switch the default user off with "user default off ~* &* +@all", not with
// "user default off" alone, which takes its rights away as well: a server before
// the fix of github.com/redis/redis/issues/14541 replays its append-only file
// with the rights of that user, and silently drops every script's writes when it
// restarts.
package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// nonceLife is how long the answer of a write is kept for its own retry.
const nonceLife = 10 * time.Second

// Store is a [store.Store] in Redis. See Open.
type Store struct {
	client redis.UniversalClient
	prefix string
	acks   *int          // configured; nil: see need
	wait   time.Duration // for them; the connection itself times out after it
	clock  clock

	sentinel bool
	opened   time.Time
	views    sync.Map // address of a master → *view
}

// go-redis prints to standard error by itself. What it has to say comes back
// as an error, and is logged by the gate.
func init() { redis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Open makes the client. It connects when it is first used, so Redis may start
// later. Errors are of the configuration only.
func Open(c Config) (*Store, error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	s := &Store{prefix: cmp.Or(c.KeyPrefix, DefaultKeyPrefix), acks: c.ReplicasAck, wait: o.ReadTimeout * 3 / 5, sentinel: o.MasterName != "", opened: time.Now()}
	if len(o.Addrs) > 1 && o.MasterName == "" {
		cluster := o.Cluster()
		cluster.ClusterStateReloadInterval = reloadEvery
		s.client = redis.NewClusterClient(cluster)
	} else {
		s.client = redis.NewUniversalClient(o)
	}
	return s, nil
}

// key places everything of one key on one shard: Redis Cluster hashes what is
// in the first pair of braces. A key with a brace of its own goes by its hash.
func (s *Store) key(kind, key string) string {
	if strings.Contains(key, "}") {
		sum := sha256.Sum256([]byte(key))
		return s.prefix + kind + ":{" + hex.EncodeToString(sum[:8]) + "}:" + key
	}
	return s.prefix + kind + ":{" + key + "}"
}

func nonce(key string) string { return key + ":n:" + rand.Text() }

func millis(d time.Duration) int64 {
	d = min(d, store.MaxTTL)
	return max(1, int64((d+time.Millisecond-1)/time.Millisecond))
}

// wrap names the store; after a network error a cluster's layout is read anew,
// which go-redis by itself does not do when a connection is refused.
func (s *Store) wrap(err error) error {
	var answer redis.Error // from the server, so the way to it is fine
	switch {
	case err == nil, errors.Is(err, redis.Nil):
		return err
	case errors.Is(err, redis.ErrClosed):
		return store.ErrClosed
	}
	if c, ok := s.client.(*redis.ClusterClient); ok && !errors.As(err, &answer) {
		c.ReloadState(context.Background())
	}
	return fmt.Errorf("store redis: %w", err)
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
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	v, err := s.client.HMGet(ctx, s.key("r", key), "v", "d").Result()
	if err != nil {
		return store.Record{}, s.wrap(err)
	}
	return record(v)
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, key string, value []byte, ifVersion uint64, opts store.Options) (uint64, error) {
	if err := store.CheckPut(key, value, opts); err != nil {
		return 0, err
	}
	v, err := s.write(ctx, s.put(key, value, ifVersion, opts), !opts.Volatile)
	return version(v, err)
}

func (s *Store) put(key string, value []byte, ifVersion uint64, opts store.Options) script {
	ttl := int64(0)
	if opts.TTL > 0 {
		ttl = millis(opts.TTL)
	}
	k := s.key("r", key)
	return script{putScript, []string{k, nonce(k)}, []any{millis(nonceLife), strconv.FormatUint(ifVersion, 10), value, ttl}}
}

// version reads the answer to a Put.
func version(v any, err error) (uint64, error) {
	if errors.Is(err, redis.Nil) {
		return 0, store.ErrConflict
	} else if err != nil {
		return 0, err
	}
	text, _ := v.(string)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("store redis: version: %w", err)
	}
	return n, nil
}

// Take implements [store.Store].
func (s *Store) Take(ctx context.Context, key string) (store.Record, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	k := s.key("r", key)
	v, err := s.write(ctx, script{takeScript, []string{k, nonce(k)}, []any{millis(nonceLife)}}, true)
	if errors.Is(err, redis.Nil) {
		return store.Record{}, store.ErrNotFound
	} else if err != nil {
		return store.Record{}, err
	}
	return record(v)
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	_, err := s.write(ctx, script{deleteScript, []string{s.key("r", key), s.key("c", key)}, nil}, true)
	return err
}

// Add implements [store.Store].
func (s *Store) Add(ctx context.Context, key string, delta int64, window time.Duration) (store.Count, error) {
	if err := store.CheckAdd(key, window); err != nil {
		return store.Count{}, err
	}
	v, err := s.write(ctx, s.add(key, delta, window), true)
	return count(v, err)
}

func (s *Store) add(key string, delta int64, window time.Duration) script {
	k := s.key("c", key)
	return script{addScript, []string{k, nonce(k)}, []any{millis(nonceLife), delta, millis(window)}}
}

// count reads the answer to an Add, "sum milliseconds".
func count(v any, err error) (store.Count, error) {
	if err != nil {
		return store.Count{}, err
	}
	text, _ := v.(string)
	sum, left, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(sum, 10, 64)
	ms, err2 := strconv.ParseInt(left, 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return store.Count{}, fmt.Errorf("store redis: counter: %w", err)
	}
	return store.Count{N: n, Resets: time.Duration(ms) * time.Millisecond}, nil
}

// Join implements [store.Store].
func (s *Store) Join(ctx context.Context, key, member string, ttl time.Duration) error {
	if err := store.CheckJoin(key, member, ttl); err != nil {
		return err
	}
	_, err := s.write(ctx, script{joinScript, []string{s.key("s", key)}, []any{millis(ttl), member}}, true)
	return err
}

// Leave implements [store.Store].
func (s *Store) Leave(ctx context.Context, key, member string) error {
	if err := store.CheckMember(key, member); err != nil {
		return err
	}
	_, err := s.write(ctx, script{leaveScript, []string{s.key("s", key)}, []any{member}}, true)
	return err
}

// Members implements [store.Store].
func (s *Store) Members(ctx context.Context, key string) ([]string, error) {
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	v, err := membersScript.Run(ctx, s.client, []string{s.key("s", key)}).StringSlice()
	return v, s.wrap(err)
}

// Batch implements [store.Store]. WAIT speaks for one connection, so where
// replicas have to acknowledge the calls go out at once, each on its own.
func (s *Store) Batch(ctx context.Context, ops ...*store.Op) {
	if s.waits(ctx, ops) {
		var wg sync.WaitGroup
		for _, o := range ops {
			wg.Go(func() { o.Do(ctx, s) })
		}
		wg.Wait()
		return
	}
	cmds := make([]redis.Cmder, len(ops))
	_, _ = s.client.Pipelined(ctx, func(p redis.Pipeliner) error { // each has its own error
		for i, o := range ops {
			if o.Err = o.Check(); o.Err != nil {
				continue
			}
			switch o.Call {
			case store.Get:
				cmds[i] = p.HMGet(ctx, s.key("r", o.Key), "v", "d")
			case store.Put:
				cmds[i] = s.put(o.Key, o.Value, o.IfVersion, o.Options).pipe(ctx, p)
			case store.Add:
				cmds[i] = s.add(o.Key, o.Delta, o.Window).pipe(ctx, p)
			}
		}
		return nil
	})
	for i, o := range ops {
		if cmds[i] == nil {
			continue
		}
		err := cmds[i].Err()
		if redis.HasErrorPrefix(err, "NOSCRIPT") { // once after a server's start
			o.Do(ctx, s)
			continue
		}
		err = s.wrap(err)
		switch cmd := cmds[i].(type) {
		case *redis.SliceCmd:
			if o.Err = err; err == nil {
				o.Record, o.Err = record(cmd.Val())
			}
		case *redis.Cmd:
			if o.Call == store.Put {
				o.Record.Version, o.Err = version(cmd.Val(), err)
			} else {
				o.Count, o.Err = count(cmd.Val(), err)
			}
		}
	}
}

// Now implements [store.Store]: all processes go by one server's clock, which is
// asked once a second; in between the time that passes is this machine's.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	if now, ok := s.clock.recent(); ok && ctx.Err() == nil {
		return now, nil
	}
	v, err := nowScript.Run(ctx, s.client, []string{s.prefix + "now"}).Int64Slice()
	if err != nil {
		return time.Time{}, s.wrap(err)
	}
	if len(v) != 2 {
		return time.Time{}, errors.New("store redis: TIME: unexpected answer")
	}
	return s.clock.at(time.Unix(v[0], v[1]*int64(time.Microsecond))), nil
}

// Close implements [store.Store].
func (s *Store) Close() error {
	defer s.clock.stop()
	if err := s.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("store redis: %w", err)
	}
	return nil
}

var _ store.Store = (*Store)(nil)
