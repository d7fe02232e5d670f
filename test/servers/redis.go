// Package servers starts the real servers that tests run against.
package servers

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a real Redis that a test may take away and give back. Its methods
// end the test when they cannot do what they say.
type Server struct {
	// URL and TLSURL are for the restricted user, CA is the TLS one's authority,
	// Socket a unix socket, Dir where the server keeps its files.
	URL, TLSURL, CA, Socket, Dir string

	tb  testing.TB
	pid int
	cmd *exec.Cmd // after a Restart
}

// Root is the repository's folder.
func Root(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	tb.Fatal("go.mod not found")
	return ""
}

// Missing ends a test whose server is not there: in CI that is a failure,
// elsewhere a skip that names it.
func Missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatalf("%s is missing", what)
	}
	tb.Skipf("%s is missing", what)
}

// Redis starts a Redis with AOF and an ACL user that may touch mfa:* only, and
// ends it with the test.
func Redis(tb testing.TB) *Server {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		Missing(tb, "redis-server (apt-get install redis-server)")
	}
	scripts := filepath.Join(Root(tb), "test", "redis")
	var out []byte
	var err error
	for range 5 { // a port that was free may be taken meanwhile
		cmd := exec.Command("bash", filepath.Join(scripts, "start-standalone.sh")) //nolint:gosec // our own script
		cmd.Env = append(os.Environ(), "REDIS_ACL=1", "REDIS_PORT="+strconv.Itoa(freePorts(tb)), "REDIS_DIR="+tb.TempDir())
		if out, err = cmd.Output(); err == nil {
			break
		}
	}
	if err != nil {
		tb.Fatalf("redis did not start: %v", err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(out)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[k] = strings.Trim(v, `"'`)
	}
	s := &Server{tb: tb, Dir: env["REDIS_DIR"], CA: env["CA"], Socket: filepath.Join(env["REDIS_DIR"], "redis.sock")}
	s.URL = "redis://caddymfa:caddymfa-test@" + env["ADDR"]
	s.TLSURL = "rediss://caddymfa:caddymfa-test@" + env["TLS_ADDR"]
	tb.Cleanup(func() {
		s.end()
		_ = exec.Command("bash", filepath.Join(scripts, "stop.sh"), s.Dir).Run() //nolint:gosec // our own script
	})
	pids, err := os.ReadFile(filepath.Join(s.Dir, "pids")) //nolint:gosec // the script's file
	if err != nil {
		tb.Fatal(err)
	}
	if s.pid, err = strconv.Atoi(strings.Fields(string(pids) + " none")[0]); err != nil {
		tb.Fatalf("redis: its pid: %v", err)
	}
	return s
}

// end leaves nothing behind but what the script started, which ends by itself.
func (s *Server) end() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	} else if s.pid > 0 {
		_ = syscall.Kill(s.pid, syscall.SIGCONT)
	}
}

func (s *Server) signal(sig syscall.Signal) {
	s.tb.Helper()
	if s.pid == 0 {
		s.tb.Fatal("redis: it was killed")
	}
	if err := syscall.Kill(s.pid, sig); err != nil {
		s.tb.Fatalf("redis: %v: %v", sig, err)
	}
}

// Stop freezes the server: connections stay open, and nothing is answered.
func (s *Server) Stop() { s.tb.Helper(); s.signal(syscall.SIGSTOP) }

// Continue ends a Stop.
func (s *Server) Continue() { s.tb.Helper(); s.signal(syscall.SIGCONT) }

// Kill ends the server at once (kill -9).
func (s *Server) Kill() {
	s.tb.Helper()
	s.signal(syscall.SIGKILL)
	if s.cmd != nil {
		_ = s.cmd.Wait()
		s.cmd = nil
	}
	s.pid = 0
	s.await("end", func() bool { return s.ping() != nil })
}

// Restart starts the server again on the files that it has left, and kills it
// first when it runs.
func (s *Server) Restart() {
	s.tb.Helper()
	if s.pid != 0 {
		s.Kill()
	}
	s.cmd = exec.Command("redis-server", filepath.Join(s.Dir, "standalone", "redis.conf")) //nolint:gosec // the script's file
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatalf("redis: %v", err)
	}
	s.pid = s.cmd.Process.Pid
	s.await("start", func() bool { return s.ping() == nil })
}

// Flush is an operator's mistake: FLUSHALL while the server runs.
func (s *Server) Flush() {
	s.tb.Helper()
	if err := s.as("admin", "FLUSHALL", "+OK"); err != nil {
		s.tb.Fatalf("redis: FLUSHALL: %v", err)
	}
}

// Full takes the server's memory away: it can be read, and refuses to write.
func (s *Server) Full() {
	s.tb.Helper()
	if err := s.as("admin", "CONFIG SET maxmemory 1", "+OK"); err != nil {
		s.tb.Fatalf("redis: CONFIG SET: %v", err)
	}
}

// Empty starts the server again without what it had: a container without its volume.
func (s *Server) Empty() {
	s.tb.Helper()
	s.Kill()
	if err := os.RemoveAll(filepath.Join(s.Dir, "standalone", "appendonlydir")); err != nil {
		s.tb.Fatal(err)
	}
	s.Restart()
}

func (s *Server) await(what string, ok func() bool) {
	s.tb.Helper()
	for start := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			s.tb.Fatalf("redis did not %s", what)
		}
	}
}

// ping asks the server whether it serves its user.
func (s *Server) ping() error { return s.as("caddymfa", "GET mfa:ping", "$-1") }

// as asks the server one thing as one of its users.
func (s *Server) as(user, command, want string) error {
	u, err := url.Parse(s.URL)
	if err != nil {
		return err
	}
	c, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	password, _ := u.User.Password()
	if _, err := fmt.Fprintf(c, "AUTH %s %s\r\n%s\r\n", user, password, command); err != nil {
		return err
	}
	answers := bufio.NewReader(c)
	for _, want := range []string{"+OK", want} {
		if line, err := answers.ReadString('\n'); err != nil {
			return err
		} else if strings.TrimSpace(line) != want {
			return fmt.Errorf("redis says %q", line)
		}
	}
	return nil
}

// Trio is a master with two replicas, and three sentinels that watch them.
type Trio struct {
	// URLs are of the sentinels, Master is the name by which they know the master.
	URLs   []string
	Master string

	tb   testing.TB
	pids map[string]int
}

// Sentinel starts a trio and ends it with the test. In a new one node0 is the master.
func Sentinel(tb testing.TB) *Trio {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil { // it is the sentinels' program as well
		Missing(tb, "redis-server (apt-get install redis-server)")
	}
	scripts := filepath.Join(Root(tb), "test", "redis")
	var out []byte
	var err error
	for range 5 { // ports that were free may be taken meanwhile
		cmd := exec.Command("bash", filepath.Join(scripts, "start-sentinel.sh")) //nolint:gosec // our own script
		cmd.Env = append(os.Environ(), "REDIS_PORT="+strconv.Itoa(freeTrio(tb)), "REDIS_DIR="+tb.TempDir())
		if out, err = cmd.Output(); err == nil {
			break
		}
	}
	if err != nil {
		tb.Fatalf("redis with sentinels did not start: %v", err)
	}
	t := &Trio{tb: tb, pids: map[string]int{}}
	dir := ""
	for line := range strings.Lines(string(out)) {
		switch k, v, _ := strings.Cut(strings.TrimSpace(line), "="); k {
		case "REDIS_DIR":
			dir = v
		case "MASTER_NAME":
			t.Master = v
		case "SENTINELS":
			for addr := range strings.SplitSeq(v, ",") {
				t.URLs = append(t.URLs, "redis://"+addr)
			}
		}
	}
	tb.Cleanup(func() {
		for _, pid := range t.pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		_ = exec.Command("bash", filepath.Join(scripts, "stop.sh"), dir).Run() //nolint:gosec // our own script
	})
	pids, err := os.ReadFile(filepath.Join(dir, "pids")) //nolint:gosec // the script's file
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(pids)) {
		pid, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if t.pids[name], err = strconv.Atoi(pid); err != nil {
			tb.Fatal(err)
		}
	}
	return t
}

// freeTrio finds a port for a trio, whose others are free as well. It is far from
// those that the system gives out, so that trios that start at once do not meet.
func freeTrio(tb testing.TB) int {
	tb.Helper()
	for range 50 {
		port, free := 12000+20*rand.IntN(350), true
		for _, other := range []int{0, 1, 2, 10, 11, 12} {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+other))
			if free = err == nil; !free {
				break
			}
			_ = l.Close()
		}
		if free {
			return port
		}
	}
	tb.Fatal("no free ports")
	return 0
}

// Signal sends a signal to one of node0..2 and sentinel0..2.
func (t *Trio) Signal(name string, sig syscall.Signal) {
	t.tb.Helper()
	pid, ok := t.pids[name]
	if !ok {
		t.tb.Fatalf("redis: there is no %s", name)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.tb.Fatalf("redis: %s: %v", name, err)
	}
	if sig == syscall.SIGKILL {
		delete(t.pids, name)
	}
}

// freePorts finds a port whose next one is free as well.
func freePorts(tb testing.TB) int {
	tb.Helper()
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is TCP
		next, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+1))
		_ = l.Close()
		if err == nil {
			_ = next.Close()
			return port
		}
	}
	tb.Fatal("no two free ports")
	return 0
}
