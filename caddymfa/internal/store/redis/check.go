package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Check writes and removes a record, as the gate would, and asks the servers
// whether they keep what they are given. The error says that the store cannot
// be used as things are; warnings are what an operator should put right. Each
// warning comes once, however many servers a cluster has.
func (s *Store) Check(ctx context.Context) (warnings []string, err error) {
	key := "check " + rand.Text()
	_, err = s.Put(ctx, key, nil, 0, store.Options{TTL: time.Second, Volatile: true})
	if err == nil {
		_, err = s.Take(ctx, key) // where there are replicas, this waits for them
	}
	if err != nil {
		if redis.HasErrorPrefix(err, "NOPERM") || strings.Contains(err.Error(), "ACL failure") {
			return nil, fmt.Errorf("%w (the ACL user needs the commands and keys that the documentation lists)", err)
		}
		return nil, err
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	look := func(ctx context.Context, node *redis.Client) error {
		info, err := node.Info(ctx).Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, w := range judge(info, s.acks, s.sentinel) {
			if !seen[w] {
				seen[w] = true
				warnings = append(warnings, w)
			}
		}
		return nil
	}
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, look)
	case *redis.Client:
		err = look(ctx, c)
	default:
		err = errors.New("unknown client")
	}
	if err != nil { // an ACL without INFO is no fault
		warnings = append(warnings, "redis: INFO is not possible, so nobody can say whether the server keeps what it is given")
	}
	return warnings, nil
}

// judge reads an INFO. acks is what is configured, nil for nothing.
func judge(info string, acks *int, sentinel bool) (warnings []string) {
	field := map[string]string{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			field[name] = value
		}
	}
	if field["aof_enabled"] == "0" {
		warnings = append(warnings, "redis runs without AOF: after a crash used codes may be valid again and enrolments gone; set appendonly yes")
	}
	if p := field["maxmemory_policy"]; p != "" && p != "noeviction" {
		warnings = append(warnings, "redis may evict sessions, locks and enrolments (maxmemory-policy "+p+"); set noeviction")
	}
	there, err := strconv.Atoi(field["connected_slaves"])
	switch safe := min(there, maxNeed); {
	case err != nil:
	case acks == nil && there == 0 && sentinel:
		warnings = append(warnings, "redis has no replica, although Sentinel watches it: every login is refused until one is there; with replicas_ack 0 none is waited for")
	case acks == nil:
	case there < *acks:
		warnings = append(warnings, fmt.Sprintf("redis has %d replicas, but replicas_ack asks for %d: every login will be refused", there, *acks))
	case *acks < safe:
		warnings = append(warnings, fmt.Sprintf("redis has %d replicas, but replicas_ack is %d: when the master dies while a replica is late, "+
			"used codes may be accepted a second time, and locks and sign-outs be forgotten; leave replicas_ack out, or set %d", there, *acks, safe))
	}
	return warnings
}
