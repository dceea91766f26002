package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"vedette/api/manager"
	"vedette/config"
	"vedette/internal/buildinfo"
	"vedette/internal/nodes"
	"vedette/internal/retry"
	"vedette/schemas"
)

// NodeName is how this process calls itself in presence and event headers:
// cluster.node, the host name, or the name of the container.
func NodeName(c config.Config) string {
	if c.Cluster.Node != "" {
		return c.Cluster.Node
	}
	if name := nodes.HostName(); name != "" {
		return name
	}
	return c.Cluster.Name
}

// openNodes announces this process with its roles, and the formats of registry
// records that it reads.
func (a *App) openNodes(names []string) error {
	self := &schemas.Node{
		V: schemas.NodeVersion, Name: a.node, Roles: slices.Sorted(slices.Values(names)), Version: buildinfo.Version(),
		Started: time.Now().UnixMilli(), Host: nodes.HostName(),
	}
	if a.registry != nil {
		self.Registry = schemas.KnownFormats()
	}
	n, err := nodes.Open(a.cluster, a.box, self, a.log, a.reg)
	if err != nil {
		return err
	}
	n.OnAnnounce(a.counters)
	a.infra["nodes"], a.nodes = n, n
	if a.registry != nil {
		a.infra["activation"] = activation{a}
	}
	return nil
}

// counters are what this process tells the API on other nodes.
func (a *App) counters() map[string]float64 {
	counters, err := manager.ReadCounters(a.reg)
	if err != nil {
		a.log.Warn("some metrics were not read for the announcement of this node", "err", err)
	}
	return counters
}

// otherNodes returns the announcements of all processes. With the embedded broker
// there is no other process, and a former name of this one is no node.
func (a *App) otherNodes() []schemas.Node {
	if a.cfg.Kafka.Embedded() || a.nodes == nil {
		return nil
	}
	return a.nodes.List()
}

// ReadNodes returns the announcements of the processes that run.
func ReadNodes(ctx context.Context, d *Data, log *slog.Logger) ([]schemas.Node, error) {
	n, err := nodes.Open(d.Cluster, d.Box, nil, log, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	defer func() { cancel(); <-done }()
	select {
	case <-n.Ready():
		return n.List(), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("read the list of nodes: %w", ctx.Err())
	}
}

// activation activates formats where no other process can lack them, and tells
// people where they have to.
type activation struct{ a *App }

func (x activation) Run(ctx context.Context) error {
	select {
	case <-x.a.registry.Ready():
		x.activate(ctx)
		if x.a.groups != nil {
			x.contents(ctx)
		}
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}

// activeEvery is how often a process looks whether contents may stand in the topic
// blobs.
const activeEvery = 5 * time.Second

// contents passes the registry's activation on to the topic files, where processes
// without a registry see it too. Nobody else reads the topics of an embedded broker.
// A command that uses the broker of a running process must not conclude that: the
// process may be older than the command.
func (x activation) contents(ctx context.Context) {
	for {
		_, inactive := x.a.registry.Inactive()[schemas.FormatBlobs]
		if x.a.cfg.Kafka.Embedded() || !inactive && x.a.registry.Err() == nil {
			err := x.a.groups.Activate(ctx)
			if err == nil {
				return
			}
			x.a.log.Warn("contents do not stand in the topic blobs yet; tried again", "err", err)
		}
		if retry.Sleep(ctx, activeEvery) != nil {
			return
		}
	}
}

func (x activation) activate(ctx context.Context) {
	left := x.a.registry.Inactive()
	switch {
	case len(left) == 0 || x.a.registry.Err() != nil || x.a.registry.Status().Offset < 0: // the first record activates
	case x.a.cfg.Kafka.Embedded():
		// Nobody else reads these topics.
		if _, err := x.a.registry.Activate(ctx, nil, nil); err != nil && ctx.Err() == nil {
			x.a.log.Warn("new formats of the registry are not active; restart this process to try again", "err", err)
		}
	default:
		x.a.log.Warn("this version can write new kinds of changes once all nodes run it: run `vedette registry activate` then", "kinds", len(left))
	}
}
