package servers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// LDAP is a real slapd with users below ou=people,dc=example,dc=test. Anonymous
// clients may read nothing; BindDN may search; passwords travel over TLS only.
type LDAP struct {
	// URL is ldap://, for StartTLS; TLSURL ldaps://. Roots are what signs them.
	URL, TLSURL string
	Roots       *x509.CertPool
	CA          string // the same as a PEM file
	BindDN      string
	Password    string
	Base        string

	tb  testing.TB
	dir string
	cmd *exec.Cmd
}

// StartLDAP starts a slapd with the entries of ldif, which may be empty, and ends
// it with the test.
func StartLDAP(tb testing.TB, ldif string) *LDAP {
	tb.Helper()
	for _, tool := range []string{"slapd", "slapadd"} {
		if _, err := exec.LookPath(tool); err != nil {
			Missing(tb, tool+" (apt-get install slapd)")
		}
	}
	s := &LDAP{tb: tb, dir: tb.TempDir(), BindDN: "cn=gate,dc=example,dc=test", Password: "search-only", Base: "ou=people,dc=example,dc=test"}
	s.certificate()
	files := map[string]string{
		"slapd.conf": fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
security simple_bind=128
database mdb
suffix "dc=example,dc=test"
directory %[1]s/db
access to attrs=userPassword by anonymous auth by * none
access to * by dn="%[2]s" read by * none
`, s.dir, s.BindDN),
		"data.ldif": `dn: dc=example,dc=test
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: ou=people,dc=example,dc=test
objectClass: organizationalUnit
ou: people

dn: cn=gate,dc=example,dc=test
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: gate
userPassword: ` + s.Password + "\n\n" + ldif,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.dir, "db"), 0o700); err != nil {
		tb.Fatal(err)
	}
	conf := filepath.Join(s.dir, "slapd.conf")
	if out, err := exec.Command("slapadd", "-f", conf, "-l", filepath.Join(s.dir, "data.ldif")).CombinedOutput(); err != nil { //nolint:gosec // our own files
		tb.Fatalf("slapadd: %v\n%s", err, out)
	}
	plain, secure := freePort(tb), freePort(tb)
	s.URL, s.TLSURL = fmt.Sprintf("ldap://127.0.0.1:%d", plain), fmt.Sprintf("ldaps://127.0.0.1:%d", secure)
	s.Start()
	tb.Cleanup(s.Kill)
	return s
}

// Start starts the server, again after Kill.
func (s *LDAP) Start() {
	s.tb.Helper()
	s.cmd = exec.Command("slapd", "-d", "0", "-f", filepath.Join(s.dir, "slapd.conf"), "-h", s.URL+" "+s.TLSURL) //nolint:gosec // our own files
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	for range 100 {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", s.TLSURL[len("ldaps://"):])
		if err == nil {
			_ = conn.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.tb.Fatal("slapd does not answer")
}

// Kill ends the server at once.
func (s *LDAP) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// certificate makes a certificate for 127.0.0.1 that signs itself.
func (s *LDAP) certificate() {
	s.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.tb.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		s.tb.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.tb.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.CA = filepath.Join(s.dir, "cert.pem")
	for name, text := range map[string][]byte{"cert.pem": cert, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})} {
		if err := os.WriteFile(filepath.Join(s.dir, name), text, 0o600); err != nil {
			s.tb.Fatal(err)
		}
	}
	s.Roots = x509.NewCertPool()
	s.Roots.AppendCertsFromPEM(cert)
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // a TCP listener's
}
