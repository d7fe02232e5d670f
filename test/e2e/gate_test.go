// Package e2e runs the ready-built Caddy, as a process of its own, in front of
// real applications.
package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/text/encoding/htmlindex"

	"github.com/caddymfa/caddymfa/test/servers"
)

// binary is the Caddy under test, built once.
var binary = sync.OnceValues(func() (string, error) {
	if b := os.Getenv("CADDYMFA_BINARY"); b != "" {
		return filepath.Abs(b)
	}
	dir, err := os.MkdirTemp("", "caddymfa-e2e-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "caddymfa")
	cmd := exec.Command("go", "build", "-o", out, "github.com/caddymfa/caddymfa/cmd/caddymfa")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	return out, nil
})

// phones takes the texts that the gate sends by webhook.
type phones struct {
	*httptest.Server
	mu    sync.Mutex
	texts map[string][]string // by number
	down  bool
}

func newPhones(t *testing.T) *phones {
	p := &phones{texts: map[string][]string{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct{ To, Text string }
		p.mu.Lock()
		defer p.mu.Unlock()
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil || p.down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		p.texts[m.To] = append(p.texts[m.To], m.Text)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *phones) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, list := range p.texts {
		n += len(list)
	}
	return n
}

var code = regexp.MustCompile(`^(\d{6}) `)

// code is the code of the last text to a number that has one.
func (p *phones) code(number string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range slices.Backward(p.texts[number]) {
		if m := code.FindStringSubmatch(text); m != nil {
			return m[1], true
		}
	}
	return "", false
}

// last is the same, where there must be one.
func (p *phones) last(t *testing.T, number string) string {
	t.Helper()
	c, ok := p.code(number)
	if !ok {
		t.Fatalf("no text to %s", number)
	}
	return c
}

// Numbers of the users.
const (
	alicePhone = "+447400123456"
	bobPhone   = "+447400654321"
	carolPhone = "+447400111222"
)

// gate is a running Caddy with one site.
type gate struct {
	url, config, dir string
	tls              *tls.Config // for clients, where the site has TLS
	env              []string    // besides the test's own
	phones           *phones
	gives            *regexp.Regexp // bearer tokens in the application's answers; nil for none
	cmd              *exec.Cmd
	log              *output
}

// output is a process's output, read while it writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// freePort is a port on which nothing listens just now, below those that Linux
// gives to outgoing connections: an application's gate comes back to its port
// for each store.
func freePort(t *testing.T) int {
	t.Helper()
	for range 50 {
		port := 20000 + rand.IntN(12000)
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// siteURL is the public address of a gate on a port.
func siteURL(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }

// siteLine is the line with the site's addresses.
var siteLine = regexp.MustCompile(`(?m)^http://.*$`)

// overTLS gives the site a certificate, for example.com and its names as well,
// and its clients HTTP/2.
func overTLS(t *testing.T) func(*gate, string) string {
	return func(g *gate, text string) string {
		srv := httptest.NewUnstartedServer(nil)
		srv.StartTLS()
		defer srv.Close()
		key, err := x509.MarshalPKCS8PrivateKey(srv.TLS.Certificates[0].PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		block := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
		file := filepath.Join(g.dir, "site.pem")
		if err := os.WriteFile(file, block, 0o600); err != nil {
			t.Fatal(err)
		}
		g.tls = &tls.Config{RootCAs: x509.NewCertPool()}
		g.tls.RootCAs.AddCert(srv.Certificate())
		g.url = strings.Replace(g.url, "http://", "https://", 1)
		// Caddy makes a certificate authority for the address all the same. It must not
		// become one of this machine's, and is not only where its block is there.
		text = strings.Replace(text, "\tauto_https off\n", "\tauto_https off\n\tskip_install_trust\n\tpki {\n\t\tca local {\n\t\t\tname Test\n\t\t}\n\t}\n", 1)
		text = siteLine.ReplaceAllStringFunc(text, func(line string) string { return strings.ReplaceAll(line, "http://", "https://") })
		return strings.Replace(text, "\tlog\n", "\tlog\n\ttls "+file+" "+file+"\n", 1)
	}
}

// transport is for the site's clients.
func (g *gate) transport() http.RoundTripper {
	if g.tls == nil {
		return http.DefaultTransport
	}
	return &http.Transport{TLSClientConfig: g.tls, ForceAttemptHTTP2: true}
}

// startGate runs the gate in front of upstream. block is the inside of the
// directive; global is added to the global option. Each of edits changes the
// Caddyfile before it is used.
func startGate(t *testing.T, port int, upstream, block, global string, edits ...func(g *gate, text string) string) *gate {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{dir: t.TempDir(), phones: newPhones(t), url: siteURL(port), log: &output{}}
	if !strings.Contains(global, "store ") {
		global += "\n\t\tstore embedded " + g.dir
	}
	if err := os.WriteFile(filepath.Join(g.dir, "numbers"), []byte("alice "+alicePhone+"\nbob "+bobPhone+"\nalice@example.test "+alicePhone+"\nbob@example.test "+bobPhone+"\ncarol "+carolPhone+"\ndeluge "+alicePhone+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.config = filepath.Join(g.dir, "Caddyfile")
	directory := "directory file " + g.dir + "/numbers"
	if strings.Contains(block, "enroll self") || strings.Contains(block, "enroll invite") {
		directory = ""
	}
	sms := "sms webhook " + g.phones.URL
	if strings.Contains(global, "sms ") {
		sms = ""
	}
	text := fmt.Sprintf(`{
	admin unix/%s/admin.sock
	persist_config off
	auto_https off
	debug
	mfa {
		%s
		%s
		countries GB US
		%s
		limits {
			user_sends 200 24h
			ip_sends 500 1h
			prefix_sends 500 1h
		}
	}
}
http://127.0.0.1:%d {
	log
	mfa {
%s
	}
	reverse_proxy %s
}
`, g.dir, global, sms, directory, port, block, upstream)
	for _, edit := range edits {
		text = edit(g, text)
	}
	if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.stop()
		if t.Failed() {
			if g.decisions() == "" {
				t.Log(lastLines(g.log.String(), 5))
			}
			t.Logf("decisions of the gate:\n%s", lastLines(g.decisions(), 40))
		}
	})
	g.run(t, bin)
	return g
}

// decisions are the lines of the log that the gate itself wrote.
func (g *gate) decisions() string {
	var b strings.Builder
	for line := range strings.Lines(g.log.String()) {
		if strings.Contains(line, `"logger":"mfa`) || strings.Contains(line, `"level":"error"`) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (g *gate) run(t *testing.T, bin string) {
	t.Helper()
	g.cmd = exec.Command(bin, "run", "--config", g.config, "--adapter", "caddyfile")
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	g.cmd.Env = append(append(os.Environ(), "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir), g.env...)
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitHTTP(t, &http.Client{Transport: g.transport()}, g.url+"/mfa/status")
}

func (g *gate) stop() {
	if g.cmd != nil && g.cmd.Process != nil {
		_ = g.cmd.Process.Signal(syscall.SIGTERM)
		_ = g.cmd.Wait()
	}
}

func waitHTTP(t *testing.T, c *http.Client, u string) {
	t.Helper()
	for range 600 {
		res, err := c.Get(u)
		if err == nil {
			_ = res.Body.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s does not answer", u)
	t.FailNow()
}

// startApp installs and runs one of the applications in test/apps. It stays for
// the other tests of the run, and is ended with the last.
func startApp(t *testing.T, name string, port int, public string) string {
	t.Helper()
	dir := filepath.Join(servers.Root(t), "test", "apps", name)
	data := filepath.Join(os.TempDir(), "caddymfa-apps", name+fmt.Sprint("-", port))
	env := append(os.Environ(), fmt.Sprint("PORT=", port), "DATA="+data, "PUBLIC_URL="+public)
	for _, script := range []string{"install.sh", "start.sh"} {
		cmd := exec.Command("bash", filepath.Join(dir, script))
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			servers.Missing(t, fmt.Sprintf("%s (%s: %v: %s)", name, script, err, lastLines(string(out), 15)))
		}
	}
	t.Cleanup(func() {
		cmd := exec.Command("bash", filepath.Join(dir, "stop.sh"))
		cmd.Env = env
		_ = cmd.Run()
		_ = os.RemoveAll(data)
	})
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// browser is a client that keeps cookies and follows redirects, as a person's does.
type browser struct {
	t    *testing.T
	g    *gate
	http *http.Client
	// page and body are the last answer.
	page *http.Response
	body string
	// bearer is the last token that an answer gave.
	bearer string
}

func (g *gate) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, g: g, http: &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: g.transport()}}
}

func (b *browser) do(method, target, contentType, body string, head ...string) *browser {
	b.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.g.url + target
	}
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,application/xhtml+xml")
	req.Header.Set("Referer", b.g.url+"/")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
	}
	if b.page, err = b.http.Do(req); err != nil {
		b.t.Fatal(err)
	}
	text, err := io.ReadAll(b.page.Body)
	_ = b.page.Body.Close()
	if err != nil {
		b.t.Fatal(err)
	}
	b.body = string(text)
	if b.g.gives != nil {
		if m := b.g.gives.FindStringSubmatch(b.body); m != nil {
			b.bearer = m[1]
		}
	}
	return b
}

func (b *browser) get(target string, head ...string) *browser {
	b.t.Helper()
	return b.do(http.MethodGet, target, "", "", head...)
}

func (b *browser) post(target string, v url.Values, head ...string) *browser {
	b.t.Helper()
	return b.do(http.MethodPost, target, "application/x-www-form-urlencoded", v.Encode(), head...)
}

// submit fills the form on the page that has all of the given fields, and sends it.
func (b *browser) submit(fields url.Values) *browser {
	b.t.Helper()
	doc, err := html.Parse(strings.NewReader(b.body))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range forms(doc) {
		all := true
		for name := range fields {
			all = all && f.values.Has(name)
		}
		if !all {
			continue
		}
		maps.Copy(f.values, fields)
		action, err := b.page.Request.URL.Parse(f.action)
		if err != nil {
			b.t.Fatal(err)
		}
		return b.post(action.String(), b.inCharset(f.values), "Referer", b.page.Request.URL.String())
	}
	b.t.Fatalf("no form with %v on %s (%d):\n%.2000s", fields, b.page.Request.URL, b.page.StatusCode, b.body)
	return b
}

// inCharset encodes what a form holds as its page is encoded.
func (b *browser) inCharset(v url.Values) url.Values {
	b.t.Helper()
	_, params, _ := mime.ParseMediaType(b.page.Header.Get("Content-Type"))
	if params["charset"] == "" {
		return v
	}
	charset, err := htmlindex.Get(params["charset"])
	if err != nil {
		b.t.Fatal(err)
	}
	out := url.Values{}
	for name, values := range v {
		for _, value := range values {
			text, err := charset.NewEncoder().String(value)
			if err != nil {
				b.t.Fatal(err)
			}
			out.Add(name, text)
		}
	}
	return out
}

type htmlForm struct {
	action string
	values url.Values
}

func forms(n *html.Node) (out []htmlForm) {
	if n.Type == html.ElementNode && n.Data == "form" {
		f := htmlForm{action: attr(n, "action"), values: url.Values{}}
		fields(n, f.values)
		return []htmlForm{f}
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		out = append(out, forms(c)...)
	}
	return out
}

func fields(n *html.Node, v url.Values) {
	if name := attr(n, "name"); n.Type == html.ElementNode && name != "" && (n.Data == "input" || n.Data == "button") {
		if t := attr(n, "type"); t != "checkbox" && (t != "submit" && n.Data == "input" || name == "wp-submit") {
			v.Set(name, attr(n, "value"))
		}
	} else if name != "" && n.Data == "select" {
		v.Set(name, chosen(n))
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		fields(c, v)
	}
}

// chosen is the value of the first of a select's options: none of our subjects'
// login forms has another one selected.
func chosen(n *html.Node) string {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if c.Type == html.ElementNode && c.Data == "option" {
			return attr(c, "value")
		}
	}
	return ""
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// code types a code into the code page.
func (b *browser) code(c string) *browser {
	b.t.Helper()
	return b.submit(url.Values{"otp": {c}})
}

func (b *browser) has(text string) bool { return strings.Contains(b.body, text) }

func (b *browser) mustHave(text string) {
	b.t.Helper()
	if !b.has(text) {
		b.t.Fatalf("%q is not on %s (%d):\n%.1500s", text, b.page.Request.URL, b.page.StatusCode, b.body)
	}
}

func (b *browser) mustNotHave(text string) {
	b.t.Helper()
	if b.has(text) {
		b.t.Fatalf("%q is on %s (%d)", text, b.page.Request.URL, b.page.StatusCode)
	}
}

// codePage is text that stands on the code page only.
const codePage = `name="otp"`
