package enroll

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"vedette/internal/tlsconf"
)

// errNoCertificate says that an agent showed no certificate where one is demanded.
var errNoCertificate = errors.New("the agent shows no certificate")

// serverTLS returns the port's configuration: TLS 1.2 with forward secrecy and
// authenticated encryption, or 1.3. With a CA file, agents must show a
// certificate that chains to it.
//
// Source: spec/enrollment.md §1.
func serverTLS(cfg Config) (*tls.Config, error) {
	cert, err := tlsconf.LoadOrCreate(cfg.Certificate, cfg.Key, cfg.DataDir, cfg.Hosts)
	if err != nil {
		return nil, err
	}
	t := tlsconf.Server(cert)
	t.CipherSuites = []uint16{ // of TLS 1.2; the order is crypto/tls's own
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
	// An agent enrolls once: a ticket would never be used.
	t.SessionTicketsDisabled = true
	if cfg.AgentCA == "" {
		return t, nil
	}
	pem, err := os.ReadFile(cfg.AgentCA)
	if err != nil {
		return nil, fmt.Errorf("enroll.agent_ca: %w", err)
	}
	t.ClientCAs = x509.NewCertPool()
	if !t.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("enroll.agent_ca: %s holds no PEM certificate", cfg.AgentCA)
	}
	// VerifyConnection refuses a missing certificate, so that its error differs
	// from the error of an invalid certificate.
	t.ClientAuth = tls.VerifyClientCertIfGiven
	t.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 || len(cs.VerifiedChains) == 0 {
			return errNoCertificate
		}
		return nil
	}
	return t, nil
}

// certificateError reports whether a handshake ended because of the agent's certificate.
func certificateError(err error) bool {
	var bad *tls.CertificateVerificationError
	return errors.Is(err, errNoCertificate) || errors.As(err, &bad)
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// namesAddress reports whether a certificate names the address a peer comes
// from: any subjectAltName of type DNS or IP, or else any common name.
//
// Source: spec/enrollment.md §1 `ssl_verify_host`.
func namesAddress(cert *x509.Certificate, source netip.Addr) bool {
	source = source.Unmap().WithZone("")
	for _, ip := range cert.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok && a.Unmap() == source {
			return true
		}
	}
	text := source.String()
	for _, name := range cert.DNSNames {
		if sameName(name, text) {
			return true
		}
	}
	for _, attr := range cert.Subject.Names {
		if name, ok := attr.Value.(string); ok && attr.Type.Equal(oidCommonName) && sameName(name, text) {
			return true
		}
	}
	return false
}

// sameName compares names label by label, without regard to case. A label is 1
// to 63 letters, digits and `-`; `*` may stand for the first label of the
// certificate's name.
func sameName(certified, name string) bool {
	want, have := strings.Split(certified, "."), strings.Split(name, ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if !validLabel(have[i]) {
			return false
		}
		if i == 0 && want[i] == "*" {
			continue
		}
		if !validLabel(want[i]) || !strings.EqualFold(want[i], have[i]) {
			return false
		}
	}
	return true
}

func validLabel(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}
