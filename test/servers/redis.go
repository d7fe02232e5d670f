// Package servers starts the real servers that tests run against.
package servers

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Server is a real Redis that a test has started.
type Server struct {
	// URL of the server, without TLS, as its restricted user.
	URL string
	// Dir is where it keeps its files; TLSURL and CA are for TLS.
	Dir, TLSURL, CA string

	pid int
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
	s := &Server{Dir: env["REDIS_DIR"], CA: env["CA"]}
	s.URL = "redis://caddymfa:caddymfa-test@" + env["ADDR"]
	s.TLSURL = "rediss://caddymfa:caddymfa-test@" + env["TLS_ADDR"]
	pids, _ := os.ReadFile(filepath.Join(s.Dir, "pids")) //nolint:gosec // our own file
	s.pid, _ = strconv.Atoi(strings.Fields(string(pids) + " 0")[0])
	tb.Cleanup(func() {
		s.Hang(false)
		_ = exec.Command("bash", filepath.Join(scripts, "stop.sh"), s.Dir).Run() //nolint:gosec // our own script
	})
	return s
}

// Hang stops the server without closing its connections, or lets it go on.
func (s *Server) Hang(stop bool) {
	sig := syscall.SIGCONT
	if stop {
		sig = syscall.SIGSTOP
	}
	if s.pid > 1 {
		_ = syscall.Kill(s.pid, sig)
	}
}

// Kill ends the server at once.
func (s *Server) Kill() {
	if s.pid > 1 {
		_ = syscall.Kill(s.pid, syscall.SIGKILL)
	}
	s.pid = 0
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
