package syslog

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"vedette/internal/ipset"
)

// Values of Config.KeyBy.
const (
	// KeyBySource gives each source address a state of its own.
	KeyBySource = "source"
	// KeyByAgent lets all devices share the state of agent 000, as in 4.14.
	KeyByAgent = "agent"
)

// Config sets the addresses for devices and the allowed senders.
type Config struct {
	// TCP, UDP and TLS are addresses to listen on, such as ":514"; none is off.
	TCP []string `mapstructure:"tcp"`
	UDP []string `mapstructure:"udp"`
	TLS []string `mapstructure:"tls"`
	// Certificate and Key are PEM files; generated under data_dir when empty.
	Certificate string `mapstructure:"certificate"`
	Key         string `mapstructure:"key"`
	// ClientCA, if set, is a PEM file; TLS senders must then show a certificate
	// that it signed.
	ClientCA string `mapstructure:"client_ca"`
	// Allowed are the addresses and networks that may send; without any, nothing
	// listens. Denied are exceptions, looked at first.
	Allowed []string `mapstructure:"allowed"`
	Denied  []string `mapstructure:"denied"`
	// KeyBy is KeyBySource or KeyByAgent.
	KeyBy string `mapstructure:"key_by"`

	// Node names this gateway in events.
	Node string `mapstructure:"-"`
	// CertificateDir is where a generated certificate is kept.
	CertificateDir string `mapstructure:"-"`
	// Hosts are names and addresses that a generated certificate names.
	Hosts []string `mapstructure:"-"`
	// Limits are those no operator needs to change.
	Limits Limits `mapstructure:"-"`
}

// Limits bounds the resources of senders. docs/limits.md gives the reasons.
type Limits struct {
	// MessageBytes is one more than the longest message, framing not counted.
	MessageBytes int
	// Connections and SourceConnections are the most in all and of one address.
	Connections       int
	SourceConnections int
	// Handshake is how long TLS may take, Partial how long a message from its
	// first byte to its last, Idle how long a connection may say nothing.
	Handshake time.Duration
	Partial   time.Duration
	Idle      time.Duration
	// WindowBytes is how much of a connection, or of a source over UDP, may be
	// unacknowledged; TotalBytes the same for all connections, and once more for UDP.
	WindowBytes int64
	TotalBytes  int64
	// ReceiveBuffer is asked of the kernel for a UDP socket, in bytes.
	ReceiveBuffer int
	// DrainRead is how long senders may finish at the end, Drain how long
	// acknowledgements are waited for.
	DrainRead time.Duration
	Drain     time.Duration
}

// DefaultLimits returns the limits of a gateway.
func DefaultLimits() Limits {
	return Limits{
		MessageBytes: 65536, Connections: 4096, SourceConnections: 512,
		Handshake: 10 * time.Second, Partial: time.Minute, Idle: 24 * time.Hour,
		WindowBytes: 1 << 20, TotalBytes: 32 << 20, ReceiveBuffer: 8 << 20,
		DrainRead: 2 * time.Second, Drain: 30 * time.Second,
	}
}

// Default returns the configuration that listens nowhere.
func Default() Config {
	none := func() []string { return []string{} }
	return Config{TCP: none(), UDP: none(), TLS: none(), Allowed: none(), Denied: none(), KeyBy: KeyBySource, Limits: DefaultLimits()}
}

// Enabled reports whether anything is to listen.
func (c Config) Enabled() bool { return len(c.TCP)+len(c.UDP)+len(c.TLS) > 0 }

// Validate returns every problem, joined; each names its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	for _, l := range []struct {
		key, network string
		addrs        []string
	}{{"tcp", "tcp", c.TCP}, {"udp", "udp", c.UDP}, {"tls", "tcp", c.TLS}} {
		for _, addr := range l.addrs {
			_, port, err := net.SplitHostPort(addr)
			if err == nil {
				_, err = net.LookupPort(l.network, port)
			}
			if err != nil {
				bad("ingest.syslog.%s: %v; give an address and a port, such as :514", l.key, err)
			}
		}
	}
	if c.Enabled() && len(c.Allowed) == 0 {
		bad("ingest.syslog.allowed: empty; name the addresses and networks that may send, such as [10.0.0.0/8], or [any]")
	}
	for key, list := range map[string][]string{"allowed": c.Allowed, "denied": c.Denied} {
		if _, err := set(list); err != nil {
			bad("ingest.syslog.%s: %v", key, err)
		}
	}
	if (c.Certificate == "") != (c.Key == "") {
		bad("ingest.syslog.certificate, ingest.syslog.key: give both or neither")
	}
	for key, path := range map[string]string{"certificate": c.Certificate, "key": c.Key, "client_ca": c.ClientCA} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			bad("ingest.syslog.%s: %v", key, err)
		}
		if len(c.TLS) == 0 {
			bad("ingest.syslog.%s: given, but ingest.syslog.tls names no address", key)
		}
	}
	if c.KeyBy != KeyBySource && c.KeyBy != KeyByAgent {
		bad("ingest.syslog.key_by: %q is neither %s nor %s", c.KeyBy, KeyBySource, KeyByAgent)
	}
	return errors.Join(errs...)
}

func set(list []string) (*ipset.Set, error) {
	s := &ipset.Set{}
	for _, text := range list {
		if err := s.Add(text); err != nil {
			return nil, err
		}
	}
	return s, nil
}
