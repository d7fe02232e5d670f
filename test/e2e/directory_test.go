package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/test/demoapp"
	"github.com/caddymfa/caddymfa/test/servers"
)

// asking is the gate in front of the demo application with another directory
// than the file.
func asking(t *testing.T, directory string) *gate {
	t.Helper()
	srv := httptest.NewServer(demoapp.New())
	t.Cleanup(srv.Close)
	return startGate(t, freePort(t), srv.Listener.Addr().String(), directoryBlock, "", func(g *gate, text string) string {
		with := strings.Replace(text, "directory file "+g.dir+"/numbers", directory, 1)
		if with == text {
			t.Fatal("there is no directory to replace")
		}
		return with
	})
}

func TestNumbersFromLDAP(t *testing.T) {
	s := servers.StartLDAP(t, `dn: uid=alice,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
mobile: `+alicePhone+`

dn: uid=bob,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mobile: `+bobPhone+`
`)
	t.Setenv("LDAP_PASSWORD", s.Password)
	g := asking(t, `directory ldap `+s.TLSURL+` {
			tls_ca        `+s.CA+`
			bind_dn       `+s.BindDN+`
			bind_password {env.LDAP_PASSWORD}
			base          `+s.Base+`
			attribute     mobile telephoneNumber
			timeout       2s
		}`)
	g.browser(t).password("alice", alicePassword).code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker + " of alice")
	// While the directory is away, who was not looked up just now stays out, and
	// the page says that it is not the password.
	s.Kill()
	b := g.browser(t).password("bob", bobPassword)
	if b.page.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without the directory: %d", b.page.StatusCode)
	}
	b.mustNotHave(demoapp.Marker)
	for range 100 { // the process's output comes by a pipe
		if strings.Contains(g.log.String(), "directory: ") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	all := g.log.String()
	for _, secret := range []string{alicePhone, bobPhone, s.Password} {
		if i := strings.Index(all, secret); i >= 0 {
			t.Errorf("the log holds a number or the password: …%s…", all[max(0, i-200):i])
		}
	}
	if !strings.Contains(all, "directory: ") {
		t.Error("the log does not say what is away")
	}
}

func TestNumbersFromAnAddress(t *testing.T) {
	numbers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer directory" || r.URL.Path != "/people/alice" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(`{"mobile":{"number":"` + alicePhone + `"}}`))
	}))
	t.Cleanup(numbers.Close)
	g := asking(t, `directory http `+numbers.URL+`/people/{user} {
			header Authorization "Bearer directory"
			json   mobile.number
		}`)
	g.browser(t).password("alice", alicePassword).code(g.phones.last(t, alicePhone)).mustHave(demoapp.Marker + " of alice")
	g.browser(t).password("bob", bobPassword).mustNotHave(`name="otp"`)
}
