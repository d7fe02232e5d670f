// Command bench measures the gate beside plain Caddy: both sites in one process,
// in front of one application, in turns, so that the machine's noise hits both.
// It prints ratios.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	rounds  = flag.Int("rounds", 6, "rounds of each site")
	length  = flag.Duration("length", 2*time.Second, "length of a round")
	clients = flag.Int("clients", 16, "parallel clients")
	redis   = flag.String("redis", os.Getenv("BENCH_REDIS"), "address of a Redis, e.g. redis://127.0.0.1:6379; empty: embedded store only")
	size    = flag.Bool("size", true, "build and compare stripped binaries")
)

func main() {
	flag.Parse()
	fmt.Printf("%s, %d processors, %s\n\n", cpu(), runtime.NumCPU(), runtime.Version())
	bench("embedded", "store embedded")
	if *redis != "" {
		bench("redis", "store redis "+*redis+"\n\t\tsecret benchmark-secret-of-at-least-32-bytes")
	}
	if *size {
		compareSize()
	}
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
}

var inBody = regexp.MustCompile(`"to":"([^"]+)","text":"(\d{6})`)

func (x *texts) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	if m := inBody.FindSubmatch(b); m != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.last[string(m[1])] = string(m[2])
	}
}

// users is how many users log in at once, so that nobody reaches a limit.
const users = 200

func number(i int) string { return fmt.Sprintf("+4474001%05d", i) }

func bench(name, store string) {
	dir, err := os.MkdirTemp("", "caddymfa-bench-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var numbers strings.Builder
	for i := range users {
		demoapp.Users[fmt.Sprint("user", i)] = "pw"
		fmt.Fprintf(&numbers, "user%d %s\n", i, number(i))
	}
	if err := os.WriteFile(filepath.Join(dir, "numbers"), []byte(numbers.String()), 0o600); err != nil {
		log.Fatal(err)
	}
	app := httptest.NewServer(demoapp.New())
	defer app.Close()
	x := &texts{last: map[string]string{}}
	sms := httptest.NewServer(x)
	defer sms.Close()
	plain, gated := free(), free()
	config := fmt.Sprintf(`{
	admin off
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
		limits {
			user_sends 1000 24h
			ip_sends 1000000 1h
			prefix_sends 1000000 1h
			budget 1000000 1h
		}
	}
}
http://127.0.0.1:%d {
	reverse_proxy %s
}
http://127.0.0.1:%d {
	mfa {
		login_page /login?back={next}
		login {
			path /login
			user form user
			identity /me "Signed in as ([^<]+)\."
		}
		session_cookies ^PAYSESS$
	}
	reverse_proxy %s
}
`, store, sms.URL, dir, plain, app.Listener.Addr(), gated, app.Listener.Addr())
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		log.Fatal(err)
	}
	cmd := exec.Command("bin/caddymfa", "run", "--config", file, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }()
	p, g := fmt.Sprintf("http://127.0.0.1:%d", plain), fmt.Sprintf("http://127.0.0.1:%d", gated)
	for range 100 {
		if res, err := http.Get(g + "/mfa/status"); err == nil {
			_ = res.Body.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}

	direct := login(p, "user0", nil)
	handle := login(g, "user0", x)
	var rp, rg, lp, lg []float64
	load(p, direct)
	load(g, handle)
	for range *rounds {
		a, b := load(p, direct), load(g, handle)
		rp, rg = append(rp, a.rate), append(rg, b.rate)
		lp, lg = append(lp, a.p99), append(lg, b.p99)
	}
	fmt.Printf("%-9s verified requests/s: gate %.0f, plain Caddy %.0f, ratio %.3f\n", name, median(rg), median(rp), ratios(rg, rp))
	fmt.Printf("%-9s p99: gate %.2f ms, plain %.2f ms, ratio %.2f\n", name, median(lg), median(lp), ratios(lg, lp))
	alone, with := logins(p, nil), logins(g, x)
	fmt.Printf("%-9s complete logins/s: gate (password, code, release) %.0f, application alone (password) %.0f, ratio %.2f\n\n", name, with, alone, with/alone)
}

type result struct{ rate, p99 float64 }

// load asks for one page as often as it can, for the length of a round.
func load(base string, cookie *http.Cookie) result {
	tr := &http.Transport{MaxIdleConnsPerHost: *clients}
	defer tr.CloseIdleConnections()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []time.Duration
	var bad atomic.Int64
	end := time.Now().Add(*length)
	for range *clients {
		wg.Go(func() {
			var mine []time.Duration
			for time.Now().Before(end) {
				req, _ := http.NewRequest(http.MethodGet, base+"/report", nil)
				req.AddCookie(cookie)
				start := time.Now()
				res, err := tr.RoundTrip(req)
				if err != nil {
					bad.Add(1)
					continue
				}
				b, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if !bytes.Contains(b, []byte(demoapp.Marker)) {
					bad.Add(1)
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	if bad.Load() > 0 {
		log.Fatalf("%d answers were wrong", bad.Load())
	}
	slices.Sort(all)
	return result{float64(len(all)) / length.Seconds(), float64(all[len(all)*99/100].Microseconds()) / 1000}
}

var token = regexp.MustCompile(`secondfactorauthenticationtoken" value="([^"]+)"`)

// login signs a user in and returns his cookie. Without texts the application
// is asked directly.
func login(base, user string, x *texts) *http.Cookie {
	tr := http.DefaultTransport
	var cookie *http.Cookie
	do := func(method, path string, v url.Values) (*http.Response, string) {
		req, _ := http.NewRequest(method, base+path, strings.NewReader(v.Encode()))
		req.Header.Set("Accept", "text/html")
		req.Header.Set("User-Agent", user)
		if method == http.MethodPost {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if cookie != nil {
			req.AddCookie(cookie)
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			log.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		for _, c := range res.Cookies() {
			cookie = c
		}
		return res, string(b)
	}
	password := "pw"
	do(http.MethodPost, "/login", url.Values{"user": {user}, "password": {password}})
	if x == nil {
		return cookie
	}
	_, page := do(http.MethodGet, "/mfa", nil)
	m := token.FindStringSubmatch(page)
	if m == nil {
		log.Fatalf("no code page: %s", page)
	}
	var i int
	_, _ = fmt.Sscanf(user, "user%d", &i)
	x.mu.Lock()
	code := x.last[number(i)]
	x.mu.Unlock()
	if res, page := do(http.MethodPost, "/mfa/verify", url.Values{"otp": {code}, "secondfactorauthenticationtoken": {m[1]}}); res.StatusCode != http.StatusSeeOther {
		log.Fatalf("the code was not accepted: %s", page)
	}
	return cookie
}

// logins is how many logins a second the users manage together.
func logins(base string, x *texts) float64 {
	var next, done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range 8 {
		wg.Go(func() {
			for time.Since(start) < *length {
				login(base, fmt.Sprint("user", next.Add(1)%users), x)
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
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

func compareSize() {
	dir, err := os.MkdirTemp("", "caddymfa-size-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var mb [2]float64
	for i, pkg := range []string{"./test/bench/plain", "./cmd/caddymfa"} {
		out := filepath.Join(dir, fmt.Sprint(i))
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			log.Fatal(err)
		}
		info, err := os.Stat(out)
		if err != nil {
			log.Fatal(err)
		}
		mb[i] = float64(info.Size()) / 1e6
	}
	fmt.Printf("stripped binary: %.1f MB, plain Caddy %.1f MB: +%.1f MB\n", mb[1], mb[0], mb[1]-mb[0])
}
