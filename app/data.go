package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vedette/config"
	"vedette/internal/datadir"
	"vedette/internal/kafka"
	published "vedette/internal/rulesets"
	"vedette/internal/secret"
	"vedette/rulesets"
)

// Data is access to the topics, and the cluster key.
type Data struct {
	Cluster *kafka.Cluster
	Box     *secret.Box
	close   []func()
}

// Close ends the parts that OpenData started.
func (d *Data) Close() {
	for i := len(d.close) - 1; i >= 0; i-- {
		d.close[i]()
	}
}

// OpenData reaches the topics for a command: the configured brokers, or the
// embedded broker of the process that holds data_dir, or, if none runs, an
// embedded broker of its own under the lock.
func OpenData(ctx context.Context, c config.Config, log *slog.Logger) (*Data, error) {
	d := &Data{}
	if !c.Kafka.Embedded() {
		cluster, err := kafka.Connect(c.Kafka)
		if err != nil {
			return nil, err
		}
		d.Cluster = cluster
		return d, d.openKey(c.Cluster.KeyFile, log)
	}
	dir, err := datadir.Open(c.DataDir)
	switch {
	case err == nil:
		d.close = append(d.close, func() { _ = dir.Close() })
		own := c.Kafka
		own.EmbeddedListen = "127.0.0.1:0" // nobody else is to find it
		broker, cluster, err := startEmbedded(ctx, dir, own, c.Events, log)
		if err != nil {
			d.Close()
			return nil, err
		}
		d.close = append(d.close, broker.Close)
		d.Cluster = cluster
	case errors.Is(err, datadir.ErrLocked):
		at, e := datadir.ReadEndpoints(c.DataDir)
		if e != nil || at.Kafka == "" {
			return nil, fmt.Errorf("data_dir %s is in use by a process that has not said where it listens; try again when it is up", c.DataDir)
		}
		raw, e := os.ReadFile(filepath.Join(c.DataDir, datadir.KafkaPassword))
		if e != nil {
			return nil, fmt.Errorf("password of the running process: %w", e)
		}
		d.Cluster = kafka.ConnectEmbedded(c.Kafka, at.Kafka, strings.TrimSpace(string(raw)))
	default:
		return nil, err
	}
	if err := d.openKey(keyFile(c), log); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// OpenTopics is OpenData for commands that only look after topics: with
// configured brokers it needs no key.
func OpenTopics(ctx context.Context, c config.Config, log *slog.Logger) (*Data, error) {
	if c.Kafka.Embedded() {
		return OpenData(ctx, c, log)
	}
	cluster, err := kafka.Connect(c.Kafka)
	return &Data{Cluster: cluster}, err
}

func keyFile(c config.Config) string {
	if c.Cluster.KeyFile != "" {
		return c.Cluster.KeyFile
	}
	return filepath.Join(c.DataDir, datadir.ClusterKey)
}

func (d *Data) openKey(path string, log *slog.Logger) error {
	box, err := openBox(path, log)
	d.Box = box
	return err
}

func openBox(path string, log *slog.Logger) (*secret.Box, error) {
	keys, err := secret.LoadOrCreateKeys(path, log)
	if err != nil {
		return nil, fmt.Errorf("cluster key: %w", err)
	}
	return secret.NewBox(keys[0], keys[1:]...)
}

// startEmbedded starts the broker of dir and makes its topics.
func startEmbedded(ctx context.Context, dir *datadir.Dir, cfg kafka.Config, events config.Events, log *slog.Logger) (*kafka.Embedded, *kafka.Cluster, error) {
	password, _, err := dir.SecretFile(datadir.KafkaPassword, func() string { return secret.RandomHex(24) })
	if err != nil {
		return nil, nil, err
	}
	broker, err := kafka.StartEmbedded(cfg, dir.Path, password, dir.Err, log)
	if err != nil {
		return nil, nil, err
	}
	cluster := kafka.ConnectEmbedded(cfg, broker.Addr, password)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := cluster.ApplyTopics(ctx, Retention(events)); err != nil {
		broker.Close()
		return nil, nil, err
	}
	return broker, cluster, nil
}

// Retention is the configured retention of the topic events.
func Retention(e config.Events) kafka.Retention {
	return kafka.Retention{Time: e.Retention, Bytes: e.MaxBytes}
}

// Rulesets lets a command look after the published versions. fn must not keep
// the Store.
func (d *Data) Rulesets(ctx context.Context, c config.Config, log *slog.Logger, fn func(context.Context, *published.Store) error) error {
	return rulesets.WithStore(ctx, d.Cluster, d.Box, NodeName(c), log, fn)
}
