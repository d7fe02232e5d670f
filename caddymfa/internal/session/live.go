package session

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// live knows the long answers that verified sessions have under way, so that
// WebSockets and streams end with the session that opened them.
type live struct {
	alive func(ctx context.Context, gate string, id ID) bool
	sweep func()

	mu   sync.Mutex
	open map[ID]*Stream // the first of a session's streams; they are linked

	stop context.CancelFunc
	done chan struct{}
}

// Stream is an answer that a session has under way for longer.
type Stream struct {
	live  *live
	id    ID
	gate  string
	since time.Time

	// over keeps the end of a session from a stream that is over: what end
	// touches is no longer the stream's then.
	over sync.Mutex
	end  func() // nil when it is over

	next, prev *Stream
	linked     bool
}

// watchEvery is how often sessions with a stream are looked up; with the
// look-up itself it stays below the 5 s that the design promises.
const watchEvery = 3 * time.Second

func newLive(alive func(context.Context, string, ID) bool, sweep func()) *live {
	ctx, stop := context.WithCancel(context.Background())
	l := &live{alive: alive, sweep: sweep, open: make(map[ID]*Stream), stop: stop, done: make(chan struct{})}
	go l.watch(ctx)
	return l
}

func (l *live) close() { l.stop(); <-l.done }

func (l *live) tie(gate string, id ID, end func()) *Stream {
	st := &Stream{live: l, id: id, gate: gate, since: time.Now(), end: end}
	l.mu.Lock()
	defer l.mu.Unlock()
	st.next, st.linked = l.open[id], true
	if st.next != nil {
		st.next.prev = st
	}
	l.open[id] = st
	return st
}

// Release unties the stream from its session: it is over, or it is the answer
// that ends the session and still has to reach the client.
func (st *Stream) Release() {
	st.over.Lock()
	st.end = nil
	st.over.Unlock()
	l := st.live
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unlink(st)
}

// unlink takes a stream out of its session's list. The lock is held.
func (l *live) unlink(st *Stream) {
	if !st.linked {
		return
	}
	if st.next != nil {
		st.next.prev = st.prev
	}
	switch {
	case st.prev != nil:
		st.prev.next = st.next
	case st.next != nil:
		l.open[st.id] = st.next
	default:
		delete(l.open, st.id)
	}
	st.next, st.prev, st.linked = nil, nil, false
}

// ids are the sessions that have a stream.
func (l *live) ids() []ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.open))
}

// end ends the streams of a session.
func (l *live) end(id ID) {
	var ending []*Stream
	l.mu.Lock()
	for st := l.open[id]; st != nil; st = l.open[id] {
		ending = append(ending, st)
		l.unlink(st)
	}
	l.mu.Unlock()
	for _, st := range ending {
		st.over.Lock()
		if st.end != nil {
			st.end()
		}
		st.over.Unlock()
	}
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
		l.sweep()
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

// long lists the sessions with a stream that is under way for longer than a
// copy may be old; shorter ones may end by themselves.
func (l *live) long() map[ID]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[ID]string)
	for id, first := range l.open {
		for st := first; st != nil; st = st.next {
			if time.Since(st.since) > Freshness {
				out[id] = st.gate
			}
		}
	}
	return out
}
