package kafka

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/twmb/franz-go/pkg/kfake"
)

// embeddedUser is the only account of the embedded broker, and embeddedMechanism
// how it logs in.
const (
	embeddedUser      = "vedette"
	embeddedMechanism = "SCRAM-SHA-256"
)

// Embedded is a broker inside this process, with its log on disk.
//
// It is franz-go's kfake: one node, no replication, every write synced before
// it is acknowledged. Ordinary Kafka clients reach it on its loopback address
// with SCRAM-SHA-256, the user "vedette" and the password file; with the older
// handshake too (loginConn).
type Embedded struct {
	cluster *kfake.Cluster
	stop    chan struct{}
	stopped chan struct{} // closed when the ends are no longer noted
	// Addr is where it listens.
	Addr string
}

// StartEmbedded starts the broker on the log under dir/kafka; nothing else may
// write there. The whole log is read at start. While healthy returns an error,
// writes are refused in a way that makes clients send them again.
func StartEmbedded(cfg Config, dir, password string, healthy func() error, log *slog.Logger) (*Embedded, error) {
	host, portText, err := net.SplitHostPort(cfg.EmbeddedListen)
	if err != nil {
		return nil, fmt.Errorf("kafka.embedded_listen: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("kafka.embedded_listen: port %q is no number", portText)
	}
	data := filepath.Join(dir, "kafka")
	// The broker's own files are readable by all; the folder is not.
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	if err := os.Chmod(data, 0o700); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	if err := restoreEnds(dir); err != nil {
		return nil, fmt.Errorf("embedded broker: find where its partitions ended: %w", err)
	}
	guard, err := newGuard(data, healthy, log)
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.Ports(port),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			_, p, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			l, err := listenSturdily(network, net.JoinHostPort(host, p), log)
			if err != nil {
				return nil, err
			}
			return &loginListener{Listener: l, log: log}, nil
		}),
		kfake.ClusterID("vedette-embedded"),
		kfake.DataDir(data),
		kfake.SyncWrites(),
		kfake.EnableSASL(),
		kfake.Superuser(embeddedMechanism, embeddedUser, password),
		kfake.BrokerConfigs(map[string]string{
			"log.cleaner.backoff.ms": "60000",
			"message.max.bytes":      strconv.Itoa(MaxBatchBytes),
		}),
		kfake.WithLogger(kfakeLogger{log}),
	)
	if err != nil {
		return nil, fmt.Errorf("start the embedded broker on %s: %w", cfg.EmbeddedListen, err)
	}
	guard.watch(cluster)
	e := &Embedded{cluster: cluster, stop: make(chan struct{}), stopped: make(chan struct{}), Addr: cluster.ListenAddrs()[0]}
	go func() {
		defer close(e.stopped)
		noteEnds(cluster, dir, log, e.stop)
	}()
	return e, nil
}

// Close syncs the log and ends the broker.
func (e *Embedded) Close() {
	close(e.stop)
	<-e.stopped
	e.cluster.Close()
}

// ConnectEmbedded prepares clients for an embedded broker, of this process or
// of another on this machine.
func ConnectEmbedded(cfg Config, addr, password string) *Cluster {
	cfg.Brokers = []string{addr}
	c, err := Connect(Config{Brokers: cfg.Brokers, TopicPrefix: cfg.TopicPrefix, Partitions: cfg.Partitions, Replication: 1, QueueBytes: cfg.QueueBytes})
	if err != nil {
		panic(err) // nothing is read from files here
	}
	c.embedded = true
	c.login(embeddedMechanism, embeddedUser, password)
	return c
}

// kfakeLogger passes the broker's warnings on and drops its chatter.
type kfakeLogger struct{ log *slog.Logger }

func (l kfakeLogger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("embedded broker: " + fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("embedded broker: " + fmt.Sprintf(format, args...))
	}
}
