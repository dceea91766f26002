package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"vedette/schemas"
)

// MaxBatchBytes bounds one batch of records, before compression; every topic
// accepts it. It leaves room for an alert of 1 MB with its headers.
const MaxBatchBytes = 2 << 20

// queuedBytesMax is the default of Config.QueueBytes.
const queuedBytesMax = 512 << 20

// A client fetches a share of Config.QueueBytes at once, within these bounds.
const (
	fetchShares   = 64
	fetchBytesMin = 256 << 10
	fetchBytesMax = 4 << 20
)

// Cluster knows how to reach the brokers, and the partitions that consumers of
// this process hold. It has no connection of its own and is safe for concurrent
// use.
type Cluster struct {
	prefix   string
	embedded bool
	cfg      Config
	base     []kgo.Opt
	shared   *shared
}

// shared is the state that the consumers of one process have in common.
type shared struct {
	queued    atomic.Int64 // bytes of the records that wait for handlers
	queuedMax int64
	mu        sync.Mutex
	stalled   map[stalledPart]string // partitions that make no progress, and why
}

type stalledPart struct {
	group, topic string
	partition    int32
}

func (s *shared) full() bool { return s.queued.Load() > s.queuedMax }

// Connect prepares clients for the configured brokers. It reads the TLS and
// password files, and opens no connection.
func Connect(cfg Config) (*Cluster, error) {
	c := &Cluster{prefix: cfg.TopicPrefix, cfg: cfg, shared: &shared{stalled: map[stalledPart]string{}}}
	if c.shared.queuedMax = cfg.QueueBytes; c.shared.queuedMax == 0 {
		c.shared.queuedMax = queuedBytesMax
	}
	// A fetch of logs grows tenfold when it is decompressed.
	fetch := int32(max(fetchBytesMin, min(fetchBytesMax, c.shared.queuedMax/fetchShares)))
	c.base = []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID("vedette"),
		kgo.DialTimeout(5 * time.Second),
		kgo.RetryTimeout(20 * time.Second),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.MetadataMaxAge(30 * time.Second),
		kgo.FetchMaxBytes(fetch),
		kgo.FetchMaxPartitionBytes(fetch / 4),
	}
	if cfg.TLS.Enabled {
		t := &tls.Config{MinVersion: tls.VersionTLS12}
		if cfg.TLS.CA != "" {
			pem, err := os.ReadFile(cfg.TLS.CA)
			if err != nil {
				return nil, fmt.Errorf("kafka.tls.ca: %w", err)
			}
			t.RootCAs = x509.NewCertPool()
			if !t.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("kafka.tls.ca: %s holds no PEM certificate", cfg.TLS.CA)
			}
		}
		if cfg.TLS.Certificate != "" {
			pair, err := tls.LoadX509KeyPair(cfg.TLS.Certificate, cfg.TLS.Key)
			if err != nil {
				return nil, fmt.Errorf("kafka.tls.certificate: %w", err)
			}
			t.Certificates = []tls.Certificate{pair}
		}
		c.base = append(c.base, kgo.DialTLSConfig(t))
	}
	if cfg.SASL.Mechanism != "" {
		raw, err := os.ReadFile(cfg.SASL.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("kafka.sasl.password_file: %w", err)
		}
		c.login(cfg.SASL.Mechanism, cfg.SASL.Username, strings.TrimRight(string(raw), "\r\n"))
	}
	return c, nil
}

func (c *Cluster) login(mechanism, user, password string) {
	switch mechanism {
	case "PLAIN":
		c.base = append(c.base, kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()))
	case "SCRAM-SHA-256":
		c.base = append(c.base, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		c.base = append(c.base, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
	}
}

// Topic returns the broker's name of a topic.
func (c *Cluster) Topic(name string) string { return c.prefix + name }

func (c *Cluster) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(append([]kgo.Opt(nil), c.base...), opts...)...)
}

// Admin opens an administration client; the caller closes it.
func (c *Cluster) Admin() (*kadm.Client, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(cl), nil
}

// Ping returns nil if a broker answers before ctx ends.
func (c *Cluster) Ping(ctx context.Context) error {
	cl, err := c.client(kgo.RetryTimeout(time.Second))
	if err != nil {
		return err
	}
	defer cl.Close()
	return cl.Ping(ctx)
}

// OffsetAfter returns, for one partition, the first offset whose record is not
// older than t; the end offset if there is none.
func offsetAfter(ctx context.Context, adm *kadm.Client, topic string, partition int32, t time.Time) (int64, error) {
	ls, err := adm.ListOffsetsAfterMilli(ctx, t.UnixMilli(), topic)
	if err != nil {
		return 0, err
	}
	l, ok := ls.Lookup(topic, partition)
	if !ok {
		return 0, fmt.Errorf("topic %s has no partition %d", topic, partition)
	}
	return l.Offset, l.Err
}

func fromKgo(r *kgo.Record, prefix string, hs []schemas.Header) (schemas.Record, []schemas.Header) {
	start := len(hs)
	for _, h := range r.Headers {
		hs = append(hs, schemas.Header{Key: h.Key, Value: h.Value})
	}
	return schemas.Record{
		Topic:     strings.TrimPrefix(r.Topic, prefix),
		Partition: r.Partition,
		Offset:    r.Offset,
		Timestamp: r.Timestamp,
		Key:       r.Key,
		Value:     r.Value,
		Headers:   hs[start:len(hs):len(hs)],
	}, hs
}

func (c *Cluster) toKgo(r schemas.Record) *kgo.Record {
	k := &kgo.Record{Topic: c.prefix + r.Topic, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}
	if r.Topic == schemas.TopicCheckpoints {
		k.Partition = r.Partition // see partitioner
	}
	if len(r.Headers) > 0 {
		k.Headers = make([]kgo.RecordHeader, len(r.Headers))
		for i, h := range r.Headers {
			k.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
		}
	}
	return k
}
