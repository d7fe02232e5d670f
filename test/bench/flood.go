package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	wrongPasswords = 10_000
	wrongPage      = 100 << 10 // what the application says to one
	floodTime      = 10 * time.Second
	comesBack      = 2 * time.Minute
	mayGrow        = 64 << 20
	redisMemory    = 128 << 20
)

// resident is the memory that a process has in RAM, in bytes.
func resident(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// largeRefusals is an application whose answer to a wrong password is a large page.
func largeRefusals(app http.Handler) http.Handler {
	page := []byte(strings.Repeat("x", wrongPage))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		app.ServeHTTP(w, r)
		if r.Method == http.MethodPost && r.PostFormValue("password") != "pw" {
			_, _ = w.Write(page)
		}
	})
}

// flood measures the process while somebody tries passwords, half of them as a
// browser does that has loaded the login page, and whether others still sign in.
func flood(name, store string, redis *redisServer) {
	s, end := start(store, 1)
	defer end()
	if redis != nil {
		redis.limit()
	}
	for i := range 200 { // what a gate that has worked for a while takes
		login(s.gated, fmt.Sprint("user", i), s.texts)
	}
	time.Sleep(5 * time.Second)
	pid := s.cmd.Process.Pid
	before, most := resident(pid), int64(0)

	ctx, stop := context.WithCancel(context.Background())
	var others sync.WaitGroup
	var signedIn, refused atomic.Int64
	others.Go(func() {
		for ctx.Err() == nil {
			most = max(most, resident(pid))
			time.Sleep(100 * time.Millisecond)
		}
	})
	others.Go(func() {
		for i := 200; ctx.Err() == nil; i++ {
			if _, err := signIn(s.gated, fmt.Sprint("user", i%users), s.texts); err != nil {
				log.Print(err)
				refused.Add(1)
			} else {
				signedIn.Add(1)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	begun := time.Now()
	answers := wrong(s.gated)
	took := time.Since(begun)
	time.Sleep(time.Second)
	stop()
	others.Wait()
	time.Sleep(comesBack)
	after := resident(pid)
	mib := func(n int64) float64 { return float64(n) / (1 << 20) }
	fmt.Printf("%-9s %d wrong passwords in %.1f s, answered by %d KiB each (%s)\n", name, wrongPasswords, took.Seconds(), wrongPage>>10, answers)
	fmt.Printf("%-9s resident memory %.0f MiB before, at most %.0f MiB (%+.0f) meanwhile, %.0f MiB (%+.0f) two minutes later\n",
		name, mib(before), mib(most), mib(most-before), mib(after), mib(after-before))
	fmt.Printf("%-9s logins of others meanwhile: %d complete, %d refused\n", name, signedIn.Load(), refused.Load())
	if redis != nil {
		fmt.Printf("%-9s Redis holds %.1f MiB of %.0f\n", name, mib(redis.used()), mib(redisMemory))
	}
	fmt.Println()
	if most-before > mayGrow || after-before > mayGrow/2 || refused.Load() > 0 {
		log.Fatalf("%s: more than %d MiB, or somebody was refused", name, mayGrow>>20)
	}
}

// wrong tries the passwords, spread over the time, and says how they were answered.
func wrong(base string) string {
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	defer tr.CloseIdleConnections()
	var next atomic.Int64
	var mu sync.Mutex
	answers := map[int]int{}
	var all sync.WaitGroup
	begun := time.Now()
	for range 64 {
		all.Go(func() {
			for {
				i := next.Add(1)
				if i > wrongPasswords {
					return
				}
				time.Sleep(time.Until(begun.Add(floodTime * time.Duration(i) / wrongPasswords)))
				status := guess(tr, base, int(i))
				mu.Lock()
				answers[status]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return strings.TrimPrefix(fmt.Sprint(answers), "map")
}

func guess(tr http.RoundTripper, base string, i int) int {
	ask := func(method string, cookies []*http.Cookie, v url.Values) *http.Response {
		res, _, err := send(tr, "flood", method, base+"/login", cookies, v)
		if err != nil {
			log.Fatal(err)
		}
		return res
	}
	var cookies []*http.Cookie
	if i%2 == 0 {
		cookies = ask(http.MethodGet, nil, nil).Cookies()
	}
	return ask(http.MethodPost, cookies, url.Values{"user": {fmt.Sprint("user", i%users)}, "password": {fmt.Sprint("wrong ", i)}}).StatusCode
}

func (s *redisServer) client() *redis.Client {
	o, err := redis.ParseURL(s.url)
	if err != nil {
		log.Fatal(err)
	}
	return redis.NewClient(o)
}

// limit gives Redis little memory, and nothing to evict.
func (s *redisServer) limit() {
	c, ctx := s.client(), context.Background()
	defer func() { _ = c.Close() }()
	if err := errors.Join(c.ConfigSet(ctx, "maxmemory", strconv.Itoa(redisMemory)).Err(), c.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err()); err != nil {
		log.Fatal(err)
	}
}

// used is the memory that Redis has taken, in bytes.
func (s *redisServer) used() int64 {
	c := s.client()
	defer func() { _ = c.Close() }()
	info, err := c.Info(context.Background(), "memory").Result()
	if err != nil {
		log.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(info))
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "used_memory:") })
	if i < 0 {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(lines[i], "used_memory:")), 10, 64)
	return n
}
