// Package birth knows whether the store is the one that it was. A store that has
// lost what it held looks like a new one, in which nobody has a number: whoever
// knows a password could name a number of his own (attack K33). One that was put
// back to an older state revives sessions that had ended.
//
// In the store lies a sealed record with a name that was drawn once, a generation
// that sessions carry, and a beat that grows. This machine remembers them in a
// marker file, and this process in its memory. A record that is missing, has another
// name or an older beat shuts enrolment for all nodes, by a mark in the record,
// until an operator confirms. A generation that is over ends its sessions.
package birth

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Key is where the record lies.
const Key = "birth"

const (
	// lookEvery is how often a node looks, fresh how old its last look may be.
	lookEvery = 2 * time.Second
	fresh     = 5 * time.Second
	// A fail-over of Redis may lose a second or two of what nobody has acknowledged:
	// at most one beat, when beats are further apart. More means another copy.
	beatEvery = 3 * time.Second
	lostBeats = 1
	// One process that has its store alone loses nothing that was acknowledged; its
	// disk is spared.
	beatAlone = 30 * time.Second
	// lookTime bounds a look.
	lookTime = 5 * time.Second
	// maxWas bounds the names of before.
	maxWas = 32
)

// record is what lies in the store, sealed.
type record struct {
	ID   string    `json:"i"`
	Gen  uint64    `json:"g"`
	Beat uint64    `json:"b"`
	At   time.Time `json:"t"` // of the beat, by the store's clock
	// Was are the names of stores of which this one is known to be the successor.
	Was []string `json:"w,omitempty"`
	// Shut is since when enrolment is shut, Why what was found.
	Shut time.Time    `json:"s,omitzero"`
	Why  event.Reason `json:"y,omitempty"`
}

// State is what is known of the store.
type State struct {
	ID string
	// Gen is the generation of sessions.
	Gen uint64
	// Beat is when a node last wrote its beat.
	Beat time.Time
	// Shut is since when nobody enrols by the password alone, zero: it is open. Why
	// is what was found.
	Shut time.Time
	Why  event.Reason
}

// IsShut reports whether nobody enrols by the password alone.
func (s State) IsShut() bool { return !s.Shut.IsZero() }

// Options say what is known of the store besides.
type Options struct {
	// Markers are files in which this machine remembers; the first is written. A
	// secret's fingerprint is part of their names, so after a rotation the marker is
	// found under an older one.
	Markers []string
	// Alone: this process has the store for itself, and nothing that it has
	// acknowledged can be missing.
	Alone bool
	// Used reports that this is no new installation, although there is no marker: a
	// secret lies beside a store without content. nil: nothing tells.
	Used func(ctx context.Context) (bool, error)
}

// Watch keeps an eye on one store. It is safe for concurrent use.
type Watch struct {
	store store.Store
	keys  *keyring.Key
	opts  Options

	last   atomic.Pointer[looked] // what Generation goes by
	listen atomic.Pointer[Listener]

	mu     sync.Mutex
	flight *flight

	// Of the look that is under way, one after the other.
	memory  marker
	read    bool // the marker was read
	used    bool // it cannot be read, or another sign says that there was a store
	began   bool // this process has beaten
	saved   time.Time
	unsaved error
	told    time.Time // of the mark that was told last

	stop context.CancelFunc
	done chan struct{}
}

type looked struct {
	state State
	at    time.Time
}

type flight struct {
	done  chan struct{}
	state State
	err   error
}

// Listener is told what a Watch finds.
type Listener struct {
	// Event takes the one event of a loss.
	Event event.Sink
	// Changed is called when enrolment was shut or opened. own: by this node.
	Changed func(s State, own bool)
	// Unsaved is called when the marker cannot be written.
	Unsaved func(err error)
}

// New makes a watch. It touches nothing before the first look.
func New(s store.Store, ring *keyring.Ring, o Options) *Watch {
	return &Watch{store: s, keys: ring.Key("birth"), opts: o}
}

// Listen says who is told from now on.
func (w *Watch) Listen(l Listener) { w.listen.Store(&l) }

// Start looks every few seconds until Close.
func (w *Watch) Start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop != nil {
		return
	}
	var ctx context.Context
	ctx, w.stop = context.WithCancel(context.Background())
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_, _ = w.Look(ctx) // who needs it gets the error
			}
		}
	}()
}

// Close ends the looks, with a last beat: a copy that was made before is older.
func (w *Watch) Close() {
	w.mu.Lock()
	stop, done := w.stop, w.done
	w.mu.Unlock()
	if stop != nil {
		stop()
		<-done
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	_, _ = w.exclusive(ctx, false, func(ctx context.Context) (State, error) {
		switch {
		case w.memory.ID == "": // it never looked
		case w.opts.Alone:
			w.began = false // the last beat as the first one, whatever the time
			return w.look(ctx)
		default:
			w.save(true)
		}
		return State{}, nil
	})
}

// Generation is that of sessions, from a look that is not old. An error means that
// the store cannot say.
func (w *Watch) Generation(ctx context.Context) (uint64, error) {
	if l := w.last.Load(); l != nil && time.Since(l.at) < fresh {
		return l.state.Gen, nil
	}
	w.mu.Lock()
	f := w.flight
	w.mu.Unlock()
	if f != nil {
		s, err := f.wait(ctx)
		return s.Gen, err
	}
	s, err := w.Look(ctx)
	return s.Gen, err
}

// Look reads the store and decides. The look begins after the call.
func (w *Watch) Look(ctx context.Context) (State, error) { return w.exclusive(ctx, true, w.look) }

// Op reads the record in somebody's batch; Saw decides by it.
func (w *Watch) Op() *store.Op { return store.GetOp(Key) }

// Saw takes what an Op has read. Where that is as it was, it costs nothing.
func (w *Watch) Saw(ctx context.Context, o *store.Op) (State, error) {
	rec, _, err := w.opened(o)
	l := w.last.Load()
	if err == nil && rec != nil && l != nil && rec.ID == l.state.ID && rec.Gen == l.state.Gen && rec.Shut.Equal(l.state.Shut) && !rec.At.Before(l.state.Beat) {
		return l.state, nil
	}
	return w.Look(ctx)
}

// exclusive runs one act on the watch's memory at a time. Who comes meanwhile waits,
// and may share what the next one finds: so a store that hangs is asked once.
func (w *Watch) exclusive(ctx context.Context, share bool, act func(context.Context) (State, error)) (State, error) {
	for began := false; ; began = true {
		w.mu.Lock()
		f := w.flight
		if f == nil {
			f = &flight{done: make(chan struct{})}
			w.flight = f
			w.mu.Unlock()
			w.run(ctx, f, act)
			return f.state, f.err
		}
		w.mu.Unlock()
		s, err := f.wait(ctx)
		if ctx.Err() != nil || share && began { // the second one has begun after the call
			return s, err
		}
	}
}

func (w *Watch) run(ctx context.Context, f *flight, act func(context.Context) (State, error)) {
	// Others share it: it does not end with one client's patience.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	defer func() {
		w.mu.Lock()
		w.flight = nil
		w.mu.Unlock()
		close(f.done)
	}()
	f.err = errors.New("birth: the look did not end")
	f.state, f.err = act(ctx)
}

func (f *flight) wait(ctx context.Context) (State, error) {
	select {
	case <-f.done:
		return f.state, f.err
	case <-ctx.Done():
		return State{}, ctx.Err()
	}
}

var errSecret = errors.New("the store's birth record is sealed with a secret that is not configured: add the old secret behind the new one, or give each installation a key_prefix of its own")

// opened reads what an Op has found: nil where there is no record.
func (w *Watch) opened(o *store.Op) (*record, uint64, error) {
	if errors.Is(o.Err, store.ErrNotFound) {
		return nil, 0, nil
	} else if o.Err != nil {
		return nil, 0, fmt.Errorf("birth: read: %w", o.Err)
	}
	plain, err := w.keys.Open(Key, o.Record.Value)
	if err != nil {
		return nil, o.Record.Version, errSecret
	}
	rec := new(record)
	if err := json.Unmarshal(plain, rec); err != nil {
		return nil, o.Record.Version, fmt.Errorf("birth: decode: %w", err)
	}
	return rec, o.Record.Version, nil
}

// tries bounds how often a writer that lost to another node reads again.
const tries = 16

func (w *Watch) look(ctx context.Context) (State, error) {
	if err := w.remember(ctx); err != nil {
		return State{}, err
	}
	for range tries {
		o := w.Op()
		o.Do(ctx, w.store)
		rec, version, err := w.opened(o)
		if errors.Is(err, errSecret) && w.last.Load() != nil {
			// Another node has the next secret already. Sessions go on; nobody enrols.
			s := w.last.Load().state
			s.Shut, s.Why = time.Now(), event.StoreSealed
			w.last.Store(&looked{w.last.Load().state, time.Now()})
			return s, nil
		} else if err != nil {
			return State{}, err
		}
		now, err := w.store.Now(ctx)
		if err != nil {
			return State{}, fmt.Errorf("birth: clock: %w", err)
		}
		next, why := w.judge(rec, now)
		if next == nil {
			return w.learn(ctx, *rec, why), nil
		}
		switch err := w.put(ctx, next, version); {
		case err == nil:
			w.began = true
			return w.learn(ctx, *next, why), nil
		case errors.Is(err, store.ErrConflict):
		case rec != nil && why == "": // it only did not beat
			return w.learn(ctx, *rec, ""), nil
		default:
			return State{}, err
		}
	}
	return State{}, errors.New("birth: too many writers at once")
}

// judge holds the record of the store against what is remembered. next is what is
// to be written, nil for nothing; why is set where the store has lost something.
func (w *Watch) judge(rec *record, now time.Time) (next *record, why event.Reason) {
	m, every, lost := w.memory, beatEvery, uint64(lostBeats)
	if w.opts.Alone {
		every, lost = beatAlone, 0
	}
	switch {
	case rec == nil && m.ID == "" && !w.used:
		return &record{ID: newID(), Gen: newGen(), Beat: 1, At: now}, ""
	case rec == nil:
		return &record{ID: newID(), Gen: newGen(), Beat: 1, At: now, Was: m.names(), Shut: now, Why: event.StoreForgotten}, event.StoreForgotten
	case m.ID != "" && rec.ID != m.ID && !slices.Contains(rec.Was, m.ID):
		// Another store, which nobody has told this node of: one that was born after
		// the loss on a node that knew of nothing, or a copy.
		n := *rec
		n.Gen, n.Beat, n.At, n.Was = newGen(), rec.Beat+1, now, add(rec.Was, m.names())
		if n.Shut.IsZero() {
			n.Shut, n.Why = now, event.StoreForgotten
		}
		return &n, n.Why
	case rec.ID == m.ID && rec.Beat+lost < m.Beat:
		n := *rec
		n.Gen, n.Beat, n.At, n.Shut, n.Why = newGen(), m.Beat+1, now, now, event.StoreRestored
		return &n, event.StoreRestored
	case now.Sub(rec.At) >= every, !w.began && w.opts.Alone:
		n := *rec
		n.Beat, n.At = max(rec.Beat, m.Beat)+1, now
		return &n, ""
	}
	return nil, ""
}

func (w *Watch) put(ctx context.Context, rec *record, version uint64) error {
	plain, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("birth: encode: %w", err)
	}
	if _, err := w.store.Put(ctx, Key, w.keys.Seal(Key, plain), version, store.Options{}); err != nil {
		return fmt.Errorf("birth: write: %w", err)
	}
	return nil
}

// learn takes over what the store says, and tells of what has changed.
func (w *Watch) learn(ctx context.Context, rec record, why event.Reason) State {
	s := State{ID: rec.ID, Gen: rec.Gen, Beat: rec.At, Shut: rec.Shut, Why: rec.Why}
	w.last.Store(&looked{s, time.Now()})
	changed := w.memory.ID != rec.ID
	if changed {
		w.memory = marker{ID: rec.ID, Was: add(rec.Was, w.memory.names())}
	}
	w.memory.Beat = max(w.memory.Beat, rec.Beat)
	w.save(changed || w.opts.Alone)
	l := w.listen.Load()
	if l == nil {
		return s
	}
	if why != "" && l.Event != nil {
		l.Event(ctx, event.Event{Name: event.StoreLost, Reason: why, Detail: What(why) + " " + WhatToDo})
	}
	if !w.told.Equal(rec.Shut) {
		w.told = rec.Shut
		if l.Changed != nil {
			l.Changed(s, why != "")
		}
	}
	return s
}

// What says what was found.
func What(why event.Reason) string {
	switch why {
	case event.StoreForgotten:
		return "The store has lost what it held, or is another one."
	case event.StoreRestored:
		return "The store was put back to an older state; all sessions and trusted browsers of before have ended."
	}
	return ""
}

// WhatToDo says what an operator does then.
const WhatToDo = "Nobody can name a first number by the password alone. If there is a newer copy, restore it; then, or if there is none, " +
	`let people in again with "caddymfa mfa store confirm". Until then users can be invited, or be given a number with "caddymfa mfa users set-phone".`

// ErrOpen: there is nothing to confirm.
var ErrOpen = errors.New("enrolment is open: there is nothing to confirm")

// Confirm opens enrolment again. It is ErrOpen when it is not shut.
func (w *Watch) Confirm(ctx context.Context) (State, error) {
	return w.exclusive(ctx, false, w.confirm)
}

func (w *Watch) confirm(ctx context.Context) (State, error) {
	for range tries {
		// What is not marked yet is marked first.
		if _, err := w.look(ctx); err != nil && !errors.Is(err, errSecret) {
			return State{}, err
		}
		o := w.Op()
		o.Do(ctx, w.store)
		rec, version, err := w.opened(o)
		switch {
		case errors.Is(err, errSecret):
			rec = &record{ID: newID(), Gen: newGen(), Shut: time.Now()}
		case err != nil:
			return State{}, err
		case rec == nil:
			continue
		}
		if rec.Shut.IsZero() {
			return State{}, ErrOpen
		}
		now, err := w.store.Now(ctx)
		if err != nil {
			return State{}, fmt.Errorf("birth: clock: %w", err)
		}
		n := *rec
		n.Shut, n.Why, n.Beat, n.At, n.Was = time.Time{}, "", max(rec.Beat, w.memory.Beat)+1, now, add(rec.Was, w.memory.names())
		if err := w.put(ctx, &n, version); err == nil {
			return w.learn(ctx, n, ""), nil
		} else if !errors.Is(err, store.ErrConflict) {
			return State{}, err
		}
	}
	return State{}, errors.New("birth: too many writers at once")
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// newGen is never 0, the generation of what carries none.
func newGen() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])>>12 | 1 // exact in any JSON
}

func add(to, names []string) []string {
	out := slices.Clone(to)
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out[max(0, len(out)-maxWas):]
}
