// Command bench measures the gate beside plain Caddy: both sites in one process,
// in front of one application, in turns, so that the machine's noise hits both.
// It prints ratios.
package main

import (
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddymfa/caddymfa/test/demoapp"
)

var (
	starts  = flag.Int("starts", 5, "starts of Caddy: each has its own place in memory, which alone makes some 2 %")
	rounds  = flag.Int("rounds", 4, "rounds of each site in a start")
	length  = flag.Duration("length", 2*time.Second, "length of a round")
	clients = flag.Int("clients", 16, "parallel clients")
	size    = flag.Bool("size", true, "build and compare stripped binaries")
	only    = flag.String("only", "", "flood: only what wrong passwords cost; speed: all but that")
)

func main() {
	flag.Parse()
	fmt.Printf("%s, %d processors, %s\n\n", cpu(), runtime.NumCPU(), runtime.Version())
	if *only != "speed" {
		floods()
	}
	if *only == "flood" {
		return
	}
	bench("embedded", "store embedded", 1, nil)
	srv := startRedis()
	bench("redis", redisStore(srv), 1, srv)
	srv.stop()
	bench("ten rules", "store embedded", 10, nil)
	if *size {
		compareSize()
	}
}

// floods are what wrong passwords cost, over both stores.
func floods() {
	flood("embedded", "store embedded", nil)
	srv := startRedis()
	defer srv.stop()
	flood("redis", redisStore(srv), srv)
}

func redisStore(srv *redisServer) string {
	return "store redis " + srv.url + "\n\t\tsecret benchmark-secret-of-at-least-32-bytes"
}

func cpu() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, " \t:\n")
		}
	}
	return runtime.GOARCH
}

func free() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// texts takes the codes.
type texts struct {
	mu   sync.Mutex
	last map[string]string
	slow *slow // nil where the gateway answers at once
}

var inBody = regexp.MustCompile(`"to":"([^"]+)","text":"(\d{6})`)

func (x *texts) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	if m := inBody.FindSubmatch(b); m != nil {
		x.mu.Lock()
		x.last[string(m[1])] = string(m[2])
		slow := x.slow
		x.mu.Unlock()
		slow.wait()
	}
}

// slow is a gateway that answers as many texts together, slowness after the last
// of them has come.
type slow struct {
	left atomic.Int64
	all  chan struct{} // closed when the last has come
	end  chan struct{} // closed when they are answered
}

const (
	waiting  = 200
	slowness = 2 * time.Second
)

func (s *slow) wait() {
	if s == nil {
		return
	}
	if s.left.Add(-1) == 0 {
		close(s.all)
		time.AfterFunc(slowness, func() { close(s.end) })
	}
	<-s.end
}

// whileSlow does something while as many logins wait for a slow gateway.
func (s *site) whileSlow(do func()) {
	set := func(to *slow) {
		s.texts.mu.Lock()
		defer s.texts.mu.Unlock()
		s.texts.slow = to
	}
	all := &slow{all: make(chan struct{}), end: make(chan struct{})}
	all.left.Store(waiting)
	set(all)
	var wg sync.WaitGroup
	for i := range waiting {
		wg.Go(func() { login(s.gated, fmt.Sprint("user", 100+i), s.texts) })
	}
	select {
	case <-all.all:
	case <-time.After(slowness):
		log.Fatalf("%d logins did not come to the gateway", all.left.Load())
	}
	do()
	select {
	case <-all.end:
		log.Fatal("the gateway was not slow enough for the measurement")
	default:
	}
	set(nil)
	wg.Wait() // each of them is in: what waited was a login
}

// users is how many users log in at once, so that nobody reaches a limit.
const users = 1000

func number(i int) string { return fmt.Sprintf("+4474001%05d", i) }

// twoCookies is the demo application with a second cookie at the login.
func twoCookies() http.Handler {
	app := demoapp.New()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.SetCookie(w, &http.Cookie{Name: "PAYREMEMBER", Value: rand.Text(), Path: "/", HttpOnly: true})
		}
		app.ServeHTTP(w, r)
	})
}

// site is a running Caddy with a plain site and one behind the gate.
type site struct {
	cmd *exec.Cmd
	// plain is a proxy, gated the same with mfa, bare answers by itself.
	plain, gated, bare, admin string
	texts                     *texts
}

// start runs both sites in front of one application, with as many login rules.
// end gives all of it back.
func start(store string, rules int) (s *site, end func()) {
	dir, err := os.MkdirTemp("", "caddymfa-bench-")
	if err != nil {
		log.Fatal(err)
	}
	var numbers strings.Builder
	for i := range users {
		demoapp.Users[fmt.Sprint("user", i)] = "pw"
		fmt.Fprintf(&numbers, "user%d %s\n", i, number(i))
	}
	if err := os.WriteFile(filepath.Join(dir, "numbers"), []byte(numbers.String()), 0o600); err != nil {
		log.Fatal(err)
	}
	app := httptest.NewServer(largeRefusals(twoCookies()))
	s = &site{texts: &texts{last: map[string]string{}}}
	sms := httptest.NewServer(s.texts)
	plain, gated, bare, admin := free(), free(), free(), free()
	s.plain, s.gated, s.bare, s.admin = address(plain), address(gated), address(bare), address(admin)
	var more strings.Builder
	for i := 1; i < rules; i++ {
		fmt.Fprintf(&more, "\t\tlogin rule%d {\n\t\t\tpath /login%d /login%d/*\n\t\t\tfields user password\n\t\t\tuser form user\n\t\t\tidentity /me \"<p id=user>Signed in as ([^<]+)\\.\"\n\t\t}\n", i, i, i)
	}
	config := fmt.Sprintf(`{
	admin 127.0.0.1:%d
	persist_config off
	auto_https off
	log {
		level ERROR
	}
	mfa {
		%s
		sms webhook %s
		countries GB
		directory file %s/numbers
		api {
			key    benchmark-key
			logins 1000000 1h
		}
		limits {
			user_sends 1000 24h
			ip_sends 1000000 1h
			ip_logins 1000000 1h
			prefix_sends 1000000 1h
			budget 1000000 1h
			conversion 1 1000000 1h
		}
	}
}
http://127.0.0.1:%d {
	reverse_proxy %s
}
http://127.0.0.1:%d {
	header Content-Type application/json
	respond "{\"access_token\":\"00000000-0000-0000-0000-000000000000\",\"expires_in\":\"0001-01-01T00:00:00\"}"
}
http://127.0.0.1:%d {
	mfa {
		login_page /login?back={next}
		login {
			path /login
			user form user
			password form password
			identity /me "<p id=user>Signed in as ([^<]+)\."
		}
%s		session_cookies ^PAY(SESS|REMEMBER)$
	}
	reverse_proxy %s
}
`, admin, store, sms.URL, dir, plain, app.Listener.Addr(), bare, gated, &more, app.Listener.Addr())
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		log.Fatal(err)
	}
	s.cmd = exec.Command("bin/caddymfa", "run", "--config", file, "--adapter", "caddyfile")
	s.cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir)
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		log.Fatal(err)
	}
	for range 100 {
		if res, err := http.Get(s.gated + "/mfa/status"); err == nil {
			_ = res.Body.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return s, func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait()
		app.Close()
		sms.Close()
		_ = os.RemoveAll(dir)
	}
}

func address(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }

func bench(name, store string, rules int, redis *redisServer) {
	var plain, gate, bare, valid, calm, slow results
	var alone, with, api float64
	for range *starts {
		s, end := start(store, rules)
		direct, handle := login(s.plain, "user0", nil), login(s.gated, "user0", s.texts)
		if redis != nil && len(plain) == 0 {
			fmt.Printf("%-9s a verified session with two cookies: %d bytes of Redis' memory, its key and all\n", name, redis.largest())
		}
		page := func(base string, cookies []*http.Cookie) result {
			return s.load(base+"/report", cookies, demoapp.Marker, *length)
		}
		page(s.plain, direct)
		page(s.gated, handle)
		for i := range *rounds {
			var p, g result
			if i%2 == 0 {
				p, g = page(s.plain, direct), page(s.gated, handle)
			} else {
				g, p = page(s.gated, handle), page(s.plain, direct)
			}
			plain, gate = append(plain, p), append(gate, g)
		}
		for i := range 2 {
			during := func() { slow = append(slow, s.load(s.gated+"/report", handle, demoapp.Marker, slowness*3/4)) }
			if i == 0 {
				s.whileSlow(during)
			}
			calm = append(calm, s.load(s.gated+"/report", handle, demoapp.Marker, slowness*3/4))
			if i == 1 {
				s.whileSlow(during)
			}
		}
		const call = "/identity/v2/auth/access_token/validate?apikey=benchmark-key&access_token="
		token := apiLogin(s.gated, "user1", s.texts)
		for range 2 {
			bare, valid = append(bare, s.load(s.bare+call+token, nil, "access_token", *length)), append(valid, s.load(s.gated+call+token, nil, token, *length))
		}
		alone, with = alone+logins(s.plain, nil, login), with+logins(s.gated, s.texts, login)
		api += logins(s.gated, s.texts, func(base, user string, x *texts) []*http.Cookie { apiLogin(base, user, x); return nil })
		end()
	}
	say := func(what, unit string, figure func(result) float64) {
		a, b := gate.each(figure), plain.each(figure)
		fmt.Printf("%-9s %-36s gate %8.2f%s, plain Caddy %8.2f%s, ratio %.3f\n", name, what, median(a), unit, median(b), unit, ratios(a, b))
	}
	say("verified requests per second", "", func(r result) float64 { return r.rate })
	say("their 99th percentile", " ms", func(r result) float64 { return r.p99 })
	say("processor time of one", " µs", func(r result) float64 { return r.cpu * 1e6 })
	say("allocations of one", "", func(r result) float64 { return r.allocs })
	rate := func(r result) float64 { return r.rate }
	fmt.Printf("%-9s verified requests per second while %d logins wait for a gateway of %s: %.0f, without: %.0f, ratio %.3f\n", name, waiting, slowness,
		median(slow.each(rate)), median(calm.each(rate)), ratios(slow.each(rate), calm.each(rate)))
	fmt.Printf("%-9s validate calls per second: gate %.0f, Caddy's respond %.0f, ratio %.3f\n", name,
		median(valid.each(rate)), median(bare.each(rate)), ratios(valid.each(rate), bare.each(rate)))
	n := float64(*starts)
	fmt.Printf("%-9s logins per second by the API (login, code): gate %.0f, application alone (password) %.0f, ratio %.3f\n", name, api/n, alone/n, api/alone)
	fmt.Printf("%-9s complete logins per second: gate (password, code, release) %.0f, application alone (password) %.0f, ratio %.3f\n\n", name, with/n, alone/n, with/alone)
}

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}

// ratios is the median of the rounds' ratios.
func ratios(a, b []float64) float64 {
	var r []float64
	for i := range a {
		r = append(r, a[i]/b[i])
	}
	return median(r)
}
