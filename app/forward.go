package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"vedette/forward"
	"vedette/forward/alertsfile"
	"vedette/forward/all"
)

// destinations are what the configuration asks for besides the indexer.
func (a *App) destinations() (all.Options, error) {
	var o all.Options
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

// ending closes the destinations when the role has ended.
type ending struct {
	Role
	dests []forward.Destination
}

func (e ending) Run(ctx context.Context) error {
	err := e.Role.Run(ctx)
	return errors.Join(err, all.Close(e.dests))
}
