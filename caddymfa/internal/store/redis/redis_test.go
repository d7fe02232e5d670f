package redis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/storetest"
	"github.com/caddymfa/caddymfa/test/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(tb testing.TB, c Config) *Store {
	tb.Helper()
	s, err := Open(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// conform runs the suite, each part with keys of its own.
func conform(t *testing.T, c Config) {
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) store.Store {
		c := c
		c.KeyPrefix = fmt.Sprintf("mfa:%d:", n.Add(1))
		return open(t, c)
	})
}

func TestConformance(t *testing.T) { conform(t, Config{URLs: []string{servers.Redis(t).URL}}) }

func TestEveryWayToAServer(t *testing.T) {
	srv := servers.Redis(t)
	user := func(c Config) Config {
		c.Username, c.Password = "caddymfa", "caddymfa-test"
		return c
	}
	bare := func(url string) string { return strings.Replace(url, "caddymfa:caddymfa-test@", "", 1) }
	for name, c := range map[string]struct {
		config Config
		works  bool
	}{
		"TCP, user in the address":        {Config{URLs: []string{srv.URL}}, true},
		"TCP, user apart":                 {user(Config{URLs: []string{bare(srv.URL)}}), true},
		"TLS":                             {Config{URLs: []string{srv.TLSURL}, TLSCA: srv.CA}, true},
		"TLS with a client certificate":   {Config{URLs: []string{srv.TLSURL}, TLSCA: srv.CA, TLSCert: beside(srv.CA, "client.crt"), TLSKey: beside(srv.CA, "client.key")}, true},
		"unix socket":                     {user(Config{URLs: []string{"unix://" + srv.Socket}}), true},
		"another database":                {Config{URLs: []string{srv.URL}, DB: 3}, true},
		"TLS, unknown authority":          {Config{URLs: []string{srv.TLSURL}}, false},
		"wrong password":                  {Config{URLs: []string{bare(srv.URL)}, Username: "caddymfa", Password: "wrong"}, false},
		"a user that may only read":       {Config{URLs: []string{bare(srv.URL)}, Username: "readonly", Password: "caddymfa-test"}, false},
		"a prefix that is not the user's": {Config{URLs: []string{srv.URL}, KeyPrefix: "other:"}, false},
		"nobody there":                    {Config{URLs: []string{"redis://127.0.0.1:1"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, c.config)
			warnings, err := s.Check(t.Context())
			if (err == nil) != c.works || len(warnings) > 0 {
				t.Fatalf("Check: %q, %v", warnings, err)
			}
			v, err := s.Put(t.Context(), "k", []byte(name), 0, store.Options{TTL: time.Minute})
			if (err == nil) != c.works || errors.Is(err, store.ErrConflict) {
				t.Fatalf("Put: %v", err)
			}
			if rec, err := s.Take(t.Context(), "k"); c.works && (err != nil || rec.Version != v) {
				t.Fatalf("Take: %+v, %v", rec, err)
			}
		})
	}
}

func beside(file, name string) string { return filepath.Join(filepath.Dir(file), name) }

func TestConfigIsRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	one := []string{"redis://127.0.0.1"}
	for name, c := range map[string]Config{
		"no address":                {},
		"another scheme":            {URLs: []string{"http://127.0.0.1"}},
		"no scheme":                 {URLs: []string{"127.0.0.1:6379"}},
		"a parameter":               {URLs: []string{"redis://127.0.0.1?read_timeout=1h"}},
		"a database of words":       {URLs: []string{"redis://127.0.0.1/first"}},
		"a cluster's database":      {URLs: []string{one[0], one[0]}, DB: 1},
		"braces in the prefix":      {URLs: one, KeyPrefix: "mfa:{x}:"},
		"fewer than no replicas":    {URLs: one, ReplicasAck: new(-1)},
		"an authority without file": {URLs: one, TLSCA: empty + "2"},
		"an empty authority":        {URLs: one, TLSCA: empty},
		"a key without certificate": {URLs: one, TLSKey: empty},
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := (Config{URLs: []string{"unix:///run/redis.sock?db=2"}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestAttack_D7_ErrorsHideThePassword(t *testing.T) {
	srv := servers.Redis(t)
	for _, u := range []string{
		"redis://u:hunter2@127.0.0.1:1", "redis://u:hunter2@:::", "http://u:hunter2@h", "redis://u:hunter2@h\x7f",
		"redis://u:hunter2@127.0.0.1/x", "redis://u:hunter2@127.0.0.1?hunter2=1", "redis://u:hunter2%zz@h",
		strings.Replace(srv.URL, "caddymfa-test", "hunter2", 1),
	} {
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

func TestServerThatHangsIsAnErrorSoon(t *testing.T) {
	srv := servers.Redis(t)
	s := open(t, Config{URLs: []string{srv.URL}})
	if _, err := s.Add(t.Context(), "c", 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	srv.Stop()
	start := time.Now()
	if _, err := s.Get(t.Context(), "k"); err == nil || errors.Is(err, store.ErrNotFound) || time.Since(start) > 2*time.Second {
		t.Fatalf("%v after %s", err, time.Since(start))
	}
	srv.Continue()
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("after it came back: %v", err)
	}
}

func TestServerIsKilledAndStartedAgain(t *testing.T) {
	srv := servers.Redis(t)
	srv.Kill() // the caller may start before Redis
	s, ctx := open(t, Config{URLs: []string{srv.URL}}), t.Context()
	if _, err := s.Check(ctx); err == nil {
		t.Fatal("nobody is there")
	}
	srv.Restart()
	opts := store.Options{TTL: time.Hour}
	v, err := s.Put(ctx, "kept", []byte("v"), 0, opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, "taken", nil, 0, opts); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Take(ctx, "taken"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(ctx, "c", 3, time.Hour); err != nil {
		t.Fatal(err)
	}
	srv.Kill()
	if _, err := s.Take(ctx, "kept"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Take without a server: %v", err)
	}
	srv.Restart() // it has forgotten the scripts
	if _, err := s.Take(ctx, "taken"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what was taken came back: %v", err)
	}
	if c, err := s.Add(ctx, "c", 1, time.Hour); err != nil || c.N != 4 {
		t.Errorf("the counter: %+v, %v", c, err)
	}
	if rec, err := s.Take(ctx, "kept"); err != nil || rec.Version != v {
		t.Errorf("what was kept: %+v, %v", rec, err)
	}
}

func TestJudge(t *testing.T) {
	const good = "aof_enabled:1\r\nmaxmemory_policy:noeviction\r\nconnected_slaves:0\r\n"
	for name, c := range map[string]struct {
		info, warning string
		acks          *int
		sentinel      bool
	}{
		"a good server":         {info: good},
		"no AOF":                {info: strings.Replace(good, "aof_enabled:1", "aof_enabled:0", 1), warning: "appendonly yes"},
		"evicts":                {info: strings.Replace(good, "noeviction", "allkeys-lru", 1), warning: "allkeys-lru"},
		"too few replicas":      {info: good, acks: new(1), warning: "0 replicas"},
		"replicas nobody asked": {info: strings.Replace(good, "slaves:0", "slaves:2", 1), acks: new(0), warning: "used codes may be accepted a second time, and locks and sign-outs be forgotten; leave replicas_ack out, or set 2"},
		"one of two replicas":   {info: strings.Replace(good, "slaves:0", "slaves:2", 1), acks: new(1), warning: "replicas_ack is 1"},
		"enough replicas":       {info: strings.Replace(good, "slaves:0", "slaves:2", 1), acks: new(2)},
		"three of many":         {info: strings.Replace(good, "slaves:0", "slaves:9", 1), acks: new(3)},
		"no word on replicas":   {info: strings.Replace(good, "slaves:0", "slaves:2", 1)},
		"a Sentinel's only one": {info: good, sentinel: true, warning: "every login is refused until one is there"},
	} {
		got := judge(c.info, c.acks, c.sentinel)
		if c.warning == "" && len(got) > 0 || c.warning != "" && (len(got) != 1 || !strings.Contains(got[0], c.warning)) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A server that has restarted does not know the scripts, and says so to the batch.
func TestBatchOfUnknownScripts(t *testing.T) {
	s, ctx := open(t, Config{URLs: []string{plain(t)}}), t.Context()
	if err := s.client.ScriptFlush(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	put, add := store.PutOp("k", []byte("v"), 0, store.Options{}), store.AddOp("c", 3, time.Minute)
	s.Batch(ctx, put, add)
	if put.Err != nil || put.Record.Version == 0 || add.Err != nil || add.Count.N != 3 {
		t.Errorf("%+v, %+v", put, add)
	}
}
