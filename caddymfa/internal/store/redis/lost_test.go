package redis

import (
	"errors"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/test/servers"
)

// losing passes bytes on to the server of address, but when told to it loses the
// next answer and closes the connection, as a network does at the worst moment.
func losing(t *testing.T, address string) (through string, lose *atomic.Bool) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lose = new(atomic.Bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", server)
			if err != nil {
				_ = c.Close()
				continue
			}
			wg.Go(func() { _, _ = io.Copy(up, c); _ = up.Close() })
			wg.Go(func() {
				defer func() { _ = c.Close(); _ = up.Close() }()
				for buf := make([]byte, 64<<10); ; {
					n, err := up.Read(buf)
					if err != nil || lose.CompareAndSwap(true, false) {
						return
					}
					_, _ = c.Write(buf[:n])
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	u.Host = l.Addr().String()
	return u.String(), lose
}

// retries holds that each write whose answer was lost is answered once more,
// and done once.
func retries(t *testing.T, s *Store, lose *atomic.Bool) {
	ctx, opts := t.Context(), store.Options{TTL: time.Minute}
	lost := func(what string, call func() error) {
		t.Helper()
		lose.Store(true)
		if err := call(); err != nil || lose.Load() {
			t.Errorf("%s whose answer was lost: %v (lost: %v)", what, err, !lose.Load())
		}
	}
	// The server must know the scripts: the answer lost is not to be NOSCRIPT.
	// And the connections must be there: nor that to AUTH.
	if _, err := s.Put(ctx, "warm", nil, 0, opts); err != nil {
		t.Fatal(err)
	}
	_, _ = s.Take(ctx, "warm")
	_, _ = s.Add(ctx, "warm", 1, time.Minute)

	var v uint64
	lost("Put", func() (err error) { v, err = s.Put(ctx, "k", []byte("v"), 0, opts); return err })
	lost("Put over it", func() (err error) { v, err = s.Put(ctx, "k", []byte("w"), v, opts); return err })
	lost("Add", func() error { _, err := s.Add(ctx, "c", 5, time.Minute); return err })
	lost("Add", func() error { _, err := s.Add(ctx, "c", -2, time.Minute); return err })
	if c, err := s.Add(ctx, "c", 0, time.Minute); err != nil || c.N != 3 {
		t.Errorf("the counter is %+v, %v", c, err)
	}
	var rec store.Record
	lost("Take", func() (err error) { rec, err = s.Take(ctx, "k"); return err })
	if string(rec.Value) != "w" || rec.Version != v {
		t.Errorf("taken: %+v", rec)
	}
	put, add := store.PutOp("batch", []byte("v"), 0, opts), store.AddOp("batch", 4, time.Minute)
	lost("Batch", func() error { s.Batch(ctx, put, add); return errors.Join(put.Err, add.Err) })
	if c, err := s.Add(ctx, "batch", 0, time.Minute); err != nil || c.N != 4 {
		t.Errorf("the batch's counter is %+v, %v", c, err)
	}
	lost("Delete", func() error { return s.Delete(ctx, "c") })
	lost("Join", func() error { return s.Join(ctx, "s", "m", time.Minute) })
	lost("Leave", func() error { return s.Leave(ctx, "s", "m") })
}

func TestLostAnswerIsGivenAgain(t *testing.T) {
	through, lose := losing(t, servers.Redis(t).URL)
	retries(t, open(t, Config{URLs: []string{through}}), lose)
}

func TestLostAnswerIsGivenAgain_ReplicasToo(t *testing.T) {
	primary := plain(t)
	plain(t, "--replicaof", "127.0.0.1 "+strings.TrimPrefix(primary, "redis://127.0.0.1:"))
	through, lose := losing(t, primary)
	s := open(t, Config{URLs: []string{through}, ReplicasAck: new(1)})
	replicated(t, s)
	retries(t, s, lose)
}

// A server forgets the nonce of a write after its life, so that it costs little.
func TestNoncesDoNotStay(t *testing.T) {
	s, ctx := open(t, Config{URLs: []string{plain(t)}}), t.Context()
	for i := range 10 {
		key := strconv.Itoa(i)
		if _, err := s.Put(ctx, key, nil, 0, store.Options{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(ctx, key, nil, 0, store.Options{}); err == nil {
			t.Fatal("no conflict")
		}
	}
	keys, err := s.client.Keys(ctx, "*").Result()
	if err != nil || len(keys) != 20 {
		t.Fatalf("%d keys for 10 records, %v", len(keys), err) // a conflict leaves none
	}
	for _, key := range keys {
		ttl, err := s.client.PTTL(ctx, key).Result()
		if nonce := strings.Contains(key, ":n:"); err != nil || nonce && (ttl <= 0 || ttl > nonceLife) || !nonce && ttl > 0 {
			t.Errorf("%s lives %s, %v", key, ttl, err)
		}
	}
}
