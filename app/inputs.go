package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vedette/inputs/agentless"
	"vedette/inputs/syslog"
	"vedette/inputs/topics"
	"vedette/internal/datadir"
)

// buildInputs makes the roles whose events do not come from agents. They run
// beside the gateway, as parts of the role ingest.
func (a *App) buildInputs() error {
	return errors.Join(a.buildSyslog(), a.buildSources(), a.buildAgentless())
}

func (a *App) buildSyslog() error {
	cfg := a.cfg.Ingest.Syslog
	if !cfg.Enabled() {
		return nil
	}
	cfg.Node, cfg.CertificateDir, cfg.Hosts = a.node, a.dir.File(datadir.Certificates), a.cfg.Cluster.Hosts
	p, err := a.cluster.NewProducer("ingest-syslog", a.log, a.reg)
	if err != nil {
		return err
	}
	r, err := syslog.New(cfg, p, a.log, a.reg)
	if err != nil {
		p.Close()
		return err
	}
	a.cleanup = append(a.cleanup, func() { _ = r.Close() })
	a.checks.Add("syslog", r.Ready)
	a.roles["ingest/syslog"], a.ends.Syslog = closing{r, p}, r.Addrs()
	return nil
}

// makeSources creates the topics of ingest.kafka on the embedded broker, where
// nobody else does. On brokers of others they stay their owners' business.
func (a *App) makeSources(ctx context.Context) error {
	var names []string
	for _, s := range a.cfg.Ingest.Kafka {
		names = append(names, s.Topic)
	}
	if len(names) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, topicsWithin)
	defer cancel()
	if err := a.cluster.MakeTopics(ctx, a.cfg.Events.Retention, names...); err != nil {
		return fmt.Errorf("ingest.kafka: %w", err)
	}
	return nil
}

func (a *App) buildSources() error {
	if len(a.cfg.Ingest.Kafka) == 0 {
		return nil
	}
	maxAge := time.Hour
	if r := a.cfg.Events.Retention; r > 0 {
		maxAge = min(maxAge, r/4)
	}
	r, err := topics.New(topics.Options{
		Topics: a.cfg.Ingest.Kafka, Cluster: a.cluster, Registry: a.registry, Node: a.node, MaxAge: maxAge, Log: a.log, Registerer: a.reg,
	})
	if err != nil {
		return err
	}
	a.checks.Add("kafka sources", r.Ready)
	a.roles["ingest/kafka"] = r
	return nil
}

func (a *App) buildAgentless() error {
	if len(a.cfg.Agentless) == 0 {
		return nil
	}
	r, err := agentless.New(agentless.Options{Checks: a.cfg.Agentless, Cluster: a.cluster, Node: a.node, Log: a.log, Registerer: a.reg})
	if err != nil {
		return err
	}
	a.checks.Add("agentless", r.Ready)
	a.roles["ingest/agentless"] = r
	return nil
}
