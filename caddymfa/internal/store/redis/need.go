package redis

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

const (
	// maxNeed bounds how many replicas a write waits for by itself. Of several
	// replicas the one that is furthest is promoted; three that have the write are
	// enough for two of them to be away as well.
	maxNeed = 3
	// maxLag, in seconds: a replica that was silent for longer is not waited for, or
	// one that hangs would stop everything.
	maxLag = 2
	// viewAge is how old a look at a master's replicas may be.
	viewAge = time.Second
	// A replica that was away for this long is not promoted any more: Sentinel's
	// limit is ten times down-after-milliseconds (30 s), a cluster's ten times its
	// node timeout (15 s). Until then one that nobody sees may be.
	forgotten = 10 * time.Minute
	// settled is how long after the start masters are those of the configuration;
	// one that is met later was a replica before.
	settled = 30 * time.Second
)

// view is what a master said of its replicas.
type view struct {
	mu   sync.Mutex // held by who looks
	last atomic.Pointer[seen]
	// had is when there last was a replica, zero for never. Under mu.
	had time.Time
}

type seen struct {
	need int
	at   time.Time
}

// never: no write waits for replicas, by configuration.
func (s *Store) never() bool { return s.acks != nil && *s.acks == 0 }

// waits reports whether one of the calls has to wait for replicas. Where nobody can
// say, the calls themselves will.
func (s *Store) waits(ctx context.Context, ops []*store.Op) bool {
	if s.never() {
		return false
	}
	for _, o := range ops {
		if o.Call == store.Get || o.Call == store.Put && o.Options.Volatile {
			continue
		}
		kind := "r"
		if o.Call == store.Add {
			kind = "c"
		}
		node, err := s.node(ctx, s.key(kind, o.Key))
		if err != nil {
			return true
		}
		if n, err := s.need(ctx, node); n > 0 || err != nil {
			return true
		}
	}
	return false
}

// need is how many replicas must have a write of this master before it counts: what
// is configured, or all that are there and not late, up to maxNeed. One whose
// replicas have all gone lately waits for one: they may be alive and be promoted.
func (s *Store) need(ctx context.Context, node *redis.Client) (int, error) {
	if s.acks != nil {
		return *s.acks, nil
	}
	v := s.view(node)
	if last := v.last.Load(); last == nil {
		v.mu.Lock()
	} else if time.Since(last.at) < viewAge || !v.mu.TryLock() {
		return last.need, nil
	}
	defer v.mu.Unlock()
	if last := v.last.Load(); last != nil && time.Since(last.at) < viewAge {
		return last.need, nil
	}
	info, err := node.Info(ctx, "replication").Result()
	switch {
	case redis.HasErrorPrefix(err, "NOPERM"): // Check says so
		n := 0
		if _, cluster := s.client.(*redis.ClusterClient); cluster || s.sentinel {
			n = 1
		}
		v.last.Store(&seen{n, time.Now()})
		return n, nil
	case err != nil:
		return 0, err
	}
	n := min(replicas(info), maxNeed)
	switch {
	case n > 0:
		v.had = time.Now()
	case !v.had.IsZero() && time.Since(v.had) < forgotten:
		n = 1
	}
	v.last.Store(&seen{n, time.Now()})
	return n, nil
}

// forget has the next need look again.
func (s *Store) forget(node *redis.Client) {
	v := s.view(node)
	if last := v.last.Load(); last != nil {
		v.last.Store(&seen{last.need, time.Time{}})
	}
}

func (s *Store) view(node *redis.Client) *view {
	addr := node.Options().Addr
	if v, ok := s.views.Load(addr); ok {
		return v.(*view) //nolint:forcetypeassert // ours
	}
	v := &view{}
	if s.sentinel || time.Since(s.opened) > settled {
		v.had = time.Now()
	}
	kept, _ := s.views.LoadOrStore(addr, v)
	return kept.(*view) //nolint:forcetypeassert // ours
}

// replicas counts those in an INFO that follow their master.
func replicas(info string) (n int) {
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if number, ok := strings.CutPrefix(name, "slave"); !ok || strings.Trim(number, "0123456789") != "" {
			continue
		}
		online, lag := false, maxLag+1
		for field := range strings.SplitSeq(value, ",") {
			switch k, v, _ := strings.Cut(field, "="); k {
			case "state":
				online = v == "online"
			case "lag":
				lag, _ = strconv.Atoi(v)
			}
		}
		if online && lag <= maxLag {
			n++
		}
	}
	return n
}
