package upgrades

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

	"vedette/api/agents"
	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/internal/commands"
	"vedette/internal/secret"
	"vedette/schemas"
)

// Service answers the operations on upgrades.
type Service struct {
	*agents.Service
	// Packages store upgrade packages; nil where there are none.
	Packages Packages
	// Dir holds the packages that agents are upgraded by; empty: none.
	Dir string

	packaging chan struct{} // holds a token while packages are read and put
}

// New returns the service.
func New(s Service) *Service {
	s.packaging = make(chan struct{}, 1)
	return &s
}

// Part returns the operations of this package.
func (a *Service) Part() rest.Part {
	return rest.Part{Items: []rest.Item{rest.ItemOf[task]("Task")}, Operations: []rest.Operation{
		rest.Op("upgrade_agents", a.upgradeAgents), rest.Op("upgrade_agents_custom", a.upgradeByFile), rest.Op("list_upgrades", a.upgradeResults),
		rest.Op("list_tasks", a.listTasks),
	}}
}

// Packages store upgrade packages; *packages.Store implements it.
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
)

// oldestUpgradable is the first version that takes packages in the form used here.
//
// Source: spec/agent-protocol.md §8a, end.
var oldestUpgradable = []int{4, 1}

// upgrading returns the agents that an order for an upgrade has not ended for.
func (a *Service) upgrading(now time.Time) map[string]bool {
	out := map[string]bool{}
	if a.Orders == nil {
		return out
	}
	for _, o := range a.Orders.Recent(agents.OrdersListed, func(o *commands.Order) bool { return o.Kind == schemas.CommandUpgrade && !o.Final(now) }) {
		out[o.AgentID] = true
	}
	return out
}

// upgrade orders an upgrade of each agent to the package that pick chooses.
func (a *Service) upgrade(c *rest.Call, kind string, chosen []*agents.Agent, pick func(x *agents.Agent, version []int) (*agentPackage, problem.Code)) (rest.Answer, error) {
	if a.Packages == nil || a.Orders == nil {
		return nil, problem.New(problem.NotReady, "")
	}
	// A package is in memory as a whole; that is enough for one request at a time.
	if err := rest.Hold(c.Ctx, a.packaging); err != nil {
		return nil, err
	}
	defer func() { <-a.packaging }()
	busy, put := a.upgrading(c.Now), map[string]*schemas.AgentUpgrade{}
	var cmds []schemas.Command
	items := []rest.Ordered{}
	var err error
	for _, x := range chosen {
		version := agents.Numbers(x.Version)
		var p *agentPackage
		var refused problem.Code
		switch {
		case x.Status != agents.StateActive:
			refused = problem.AgentNotActive
		case busy[x.ID]:
			refused = problem.Upgrading
		case len(version) == 0 || slices.Compare(version, oldestUpgradable) < 0:
			refused = problem.UpgradeVersion
		default:
			p, refused = pick(x, version)
		}
		if refused != 0 {
			c.Fail(refused, x.ID)
			continue
		}
		u := put[p.file]
		if u == nil {
			if len(put) >= packageKinds {
				return nil, problem.Newf(problem.NoPackage, "The agents need more than %d packages; name fewer of them", packageKinds)
			}
			if u, err = a.putPackage(c.Ctx, p.file); err != nil {
				return nil, err
			}
			put[p.file] = u
		}
		mine := *u
		mine.Installer = p.installer
		id := secret.RandomHex(16)
		cmds = append(cmds, schemas.Command{ID: id, Kind: schemas.CommandUpgrade, AgentID: x.ID, Origin: c.User.Name, Response: kind, Upgrade: &mine})
		items = append(items, rest.Ordered{{Key: "agent", Value: x.ID}, {Key: "task_id", Value: TaskID(id)}})
	}
	if err := a.Give(c, cmds); err != nil {
		return nil, err
	}
	return rest.Items(items, rest.Messages{All: "All upgrade tasks were created", Some: "Some upgrade tasks were not created", None: "No upgrade task was created"}), nil
}

// agentPackage is the package for one agent and the file of it that the agent runs.
type agentPackage struct{ file, installer string }

// installerOf is the script that a package has for an agent's system.
func installerOf(x *agents.Agent) string {
	if strings.EqualFold(x.OS.Platform, "windows") {
		return "upgrade.bat"
	}
	return "upgrade.sh"
}

// TaskID is the number that clients know an upgrade by.
func TaskID(commandID string) int {
	h := fnv.New32a()
	_, _ = io.WriteString(h, commandID)
	return int(h.Sum32() >> 1)
}

// putPackage reads a package of the configured directory and puts it.
func (a *Service) putPackage(ctx context.Context, file string) (*schemas.AgentUpgrade, error) {
	data, err := a.readPackage(file)
	if err != nil {
		var p *problem.Problem
		if !errors.As(err, &p) {
			a.Log.Warn("an upgrade package was not read", "file", file, "err", err)
			p = problem.Newf(problem.NoPackage, "The package %.200s does not exist below agents.packages_dir of this node, or may not be read", file)
		}
		return nil, p
	}
	u := &schemas.AgentUpgrade{File: file, Size: int64(len(data)), ChunkBytes: packageChunk}
	hash := sha1.Sum(data)
	u.SHA1 = hex.EncodeToString(hash[:])
	if u.SHA256, err = a.Packages.Put(ctx, file, data); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		a.Log.Warn("an upgrade package was not put", "file", file, "err", err)
		return nil, problem.New(problem.OrderFailed, "The brokers do not answer; nothing was ordered")
	}
	return u, nil
}

func (a *Service) readPackage(file string) ([]byte, error) {
	root, err := os.OpenRoot(a.Dir) // links do not lead out of it
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

type upgradeByFile struct {
	Agents rest.Targets[*agents.Agent] `param:"agents_list"`
	agents.Filter
	File      string `param:"file_path"`
	Installer string `param:"installer"`
}

// upgradeByFile upgrades by a package that the request names.
func (a *Service) upgradeByFile(c *rest.Call, p *upgradeByFile) (rest.Answer, error) {
	if a.Dir == "" {
		return nil, problem.New(problem.NoPackage, "agents.packages_dir is not configured on this node")
	}
	file := p.File
	if dir, name := filepath.Split(file); dir != "" {
		have, err := filepath.Abs(a.Dir)
		if err != nil || filepath.Clean(dir) != have {
			return nil, problem.New(problem.NoPackage, "A package lies in agents.packages_dir itself; its plain name is enough")
		}
		file = name
	}
	if !plainFile(file) {
		return nil, problem.Bad("%.200q is no plain name - 'file_path'", file)
	}
	installer := p.Installer
	if installer != "" && !plainFile(installer) {
		return nil, problem.Bad("%.200q is no plain name - 'installer'", installer)
	}
	chosen, err := p.Choose(c, &p.Agents, nil)
	if err != nil {
		return nil, err
	}
	return a.upgrade(c, upgradeCustom, chosen, func(x *agents.Agent, _ []int) (*agentPackage, problem.Code) {
		if installer != "" {
			return &agentPackage{file, installer}, 0
		}
		return &agentPackage{file, installerOf(x)}, 0
	})
}

func plainFile(name string) bool {
	return schemas.ValidSharedPath(name) && !strings.ContainsAny(name, "/ \t,") && len(name) <= 255
}

type upgradeAgents struct {
	Agents rest.Targets[*agents.Agent] `param:"agents_list"`
	agents.Filter
	Repository  string `param:"wpk_repo"`
	To          string `param:"upgrade_version"`
	HTTP        bool   `param:"use_http"`
	Force       bool   `param:"force"`
	PackageType string `param:"package_type"`
}

// upgradeAgents upgrades by the newest package that fits, or one of a version.
func (a *Service) upgradeAgents(c *rest.Call, p *upgradeAgents) (rest.Answer, error) {
	if p.Repository != "" {
		return nil, problem.New(problem.NoPackage, "Packages come from agents.packages_dir; no repository is asked")
	}
	if a.Dir == "" {
		return nil, problem.New(problem.NoPackage, "agents.packages_dir is not configured on this node")
	}
	have, err := knownPackages(a.Dir)
	if err != nil {
		a.Log.Warn("upgrade packages not listed", "err", err)
		return nil, problem.New(problem.NoPackage, "agents.packages_dir cannot be read on this node")
	}
	server, want, force := agents.Numbers(rest.Version), agents.Numbers(p.To), p.Force
	chosen, err := p.Choose(c, &p.Agents, nil)
	if err != nil {
		return nil, err
	}
	return a.upgrade(c, upgradeKnown, chosen, func(x *agents.Agent, version []int) (*agentPackage, problem.Code) {
		if len(want) > 0 && slices.Compare(want, server) > 0 && !force {
			return nil, problem.NeedsForce
		}
		for _, pkg := range have {
			switch {
			case !pkg.fits(x, p.PackageType):
				continue
			case len(want) > 0 && slices.Compare(pkg.version, want) != 0:
				continue
			case len(want) == 0 && slices.Compare(pkg.version, server) > 0: // it would be refused at its next connection
				continue
			case slices.Compare(pkg.version, version) <= 0 && !force:
				return nil, problem.NotNewer
			}
			return &agentPackage{pkg.file, installerOf(x)}, 0
		}
		return nil, problem.NoPackage
	})
}

type upgradeResults struct {
	Agents rest.Targets[*agents.Agent] `param:"agents_list"`
	agents.Filter
}

// upgradeResults lists the last upgrade of each agent.
func (a *Service) upgradeResults(c *rest.Call, p *upgradeResults) (rest.Answer, error) {
	chosen, err := p.Choose(c, &p.Agents, nil)
	if err != nil {
		return nil, err
	}
	last := map[string]commands.Order{}
	if a.Orders != nil {
		for _, o := range a.Orders.Recent(agents.OrdersListed, func(o *commands.Order) bool { return o.Kind == schemas.CommandUpgrade }) {
			if _, newer := last[o.AgentID]; !newer {
				last[o.AgentID] = o
			}
		}
	}
	items := []*task{}
	for _, x := range chosen {
		o, ok := last[x.ID]
		switch {
		case ok:
			items = append(items, newTask(&o, c.Now))
		case p.Agents.Named:
			c.Fail(problem.NoTask, x.ID)
		}
	}
	return rest.Items(items, rest.Messages{All: "All upgrade tasks were returned", Some: "Some upgrade tasks were not returned", None: "No upgrade task was returned"}), nil
}
