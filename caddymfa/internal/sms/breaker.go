package sms

import (
	"sync"
	"time"
)

// breaker leaves a sender out that fails again and again. After a pause one text
// may try it; while that one is under way the others go elsewhere.
type breaker struct {
	mu    sync.Mutex
	inRow int
	pause time.Duration
	until time.Time
}

const (
	// breakAfter failures in a row a sender is left out, at first for firstPause,
	// then for twice as long each time.
	breakAfter = 5
	firstPause = 10 * time.Second
	longPause  = 2 * time.Minute
)

// open says how long the sender is still left out, 0 when it may be asked. Who
// asks after a pause asks alone: the pause begins anew until he has an answer.
func (b *breaker) open() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pause == 0 {
		return 0
	}
	now := time.Now()
	if left := b.until.Sub(now); left > 0 {
		return left
	}
	b.until = now.Add(b.pause)
	return 0
}

// worked: the sender has accepted a text.
func (b *breaker) worked() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inRow, b.pause = 0, 0
}

// failed: the sender has not accepted a text. A refused number says nothing
// against it, nor does a text that it declines. Wrong credentials are wrong for every text: it is left out at once.
// late: the caller's time was over, which a slow provider before it may have used.
func (b *breaker) failed(e *Error, late bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e.Kind {
	case Refused:
		b.inRow, b.pause = 0, 0 // it has answered
		return
	case Declined:
		return
	default:
	}
	if late && !e.Sent {
		return
	}
	b.inRow++
	if b.inRow < breakAfter && e.Kind != Misconfigured && b.pause == 0 {
		return
	}
	b.pause = min(max(2*b.pause, firstPause), longPause)
	b.until = time.Now().Add(max(b.pause, min(e.RetryAfter, longPause)))
}
