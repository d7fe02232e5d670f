package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/test/servers"
)

const people = `dn: uid=alice,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
mobile: +44 7400 123456

dn: uid=bob,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mobile: ask the porter
telephoneNumber: 0171 1234567

dn: uid=carol,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: carol
cn: Carol
sn: C

dn: uid=a*,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: a*
cn: Star
sn: S
mobile: +44 7400 654321

dn: cn=first twin,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: twin
cn: first twin
sn: T
mobile: +447400111111

dn: cn=second twin,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: twin
cn: second twin
sn: T
mobile: +447400222222
`

func directoryOf(t *testing.T, s *servers.LDAP, edit func(*LDAPConfig)) *LDAP {
	t.Helper()
	c := LDAPConfig{
		Servers: []string{s.TLSURL}, TLS: &tls.Config{RootCAs: s.Roots}, BindDN: s.BindDN, BindPassword: s.Password, Base: s.Base, //nolint:gosec // Go's default version
		Attributes: []string{"mobile", "telephoneNumber"}, Region: "DE", Timeout: 3 * time.Second,
	}
	if edit != nil {
		edit(&c)
	}
	d, err := NewLDAP(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestLDAPFindsNumbers(t *testing.T) {
	s := servers.StartLDAP(t, people)
	for name, edit := range map[string]func(*LDAPConfig){
		"ldaps":     nil,
		"start_tls": func(c *LDAPConfig) { c.Servers, c.StartTLS = []string{s.URL}, true },
	} {
		d := directoryOf(t, s, edit)
		for user, want := range map[string]string{
			"alice": "+447400123456",
			"ALICE": "+447400123456", // uid is compared without case
			"bob":   "+491711234567", // the second attribute, in the region's own form
			"carol": "", "nobody": "", "": "",
			// The name is a value, never a part of the filter.
			"a*": "+447400654321", "al*": "", "*": "", "alice)(uid=*": "", `\2a`: "", "alice)(|(uid=*)": "", "x\x00": "",
		} {
			if got, err := d.Number(t.Context(), user); got != want || err != nil {
				t.Errorf("%s: %q: %q, %v", name, user, got, err)
			}
		}
		if n, err := d.Number(t.Context(), "twin"); n != "" || !errors.Is(err, errSeveral) {
			t.Errorf("%s: two entries of one name: %q, %v", name, n, err)
		}
	}
}

func TestLDAPRefusesWhatIsNotSafe(t *testing.T) {
	ok := LDAPConfig{Servers: []string{"ldaps://x.test"}, Base: "dc=test"}
	for want, edit := range map[string]func(*LDAPConfig){
		"address is missing":   func(c *LDAPConfig) { c.Servers = nil },
		"no address of":        func(c *LDAPConfig) { c.Servers = []string{"https://x"} },
		"name the server only": func(c *LDAPConfig) { c.Servers = []string{"ldaps://x/dc=test"} },
		"clear text": func(c *LDAPConfig) {
			c.Servers, c.BindDN, c.BindPassword = []string{"ldap://x.test"}, "cn=x", "y"
		},
		"base is missing": func(c *LDAPConfig) { c.Base = "" },
		"everybody":       func(c *LDAPConfig) { c.Filter = "(uid=alice)" },
		"filter \"(uid={": func(c *LDAPConfig) { c.Filter = "(uid={user}" },
		"base \"people\"": func(c *LDAPConfig) { c.Base = "people" },
		"belong together": func(c *LDAPConfig) { c.BindDN = "cn=x" },
		"at most 30s":     func(c *LDAPConfig) { c.Timeout = time.Minute },
	} {
		c := ok
		edit(&c)
		if _, err := NewLDAP(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := NewLDAP(ok); err != nil {
		t.Error(err)
	}
}

func TestLDAPOutagesAreErrors(t *testing.T) {
	s := servers.StartLDAP(t, people)
	for name, edit := range map[string]func(*LDAPConfig){
		"a wrong password":        func(c *LDAPConfig) { c.BindPassword = "wrong" },
		"an unknown authority":    func(c *LDAPConfig) { c.TLS = nil },
		"no such base":            func(c *LDAPConfig) { c.Base = "ou=none,dc=example,dc=test" },
		"nobody may read":         func(c *LDAPConfig) { c.BindDN, c.BindPassword = "", "" },
		"TLS where there is none": func(c *LDAPConfig) { c.Servers = []string{strings.Replace(s.URL, "ldap:", "ldaps:", 1)} },
	} {
		if n, err := directoryOf(t, s, edit).Number(t.Context(), "alice"); n != "" || err == nil {
			t.Errorf("%s: %q, %v", name, n, err)
		} else if strings.Contains(err.Error(), s.Password) || strings.Contains(err.Error(), "alice") {
			t.Errorf("%s: the error tells too much: %v", name, err)
		}
	}
}

func TestLDAPGoesToTheNextServer(t *testing.T) {
	one, two := servers.StartLDAP(t, people), servers.StartLDAP(t, people)
	one.Roots.AppendCertsFromPEM(pemOf(t, two))
	d := directoryOf(t, one, func(c *LDAPConfig) { c.Servers = []string{one.TLSURL, two.TLSURL} })
	ask := func() error {
		n, err := d.Number(t.Context(), "alice")
		if err == nil && n == "" {
			err = errors.New("nobody")
		}
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	one.Kill() // with the connection open
	if err := ask(); err != nil {
		t.Errorf("after the first one's end: %v", err)
	}
	two.Kill()
	if err := ask(); err == nil {
		t.Error("without any server somebody has a number")
	}
	one.Start()
	if err := ask(); err != nil {
		t.Errorf("after the first one's return: %v", err)
	}
}

func TestLDAPIsAskedInParallel(t *testing.T) {
	s := servers.StartLDAP(t, people)
	d := directoryOf(t, s, nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 10 {
				if n, err := d.Number(context.Background(), "alice"); n != "+447400123456" || err != nil {
					t.Errorf("%q, %v", n, err)
				}
			}
		})
	}
	wg.Wait()
}

func pemOf(t *testing.T, s *servers.LDAP) []byte {
	t.Helper()
	b, err := os.ReadFile(s.CA)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
