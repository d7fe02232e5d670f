package session

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// Lifetimes that are not configured.
const (
	// AnonymousTTL is how long the cookies from before a login are kept.
	AnonymousTTL = 15 * time.Minute
	// AttemptTTL is how long a login attempt may take, and how long its outcome
	// waits for the same request sent twice.
	AttemptTTL = 60 * time.Second
	// againTTL is how long the outcome of a client without a handle waits for
	// its second click: the same network and browser may also be another person.
	againTTL = 10 * time.Second
	// Freshness is the greatest age of a node's copy of a record: what another
	// node has ended works here no longer than that.
	Freshness = time.Second
	// seenEvery is how often the last use is written, useTime how long a page waits
	// for that, and useAgain when it is tried again where it failed.
	seenEvery = time.Minute
	useTime   = 2 * time.Second
	useAgain  = 10 * time.Second
)

// Errors that callers decide by; any other error means that the store failed.
var (
	// ErrGone: the session has ended, or is no longer what it was.
	ErrGone = errors.New("session: gone")
	// ErrTaken: a login attempt holds the session.
	ErrTaken = errors.New("session: taken by a login attempt")
)

// Gate is what a session is bound to, and how long it lives there.
type Gate struct {
	// ID names app and host: a handle of one gate opens no other.
	ID     string
	Cookie Cookie
	// Idle and Lifetime end a verified session; Lifetime is not extended by use.
	Idle, Lifetime time.Duration
}

// State says what a client's handle is worth.
type State int

const (
	// NoHandle: no cookie of ours, or none that was sealed here.
	NoHandle State = iota
	// Unknown: well sealed, but the store does not know the session any more.
	Unknown
	// Attempting: a login attempt has taken the session.
	Attempting
	// Live: the session is there.
	Live
)

// Table is the sessions of one store. It is safe for concurrent use.
type Table struct {
	store            store.Store
	handles, records *keyring.Key
	ids, tokens      *keyring.Key
	carry            *keyring.Key
	cache            *cache
	live             *live
	// lines are where the writers of a session wait for each other on this node; a
	// session has one by its id.
	lines *store.Lines

	generation func(context.Context) (uint64, error) // nil: there is one only

	unwritten atomic.Pointer[func(context.Context, *Gate, error)] // see OnUnwritten
	// unused is until when no use is written, in nanoseconds of the clock; 0 while
	// they can be written.
	unused atomic.Int64
}

// NewTable opens a table over a store. Close it to stop its watcher.
func NewTable(s store.Store, ring *keyring.Ring) *Table {
	t := &Table{
		store: s, handles: ring.Key("handle"), records: ring.Key("record"), ids: ring.Key("attempt"), tokens: ring.Key("bearer"), carry: ring.Key("carried"),
		cache: newCache(), lines: store.NewLines(),
	}
	t.live = newLive(t.alive, t.cache.sweep)
	return t
}

// Bound sets how many bytes this node's copies of records may take.
func (t *Table) Bound(bytes int64) { t.cache.bound.Store(bytes) }

// Bytes is about what they take.
func (t *Table) Bytes() int64 { return t.cache.bytes.Load() }

// line waits until no other request of this node writes a session. leave is called
// when the caller has written.
func (t *Table) line(ctx context.Context, id ID) (leave func(), err error) {
	if leave, err = t.lines.Enter(ctx, id[2]); err != nil {
		return nil, fmt.Errorf("session: waiting for other writers: %w", err)
	}
	return leave, nil
}

// Within binds sessions to the generation of the store: those that a copy of the
// store brings back are over. Call it before the table is used. generation is
// asked for every session, and must cost nothing.
func (t *Table) Within(generation func(context.Context) (uint64, error)) { t.generation = generation }

// gen is the store's generation.
func (t *Table) gen(ctx context.Context) (uint64, error) {
	if t.generation == nil {
		return 0, nil
	}
	gen, err := t.generation(ctx)
	if err != nil {
		return 0, fmt.Errorf("session: %w", err)
	}
	return gen, nil
}

// OnUnwritten sets what is told when the last use of a session could not be written:
// once, until it can be again.
func (t *Table) OnUnwritten(tell func(context.Context, *Gate, error)) { t.unwritten.Store(&tell) }

// Close stops the watcher of open streams; they stay open.
func (t *Table) Close() { t.live.close() }

// Load finds the session of a request. A handle that was not sealed here costs
// no look-up. An error means that the store could not answer.
func (t *Table) Load(ctx context.Context, g *Gate, r *http.Request, secure bool) (*Session, State, error) {
	value, ok := g.Cookie.read(r, secure)
	if !ok {
		return nil, NoHandle, nil
	}
	if s, ok := t.openCarried(g.ID, value); ok {
		return t.findCarried(ctx, g, s)
	}
	h, ok := t.openHandle(g.ID, value)
	if !ok {
		return nil, NoHandle, nil
	}
	return t.find(ctx, g, h)
}

// find finds the session of a handle, from a copy that is fresh enough or from
// the store.
func (t *Table) find(ctx context.Context, g *Gate, h handle) (*Session, State, error) {
	s, ok := t.cache.get(h.id, h.version)
	if !ok {
		var err error
		if s, err = t.read(ctx, g.ID, h.id); errors.Is(err, ErrGone) {
			return nil, Unknown, nil
		} else if err != nil {
			return nil, NoHandle, err
		}
		t.cache.put(s)
	} else if gen, err := t.gen(ctx); err != nil {
		return nil, NoHandle, err
	} else if s.Gen != gen {
		return nil, Unknown, nil
	}
	if s.Level == Verified && time.Since(s.SeenAt) >= seenEvery {
		seen, err := t.use(ctx, g, s)
		if err != nil {
			return nil, Unknown, nil //nolint:nilerr // it has ended
		}
		s = seen
	}
	state := s.state()
	if state == Unknown {
		s = nil
	}
	return s, state, nil
}

// use notes when a session was last used, which puts its end off. It is a note: where
// it cannot be written (a full disk, a Redis at its limit, replicas that are away) the
// session goes on as it was read, and ends when the last note says. An error means that
// it has ended.
func (t *Table) use(ctx context.Context, g *Gate, s *Session) (*Session, error) {
	if time.Now().UnixNano() < t.unused.Load() {
		return s, nil
	}
	limited, cancel := context.WithTimeout(ctx, useTime)
	defer cancel()
	seen, err := t.Update(limited, g, s, func(r Record) (Record, error) { r.SeenAt, r.Led = time.Now(), ""; return r, nil })
	switch {
	case err == nil:
		t.unused.Store(0)
		return seen, nil
	case errors.Is(err, ErrGone), errors.Is(err, ErrTaken):
		return nil, err
	case ctx.Err() == nil: // else nobody waits for the answer any more
		// Not every page of an outage has to wait for it, and it is told once.
		if tell := t.unwritten.Load(); t.unused.Swap(time.Now().Add(useAgain).UnixNano()) == 0 && tell != nil {
			(*tell)(ctx, g, err)
		}
	}
	return s, nil
}

func bind(gate string, id ID) string { return gate + "\x00" + string(id[:]) }

// read is what the store keeps of a session. ErrGone is none.
func (t *Table) read(ctx context.Context, gate string, id ID) (*Session, error) {
	s, err := t.stored(ctx, gate, id)
	if s == nil && err == nil {
		err = ErrGone
	}
	return s, err
}

// stored is what lies under a session's key: nil where nothing does, as with one that
// its browser carries, and ErrGone where that is no session, or no more.
func (t *Table) stored(ctx context.Context, gate string, id ID) (*Session, error) {
	rec, err := t.store.Get(ctx, id.key())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // nothing is a third answer
	} else if err != nil {
		return nil, fmt.Errorf("session: read: %w", err)
	}
	return t.decode(ctx, gate, id, rec)
}

func (t *Table) decode(ctx context.Context, gate string, id ID, rec store.Record) (*Session, error) {
	plain, err := t.records.Open(bind(gate, id), rec.Value)
	if err != nil {
		return nil, ErrGone // buried, sealed for another gate, or by a secret that has left the ring
	}
	s := &Session{ID: id, Version: rec.Version}
	if err := json.Unmarshal(plain, &s.Record); err != nil {
		return nil, ErrGone
	}
	if gen, err := t.gen(ctx); err != nil {
		return nil, err
	} else if s.Gen != gen {
		return nil, ErrGone // a copy of the store has brought it back
	}
	return s, nil
}

// write puts a record into the store, with other calls in the same round trip.
func (t *Table) write(ctx context.Context, g *Gate, id ID, rec Record, ifVersion uint64, ttl time.Duration, with ...*store.Op) (*Session, error) {
	if rec.Gen == 0 {
		gen, err := t.gen(ctx)
		if err != nil {
			return nil, err
		}
		rec.Gen = gen
	}
	plain, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("session: encode: %w", err)
	}
	// The mark of a session that browsers carry must not be lost: they still have it.
	volatile := rec.Level == Anonymous || rec.Light && !rec.Loose
	put := store.PutOp(id.key(), t.records.Seal(bind(g.ID, id), plain), ifVersion, store.Options{TTL: ttl, Volatile: volatile})
	if len(with) == 0 {
		put.Do(ctx, t.store)
	} else {
		t.store.Batch(ctx, append([]*store.Op{put}, with...)...)
	}
	if put.Err != nil {
		return nil, put.Err
	}
	s := &Session{ID: id, Version: put.Record.Version, Record: rec}
	t.cache.put(s)
	return s, nil
}

// ttl is how long a record may lie in the store from now on.
func (t *Table) ttl(ctx context.Context, g *Gate, rec Record) (time.Duration, error) {
	switch rec.Level {
	case Anonymous:
		return AnonymousTTL, nil
	case busy, done:
		if rec.Loose {
			return markTTL, nil
		}
		return AttemptTTL, nil
	case Pending, Verified:
		left, err := t.left(ctx, rec)
		if rec.Level == Verified {
			left = min(left, g.Idle)
		}
		return left, err
	case None:
	}
	return 0, fmt.Errorf("session: level %q is not stored", rec.Level)
}

// left is how long a session has until its end, whatever it is used for. ErrGone
// when that has passed.
func (t *Table) left(ctx context.Context, rec Record) (time.Duration, error) {
	now, err := t.store.Now(ctx)
	if err != nil {
		return 0, fmt.Errorf("session: clock: %w", err)
	}
	if left := rec.ExpiresAt.Sub(now); left > 0 {
		return left, nil
	}
	return 0, ErrGone
}

// Create makes a session under a new id. Pending and verified records must
// carry ExpiresAt, by the store's clock. with are other calls that go to the store
// in the same round trip; they are not undone when Create fails.
func (t *Table) Create(ctx context.Context, g *Gate, rec Record, with ...*store.Op) (*Session, error) {
	ttl, err := t.ttl(ctx, g, rec)
	if err != nil {
		return nil, err
	}
	s, err := t.write(ctx, g, newID(), rec, 0, ttl, with...)
	if err != nil {
		return nil, fmt.Errorf("session: create: %w", err)
	}
	return s, nil
}

// updateTime bounds an Update, the wait for other writers included.
const updateTime = 10 * time.Second

// Update replaces the record of s by change(record). When another request was
// faster, change is applied to what that one wrote, as long as the level is
// still the same; otherwise the session is ErrGone or ErrTaken. An error of
// change ends the update and is returned as it is. with are other calls that go to
// the store with the first write, as in Create; a carried session has no such
// write, and takes none. It is ErrTooLarge when a carried session no longer fits.
func (t *Table) Update(ctx context.Context, g *Gate, s *Session, change func(Record) (Record, error), with ...*store.Op) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, updateTime)
	defer cancel()
	// A page's requests come together, and many applications change their cookie
	// with every answer: here they write one after the other, and only other nodes
	// are in each other's way (attack K26).
	leave, err := t.line(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	defer leave()
	if s.carried {
		return t.updateCarried(ctx, g, s, change, false)
	}
	return t.replace(ctx, g, s, change, with...)
}

// replace is Update for a session that the store keeps. Its line is held.
func (t *Table) replace(ctx context.Context, g *Gate, s *Session, change func(Record) (Record, error), with ...*store.Op) (*Session, error) {
	if known, _ := t.cache.last(s.ID); known != nil && !known.carried && known.Version > s.Version && known.Level == s.Level {
		s = known // what the one before us in the line has written
	}
	if s.cut {
		whole, err := t.again(ctx, g, s)
		if err != nil {
			return nil, err
		}
		s = whole
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 64*time.Millisecond) {
		rec, err := change(s.Record)
		if err != nil {
			return nil, err
		}
		ttl, err := t.ttl(ctx, g, rec)
		if err != nil {
			return nil, err
		}
		next, err := t.write(ctx, g, s.ID, rec, s.Version, ttl, with...)
		if err == nil {
			return next, nil
		}
		with = nil
		if !errors.Is(err, store.ErrConflict) {
			return nil, fmt.Errorf("session: write: %w", err)
		}
		if s, err = t.again(ctx, g, s); err != nil {
			return nil, err
		}
		// Another node writes as well: whoever waits longer this time has the store
		// for himself.
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("session: too many writers at once: %w", ctx.Err())
		case <-time.After(rand.N(wait)): //nolint:gosec // nobody gains by guessing it
		}
	}
}

// again reads a session anew and says whether it is still what it was.
func (t *Table) again(ctx context.Context, g *Gate, s *Session) (*Session, error) {
	fresh, err := t.read(ctx, g.ID, s.ID)
	switch {
	case err != nil:
		return nil, err
	case fresh.Level == busy || fresh.Level == done:
		return nil, ErrTaken
	case fresh.Level != s.Level:
		return nil, ErrGone
	}
	return fresh, nil
}

// Whole is a session with everything that the store keeps of it: copies are
// without a long withheld answer.
func (t *Table) Whole(ctx context.Context, g *Gate, s *Session) (*Session, error) {
	if !s.cut {
		return s, nil
	}
	return t.again(ctx, g, s)
}

// taken is the record of a session that an attempt has taken out.
func taken(attempt []byte, from Record, loose bool) Record {
	rec := Record{Level: busy, Attempt: attempt, Light: from.Level == Anonymous, Loose: loose}
	if from.Level == Pending {
		rec.User = from.User // for who gives a code to a session that is pending no more
	}
	if loose {
		rec.SeenAt = time.Now()
	}
	return rec
}

// Take takes a session out for a login attempt: from here on it opens nothing,
// and a crash loses it. One of several takers wins; the others get ErrTaken.
func (t *Table) Take(ctx context.Context, g *Gate, s *Session, attempt []byte) (*Session, error) {
	if s.carried {
		return t.takeCarried(ctx, g, s, attempt)
	}
	out, err := t.Update(ctx, g, s, func(r Record) (Record, error) {
		return taken(attempt, r, r.Loose), nil
	})
	if err == nil {
		t.live.end(s.ID)
	}
	return out, err
}

// TakeNew marks a login attempt of a client without a session. Its place is
// derived from attempt, so that the same request of the same network sent
// twice is one attempt.
func (t *Table) TakeNew(ctx context.Context, g *Gate, attempt []byte) (*Session, error) {
	s, err := t.write(ctx, g, t.attemptID(g, attempt), Record{Level: busy, Attempt: attempt, Light: true}, 0, AttemptTTL)
	if errors.Is(err, store.ErrConflict) {
		return nil, ErrTaken
	} else if err != nil {
		return nil, fmt.Errorf("session: mark attempt: %w", err)
	}
	return s, nil
}

// Forget removes the mark of an attempt of a client without a session.
func (t *Table) Forget(ctx context.Context, g *Gate, attempt []byte) error {
	return t.End(ctx, &Session{ID: t.attemptID(g, attempt)})
}

func (t *Table) attemptID(g *Gate, attempt []byte) (id ID) {
	copy(id[:], t.ids.MAC("place", g.ID, string(attempt)))
	return id
}

// Finish leaves the outcome of an attempt for the same request sent twice, for ttl.
// The session stays out.
func (t *Table) Finish(ctx context.Context, g *Gate, taken *Session, outcome []byte, ttl time.Duration) error {
	rec := Record{Level: done, Attempt: taken.Attempt, User: taken.User, Outcome: outcome, Light: taken.Light, Loose: taken.Loose, SeenAt: taken.SeenAt}
	switch {
	case taken.ID == t.attemptID(g, taken.Attempt):
		ttl = againTTL
	case taken.Loose:
		ttl = markTTL
	}
	_, err := t.write(ctx, g, taken.ID, rec, taken.Version, ttl)
	if err != nil {
		return fmt.Errorf("session: finish attempt: %w", err)
	}
	return nil
}

// Await waits for the outcome of the attempt that took the session of a
// handle (s, which Load has found Attempting), or, without one, the attempt of
// the same network (s is nil). It is ErrGone when another request took it, or
// when the attempt ended without an outcome.
func (t *Table) Await(ctx context.Context, g *Gate, s *Session, attempt []byte) ([]byte, error) {
	id := t.attemptID(g, attempt)
	if s != nil {
		id = s.ID
	}
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 400*time.Millisecond) {
		cur, err := t.read(ctx, g.ID, id)
		switch {
		case err != nil:
			return nil, err
		case cur.Level != busy && cur.Level != done, subtle.ConstantTimeCompare(cur.Attempt, attempt) != 1:
			return nil, ErrGone
		case cur.Level == done:
			return cur.Outcome, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// DeliverTTL is how long a withheld page waits for its navigation.
const DeliverTTL = 60 * time.Second

// Leave lays something sealed beside a session, to be collected once.
func (t *Table) Leave(ctx context.Context, g *Gate, s *Session, plain []byte) error {
	_, err := t.store.Put(ctx, "d"+s.ID.key(), t.records.Seal("leave"+bind(g.ID, s.ID), plain), 0, store.Options{TTL: DeliverTTL})
	if err != nil {
		return fmt.Errorf("session: leave: %w", err)
	}
	return nil
}

// Collect takes what was left beside a session, or is ErrGone.
func (t *Table) Collect(ctx context.Context, g *Gate, s *Session) ([]byte, error) {
	rec, err := t.store.Take(ctx, "d"+s.ID.key())
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrGone
	} else if err != nil {
		return nil, fmt.Errorf("session: collect: %w", err)
	}
	plain, err := t.records.Open("leave"+bind(g.ID, s.ID), rec.Value)
	if err != nil {
		return nil, ErrGone
	}
	return plain, nil
}

// End ends a session: at once on this node, within a second on all. Streams
// that it holds open are closed.
func (t *Table) End(ctx context.Context, s *Session) error {
	t.cache.drop(s.ID)
	t.live.end(s.ID)
	var err error
	if s.carried || s.Loose {
		err = t.bury(ctx, s.ID)
	} else {
		err = t.store.Delete(ctx, s.ID.key())
	}
	t.cache.drop(s.ID)
	if err != nil {
		return fmt.Errorf("session: end: %w", err)
	}
	return nil
}

// Reload reads a session anew, past the cache.
func (t *Table) Reload(ctx context.Context, g *Gate, s *Session) (*Session, error) {
	return t.read(ctx, g.ID, s.ID)
}

// SetHandle gives the browser the handle of s, in place of any other.
func (t *Table) SetHandle(w http.Header, g *Gate, s *Session, secure bool) {
	if s.carried {
		g.Cookie.set(w, t.sealCarried(g.ID, s), secure, 0)
		return
	}
	g.Cookie.set(w, t.sealHandle(g.ID, handle{s.ID, s.Version}), secure, 0)
}

// ClearHandle takes the handle away.
func (t *Table) ClearHandle(w http.Header, g *Gate, secure bool) { g.Cookie.set(w, "", secure, -1) }

// Tie ties a long answer to a session: end is called when the session ends, at
// the latest 5 s after another node ended it. Release the stream when it is over.
func (t *Table) Tie(g *Gate, s *Session, end func()) *Stream { return t.live.tie(g.ID, s.ID, end) }

// Current is a session as it is now, past the cache: what a login has taken, also
// one that browsers carry, is no longer what it was.
func (t *Table) Current(ctx context.Context, g *Gate, s *Session) (*Session, error) {
	cur, err := t.stored(ctx, g.ID, s.ID)
	switch {
	case cur != nil || err != nil:
		return cur, err
	case s.carried:
		return s, nil
	}
	return nil, ErrGone
}

// Still looks past the cache whether a session is still verified. ErrGone when
// it is not.
func (t *Table) Still(ctx context.Context, g *Gate, s *Session) error {
	return t.verified(ctx, g.ID, s.ID)
}

func (t *Table) verified(ctx context.Context, gate string, id ID) error {
	cur, err := t.read(ctx, gate, id)
	if err == nil && cur.Level != Verified {
		return ErrGone
	}
	return err
}

// alive asks the store, past the cache, whether a session is still verified.
// When the store cannot say, it is not.
func (t *Table) alive(ctx context.Context, gate string, id ID) bool {
	return t.verified(ctx, gate, id) == nil
}
