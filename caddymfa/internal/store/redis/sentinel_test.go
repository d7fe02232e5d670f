package redis

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/test/servers"
)

// outcome counts what became of acts.
type outcome struct{ done, refused int }

// failing is a real trio whose master dies while replicas are late.
type failing struct {
	t       *testing.T
	trio    *servers.Trio
	s       *Store
	codes   int
	taken   map[string]bool  // codes that were accepted
	locks   map[string]int64 // wrong codes that were counted
	written map[string]uint64
}

func newFailing(t *testing.T, acks *int) *failing {
	t.Helper()
	f := &failing{t: t, trio: servers.Sentinel(t), taken: map[string]bool{}, locks: map[string]int64{}, written: map[string]uint64{}}
	f.s = open(t, Config{URLs: f.trio.URLs, SentinelMaster: f.trio.Master, ReplicasAck: acks})
	return f
}

// prepare makes codes that wait to be accepted.
func (f *failing) prepare(n int) {
	f.t.Helper()
	for i := range n {
		if _, err := f.s.Put(f.t.Context(), fmt.Sprint("code ", i), []byte("x"), 0, store.Options{TTL: time.Hour}); err != nil {
			f.t.Fatal(err)
		}
	}
	if _, err := f.s.Add(f.t.Context(), "warm", 1, time.Hour); err != nil {
		f.t.Fatal(err)
	}
	f.codes = n
	time.Sleep(1500 * time.Millisecond) // both replicas have them, and have said so
}

// late stops replicas, and fills what lies between them and the master: what the
// master writes now does not leave its memory.
func (f *failing) late(names ...string) {
	f.t.Helper()
	for _, name := range names {
		f.trio.Signal(name, syscall.SIGSTOP)
	}
	for i := range 16 {
		if _, err := f.s.Put(f.t.Context(), fmt.Sprint("filler ", i), make([]byte, store.MaxValue), 0, store.Options{TTL: time.Hour, Volatile: true}); err != nil {
			f.t.Fatal(err)
		}
	}
}

// act accepts a code, counts a wrong one and sets a lock.
func (f *failing) act(i int) (o outcome) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	note := func(err error) bool {
		if err == nil {
			o.done++
		} else {
			o.refused++
		}
		return err == nil
	}
	code, lock, record := fmt.Sprint("code ", i), fmt.Sprint("wrong ", i%7), fmt.Sprint("lock ", i)
	if _, err := f.s.Take(ctx, code); note(err) {
		f.taken[code] = true
	}
	if c, err := f.s.Add(ctx, lock, 1, time.Hour); note(err) {
		f.locks[lock] = c.N
	}
	if v, err := f.s.Put(ctx, record, []byte("locked"), 0, store.Options{TTL: time.Hour}); note(err) {
		f.written[record] = v
	}
	return o
}

// again waits for the new master and tries everything a second time.
func (f *failing) again() (twice, forgotten int, gap time.Duration) {
	f.t.Helper()
	began := time.Now()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := f.s.Add(ctx, "warm", 1, time.Hour)
		cancel()
		if err == nil {
			break
		}
		if gap = time.Since(began); gap > 40*time.Second {
			f.t.Fatalf("no new master: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	// What the new master has is asked by one who waits for nobody.
	ctx, s := f.t.Context(), open(f.t, Config{URLs: f.trio.URLs, SentinelMaster: f.trio.Master, ReplicasAck: new(0)})
	for i := range f.codes {
		code := fmt.Sprint("code ", i)
		_, err := s.Take(ctx, code)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			f.t.Fatal(err)
		}
		if err == nil && f.taken[code] {
			twice++
		}
		if err == nil { // one whose fate nobody knew may be accepted now, once
			if _, err := s.Take(ctx, code); !errors.Is(err, store.ErrNotFound) {
				f.t.Errorf("%s a third time: %v", code, err)
			}
		}
	}
	for key, n := range f.locks {
		if c, err := s.Add(ctx, key, 0, time.Hour); err != nil || c.N < n {
			forgotten++
		}
	}
	for key, v := range f.written {
		if rec, err := s.Get(ctx, key); err != nil || rec.Version < v {
			forgotten++
		}
	}
	return twice, forgotten, gap
}

func TestAttack_K34_MasterDiesWhileReplicasAreLate(t *testing.T) {
	t.Run("nothing is waited for, as a measure", func(t *testing.T) {
		t.Parallel()
		f := newFailing(t, new(0))
		f.prepare(40)
		f.late("node1", "node2")
		for i := range 40 {
			f.act(i)
		}
		f.trio.Signal("node0", syscall.SIGKILL)
		f.trio.Signal("node1", syscall.SIGCONT)
		f.trio.Signal("node2", syscall.SIGCONT)
		twice, forgotten, gap := f.again()
		t.Logf("%d codes were accepted, %d of them twice; %d states forgotten; %s without a master", len(f.taken), twice, forgotten, gap)
		if twice == 0 || forgotten == 0 {
			t.Error("this test cannot show what it is for")
		}
	})
	t.Run("both are late", func(t *testing.T) {
		t.Parallel()
		f := newFailing(t, nil)
		f.prepare(40)
		f.late("node1", "node2")
		var sum outcome
		for i, until := 0, time.Now().Add(5*time.Second); time.Now().Before(until); i = (i + 1) % 40 { // long enough for both to be known as late
			o := f.act(i)
			sum.done, sum.refused = sum.done+o.done, sum.refused+o.refused
		}
		f.trio.Signal("node0", syscall.SIGKILL)
		f.trio.Signal("node1", syscall.SIGCONT)
		f.trio.Signal("node2", syscall.SIGCONT)
		twice, forgotten, gap := f.again()
		t.Logf("%d acts, %d refused; %d codes twice, %d states forgotten; %s without a master", sum.done, sum.refused, twice, forgotten, gap)
		if sum.done != 0 || sum.refused == 0 || twice != 0 || forgotten != 0 {
			t.Error("what no replica had was accepted")
		}
	})
	t.Run("one is late", func(t *testing.T) {
		t.Parallel()
		f := newFailing(t, nil)
		f.prepare(160)
		var before, after outcome
		for i := range 60 {
			before.done += f.act(i).done
		}
		// At once, while nobody knows yet: filling takes seconds on a busy machine.
		f.trio.Signal("node2", syscall.SIGSTOP)
		after = f.act(60)
		f.late("node2")
		still, began := time.Duration(0), time.Now()
		for i := 61; i < 160 && time.Since(began) < 12*time.Second; i++ {
			o := f.act(i)
			after.done, after.refused = after.done+o.done, after.refused+o.refused
			if still == 0 && o.refused == 0 {
				still = time.Since(began)
			}
		}
		f.trio.Signal("node0", syscall.SIGKILL)
		f.trio.Signal("node2", syscall.SIGCONT)
		twice, forgotten, gap := f.again()
		t.Logf("%d acts with both; still for %s; then %d acts, %d refused; %d codes twice, %d states forgotten; %s without a master",
			before.done, still, after.done, after.refused, twice, forgotten, gap)
		if before.done != 180 || after.done == 0 || after.refused == 0 || twice != 0 || forgotten != 0 {
			t.Error("wrong")
		}
		if still > 6*time.Second {
			t.Errorf("it stood still for %s although a replica lived", still)
		}
	})
}

// The number follows the servers.
func TestReplicasAreFoundOut(t *testing.T) {
	primary := plain(t)
	s, ctx := open(t, Config{URLs: []string{primary}}), t.Context()
	needs := func(want int) {
		t.Helper()
		var n int
		for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			node, err := s.node(ctx, "k")
			if err == nil {
				n, err = s.need(ctx, node)
			}
			if err == nil && n == want {
				return
			}
			if time.Since(start) > 10*time.Second {
				t.Fatalf("%d replicas are waited for, not %d: %v", n, want, err)
			}
		}
	}
	needs(0)
	host := "127.0.0.1 " + primary[len("redis://127.0.0.1:"):]
	_, first := plainServer(t, "--replicaof", host)
	needs(1)
	_, second := plainServer(t, "--replicaof", host)
	needs(2)
	if _, err := s.Put(ctx, "k", nil, 0, store.Options{TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if err := second.Kill(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // one that is gone for good is not waited for, not even once
		if _, err := s.Put(ctx, fmt.Sprint("k", i), nil, 0, store.Options{TTL: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	needs(1)
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if _, err := s.Put(ctx, "nobody", nil, 0, store.Options{TTL: time.Minute}); err == nil {
		t.Error("a write that the last replica may not have")
	}
	put, add := store.PutOp("b1", nil, 0, store.Options{TTL: time.Minute}), store.AddOp("b2", 1, time.Minute)
	if s.Batch(ctx, put, add); put.Err == nil || add.Err == nil {
		t.Errorf("a batch: %v, %v", put.Err, add.Err)
	}
	node, _ := s.node(ctx, "k")
	v := s.view(node)
	v.mu.Lock()
	v.had = v.had.Add(-forgotten) // ten minutes later it is promoted no more
	v.mu.Unlock()
	time.Sleep(viewAge)
	if _, err := s.Put(ctx, "alone", nil, 0, store.Options{TTL: time.Minute}); err != nil {
		t.Error(err)
	}
}

func TestReplicasInInfo(t *testing.T) {
	const info = "# Replication\r\nrole:master\r\nconnected_slaves:4\r\nslave0:ip=127.0.0.1,port=1,state=online,offset=5,lag=0\r\n" +
		"slave1:ip=127.0.0.1,port=2,state=online,offset=5,lag=3\r\nslave2:ip=::1,port=3,state=wait_bgsave,offset=0,lag=0\r\n" +
		"slave_expires_tracked_keys:0\r\nslave3:ip=127.0.0.1,port=4,state=online,offset=5,lag=2,type=replica\r\n"
	if n := replicas(info); n != 2 {
		t.Errorf("%d", n)
	}
}
