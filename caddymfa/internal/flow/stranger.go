package flow

import (
	"sync"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// views keeps what strangers see of an application's pages.
type views struct {
	mu   sync.Mutex
	seen map[string]seen
}

type seen struct {
	reply *upstream.Reply
	at    time.Time
}

// Bounds on what is kept: a page may be as long as max_reply.
const (
	maxViews = 64
	viewFor  = time.Minute
)

// get is what was seen under a key, or what ask says now.
func (v *views) get(key string, ask func() (*upstream.Reply, error)) (*upstream.Reply, error) {
	v.mu.Lock()
	s, ok := v.seen[key]
	v.mu.Unlock()
	if ok && time.Since(s.at) < viewFor {
		return s.reply, nil
	}
	reply, err := ask()
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen == nil || len(v.seen) >= maxViews {
		v.seen = make(map[string]seen)
	}
	v.seen[key] = seen{reply, time.Now()}
	return reply, nil
}
