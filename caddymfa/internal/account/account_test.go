package account

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/memory"
)

func book(t *testing.T, secrets ...string) *Book {
	t.Helper()
	if len(secrets) == 0 {
		secrets = []string{"a secret of the tests with at least 32 bytes"}
	}
	var all [][]byte
	for _, s := range secrets {
		all = append(all, []byte(s))
	}
	ring, err := keyring.New(all...)
	if err != nil {
		t.Fatal(err)
	}
	return New(memory.New(memory.Options{}), ring, Rules{})
}

// wrong gives one wrong code.
func wrong(t *testing.T, b *Book) Standing {
	t.Helper()
	st, err := b.Try(context.Background(), "app", "alice", Guess{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestAttack_E2_TenInARowLockForHalfAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := book(t)
		for i := range 9 {
			if st := wrong(t, b); st.Locked || st.JustLocked {
				t.Fatalf("try %d: %+v", i, st)
			}
		}
		if st := wrong(t, b); st.Locked || !st.JustLocked {
			t.Fatalf("the tenth: %+v", st)
		}
		if st := wrong(t, b); !st.Locked || st.Disabled {
			t.Fatalf("the eleventh: %+v", st)
		}
		if _, st, _ := b.Look(t.Context(), "app", "bob"); st.Locked {
			t.Fatal("somebody else is locked")
		}
		if _, st, _ := b.Look(t.Context(), "app2", "alice"); st.Locked {
			t.Fatal("another application is locked")
		}
		time.Sleep(30*time.Minute + time.Second)
		if st := wrong(t, b); st.Locked {
			t.Fatalf("after the lock: %+v", st)
		}
	})
}

func TestRightCodeEndsTheRowButNotTheDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := book(t)
		total := 0
		for range 3 {
			for range 9 {
				wrong(t, b)
				total++
			}
			wrong(t, b) // counted, and right
			if err := b.Right(t.Context(), "app", "alice", Guess{}, 0); err != nil {
				t.Fatal(err)
			}
		}
		for total < 30 {
			if st := wrong(t, b); st.Locked {
				t.Fatalf("locked after %d wrong codes", total)
			}
			total++
		}
		if st := wrong(t, b); !st.Locked {
			t.Fatal("more than 30 wrong codes in a day")
		}
		time.Sleep(24 * time.Hour)
		if st := wrong(t, b); st.Locked {
			t.Fatal("locked on the next day")
		}
	})
}

func TestFiftyInARowDisable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := book(t)
		n := 0
		for range 60 {
			if st := wrong(t, b); st.Disabled {
				break
			} else if !st.Locked {
				n++
			}
			time.Sleep(13 * time.Hour)
		}
		if n != 49 {
			t.Fatalf("disabled after %d tries that were compared before", n)
		}
		time.Sleep(30 * 24 * time.Hour)
		if st := wrong(t, b); !st.Disabled || !st.Until.IsZero() {
			t.Fatalf("after a month: %+v", st)
		}
	})
}

func TestAttack_E3_ParallelTriesAreCountedOneByOne(t *testing.T) {
	b := book(t)
	var wg sync.WaitGroup
	var compared atomic.Int64
	for range 40 {
		wg.Go(func() {
			st, err := b.Try(t.Context(), "app", "alice", Guess{})
			if err == nil && !st.Locked {
				compared.Add(1)
			}
		})
	}
	wg.Wait()
	if n := compared.Load(); n > 10 {
		t.Fatalf("%d tries were compared", n)
	}
}

func TestEnrolmentHasOneWinnerAndSurvivesARotation(t *testing.T) {
	b := book(t)
	if a, err := b.Find(t.Context(), "app", "alice"); a.Number != "" || err != nil {
		t.Fatalf("%v, %v", a, err)
	}
	epoch, err := b.Enrol(t.Context(), "app", "alice", 0, "+447400123456", "en", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for old, want := range map[int]error{0: ErrReset, epoch: ErrEnrolled} {
		if _, err := b.Enrol(t.Context(), "app", "alice", old, "+447400654321", "en", time.Now()); !errors.Is(err, want) {
			t.Fatalf("second enrolment, begun in epoch %d: %v", old, err)
		}
	}
	rotate := func(secrets ...string) *Book {
		r := book(t, secrets...)
		r.store = b.store
		return r
	}
	const fresh, old = "another secret of the tests, just as long", "a secret of the tests with at least 32 bytes"
	if a, err := rotate(fresh, old).Find(t.Context(), "app", "alice"); err != nil || a.Number != "+447400123456" {
		t.Fatalf("after a rotation: %v, %v", a, err)
	}
	// A lost secret is no missing account: a stranger could enrol in its place.
	if a, err := rotate(fresh).Find(t.Context(), "app", "alice"); err == nil || a.Number != "" {
		t.Fatalf("without the old secret: %v, %v", a, err)
	}
}
