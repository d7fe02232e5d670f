package caddymfa

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// run adapts a Caddyfile and starts it, as "caddy run" does.
func run(t *testing.T, text string) error {
	t.Helper()
	cfg, err := config(text)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	return caddy.Run(cfg)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is TCP
}

// TestAttack_D6_F3_TheHostHeaderNamesNoApplication: an application named after
// the Host header would be a new one, without enrolments, at every name that a
// client makes up.
func TestAttack_D6_F3_TheHostHeaderNamesNoApplication(t *testing.T) {
	const (
		rule = "login {\npath /l\nuser constant x\nsuccess cookie x\n}\n"
		two  = "two gates on one host"
	)
	gate := func(more string) string { return "mfa {\n" + rule + more + "\n}\n" }
	for name, tc := range map[string]struct{ sites, want string }{
		"any host":                       {"http://:PORT {\n" + gate("") + "}", "app is missing"},
		"a pattern":                      {"http://*.example.com:PORT {\n" + gate("") + "}", "app is missing"},
		"a host and a pattern":           {"http://a.example.com:PORT, http://*.example.com:PORT {\n" + gate("") + "}", "app is missing"},
		"inside a handle":                {"http://:PORT {\nhandle /a/* {\n" + gate("") + "}\n}", "app is missing"},
		"any host, named":                {"http://:PORT {\n" + gate("app Payroll") + "}", ""},
		"a pattern, named":               {"http://*.example.com:PORT {\n" + gate("app Payroll") + "}", ""},
		"a host":                         {"http://a.example.com:PORT {\n" + gate("") + "}", ""},
		"a host matcher on any host":     {"http://:PORT {\n@a host a.example.com\nmfa @a {\n" + rule + "}\n}", ""},
		"two gates":                      {"http://a.example.com:PORT {\nhandle /a/* {\n" + gate("app A") + "}\nhandle /b/* {\n" + gate("app B") + "}\n}", two},
		"two gates, own paths only":      {"http://a.example.com:PORT {\nhandle /a/* {\n" + gate("path /a/mfa") + "}\nhandle /b/* {\n" + gate("path /b/mfa") + "}\n}", two},
		"two gates, own apps and paths":  {"http://a.example.com:PORT {\nhandle /a/* {\n" + gate("app A\npath /a/mfa") + "}\nhandle /b/* {\n" + gate("app B\npath /b/mfa") + "}\n}", ""},
		"two hosts, one path":            {"http://a.example.com:PORT {\n" + gate("") + "}\nhttp://b.example.com:PORT {\n" + gate("") + "}", ""},
		"the same gate for error routes": {"http://a.example.com:PORT {\n" + gate("") + "handle_errors {\n" + gate("") + "respond x\n}\n}", ""},
		"another gate for error routes":  {"http://a.example.com:PORT {\n" + gate("") + "handle_errors {\n" + gate("public /x") + "respond x\n}\n}", two},
		"two ports, apps by default":     {"http://a.example.com:PORT {\n" + gate("") + "}\nhttp://a.example.com:TROP {\n" + gate("public /x") + "}", two},
		"two ports, alike names":         {"http://:PORT {\n" + gate("app A-b") + "}\nhttp://:TROP {\n" + gate("app \"a B\"") + "}", "two ports of one host"},
		"two ports, one app":             {"http://a.example.com:PORT {\n" + gate("app A") + "}\nhttp://*.example.com:TROP {\n" + gate("app A\npublic /x") + "}", ""},
		"two ports, one site":            {"http://a.example.com:PORT, http://a.example.com:TROP {\n" + gate("") + "}", ""},
		"in handle_path":                 {"http://a.example.com:PORT {\nhandle_path /tor/* {\n" + gate("") + "}\n}", "handle /tor/* { route {"},
		"behind uri strip_prefix":        {"http://a.example.com:PORT {\nuri strip_prefix /tor\n" + gate("") + "}", "behind what takes /tor off the path"},
		"beside uri strip_prefix":        {"http://a.example.com:PORT {\nuri /api/* strip_prefix /api\nhandle_path /x/* {\nrespond x\n}\n" + gate("") + "}", ""},
		"before uri strip_prefix":        {"http://a.example.com:PORT {\nhandle /tor/* {\nroute {\n" + gate("path /tor/mfa") + "uri strip_prefix /tor\nrespond x\n}\n}\n}", ""},
		"any host beside a host":         {"http://:PORT {\n" + gate("app A") + "}\nhttp://a.example.com:PORT {\n" + gate("app B") + "}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_DATA_HOME", t.TempDir())
			global := strings.Replace(globalBlock, "{\n", "{\nauto_https off\n", 1)
			text := global + strings.NewReplacer("PORT", fmt.Sprint(freePort(t)), "TROP", fmt.Sprint(freePort(t))).Replace(tc.sites) + "\n"
			err := agree(t, text)
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// What browsers see is what the gate has to see.
func TestPeople_P4_WhereMfaBelongsInASubPath(t *testing.T) {
	const block = "mfa {\napp A\npath /tor/mfa\nlogin_page /tor/l\nlogin {\npath /tor/l\nuser constant x\nsuccess cookie x\n}\n}\n"
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "seen: "+r.URL.Path) }))
	defer app.Close()
	port := freePort(t)
	global := strings.Replace(globalBlock, "{\n", "{\nauto_https off\n", 1)
	site := fmt.Sprintf("http://127.0.0.1:%d {\nhandle /tor/* {\nroute {\n"+block+"uri strip_prefix /tor\nreverse_proxy %s\n}\n}\n}\n", port, app.Listener.Addr())
	if err := run(t, global+site); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(path string) (*http.Response, string) {
		req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/html")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, _ := io.ReadAll(res.Body)
		return res, string(b)
	}
	if res, _ := get("/tor/home"); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/tor/l" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if res, body := get("/tor/l"); res.StatusCode != http.StatusOK || body != "seen: /l" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, _ := get("/tor/mfa"); res.StatusCode != http.StatusOK {
		t.Errorf("%d", res.StatusCode)
	}
}

// TestTheFirstHostNamesTheApplication: whatever other name a client asks by.
func TestTheFirstHostNamesTheApplication(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	port := freePort(t)
	global := strings.Replace(globalBlock, "{\n", "{\nauto_https off\n", 1)
	if err := run(t, fmt.Sprintf(global+"http://payroll.example.com:%d, http://alias.example.com:%d {\nmfa {\nlogin {\npath /l\nuser constant x\nsuccess cookie x\n}\n}\n}\n", port, port)); err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/mfa", port), nil)
	req.Host = "alias.example.com"
	req.Header.Set("Accept", "text/html")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(b), "payroll.example.com") || strings.Contains(string(b), "alias.example.com") {
		t.Fatalf("%v %d %s", err, res.StatusCode, b)
	}
}

// Cookies know no ports: two programs on two ports of one host do not sign each
// other's people out.
func TestPeople_P5_TwoPortsOfOneHost(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "SID", Value: "x"})
		_, _ = io.WriteString(w, "a login page")
	}))
	defer app.Close()
	text := strings.Replace(globalBlock, "{\n", "{\nauto_https off\n", 1)
	ports := map[string]int{"One": freePort(t), "Two": freePort(t), "Three": freePort(t)}
	for name, port := range ports {
		host := map[bool]string{true: "a.example.com", false: ""}[name == "Three"]
		text += fmt.Sprintf("http://%s:%d {\nmfa {\napp %s\nlogin_page /l\nlogin {\npath /l\nuser constant x\nsuccess cookie x\n}\n}\nreverse_proxy %s\n}\n", host, port, name, app.Listener.Addr())
	}
	if err := run(t, text); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for name, port := range ports {
		req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/l", port), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "a.example.com"
		req.Header.Set("Accept", "text/html")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		for _, c := range res.Cookies() {
			if other, ok := seen[c.Name]; ok {
				t.Errorf("%s and %s have one cookie, %s", name, other, c.Name)
			}
			seen[c.Name] = name
		}
	}
	if len(seen) != 3 {
		t.Errorf("%v", seen)
	}
}

// TestPeople_P16_WhatForwardAuthCopiesReachesTheApplicationByPlaceholder: the gate
// takes the headers by which applications are told who the user is off every request,
// also those that forward_auth has set, as the manual says.
func TestPeople_P16_WhatForwardAuthCopiesReachesTheApplicationByPlaceholder(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Remote-User", "alice")
		w.Header().Set("Remote-Groups", "admins")
	}))
	defer auth.Close()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q %q", r.Header.Values("Remote-User"), r.Header.Values("Remote-Groups"))
	}))
	defer app.Close()
	port := freePort(t)
	if err := run(t, strings.NewReplacer("PORT", strconv.Itoa(port), "AUTH", auth.Listener.Addr().String(), "APP", app.Listener.Addr().String()).Replace(globalBlock+`
http://127.0.0.1:PORT {
	forward_auth AUTH {
		uri /
		copy_headers Remote-User Remote-Groups
	}
	mfa {
		app Test
		first_factor {http.request.header.Remote-User}
		enroll invite
		public /open /told
	}
	handle /told {
		reverse_proxy APP {
			header_up Remote-Groups {http.reverse_proxy.header.Remote-Groups}
		}
	}
	reverse_proxy APP
}
`)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/open": `[] []`, "/told": `[] ["admins"]`} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Remote-Groups", "forged")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || string(got) != want {
			t.Errorf("%s: %d %s, %v; want %s", path, answer.StatusCode, got, err, want)
		}
	}
}

// TestPeople_P18_WhatIsMeantToBeOpenIsOpen: without a gate, and without its global option.
func TestPeople_P18_WhatIsMeantToBeOpenIsOpen(t *testing.T) {
	port := freePort(t)
	if err := run(t, fmt.Sprintf("http://127.0.0.1:%d {\nmfa off\nrespond hello\n}\n", port)); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if got, err := io.ReadAll(answer.Body); err != nil || string(got) != "hello" {
		t.Errorf("%d %s, %v", answer.StatusCode, got, err)
	}
}

// agree loads a configuration as "caddy validate" does, and starts it: either both
// refuse it, or none does (people P17).
func agree(t *testing.T, text string) error {
	t.Helper()
	cfg, err := config(text)
	if err != nil {
		t.Fatal(err)
	}
	valid := caddy.Validate(cfg)
	if err := run(t, text); (err == nil) != (valid == nil) {
		t.Errorf("run says %v, validate says %v", err, valid)
	}
	return valid
}

// TestPeople_P17_ValidateRefusesWhatRunRefuses: wherever the gates stand, also behind
// others that are in order, and by named routes.
func TestPeople_P17_ValidateRefusesWhatRunRefuses(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	const rule = "login {\npath /l\nuser constant x\nsuccess cookie x\n}\n"
	gate := func(more string) string { return "mfa {\n" + rule + more + "\n}\n" }
	good := "http://good.example.com:PORT {\n" + gate("") + "}\n"
	for name, tc := range map[string]struct{ sites, want string }{
		"a port-only site":                 {good + "http://:TROP {\n" + gate("") + "}", "app is missing"},
		"a port-only site before":          {"http://:TROP {\n" + gate("") + "}\nhttp://good.example.com:PORT {\nmfa off\n}", "app is missing"},
		"two gates":                        {good + "http://a.example.com:TROP {\nhandle /a/* {\n" + gate("app A") + "}\nhandle /b/* {\n" + gate("app B") + "}\n}", "two gates on one host"},
		"two gates in one route":           {"http://a.example.com:PORT {\nroute {\n" + gate("app A") + gate("app B") + "}\n}", "two gates on one host"},
		"two ports":                        {"http://a.example.com:PORT {\n" + gate("") + "}\nhttp://a.example.com:TROP {\n" + gate("public /x") + "}", "two gates on one host"},
		"by a named route":                 {"&(gate) {\n" + gate("") + "}\n" + good + "http://:TROP {\ninvoke gate\n}", "app is missing"},
		"in error routes":                  {good + "http://b.example.com:PORT {\n" + gate("") + "handle_errors {\n" + gate("public /x") + "}\n}", "two gates on one host"},
		"a stripped prefix":                {good + "http://a.example.com:TROP {\nhandle_path /tor/* {\n" + gate("") + "}\n}", "off the path"},
		"in order":                         {good + "http://a.example.com:TROP {\n" + gate("") + "}", ""},
		"a port-only site that has an app": {good + "http://:TROP {\n" + gate("app A") + "}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			global := strings.Replace(globalBlock, "{\n", "{\nauto_https off\n", 1)
			one, two := fmt.Sprint(freePort(t)), fmt.Sprint(freePort(t))
			err := agree(t, global+strings.NewReplacer("PORT", one, "TROP", two).Replace(tc.sites)+"\n")
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "the server on :")):
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
