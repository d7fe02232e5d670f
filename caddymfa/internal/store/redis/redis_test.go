package redis

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/storetest"
	"github.com/caddymfa/caddymfa/test/servers"
)

func open(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	srv := servers.Redis(t)
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, Config{URLs: []string{srv.URL}, KeyPrefix: "mfa:" + strings.Repeat("x", int(n.Add(1))) + ":"})
	})
}

func TestTLS(t *testing.T) {
	srv := servers.Redis(t)
	s := open(t, Config{URLs: []string{srv.TLSURL}, TLSCA: srv.CA})
	if _, err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	wrong := open(t, Config{URLs: []string{srv.TLSURL}})
	if _, err := wrong.Check(t.Context()); err == nil {
		t.Fatal("a certificate of an unknown authority was accepted")
	}
}

func TestAttack_D7_ErrorsHideThePassword(t *testing.T) {
	for _, u := range []string{"redis://u:hunter2@127.0.0.1:1", "redis://u:hunter2@:::", "http://u:hunter2@h"} {
		s, err := Open(Config{URLs: []string{u}})
		if err == nil {
			_, err = s.Get(t.Context(), "k")
			_ = s.Close()
		}
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}

func TestHangingServerIsAnErrorSoon(t *testing.T) {
	srv := servers.Redis(t)
	s := open(t, Config{URLs: []string{srv.URL}})
	if _, err := s.Add(t.Context(), "c", 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	srv.Hang(true)
	start := time.Now()
	_, err := s.Get(t.Context(), "k")
	if err == nil || errors.Is(err, store.ErrNotFound) || time.Since(start) > 4*time.Second {
		t.Fatalf("%v after %s", err, time.Since(start))
	}
	srv.Hang(false)
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("after it came back: %v", err)
	}
}

// losing passes bytes on to a server, but loses the first answer to a write
// and closes the connection, as a network does at the worst moment.
func losing(t *testing.T, addr string) (string, *atomic.Bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	lose := new(atomic.Bool)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", addr)
			if err != nil {
				_ = c.Close()
				continue
			}
			go func() { _, _ = io.Copy(up, c); _ = up.Close() }()
			go func() {
				buf := make([]byte, 64<<10)
				for {
					n, err := up.Read(buf)
					if err != nil || n > 0 && lose.CompareAndSwap(true, false) {
						_ = c.Close()
						_ = up.Close()
						return
					}
					_, _ = c.Write(buf[:n])
				}
			}()
		}
	}()
	return l.Addr().String(), lose
}

func TestLostAnswerIsGivenAgainAndCountedOnce(t *testing.T) {
	srv := servers.Redis(t)
	addr, lose := losing(t, strings.TrimPrefix(srv.URL, "redis://caddymfa:caddymfa-test@"))
	s := open(t, Config{URLs: []string{"redis://caddymfa:caddymfa-test@" + addr}})
	ctx := t.Context()
	for _, err := range []error{putScript.Load(ctx, s.client).Err(), addScript.Load(ctx, s.client).Err(), takeScript.Load(ctx, s.client).Err()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	lose.Store(true)
	v, err := s.Put(ctx, "k", []byte("v"), 0, store.Options{TTL: time.Minute})
	if err != nil || lose.Load() {
		t.Fatalf("Put whose answer was lost: %v", err)
	}
	lose.Store(true)
	if c, err := s.Add(ctx, "c", 1, time.Minute); err != nil || c.N != 1 || lose.Load() {
		t.Fatalf("Add whose answer was lost: %+v, %v", c, err)
	}
	lose.Store(true)
	if rec, err := s.Take(ctx, "k"); err != nil || string(rec.Value) != "v" || rec.Version != v || lose.Load() {
		t.Fatalf("Take whose answer was lost: %+v, %v", rec, err)
	}
}
