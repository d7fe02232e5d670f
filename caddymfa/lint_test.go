package caddymfa

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
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
			case tc.want != "" && (err == nil || !strings.Contains(out, tc.want)):
				t.Errorf("%v, want %q\n%s", err, tc.want, out)
			}
		})
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
