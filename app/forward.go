package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"vedette/forward"
	"vedette/forward/activeresponse"
	"vedette/forward/alertsfile"
	"vedette/forward/all"
	"vedette/internal/datadir"
	"vedette/internal/kafka"
	"vedette/internal/responses"
)

// destinations are what the configuration asks for besides the indexer.
func (a *App) destinations(set *responses.Set) (all.Options, error) {
	var o all.Options
	if err := a.respond(set, &o); err != nil {
		return o, err
	}
	if c := a.cfg.Forward.AlertsFile; c.Enabled {
		zone, err := time.LoadLocation(a.cfg.Cluster.Timezone)
		if err != nil {
			return o, fmt.Errorf("cluster.timezone: %w", err)
		}
		dir := c.Dir
		if dir == "" {
			dir = filepath.Join(a.cfg.DataDir, "logs")
		}
		o.AlertsFile = alertsfile.New(dir, zone)
	}
	return o, nil
}

// respond adds what turns alerts into commands, if any do, and the part that runs
// the server's own, which the API gives too.
func (a *App) respond(set *responses.Set, o *all.Options) error {
	p, err := a.cluster.NewProducer("activeresponse", a.log, a.reg)
	if err != nil {
		return err
	}
	a.cleanup = append(a.cleanup, p.Close)
	if len(set.Bound()) > 0 {
		if o.ActiveResponse, err = activeresponse.New(set, a.registry, p, a.box, a.node, a.log, a.reg); err != nil {
			return err
		}
	}
	cfg, err := responses.WithOssecConf(a.cfg.ActiveResponse)
	if err != nil {
		return err
	}
	dir := cfg.Dir
	if dir == "" {
		dir = a.dir.File(datadir.ActiveResponse)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	runner, err := responses.NewRunner(dir, a.dir.File(datadir.ResponsesInForce), cfg.RepeatedOffenders, 0)
	if err != nil {
		return err
	}
	x, err := activeresponse.NewExecutor(set, runner, a.box, a.node, p, a.log, a.reg)
	if err != nil {
		return err
	}
	a.roles["forward/activeresponse"] = executor{x, a.cluster}
	return nil
}

type executor struct {
	x *activeresponse.Executor
	c *kafka.Cluster
}

func (e executor) Run(ctx context.Context) error { return e.x.Run(ctx, e.c) }

// ending closes the destinations when the role has ended.
type ending struct {
	Role
	dests []forward.Destination
}

func (e ending) Run(ctx context.Context) error {
	err := e.Role.Run(ctx)
	return errors.Join(err, all.Close(e.dests))
}
