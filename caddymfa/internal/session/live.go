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
	open map[ID]map[*Stream]struct{}

	stop context.CancelFunc
	done chan struct{}
}

// Stream is a request that a session has under way.
type Stream struct {
	live   *live
	id     ID
	gate   string
	since  time.Time
	cancel context.CancelFunc
}

// watchEvery is how often sessions with a long request are looked up; with the
// look-up itself it stays below the 5 s that the design promises.
const watchEvery = 3 * time.Second

func newLive(alive func(context.Context, string, ID) bool) *live {
	ctx, stop := context.WithCancel(context.Background())
	l := &live{alive: alive, open: make(map[ID]map[*Stream]struct{}), stop: stop, done: make(chan struct{})}
	go l.watch(ctx)
	return l
}

func (l *live) close() { l.stop(); <-l.done }

func (l *live) attach(ctx context.Context, gate string, id ID) (context.Context, *Stream) {
	ctx, cancel := context.WithCancel(ctx)
	st := &Stream{live: l, id: id, gate: gate, since: time.Now(), cancel: cancel}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[id] == nil {
		l.open[id] = make(map[*Stream]struct{}, 1)
	}
	l.open[id][st] = struct{}{}
	return ctx, st
}

// Detach unties the request from its session: the answer that ends a session
// still reaches the client.
func (st *Stream) Detach() {
	l := st.live
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open[st.id], st)
	if len(l.open[st.id]) == 0 {
		delete(l.open, st.id)
	}
}

// Release says that the request is over.
func (st *Stream) Release() {
	st.Detach()
	st.cancel()
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
