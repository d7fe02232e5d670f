package session

import (
	"context"
	"sync"
	"time"
)

// live knows the requests that verified sessions have under way, so that
// WebSockets and streams end with the session that opened them.
type live struct {
	alive func(ctx context.Context, gate string, id ID) bool

	mu   sync.Mutex
	open map[ID]map[*stream]struct{}

	stop context.CancelFunc
	done chan struct{}
}

type stream struct {
	gate   string
	since  time.Time
	cancel context.CancelFunc
}

// watchEvery is how often sessions with a long request are looked up; with the
// look-up itself it stays below the 5 s that the design promises.
const watchEvery = 3 * time.Second

func newLive(alive func(context.Context, string, ID) bool) *live {
	ctx, stop := context.WithCancel(context.Background())
	l := &live{alive: alive, open: make(map[ID]map[*stream]struct{}), stop: stop, done: make(chan struct{})}
	go l.watch(ctx)
	return l
}

func (l *live) close() { l.stop(); <-l.done }

func (l *live) attach(ctx context.Context, gate string, id ID) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	st := &stream{gate: gate, since: time.Now(), cancel: cancel}
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.open[id]
	if of == nil {
		of = make(map[*stream]struct{}, 1)
		l.open[id] = of
	}
	of[st] = struct{}{}
	return ctx, func() {
		cancel()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(of, st)
		// The map under id may be a new one by now, of a later request.
		if len(of) == 0 && len(l.open[id]) == 0 {
			delete(l.open, id)
		}
	}
}

func (l *live) end(id ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for st := range l.open[id] {
		st.cancel()
	}
	delete(l.open, id)
}

func (l *live) watch(ctx context.Context) {
	defer close(l.done)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for id, gate := range l.long() {
			look, cancel := context.WithTimeout(ctx, time.Second)
			ok := l.alive(look, gate, id)
			cancel()
			if !ok && ctx.Err() == nil {
				l.end(id)
			}
		}
	}
}

// long lists the sessions with a request that is under way for longer than a
// copy may be old; shorter ones end by themselves.
func (l *live) long() map[ID]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[ID]string)
	for id, of := range l.open {
		for st := range of {
			if time.Since(st.since) > freshness {
				out[id] = st.gate
			}
		}
	}
	return out
}
