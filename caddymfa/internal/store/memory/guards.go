package memory

import (
	"context"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// guard adds a counter, or a member of a set when it has one.
func (s *Store) guard(i *item) error {
	if s.guards.bytes+i.size() > s.opts.MaxGuardBytes {
		return store.ErrFull
	}
	s.guards.add(i)
	if i.member == "" {
		s.counters[i.key] = i
		return nil
	}
	if s.sets[i.key] == nil {
		s.sets[i.key] = map[string]*item{}
	}
	s.sets[i.key][i.member] = i
	return nil
}

func (s *Store) unguard(i *item) {
	s.guards.remove(i)
	if i.member == "" {
		delete(s.counters, i.key)
		return
	}
	set := s.sets[i.key]
	if delete(set, i.member); len(set) == 0 {
		delete(s.sets, i.key)
	}
}

// Add implements [store.Store]. A new counter over the bound is
// [store.ErrFull].
func (s *Store) Add(ctx context.Context, key string, delta int64, window time.Duration) (store.Count, error) {
	if err := store.CheckAdd(key, window); err != nil {
		return store.Count{}, err
	}
	now, err := s.lock(ctx)
	if err != nil {
		return store.Count{}, err
	}
	defer s.mu.Unlock()
	i := s.counters[key]
	known := i != nil
	if !known {
		i = &item{key: key, expires: now.Add(min(window, store.MaxTTL))}
	}
	n, err := store.Sum(i.n, delta)
	if err != nil {
		return store.Count{}, err
	}
	if !known {
		if err := s.guard(i); err != nil {
			return store.Count{}, err
		}
	}
	i.n = n
	return store.Count{N: n, Resets: i.expires.Sub(now)}, nil
}

// Join implements [store.Store]. A new member over the bound is
// [store.ErrFull].
func (s *Store) Join(ctx context.Context, key, member string, ttl time.Duration) error {
	if err := store.CheckJoin(key, member, ttl); err != nil {
		return err
	}
	now, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	if i := s.sets[key][member]; i != nil {
		s.unguard(i)
	}
	return s.guard(&item{key: key, member: member, expires: now.Add(min(ttl, store.MaxTTL))})
}

// Leave implements [store.Store].
func (s *Store) Leave(ctx context.Context, key, member string) error {
	if err := store.CheckMember(key, member); err != nil {
		return err
	}
	if _, err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if i := s.sets[key][member]; i != nil {
		s.unguard(i)
	}
	return nil
}

// Members implements [store.Store].
func (s *Store) Members(ctx context.Context, key string) ([]string, error) {
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	if _, err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var out []string
	for m := range s.sets[key] {
		out = append(out, m)
	}
	return out, nil
}
