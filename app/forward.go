package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"vedette/forward"
	"vedette/forward/activeresponse"
	"vedette/forward/all"
	"vedette/forward/indexer"
	"vedette/internal/datadir"
	"vedette/internal/kafka"
	"vedette/internal/responses"
	"vedette/internal/store"
)

// buildForward opens the indexer, active response if there are any, and the
// destinations of the configuration.
func (a *App) buildForward(alerts store.Store, set *responses.Set) error {
	targets := []forward.Target{{Name: forward.IndexerName, Destination: indexer.New(alerts)}}
	respond, err := a.respond(set)
	if err != nil {
		return err
	}
	if respond != nil {
		targets = append(targets, forward.Target{Name: forward.ResponsesName, Destination: respond})
	}
	zone, err := time.LoadLocation(a.cfg.Cluster.Timezone)
	if err != nil {
		return fmt.Errorf("cluster.timezone: %w", err)
	}
	opened, err := all.Open(a.cfg.Forward.All(), forward.Env{DataDir: a.cfg.DataDir, Zone: zone})
	if err != nil {
		return err
	}
	a.cleanup = append(a.cleanup, func() {
		if err := all.Close(opened); err != nil {
			a.log.Error("a destination did not end well; its alerts are delivered", "err", err)
		}
	})
	r, err := forward.New(forward.Default(), a.cluster, append(targets, opened...), a.log, a.reg)
	if err != nil {
		return err
	}
	a.checks.Add(RoleForward, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		var errs []error
		for name, err := range r.Health(ctx) {
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
		return errors.Join(errs...)
	})
	a.roles[RoleForward] = r
	return nil
}

// respond returns the destination that turns alerts into commands, nil without
// responses, and adds the part that runs the server's own, which the API gives too.
func (a *App) respond(set *responses.Set) (d *activeresponse.Destination, err error) {
	p, err := a.cluster.NewProducer("activeresponse", a.log, a.reg)
	if err != nil {
		return nil, err
	}
	a.cleanup = append(a.cleanup, p.Close)
	if len(set.Bound()) > 0 {
		if d, err = activeresponse.New(set, a.registry, p, a.box, a.node, a.log, a.reg); err != nil {
			return nil, err
		}
	}
	cfg, err := responses.WithOssecConf(a.cfg.ActiveResponse)
	if err != nil {
		return nil, err
	}
	dir := cfg.Dir
	if dir == "" {
		dir = a.dir.File(datadir.ActiveResponse)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	runner, err := responses.NewRunner(dir, a.dir.File(datadir.ResponsesInForce), cfg.RepeatedOffenders, 0)
	if err != nil {
		return nil, err
	}
	x, err := activeresponse.NewExecutor(set, runner, a.box, a.node, p, a.log, a.reg)
	if err != nil {
		return nil, err
	}
	a.roles["forward/activeresponse"] = executor{x, a.cluster}
	return d, nil
}

type executor struct {
	x *activeresponse.Executor
	c *kafka.Cluster
}

func (e executor) Run(ctx context.Context) error { return e.x.Run(ctx, e.c) }
