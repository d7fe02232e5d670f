package gate

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// doubts are the verified sessions with a request under way that may be a login.
// Until the application has been asked again whose session it is, what it answers
// to their other requests may be another user's already, and waits (attack K4).
type doubts struct {
	// begun and over count them since the start. While no more have begun than were
	// over when a request came, nothing has to be looked up for its answer.
	begun, over atomic.Int64

	mu   sync.Mutex
	open map[session.ID]*openDoubt
}

// openDoubt is a session's, with as many requests as raise it.
type openDoubt struct {
	requests int
	settled  chan struct{}
}

// maxDoubt is how long an answer waits for a doubt to be settled.
const maxDoubt = 30 * time.Second

// begin raises a doubt. settle ends it; it may be called more than once.
func (d *doubts) begin(id session.ID) (settle func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun.Add(1)
	o := d.open[id]
	if o == nil {
		o = &openDoubt{settled: make(chan struct{})}
		if d.open == nil {
			d.open = map[session.ID]*openDoubt{}
		}
		d.open[id] = o
	}
	o.requests++
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.over.Add(1)
		if o.requests--; o.requests == 0 {
			delete(d.open, id)
			close(o.settled)
		}
	})
}

// wait waits until nothing is in doubt about a session, and reports whether that
// came in time.
func (d *doubts) wait(ctx context.Context, id session.ID) bool {
	d.mu.Lock()
	o := d.open[id]
	d.mu.Unlock()
	if o == nil {
		return true
	}
	late := time.NewTimer(maxDoubt)
	defer late.Stop()
	select {
	case <-o.settled:
		return true
	case <-ctx.Done():
	case <-late.C:
	}
	return false
}
