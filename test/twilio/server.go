// Package twiliotest starts a Twilio for tests that nobody here wrote: emulate,
// which keeps messages and answers as Twilio does, behind Prism, which checks
// every request against Twilio's own OpenAPI document. No account is needed and
// everything in it is invented.
package twiliotest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/test/servers"
)

// Env names the folder with the stand-in (run.sh, install.sh, the seed). Without
// it, shared/twilio beside the repository is used.
const Env = "CADDYMFA_TWILIO"

// What the stand-in's seed, emulate.seed.yaml, holds.
const (
	accountSID       = "AC0123456789abcdef0123456789abcdef"
	authToken        = "0123456789abcdef0123456789abcdef"
	apiKeySID        = "SK0123456789abcdef0123456789abcdef"
	apiKeySecret     = "fedcba9876543210fedcba9876543210"
	from             = "+15005550006"
	messagingService = "MG0123456789abcdef0123456789abcdef"
	emptyService     = "MG00000000000000000000000000000bad"
	verifyService    = "VA0123456789abcdef0123456789abcdef"
)

// Server is a running stand-in with its one account.
type Server struct {
	// URL is for api_url, e.g. http://127.0.0.1:40123. It checks requests.
	URL string
	// AccountSID with AuthToken, or APIKeySID with APIKeySecret, sign in.
	AccountSID, AuthToken, APIKeySID, APIKeySecret string
	// From is the account's number; MessagingService has it as its sender,
	// EmptyService has none.
	From, MessagingService, EmptyService string
	// VerifyURL is for api_url of Verify, and VerifyService its service. It checks
	// no requests: that does VerifyDocument.
	VerifyURL, VerifyService string

	tb   testing.TB
	list string // the address of emulate itself
}

const (
	startTime = 60 * time.Second // 2 s on an idle machine
	stopTime  = 5 * time.Second
)

// Start runs a stand-in until the end of the test. Where it cannot, because
// node or the stand-in's folder is missing, the test fails in CI and is skipped
// elsewhere. The first start on a machine takes about 10 s for the npm packages.
func Start(tb testing.TB) *Server {
	tb.Helper()
	return started(tb, start)
}

// VerifyDocument runs a server that holds requests against Twilio's own OpenAPI
// document of Verify, and answers with the document's examples. It returns what
// api_url is set to. It starts as [Start] does.
func VerifyDocument(tb testing.TB) string {
	tb.Helper()
	return started(tb, func(tb testing.TB, dir, modules string) (string, error) {
		tb.Helper()
		p, err := run(tb, dir, modules, "prism-verify")
		if err != nil {
			return "", err
		}
		address := p.address(0)
		return address, p.keep(tb, func(ctx context.Context) error { return refuses(ctx, address+"/v2/Services") })
	})
}

// started starts something of the stand-in's.
func started[T any](tb testing.TB, start func(tb testing.TB, dir, modules string) (T, error)) (none T) {
	tb.Helper()
	for _, program := range []string{"bash", "node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			servers.Missing(tb, program+", which the stand-in for Twilio needs,")
		}
	}
	dir := os.Getenv(Env)
	if dir == "" {
		dir = filepath.Join(servers.Root(tb), "..", "shared", "twilio")
	}
	if _, err := os.Stat(filepath.Join(dir, "run.sh")); err != nil {
		servers.Missing(tb, "the stand-in for Twilio (a folder with run.sh, named by "+Env+")")
	}
	modules, err := install(dir)
	if err != nil {
		tb.Fatalf("twilio stand-in: %v", err)
	}
	for range 5 { // a port that was free may be taken meanwhile
		var s T
		if s, err = start(tb, dir, modules); err == nil {
			return s
		}
		if !errors.Is(err, errEnded) {
			break
		}
	}
	tb.Fatalf("twilio stand-in did not start: %v", err)
	return none
}

// guarded runs its arguments and ends the whole process group when descriptor 3
// closes, so that nothing stays behind when the test is killed.
const guarded = `(read -r _ <&3; kill -TERM 0) & exec 3<&-; exec bash "$@"`

// process is a running run.sh, with two ports.
type process struct {
	port  int
	ended chan struct{}
	stop  func()
	log   string
}

func (p *process) address(next int) string { return "http://127.0.0.1:" + strconv.Itoa(p.port+next) }

// run starts run.sh with one of its kinds.
func run(tb testing.TB, dir, modules, kind string) (*process, error) {
	tb.Helper()
	port, err := freePorts()
	if err != nil {
		return nil, err
	}
	logFile, err := os.Create(filepath.Join(tb.TempDir(), "twilio.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = logFile.Close() }()
	guard, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("bash", "-c", guarded, "twilio", filepath.Join(dir, "run.sh"), modules, kind) //nolint:gosec // the stand-in's own script
	cmd.Env = append(os.Environ(), "TWILIO_PORT="+strconv.Itoa(port))
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{guard}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = guard.Close()
	if err != nil {
		_ = hold.Close()
		return nil, err
	}
	p := &process{port: port, ended: make(chan struct{}), log: logFile.Name()}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	p.stop = func() {
		_ = hold.Close()
		group := -cmd.Process.Pid
		_ = syscall.Kill(group, syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(stopTime):
		}
		for _, p := range []int{port, port + 1} {
			awaitClosed(p)
		}
	}
	return p, nil
}

var errEnded = errors.New("it ended")

// keep waits until it is ready, and ends it with the test.
func (p *process) keep(tb testing.TB, ready func(context.Context) error) error {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			tb.Cleanup(p.stop)
			return nil
		}
		select {
		case <-p.ended:
			err = errEnded
		case <-ctx.Done():
			err = fmt.Errorf("it is not ready after %s: %w", startTime, err)
		case <-time.After(50 * time.Millisecond):
			continue
		}
		p.stop()
		said, _ := os.ReadFile(p.log)
		return fmt.Errorf("%w; its last words: %s", err, said[max(0, len(said)-2000):])
	}
}

// start is ready when both programs answer: emulate with the account's messages,
// and Prism, which refuses its list as unlike Twilio's, with a refusal of a request
// without credentials.
func start(tb testing.TB, dir, modules string) (*Server, error) {
	tb.Helper()
	p, err := run(tb, dir, modules, "checked")
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL:        p.address(0),
		AccountSID: accountSID, AuthToken: authToken, APIKeySID: apiKeySID, APIKeySecret: apiKeySecret,
		From: from, MessagingService: messagingService, EmptyService: emptyService,
		VerifyURL: p.address(1) + "/verify", VerifyService: verifyService,
		tb: tb, list: p.address(1),
	}
	return s, p.keep(tb, func(ctx context.Context) error {
		_, direct := s.page(ctx, s.list, "")
		return errors.Join(direct, refuses(ctx, s.URL+"/2010-04-01/Accounts/"+s.AccountSID+"/Messages.json"))
	})
}

// refuses reports that a request without credentials is refused there.
func refuses(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("a request without credentials is answered %s", res.Status)
	}
	return nil
}

// awaitClosed returns when nobody listens any more, or after a second.
func awaitClosed(port int) {
	for range 100 {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return
		}
		_ = c.Close()
		time.Sleep(10 * time.Millisecond)
	}
}

// freePorts finds a port whose next one is free as well.
func freePorts() (int, error) {
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is TCP
		next, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+1))
		_ = l.Close()
		if err == nil {
			_ = next.Close()
			return port, nil
		}
	}
	return 0, errors.New("no two free ports side by side")
}

var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
