package caddymfa

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
)

// root is the command without Caddy's own.
func root() *cobra.Command {
	c := &cobra.Command{Use: "mfa", SilenceErrors: true}
	c.AddCommand(verbs()...)
	return c
}

// loaded writes a Caddyfile and runs a verb of the command line with it.
func loaded(t *testing.T, text string, args ...string) (string, error) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := root()
	var out strings.Builder
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append(args, "--config", file))
	err := c.Execute()
	return out.String(), err
}

const siteOf = "app.example.com {\n%\n}\n"

func TestAttack_I5_LintFindsWaysRound(t *testing.T) {
	const gate = "mfa {\npreset wordpress\n}\n"
	site := func(inside string) string { return globalBlock + strings.Replace(siteOf, "%", inside, 1) }
	reports := func(to string) string {
		return strings.Replace(site(gate+"reverse_proxy 127.0.0.1:1"), "sms console", "sms twilio {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token {env.TWILIO}\nfrom +447700900000\nstatus_callback "+to+"\n}", 1)
	}
	t.Setenv("TWILIO", "0123456789abcdef0123456789abcdef")
	for name, tc := range map[string]struct{ in, want string }{
		"nothing":                     {site(gate + "reverse_proxy 127.0.0.1:1"), ""},
		"behind the gate":             {site("respond /x hello\nhandle_path /api/* {\nreverse_proxy 10.0.0.1:80\n}\nfile_server /s/*\n" + gate), ""},
		"redirects are no page":       {site("redir /old /new\n" + gate + "reverse_proxy 127.0.0.1:1"), ""},
		"no gate at all":              {globalBlock + "app.example.com {\nreverse_proxy 127.0.0.1:1\n}\n", "reverse_proxy to 127.0.0.1:1 stands before or beside mfa"},
		"php":                         {globalBlock + "app.example.com {\nphp_fastcgi 127.0.0.1:9000\n}\n", "no gate covers it"},
		"before it in a route":        {site("route {\nfile_server\n" + gate + "reverse_proxy 127.0.0.1:1\n}"), "file_server stands before"},
		"respond before it":           {site("route {\nrespond /health ok\n" + gate + "reverse_proxy 127.0.0.1:1\n}"), "/health: respond stands before"},
		"another handle":              {site("handle /a/* {\n" + gate + "reverse_proxy 127.0.0.1:1\n}\nhandle {\nreverse_proxy 127.0.0.1:2\n}"), "the gate before it is for /a/* only"},
		"some clients only":           {site("@lan remote_ip 10.0.0.0/8\nmfa @lan {\npreset wordpress\n}\nreverse_proxy 127.0.0.1:1"), "some client addresses only"},
		"observe":                     {site("mfa {\npreset wordpress\nmode observe\n}\nreverse_proxy 127.0.0.1:1"), "only observes"},
		"error routes":                {site(gate + "reverse_proxy 127.0.0.1:1\nhandle_errors {\nreverse_proxy 127.0.0.1:1\n}"), "outside of every gate when something fails"},
		"error routes with a gate":    {site(gate + "reverse_proxy 127.0.0.1:1\nhandle_errors {\n" + gate + "reverse_proxy 127.0.0.1:1\n}"), ""},
		"a public upstream":           {site(gate + "reverse_proxy 203.0.113.9:80"), "public address 203.0.113.9:80"},
		"a public page over a login":  {site("mfa {\npreset wordpress\npublic /*\n}\nreverse_proxy 127.0.0.1:1"), "covers the login wordpress"},
		"every proxy is believed":     {strings.Replace(site(gate+"reverse_proxy 127.0.0.1:1"), "{\n", "{\nservers {\ntrusted_proxies static 0.0.0.0/0\ntrusted_proxies_strict\n}\n", 1), "believes every client"},
		"proxies from the left":       {strings.Replace(site(gate+"reverse_proxy 127.0.0.1:1"), "{\n", "{\nservers {\ntrusted_proxies static 10.0.0.1\n}\n", 1), "trusted_proxies_strict"},
		"a secret in the file":        {strings.Replace(site(gate+"reverse_proxy 127.0.0.1:1"), "sms console", "sms console\nsecret abcdefghijklmnopqrstuvwxyz0123456789", 1), "stands in the configuration itself"},
		"a header is believed":        {site("mfa {\nfirst_factor {http.request.header.Remote-User}\n}\nreverse_proxy 127.0.0.1:1"), "a client names itself"},
		"self without identity":       {site("mfa {\nlogin {\npath /l\nuser answer_cookie u\nsuccess cookie s\n}\nenroll self\n}\nreverse_proxy 127.0.0.1:1"), "no login asks the application"},
		"no second factor for anyone": {site("mfa {\npreset wordpress\npolicy off\n}\nreverse_proxy 127.0.0.1:1"), "asks nobody"},
		"reports to a gate":           {reports("https://app.example.com/mfa/receipts"), ""},
		"reports to another path":     {reports("https://app.example.com/sms"), "write https://app.example.com/mfa/receipts"},
		"reports to nobody":           {reports("https://sms.example.com/mfa/receipts"), "leads to no gate of this configuration, so no report would be read; write https://app.example.com/mfa/receipts"},
		"any host without a name":     {globalBlock + ":8443 {\n" + gate + "reverse_proxy 127.0.0.1:1\n}\n", "app is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := loaded(t, tc.in, "lint")
			switch {
			case tc.want == "" && (err != nil || !strings.Contains(out, "nothing found")):
				t.Errorf("%v\n%s", err, out)
			case tc.want != "" && (err == nil || !strings.Contains(out+err.Error(), tc.want)):
				t.Errorf("%v, want %q\n%s", err, tc.want, out)
			}
		})
	}
}

// ruleOf is a site with one login, which begins in the line 9 of the file.
func ruleOf(login string, more ...string) string {
	return globalBlock + "app.example.com {\nmfa {\nlogin staff {\n" + login + "\n}\n" + strings.Join(append(more, "enroll invite"), "\n") + "\n}\nreverse_proxy 127.0.0.1:1\n}\n"
}

func TestLintSaysWhatIsMissingInARule(t *testing.T) {
	const (
		form     = "path /l\nfields u p\nuser constant x\npassword form p\n"
		anywhere = "any_path\nfields u p\nuser form u\npassword form p\n"
		cookie   = form + "success cookie ^sid$\n"
		told     = cookie + "failure status 200 body `<p class=\"error\"`"
		identity = "path /l\nidentity /me `id=\"me\">([^<]+)`\n"
		asked    = anywhere + "identity /me `id=\"me\">([^<]+)`\n"
		session  = asked + "success cookie ^sid$"
		inLogin  = "Caddyfile:9, login staff: "
		nothing  = "neither a failure line nor identity"
		certain  = "no failure line, and no form"
		steered  = "a client may bring this about"
		markup   = "asks for no markup"
		posted   = "a form or a script sends"
	)
	for name, tc := range map[string]struct{ in, want string }{
		"nothing missing": {ruleOf(told), ""},

		"no evidence of a wrong password":      {ruleOf(cookie), inLogin + "there is " + nothing},
		"identity is evidence":                 {ruleOf(identity), ""},
		"HTTP Basic has its own":               {ruleOf("basic /probe"), ""},
		"identity by JSON":                     {ruleOf("path /l\nidentity /me json name"), inLogin + "there is " + certain},
		"identity by JSON with a failure line": {ruleOf("path /l\nidentity /me json name\nfailure json error"), ""},
		"a login by script":                    {ruleOf(identity + "user json u"), certain},

		"K29 a failure by the redirect":         {ruleOf(cookie + "failure status 302 location /l"), inLogin + "failure status 302 location /l: " + steered},
		"K29 by what is not there":              {ruleOf(cookie + "failure not cookie ^other$ not body welcome"), "failure not cookie ^other$ not body welcome: " + steered},
		"K29 by a cookie that changed":          {ruleOf(cookie + "failure status 2xx cookie_changed ^x$"), "failure status 2xx cookie_changed ^x$: " + steered},
		"K29 by a status":                       {ruleOf(cookie + "failure status 403"), steered},
		"K29 401 says it":                       {ruleOf(cookie + "failure status 401"), ""},
		"K29 a refusal after identity":          {ruleOf(identity + "failure status 403 422"), ""},
		"K29 a redirect after identity":         {ruleOf(identity + "failure status 302 location /l"), steered},
		"K29 the redirect gives no session":     {ruleOf(cookie + "failure status 302 location /l not cookie ^sid$"), ""},
		"K29 the status gives no token":         {ruleOf(form + "success json token\nfailure status 400 not json token"), ""},
		"K29 the redirect and what it leads to": {ruleOf(cookie + "failure status 302 next /l status 200 body `<p class=\"error\"`"), ""},

		"K22 a name in plain text":      {ruleOf("path /l\nidentity /me `Signed in as ([^<]+)<`"), inLogin + "identity: Signed in as ([^<]+)< " + markup},
		"K22 a plain success":           {ruleOf(form + "success body Welcome\nfailure json error"), "success: body Welcome " + markup},
		"K22 a plain success behind it": {ruleOf(form + "success next /home status 200 body Welcome\nfailure json error"), "success: body Welcome " + markup},
		"K22 a plain failure":           {ruleOf(cookie + "failure body \"Wrong password\""), "failure: body Wrong password " + markup},
		"K22 with the session's cookie": {ruleOf(form + "success cookie ^sid$ body Welcome\nfailure json error"), ""},

		"a login_flow for everything":        {ruleOf(told, "login_flow GET POST /*"), "Caddyfile:17, login_flow GET POST /*: /* takes what " + posted},
		"a login_flow for all endings":       {ruleOf(told, "login_flow * *.php"), "login_flow * *.php: *.php takes"},
		"a query is the client's":            {ruleOf(told, "login_flow POST /* query action=lost"), posted},
		"a login_flow over a login":          {ruleOf(told, "login_flow POST /l*"), "/l* takes what " + posted},
		"a login_flow over it with a query":  {ruleOf(told, "login_flow POST /l* query action=lost"), ""},
		"a login_flow for reading":           {ruleOf(told, "login_flow /x/*"), ""},
		"a login_flow beside it":             {ruleOf(told, "login_flow POST /reset/*"), ""},
		"a login_flow for the login":         {ruleOf(told, "login_flow GET POST /l"), ""},
		"a login_flow for the rule's own":    {ruleOf(strings.Replace(told, "/l\n", "/l /l/*\n", 1), "login_flow POST /l/*"), ""},
		"public takes everything":            {ruleOf(told, "public PUT /*"), "Caddyfile:17, public PUT /*: /* takes what " + posted},
		"public takes more than the login":   {ruleOf(strings.Replace(told, "/l\n", "/Api/*/Login\n", 1), "public POST /api/*/log*"), posted},
		"public for one call":                {ruleOf(told, "public POST /* json method version"), ""},
		"public for one address":             {ruleOf(told, "public POST /contact"), ""},
		"K30 any_path without success":       {ruleOf(asked, "login_page /in", "login_flow /help"), inLogin + "any_path: the application's answer to a password that is not known as right leaves the gate only at addresses that are open before a login (login_page /in, login_flow /help); there is no success line"},
		"K30 any_path with success":          {ruleOf(session, "login_page /in"), ""},
		"K30 any_path and what takes a form": {ruleOf(session, "login_page /in", "public POST /contact"), "strangers may send to public POST /contact"},
		"K30 any_path and reading":           {ruleOf(session, "login_page /in", "public /help /help/*"), ""},
		"K30 any_path and everything":        {ruleOf(session, "login_page /in", "public /*"), "nothing stays at the gate with public /*"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := loaded(t, tc.in, "lint")
			switch {
			case tc.want == "" && (err != nil || !strings.Contains(out, "nothing found")):
				t.Errorf("%v\n%s", err, out)
			case tc.want != "" && (err == nil || !strings.Contains(out, tc.want) || strings.Count(out, "\n") != 1):
				t.Errorf("%v, want %q alone\n%s", err, tc.want, out)
			}
		})
	}
}

// TestLintFindsNothingInPresets: what a preset says was tried with its
// application, also below a base path.
func TestLintFindsNothingInPresets(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "numbers")
	if err := os.WriteFile(directory, []byte("alice +447400123456\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range login.Presets() {
		for _, base := range []string{"", " /old"} {
			in := strings.Replace(globalBlock, "sms console", "sms console\ndirectory file "+directory, 1) +
				"app.example.com {\nmfa {\npreset " + name + base + "\nenroll directory\n}\nreverse_proxy 127.0.0.1:1\n}\n"
			if out, err := loaded(t, in, "lint"); err != nil || !strings.Contains(out, "nothing found") {
				t.Errorf("preset %s%s: %v\n%s", name, base, err, out)
			}
		}
	}
}

// TestLintNamesTheLine: in a site, in what a site imports, in a preset, and of
// blocks that say the same.
func TestLintNamesTheLine(t *testing.T) {
	const weak = "login staff {\npath /l\nuser constant x\nsuccess cookie ^sid$\n}"
	file := filepath.Join(t.TempDir(), "rule.caddy")
	if err := os.WriteFile(file, []byte("\n"+weak+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		in   string
		want []string
	}{
		"in a route and with a matcher": {globalBlock + "app.example.com {\n@lan remote_ip 10.0.0.0/8\nroute {\nmfa @lan {\n" + weak + "\n}\n}\n}\n", []string{"Caddyfile:11, login staff: "}},
		"without a name":                {globalBlock + "app.example.com {\nmfa {\npolicy required\n" + strings.Replace(weak, " staff", "", 1) + "\n}\n}\n", []string{"Caddyfile:10, login login1: "}},
		"in a snippet":                  {globalBlock + "(gate) {\nmfa {\n" + weak + "\n}\n}\na.example.com {\nimport gate\n}\nb.example.com {\nimport gate\n}\n", []string{"mfa a.example.com, ", "mfa b.example.com, ", "Caddyfile:9, login staff: "}},
		"in an imported file":           {globalBlock + "app.example.com {\nmfa {\nimport " + file + "\n}\n}\n", []string{file + ":2, login staff: "}},
		"two that say the same":         {globalBlock + "a.example.com {\nmfa {\n" + weak + "\n}\n}\nb.example.com {\nmfa {\n" + weak + "\n}\n}\n", []string{"Caddyfile:9 or ", "Caddyfile:18, login staff: "}},
		"two that differ":               {globalBlock + "a.example.com {\nmfa {\n" + weak + "\n}\n}\nb.example.com {\nmfa {\n" + strings.Replace(weak, "/l", "/m", 1) + "\n}\n}\n", []string{"mfa a.example.com, ", "Caddyfile:9, login", "mfa b.example.com, ", "Caddyfile:18, login"}},
		"a preset's login replaced":     {globalBlock + "app.example.com {\nmfa {\n" + strings.Replace(weak, "staff", "wordpress", 1) + "\npreset wordpress\n}\n}\n", []string{"Caddyfile:9, login wordpress: "}},
		"a preset":                      {globalBlock + "app.example.com {\nmfa {\npreset dokuwiki\npublic /*\n}\n}\n", []string{"Caddyfile:9, preset dokuwiki, login dokuwiki: any_path"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, _ := loaded(t, tc.in, "lint")
			for _, want := range tc.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in\n%s", want, out)
				}
			}
		})
	}
	// In JSON there is no line, and the rule's name must do.
	text, err := adapt(ruleOf("path /l\nuser constant x\nsuccess cookie ^sid$"))
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "caddy.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := root()
	var out strings.Builder
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs([]string{"lint", "--config", file})
	if err := c.Execute(); err == nil || !strings.Contains(out.String(), "mfa app.example.com, login staff: there is neither") {
		t.Errorf("JSON: %v\n%s", err, out.String())
	}
}

// TestTheLogSaysWhatIsMissing: when a configuration loads, in lint's words, but
// without what only lint says.
func TestTheLogSaysWhatIsMissing(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	file := filepath.Join(t.TempDir(), "Caddyfile")
	in := ruleOf("path /l\nuser constant x\nsuccess cookie ^sid$\n}\nlogin other {\npath /m\nuser constant x\nsuccess cookie ^sid$\nfailure status 302", "login_flow POST /*", "app Staff")
	if err := os.WriteFile(file, []byte(in), 0o600); err != nil {
		t.Fatal(err)
	}
	app, text, _, err := provisioned(file, "")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	for _, s := range app.Servers {
		for h := range places(s) {
			h.log = zap.New(core)
		}
	}
	found := lint(app, text, nil) // which places the gates, as a start does
	var said []string
	for _, e := range logs.All() {
		said = append(said, fmt.Sprint(e.ContextMap()["app"], " ", e.ContextMap()["line"]))
		if !slices.ContainsFunc(found, func(f finding) bool { return f.what == e.Message }) {
			t.Errorf("lint does not say %q", e.Message)
		}
	}
	if want := []string{"Staff login staff", "Staff login_flow POST /*"}; !slices.Equal(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
	if len(found) != 3 {
		t.Errorf("lint: %q", found)
	}
}

func TestExplainAndPresetsFromTheCommandLine(t *testing.T) {
	text := globalBlock + strings.Replace(siteOf, "%", "mfa {\npreset wordpress\n}\nreverse_proxy 127.0.0.1:1", 1)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--url", "https://app.example.com/wp-admin/"}, "closed: nothing opens it. anonymous: to /wp-login.php?redirect_to=%2Fwp-admin%2F;"},
		{[]string{"--url", "https://APP.example.com:443/wp-login.php", "--data", "log=a&pwd=b"}, "login wordpress yes"},
		{[]string{"--url", "https://app.example.com/x", "--header", "Accept: application/json"}, "401 (not a navigation"},
		{[]string{"--url", "https://app.example.com/xmlrpc.php"}, "403 at every level"},
		{[]string{"--url", "https://other.example.com/"}, "no gate stands on other.example.com"},
		{[]string{"--url", "https://app.example.com/mfa/receipts", "--data", "a=b"}, "404: no sms block has a status_callback"},
		{[]string{"--url", "/wp-admin/"}, "write a whole address"},
		{[]string{"--url", "https://app.example.com/", "--header", "x"}, "write name: value"},
	} {
		out, err := loaded(t, text, append([]string{"explain"}, tc.args...)...)
		if err != nil {
			out += err.Error()
		}
		if !strings.Contains(out, tc.want) {
			t.Errorf("%v: %q is not in\n%s", tc.args, tc.want, out)
		}
	}
	t.Setenv("TWILIO", "0123456789abcdef0123456789abcdef")
	listening := strings.Replace(text, "sms console", "sms twilio {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token {env.TWILIO}\nfrom +447700900000\nstatus_callback https://app.example.com/mfa/receipts\n}", 1)
	for _, tc := range []struct{ method, want string }{{"POST", "403 without the provider's signature"}, {"GET", "405"}} {
		if out, err := loaded(t, listening, "explain", "--url", "https://app.example.com/mfa/receipts", "--method", tc.method); err != nil || !strings.Contains(out, tc.want) {
			t.Errorf("%v, %q is not in\n%s", err, tc.want, out)
		}
	}
	for _, tc := range []struct{ name, want string }{{"", "wordpress\n"}, {"wordpress", "login_page /wp-login.php"}, {"nope", "there is no preset"}} {
		c := root()
		var out strings.Builder
		c.SetOut(&out)
		c.SetErr(&out)
		c.SetArgs(strings.Fields("presets " + tc.name))
		if err := c.Execute(); err != nil {
			out.WriteString(err.Error())
		}
		if !strings.Contains(out.String(), tc.want) {
			t.Errorf("presets %s: %s", tc.name, out.String())
		}
	}
}

// TestPeople_P18_ASiteThatIsMeantToBeOpenSaysSo: and only then lint is silent.
func TestPeople_P18_ASiteThatIsMeantToBeOpenSaysSo(t *testing.T) {
	const (
		gate = "mfa {\npreset wordpress\n}\n"
		app  = "reverse_proxy 127.0.0.1:1\n"
	)
	site := func(inside ...string) string {
		out := globalBlock
		for i, text := range inside {
			out += fmt.Sprintf("s%d.example.com {\n%s\n}\n", i, text)
		}
		return out
	}
	for name, tc := range map[string]struct{ in, want string }{
		"open and meant":               {site("mfa off\n" + app), ""},
		"beside a site with a gate":    {site("mfa off\n"+app, gate+app), ""},
		"open and not meant beside it": {site("mfa off\n"+app, app), "s1.example.com: reverse_proxy to 127.0.0.1:1 stands before or beside mfa"},
		"one handle":                   {site("handle /status/* {\nmfa off\n" + app + "}\nhandle {\n" + gate + app + "}"), ""},
		"another handle":               {site("handle /status/* {\nmfa off\n" + app + "}\nhandle {\n" + app + "}"), "stands before or beside mfa"},
		"error routes":                 {site("mfa off\n" + app + "handle_errors {\n" + app + "}"), "outside of every gate when something fails"},
		"behind a gate":                {site(gate + "handle /x/* {\nmfa off\n" + app + "}"), "mfa off stands behind a gate and opens nothing"},
		"both":                         {site("route {\nmfa off\n" + gate + app + "}"), "say one of them"},
		"with a matcher":               {site("mfa /x/* off\n" + app), "mfa off takes no matcher"},
		"with settings":                {site("mfa off {\napp x\n}\n" + app), "mfa off stands alone"},
		"with another word":            {site("mfa off please\n" + app), "mfa off stands alone"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := loaded(t, tc.in, "lint")
			if err != nil {
				out += err.Error()
			}
			switch {
			case tc.want == "" && (err != nil || !strings.Contains(out, "nothing found")):
				t.Errorf("%v\n%s", err, out)
			case tc.want != "" && (err == nil || !strings.Contains(out, tc.want)):
				t.Errorf("%v, want %q\n%s", err, tc.want, out)
			}
		})
	}
}

// TestPeople_P16_ForwardAuthIsNoWayRound: what it asks is no application, and the
// header that it sets is not the client's. Without it, or for some requests only, it is.
func TestPeople_P16_ForwardAuthIsNoWayRound(t *testing.T) {
	const (
		auth = "forward_auth 127.0.0.1:2 {\nuri /api/authz\ncopy_headers Remote-User Remote-Groups\n}\n"
		gate = "mfa {\nfirst_factor {http.request.header.Remote-User}\nenroll invite\n}\n"
		app  = "reverse_proxy 127.0.0.1:1\n"
	)
	site := func(inside string) string { return globalBlock + strings.Replace(siteOf, "%", inside, 1) }
	for name, tc := range map[string]struct{ in, want string }{
		"before it":              {site(auth + gate + app), ""},
		"in a route":             {site("route {\n" + auth + gate + app + "}"), ""},
		"absent":                 {site(gate + app), "a client names itself"},
		"after it":               {site("route {\n" + gate + auth + app + "}"), "a client names itself"},
		"for some requests only": {site(strings.Replace(auth, "forward_auth", "forward_auth /x/*", 1) + gate + app), "a client names itself"},
		"another header":         {site(strings.Replace(auth, "Remote-User", "Remote-Name", 1) + gate + app), "a client names itself"},
		"a proxy that is none":   {site("route {\nreverse_proxy 127.0.0.1:2 {\nmethod GET\n}\n" + gate + app + "}"), "reverse_proxy to 127.0.0.1:2 stands before"},
		"it without a gate":      {site(auth + app), "reverse_proxy to 127.0.0.1:1 stands before"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := loaded(t, tc.in, "lint")
			switch {
			case tc.want == "" && (err != nil || !strings.Contains(out, "nothing found")):
				t.Errorf("%v\n%s", err, out)
			case tc.want != "" && (err == nil || !strings.Contains(out, tc.want)):
				t.Errorf("%v, want %q\n%s", err, tc.want, out)
			}
		})
	}
}

// TestLintKnowsTheSecretsOfEveryModule: each module names its own.
func TestLintKnowsTheSecretsOfEveryModule(t *testing.T) {
	const secret = "abcdefghijklmnopqrstuvwxyz0123456789"
	in := "{\nmfa {\nsecret {env.MFA}\nstore redis redis://x:" + secret + "@127.0.0.1:1\ncountries GB\n" +
		"sms twilio {\naccount_sid AC0123456789abcdef0123456789abcdef\nauth_token 0123456789abcdef0123456789abcdef\nfrom +447700900000\n}\n" +
		"sms webhook https://sms.example.com {\nheader Authorization \"Bearer " + secret + "\"\nheader Accept application/json\nform apikey " + secret + "\nform to {to}\nform text {text}\nform from ACME\nsecret {env.MFA}\n}\n" +
		"directory ldap ldaps://127.0.0.1:1 {\nbase dc=x\nbind_dn cn=x\nbind_password " + secret + "\n}\n" +
		"directory http https://people.example.com/{user} {\nheader X-Key " + secret + "\nheader X-Other {env.MFA}\n}\n}\n}\n" +
		"app.example.com {\nmfa {\npreset wordpress\n}\nreverse_proxy 127.0.0.1:1\n}\n"
	t.Setenv("MFA", secret)
	out, err := loaded(t, in, "lint")
	if err == nil || strings.Contains(out, secret) {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, where := range []string{"store.urls.0", "senders.0.auth_token", "senders.1.headers.Authorization", "senders.1.form.0 apikey", "directories.0.bind_password", "directories.1.headers.X-Key"} {
		if !strings.Contains(out, "global option mfa, "+where+": the secret stands") {
			t.Errorf("%s is not found", where)
		}
	}
	if n := strings.Count(out, "the secret stands"); n != 6 {
		t.Errorf("%d secrets are found\n%s", n, out)
	}
}
