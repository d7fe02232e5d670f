package gate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/birth"
	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/portal"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/bolt"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/redis"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
	"github.com/caddymfa/caddymfa/test/servers"
)

// The users' numbers.
var numbers = map[string]string{"alice": "+447400123456", "bob": "+447400654321"}

const marker = "SECRET-PAGE"

// faulty is a store whose calls can be made to fail.
type faulty struct {
	store.Store
	down atomic.Bool
	// full: it can be read, and nothing is written.
	full atomic.Bool
	// late: the replicas are away. What is written is written, and the answer is an
	// error all the same.
	late atomic.Bool
	// after counts down to the call that fails, and all that follow.
	after atomic.Int64
	// ahead moves the store's clock, in nanoseconds.
	ahead atomic.Int64
	// trips counts round trips; the clock is none.
	trips atomic.Int64

	mu      sync.Mutex
	written strings.Builder
	put     map[string]store.Options // of the last record of every key
	read    []string                 // keys
}

// dump is everything that was ever written, keys and values.
func (f *faulty) dump() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written.String()
}

// wrote and asked report whether a key that begins like this was written or read.
func (f *faulty) wrote(prefix string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k := range f.put {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return false
}

func (f *faulty) asked(prefix string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.read, func(k string) bool { return strings.HasPrefix(k, prefix) })
}

func (f *faulty) puts() map[string]store.Options {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.put)
}

func (f *faulty) note(what ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range what {
		f.written.WriteString(s + "\n")
	}
}

var errDown = errors.New("store is down")

func (f *faulty) err() error {
	f.trips.Add(1)
	return f.fails()
}

// writes says why nothing is written.
func (f *faulty) writes() error {
	if err := f.err(); err != nil || !f.full.Load() {
		return err
	}
	return errDown
}

func (f *faulty) fails() error {
	if f.down.Load() || f.after.Load() > 0 && f.after.Add(-1) == 0 {
		f.down.Store(true)
		return errDown
	}
	return nil
}

func (f *faulty) Get(ctx context.Context, k string) (store.Record, error) {
	if err := f.err(); err != nil {
		return store.Record{}, err
	}
	f.got(k)
	return f.Store.Get(ctx, k)
}

func (f *faulty) got(k string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read = append(f.read, k)
}

func (f *faulty) Put(ctx context.Context, k string, b []byte, v uint64, o store.Options) (uint64, error) {
	if err := f.writes(); err != nil {
		return 0, err
	}
	f.note(k, string(b))
	f.keep(k, o)
	n, err := f.Store.Put(ctx, k, b, v, o)
	return n, f.unsure(err)
}

// unsure is the error of a write that nobody has acknowledged.
func (f *faulty) unsure(err error) error {
	if f.late.Load() {
		return errors.Join(errDown, err)
	}
	return err
}

func (f *faulty) Take(ctx context.Context, k string) (store.Record, error) {
	if err := f.writes(); err != nil {
		return store.Record{}, err
	}
	rec, err := f.Store.Take(ctx, k)
	return rec, f.unsure(err)
}

func (f *faulty) Delete(ctx context.Context, k string) error {
	if err := f.writes(); err != nil {
		return err
	}
	return f.unsure(f.Store.Delete(ctx, k))
}

func (f *faulty) Add(ctx context.Context, k string, n int64, w time.Duration) (store.Count, error) {
	if err := f.writes(); err != nil {
		return store.Count{}, err
	}
	f.note(k)
	c, err := f.Store.Add(ctx, k, n, w)
	return c, f.unsure(err)
}

// Batch fails each of its calls for itself.
func (f *faulty) Batch(ctx context.Context, ops ...*store.Op) {
	f.trips.Add(1)
	var run []*store.Op
	for _, o := range ops {
		if o.Err = f.fails(); o.Err == nil && o.Call != store.Get && f.full.Load() {
			o.Err = errDown
		}
		if o.Err != nil {
			continue
		}
		if o.Call == store.Get {
			f.got(o.Key)
		} else {
			f.note(o.Key, string(o.Value))
		}
		if o.Call == store.Put {
			f.keep(o.Key, o.Options)
		}
		run = append(run, o)
	}
	f.Store.Batch(ctx, run...)
	for _, o := range run {
		if o.Call != store.Get {
			o.Err = f.unsure(o.Err)
		}
	}
}

func (f *faulty) keep(k string, o store.Options) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.put == nil {
		f.put = map[string]store.Options{}
	}
	f.put[k] = o
}

func (f *faulty) Now(ctx context.Context) (time.Time, error) {
	if err := f.fails(); err != nil {
		return time.Time{}, err
	}
	now, err := f.Store.Now(ctx)
	return now.Add(time.Duration(f.ahead.Load())), err
}

// deaf is a server that does not care.
type deaf string

func (d deaf) ClientIP() string { return string(d) }

func (deaf) Announce(session.Level, string, time.Time) {}
func (deaf) NoLog()                                    {}

// world is an application behind gates that share a store.
type world struct {
	t      *testing.T
	http2  bool // over TLS, as browsers speak it
	store  *faulty
	nodes  []*httptest.Server
	app    *app
	phones *inbox
	gates  []*gate.Gate
	events *log
	// births are the nodes' watches over what lies below store; born says what their
	// machines remember, nil for nothing.
	births []*birth.Watch
	born   func(node int) birth.Options
	ring   *keyring.Ring
	cfg    []config
	// observe: the gates only look.
	observe bool
}

// inbox takes the texts.
type inbox struct {
	mu    sync.Mutex
	texts []sms.Message
	fail  error
	ring  func() // called when a text arrives; nil for nobody
}

func (p *inbox) Send(_ context.Context, m sms.Message) (sms.Receipt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return sms.Receipt{}, p.fail
	}
	if p.ring != nil {
		p.ring()
	}
	p.texts = append(p.texts, m)
	return sms.Receipt{Provider: "test"}, nil
}

func (p *inbox) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.texts)
}

// last is the code of the last text to a user.
func (p *inbox) last(t *testing.T, user string) string {
	t.Helper()
	return p.lastTo(t, numbers[user])
}

var codeText = regexp.MustCompile(`^(\d{6}) `)

// lastTo is the code of the last text to a number that has one.
func (p *inbox) lastTo(t *testing.T, number string) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range slices.Backward(p.texts) {
		if m := codeText.FindStringSubmatch(v.Text); v.To == number && m != nil {
			return m[1]
		}
	}
	t.Fatalf("no text to %s", number)
	return ""
}

// latest is the code of the last text to anybody.
func (p *inbox) latest(t *testing.T) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range slices.Backward(p.texts) {
		if m := codeText.FindStringSubmatch(v.Text); m != nil {
			return m[1]
		}
	}
	t.Fatal("no text")
	return ""
}

// told reports whether a number got a text with these words.
func (p *inbox) told(number, words string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.texts, func(m sms.Message) bool { return m.To == number && strings.Contains(m.Text, words) })
}

// log keeps events.
type log struct {
	mu  sync.Mutex
	all []event.Event
}

func (l *log) add(_ context.Context, e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

func (l *log) count(n event.Name, r event.Reason) (c int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.Name == n && (r == "" || e.Reason == r) {
			c++
		}
	}
	return c
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, e := range l.all {
		fmt.Fprintf(&b, "%+v\n", e)
	}
	return b.String()
}

// directory knows the numbers.
type directory map[string]string

func (d directory) Number(_ context.Context, user string) (string, error) { return d[user], nil }

// app is the application: what it does is a map of handlers that tests change.
type app struct {
	mu    sync.Mutex
	seen  []string // method and URI of every request that reached it
	heads []http.Header
	fail  error // returned instead of an answer
	late  error // returned after one, or in its place
	http.Handler
}

// after sets what is returned after the answer.
func (a *app) after(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.late = err
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.seen = append(a.seen, r.Method+" "+r.URL.RequestURI())
	a.heads = append(a.heads, r.Header.Clone())
	h := a.Handler
	a.mu.Unlock()
	h.ServeHTTP(w, r)
}

func (a *app) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.seen...)
}

// head is the head of the last request that reached it.
func (a *app) head() http.Header {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heads[len(a.heads)-1]
}

const loginForm = "<form method=post action=/login>LOGIN-PAGE<input name=user><input name=password type=password></form>"

// legacy is the usual application: sessions by the cookie SID, which it keeps
// at a login; POST /login, GET /me, everything else behind the login.
type legacy struct {
	mu       sync.Mutex
	sessions map[string]string
	n        int
	rotate   bool // a new id at every login
}

func newLegacy() *legacy { return &legacy{sessions: map[string]string{}} }

var passwords = map[string]string{"alice": "pw-a", "bob": "pw-b"}

func (l *legacy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := ""
	if c, err := r.Cookie("SID"); err == nil {
		if _, ok := l.sessions[c.Value]; ok {
			id = c.Value
		}
	}
	fresh := func() {
		l.n++
		id = fmt.Sprintf("upstream-session-%d", l.n)
		l.sessions[id] = ""
		http.SetCookie(w, &http.Cookie{Name: "SID", Value: id, Path: "/", HttpOnly: true})
	}
	if id == "" {
		fresh()
	}
	user := l.sessions[id]
	switch {
	case r.URL.Path == "/login" && r.Method == http.MethodGet:
		_, _ = io.WriteString(w, loginForm)
	case r.URL.Path == "/login" || r.URL.Path == "/api/login":
		name, password := r.PostFormValue("user"), r.PostFormValue("password")
		if want, ok := passwords[name]; !ok || want != password {
			_, _ = io.WriteString(w, "WRONG "+loginForm)
			return
		}
		if l.rotate {
			delete(l.sessions, id)
			fresh()
		}
		l.sessions[id] = name
		if r.URL.Path == "/api/login" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"ok":true,"access":"app-token-%s"}`, name)
			return
		}
		to := r.PostFormValue("to")
		if to == "" {
			to = "/home"
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	case r.URL.Path == "/logout":
		l.sessions[id] = ""
		w.Header().Set("Location", "/login")
		w.WriteHeader(http.StatusFound)
	case r.URL.Path == "/me" && user != "":
		_, _ = io.WriteString(w, "I am "+user+".")
	case r.URL.Path == "/side-door": // logs bob in without any login page
		fresh()
		l.sessions[id] = "bob"
		http.SetCookie(w, &http.Cookie{Name: "REMEMBER", Value: "bob-forever", Path: "/"})
	case user == "":
		w.Header().Set("Location", "/login")
		w.WriteHeader(http.StatusFound)
	default:
		_, _ = io.WriteString(w, marker+" of "+user)
	}
}

// config changes a gate before it is used.
type config func(*gate.Gate, *login.Config)

// backend is what a world stands on: a store, and the protocol that its
// clients speak.
type backend struct {
	store.Store
	http2 bool
}

// stores runs a test over every store and every protocol.
func stores(t *testing.T, f func(t *testing.T, open func(t *testing.T) backend)) {
	t.Helper()
	over := func(t *testing.T, open func(t *testing.T) store.Store) {
		t.Helper()
		for name, http2 := range map[string]bool{"HTTP1": false, "HTTP2": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(t, func(t *testing.T) backend { return backend{open(t), http2} })
			})
		}
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		over(t, func(t *testing.T) store.Store {
			s, err := bolt.Open(filepath.Join(t.TempDir(), "mfa.db"))
			if err != nil {
				t.Fatal(err)
			}
			return s
		})
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		srv := servers.Redis(t)
		var n atomic.Int64
		over(t, func(t *testing.T) store.Store {
			s, err := redis.Open(redis.Config{URLs: []string{srv.URL}, KeyPrefix: fmt.Sprintf("mfa:%d:", n.Add(1))})
			if err != nil {
				t.Fatal(err)
			}
			return s
		})
	})
}

// each runs a test in a fresh world over every store.
func each(t *testing.T, f func(t *testing.T, w *world), cfg ...config) {
	t.Helper()
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		f(t, newWorld(t, open(t), 1, newLegacy(), cfg...))
	})
}

func newWorld(t *testing.T, s backend, nodes int, application http.Handler, cfg ...config) *world {
	t.Helper()
	return newWorldOf(t, s, nil, nodes, application, cfg...)
}

// newWorldOf is a world whose machines remember something of their store.
func newWorldOf(t *testing.T, s backend, born func(int) birth.Options, nodes int, application http.Handler, cfg ...config) *world {
	t.Helper()
	w := &world{born: born, t: t, http2: s.http2, store: &faulty{Store: s.Store}, app: &app{Handler: application}, phones: &inbox{}, events: &log{}}
	ring, err := keyring.New([]byte("a secret of the tests with at least 32 bytes"))
	if err != nil {
		t.Fatal(err)
	}
	w.ring, w.cfg = ring, cfg
	for range nodes {
		w.node(ring, cfg)
	}
	t.Cleanup(func() { _ = s.Close() })
	return w
}

func (w *world) node(ring *keyring.Ring, cfg []config) {
	t := w.t
	t.Helper()
	remembers := birth.Options{}
	if w.born != nil {
		remembers = w.born(len(w.nodes))
	}
	watch := birth.New(w.store.Store, ring, remembers)
	watch.Listen(birth.Listener{Event: w.events.add})
	w.births = append(w.births, watch)
	texts, err := sms.NewTemplates(nil)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := page.New()
	if err != nil {
		t.Fatal(err)
	}
	codes := challenge.Rules{}
	if err := codes.Complete(); err != nil {
		t.Fatal(err)
	}
	table := session.NewTable(w.store, ring)
	table.Within(watch.Generation)
	t.Cleanup(table.Close)
	f := &flow.Flow{
		Sessions: table, Store: w.store, Birth: watch, Accounts: account.New(w.store, ring, account.Rules{}),
		Limits: limit.New(w.store, ring, limit.Limits{IPSends: limit.Rate{N: 1000, Window: time.Hour}}), Directory: directory(numbers), SMS: w.phones, Texts: texts,
		Phones: phone.Policy{Countries: []string{"GB"}}, Codes: codes, Events: w.events.add,
	}
	f.Open(ring)
	t.Cleanup(f.Close)
	rule := login.Config{
		Name: "form", Paths: []string{"/login", "/api/login"}, User: &login.User{Source: login.Form, Name: "user"},
		Password: &login.Field{Source: login.Form, Name: "password"},
		Identity: &login.Identity{Path: "/me", Pattern: `I am ([^.]+)\.`},
	}
	g := &gate.Gate{
		Flow: f, Pages: pages, Prefix: "/mfa", SharedUsers: true, Spool: &intake.Spool{Size: 64 << 20}, ChallengeStatus: http.StatusForbidden, PublicAssets: true, Origins: new(gate.Origins),
		Session: []*regexp.Regexp{regexp.MustCompile("^SID$")},
		Site: flow.Gate{
			Gate: session.Gate{Cookie: session.NewCookie(""), Idle: time.Hour, Lifetime: 12 * time.Hour},
			App:  "Test", Policy: flow.Required, Enroll: flow.FromDirectory, MaxReply: 64 << 10,
			Cookies: &jar.Policy{Own: "mfa", Session: []*regexp.Regexp{regexp.MustCompile("^SID$")}, Script: map[string]bool{}},
		},
		Public:  []*match.Entry{entry(t, match.Request{Paths: []string{"/public/*"}})},
		Logouts: []gate.Logout{{Entry: entry(t, match.Request{Paths: []string{"/logout"}})}},
	}
	g.LoginPage = &gate.LoginPage{Entry: entry(t, match.Request{Paths: []string{"/login"}}), Path: "/login", Next: "next"}
	for _, c := range cfg {
		c(g, &rule)
	}
	compiled, err := rule.Compile()
	if err != nil {
		t.Fatal(err)
	}
	g.Rules = append(login.Rules{compiled}, g.Rules...)
	p := &portal.Portal{Flow: f, Pages: pages, Prefix: g.Prefix, Login: g.LoginURL(), Regions: f.Phones.Countries}
	g.Portal = p.Serve
	w.gates = append(w.gates, g)
	next := upstream.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) error {
		if w.app.fail != nil {
			return w.app.fail
		}
		w.app.ServeHTTP(rw, r)
		w.app.mu.Lock()
		defer w.app.mu.Unlock()
		return w.app.late
	})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		orig := *r.URL
		client := r.Header.Get("X-Test-Client")
		if client == "" {
			client = "192.0.2.1"
		}
		in := gate.Input{
			Method: r.Method, URL: &orig, Secure: r.TLS != nil,
			FirstFactor: r.Header.Get("X-Test-User"), Server: deaf(client),
		}
		serve := g.Serve
		if w.observe {
			serve = func(rw http.ResponseWriter, r *http.Request, in gate.Input, next upstream.Handler) (event.Reason, error) {
				return "", g.Observe(rw, r, in, next)
			}
		}
		if _, err := serve(rw, r, in, next); err != nil {
			rw.Header().Set("X-Error-Route", "1")
			rw.WriteHeader(http.StatusBadGateway)
		}
	}))
	if srv.EnableHTTP2 = w.http2; w.http2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	tr := srv.Client().Transport.(*http.Transport) //nolint:forcetypeassert // it is httptest's
	tr.DisableKeepAlives, tr.DisableCompression = !w.http2, true
	w.nodes = append(w.nodes, srv)
}

// cookie is the name of the gate's cookie.
func (w *world) cookie() string { return session.NewCookie("").Name(w.http2) }

func entry(t *testing.T, q match.Request) *match.Entry {
	t.Helper()
	e, err := q.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// client is a browser at one node. It does not follow redirects.
type client struct {
	w       *world
	cookies map[string]string
	node    int
	addr    string
	status  int
	head    http.Header
	body    string
	// beside is what came with the answer and is easily overlooked: informational
	// answers (1xx) before it, trailers behind it.
	beside string
}

var addresses atomic.Int64

// browser is a new client, at an address of its own.
func (w *world) browser() *client {
	return &client{w: w, cookies: map[string]string{}, addr: fmt.Sprintf("198.51.100.%d", addresses.Add(1)%250)}
}

// copy is another client with the same cookies.
func (c *client) copy() *client {
	d := *c
	d.cookies = maps.Clone(c.cookies)
	return &d
}

func (c *client) do(method, target, body string, head ...string) *client {
	t := c.w.t
	t.Helper()
	req, err := http.NewRequest(method, c.w.nodes[c.node].URL+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("X-Test-Client", c.addr)
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
		if head[i] == "Host" {
			req.Host = head[i+1]
		}
	}
	for k, v := range c.cookies {
		req.AddCookie(&http.Cookie{Name: k, Value: v})
	}
	early := ""
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		early += fmt.Sprint(code, h)
		return nil
	}}))
	res, err := c.w.nodes[c.node].Client().Transport.RoundTrip(req)
	if err != nil && len(body) > 1<<20 && !strings.Contains(err.Error(), "EOF") {
		// The gate has answered and closed before the whole body was sent.
		c.status, c.body = http.StatusRequestEntityTooLarge, ""
		return c
	}
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer func() { _ = res.Body.Close() }()
	if want := map[bool]int{false: 1, true: 2}[c.w.http2]; res.ProtoMajor != want {
		t.Fatalf("%s %s went over %s", method, target, res.Proto)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	c.status, c.head, c.body, c.beside = res.StatusCode, res.Header, string(b), early
	if len(res.Trailer) > 0 {
		c.beside += fmt.Sprint(res.Trailer)
	}
	for _, k := range res.Cookies() {
		if k.MaxAge < 0 {
			delete(c.cookies, k.Name)
		} else {
			c.cookies[k.Name] = k.Value
		}
	}
	return c
}

// handle is the gate's cookie.
func (c *client) handle() string { return c.cookies[c.w.cookie()] }

func (c *client) get(target string, head ...string) *client {
	c.w.t.Helper()
	return c.do(http.MethodGet, target, "", head...)
}

func (c *client) post(target string, v url.Values, head ...string) *client {
	c.w.t.Helper()
	return c.do(http.MethodPost, target, v.Encode(), head...)
}

// login posts a name and a password.
func (c *client) login(user, password string) *client {
	c.w.t.Helper()
	return c.post("/login", url.Values{"user": {user}, "password": {password}})
}

var tokenField = regexp.MustCompile(`name="secondfactorauthenticationtoken" value="([^"]+)"`)

// token reads the code page's token.
func (c *client) token() string {
	c.w.t.Helper()
	c.get("/mfa")
	m := tokenField.FindStringSubmatch(c.body)
	if m == nil {
		return ""
	}
	return m[1]
}

// code types a code into the code page.
func (c *client) code(code string) *client {
	c.w.t.Helper()
	return c.post("/mfa/verify", url.Values{"otp": {code}, "secondfactorauthenticationtoken": {c.token()}})
}

// signIn gives a user's password and code.
func (c *client) signIn(user string) *client {
	t := c.w.t
	t.Helper()
	c.get("/login")
	if c.login(user, passwords[user]); c.status != http.StatusSeeOther || c.head.Get("Location") != "/mfa" {
		t.Fatalf("login of %s: %d %s\n%s\n%s", user, c.status, c.head.Get("Location"), c.body, c.w.events)
	}
	if c.code(c.w.phones.last(t, user)); c.status != http.StatusSeeOther {
		t.Fatalf("code of %s: %d %s\n%s", user, c.status, c.body, c.w.events)
	}
	return c.in(user)
}

// returned reports whether the gate gave the error on to the site.
func (c *client) returned() bool { return c.head.Get("X-Error-Route") != "" }

// in checks that the client is let in as a user.
func (c *client) in(user string) *client {
	c.w.t.Helper()
	if c.get("/home"); c.status != http.StatusOK || c.body != marker+" of "+user {
		c.w.t.Fatalf("%s is not in: %d %s\n%s", user, c.status, c.body, c.w.events)
	}
	return c
}

// out checks that nothing behind the login is reachable, by any path.
func (c *client) out() *client {
	c.w.t.Helper()
	for _, path := range []string{"/home", "/", "/index.php", "/login", "/public/x", "/me", "/a.css"} {
		if c.get(path); strings.Contains(c.body, marker) || strings.Contains(c.body, "I am ") {
			c.w.t.Fatalf("%s shows %q\n%s", path, c.body, c.w.events)
		}
	}
	return c
}
