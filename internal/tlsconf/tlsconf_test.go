package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTheCertificateIsMadeOnceAndVerifies(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tls")
	first, err := LoadOrCreate("", "", dir, []string{"siem.example.org", "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreate("", "", dir, nil)
	if err != nil || string(again.Certificate[0]) != string(first.Certificate[0]) {
		t.Fatalf("made twice: %v", err)
	}
	if st, err := os.Stat(filepath.Join(dir, GeneratedKey)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key mode: %v %v", st, err)
	}
	leaf, err := x509.ParseCertificate(first.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "siem.example.org", "192.0.2.1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// A container's host name is random: only hosts that were asked for are named.
func TestTheCertificateNamesTheHostOnlyWithoutOthers(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	f := func(hosts, want []string) {
		t.Helper()
		c, err := LoadOrCreate("", "", t.TempDir(), hosts)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(leaf.DNSNames, want) {
			t.Errorf("hosts %v give the names %v, want %v", hosts, leaf.DNSNames, want)
		}
	}
	f([]string{"enroll", "api", "localhost"}, []string{"localhost", "enroll", "api"})
	if host != "localhost" {
		f(nil, []string{"localhost", host})
	}
}

func TestOldProtocolVersionsAreRefused(t *testing.T) {
	t.Parallel()
	cert, err := LoadOrCreate("", "", t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", Server(cert))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	dial := func(version uint16) error {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}).Handshake()
	}
	if err := dial(tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 accepted")
	}
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if err := dial(v); err != nil {
			t.Errorf("%s: %v", tls.VersionName(v), err)
		}
	}
}

func TestAKeyWithoutACertificateIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := LoadOrCreate("", "key.pem", t.TempDir(), nil); err == nil {
		t.Error("accepted")
	}
}
