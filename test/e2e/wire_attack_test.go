package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/test/demoapp"
	"github.com/caddymfa/caddymfa/test/servers"
	"github.com/caddymfa/caddymfa/test/wire"
)

// What only the whole server can be asked: how Caddy reads a request from the
// wire, and what then reaches the application.

// recorder is the demo application with a record of what has reached it.
type recorder struct {
	mu   sync.Mutex
	seen []*http.Request
	app  http.Handler
	addr string
}

func record(t *testing.T) *recorder {
	r := &recorder{app: demoapp.New()}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	r.addr = srv.Listener.Addr().String()
	return r
}

func (a *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	kept := r.Clone(r.Context())
	kept.Body = io.NopCloser(strings.NewReader(string(body)))
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	a.mu.Lock()
	a.seen = append(a.seen, kept)
	a.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/pub/") {
		_, _ = io.WriteString(w, "public")
		return
	}
	a.app.ServeHTTP(w, r)
}

// since is what has come after the first n requests.
func (a *recorder) since(n int) []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen[n:])
}

type edit = func(*gate, string) string

// everywhere runs a test over both stores and both protocols.
func everywhere(t *testing.T, f func(t *testing.T, start func(upstream, block string, edits ...edit) *gate)) {
	t.Helper()
	for _, store := range []string{"embedded", "redis"} {
		for _, proto := range []string{"HTTP1", "HTTP2"} {
			t.Run(store+"/"+proto, func(t *testing.T) {
				t.Parallel()
				global := ""
				if store == "redis" {
					global = "store redis " + servers.Redis(t).URL + "\n\t\tsecret a-secret-of-the-tests-with-32-bytes-or-more"
				}
				f(t, func(upstream, block string, edits ...edit) *gate {
					if proto == "HTTP2" {
						edits = append(edits, overTLS(t))
					}
					return startGate(t, freePort(t), upstream, block, global, edits...)
				})
			})
		}
	}
}

// addr is where the gate listens.
func (g *gate) addr() string {
	return strings.TrimPrefix(strings.TrimPrefix(g.url, "http://"), "https://")
}

// send sends a request as it stands, over the site's protocol, to a host.
func (g *gate) send(t *testing.T, method, host, target string, fields ...[2]string) int {
	t.Helper()
	if g.tls != nil {
		head := [][2]string{{":method", method}, {":scheme", "https"}, {":authority", host}, {":path", target}}
		for _, f := range fields {
			head = append(head, [2]string{strings.ToLower(f[0]), f[1]})
		}
		return wire.HTTP2(t, g.addr(), "example.com", true, head...).Status
	}
	text := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n"
	for _, f := range fields {
		text += f[0] + ": " + f[1] + "\r\n"
	}
	answers := wire.HTTP1(t, g.addr(), text+"Connection: close\r\n\r\n", 50*time.Millisecond)
	if len(answers) == 0 {
		return 0
	}
	return answers[0].StatusCode
}

// handle is the gate's cookie as a browser would send it.
func (b *browser) handle() string {
	u, _ := url.Parse(b.g.url)
	var all []string
	for _, c := range b.http.Jar.Cookies(u) {
		all = append(all, c.Name+"="+c.Value)
	}
	return strings.Join(all, "; ")
}

var identities = [][2]string{
	{"Remote-User", "mallory"},
	{"remote-user", "mallory"},
	{"REMOTE-USER", "mallory"},
	{"Remote_User", "mallory"},
	{"remote.user", "mallory"},
	{"Remote~User", "mallory"},
	{"X-Remote-User", "mallory"},
	{"X-Forwarded-User", "mallory"},
	{"X_Forwarded_User", "mallory"},
	{"X-Forwarded-Email", "mallory"},
	{"X-Auth-Request-User", "mallory"},
	{"X-WEBAUTH-USER", "mallory"},
	{"X-Authenticated-User", "mallory"},
	{"X-Ssl-Client-S-Dn", "mallory"},
	{"X!Auth!User", "mallory"},
	{"Authorization", "Basic mallory"},
	{"X-Mfa-User", "mallory"},
	{"X-Api-Key", "mallory"},
	{"X_Api_Key", "mallory"},
	{"X~Api~Key", "mallory"},
	{"Proxy-Authorization", "mallory"},
}

func TestAttack_D1_D2_ApplicationLearnsTheUserFromUsOnly(t *testing.T) {
	block := strings.Replace(directoryBlock, "enroll directory", "public GET POST /pub/*\n\t\tcredential header X-Api-Key\n\t\tenroll directory", 1)
	for name, upstream := range map[string]string{"set": " {\n\t\theader_up Remote-User {http.auth.user.id}\n\t}", "none set": ""} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, start func(string, string, ...edit) *gate) {
				app := record(t)
				g := start(app.addr+upstream, block)
				b := g.browser(t)
				b.password("alice", alicePassword).code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker)
				for _, who := range []struct{ user, cookie, path string }{
					{"", "", "/pub/x"}, {"", "", "/login"}, {"", "", "/style.css"}, {"alice", b.handle(), "/report"},
				} {
					for _, id := range identities {
						before := len(app.since(0))
						g.send(t, http.MethodGet, g.addr(), who.path, id, [2]string{"Cookie", who.cookie})
						got := app.since(before)
						if len(got) != 1 {
							t.Fatalf("%s with %v: %d requests", who.path, id, len(got))
						}
						if text := fmt.Sprint(got[0].Header); strings.Contains(text, "mallory") || strings.Contains(text, "{http") {
							t.Errorf("%s with %v: the application saw %s", who.path, id, text)
						}
						if upstream != "" && got[0].Header.Get("Remote-User") != who.user {
							t.Errorf("%s: the application was told %q", who.path, got[0].Header["Remote-User"])
						}
					}
				}
				// A login and what the gate itself asks are no way either.
				before := len(app.since(0))
				g.browser(t).post("/login", url.Values{"user": {"bob"}, "password": {bobPassword}}, "Remote-User", "mallory", "X-Forwarded-User", "mallory")
				got := app.since(before)
				if len(got) < 2 {
					t.Fatalf("%d requests", len(got))
				}
				for _, r := range got {
					if text := fmt.Sprint(r.Header); strings.Contains(text, "mallory") || strings.Contains(text, "{http") {
						t.Errorf("%s: the application saw %s", r.URL, text)
					}
				}
				// A space before the colon is no name at all.
				if g.tls == nil {
					before := len(app.since(0))
					answers := wire.HTTP1(t, g.addr(), "GET /pub/x HTTP/1.1\r\nHost: "+g.addr()+"\r\nRemote-User : mallory\r\n\r\n", 50*time.Millisecond)
					if len(answers) != 1 || answers[0].StatusCode != http.StatusBadRequest || len(app.since(before)) > 0 {
						t.Errorf("a blank before the colon: %v", answers)
					}
				}
			})
		})
	}
}

// hosts makes the site answer to two names besides its address.
func hosts(_ *gate, text string) string {
	return siteLine.ReplaceAllStringFunc(text, func(line string) string {
		first := strings.TrimSuffix(line, " {")
		port := first[strings.LastIndex(first, ":"):]
		return first + ", http://a.example.com" + port + ", http://b.example.com" + port + " {"
	})
}

func TestAttack_C10_OneHostIsOneApplication(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(string, string, ...edit) *gate) {
		app := record(t)
		g := start(app.addr, directoryBlock, hosts)
		_, port, _ := net.SplitHostPort(g.addr())
		a, b := "a.example.com:"+port, "b.example.com:"+port
		br := g.browser(t)
		br.http.Transport = g.anyName()
		br.g = &gate{url: strings.Replace(g.url, "127.0.0.1", "a.example.com", 1), phones: g.phones, tls: g.tls, log: g.log}
		br.password("alice", alicePassword).code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker)
		cookie := [2]string{"Cookie", br.handle()}
		visit := func(host, target string, fields ...[2]string) (status int, reached []*http.Request) {
			before := len(app.since(0))
			status = g.send(t, http.MethodGet, host, target, append(fields, cookie)...)
			return status, app.since(before)
		}
		// The session of a opens a, however its name is spelt, and nothing else.
		if status, got := visit(a, "/report"); status != http.StatusOK || len(got) != 1 {
			t.Fatalf("its own host: %d, %d requests", status, len(got))
		}
		for host, opens := range map[string]bool{"A.Example.COM:" + port: true, "a.example.com": true, "a.example.com:1": true, "a.example.com.:" + port: false, "a.example.com.": false} {
			// Caddy's sites do not answer to a name with a dot at its end.
			if status, got := visit(host, "/report"); opens != (len(got) == 1) || len(got) > 1 || status >= 500 {
				t.Errorf("%s: %d, %d requests", host, status, len(got))
			}
		}
		for _, host := range []string{b, "b.example.com", "B.example.com.:" + port, "127.0.0.1:" + port, "evil.test", "a.example.com..:" + port, ".a.example.com", "a.example.com@b.example.com"} {
			if status, got := visit(host, "/report"); len(got) > 0 {
				t.Errorf("%s: %d, the application saw %v", host, status, got[0].URL)
			}
		}
		// Two names in one request: one of them counts, for all of us.
		if g.tls == nil {
			for name, tc := range map[string]struct {
				head   string
				host   string
				reject bool
			}{
				"two Host fields":                 {"GET /report HTTP/1.1\r\nHost: " + a + "\r\nHost: " + b + "\r\n", "", true},
				"two Host fields, b first":        {"GET /report HTTP/1.1\r\nHost: " + b + "\r\nHost: " + a + "\r\n", "", true},
				"no Host":                         {"GET /report HTTP/1.1\r\n", "", true},
				"a list of hosts":                 {"GET /report HTTP/1.1\r\nHost: " + a + ", " + b + "\r\n", "", true},
				"absolute target of b, Host of a": {"GET http://" + b + "/report HTTP/1.1\r\nHost: " + a + "\r\n", "", false},
				"absolute target of a, Host of b": {"GET http://" + a + "/report HTTP/1.1\r\nHost: " + b + "\r\n", a, false},
			} {
				before := len(app.since(0))
				answers := wire.HTTP1(t, g.addr(), tc.head+"Cookie: "+cookie[1]+"\r\nConnection: close\r\n\r\n", 50*time.Millisecond)
				got := app.since(before)
				switch {
				case tc.reject && (len(answers) != 1 || answers[0].StatusCode != http.StatusBadRequest || len(got) > 0):
					t.Errorf("%s: %v, %d requests", name, answers, len(got))
				case tc.host == "" && len(got) > 0:
					t.Errorf("%s: the application saw %s at %s", name, got[0].URL, got[0].Host)
				case tc.host != "" && (len(got) != 1 || got[0].Host != tc.host):
					t.Errorf("%s: %d requests", name, len(got))
				}
			}
			return
		}
		for name, tc := range map[string]struct {
			sni, authority, host string
			opens                bool
		}{
			"TLS for b, request to a":   {"b.example.com", a, "", true}, // a's own handle, at a
			"TLS for a, request to b":   {"a.example.com", b, "", false},
			"authority of b, Host of a": {"a.example.com", b, a, false},
			"authority of a, Host of b": {"a.example.com", a, b, true},
			"no authority, Host of b":   {"a.example.com", "", b, false},
		} {
			fields := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":path", "/report"}}
			if tc.authority != "" {
				fields = append(fields, [2]string{":authority", tc.authority})
			}
			if tc.host != "" {
				fields = append(fields, [2]string{"host", tc.host})
			}
			before := len(app.since(0))
			s := wire.HTTP2(t, g.addr(), tc.sni, true, append(fields, [2]string{"cookie", cookie[1]})...)
			got := app.since(before)
			refused := s.Status == http.StatusMisdirectedRequest || s.Status == http.StatusBadRequest || s.Status == 0
			switch {
			case !tc.opens && len(got) > 0:
				t.Errorf("%s: %d, the application saw %s at %s", name, s.Status, got[0].URL, got[0].Host)
			case tc.opens && !refused && (len(got) != 1 || got[0].Host != a):
				t.Errorf("%s: %d, %d requests", name, s.Status, len(got))
			}
		}
	})
}

// anyName is a client whose connections all go to the gate, whatever its name.
func (g *gate) anyName() http.RoundTripper {
	return &http.Transport{TLSClientConfig: g.tls, ForceAttemptHTTP2: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", g.addr())
	}}
}

var forged = [][2]string{
	{"X-Forwarded-For", "%s"},
	{"X-Real-IP", "%s"},
	{"Forwarded", "for=%s"},
	{"X-Origin-IP", "%s"},
	{"X-Client-IP", "%s"},
	{"True-Client-IP", "%s"},
	{"CF-Connecting-IP", "%s"},
	{"X-Forwarded-For", "10.0.0.1, %s"},
	{"X-Forwarded-For", "garbage-%s"},
	{"X-Forwarded-For", "%s, not an address"},
}

// fewTexts lets an address have three texts.
func fewTexts(_ *gate, text string) string {
	return strings.Replace(text, "ip_sends 500 1h", "ip_sends 3 1h", 1)
}

// proxied trusts the address that the tests come from.
func proxied(_ *gate, text string) string {
	return strings.Replace(text, "\tmfa {\n", "\tservers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}\n\tmfa {\n", 1)
}

func TestAttack_D4_ForgedAddressesMoveNoLimit(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(string, string, ...edit) *gate) {
		g := start(record(t).addr, directoryBlock, fewTexts)
		for i, f := range forged {
			f[1] = fmt.Sprintf(f[1], fmt.Sprint("203.0.113.", i))
			g.browser(t).get("/login").post("/login", url.Values{"user": {"alice"}, "password": {alicePassword}}, f[0], f[1])
			if want := min(i+1, 3); g.phones.count() != want {
				t.Fatalf("%v: %d texts, want %d", f, g.phones.count(), want)
			}
		}
		if !strings.Contains(g.log.String(), `"client_ip":"127.0.0.1"`) || strings.Contains(g.decisions(), "203.0.113.") {
			t.Error("the log names the forged address")
		}
	})
}

func TestAttack_D4_AddressesOfATrustedProxyCount(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(string, string, ...edit) *gate) {
		g := start(record(t).addr, directoryBlock, fewTexts, proxied)
		send := func(address string) int {
			before := g.phones.count()
			g.browser(t).get("/login").post("/login", url.Values{"user": {"alice"}, "password": {alicePassword}}, "X-Forwarded-For", address)
			return g.phones.count() - before
		}
		for range 4 {
			send("203.0.113.1")
		}
		if g.phones.count() != 3 || send("203.0.113.2") != 1 {
			t.Fatalf("two clients of a trusted proxy: %d texts", g.phones.count())
		}
		// Garbage is no new client each time.
		before := g.phones.count()
		for i := range 8 {
			send(fmt.Sprintf("garbage-%d", i))
			send(fmt.Sprintf("203.0.113.3.%d", i))
		}
		if n := g.phones.count() - before; n > 6 {
			t.Fatalf("%d texts to what are no addresses", n)
		}
	})
}

func TestAttack_D4_OfficeNetworkIsTheSocketsAddress(t *testing.T) {
	// The gate is for two networks; the addresses of the third pass without it.
	office := func(_ *gate, text string) string {
		return strings.Replace(text, "\tlog\n\tmfa {", "\tlog\n\t@outside client_ip 127.0.0.0/8 10.0.0.0/8\n\tmfa @outside {", 1)
	}
	for _, trusted := range []bool{false, true} {
		t.Run(fmt.Sprint("trusted proxy ", trusted), func(t *testing.T) {
			everywhere(t, func(t *testing.T, start func(string, string, ...edit) *gate) {
				app := record(t)
				edits := []edit{office}
				if trusted {
					edits = append(edits, proxied)
				}
				g := start(app.addr, directoryBlock, edits...)
				for _, f := range forged {
					f[1] = fmt.Sprintf(f[1], "203.0.113.7")
					before := len(app.since(0))
					g.send(t, http.MethodGet, g.addr(), "/report", f)
					// Behind a trusted proxy its word counts: that is what trusting means.
					inside := trusted && f[0] == "X-Forwarded-For" && strings.HasPrefix(f[1], "203.")
					if reached := len(app.since(before)) > 0; reached && !inside && !strings.HasSuffix(f[1], ", 203.0.113.7") {
						t.Errorf("%v passes the gate", f)
					} else if reached && !trusted {
						t.Errorf("%v passes the gate, and nobody trusts it", f)
					}
				}
			})
		})
	}
}

func TestAttack_D9_RequestsThatEndInTwoPlaces(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(string, string, ...edit) *gate) {
		app := record(t)
		block := strings.Replace(directoryBlock, "enroll directory", "public POST /pub/*\n\t\tlogin_flow POST /reset\n\t\tenroll directory", 1)
		g := start(app.addr, block)
		b := g.browser(t)
		b.password("alice", alicePassword).code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker)
		inner := "GET /smuggled HTTP/1.1\r\nHost: " + g.addr() + "\r\n\r\n"
		n := fmt.Sprint(len(inner))
		if g.tls != nil {
			// HTTP/2 has its own frames: a length that they do not confirm, and
			// Transfer-Encoding, which is none of it (RFC 9113 8.1.1, 8.2.2).
			for name, f := range map[string][2]string{"length": {"content-length", "5"}, "chunked": {"transfer-encoding", "chunked"}, "two lengths": {"content-length", "0, 5"}} {
				before := len(app.since(0))
				s := wire.HTTP2(t, g.addr(), "example.com", true, [2]string{":method", "POST"}, [2]string{":scheme", "https"}, [2]string{":authority", g.addr()},
					[2]string{":path", "/pub/x"}, [2]string{"cookie", b.handle()}, f)
				for _, r := range app.since(before) {
					if body, _ := io.ReadAll(r.Body); len(body) > 0 || r.ContentLength > 0 {
						t.Errorf("%s: %d, the application saw %d bytes", name, s.Status, len(body))
					}
				}
			}
			return
		}
		statuses := func(path, head, body string) (out []int) {
			for _, a := range wire.HTTP1(t, g.addr(), "POST "+path+" HTTP/1.1\r\nHost: "+g.addr()+"\r\nCookie: "+b.handle()+
				"\r\nContent-Type: application/x-www-form-urlencoded\r\n"+head+"\r\n"+body, 100*time.Millisecond) {
				out = append(out, a.StatusCode)
			}
			return out
		}
		paths := []string{"/pub/x", "/reset", "/login", "/report"}
		before := len(app.since(0))
		for name, tc := range map[string]struct{ head, body string }{
			"two lengths":                {"Content-Length: 0\r\nContent-Length: " + n + "\r\n", inner},
			"a list of lengths":          {"Content-Length: 0, " + n + "\r\n", inner},
			"signed length":              {"Content-Length: +0\r\n", inner},
			"hexadecimal length":         {"Content-Length: 0x0\r\n", inner},
			"length and unknown coding":  {"Content-Length: " + n + "\r\nTransfer-Encoding: xchunked\r\n", inner},
			"two codings":                {"Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n" + inner},
			"coding twice":               {"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n" + inner},
			"blank before the colon":     {"Transfer-Encoding : chunked\r\nContent-Length: " + n + "\r\n", inner},
			"vertical tab in the coding": {"Transfer-Encoding: \vchunked\r\nContent-Length: " + n + "\r\n", inner},
			"NUL in a field":             {"X: a\x00b\r\nContent-Length: 0\r\n", inner},
			"bare CR in a field":         {"X: a\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n", inner},
		} {
			for _, path := range paths {
				if got := statuses(path, tc.head, tc.body); len(got) != 1 || got[0] != http.StatusBadRequest && got[0] != http.StatusNotImplemented {
					t.Errorf("%s, %s: %v", name, path, got)
				}
			}
		}
		for _, r := range app.since(before) {
			t.Errorf("the application saw %s of a head that can be read in two ways", r.URL)
		}
		// A body that breaks off in its framing. The head may have been forwarded
		// by then: the application gets half a request, and no second one.
		for name, body := range map[string]string{
			"bare LF after the size":  "1\nA\r\n0\r\n\r\n" + inner,
			"bare LF in an extension": "2;\nxx\r\n4c\r\n" + strings.Repeat("A", 0x4c) + "\r\n0\r\n\r\n" + inner,
			"bare CR after the size":  "1\rA\r\n0\r\n\r\n" + inner,
			"a minus in the size":     "-1\r\nA\r\n0\r\n\r\n" + inner,
			"a size too large":        "fffffffffffffffff\r\nA\r\n0\r\n\r\n" + inner,
			"no CRLF after the data":  "1\r\nAB0\r\n\r\n" + inner,
		} {
			for _, path := range paths {
				got := statuses(path, "Transfer-Encoding: chunked\r\n", body)
				if len(got) == 0 || got[0] < 400 {
					t.Errorf("%s, %s: %v", name, path, got)
				}
			}
		}
		// Chunked and a length: RFC 9112 6.3 lets chunked win. What reaches the
		// application has one length, and the rest is our client's own next
		// request, which the gate judges like any other.
		for _, head := range []string{"Transfer-Encoding: chunked\r\n", "Transfer-Encoding:\r\n chunked\r\n"} {
			for _, path := range paths {
				if got := statuses(path, "Content-Length: "+n+"\r\n"+head, "0\r\n\r\n"+inner); len(got) == 0 {
					t.Errorf("chunked and a length, %s: no answer", path)
				}
			}
		}
		time.Sleep(200 * time.Millisecond) // a request that was cut off is recorded late
		for _, r := range app.since(before) {
			if body, _ := io.ReadAll(r.Body); strings.Contains(r.URL.Path, "smuggled") || strings.Contains(string(body), "smuggled") {
				t.Errorf("the application saw %s with %q", r.URL, body)
			}
		}
	})
}

// ntlm is an application that identifies the connection, as NTLM and
// Negotiate do: whoever has shown a password on it is the user of all that
// follows on it.
type ntlm struct {
	mu    sync.Mutex
	users map[string]string // by the connection's address
	seen  int               // Authorization fields
}

func (n *ntlm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := r.Header.Get("Authorization"); a != "" {
		n.seen++
		if user, ok := strings.CutPrefix(a, "NTLM user="); ok {
			n.users[r.RemoteAddr] = user
		}
	}
	if user := n.users[r.RemoteAddr]; user != "" {
		_, _ = io.WriteString(w, "connection of "+user)
		return
	}
	w.Header().Add("WWW-Authenticate", "Negotiate")
	w.Header().Add("WWW-Authenticate", "NTLM")
	w.WriteHeader(http.StatusUnauthorized)
}

func TestAttack_D11_ConnectionsAreNobodys(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(string, string, ...edit) *gate) {
		conns := &ntlm{users: map[string]string{}}
		demo := demoapp.New()
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/intranet") || strings.HasPrefix(r.URL.Path, "/pub/") {
				conns.ServeHTTP(w, r)
				return
			}
			demo.ServeHTTP(w, r)
		}))
		t.Cleanup(srv.Close)
		g := start(srv.Listener.Addr().String(), strings.Replace(directoryBlock, "enroll directory", "public /pub/*\n\t\tenroll directory", 1))
		b := g.browser(t)
		b.password("alice", alicePassword).code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker)
		for _, path := range []string{"/intranet", "/pub/x"} {
			for _, scheme := range []string{"NTLM user=alice", "Negotiate user=alice", "ntlm user=alice"} {
				b.get(path, "Authorization", scheme, "Connection", "keep-alive").mustNotHave("connection of")
			}
		}
		bob := g.browser(t)
		bob.password("bob", bobPassword).code(g.phones.last(t, bobPhone)).mustHave(demoapp.Marker)
		for range 20 { // over whatever connections the proxy keeps
			bob.get("/intranet").mustNotHave("connection of")
			g.browser(t).get("/pub/x").mustNotHave("connection of")
		}
		if conns.seen > 0 {
			t.Fatalf("%d Authorization fields reached the application", conns.seen)
		}
	})
}

// echo is an application that upgrades every request and sends back what it gets.
func echo(t *testing.T) (*recorder, string) {
	rec := &recorder{}
	demo := demoapp.New()
	rec.app = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			demo.ServeHTTP(w, r)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(c, rw)
	})
	srv := httptest.NewServer(rec)
	t.Cleanup(srv.Close)
	return rec, srv.Listener.Addr().String()
}

func TestAttack_B5_SocketsNeedProofAndEndWithIt(t *testing.T) {
	// Go's server offers extended CONNECT only where this is set.
	offer := func(g *gate, text string) string { g.env = append(g.env, "GODEBUG=http2xconnect=1"); return text }
	everywhere(t, func(t *testing.T, start func(string, string, ...edit) *gate) {
		app, addr := echo(t)
		g := start(addr, strings.Replace(directoryBlock, "enroll directory", "public * /pub/*\n\t\tenroll directory", 1), offer)
		open := func(path, cookie string) io.ReadWriteCloser {
			if g.tls != nil {
				s := wire.HTTP2(t, g.addr(), "example.com", false, [2]string{":method", "CONNECT"}, [2]string{":protocol", "websocket"}, [2]string{":scheme", "https"},
					[2]string{":authority", g.addr()}, [2]string{":path", path}, [2]string{"sec-websocket-version", "13"}, [2]string{"cookie", cookie})
				if !s.ExtendedConnect {
					t.Fatal("the server does not offer extended CONNECT: this test would test nothing")
				}
				if s.Status != http.StatusOK {
					return nil
				}
				return s
			}
			c, err := net.Dial("tcp", g.addr())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetDeadline(time.Now().Add(15 * time.Second))
			_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, g.addr(), cookie)
			r := bufio.NewReader(c)
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
				return nil
			}
			return struct {
				io.Reader
				io.WriteCloser
			}{r, c}
		}
		pending := g.browser(t)
		pending.password("alice", alicePassword)
		for _, cookie := range []string{"", pending.handle(), demoapp.Cookie + "=x"} {
			for _, path := range []string{"/socket", "/pub/socket", "/login", "/style.css", "/mfa"} {
				if open(path, cookie) != nil {
					t.Errorf("%s opens a socket without proof", path)
				}
			}
		}
		for _, r := range app.since(0) {
			if r.Header.Get("Upgrade") != "" {
				t.Errorf("%s reached the application as an upgrade", r.URL)
			}
		}
		b := g.browser(t)
		b.password("bob", bobPassword).code(g.phones.last(t, bobPhone)).mustHave(demoapp.Marker)
		s := open("/socket", b.handle())
		if s == nil {
			t.Fatal("a verified session opens no socket")
		}
		if _, err := io.WriteString(s, "ping"); err != nil {
			t.Fatal(err)
		}
		back := make([]byte, 4)
		if _, err := io.ReadFull(s, back); err != nil || string(back) != "ping" {
			t.Fatalf("%q, %v", back, err)
		}
		begin := time.Now()
		b.get("/logout")
		if _, err := io.ReadFull(s, back); err == nil || time.Since(begin) > 6*time.Second {
			t.Fatalf("the socket of an ended session lives on: %v after %s", err, time.Since(begin))
		}
	})
}

// FastCGI hands the original address on as REQUEST_URI, and many PHP applications
// route and parse by it alone.
func TestAttack_K2_TheOriginalAddressSaysWhatIsForwarded(t *testing.T) {
	everywhere(t, func(t *testing.T, start func(string, string, ...edit) *gate) {
		app := record(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() { _ = fcgi.Serve(l, app) }()
		block := strings.Replace(directoryBlock, "enroll directory", "public /pub/*\n\t\tlogin_flow /start query do=login\n\t\tcredential query api_key\n\t\tenroll directory", 1)
		g := start(l.Addr().String(), block, func(_ *gate, text string) string {
			return strings.Replace(text, "reverse_proxy "+l.Addr().String(), "reverse_proxy "+l.Addr().String()+" {\n\t\ttransport fastcgi\n\t}", 1)
		})
		b := g.browser(t)
		b.password("alice", alicePassword).code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker)
		verified := [2]string{"Cookie", b.handle()}
		for _, tc := range []struct{ target, want string }{
			{"/pub/x?a=1&api_key=k", "/pub/x?a=1"},
			{"/start?do=login&rest_route=/users", "/start?do=login"},
			{"/style.css?rest_route=/users", "/style.css"},
		} {
			before := len(app.since(0))
			status := g.send(t, http.MethodGet, g.addr(), tc.target)
			if got := app.since(before); len(got) != 1 || got[0].URL.RequestURI() != tc.want {
				t.Errorf("%s: %d %v", tc.target, status, uris(got))
			}
		}
		for target, want := range map[string]string{
			"/report;jsessionid=1?q=2&api_key=k": "/report?q=2",
			"/report?q=1;2":                      "/report?q=1;2",
		} {
			before := len(app.since(0))
			g.send(t, http.MethodGet, g.addr(), target, verified)
			if got := app.since(before); len(got) != 1 || got[0].URL.RequestURI() != want {
				t.Errorf("%s: %v", target, uris(got))
			}
		}
	})
}

func uris(rs []*http.Request) (out []string) {
	for _, r := range rs {
		out = append(out, r.URL.RequestURI())
	}
	return out
}
