package redis

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/test/servers"
)

// plainServer starts a server without users, with more arguments, and returns
// its address and process.
func plainServer(tb testing.TB, args ...string) (string, *os.Process) {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		servers.Missing(tb, "redis-server (apt-get install redis-server)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addr := l.Addr().String()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // it is TCP
	_ = l.Close()
	args = append([]string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", tb.TempDir(), "--repl-diskless-sync-delay", "0"}, args...)
	cmd := exec.Command("redis-server", args...) //nolint:gosec // a test's arguments
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = c.Close() }()
	for start := time.Now(); c.Ping(tb.Context()).Err() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			tb.Fatal("redis did not start")
		}
	}
	return "redis://" + addr, cmd.Process
}

func plain(tb testing.TB, args ...string) string {
	tb.Helper()
	address, _ := plainServer(tb, args...)
	return address
}

// replicated waits until the replicas of s are there.
func replicated(t *testing.T, s *Store) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		_, err := s.Check(t.Context())
		if err == nil {
			return
		}
		if time.Since(start) > 10*time.Second {
			t.Fatal(err)
		}
	}
}

func TestReplicasMustHaveTheWrite(t *testing.T) {
	primary := plain(t)
	port := strings.TrimPrefix(primary, "redis://127.0.0.1:")
	_, replica := plainServer(t, "--replicaof", "127.0.0.1 "+port)
	through, lose := losing(t, primary)
	s, ctx := open(t, Config{URLs: []string{through}, ReplicasAck: new(1)}), t.Context()
	replicated(t, s)
	opts := store.Options{TTL: time.Minute}
	for _, key := range []string{"k", "k2", "k3"} {
		if _, err := s.Put(ctx, key, []byte("v"), 0, opts); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Add(ctx, "c", 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := replica.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = replica.Signal(syscall.SIGCONT) }()

	for name, call := range map[string]func() error{
		"Put":    func() error { _, err := s.Put(ctx, "new", nil, 0, opts); return err },
		"Take":   func() error { _, err := s.Take(ctx, "k"); return err },
		"Delete": func() error { return s.Delete(ctx, "k2") },
		"Add":    func() error { _, err := s.Add(ctx, "c", 1, time.Minute); return err },
		"Join":   func() error { return s.Join(ctx, "s", "m", time.Minute) },
		"Leave":  func() error { return s.Leave(ctx, "s", "m") },
	} {
		if err := call(); err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
			t.Errorf("%s that no replica has: %v", name, err)
		}
	}
	if _, err := s.Put(ctx, "volatile", nil, 0, store.Options{TTL: time.Minute, Volatile: true}); err != nil {
		t.Errorf("a volatile Put waits for nobody: %v", err)
	}
	// A retry finds its own answer, but not on the connection that wrote it.
	lose.Store(true)
	if _, err := s.Take(ctx, "k3"); err == nil || lose.Load() {
		t.Errorf("a Take that no replica has, answered again: %v", err)
	}
}

// The one node of this cluster has all slots, and refuses keys of two slots in
// one script as any other does.
func TestCluster(t *testing.T) {
	address := plain(t, "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", "--cluster-port", freePort(t))
	c := redis.NewClient(&redis.Options{Addr: strings.TrimPrefix(address, "redis://")})
	defer func() { _ = c.Close() }()
	if err := c.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); !strings.Contains(c.ClusterInfo(t.Context()).Val(), "cluster_state:ok"); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the cluster did not come up")
		}
	}
	t.Run("suite", func(t *testing.T) { conform(t, Config{URLs: []string{address, address}}) })
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
