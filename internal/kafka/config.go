package kafka

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Config says which brokers to use and how topics are made.
type Config struct {
	// Brokers are host:port addresses. Empty: the embedded broker.
	Brokers []string `mapstructure:"brokers"`
	// EmbeddedListen is the loopback address of the embedded broker.
	EmbeddedListen string `mapstructure:"embedded_listen"`
	// TopicPrefix begins every topic and group name.
	TopicPrefix string `mapstructure:"topic_prefix"`
	// Partitions of events, alerts and archives; 0 means 48, or 12 embedded. Fixed once created.
	Partitions int `mapstructure:"partitions"`
	// Replication of every topic; 0 means min(3, brokers).
	Replication int `mapstructure:"replication"`
	// QueueBytes bounds the records of this process that wait for their handlers; 0
	// means 512 MB, or less where the memory is limited.
	QueueBytes int64      `mapstructure:"queue_bytes"`
	TLS        TLSConfig  `mapstructure:"tls"`
	SASL       SASLConfig `mapstructure:"sasl"`
}

// TLSConfig says how connections to the brokers are encrypted.
type TLSConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// CA is a PEM file of authorities to trust instead of the system's.
	CA string `mapstructure:"ca"`
	// Certificate and Key are PEM files of the client's own identity.
	Certificate string `mapstructure:"certificate"`
	Key         string `mapstructure:"key"`
}

// SASLConfig says how clients log in.
type SASLConfig struct {
	// Mechanism is empty, PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism    string `mapstructure:"mechanism"`
	Username     string `mapstructure:"username"`
	PasswordFile string `mapstructure:"password_file"`
}

// Default returns the configuration of a single process with nothing else installed.
func Default() Config {
	return Config{EmbeddedListen: "127.0.0.1:9092", TopicPrefix: "vedette."}
}

// Embedded reports whether the process brings its own broker.
func (c Config) Embedded() bool { return len(c.Brokers) == 0 }

// Validate returns every problem of the configuration, joined. Each names its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if c.Embedded() && c.EmbeddedListen == "" {
		bad("kafka.embedded_listen: empty, and kafka.brokers names no broker")
	}
	if strings.ContainsAny(c.TopicPrefix, " /\\:") || len(c.TopicPrefix) > 100 {
		bad("kafka.topic_prefix: %q is no part of a topic name; use letters, digits, '.', '_' and '-'", c.TopicPrefix)
	}
	if c.Partitions < 0 || c.Partitions > 10000 {
		bad("kafka.partitions: %d is not in 0…10000", c.Partitions)
	}
	if c.Replication < 0 || c.Replication > 32 {
		bad("kafka.replication: %d is not in 0…32", c.Replication)
	}
	if c.QueueBytes < 0 {
		bad("kafka.queue_bytes: %d is negative", c.QueueBytes)
	}
	switch c.SASL.Mechanism {
	case "":
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		if c.SASL.Username == "" {
			bad("kafka.sasl.username: empty, but kafka.sasl.mechanism is %s", c.SASL.Mechanism)
		}
		if _, err := os.Stat(c.SASL.PasswordFile); err != nil {
			bad("kafka.sasl.password_file: %v", err)
		}
	default:
		bad("kafka.sasl.mechanism: %q is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", c.SASL.Mechanism)
	}
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		bad("kafka.tls: certificate and key must be given together")
	}
	for key, path := range map[string]string{"ca": c.TLS.CA, "certificate": c.TLS.Certificate, "key": c.TLS.Key} {
		if path == "" {
			continue
		}
		if !c.TLS.Enabled {
			bad("kafka.tls.%s: set, but kafka.tls.enabled is false", key)
		}
		if _, err := os.Stat(path); err != nil {
			bad("kafka.tls.%s: %v", key, err)
		}
	}
	return errors.Join(errs...)
}
