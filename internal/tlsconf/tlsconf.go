// Package tlsconf makes the TLS configuration of listeners: it loads a
// certificate, or makes a self-signed one once and keeps it.
package tlsconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Names of the generated files inside the directory given to LoadOrCreate.
const (
	GeneratedCert = "server.cert.pem"
	GeneratedKey  = "server.key.pem"
)

// validity of a generated certificate: it is pinned by hand or not verified at
// all, so an early end would only cause outages.
const validity = 10 * 365 * 24 * time.Hour

// creating keeps roles of one process from making the pair twice.
var creating sync.Mutex

// LoadOrCreate returns the certificate in certPath (PEM, may hold a chain) and
// keyPath. When both are empty it uses the pair in dir, which it makes on first
// use: ECDSA P-256, self-signed, valid ten years, for localhost, the loopback
// addresses, and hosts (names or addresses), or this machine's name if there are none.
func LoadOrCreate(certPath, keyPath, dir string, hosts []string) (tls.Certificate, error) {
	if (certPath == "") != (keyPath == "") {
		return tls.Certificate{}, errors.New("certificate and key must be given together")
	}
	if certPath == "" {
		certPath, keyPath = filepath.Join(dir, GeneratedCert), filepath.Join(dir, GeneratedKey)
		if err := ensure(certPath, keyPath, hosts); err != nil {
			return tls.Certificate{}, fmt.Errorf("make certificate in %s: %w", dir, err)
		}
	}
	c, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load certificate %s with key %s: %w", certPath, keyPath, err)
	}
	return c, nil
}

// Server returns the configuration of a listener: TLS 1.2 and 1.3.
func Server(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}

func ensure(certPath, keyPath string, hosts []string) error {
	creating.Lock()
	defer creating.Unlock()
	if _, err := os.Stat(certPath); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(certPath), 0o750); err != nil {
		return err
	}
	certPEM, keyPEM, err := generate(hosts, time.Now())
	if err != nil {
		return err
	}
	// The key goes first, so that a certificate never stands without its key.
	if err := writeFile(keyPath, keyPEM, 0o600); err != nil {
		return err
	}
	return writeFile(certPath, certPEM, 0o644)
}

func generate(hosts []string, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Vedette", Organization: []string{"Vedette self-signed"}},
		NotBefore:             now.Add(-time.Hour), // clocks of agents run behind
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that the file itself can be given as the CA to verify against
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if len(hosts) == 0 {
		if name, err := os.Hostname(); err == nil {
			hosts = []string{name}
		}
	}
	for _, h := range hosts {
		switch ip := net.ParseIP(h); {
		case ip != nil:
			t.IPAddresses = append(t.IPAddresses, ip)
		case h != "" && h != "localhost":
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk}), nil
}

// writeFile writes beside path and renames, so that no reader sees half a file.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Ensure makes a pair at certPath and keyPath unless certPath is there.
func Ensure(certPath, keyPath string, hosts []string) error { return ensure(certPath, keyPath, hosts) }
