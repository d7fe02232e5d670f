package flow

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// overdue are texts of this node that a phone has not confirmed. Each has a
// timer; what is due waits in line for one of few workers. A text that is lost
// with the process is not sent again: the person has a button.
type overdue struct {
	again func(context.Context, *unconfirmed)

	ctx     context.Context //nolint:containedctx // of all workers, for as long as the configuration lives
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	waiting map[string]*unconfirmed
	due     []*unconfirmed
	busy    int
	closed  bool
}

// unconfirmed is a text whose receipt is awaited. It holds no code.
type unconfirmed struct {
	ref     string
	g       *Gate
	s       *session.Session
	id      string // of the challenge
	sends   int
	network string
	by      sms.Receipt
	timer   *time.Timer
}

// maxAgain is how many texts are sent again at once, and maxWaiting how many are
// awaited: the texts of others are sent once.
const (
	maxAgain   = 8
	maxWaiting = 10_000
)

func newOverdue(again func(context.Context, *unconfirmed)) *overdue {
	o := &overdue{again: again, waiting: map[string]*unconfirmed{}}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

// await has a text sent again after that time, unless done is called before.
func (o *overdue) await(u *unconfirmed, after time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || len(o.waiting)+len(o.due) >= maxWaiting {
		return
	}
	o.waiting[u.ref] = u
	u.timer = time.AfterFunc(after, func() { o.now(u.ref) })
}

// done ends the wait for a text.
func (o *overdue) done(ref string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.take(ref)
}

// now ends the wait: the text is sent again.
func (o *overdue) now(ref string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	u := o.take(ref)
	if u == nil {
		return
	}
	o.due = append(o.due, u)
	if o.busy < maxAgain {
		o.busy++
		o.workers.Go(o.work)
	}
}

func (o *overdue) take(ref string) *unconfirmed {
	u := o.waiting[ref]
	if u == nil {
		return nil
	}
	u.timer.Stop()
	delete(o.waiting, ref)
	return u
}

func (o *overdue) work() {
	for {
		o.mu.Lock()
		if len(o.due) == 0 || o.closed {
			o.busy--
			o.mu.Unlock()
			return
		}
		u := o.due[0]
		o.due = o.due[1:]
		o.mu.Unlock()
		o.again(o.ctx, u)
	}
}

// close forgets what waits and returns when nothing is under way any more.
func (o *overdue) close() {
	o.mu.Lock()
	o.closed = true
	for ref := range o.waiting {
		o.take(ref)
	}
	o.mu.Unlock()
	o.cancel()
	o.workers.Wait()
}

// Close ends what the flow does beside requests. The store is still open.
func (f *Flow) Close() { f.overdue.close() }

var errNotOpen = errors.New("the challenge is over")

// sendAgain sends a text that did not arrive by the next provider: the same
// code, once, and only while its challenge waits for it.
func (f *Flow) sendAgain(ctx context.Context, u *unconfirmed) {
	ctx, cancel := context.WithTimeout(ctx, sendTime+5*time.Second)
	defer cancel()
	say := func(reason event.Reason, detail string, err error) {
		f.emit(ctx, u.g, u.s, event.Event{Name: event.SentAgain, Reason: reason, Detail: detail, Err: err})
	}
	st, s, err := f.unanswered(ctx, u)
	if errors.Is(err, errNotOpen) || gone(err) {
		return
	} else if err != nil {
		say(event.StoreDown, "", err)
		return
	}
	// One winner, also over nodes: a report may be at another one.
	mine, err := f.changeReceipt(ctx, u.ref, func(r receipt) (receipt, bool) {
		if r.Copied || r.State == sms.Delivered || r.State == sms.Failed && !r.Why.Elsewhere() {
			return r, false
		}
		r.Copied = true
		return r, true
	})
	if err != nil {
		say(event.StoreDown, "", err)
		return
	} else if !mine {
		return
	}
	n, err := phone.Parse(st.Number, "")
	if err != nil {
		say(event.BadNumber, "", err)
		return
	}
	taking := f.Limits.Prepare(f.text(u.g, s.User, n, u.network, st.Unproven()))
	f.Store.Batch(ctx, taking.Ops...)
	if err := taking.Settle(ctx); err != nil {
		if ex, ok := errors.AsType[*limit.Exceeded](err); ok {
			say(ex.Reason, n.Masked(), nil)
		} else {
			say(event.StoreDown, "", err)
		}
		return
	}
	m := f.message(u.g, st, n)
	m.Ref, m.Repeatable = f.textRef(st, 1), false
	ctx, cancelSend := context.WithTimeout(ctx, sendTime)
	defer cancelSend()
	r, err := f.Receipts.SendAfter(ctx, u.by, m)
	if err == nil {
		f.failedOver(ctx, u.g, u.s, r)
		say(event.Sent, n.Masked()+" by "+r.Provider+", after "+u.by.Provider, nil)
		return
	}
	if se, ok := errors.AsType[*sms.Error](err); ok && !se.Sent {
		taking.Undo(context.WithoutCancel(ctx))
	}
	say(event.GatewayDown, n.Masked(), err)
}

// unanswered finds the challenge of a text, and is errNotOpen when it has ended,
// or another text was asked for meanwhile.
func (f *Flow) unanswered(ctx context.Context, u *unconfirmed) (st challenge.State, s *session.Session, err error) {
	now, err := f.Store.Now(ctx)
	if err != nil {
		return st, nil, err
	}
	if s, err = f.Sessions.Reload(ctx, &u.g.Gate, u.s); err != nil {
		return st, nil, err
	}
	st, err = f.Challenge(s)
	if err == nil && (st.ID != u.id || st.Sends != u.sends || st.Failed != "" || st.Expired(now)) {
		err = errNotOpen
	}
	return st, s, err
}
