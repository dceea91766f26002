package groups

import (
	"context"
	"log/slog"
	"time"
)

// watchEvery is how often the directory is looked at: a change counts after
// two looks, and its agents are to have it within ten seconds.
const watchEvery = 2 * time.Second

// publishWithin bounds the publication of one group.
const publishWithin = time.Minute

// Registry holds the groups (*registry.Registry).
type Registry interface {
	Ready() <-chan struct{}
	GroupExists(name string) bool
	AddGroup(ctx context.Context, name string) error
}

// Watcher publishes the groups of a directory, and each change of them.
type Watcher struct {
	dir   string
	store *Store
	reg   Registry
	log   *slog.Logger

	taken map[string]time.Time // by group, what was published or refused
	seen  map[string]time.Time // at the look before
	said  string
}

// NewWatcher prepares a watcher of dir (agents.groups_dir). Groups that are new
// there are made in reg.
func NewWatcher(dir string, store *Store, reg Registry, log *slog.Logger) *Watcher {
	return &Watcher{dir: dir, store: store, reg: reg, log: log}
}

// Run looks every watchEvery until ctx ends, then returns nil.
func (d *Watcher) Run(ctx context.Context) error {
	for _, ready := range []<-chan struct{}{d.store.Ready(), d.reg.Ready()} {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
	}
	d.taken, d.seen = map[string]time.Time{}, map[string]time.Time{}
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for first := true; ; first = false {
		d.look(ctx, first)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// look publishes the groups whose directory has changed and then stood still
// for a look. At the start, what was published later than the directory's last
// change stays: it came from somewhere else.
func (d *Watcher) look(ctx context.Context, first bool) {
	dirs, err := ReadDir(d.dir)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != d.said {
		if d.said = text; err != nil {
			d.log.Error("groups are not shared as their directory has them; what was published before stays", "dir", d.dir, "err", err)
		}
	}
	for _, g := range dirs {
		still := first || d.seen[g.Group].Equal(g.Changed)
		d.seen[g.Group] = g.Changed
		if !still || d.taken[g.Group].Equal(g.Changed) {
			continue
		}
		if list, ok := d.store.Published(g.Group); first && ok && list.Time.After(g.Changed) {
			d.taken[g.Group] = g.Changed
			continue
		}
		if err := d.publish(ctx, &g); err != nil {
			if ctx.Err() == nil {
				d.log.Error("a group's files were not published; tried again", "group", g.Group, "err", err)
			}
			continue
		}
		d.taken[g.Group] = g.Changed
	}
}

func (d *Watcher) publish(ctx context.Context, g *Dir) error {
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	if !d.reg.GroupExists(g.Group) {
		if err := d.reg.AddGroup(ctx, g.Group); err != nil && !d.reg.GroupExists(g.Group) {
			return err
		}
	}
	if err := d.store.Publish(ctx, g.Group, g.Files); err != nil {
		return err
	}
	d.log.Info("group's files published", "group", g.Group, "files", len(g.Files), "skipped", len(g.Skipped))
	return nil
}
