package app

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"vedette/config"
	"vedette/ingest"
	"vedette/ingest/deliver"
	"vedette/internal/commands"
	"vedette/internal/groups"
	"vedette/internal/kafka"
	"vedette/internal/packages"
	"vedette/internal/responses"
	"vedette/schemas"
)

func (a *App) buildIngest() error {
	cfg := ingest.Default()
	cfg.Listen, cfg.ListenUDP, cfg.Node = a.cfg.Ingest.TCP, a.cfg.Ingest.UDP, a.node
	cfg.MaxConnections, cfg.TotalBytes = a.cfg.Ingest.MaxConnections, a.cfg.Ingest.InFlightBytes
	cfg.AllowHigherVersions = a.cfg.Agents.AllowHigherVersions
	cfg.DisconnectionTime, cfg.PushBytesPerSecond = a.cfg.Agents.DisconnectedAfter, a.cfg.Agents.PushBytesPerSecond
	cfg.DisconnectionAlertTime, cfg.RemoveTime, cfg.RemovePurge = a.cfg.Agents.DisconnectedAlertAfter, a.cfg.Agents.RemoveAfter, a.cfg.Enroll.Purge
	store, err := a.openGroups()
	if err != nil {
		return err
	}
	upgrades, err := a.openPackages()
	if err != nil {
		return err
	}
	p, err := a.cluster.NewProducer("ingest", a.log, a.reg)
	if err != nil {
		return err
	}
	g, err := ingest.New(cfg, a.registry, p, ingest.Services{
		Keys: a.keyRequester(),
		Deliver: deliver.Services{
			Groups: store, Packages: upgrades,
			Verify: func(rec *schemas.Record) bool { return commands.Verify(a.box, rec) },
			Bury: func(rec schemas.Record, cause, detail string) {
				d := schemas.NewDeadLetter(&rec, cause, detail)
				p.Produce(d.Record(), nil)
			},
		},
	}, a.log, a.reg)
	if err != nil {
		p.Close()
		return err
	}
	a.cleanup = append(a.cleanup, func() { _ = g.Close() })
	store.OnChange(g.Delivery().GroupsChanged)
	a.checks.Add(RoleIngest, g.Ready)
	sweep := ingest.NewSweep(cfg, a.registry, p, a.log, a.reg)
	// The gateway is no replica of the commands: it takes only those that come after
	// its start, and verifies only those for agents that are connected here.
	a.roles[RoleIngest], a.ends.Ingest = closing{agentsRole{
		g, a.cluster.FollowNew(schemas.TopicCommands, a.log, g.Delivery().OnCommand),
		consumer{a.cluster, sweep.Consumer(a.cluster, a.reg)},
	}, p}, g.Addr().String()
	if u := g.UDPAddr(); u != nil {
		a.ends.IngestUDP = u.String()
	}
	return nil
}

// consumer is a member of a group as a role.
type consumer struct {
	cluster *kafka.Cluster
	cfg     kafka.GroupConfig
}

func (c consumer) Run(ctx context.Context) error { return c.cluster.Consume(ctx, c.cfg) }

// agentsRole looks after agents: the gateway, the commands for agents
// connected to it, and the search for silent ones.
type agentsRole struct{ gateway, commands, sweep Role }

func (r agentsRole) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i, x := range []Role{r.gateway, r.commands, r.sweep} {
		wg.Go(func() {
			defer cancel()
			errs[i] = x.Run(ctx)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// openPackages opens the upgrade packages, once per process.
func (a *App) openPackages() (*packages.Store, error) {
	if a.packages != nil {
		return a.packages, nil
	}
	s, err := packages.Open(a.cluster, a.box, a.node, a.log, a.reg)
	if err != nil {
		return nil, err
	}
	a.packages = s
	a.cleanup = append(a.cleanup, s.Close)
	a.checks.Add("packages", s.Err)
	return s, nil
}

// SharedByAll returns the files that the configuration adds to every group's own.
func SharedByAll(cfg config.Config) (groups.Provided, error) {
	set, err := responses.Load(cfg.ActiveResponse)
	if err != nil {
		return groups.Provided{}, err
	}
	given := groups.Provided{ARConf: set.ARConf()}
	if path := cfg.Agents.GroupTemplate; path != "" {
		if given.AgentConf, err = groups.ReadAgentConf(path); err != nil {
			return given, fmt.Errorf("agents.group_template: %w", err)
		}
	}
	return given, nil
}

// openGroups follows the groups' files, once per process.
func (a *App) openGroups() (*groups.Store, error) {
	if a.groups != nil {
		return a.groups, nil
	}
	given, err := SharedByAll(a.cfg)
	if err != nil {
		return nil, err
	}
	s, err := groups.Open(a.cluster, a.box, a.node, given, a.log, a.reg)
	if err != nil {
		return nil, err
	}
	a.groups = s
	a.infra["groups"] = s
	a.checks.Add("groups", func() error {
		select {
		case <-s.Ready():
			return s.Err()
		default:
			return errors.New("the groups' files have not been read to their end yet")
		}
	})
	if dir := a.cfg.Agents.GroupsDir; dir != "" {
		a.infra["groups_dir"] = groups.NewWatcher(dir, s, a.registry, a.log)
	}
	return s, nil
}
