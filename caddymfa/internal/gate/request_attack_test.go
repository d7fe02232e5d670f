package gate_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
	"github.com/caddymfa/caddymfa/test/wire"
)

// odd are spellings of paths that start in the public folder, or look like the
// login page, and lead elsewhere in some server.
var odd = []string{
	"/public/../home", "//public/../home", "/public/./../home", "/public//..//home", "/public/..", "/public/%2e%2e/home", "/public/..%2fhome",
	"/public/%2e%2e%2fhome", "/public/%252e%252e/home", "/public/..;/home", "/public/%2e%2e%3b/home", "/public/..\\home", "/public/..%5chome",
	"/public/..%00/home", "/public/%00/../home", "/public/..%c0%afhome", "/public/..%ef%bc%8fhome", "/public/x;y", "/public/x%20", "/public/x%09",
	"/public/%2570", "/public/x./", "/public/x.", "/public/x//y", "/public/x/./y", "//public/x", "/./public/x", "/x/../public/y", "/%70ublic/x",
	"/public%2fx", "/public;/x", "/public/x%0d%0aSet-Cookie:a=b", "/public/x%ff", "/public/ä", "/public/x|y", "/public/\"x\"", "/public/x%3f",
	"/home/a.css%00", "/home;a.css", "/home/%2e/a.css", "/home/a.css/", "/home%2fa.css", "/login/../home", "/login/x", "/login;x", "/login%00", "/login.",
	"/login%20", "/login%2f", "//login", "/%6cogin", "/LOGIN%2e", "/x/..;/login", "/mfa/../home", "/mfa/..%2fhome", "/mfa%2f..%2fhome", "/mfa/assets/../../home",
	"/mfa/assets/%2e%2e/%2e%2e/home", "/mfa;/x", "//mfa/status/../../home", "/home?x=/public/", "/home?/public/x", "/home#/public/",
}

func TestAttack_C1_C4_C5_B4_OddPathsOpenNothing(t *testing.T) {
	if len(odd) < 60 {
		t.Fatalf("only %d spellings", len(odd))
	}
	each(t, func(t *testing.T, w *world) {
		for _, path := range odd {
			before := len(w.app.requests())
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				status := raw(t, w, method, path)
				if status == 200 && !strings.HasPrefix(path, "/mfa") || status >= 500 {
					t.Errorf("%s %s: %d", method, path, status)
				}
			}
			for _, r := range w.app.requests()[before:] {
				t.Errorf("%s reached the application as %s", path, r)
			}
		}
	})
}

// raw sends a target and fields as they stand; a field :authority is the host.
// The status is 0 where the server refused to answer.
func raw(t *testing.T, w *world, method, target string, fields ...[2]string) int {
	t.Helper()
	addr := w.nodes[0].Listener.Addr().String()
	if w.http2 {
		head := [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "127.0.0.1"}, {":path", target}, {"accept", "text/html"}}
		for _, f := range fields {
			if f[0] == ":authority" {
				head[2] = f
				continue
			}
			head = append(head, [2]string{strings.ToLower(f[0]), f[1]})
		}
		return wire.HTTP2(t, addr, "127.0.0.1", true, head...).Status
	}
	host, text := "127.0.0.1", "Accept: text/html\r\nContent-Length: 0\r\n"
	for _, f := range fields {
		if f[0] == ":authority" {
			host = f[1]
			continue
		}
		text += f[0] + ": " + f[1] + "\r\n"
	}
	if !strings.Contains(text, "Connection") {
		text += "Connection: close\r\n"
	}
	answers := wire.HTTP1(t, addr, method+" "+target+" HTTP/1.1\r\nHost: "+host+"\r\n"+text+"\r\n", 50*time.Millisecond)
	if len(answers) == 0 {
		return 0
	}
	return answers[0].StatusCode
}

func TestPublicPathsPassWithoutCookiesAndCredentials(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, path := range []string{"/public/x", "/PUBLIC/x", "/public/a/b.html?q=1", "/style.css", "/a/b.woff2"} {
			c := w.browser()
			c.cookies["SID"] = "x"
			head := []string{"Authorization", "Basic x", "X-Original-URL", "/home"}
			if !w.http2 { // HTTP/2 has no such fields (RFC 9113 8.2.2)
				head = append(head, "Upgrade", "websocket", "Connection", "Upgrade, X-Forwarded-For")
			}
			c.get(path, head...)
			last := w.app.requests()
			if last[len(last)-1] != "GET "+path {
				t.Errorf("%s did not reach the application: %d", path, c.status)
				continue
			}
			for _, name := range []string{"Cookie", "Authorization", "X-Original-Url", "Upgrade", "Connection"} {
				if v := w.app.head().Values(name); len(v) > 0 {
					t.Errorf("%s: %s: %v", path, name, v)
				}
			}
			if len(c.head["Set-Cookie"]) > 0 {
				t.Errorf("%s: %v", path, c.head["Set-Cookie"])
			}
		}
	})
}

func TestAttack_C5_J4_TargetsThatAreReadInTwoWaysAreNotForwarded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		before := len(w.app.requests())
		for _, target := range []string{
			"/public/x#y", "/public/x?a=1#b", "/login#x", "/public/x?a=1;b=2", "/login?next=1;user=alice", "/a.css?x=%zz", "/public/x?a=%00", "/public/x?a=%01",
			"/public/x?a=%ff", "/public/x?" + strings.Repeat("a&", 300), "/public/x?" + strings.Repeat("a", 9000),
		} {
			if status := raw(t, w, "GET", target); status != http.StatusBadRequest && status != 0 {
				t.Errorf("%.40s: %d", target, status)
			}
		}
		if n := len(w.app.requests()); n != before {
			t.Errorf("the application saw %.200v", w.app.requests()[before:])
		}
	})
}

// An application that answers every address itself, as WordPress does, reads
// "/x.css?rest_route=/wp/v2/posts" as a question about posts.
func TestAttack_B4_AnAssetTakesNoQuery(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.browser().get("/x.css?rest_route=/wp/v2/posts&ver=1")
		if last := w.app.requests(); last[len(last)-1] != "GET /x.css" {
			t.Error(last[len(last)-1])
		}
		paths, err := match.ParsePaths([]string{"/static/*", "/favicon.ico"})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range w.gates {
			g.AssetPaths = paths
		}
		before := len(w.app.requests())
		for _, path := range []string{"/x.css", "/attachments/1/secret.png", "/static/x.html", "/x/static/x.css", "/static/../x.css", "/static//x.css"} {
			if c := w.browser().get(path); len(w.app.requests()) != before || c.status == http.StatusOK {
				t.Errorf("%s reached the application: %d", path, c.status)
			}
		}
		for _, path := range []string{"/static/x.css", "/static/a/b.woff2", "/favicon.ico"} {
			w.browser().get(path)
			if last := w.app.requests(); last[len(last)-1] != "GET "+path {
				t.Errorf("%s did not reach the application", path)
			}
		}
	})
}

func TestAttack_C2_HostSpellingsAreOneSite(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().signIn("alice")
		for _, host := range []string{"127.0.0.1", "127.0.0.1:80", "127.0.0.1."} {
			if c.get("/home", "Host", host); c.body != marker+" of alice" {
				t.Errorf("%s: %d", host, c.status)
			}
		}
		before := len(w.app.requests())
		for _, host := range []string{"evil example", "127.0.0.1/x", "a@127.0.0.1", "127.0.0.1:80:80", "\t127.0.0.1\x7f", "..."} {
			if status := raw(t, w, "GET", "/home", [2]string{":authority", host}, [2]string{"Cookie", w.cookie() + "=" + c.handle()}); status == http.StatusOK || status >= 500 {
				t.Errorf("%q: %d", host, status)
			}
		}
		if n := len(w.app.requests()); n != before {
			t.Errorf("a malformed host reached the application: %v", w.app.requests()[before:])
		}
	})
}

func TestAttack_C7_C8_C9_D5_MethodsAndHeadersDoNotHelp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		before := len(w.app.requests())
		for _, method := range []string{"HEAD", "OPTIONS", "PROPFIND", "PUT", "PATCH", "DELETE", "TRACE", "FOO", "get", "POST"} {
			c := w.browser()
			if c.do(method, "/home", ""); c.status < 300 {
				t.Errorf("%s: %d", method, c.status)
			}
		}
		for _, target := range []string{"/home?_method=GET", "/home?_method=OPTIONS", "/home?x-http-method-override=GET"} {
			if c := w.browser().post(target, url.Values{"_method": {"GET"}}); c.status < 400 {
				t.Errorf("%s: %d", target, c.status)
			}
		}
		if status := raw(t, w, "CONNECT", "/home"); status == http.StatusOK || status >= 500 {
			t.Errorf("CONNECT: %d", status)
		}
		for _, head := range [][]string{
			{"X-Original-URL", "/public/x"},
			{"X-Rewrite-URL", "/public/x"},
			{"X-Forwarded-Uri", "/public/x"},
			{"X-Script-Name", "/public"},
			{"X-HTTP-Method-Override", "GET"},
			{"X-HTTP-Method", "GET"},
			{"X-Method-Override", "GET"},
			{"User-Agent", "Googlebot"},
			{"User-Agent", ""},
			{"X-Forwarded-For", "127.0.0.1"},
			{"X-Real-IP", "127.0.0.1"},
			{"Forwarded", "for=127.0.0.1"},
			{"Remote-User", "alice"},
			{"X-Mfa-User", "alice"},
			{"Sec-Fetch-Mode", "navigate"},
			{"X-Requested-With", "XMLHttpRequest"},
			{"Purpose", "prefetch"},
		} {
			if c := w.browser().get("/home", head...); c.status == http.StatusOK {
				t.Errorf("%v: %d", head, c.status)
			}
		}
		if n := len(w.app.requests()); n != before {
			t.Errorf("the application saw %v", w.app.requests()[before:])
		}
		w.browser().do(http.MethodGet, "/public/x", "", "X-HTTP-Method-Override", "DELETE", "X-HTTP-Method", "DELETE", "X-Method-Override", "DELETE")
		for _, name := range []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"} {
			if v := w.app.head().Values(name); len(v) > 0 {
				t.Errorf("%s reached the application before the code: %v", name, v)
			}
		}
		c := w.browser().signIn("alice")
		c.get("/home", "X-Forwarded-Uri", "/admin", "X-Original-URL", "/admin", "X-Rewrite-URL", "/admin", "X-Script-Name", "/x", "X-Forwarded-Prefix", "/y")
		for _, name := range []string{"X-Original-Url", "X-Rewrite-Url", "X-Forwarded-Uri", "X-Script-Name", "X-Forwarded-Prefix"} {
			if v := w.app.head().Values(name); len(v) > 0 {
				t.Errorf("%s reached the application: %v", name, v)
			}
		}
	})
}

func TestAttack_D3_ConnectionHeaderTakesNothingAway(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().signIn("alice")
		if w.http2 {
			before := len(w.app.requests())
			if status := raw(t, w, "GET", "/home", [2]string{"Cookie", w.cookie() + "=" + c.handle()}, [2]string{"Connection", "Cookie"}); status == http.StatusOK || len(w.app.requests()) != before {
				t.Fatalf("HTTP/2 has no Connection: %d", status)
			}
			return
		}
		c.get("/home", "Connection", "Cookie, X-Forwarded-For")
		if v := w.app.head().Get("Connection"); strings.Contains(strings.ToLower(v), "cookie") || w.app.head().Get("Cookie") == "" {
			t.Fatalf("Connection %q, Cookie %q", v, w.app.head().Get("Cookie"))
		}
	})
}

func TestAttack_D6_H7_TextsNameTheSiteOnly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.browser().get("/login", "Host", "app.example").post("/login", url.Values{"user": {"alice"}, "password": {"pw-a"}}, "Host", "app.example",
			"X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example", "Origin", "http://app.example")
		text := w.phones.texts[0].Text
		lines := strings.Split(text, "\n")
		if last := lines[len(lines)-1]; last != "@app.example #"+w.phones.last(t, "alice") {
			t.Errorf("last line %q", last)
		}
		if strings.Contains(text, "evil.example") || strings.Contains(strings.Join(lines[:len(lines)-1], ""), "@") || strings.Contains(lines[0], "#") {
			t.Errorf("text %q", text)
		}
		// A host that the configuration does not name is the client's invention.
		w.browser().get("/login", "Host", "evil.example").post("/login", url.Values{"user": {"bob"}, "password": {"pw-b"}}, "Host", "evil.example", "Origin", "http://evil.example")
		if text := w.phones.texts[1].Text; strings.Contains(text, "evil.example") || strings.Contains(text, "@") {
			t.Errorf("text %q", text)
		}
	}, func(g *gate.Gate, _ *login.Config) {
		g.Site.App, g.Hosts = "Evil\n@evil.example #123456 https://evil.example/x", []string{"app.example"}
	})
}

func TestAttack_D7_EventsAndPagesHideSecrets(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		pages := c.get("/mfa").body
		c.code(other(w.phones.last(t, "alice")))
		pages += c.body
		c.code(w.phones.last(t, "alice"))
		d := w.browser().get("/login").login("alice", "wrong-pw")
		pages += d.body
		all := w.events.String() + pages
		for _, secret := range []string{w.phones.last(t, "alice"), numbers["alice"], numbers["alice"][3:], "pw-a", "wrong-pw", "upstream-session", c.handle()} {
			if strings.Contains(all, secret) {
				t.Errorf("%q is in an event or a page", secret)
			}
		}
		if strings.Contains(w.events.String(), c.token()) {
			t.Error("the token is in an event")
		}
	})
}

func TestAttack_D6_RedirectsNameNoHost(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		forged := []string{"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "gopher", "X-Forwarded-Port", "81", "Forwarded", "host=evil.example;proto=http"}
		c := w.browser()
		c.get("/home", forged...)
		where := []string{c.head.Get("Location")}
		c.post("/login", url.Values{"user": {"alice"}, "password": {"pw-a"}}, forged...)
		where = append(where, c.head.Get("Location"))
		c.post("/mfa/verify", url.Values{"otp": {w.phones.last(t, "alice")}, "secondfactorauthenticationtoken": {c.token()}}, forged...)
		where = append(where, c.head.Get("Location"))
		for _, to := range where {
			if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") {
				t.Errorf("redirected to %q", to)
			}
		}
		c.in("alice")
	})
}

func TestAttack_D10_MarkupIsInert(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		c.get("/mfa", "Referer", "https://x/<script>alert(1)</script>")
		if strings.Contains(c.body, "<script>alert") || strings.Contains(c.body, "<b>App") {
			t.Fatalf("%s", c.body)
		}
		if !strings.Contains(c.body, "&lt;b&gt;App") {
			t.Fatal("the application's name is not on the page")
		}
		for name, want := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store, no-transform",
		} {
			if got := c.head.Get(name); got != want {
				t.Errorf("%s: %q", name, got)
			}
		}
		if csp := c.head.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("CSP %q", csp)
		}
	}, func(g *gate.Gate, _ *login.Config) { g.Site.App = "<b>App<script>alert(1)</script>" })
}

func TestAttack_B5_D8_UpgradesNeedProofAndEndWithIt(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		l := newLegacy()
		ended := make(chan struct{}, 1)
		w := newWorld(t, open(t), 2, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/stream" && r.Header.Get("Cookie") != "" {
				rw.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(rw).Flush()
				<-r.Context().Done()
				ended <- struct{}{}
				return
			}
			l.ServeHTTP(rw, r)
		}))
		for _, up := range []string{"websocket", "h2c", "foo"} {
			for _, path := range []string{"/stream", "/public/stream", "/login"} {
				status := raw(t, w, "GET", path, [2]string{"Upgrade", up}, [2]string{"Connection", "Upgrade"})
				if status == http.StatusSwitchingProtocols || w.http2 && status == http.StatusOK {
					t.Errorf("%s %s: %d", path, up, status)
				}
			}
		}
		for i, h := range w.app.heads {
			if h.Get("Upgrade") != "" || h.Get("Connection") != "" {
				t.Errorf("%s reached the application with %v", w.app.seen[i], h)
			}
		}
		c := w.browser().signIn("alice")
		raw(t, w, "GET", "/home", [2]string{"Cookie", w.cookie() + "=" + c.handle()}, [2]string{"Upgrade", "h2c"}, [2]string{"Connection", "Upgrade, HTTP2-Settings"}, [2]string{"HTTP2-Settings", "AAMAAABkAAQAAP__"})
		if h := w.app.head(); h.Get("Upgrade") != "" || h.Get("Http2-Settings") != "" {
			t.Errorf("h2c was forwarded: %v", h)
		}
		for node, limit := range []time.Duration{2 * time.Second, 6 * time.Second} {
			c := w.browser().signIn("alice")
			req, _ := http.NewRequest(http.MethodGet, w.nodes[node].URL+"/stream", nil)
			req.AddCookie(&http.Cookie{Name: w.cookie(), Value: c.handle()})
			res, err := w.nodes[node].Client().Do(req)
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatalf("the stream of a verified session: %v", err)
			}
			c.get("/logout") // at the first node
			select {
			case <-ended:
			case <-time.After(limit):
				t.Errorf("node %d: the stream is still open", node)
			}
			_ = res.Body.Close()
		}
	})
}

func TestAttack_B5_ExtendedConnectNeedsProof(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, major := range []int{2, 3} { // where net/http and quic-go keep the protocol
			for _, path := range []string{"/public/socket", "/login", "/a.css", "/home"} {
				r := httptest.NewRequest(http.MethodConnect, "https://127.0.0.1"+path, nil)
				r.ProtoMajor, r.URL.Path = major, path
				if major == 2 {
					r.Header.Set(":protocol", "websocket")
				} else {
					r.Proto = "websocket"
				}
				in := gate.Input{Method: r.Method, URL: r.URL, Secure: true, Server: deaf("192.0.2.1")}
				rw := httptest.NewRecorder()
				_, err := w.gates[0].Serve(rw, r, in, upstream.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
					t.Errorf("HTTP/%d: %s reached the application", major, path)
					return nil
				}))
				if err != nil || rw.Code < 300 {
					t.Errorf("HTTP/%d: %s: %d, %v", major, path, rw.Code, err)
				}
			}
		}
	}, func(g *gate.Gate, _ *login.Config) {
		g.Public = []*match.Entry{entry(t, match.Request{Methods: []string{"*"}, Paths: []string{"/public/*"}})}
	})
}

func TestAnonymousNavigationsAndProgramsGetDifferentAnswers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser()
		if c.get("/home?x=1&y=ä"); c.status != http.StatusSeeOther || c.head.Get("Location") != "/login?next=%2Fhome%3Fx%3D1%26y%3D%C3%A4" {
			t.Errorf("navigation: %d %s", c.status, c.head.Get("Location"))
		}
		if c.get("/home", "Accept", "*/*"); c.status != http.StatusUnauthorized || c.head.Get("WWW-Authenticate") != "MFA" || !strings.Contains(c.head.Get("Content-Type"), "json") {
			t.Errorf("program: %d %v", c.status, c.head)
		}
		if c.post("/form", url.Values{"a": {"b"}}); c.status != http.StatusUnauthorized || !strings.Contains(c.body, "Your form was not sent") {
			t.Errorf("form: %d %s", c.status, c.body)
		}
		if c.get("/home", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"); c.status != http.StatusUnauthorized || c.head.Get("X-Frame-Options") != "" || !strings.Contains(c.body, `target="_top"`) {
			t.Errorf("frame: %d %s", c.status, c.body)
		}
		c.get("/login").login("alice", "pw-a")
		if c.get("/home", "Accept", "application/json"); c.status != http.StatusForbidden || !strings.Contains(c.body, `"IsOTPAuthenticatorVerified":true`) || !strings.Contains(c.body, `"OTPStatus":{`) {
			t.Errorf("pending program: %d %s", c.status, c.body)
		}
	})
}

func TestLoginPageThatLeadsToAGatedPageIsNoLoop(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := newWorld(t, open(t), 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}))
		c := w.browser()
		if c.get("/login"); c.status != http.StatusBadGateway || !strings.Contains(c.body, "leads nowhere") {
			t.Fatalf("%d %s", c.status, c.body)
		}
		if w.events.count(event.Refused, event.LoginLoop) != 1 {
			t.Fatal("no event")
		}
	})
}

func TestDeepLinkAndQueryOfTheLoginPage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser()
		c.get("/login?next=%2Freport&evil=1")
		last := w.app.requests()
		if last[len(last)-1] != "GET /login?next=%2Freport" {
			t.Fatalf("the application saw %s", last[len(last)-1])
		}
	})
}

func TestPolicyOptionalAndOff(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if c := w.browser().get("/login").login("bob", "pw-b"); c.head.Get("Location") != "/home" {
			t.Fatalf("a user without a number: %d %s", c.status, w.events)
		} else {
			c.in("bob")
		}
		w.browser().signIn("alice")
	}, func(g *gate.Gate, _ *login.Config) {
		g.Site.Policy = "optional"
		g.Flow.Directory = directory{"alice": numbers["alice"]}
	})
}

func TestErrorsOfTheApplicationDoNotReachTheErrorRoutes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		v := w.browser().signIn("alice")
		w.app.fail = errors.New("connection refused")
		for _, path := range []string{"/login", "/public/x"} {
			if c := w.browser().get(path); c.status != http.StatusBadGateway || c.returned() {
				t.Errorf("%s: %d", path, c.status)
			}
		}
		if c := w.browser().login("alice", "pw-a"); c.status != http.StatusBadGateway || c.returned() {
			t.Errorf("login: %d", c.status)
		}
		if v.get("/home"); !v.returned() {
			t.Error("a verified session gets the site's own error page")
		}
	})
}

func TestAttack_J16_FloodOfVisitorsIsNoticedByNobodyElse(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		v := w.browser().signIn("alice")
		before := w.store.size()
		flood := w.browser()
		flood.addr = "203.0.113.7"
		for range 130 {
			flood.cookies = map[string]string{}
			if flood.get("/login"); flood.status != http.StatusOK {
				t.Fatalf("a visitor: %d", flood.status)
			}
		}
		if n := w.store.size() - before; n != 0 {
			t.Fatalf("visitors wrote %d bytes", n)
		}
		v.in("alice")
		w.browser().signIn("bob")
	})
}

func TestLoginByAScriptLeadsBackToItsPage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for referer, want := range map[string]string{
			"http://127.0.0.1/app?x=1#f": "/app?x=1", "http://evil.example/app": "/", "": "/", "http://127.0.0.1//evil.example": "/",
		} {
			c := w.browser()
			c.post("/api/login", url.Values{"user": {"alice"}, "password": {"pw-a"}}, "Accept", "application/json", "Referer", referer)
			if c.code(w.phones.last(t, "alice")); c.head.Get("Location") != want {
				t.Errorf("%q leads to %q", referer, c.head.Get("Location"))
			}
			c.in("alice")
		}
	})
}

func TestCancelAndSignOut(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().get("/login").login("alice", "pw-a")
		old := c.copy()
		if c.post("/mfa/cancel", url.Values{"secondfactorauthenticationtoken": {c.token()}}); c.status != http.StatusSeeOther || len(c.cookies) != 0 {
			t.Fatalf("%d %v", c.status, c.cookies)
		}
		old.out()
		c.signIn("alice")
		if c.post("/mfa/logout", url.Values{}); c.status != http.StatusForbidden {
			t.Fatalf("without a token: %d", c.status)
		}
		c.post("/mfa/logout", url.Values{"secondfactorauthenticationtoken": {c.token()}})
		c.out()
	})
}
