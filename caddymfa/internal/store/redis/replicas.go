package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// script is a script with what it is run on.
type script struct {
	*redis.Script
	keys []string
	args []any
}

func (w script) pipe(ctx context.Context, p redis.Pipeliner) *redis.Cmd {
	return p.EvalSha(ctx, w.Hash(), w.keys, w.args...)
}

// write runs a script that changes something; a durable one waits for its
// replicas.
func (s *Store) write(ctx context.Context, w script, durable bool) (any, error) {
	if durable && !s.never() {
		if v, done, err := s.writeAcked(ctx, w); done {
			return v, s.wrap(err)
		}
	}
	v, err := w.Run(ctx, s.client, w.keys, w.args...).Result()
	return v, s.wrap(err)
}

// Tries of a write whose shard has moved, and the time until the next: about as
// long as it takes to read a cluster's layout.
const (
	tries    = 4
	tryAgain = 50 * time.Millisecond
)

// writeAcked sends the script and WAIT on one connection of one node. done is false
// where no replica has to acknowledge it: then nothing was sent.
func (s *Store) writeAcked(ctx context.Context, w script) (v any, done bool, err error) {
	for try := 0; ; try++ {
		v, done, err = s.pipeline(ctx, w)
		if err == nil || try == tries-1 {
			return v, done, err
		}
		cluster, isCluster := s.client.(*redis.ClusterClient)
		switch {
		case redis.HasErrorPrefix(err, "NOSCRIPT"):
			if err := s.load(ctx, w); err != nil {
				return nil, true, err
			}
			continue
		case isCluster && (redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK") || redis.HasErrorPrefix(err, "TRYAGAIN")):
			cluster.ReloadState(ctx)
		default:
			return nil, true, err
		}
		select {
		case <-time.After(tryAgain):
		case <-ctx.Done():
			return nil, true, ctx.Err()
		}
	}
}

func (s *Store) pipeline(ctx context.Context, w script) (any, bool, error) {
	node, err := s.node(ctx, w.keys[0])
	if err != nil {
		return nil, true, err
	}
	acks, err := s.need(ctx, node)
	if err != nil || acks == 0 {
		return nil, err != nil, err
	}
	var eval, wait *redis.Cmd
	_, err = node.Pipelined(ctx, func(p redis.Pipeliner) error {
		eval = w.pipe(ctx, p)
		wait = p.Do(ctx, "WAIT", acks, millis(s.wait))
		return nil
	})
	v, evalErr := eval.Result()
	if evalErr != nil { // redis.Nil as well: nothing was changed, nobody need have it
		return nil, true, evalErr
	}
	n, waitErr := wait.Int64()
	if err := errors.Join(waitErr, err); err != nil {
		return nil, true, fmt.Errorf("waiting for replicas: %w", err)
	}
	if n < int64(acks) {
		// One of them may have gone meanwhile: those that are left have it.
		s.forget(node)
		if now, err := s.need(ctx, node); err != nil || now == 0 || n < int64(now) {
			return nil, true, errors.Join(fmt.Errorf("%d of %d replicas have the write", n, acks), err)
		}
	}
	return v, true, nil
}

func (s *Store) load(ctx context.Context, w script) error {
	node, err := s.node(ctx, w.keys[0])
	if err != nil {
		return err
	}
	return w.Load(ctx, node).Err()
}

// node is the server that holds key.
func (s *Store) node(ctx context.Context, key string) (*redis.Client, error) {
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		return c.MasterForKey(ctx, key)
	case *redis.Client:
		return c, nil
	}
	return nil, fmt.Errorf("replicas_ack is not possible with a %T", s.client)
}
