package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/test/servers"
)

// subject is a real application behind its preset.
type subject struct {
	preset, app string
	// more are lines after the preset's.
	more string
	// heavy: too large to be installed by every run of the tests; see Makefile.
	heavy bool
	// page is behind the login and shows marker; who finds the user's name on
	// it. deep is another such page, with deepMarker.
	page, marker, deep, deepMarker string
	who                            *regexp.Regexp
	// ask asks for page where that is not a GET.
	ask func(b *browser)
	// loginPage is where the application's own login page is.
	loginPage string
	// login signs in at the login page that b stands on; again posts name and
	// password from within a session.
	login, again func(b *browser, user, password string)
	// aliases are spellings of alice's name. Those that the application takes
	// for hers are in same.
	aliases, same []string
	doors         []door
	// told finds, in a door's own answer, what only alice's password brings out.
	told *regexp.Regexp
	// open is how many of the doors are open without the gate.
	open   int
	logout func(b *browser)
	// shut are things that the login page refers to and that stay shut.
	shut []string
	// gives finds bearer tokens in answers. Whoever is given one carries it.
	gives *regexp.Regexp
	// chromium: it is walked in Chromium by this test, and once more under the
	// strictest of the usual policies that it can live with.
	chromium bool
	policy   string
	// apiName is alice's name for the API, where it is another.
	apiName string
	// directory: users cannot enrol themselves.
	directory bool
	// single: one password, no users.
	single bool
	// base prepares the application to run below the path /old, too.
	base func(t *testing.T, data string)
	// quirks are what only this application has.
	quirks func(t *testing.T, s *subject, g *gate, upstream string)
}

// door is one of the application's other ways in, tried with a right password.
type door struct {
	name string
	try  func(b *browser, user, password string)
}

// at posts fields to an address, filled with name and password.
func at(path string, fields url.Values) door {
	return door{"POST " + path, func(b *browser, user, password string) {
		v := url.Values{}
		for name, values := range fields {
			v.Set(name, strings.NewReplacer("USER", user, "PASSWORD", password).Replace(values[0]))
		}
		b.post(path, v)
	}}
}

// raw sends any request; USER and PASSWORD stand in target, body and headers.
func raw(method, target, contentType, body string, head ...string) door {
	return door{method + " " + target + " " + contentType, func(b *browser, user, password string) {
		fill := strings.NewReplacer("USER", user, "PASSWORD", password, "BASIC", basic(user, password)).Replace
		var h []string
		for _, s := range head {
			h = append(h, fill(s))
		}
		b.do(method, fill(target), contentType, fill(body), h...)
	}}
}

// token is the value of a hidden field, or of the meta element csrf-token, of
// the first page that has it; "none" where no page shows one.
func (b *browser) token(name string, pages ...string) string {
	b.t.Helper()
	quoted := regexp.QuoteMeta(name)
	find := regexp.MustCompile(`name="` + quoted + `"[^>]*value="([^"]+)"|value="([^"]+)"[^>]*name="` + quoted + `"|name="csrf-token" content="([^"]+)"`)
	for _, page := range pages {
		if m := find.FindStringSubmatch(b.get(page).body); m != nil {
			return html.UnescapeString(m[1] + m[2] + m[3])
		}
	}
	return "none"
}

func multipartBody(fields ...string) (kind, body string) {
	var s strings.Builder
	for i := 0; i+1 < len(fields); i += 2 {
		fmt.Fprintf(&s, "--b\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", fields[i], fields[i+1])
	}
	return "multipart/form-data; boundary=b", s.String() + "--b--\r\n"
}

func multi(target string, fields ...string) door {
	kind, body := multipartBody(fields...)
	return raw(http.MethodPost, target, kind, body)
}

func xmlrpc(target, method string) door {
	const value = "<param><value><string>%s</string></value></param>"
	return raw(http.MethodPost, target, "text/xml",
		"<methodCall><methodName>"+method+"</methodName><params>"+fmt.Sprintf(value, "USER")+fmt.Sprintf(value, "PASSWORD")+"</params></methodCall>")
}

// TestPresets runs every preset against the application that it is for.
func TestPresets(t *testing.T) {
	tested := map[string]bool{}
	for _, s := range subjects {
		tested[s.preset] = true
		t.Run(s.preset, func(t *testing.T) {
			if s.heavy && os.Getenv("CADDYMFA_APPS") != "all" {
				t.Skipf("%s is large: make test-apps runs it", s.app)
			}
			s.run(t)
		})
	}
	files, err := filepath.Glob(filepath.Join(servers.Root(t), "caddymfa/internal/login/presets/*.caddyfile"))
	if err != nil || len(files) == 0 {
		t.Fatal("no presets")
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".caddyfile"); !tested[name] {
			t.Errorf("no application for preset %s", name)
		}
	}
}

func (s *subject) run(t *testing.T) {
	port, appPort := freePort(t), freePort(t)
	upstream := startApp(t, s.app, appPort, fmt.Sprintf("http://127.0.0.1:%d", port))
	data := filepath.Join(os.TempDir(), "caddymfa-apps", fmt.Sprintf("%s-%d", s.app, appPort))
	block := "preset " + s.preset + "\n" + s.more
	// Each part has a gate of its own, at the address that the application knows.
	part := func(name, block string, f func(t *testing.T, g *gate)) {
		t.Run(name, func(t *testing.T) {
			g := startGate(t, port, upstream, block, "")
			g.gives = s.gives
			f(t, g)
		})
	}
	part("in and out", block, s.inAndOut)
	t.Run("doors without the gate", func(t *testing.T) { s.openDoors(t, fmt.Sprintf("http://127.0.0.1:%d", port), upstream) })
	part("doors of strangers", block, func(t *testing.T, g *gate) {
		for _, d := range s.doors {
			b := g.browser(t)
			d.try(b, "alice", alicePassword)
			s.mustBeShut(b, d)
		}
	})
	part("doors after the password", block, func(t *testing.T, g *gate) {
		for _, d := range s.doors {
			b := g.browser(t)
			s.enter(b, "alice", alicePassword)
			d.try(b, "alice", alicePassword)
			s.mustBeShut(b, d)
		}
	})
	if !s.single {
		part("doors of another user", block, s.doorsOfAnother)
		part("names, by directory", block, func(t *testing.T, g *gate) { s.names(t, g, false) })
	}
	if !s.directory && !s.single {
		part("names, enrolling", block+"\nenroll self", func(t *testing.T, g *gate) { s.names(t, g, true) })
	}
	t.Run("by the API", func(t *testing.T) {
		s.byAPI(t, startGate(t, port, upstream, block, fmt.Sprintf("api {\n\t\t\tkey %s\n\t\t}", apiKey)))
	})
	if s.chromium {
		part("in Chromium", block, func(t *testing.T, g *gate) { (&app{name: s.app}).inChromium(t, g, upstream) })
		t.Run("in Chromium under a policy", func(t *testing.T) {
			g := startGate(t, port, upstream, block, "", func(_ *gate, text string) string {
				proxy := "reverse_proxy " + upstream
				return strings.Replace(text, proxy, proxy+" {\n\t\theader_down Content-Security-Policy \""+s.policy+"\"\n\t}", 1)
			})
			(&app{name: s.app}).inChromium(t, g, upstream)
		})
	}
	part("the login page", block+"\nbridge off", func(t *testing.T, g *gate) { s.looksTheSame(t, g, upstream) })
	if s.base != nil {
		s.base(t, data)
		below := *s
		below.page, below.deep, below.loginPage = "/old"+s.page, "/old"+s.deep, "/old"+s.loginPage
		block := "preset " + s.preset + " /old\n" + s.more
		part("below a base path", block, func(t *testing.T, g *gate) {
			b := g.browser(t)
			b.get(below.page).mustNotHave(s.marker)
			if path := b.page.Request.URL.Path; !strings.HasPrefix(path, "/old/") {
				t.Fatalf("the login page is %s", path)
			}
			below.login(b, "alice", alicePassword)
			b.mustHave(codePage)
			b.code(g.phones.last(t, alicePhone))
			if who := below.shown(b); who != "alice" {
				t.Fatalf("signed in as %q", who)
			}
			below.looksTheSame(t, g, upstream)
		})
	}
	if s.quirks != nil {
		part("what only this application has", block, func(t *testing.T, g *gate) { s.quirks(t, s, g, upstream) })
	}
}

// show asks for the page behind the login.
func (s *subject) show(b *browser) *browser {
	b.t.Helper()
	if s.ask != nil {
		s.ask(b)
		return b
	}
	return b.get(s.page)
}

// shown is whom the page behind the login is shown to, in small letters; ""
// when it is not shown.
func (s *subject) shown(b *browser) string {
	b.t.Helper()
	s.show(b)
	if !b.has(s.marker) {
		return ""
	}
	if s.who == nil {
		return b.user()
	}
	m := s.who.FindStringSubmatch(b.body)
	if m == nil {
		b.t.Fatalf("%s names nobody:\n%.3000s", s.page, b.body)
	}
	return strings.ToLower(m[1])
}

// byAPI signs in without the application's page: the gate fills its form in. An
// application that knows its users by cookies is open to the access token.
func (s *subject) byAPI(t *testing.T, g *gate) {
	t.Helper()
	call := func(method, path, body string, want int, into any) {
		t.Helper()
		b := g.browser(t).do(method, "/identity/v2/auth/login/2fa"+path, "application/json", body, "Accept", "application/json")
		if b.page.StatusCode != want {
			t.Fatalf("%s %s: %d %s", method, path, b.page.StatusCode, b.body)
		}
		if err := json.Unmarshal([]byte(b.body), into); err != nil {
			t.Fatal(err)
		}
	}
	login := func(password string) string {
		return fmt.Sprintf(`{"username":%q,"password":%q}`, cmp.Or(s.apiName, "alice"), password)
	}
	var failed struct{ ErrorCode int }
	if call("POST", "?apikey="+apiKey, login("wrong"), 401, &failed); failed.ErrorCode != 966 || g.phones.count() != 0 {
		t.Fatalf("a wrong password: %+v, %d texts", failed, g.phones.count())
	}
	var owed struct {
		SecondFactorAuthentication struct{ SecondFactorAuthenticationToken string }
	}
	call("POST", "?apikey="+apiKey, login(alicePassword), 200, &owed)
	var done struct {
		Profile struct{ UserName string }
		Token   string `json:"access_token"`
	}
	call("PUT", "/verification/otp?apikey="+apiKey+"&secondfactorauthenticationtoken="+owed.SecondFactorAuthentication.SecondFactorAuthenticationToken,
		`{"otp":"`+g.phones.last(t, alicePhone)+`"}`, 200, &done)
	if s.ask != nil {
		return // it goes by tokens of its own, or a page is none
	}
	b := g.browser(t).get(s.page, "Authorization", "Bearer "+done.Token)
	b.mustHave(s.marker)
	if s.who != nil {
		if m := s.who.FindStringSubmatch(b.body); m == nil || strings.ToLower(m[1]) != "alice" {
			t.Fatalf("the page is of %q", m)
		}
	}
	g.browser(t).get(s.page).mustNotHave(s.marker)
}

var signedInAs = regexp.MustCompile(`Signed in as <strong><bdi>([^<]+)<`)

// user is whom the gate takes the browser's person for, "" for nobody.
func (b *browser) user() string {
	b.t.Helper()
	keep, body := b.page, b.body
	defer func() { b.page, b.body = keep, body }()
	if m := signedInAs.FindStringSubmatch(b.get("/mfa").body); m != nil {
		return m[1]
	}
	return ""
}

// enter gives a name and a password at the login page.
func (s *subject) enter(b *browser, user, password string) {
	b.t.Helper()
	if s.loginPage != "" {
		b.get(s.loginPage)
	}
	s.login(b, user, password)
}

// prove gives a code. A page that has tokens gets the application's answer by
// script, as the gate's own script does.
func (s *subject) prove(b *browser, code string) *browser {
	b.t.Helper()
	if s.gives == nil {
		return b.code(code)
	}
	return b.do(http.MethodPost, "/mfa/verify", "application/json", `{"otp":"`+code+`","release":"answer"}`, "Accept", "application/json")
}

// signIn gives a password and a code.
func (s *subject) signIn(t *testing.T, g *gate, user, password string) *browser {
	t.Helper()
	b := g.browser(t)
	s.enter(b, user, password)
	b.get("/mfa").mustHave(codePage)
	s.prove(b, g.phones.last(t, map[string]string{"alice": alicePhone, "bob": bobPhone}[user]))
	if who := s.shown(b); who != user && !s.single {
		t.Fatalf("signed in as %q, not %s", who, user)
	}
	return b
}

// mustBeShut: neither the door's own answer nor the page behind the login shows
// anything.
func (s *subject) mustBeShut(b *browser, d door) {
	b.t.Helper()
	if b.has(s.marker) || s.told != nil && s.told.MatchString(b.body) {
		b.t.Errorf("%s: the answer (%d) is that of somebody logged in", d.name, b.page.StatusCode)
	}
	if who := s.shown(b); who != "" {
		b.t.Errorf("%s: the page is shown to %s", d.name, who)
	}
}

func (s *subject) inAndOut(t *testing.T, g *gate) {
	stranger := g.browser(t)
	if who := s.shown(stranger); who != "" {
		t.Fatalf("a stranger sees the page as %s", who)
	}
	for _, wrong := range [][2]string{{"alice", "wrong"}, {"alice", ""}, {"nobody", alicePassword}} {
		if s.single && wrong[0] != "alice" {
			continue
		}
		b := g.browser(t)
		s.enter(b, wrong[0], wrong[1])
		b.mustNotHave(codePage)
		if who := s.shown(b); who != "" || g.phones.count() != 0 {
			t.Fatalf("%v: shown to %q, %d texts", wrong, who, g.phones.count())
		}
	}
	if s.deep != "" {
		b := g.browser(t)
		b.get(s.deep).mustNotHave(s.deepMarker)
		s.login(b, "alice", alicePassword)
		b.mustHave(codePage)
		b.get(s.deep).mustNotHave(s.deepMarker)
		b.get("/mfa").code(g.phones.last(t, alicePhone))
		if !b.has(s.deepMarker) {
			t.Logf("arrived at %s, not at the page that was asked for", b.page.Request.URL)
		}
		b.get(s.deep).mustHave(s.deepMarker)
	}
	b := s.signIn(t, g, "alice", alicePassword)
	here, err := url.Parse(g.url)
	if err != nil {
		t.Fatal(err)
	}
	old := b.http.Jar.Cookies(here)
	for _, c := range old {
		if !strings.Contains(c.Name, "mfa") && !slices.Contains(harmless, c.Name) {
			t.Errorf("the browser had the cookie %s", c.Name)
		}
	}
	s.logout(b)
	thief := g.browser(t)
	thief.http.Jar.SetCookies(here, old)
	thief.bearer = b.bearer
	for name, b := range map[string]*browser{"the browser": b, "the old handle": thief} {
		if user := b.user(); user != "" {
			t.Errorf("after the logout %s is signed in as %s", name, user)
		}
		if who := s.shown(b); who != "" {
			t.Errorf("after the logout %s is shown the page of %s", name, who)
		}
	}
	if !s.single {
		b := s.signIn(t, g, "alice", alicePassword)
		s.again(b, "bob", bobPassword)
		if who := s.shown(b); who != "" {
			t.Fatalf("after bob's password, without his code, the page is shown to %s", who)
		}
		if b.get("/mfa"); !b.has(codePage) {
			// The form's token belonged to alice's session, which is not handed on.
			s.enter(b, "bob", bobPassword)
			b.get("/mfa").mustHave(codePage)
		}
		s.prove(b, g.phones.last(t, bobPhone))
		if who := s.shown(b); who != "bob" {
			t.Fatalf("after bob's code the page is shown to %q", who)
		}
	}
	if log := g.log.String(); strings.Contains(log, "panic") || strings.Contains(log, alicePassword) {
		t.Error("a panic, or a password in the log")
	}
	if log := g.log.String(); strings.Contains(log, `"msg":"trap"`) {
		t.Error("an ordinary way was trapped")
	}
}

// harmless are cookies of the applications that a browser may hold.
var harmless = []string{"wordpress_test_cookie", "csrftoken"}

// openDoors counts the doors that are open without the gate, so that the tests
// of the others hold something: many are only guesses, which is what attackers
// make as well.
func (s *subject) openDoors(t *testing.T, public, upstream string) {
	var open []string
	for _, d := range s.doors {
		b := past(t, public, upstream)
		b.g.gives = s.gives
		d.try(b, "alice", alicePassword)
		if b.has(s.marker) || s.told != nil && s.told.MatchString(b.body) || s.show(b).has(s.marker) {
			open = append(open, d.name)
		}
	}
	if len(open) != s.open {
		t.Errorf("%d of %d doors are open without the gate, expected %d:\n%s", len(open), len(s.doors), s.open, strings.Join(open, "\n"))
	}
}

// past is a browser that reaches the application itself by its public address.
func past(t *testing.T, public, upstream string) *browser {
	t.Helper()
	b := (&gate{url: public}).browser(t)
	b.http.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, upstream)
	}}
	return b
}

// doorsOfAnother tries alice's password within bob's verified session.
func (s *subject) doorsOfAnother(t *testing.T, g *gate) {
	b := s.signIn(t, g, "bob", bobPassword)
	for _, d := range s.doors {
		d.try(b, "alice", alicePassword)
		if s.told != nil && s.told.MatchString(b.body) {
			t.Errorf("%s: within bob's session the answer is alice's: %.300s", d.name, b.body)
		}
		switch who := s.shown(b); who {
		case "bob":
		case "":
			b = s.signIn(t, g, "bob", bobPassword)
		default:
			t.Errorf("%s: bob's session shows %s", d.name, who)
			b = s.signIn(t, g, "bob", bobPassword)
		}
	}
}

// names tries all spellings of alice's name: each is hers, with her number, or
// nobody's.
func (s *subject) names(t *testing.T, g *gate, self bool) {
	if self {
		b := g.browser(t)
		s.enter(b, "alice", alicePassword)
		b.get("/mfa").mustHave(`name="phoneno2fa"`)
		b.submit(url.Values{"phoneno2fa": {alicePhone}}).mustHave(codePage)
		s.prove(b, g.phones.last(t, alicePhone))
		if who := s.shown(b); who != "alice" {
			t.Fatalf("enrolled, and signed in as %q", who)
		}
	}
	var same []string
	for _, name := range append([]string{"alice"}, s.aliases...) {
		b, before := g.browser(t), g.phones.count()
		s.enter(b, name, alicePassword)
		if b.get("/mfa"); b.has(`name="phoneno2fa"`) {
			t.Errorf("%q is asked for a number of its own", name)
			continue
		}
		if !b.has(codePage) {
			if who := s.shown(b); who != "" || g.phones.count() != before {
				t.Errorf("%q: no code was asked for, %d texts, shown to %q", name, g.phones.count()-before, who)
			}
			continue
		}
		same = append(same, name)
		if g.phones.count() != before+1 {
			t.Errorf("%q: %d texts", name, g.phones.count()-before)
		}
		s.prove(b, g.phones.last(t, alicePhone))
		if who := s.shown(b); who != "alice" {
			t.Errorf("%q: signed in as %q", name, who)
		}
	}
	if want := append([]string{"alice"}, s.same...); !slices.Equal(same, want) {
		t.Errorf("names that are alice's: %q, want %q", same, want)
	}
}

// parts finds what a page is made of.
var (
	linked  = regexp.MustCompile(`(?i)<(?:link|script|img|source|input)\b[^>]*?\b(?:href|src)\s*=\s*["']?([^"'\s>]+)[^>]*>`)
	inStyle = regexp.MustCompile(`url\(\s*["']?([^"')]+)["']?\s*\)`)
	noPart  = regexp.MustCompile(`(?i)rel=["']?(canonical|alternate|edit|editURI|copyright|search|contents|start|up|dns-prefetch|https://)`)
)

// looksTheSame fetches all that the login page is made of as a stranger, through
// the gate and past it.
func (s *subject) looksTheSame(t *testing.T, g *gate, upstream string) {
	t.Helper()
	start := s.loginPage
	if start == "" {
		start = "/"
	}
	b := g.browser(t)
	b.get(start)
	if b.page.StatusCode != http.StatusOK {
		t.Fatalf("the login page answers %d", b.page.StatusCode)
	}
	client := &http.Client{}
	fetch := func(host string, u *url.URL) (int, string, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "http://"+host+u.RequestURI(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = strings.TrimPrefix(g.url, "http://")
		req.Header.Set("Sec-Fetch-Mode", "no-cors")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header.Get("Content-Type"), string(body)
	}
	var todo []*url.URL
	seen := map[string]bool{}
	add := func(base *url.URL, ref string) {
		u, err := base.Parse(html.UnescapeString(ref))
		if err != nil || u.Scheme != "http" || u.Host != base.Host || seen[u.RequestURI()] || strings.HasPrefix(u.Path, "/mfa/") {
			return
		}
		seen[u.RequestURI()] = true
		todo = append(todo, u)
	}
	for _, m := range linked.FindAllStringSubmatch(b.body, -1) {
		if !noPart.MatchString(m[0]) {
			add(b.page.Request.URL, m[1])
		}
	}
	for _, m := range inStyle.FindAllStringSubmatch(b.body, -1) {
		add(b.page.Request.URL, m[1])
	}
	same := 0
	for len(todo) > 0 {
		u := todo[0]
		todo = todo[1:]
		status, kind, body := fetch(strings.TrimPrefix(g.url, "http://"), u)
		if slices.ContainsFunc(s.shut, func(p string) bool { return strings.HasPrefix(u.Path, p) }) {
			if status != http.StatusUnauthorized {
				t.Errorf("%s answers %d, but is to be shut", u, status)
			}
			continue
		}
		wantStatus, _, want := fetch(upstream, u)
		if status >= 400 && wantStatus >= 400 {
			continue // a broken link of the application's own
		}
		if status != wantStatus || body != want {
			t.Errorf("%s: %d and %d bytes; without the gate %d and %d bytes", u.RequestURI(), status, len(body), wantStatus, len(want))
			continue
		}
		same++
		if strings.Contains(kind, "css") {
			for _, m := range inStyle.FindAllStringSubmatch(body, -1) {
				if !strings.HasPrefix(m[1], "data:") {
					add(u, m[1])
				}
			}
		}
	}
	t.Logf("%d files are the same", same)
	if same == 0 && strings.Contains(b.body, "<link") {
		t.Error("nothing was compared")
	}
}
