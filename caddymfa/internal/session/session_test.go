package session

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/memory"
)

// sized notes the size of the last value that was written.
type sized struct {
	store.Store
	bytes atomic.Int64
}

func (s *sized) Put(ctx context.Context, key string, value []byte, v uint64, o store.Options) (uint64, error) {
	s.bytes.Store(int64(len(key) + len(value)))
	return s.Store.Put(ctx, key, value, v, o)
}

func (s *sized) Batch(ctx context.Context, ops ...*store.Op) {
	for _, o := range ops {
		o.Do(ctx, s)
	}
}

func table(t testing.TB) (*Table, *sized, *Gate) {
	ring, err := keyring.New([]byte("a secret of the tests with at least 32 bytes"))
	if err != nil {
		t.Fatal(err)
	}
	s := &sized{Store: memory.New(memory.Options{})}
	tb := NewTable(s, ring)
	t.Cleanup(tb.Close)
	return tb, s, &Gate{ID: "app\x00host", Cookie: NewCookie(""), Idle: time.Hour, Lifetime: 12 * time.Hour}
}

func verified() Record {
	now := time.Now()
	return Record{
		Level: Verified, User: "alice", VerifiedAt: now, SeenAt: now, ExpiresAt: now.Add(time.Hour),
		Jar: jar.Jar{Cookies: []jar.Cookie{
			{Name: "PHPSESSID", Value: strings.Repeat("x", 32), Path: "/", HTTPOnly: true}, {Name: "csrftoken", Value: strings.Repeat("y", 64), Path: "/"},
		}},
	}
}

func TestVerifiedSessionWithTwoCookiesFitsInTwoKiB(t *testing.T) {
	tb, s, g := table(t)
	if _, err := tb.Create(t.Context(), g, verified()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes of key and value", s.bytes.Load())
	if s.bytes.Load() > 2<<10 {
		t.Fatalf("%d bytes", s.bytes.Load())
	}
}

func (t *Table) request(g *Gate, s *Session) *http.Request {
	w := httptest.NewRecorder()
	t.SetHandle(w.Header(), g, s, false)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(w.Result().Cookies()[0])
	return r
}

func TestAttack_F9_OnlyKnownLevelsAreLive(t *testing.T) {
	tb, _, g := table(t)
	for _, level := range []Level{Anonymous, Pending, Verified, busy, done, None, "passed", "locked", "error"} {
		rec := verified()
		rec.Level = level
		s, err := tb.Create(t.Context(), g, rec)
		if err != nil {
			continue // a level that is not stored
		}
		got, state, err := tb.Load(t.Context(), g, tb.request(g, s), false)
		live := level == Anonymous || level == Pending || level == Verified
		if err != nil || (state == Live) != live || live && got.Level != level {
			t.Errorf("%q: %v, %v, %v", level, got, state, err)
		}
	}
}

func TestTakeHasOneWinnerAndOpensNothing(t *testing.T) {
	tb, _, g := table(t)
	s, err := tb.Create(t.Context(), g, verified())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 50 {
		wg.Go(func() {
			if _, err := tb.Take(t.Context(), g, s, []byte("attempt")); err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			} else if !errors.Is(err, ErrTaken) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Fatalf("%d winners", won)
	}
	if _, state, _ := tb.Load(t.Context(), g, tb.request(g, s), false); state != Attempting {
		t.Fatalf("state %v", state)
	}
	if _, err := tb.Update(t.Context(), g, s, func(r Record) (Record, error) { return r, nil }); !errors.Is(err, ErrTaken) {
		t.Fatalf("a late write: %v", err)
	}
}

func TestLifetimeIsNotExtended(t *testing.T) {
	tb, _, g := table(t)
	rec := verified()
	rec.ExpiresAt = time.Now().Add(60 * time.Millisecond)
	s, err := tb.Create(t.Context(), g, rec)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		time.Sleep(20 * time.Millisecond)
		_, _ = tb.Update(t.Context(), g, s, func(r Record) (Record, error) { r.SeenAt = time.Now(); return r, nil })
	}
	tb.cache.drop(s.ID)
	if _, state, _ := tb.Load(t.Context(), g, tb.request(g, s), false); state != Unknown {
		t.Fatalf("state %v", state)
	}
}

func FuzzHandle(f *testing.F) {
	tb, _, g := table(f)
	good := tb.sealHandle(g.ID, handle{id: ID{1}, version: 7})
	f.Add(good)
	f.Add("1")
	f.Add(good[:60])
	f.Fuzz(func(t *testing.T, value string) {
		// Every process of the fuzzer seals anew, so texts are not compared.
		if h, ok := tb.openHandle(g.ID, value); ok && (h.id != ID{1} || h.version != 7) {
			t.Fatalf("%q opens", value)
		}
		if _, ok := tb.openHandle("other", value); ok {
			t.Fatal("another gate opens it")
		}
	})
}

// readOnly is a store that can be read, and writes nothing while full is set.
type readOnly struct {
	store.Store
	full atomic.Bool
}

func (r *readOnly) Put(ctx context.Context, key string, value []byte, v uint64, o store.Options) (uint64, error) {
	if r.full.Load() {
		return 0, errors.New("full")
	}
	return r.Store.Put(ctx, key, value, v, o)
}

// A session whose last use cannot be written goes on to the end that was written last,
// and no further.
func TestPeople_P25_TheEndIsTheOneThatWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, err := keyring.New([]byte("a secret of the tests with at least 32 bytes"))
		if err != nil {
			t.Fatal(err)
		}
		st := &readOnly{Store: memory.New(memory.Options{})}
		tb := NewTable(st, ring)
		defer tb.Close()
		told := 0
		tb.OnUnwritten(func(context.Context, *Gate, error) { told++ })
		g := &Gate{ID: "app\x00host", Cookie: NewCookie(""), Idle: time.Hour, Lifetime: 12 * time.Hour}
		rec := verified()
		rec.ExpiresAt = time.Now().Add(12 * time.Hour)
		s, err := tb.Create(t.Context(), g, rec)
		if err != nil {
			t.Fatal(err)
		}
		load := func() State {
			t.Helper()
			h := http.Header{}
			tb.SetHandle(h, g, s, false)
			_, state, err := tb.Load(t.Context(), g, &http.Request{Header: http.Header{"Cookie": {strings.SplitN(h.Get("Set-Cookie"), ";", 2)[0]}}}, false)
			if err != nil {
				t.Fatal(err)
			}
			return state
		}
		time.Sleep(30 * time.Minute)
		if load() != Live { // its end is in an hour from now on
			t.Fatal("it has ended")
		}
		st.full.Store(true)
		for range 59 {
			time.Sleep(time.Minute)
			if load() != Live {
				t.Fatal("it has ended too early")
			}
		}
		if time.Sleep(2 * time.Minute); load() != Unknown {
			t.Error("it goes on for ever")
		}
		if told != 1 {
			t.Errorf("told %d times", told)
		}
	})
}
