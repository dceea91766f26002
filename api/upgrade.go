package api

import (
	"context"
	"crypto/sha1" //nolint:gosec // agents compare it
	"encoding/hex"
	"errors"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vedette/api/problem"
	"vedette/internal/commands"
	"vedette/internal/secret"
	"vedette/schemas"
)

// Packages take what agents are upgraded by; *packages.Store is one.
type Packages interface {
	// Put makes a package available on every node and returns its SHA-256.
	Put(ctx context.Context, file string, data []byte) (sha256 string, err error)
}

const (
	// packageChunk is how much of a package one message to an agent carries.
	//
	// Source: spec/agent-protocol.md §8a.
	packageChunk = 32768
	// packageKinds bounds the packages that one request puts.
	packageKinds = 8
	// upgradeCustom and upgradeKnown tell orders of the two operations apart.
	upgradeCustom = "upgrade_custom"
	upgradeKnown  = "upgrade"
	// taskDate is how tasks' dates are shown.
	taskDate = "2006-01-02T15:04:05Z"
)

// oldestUpgradable is the first version that takes packages in the form used here.
//
// Source: spec/agent-protocol.md §8a, end.
var oldestUpgradable = []int{4, 1}

// choose returns the agents that the request's ids and filters are about, without
// the server; what was named and is not among them fails in l.
func (a *API) choose(c *call, l *list) (agents []*Agent, named bool, err error) {
	agents, err = a.permitted(c, l)
	if err != nil {
		return nil, false, err
	}
	ids, named := c.strs("agents_list")
	named = named && !slices.Contains(ids, "all")
	keep := agentFilter(c)
	match := func(*Agent) bool { return true }
	if q := c.str("q"); q != "" {
		m, err := agentListing.query(q, c.now)
		if err != nil {
			return nil, false, err
		}
		match = func(x *Agent) bool { return m.Match(x) }
	}
	agents = slices.DeleteFunc(others(l, agents, named), func(x *Agent) bool {
		out := !keep(x) || !match(x)
		if out && named {
			l.fail(problem.AgentFilter, x.ID)
		}
		return out
	})
	return agents, named, nil
}

// upgrading returns the agents that an order for an upgrade has not ended for.
func (a *API) upgrading(now time.Time) map[string]bool {
	out := map[string]bool{}
	if a.deps.Orders == nil {
		return out
	}
	for _, o := range a.deps.Orders.Recent(ordersListed, func(o *commands.Order) bool { return o.Kind == schemas.CommandUpgrade && !o.Final(now) }) {
		out[o.AgentID] = true
	}
	return out
}

// upgrade orders what pick says for each agent.
func (a *API) upgrade(c *call, kind string, pick func(x *Agent, version []int) (*agentPackage, problem.Code)) (any, error) {
	l := &list{All: "All upgrade tasks were created", Some: "Some upgrade tasks were not created", None: "No upgrade task was created", Items: []any{}}
	agents, _, err := a.choose(c, l)
	if err != nil {
		return nil, err
	}
	if a.deps.Packages == nil || a.deps.Orders == nil {
		return nil, problem.New(problem.NotReady, "")
	}
	// A package is in memory as a whole; that is enough for one request at a time.
	if err := hold(c.ctx, a.packaging); err != nil {
		return nil, err
	}
	defer func() { <-a.packaging }()
	busy, put := a.upgrading(c.now), map[string]*schemas.AgentUpgrade{}
	var cmds []schemas.Command
	items := []ordered{}
	for _, x := range agents {
		version := numbers(x.Version)
		var p *agentPackage
		var refused problem.Code
		switch {
		case x.Status != stateActive:
			refused = problem.AgentNotActive
		case busy[x.ID]:
			refused = problem.Upgrading
		case len(version) == 0 || slices.Compare(version, oldestUpgradable) < 0:
			refused = problem.UpgradeVersion
		default:
			p, refused = pick(x, version)
		}
		if refused != 0 {
			l.fail(refused, x.ID)
			continue
		}
		u := put[p.file]
		if u == nil {
			if len(put) >= packageKinds {
				return nil, problem.Newf(problem.NoPackage, "The agents need more than %d packages; name fewer of them", packageKinds)
			}
			if u, err = a.putPackage(c.ctx, p.file); err != nil {
				return nil, err
			}
			put[p.file] = u
		}
		mine := *u
		mine.Installer = p.installer
		id := secret.RandomHex(16)
		cmds = append(cmds, schemas.Command{ID: id, Kind: schemas.CommandUpgrade, AgentID: x.ID, Origin: c.user.Name, Response: kind, Upgrade: &mine})
		items = append(items, ordered{{"agent", x.ID}, {"task_id", taskID(id)}})
	}
	if err := a.give(c, cmds); err != nil {
		return nil, err
	}
	l.Items, l.Total = items, len(items)
	return l, nil
}

// hold takes one of a channel's places, which the caller gives back.
func hold(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// agentPackage is the package for one agent and what of it is run there.
type agentPackage struct{ file, installer string }

// installerOf is the script that a package has for an agent's system.
func installerOf(x *Agent) string {
	if strings.EqualFold(x.OS.Platform, "windows") {
		return "upgrade.bat"
	}
	return "upgrade.sh"
}

// taskID is the number that clients know an upgrade by.
func taskID(commandID string) int {
	h := fnv.New32a()
	_, _ = io.WriteString(h, commandID)
	return int(h.Sum32() >> 1)
}

// putPackage reads a package of the configured directory and puts it.
func (a *API) putPackage(ctx context.Context, file string) (*schemas.AgentUpgrade, error) {
	data, err := a.readPackage(file)
	if err != nil {
		var p *problem.Problem
		if !errors.As(err, &p) {
			a.log.Warn("an upgrade package was not read", "file", file, "err", err)
			p = problem.Newf(problem.NoPackage, "The package %.200s does not exist below agents.packages_dir of this node, or may not be read", file)
		}
		return nil, p
	}
	u := &schemas.AgentUpgrade{File: file, Size: int64(len(data)), ChunkBytes: packageChunk}
	hash := sha1.Sum(data)
	u.SHA1 = hex.EncodeToString(hash[:])
	if u.SHA256, err = a.deps.Packages.Put(ctx, file, data); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		a.log.Warn("an upgrade package was not put", "file", file, "err", err)
		return nil, problem.New(problem.OrderFailed, "The brokers do not answer; nothing was ordered")
	}
	return u, nil
}

func (a *API) readPackage(file string) ([]byte, error) {
	root, err := os.OpenRoot(a.cfg.PackagesDir) // links do not lead out of it
	if err != nil {
		return nil, err
	}
	defer root.Close()
	st, err := root.Lstat(file)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	if st.Size() < 1 || st.Size() > schemas.MaxPackageBytes {
		return nil, problem.Newf(problem.NoPackage, "The package %.200s has %d bytes; it may have 1 to %d", file, st.Size(), int64(schemas.MaxPackageBytes))
	}
	f, err := root.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, st.Size())
	_, err = io.ReadFull(f, data)
	return data, err
}

// upgradeByFile upgrades by a package that the request names.
func (a *API) upgradeByFile(c *call) (any, error) {
	if a.cfg.PackagesDir == "" {
		return nil, problem.New(problem.NoPackage, "agents.packages_dir is not configured on this node")
	}
	file := c.str("file_path")
	if dir, name := filepath.Split(file); dir != "" {
		have, err := filepath.Abs(a.cfg.PackagesDir)
		if err != nil || filepath.Clean(dir) != have {
			return nil, problem.New(problem.NoPackage, "A package lies in agents.packages_dir itself; its plain name is enough")
		}
		file = name
	}
	if !plainFile(file) {
		return nil, problem.Bad("%.200q is no plain name - 'file_path'", file)
	}
	installer := c.str("installer")
	if installer != "" && !plainFile(installer) {
		return nil, problem.Bad("%.200q is no plain name - 'installer'", installer)
	}
	return a.upgrade(c, upgradeCustom, func(x *Agent, _ []int) (*agentPackage, problem.Code) {
		if installer != "" {
			return &agentPackage{file, installer}, 0
		}
		return &agentPackage{file, installerOf(x)}, 0
	})
}

func plainFile(name string) bool {
	return schemas.ValidSharedPath(name) && !strings.ContainsAny(name, "/ \t,") && len(name) <= 255
}

// upgradeAgents upgrades by the newest package that fits, or one of a version.
func (a *API) upgradeAgents(c *call) (any, error) {
	if c.str("wpk_repo") != "" {
		return nil, problem.New(problem.NoPackage, "Packages come from agents.packages_dir; no repository is asked")
	}
	if a.cfg.PackagesDir == "" {
		return nil, problem.New(problem.NoPackage, "agents.packages_dir is not configured on this node")
	}
	have, err := knownPackages(a.cfg.PackagesDir)
	if err != nil {
		a.log.Warn("upgrade packages not listed", "err", err)
		return nil, problem.New(problem.NoPackage, "agents.packages_dir cannot be read on this node")
	}
	server, want, force := numbers(Version), numbers(c.str("upgrade_version")), c.flag("force")
	return a.upgrade(c, upgradeKnown, func(x *Agent, version []int) (*agentPackage, problem.Code) {
		if len(want) > 0 && slices.Compare(want, server) > 0 && !force {
			return nil, problem.NeedsForce
		}
		for _, p := range have {
			switch {
			case !p.fits(x, c.str("package_type")):
				continue
			case len(want) > 0 && slices.Compare(p.version, want) != 0:
				continue
			case len(want) == 0 && slices.Compare(p.version, server) > 0: // it would be refused at its next connection
				continue
			case slices.Compare(p.version, version) <= 0 && !force:
				return nil, problem.NotNewer
			}
			return &agentPackage{p.file, installerOf(x)}, 0
		}
		return nil, problem.NoPackage
	})
}

// upgradeResults lists the last upgrade of each agent.
func (a *API) upgradeResults(c *call) (any, error) {
	l := &list{All: "All upgrade tasks were returned", Some: "Some upgrade tasks were not returned", None: "No upgrade task was returned"}
	agents, named, err := a.choose(c, l)
	if err != nil {
		return nil, err
	}
	last := map[string]commands.Order{}
	if a.deps.Orders != nil {
		for _, o := range a.deps.Orders.Recent(ordersListed, func(o *commands.Order) bool { return o.Kind == schemas.CommandUpgrade }) {
			if _, newer := last[o.AgentID]; !newer {
				last[o.AgentID] = o
			}
		}
	}
	items := []ordered{}
	for _, x := range agents {
		o, ok := last[x.ID]
		switch {
		case ok:
			items = append(items, taskItem(&o, c.now))
		case named:
			l.fail(problem.NoTask, x.ID)
		}
	}
	l.Items, l.Total = items, len(items)
	return l, nil
}

// taskItem is an upgrade as clients know it.
//
// Source: spec/api.md §12 "Tasks".
func taskItem(o *commands.Order, now time.Time) ordered {
	status, message := "In progress", o.Text
	switch o.Status {
	case "":
		if status, message = "In queue", "Waiting for the node that holds the agent's connection"; o.Final(now) {
			status, message = "Timeout", "No node held the agent's connection in time"
		}
	case schemas.ReplyProgress:
		if o.Final(now) {
			status = "Timeout"
		}
	case schemas.ReplyDone:
		status = "Done"
	case schemas.ReplyTimedOut, schemas.ReplyExpired:
		status = "Timeout"
	default:
		status = "Failed"
	}
	command := o.Response
	if command == "" {
		command = upgradeKnown
	}
	m := ordered{{"message", message}, {"agent", o.AgentID}, {"task_id", taskID(o.ID)}, {"node", o.Node}, {"module", "upgrade_module"}, {"command", command}, {"status", status}}
	if status == "Failed" || status == "Timeout" {
		m = append(m, member{"error_message", message})
	}
	for _, d := range []struct {
		key string
		at  time.Time
	}{{"create_time", o.Given}, {"update_time", o.Changed}} {
		if !d.at.IsZero() {
			m = append(m, member{d.key, d.at.UTC().Format(taskDate)})
		}
	}
	if o.Package != "" {
		m = append(m, member{"file", o.Package})
	}
	return m
}
