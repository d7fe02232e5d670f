package gate_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// reader is an application that remembers the bodies that it gets.
type reader struct {
	http.Handler
	mu   sync.Mutex
	got  []string // content type and body
	last http.Header
}

func (a *reader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	a.mu.Lock()
	if r.Method == http.MethodPost {
		a.got = append(a.got, r.Header.Get("Content-Type")+"|"+string(body))
	}
	a.last = r.Header.Clone()
	maps.Copy(a.last, r.Trailer)
	a.mu.Unlock()
	a.Handler.ServeHTTP(w, r)
}

// taken is what the application got since it was asked last.
func (a *reader) taken() (got []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	got, a.got = a.got, nil
	return got
}

// anyPath is a rule for logins at every address.
func anyPath(g *gate.Gate, r *login.Config) {
	r.Paths, r.AnyPath, r.Fields = nil, true, []string{"user", "password"}
	g.LoginPage.Next = ""
}

// TestAttack_K1_K2_TheApplicationGetsWhatWasRead: whatever a client sends to where
// a login could be, at every level, the application gets a body of ours or none.
func TestAttack_K1_K2_TheApplicationGetsWhatWasRead(t *testing.T) {
	const dis = "Content-Disposition: form-data; name="
	part := func(head, value string) string {
		return "--b\r\n" + head + "\r\n\r\n" + value + "\r\n--b--\r\n"
	}
	bodies := []struct{ kind, body string }{
		{"multipart/form-data; boundary=b", part(dis+"'user'", "bob")},
		{"multipart/form-data; boundary=b", part(dis+`"x"`, "a--b\r\n"+dis+"\"user\"\r\n\r\nbob")},
		{"multipart/form-data; boundary=\"b\"", "--b\r\n" + part(dis+"\"user\"; filename=\"\"", "bob")},
		{"multipart/form-data; boundary=b", strings.ReplaceAll(part(dis+`"user"`, "bob"), "\r\n", "\n")},
		{"multipart/form-data; boundary=b; boundary=c", part(dis+`"user"`, "bob")},
		{"multipart/form-data; boundary=b", "--c\r\n" + dis + "\"user\"\r\n\r\nbob\r\n--c--\r\n" + part(dis+`"x"`, "y")},
		{"application/x-www-form-urlencoded", "a=1;user=bob;password=pw-b"},
		{"application/x-www-form-urlencoded", "a=1\r\nuser=bob&password=x"},
		{"application/x-www-form-urlencodedx", "user=bob&password=pw-b"},
		{"application/x-www-form-urlencoded; charset=utf-16", "user=bob&password=pw-b"},
		{"text/plain, application/x-www-form-urlencoded", "user=bob&password=pw-b"},
		{"", "user=bob&password=pw-b"},
	}
	for name, cfg := range map[string]config{"paths": func(*gate.Gate, *login.Config) {}, "any path": anyPath} {
		t.Run(name, func(t *testing.T) {
			stores(t, func(t *testing.T, open func(t *testing.T) backend) {
				app := &reader{Handler: newLegacy()}
				w := newWorld(t, open(t), 1, app, cfg, func(g *gate.Gate, _ *login.Config) {
					g.LoginFlow = []*match.Entry{entry(t, match.Request{Methods: []string{"POST"}, Paths: []string{"/reset"}})}
					g.Public = append(g.Public, entry(t, match.Request{Methods: []string{"POST"}, Paths: []string{"/hook"}}))
				})
				pending := w.browser().get("/login").login("bob", "pw-b")
				app.taken()
				for _, c := range []*client{w.browser(), pending.copy(), w.browser().signIn("alice")} {
					for _, target := range []string{"/login", "/reset", "/hook", "/home"} {
						for _, b := range bodies {
							d := c.copy()
							app.taken()
							if d.do(http.MethodPost, target, b.body, "Content-Type", b.kind); strings.Contains(d.body, "of bob") {
								t.Fatalf("%s %q %q: %s", target, b.kind, b.body, d.body)
							}
							for _, got := range app.taken() {
								kind, body, _ := strings.Cut(got, "|")
								switch {
								case name == "paths" && target == "/home": // no rule is about it
								case strings.HasPrefix(kind, "multipart/form-data; boundary=caddymfa-") && strings.HasPrefix(body, "--caddymfa-"):
								case kind == "application/x-www-form-urlencoded" && !strings.Contains(body, ";") && !strings.Contains(body, "\n"):
								case kind == "application/octet-stream":
								default:
									t.Errorf("%s %q %q reached the application as %q", target, b.kind, b.body, got)
								}
							}
						}
					}
				}
			})
		})
	}
}

// TestAttack_K2_ASemicolonSeparatesNothing: CGI.pm and others take it for '&'.
func TestAttack_K2_ASemicolonSeparatesNothing(t *testing.T) {
	l := newLegacy()
	semicolons := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(strings.ReplaceAll(string(body), ";", "&")))
		if r.ContentLength > 0 {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded") // whatever it says
		}
		l.ServeHTTP(w, r)
	})
	eachApp(t, func() http.Handler { return semicolons }, func(t *testing.T, w *world) {
		for _, kind := range []string{"application/x-www-form-urlencoded", "application/x-www-form-urlencoded-x", "", "text/plain"} {
			c := w.browser().get("/login")
			if c.do(http.MethodPost, "/login", "x=1;user=alice;password=pw-a", "Content-Type", kind); c.status == http.StatusOK && strings.Contains(c.body, marker) || w.phones.count() != 0 {
				t.Fatalf("%q: %d %s, %d texts", kind, c.status, c.body, w.phones.count())
			}
			c.out()
		}
	}, anyPath, func(_ *gate.Gate, r *login.Config) { r.Identity.Path = "/me" })
}

func TestAttack_K10_OneKindOfBody(t *testing.T) {
	const js = "application/json"
	each(t, func(t *testing.T, w *world) {
		for _, tc := range []struct{ target, kind, body string }{
			{"/login?user=bob", js, `{"user":"alice","password":"pw-a"}`},
			{"/login?User=bob", js, `{"user":"alice","password":"pw-a"}`},
			{"/login?password=x", js, `{"user":"alice","password":"pw-a"}`},
			{"/login", js, `{"user":"alice","User":"bob","password":"pw-a"}`},
		} {
			before := len(w.app.requests())
			c := w.browser()
			if c.do(http.MethodPost, tc.target, tc.body, "Content-Type", tc.kind); c.status != http.StatusBadRequest || len(w.app.requests()) != before {
				t.Errorf("%s %s: %d", tc.target, tc.body, c.status)
			}
		}
	}, func(_ *gate.Gate, r *login.Config) {
		r.User, r.Password = &login.User{Source: login.JSON, Name: "user"}, &login.Field{Source: login.JSON, Name: "password"}
	})
	each(t, func(t *testing.T, w *world) {
		before := len(w.app.requests())
		c := w.browser()
		if c.do(http.MethodPost, "/login", `{"user":"alice","password":"pw-a"}`, "Content-Type", js); c.status != http.StatusBadRequest || len(w.app.requests()) != before {
			t.Errorf("a form's fields in JSON: %d", c.status)
		}
	})
}

// shut are requests that a deny is about, each in another spelling.
func TestAttack_K13_ShutWordsShut(t *testing.T) {
	one := "list"
	each(t, func(t *testing.T, w *world) {
		c := w.browser().signIn("alice")
		for _, tc := range [][]string{
			{"GET", "/side-door"},
			{"POST", "/side-door"},
			{"DELETE", "/side-door"},
			{"PROPFIND", "/side-door"},
			{"POST", "/side-door/"},
			{"POST", "/SIDE-door"},
			{"POST", "/side-door;x"},
			{"POST", "//side-door"},
			{"POST", "/side-door%2f"},
			{"POST", "/x/..;/side-door"},
			{"GET", "/%73ide-door"},
			{"GET", "/api?do=list"},
			{"GET", "/api?do=LIST"},
			{"GET", "/api?DO=list"},
			{"GET", "/api?do[]=list"},
			{"GET", "/api?x=%zz"},
			{"GET", "/api?a=1;do=list"},
			{"GET", "/api?x=%"},
			{"GET", "/keyed", "X-Api-Key", "1"},
			{"GET", "/keyed", "X_Api_Key", "1"},
			{"GET", "/keyed", "x-api_key", "1"},
			{"GET", "/keyed/", "X.Api.Key", "1"},
		} {
			before := len(w.app.requests())
			d := c.copy()
			if d.do(tc[0], tc[1], "", tc[2:]...); d.status != http.StatusForbidden || len(w.app.requests()) != before {
				t.Errorf("%v: %d", tc, d.status)
			}
		}
		for _, target := range []string{"/api?do=show", "/keyed", "/apis?do=list", "/side-doors"} {
			if d := c.copy().get(target); d.status != http.StatusOK {
				t.Errorf("%s: %d", target, d.status)
			}
		}
		// What stands for a login is taken away in every spelling.
		for _, target := range []string{"/home?key=1", "/home?KEY=1", "/home?key[]=1", "/home?a=b;key=1", "/home?a=b&%6bey=1", "/home?%zz=1&key=1", "/home;key=1", "/home/a;key=1/b"} {
			c.copy().get(target)
			if seen := w.app.requests(); strings.Contains(strings.ToLower(seen[len(seen)-1]), "key=1") || strings.Contains(seen[len(seen)-1], "%") {
				t.Errorf("%s reached the application as %s", target, seen[len(seen)-1])
			}
		}
		if c.copy().get("/home", "X_Token", "1"); strings.Contains(strings.ToLower(fmt.Sprint(w.app.head())), "x_token") {
			t.Errorf("a credential passed: %v", w.app.head())
		}
	}, func(g *gate.Gate, _ *login.Config) {
		for _, q := range []match.Request{
			{Paths: []string{"/side-door"}}, {Paths: []string{"/api"}, Query: []match.Param{{Name: "do", Value: &one}}}, {Paths: []string{"/keyed"}, Headers: []string{"X-Api-Key"}},
		} {
			e, err := q.CompileShut()
			if err != nil {
				t.Fatal(err)
			}
			g.Deny = append(g.Deny, e)
		}
		g.CredentialQuery, g.Site.Credentials = []string{"key"}, []string{"X-Token"}
	})
}

func TestAttack_K15_SessionIDsAreCutFromEverySegment(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.browser().signIn("alice")
		for target, want := range map[string]string{
			"/home;jsessionid=1": "/home", "/home;JSESSIONID=1/x": "/home/x", "/a;jsessionid=1/b;x=2;jsessionid=3": "/a/b;x=2", "/a%3bjsessionid=1/b": "/a/b",
			"/a;sid=1/b?sid=2&c=3": "/a/b?c=3", "/a;%6asessionid=1": "/a",
		} {
			c.get(target)
			if seen := w.app.requests(); seen[len(seen)-1] != "GET "+want {
				t.Errorf("%s reached the application as %s", target, seen[len(seen)-1])
			}
		}
	}, func(g *gate.Gate, _ *login.Config) { g.CredentialQuery = []string{"sid"} })
}

func TestAttack_K23_NearlyTheAPI(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		in := w.browser().signIn("alice")
		for _, c := range []*client{w.browser(), in} {
			for _, target := range []string{
				"//identity/v2/auth/login/2fa", "/identity//v2/auth/login", "/identity%2fv2/auth", "/Identity/v2/./auth", "/x/../identity/v2/auth", "/identity;x/v2/auth", "/identity/v2;x/auth",
				"/%69dentity/v2/auth", "/identity%252fv2/auth", "/identity\\v2/auth", "/identity/v2/auth%00",
			} {
				before := len(w.app.requests())
				d := c.copy().get(target + "?apikey=key-1&access_token=secret-token")
				if d.status != http.StatusBadRequest || len(w.app.requests()) != before || strings.Contains(d.head.Get("Location")+d.body, "secret-token") {
					t.Errorf("%s: %d %s", target, d.status, d.head.Get("Location"))
				}
			}
		}
		if strings.Contains(w.events.String(), "secret-token") {
			t.Error("a token in an event")
		}
	}, withAPI)
}

// TestAttack_K24_TrailersAreDropped: a field behind the body is one that nobody
// has looked at.
func TestAttack_K24_TrailersAreDropped(t *testing.T) {
	eachApp(t, func() http.Handler { return &reader{Handler: newLegacy()} }, func(t *testing.T, w *world) {
		app, _ := w.app.Handler.(*reader)
		c := w.browser().signIn("alice")
		for _, target := range []string{"/home", "/public/x", "/login"} {
			r, err := http.NewRequest(http.MethodPost, w.nodes[0].URL+target, io.NopCloser(strings.NewReader("x")))
			must(t, err)
			r.ContentLength = -1
			r.Trailer = http.Header{"Remote-User": {"bob"}, "X-Forwarded-User": {"bob"}}
			r.AddCookie(&http.Cookie{Name: w.cookie(), Value: c.handle()})
			res, err := w.nodes[0].Client().Transport.RoundTrip(r)
			must(t, err)
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			app.mu.Lock()
			for _, name := range []string{"Remote-User", "X-Forwarded-User", "Trailer"} {
				if len(app.last[name]) > 0 {
					t.Errorf("%s: the application got %s: %v", target, name, app.last[name])
				}
			}
			app.mu.Unlock()
		}
	}, func(g *gate.Gate, _ *login.Config) {
		g.Public = append(g.Public, entry(t, match.Request{Methods: []string{"POST"}, Paths: []string{"/public/*"}}))
	})
}

// bracketed is an application in the way of Rails and Symfony, whose pages are in
// a charset of before Unicode.
func bracketed() http.Handler {
	l := newLegacy()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			l.ServeHTTP(w, r)
			return
		}
		_ = r.ParseMultipartForm(1 << 20)
		form := url.Values{"user": {r.PostFormValue("session[user]")}, "password": {strings.TrimSuffix(r.PostFormValue("session[password]"), "\xe4\x83\\")}}
		if r.PostFormValue("session[password]") == form.Get("password") {
			form.Set("password", "the ä is missing")
		}
		q := r.Clone(r.Context())
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.PostForm, q.Form, q.MultipartForm = form, form, nil
		l.ServeHTTP(w, q)
	})
}

func TestAttack_K25_BracketNamesAndOldCharsets(t *testing.T) {
	eachApp(t, bracketed, func(t *testing.T, w *world) {
		const multi = "--b\r\nContent-Disposition: form-data; name=\"session[user]\"\r\n\r\nalice\r\n--b\r\nContent-Disposition: form-data; name=\"session[password]\"\r\n\r\npw-a\xe4\x83\\\r\n--b--\r\n"
		for _, tc := range []struct{ kind, body string }{
			{"application/x-www-form-urlencoded", "session%5Buser%5D=alice&session%5Bpassword%5D=pw-a%E4%83%5C&session%5Bremember%5D=1&commit=Log+in"},
			{"application/x-www-form-urlencoded; charset=UTF-8", "session[user]=alice&session[password]=pw-a%e4%83\\"},
			{"multipart/form-data; boundary=b", multi},
		} {
			c := w.browser().get("/login")
			if c.do(http.MethodPost, "/login", tc.body, "Content-Type", tc.kind); c.status != http.StatusSeeOther {
				t.Fatalf("%s: %d %s\n%s", tc.body, c.status, c.body, w.events)
			}
			c.code(w.phones.last(t, "alice"))
			c.in("alice")
		}
		// The bare name, another spelling, a key of a key: another reading.
		for _, more := range []string{"session=x", "session[user]=bob", "session[user][]=bob", "Session[User]=bob", "session.user=bob", "session_user=bob", "session[user]x=bob", "session[password][x]=1"} {
			if c := w.browser().do(http.MethodPost, "/login", "session[user]=alice&session[password]=x&"+more); c.status != http.StatusBadRequest {
				t.Errorf("%s: %d", more, c.status)
			}
		}
	}, func(_ *gate.Gate, r *login.Config) {
		r.Fields = []string{"session[user]", "session[password]"}
		r.User, r.Password = &login.User{Source: login.Form, Name: "session[user]"}, &login.Field{Source: login.Form, Name: "session[password]"}
	})
}

func TestAttack_K28_RulesOfOneAddressSeeTheirOwnRequests(t *testing.T) {
	l := newLegacy()
	eachApp(t, func() http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if q := r.URL.Query(); r.Method == http.MethodGet && q.Get("password") != "" {
				r = r.Clone(r.Context())
				r.Method, r.PostForm = http.MethodPost, q
			}
			l.ServeHTTP(w, r)
		})
	}, func(t *testing.T, w *world) {
		for _, enter := range []func(c *client){
			func(c *client) { c.login("alice", "pw-a") },
			func(c *client) { c.get("/login?user=alice&password=pw-a") },
		} {
			c := w.browser()
			if enter(c); c.status != http.StatusSeeOther {
				t.Fatalf("%d %s\n%s", c.status, c.body, w.events)
			}
			c.code(w.phones.last(t, "alice"))
			c.in("alice")
		}
		if c := w.browser().do(http.MethodPut, "/login", "user=alice&password=pw-a"); c.status != http.StatusBadRequest {
			t.Errorf("by a method of no rule: %d", c.status)
		}
	}, func(g *gate.Gate, r *login.Config) {
		other := *r
		other.Name, other.Methods, other.User, other.Password = "get", []string{"GET"}, &login.User{Source: login.Query, Name: "user"}, nil
		r.Fields, other.Fields = []string{"user", "password"}, []string{"user", "password"}
		compiled, err := other.Compile()
		must(t, err)
		g.Rules = append(g.Rules, compiled)
	})
}

// TestAttack_D9_BrokenBodiesAreTheClients: where a body breaks off, or its chunks
// are none, nobody is told that the application has failed.
func TestAttack_D9_BrokenBodiesAreTheClients(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if w.http2 {
			t.Skip("chunks are of HTTP/1.1")
		}
		in := w.browser().signIn("alice")
		l := w.app.Handler
		w.app.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				w.app.after(err) // as a proxy that could not hand it on
				return
			}
			l.ServeHTTP(rw, r)
		})
		for _, target := range []string{"/login", "/home", "/public/x"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(w.nodes[0].URL, "http://"))
			must(t, err)
			_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: %s=%s\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nuser=alice\r\n0\r\n\r\n", target, w.cookie(), in.handle())
			must(t, err)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			must(t, err)
			if res.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %d", target, res.StatusCode)
			}
			_ = conn.Close()
		}
	}, func(g *gate.Gate, _ *login.Config) {
		g.Public = append(g.Public, entry(t, match.Request{Methods: []string{"POST"}, Paths: []string{"/public/*"}}))
	})
}

// TestLongUploadsPass: a verified user of an application that takes a login at any
// address sends a file that is longer than what is kept in memory.
func TestLongUploadsPass(t *testing.T) {
	eachApp(t, func() http.Handler { return &reader{Handler: newLegacy()} }, func(t *testing.T, w *world) {
		app, _ := w.app.Handler.(*reader)
		c := w.browser().signIn("alice")
		app.taken()
		file := strings.Repeat("0123456789", 300<<10)
		body := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n" + file + "\r\n--b--\r\n"
		if c.do(http.MethodPost, "/upload", body, "Content-Type", "multipart/form-data; boundary=b"); c.status != http.StatusOK {
			t.Fatalf("%d %s", c.status, c.body)
		}
		if got := app.taken(); len(got) != 1 || !strings.Contains(got[0], file) {
			t.Fatalf("%d bodies", len(got))
		}
		if used := w.gates[0].Spool.Used(); used != 0 {
			t.Errorf("%d bytes are still taken up", used)
		}
		w.gates[0].Spool.Size = 1 << 20
		if c.do(http.MethodPost, "/upload", body, "Content-Type", "multipart/form-data; boundary=b"); c.status != http.StatusRequestEntityTooLarge {
			t.Errorf("more than there is room for at all: %d", c.status)
		}
		c.in("alice")
	}, anyPath)
}
