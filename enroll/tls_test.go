package enroll

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// authority makes certificates for agents.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
	next int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem"), next: 2}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "agents"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a.key = key
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) issue(cn string, dns []string, ips ...string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: cn}, DNSNames: dns,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a.next++
	for _, ip := range ips {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// says returns the server's answer to an agent with a certificate, or nothing.
func says(s *Server, certs ...tls.Certificate) string {
	c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true, Certificates: certs})
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	_, _ = io.WriteString(c, "OSSEC A:'web1'\n")
	b, _ := io.ReadAll(c)
	return string(b)
}

func TestOnlyAgentsWithACertificateOfTheCAEnroll(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	f := newFake()
	close(f.ready)
	s := startSmall(t, f, 10, func(c *Config) { c.AgentCA = ca.file })
	const granted = "OSSEC K:'001 web1 any thekey'"
	if got := says(s, ca.issue("whoever", nil)); got != granted {
		t.Errorf("a good certificate: %q", got)
	}
	if got := says(s); got != "" {
		t.Errorf("no certificate: %q", got)
	}
	if got := says(s, other.issue("whoever", nil)); got != "" {
		t.Errorf("another CA's certificate: %q", got)
	}
	eventually(t, "both are counted", func() bool { return testutil.ToFloat64(s.m.dropped.WithLabelValues(dropCertificate)) == 2 })
}

func TestTheCertificateMustNameTheAddress(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	f := newFake()
	close(f.ready)
	s := startSmall(t, f, 10, func(c *Config) { c.AgentCA, c.VerifyAgentAddress = ca.file, true })
	const granted = "OSSEC K:'001 web1 any thekey'"
	for name, cert := range map[string]tls.Certificate{
		"IP":                      ca.issue("x", nil, "127.0.0.1"),
		"DNS":                     ca.issue("x", []string{"127.0.0.1"}),
		"CN":                      ca.issue("127.0.0.1", nil),
		"CN, another name beside": ca.issue("127.0.0.1", []string{"example.org"}, "192.0.2.1"),
	} {
		if got := says(s, cert); got != granted {
			t.Errorf("%s: %q", name, got)
		}
	}
	for name, cert := range map[string]tls.Certificate{
		"IP": ca.issue("x", nil, "127.0.0.2"), "DNS": ca.issue("localhost", []string{"localhost"}), "CN": ca.issue("127.0.0.2", nil), "nothing": ca.issue("", nil),
	} {
		if got := says(s, cert); got != "" {
			t.Errorf("not named by %s: %q", name, got)
		}
	}
	eventually(t, "four are counted", func() bool { return testutil.ToFloat64(s.m.dropped.WithLabelValues(dropAddress)) == 4 })
}

func TestNamesAreComparedLabelByLabel(t *testing.T) {
	t.Parallel()
	f := func(certified, name string, want bool) {
		t.Helper()
		if got := sameName(certified, name); got != want {
			t.Errorf("%q for %q: %v", certified, name, got)
		}
	}
	long := make([]byte, 64)
	for i := range long {
		long[i] = 'a'
	}
	f("Web.Example.ORG", "web.example.org", true)
	f("*.example.org", "web.example.org", true)
	f("*.example.org", "a.web.example.org", false)
	f("*.example.org", "example.org", false)
	f("web.*.org", "web.example.org", false)
	f("w*.example.org", "web.example.org", false)
	f("*", "web", true)
	f("", "", false)
	f("web..org", "web..org", false)
	f("web_1.org", "web_1.org", false)
	f("web.org.", "web.org.", false)
	f(string(long), string(long), false)
	f(string(long[:63]), string(long[:63]), true)
	f("2001:db8::1", "2001:db8::1", false) // only an IP name stands for IPv6
	if !namesAddress(&x509.Certificate{IPAddresses: []net.IP{net.ParseIP("2001:db8::1")}}, netip.MustParseAddr("2001:db8::1%eth0")) {
		t.Error("an IPv6 address is not found")
	}
}

func TestOldProtocolsAndWeakCiphersAreRefused(t *testing.T) {
	t.Parallel()
	f := newFake()
	close(f.ready)
	s := startSmall(t, f, 10, nil)
	dial := func(version uint16, suites ...uint16) error {
		c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, CipherSuites: suites})
		if err == nil {
			c.Close()
		}
		return err
	}
	if dial(tls.VersionTLS11) == nil || dial(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA) == nil {
		t.Error("accepted")
	}
	if err := dial(tls.VersionTLS12); err != nil {
		t.Error(err)
	}
	if err := dial(tls.VersionTLS13); err != nil {
		t.Error(err)
	}
}

func TestABadCAFileIsAnErrorAtStart(t *testing.T) {
	t.Parallel()
	f := newFake()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, empty + "x"} {
		cfg := Default()
		cfg.Listen, cfg.DataDir, cfg.AgentCA = "127.0.0.1:0", t.TempDir(), file
		if s, err := New(cfg, f, quiet(), nil); err == nil {
			s.Close()
			t.Errorf("%s accepted", file)
		}
	}
}
