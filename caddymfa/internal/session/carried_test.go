package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/memory"
)

func cookies(names ...string) (j jar.Jar) {
	for _, n := range names {
		j.Cookies = append(j.Cookies, jar.Cookie{Name: n, Value: "v-" + n, Path: "/"})
	}
	return j
}

func carried(t *testing.T, tb *Table, g *Gate, names ...string) *Session {
	t.Helper()
	s, err := tb.Carry(t.Context(), g, Record{Jar: cookies(names...)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// add is the change of an answer that sets one more cookie.
func add(name, value string) func(Record) (Record, error) {
	return func(r Record) (Record, error) {
		r.Jar.Cookies = append(slices.Clip(r.Jar.Cookies), jar.Cookie{Name: name, Value: value, Path: "/"})
		return r, nil
	}
}

// Whatever ends a carried session, no handle of it is worth anything again, for as
// long as it could be used: not after a crash, not on another node, not when the
// store has taken the session over.
func TestAttack_A1_CarriedHandlesStayDead(t *testing.T) {
	big := strings.Repeat("x", 5000)
	for name, end := range map[string]func(ctx context.Context, tb *Table, g *Gate, s *Session) error{
		"taken": func(ctx context.Context, tb *Table, g *Gate, s *Session) error {
			_, err := tb.Take(ctx, g, s, []byte("attempt"))
			return err
		},
		"taken and finished": func(ctx context.Context, tb *Table, g *Gate, s *Session) error {
			taken, err := tb.Take(ctx, g, s, []byte("attempt"))
			return errors.Join(err, tb.Finish(ctx, g, taken, []byte("{}"), AttemptTTL))
		},
		"ended": func(ctx context.Context, tb *Table, _ *Gate, s *Session) error { return tb.End(ctx, s) },
		"kept, then taken": func(ctx context.Context, tb *Table, g *Gate, s *Session) error {
			kept, err := tb.Keep(ctx, g, s, add("BIG", big))
			if err != nil {
				return err
			}
			_, err = tb.Take(ctx, g, kept, []byte("attempt"))
			return err
		},
		"kept, then taken by the old handle": func(ctx context.Context, tb *Table, g *Gate, s *Session) error {
			if _, err := tb.Keep(ctx, g, s, add("BIG", big)); err != nil {
				return err
			}
			_, err := tb.Take(ctx, g, s, []byte("attempt"))
			return err
		},
		"kept, then ended": func(ctx context.Context, tb *Table, g *Gate, s *Session) error {
			kept, err := tb.Keep(ctx, g, s, add("BIG", big))
			return errors.Join(err, tb.End(ctx, kept))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ring, _ := keyring.New([]byte("a secret of the tests with at least 32 bytes"))
				st := memory.New(memory.Options{})
				a, b := NewTable(st, ring), NewTable(st, ring)
				defer a.Close()
				defer b.Close()
				g := &Gate{ID: "app\x00host", Cookie: NewCookie("")}
				s := carried(t, a, g, "SID")
				time.Sleep(10 * time.Minute)
				s, err := a.Update(t.Context(), g, s, add("T", "1")) // and so it lives longer
				if err != nil {
					t.Fatal(err)
				}
				r := a.request(g, s)
				if err := end(t.Context(), a, g, s); err != nil {
					t.Fatal(err)
				}
				if _, err := a.Take(t.Context(), g, s, []byte("other")); err == nil {
					t.Error("taken twice")
				}
				if _, err := b.Update(t.Context(), g, s, add("U", "1")); err == nil {
					t.Error("an answer of another node brought it back")
				}
				for passed := range 16 {
					for _, tb := range []*Table{a, b} {
						if cur, state, err := tb.Load(t.Context(), g, r, false); state == Live || err != nil {
							t.Fatalf("after %d minutes: %v, %v, %v", passed, cur, state, err)
						} else if passed > 1 && state != Unknown {
							t.Errorf("after %d minutes: %v", passed, state)
						}
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

func TestACarriedSessionEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, _ := keyring.New([]byte("a secret of the tests with at least 32 bytes"))
		tb := NewTable(memory.New(memory.Options{}), ring)
		defer tb.Close()
		g := &Gate{ID: "app\x00host", Cookie: NewCookie("")}
		r := tb.request(g, carried(t, tb, g, "SID"))
		time.Sleep(AnonymousTTL - time.Minute)
		if s, state, err := tb.Load(t.Context(), g, r, false); state != Live || err != nil || !s.Jar.Has("SID") {
			t.Errorf("before its end: %v, %v", state, err)
		}
		time.Sleep(time.Minute)
		if _, state, err := tb.Load(t.Context(), g, r, false); state != Unknown || err != nil {
			t.Errorf("after its end: %v, %v", state, err)
		}
	})
}

// broken is a store that cannot be read.
type broken struct {
	store.Store
	on bool
}

var errBroken = errors.New("broken")

func (b *broken) Get(ctx context.Context, key string) (store.Record, error) {
	if b.on {
		return store.Record{}, errBroken
	}
	return b.Store.Get(ctx, key)
}

func TestCarriedIsClosedOnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, _ := keyring.New([]byte("a secret of the tests with at least 32 bytes"))
		st := &broken{Store: memory.New(memory.Options{})}
		tb := NewTable(st, ring)
		defer tb.Close()
		g := &Gate{ID: "app\x00host", Cookie: NewCookie("")}
		s := carried(t, tb, g, "SID")
		r := tb.request(g, s)
		st.on = true
		if _, state, err := tb.Load(t.Context(), g, r, false); state != Live || err != nil {
			t.Errorf("a second has not passed: %v, %v", state, err)
		}
		time.Sleep(Freshness + 1)
		if _, state, err := tb.Load(t.Context(), g, r, false); state == Live || !errors.Is(err, errBroken) {
			t.Errorf("%v, %v", state, err)
		}
		if _, err := tb.Update(t.Context(), g, s, add("T", "1")); !errors.Is(err, errBroken) {
			t.Errorf("an update: %v", err)
		}
	})
}

func TestTheWholeCookieIsBounded(t *testing.T) {
	tb, st, g := table(t)
	carriedOnes, longest := 0, 0
	for n := 1; n < 5000; n += 61 {
		s, err := tb.Carry(t.Context(), g, Record{Jar: jar.Jar{Cookies: []jar.Cookie{{Name: "A", Value: strings.Repeat("x", n), Path: "/"}}}})
		if errors.Is(err, ErrTooLarge) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		carriedOnes++
		w := httptest.NewRecorder()
		tb.SetHandle(w.Header(), g, s, true)
		longest = max(longest, len(w.Header().Get("Set-Cookie")))
	}
	if longest > maxCarried || longest < maxCarried-200 || carriedOnes < 30 {
		t.Errorf("%d were carried, the longest in %d bytes", carriedOnes, longest)
	}
	if st.bytes.Load() != 0 {
		t.Error("something was written")
	}
	s := carried(t, tb, g, "SID")
	if _, err := tb.Update(t.Context(), g, s, add("BIG", strings.Repeat("x", 5000))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	r := tb.request(g, s)
	if _, err := tb.Keep(t.Context(), g, s, add("BIG", strings.Repeat("x", 5000))); err != nil {
		t.Fatal(err)
	}
	if cur, state, err := tb.Load(t.Context(), g, r, false); err != nil || state != Live || !cur.Jar.Has("BIG") || !cur.Jar.Has("SID") || cur.Carried() {
		t.Errorf("the old handle of a session that is kept now: %v, %v", state, err)
	}
}

func TestCopiesAreBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, _ := keyring.New([]byte("a secret of the tests with at least 32 bytes"))
		tb := NewTable(memory.New(memory.Options{}), ring)
		defer tb.Close()
		tb.Bound(1 << 20)
		g := &Gate{ID: "app\x00host", Cookie: NewCookie(""), Idle: time.Hour}
		for i := range 2000 {
			rec := Record{Level: Pending, User: fmt.Sprint(i), Reply: make([]byte, 100<<10), Challenge: make([]byte, 2000), ExpiresAt: time.Now().Add(time.Hour)}
			if i%2 == 0 {
				rec = Record{Level: Anonymous, Jar: jar.Jar{Cookies: []jar.Cookie{{Name: "A", Value: strings.Repeat("x", 9000)}}}}
			}
			s, err := tb.Create(t.Context(), g, rec)
			if err != nil {
				t.Fatal(err)
			}
			if tb.Bytes() > 1<<20 {
				t.Fatalf("%d bytes of copies", tb.Bytes())
			}
			if cur, _ := tb.cache.last(s.ID); cur == nil || len(cur.Reply) != 0 {
				t.Fatalf("the copy is %v", cur)
			}
			if len(s.Reply) != len(rec.Reply) {
				t.Fatal("who made it has lost the answer")
			}
		}
		var held int64
		for i := range tb.cache.copies {
			if e := tb.cache.copies[i].Load(); e != nil {
				held += e.s.size()
			}
		}
		if held != tb.Bytes() || held < 1<<19 {
			t.Errorf("counted %d bytes, held %d", tb.Bytes(), held)
		}
		time.Sleep(2 * time.Minute)
		if tb.Bytes() != 0 {
			t.Errorf("%d bytes two minutes later", tb.Bytes())
		}
	})
}

// FuzzCarried: nothing that was not sealed here is a session.
func FuzzCarried(f *testing.F) {
	tb, _, g := table(f)
	// The processes that do the fuzzing have one key, and one sealed session: each that
	// made its own would take the first one's for a forgery that was let in.
	const shared = "CADDYMFA_FUZZ_CARRIED"
	good := os.Getenv(shared)
	if good == "" {
		s, err := tb.Carry(context.Background(), g, Record{Jar: cookies("SID")})
		if err != nil {
			f.Fatal(err)
		}
		good = tb.Sealed(g, s)
		f.Setenv(shared, good)
	}
	f.Add(good)
	f.Add("2")
	f.Add("2" + good[1:len(good)-1])
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", "mfa="+value)
		got, state, err := tb.Load(t.Context(), g, r, false)
		if err != nil || (state == Live) != (value == good) {
			t.Fatalf("%q: %v, %v, %v", value, got, state, err)
		}
	})
}

// What the store says of a session is newer than what browsers carry, whatever the
// versions: theirs begin at 1, and a store's may.
func TestAMarkReplacesWhatIsCarried(t *testing.T) {
	tb, _, g := table(t)
	s := carried(t, tb, g, "SID")
	for range 5 {
		next, err := tb.Update(t.Context(), g, s, add("T", "1"))
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
	tb.cache.put(&Session{ID: s.ID, Version: 1, Record: Record{Level: busy, SeenAt: time.Now()}})
	tb.cache.put(s)
	if cur, _ := tb.cache.last(s.ID); cur.Level != busy {
		t.Errorf("the copy is %q", cur.Level)
	}
}
