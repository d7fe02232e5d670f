package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// cpuTime is what a process has used of the processors, in seconds.
func cpuTime(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// mallocs is how many objects a process has allocated, by its admin endpoint.
func mallocs(admin string) float64 {
	res, err := http.Get(admin + "/debug/pprof/allocs?debug=1")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	m := regexp.MustCompile(`(?m)^# Mallocs = (\d+)$`).FindSubmatch(b)
	if err != nil || m == nil {
		log.Fatalf("the admin endpoint does not count allocations: %v", err)
	}
	n, _ := strconv.ParseFloat(string(m[1]), 64)
	return n
}

// result is one round: requests per second, milliseconds, and what a request
// costs the process: seconds of processor time, objects allocated.
type result struct{ rate, p99, cpu, allocs float64 }

type results []result

func (rs results) each(figure func(result) float64) (out []float64) {
	for _, r := range rs {
		out = append(out, figure(r))
	}
	return out
}

// load asks for one page as often as it can, for the length of a round. Each
// answer must hold a text.
func (s *site) load(address string, cookies []*http.Cookie, text string, length time.Duration) result {
	used, made := cpuTime(s.cmd.Process.Pid), mallocs(s.admin)
	tr := &http.Transport{MaxIdleConnsPerHost: *clients}
	defer tr.CloseIdleConnections()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []time.Duration
	var bad atomic.Int64
	end := time.Now().Add(length)
	for range *clients {
		wg.Go(func() {
			var mine []time.Duration
			for time.Now().Before(end) {
				req, _ := http.NewRequest(http.MethodGet, address, nil)
				for _, c := range cookies {
					req.AddCookie(c)
				}
				start := time.Now()
				res, err := tr.RoundTrip(req)
				if err != nil {
					bad.Add(1)
					continue
				}
				b, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if !bytes.Contains(b, []byte(text)) {
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
	n := float64(len(all))
	return result{
		n / length.Seconds(), float64(all[len(all)*99/100].Microseconds()) / 1000,
		(cpuTime(s.cmd.Process.Pid) - used) / n, (mallocs(s.admin) - made) / n,
	}
}

var token = regexp.MustCompile(`secondfactorauthenticationtoken" value="([^"]+)"`)

// login signs a user in and returns his cookies. Without texts the application
// is asked directly.
func login(base, user string, x *texts) []*http.Cookie {
	cookies, err := signIn(base, user, x)
	if err != nil {
		log.Fatal(err)
	}
	return cookies
}

// send asks as a browser does, by POST with a form, and reads the answer to its end.
func send(tr http.RoundTripper, agent, method, address string, cookies []*http.Cookie, form url.Values) (*http.Response, string, error) {
	req, _ := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	req.Header.Set("Accept", "text/html")
	req.Header.Set("User-Agent", agent)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range cookies {
		req.AddCookie(c)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	b, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return res, string(b), nil
}

func signIn(base, user string, x *texts) ([]*http.Cookie, error) {
	tr := http.DefaultTransport
	jar := map[string]*http.Cookie{}
	cookies := func() []*http.Cookie { return slices.Collect(maps.Values(jar)) }
	do := func(method, path string, v url.Values) (int, string, error) {
		res, page, err := send(tr, user, method, base+path, cookies(), v)
		if err != nil {
			return 0, "", err
		}
		for _, c := range res.Cookies() {
			jar[c.Name] = c
		}
		return res.StatusCode, page, nil
	}
	password := "pw"
	if _, _, err := do(http.MethodPost, "/login", url.Values{"user": {user}, "password": {password}}); err != nil || x == nil {
		return cookies(), err
	}
	_, page, err := do(http.MethodGet, "/mfa", nil)
	if err != nil {
		return nil, err
	}
	m := token.FindStringSubmatch(page)
	if m == nil {
		return nil, fmt.Errorf("no code page: %s", page)
	}
	status, page, err := do(http.MethodPost, "/mfa/verify", url.Values{"otp": {x.code(user)}, "secondfactorauthenticationtoken": {m[1]}})
	if err == nil && status != http.StatusSeeOther {
		err = fmt.Errorf("the code was not accepted: %s", page)
	}
	return cookies(), err
}

// code is the last code that a user got.
func (x *texts) code(user string) string {
	var i int
	_, _ = fmt.Sscanf(user, "user%d", &i)
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last[number(i)]
}

// apiLogin signs a user in by LoginRadius' API and returns the access token.
func apiLogin(base, user string, x *texts) string {
	call := func(method, path, body string, answer any) {
		req, _ := http.NewRequest(method, base+"/identity/v2/auth/login/2fa"+path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			log.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err := json.Unmarshal(b, answer); err != nil || res.StatusCode != http.StatusOK {
			log.Fatalf("%s %s: %d %s", method, path, res.StatusCode, b)
		}
	}
	var first struct {
		SecondFactorAuthentication struct{ SecondFactorAuthenticationToken string }
	}
	call(http.MethodPost, "?apikey=benchmark-key", `{"username":"`+user+`","password":"pw"}`, &first)
	var done struct {
		Token string `json:"access_token"`
	}
	call(http.MethodPut, "/verification/otp?apikey=benchmark-key&secondfactorauthenticationtoken="+first.SecondFactorAuthentication.SecondFactorAuthenticationToken, `{"otp":"`+x.code(user)+`"}`, &done)
	return done.Token
}

// logins is how many logins a second the users manage together.
func logins(base string, x *texts, login func(base, user string, x *texts) []*http.Cookie) float64 {
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
