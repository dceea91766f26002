package api

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"vedette/api/rest"

	"vedette/api/agents"
	"vedette/api/groups"
	"vedette/api/problem"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// Registry is the agents and groups of the registry.
type Registry struct {
	reg    *registry.Registry
	policy schemas.ForcePolicy
	// mergedSum gives the sum of the file that agents of groups are to have.
	mergedSum func(groups []string) string

	// manager is the name that agents which have connected are shown under.
	manager string

	// listing guards the fields of List. known holds all agents, which are never
	// changed once made; sorted is nil if it is to be made anew.
	listing sync.Mutex
	known   map[string]*agents.Agent
	sorted  []*agents.Agent
	sums    map[string]string // by the list of groups

	touching sync.Mutex // guards the list of changed agents
	dirty    map[string]bool
	allDirty bool
}

var (
	_ agents.Directory = (*Registry)(nil)
	_ groups.Groups    = (*Registry)(nil)
)

// NewRegistry returns the adapter. policy says when an agent gives way to one
// that is added without a word on that.
// manager is the server's name.
func NewRegistry(reg *registry.Registry, policy schemas.ForcePolicy, manager string) *Registry {
	r := &Registry{reg: reg, policy: policy, manager: manager, allDirty: true, dirty: map[string]bool{}, sums: map[string]string{}}
	reg.OnTouch(r.touch)
	return r
}

// dirtyMax bounds the agents that are remembered as changed; beyond, all are.
const dirtyMax = 10_000

func (r *Registry) touch(id string) {
	r.touching.Lock()
	defer r.touching.Unlock()
	if r.allDirty {
		return
	}
	if r.dirty[id] = true; len(r.dirty) > dirtyMax {
		r.dirty, r.allDirty = map[string]bool{}, true
	}
}

// CompareFiles has the files of agents compared with their groups': sum is that of the
// merged file of groups. Without it, having a file is being in step. Call it
// before use.
func (r *Registry) CompareFiles(sum func(groups []string) string) { r.mergedSum = sum }

// List implements Agents. Only agents that have changed since the last call are
// made anew, so that a request costs little beside its answer.
func (r *Registry) List() []*agents.Agent {
	r.listing.Lock()
	defer r.listing.Unlock()
	r.touching.Lock()
	dirty, all := r.dirty, r.allDirty
	r.dirty, r.allDirty = map[string]bool{}, false
	r.touching.Unlock()
	// Most agents share their list of groups with others.
	if r.mergedSum != nil {
		for key, sum := range r.sums {
			if r.mergedSum(strings.Split(key, ",")) != sum {
				clear(r.sums)
				all = true
				break
			}
		}
	}
	if all {
		r.known, r.sorted = map[string]*agents.Agent{}, nil
		for _, e := range r.reg.Agents() {
			if !e.Removed {
				r.known[e.ID] = r.agent(&e)
			}
		}
	}
	for id := range dirty {
		e, ok := r.reg.Agent(id)
		_, had := r.known[id]
		if ok {
			r.known[id] = r.agent(&e)
		} else {
			delete(r.known, id)
		}
		switch i, there := slices.BinarySearchFunc(r.sorted, id, func(a *agents.Agent, id string) int { return agents.CompareIDs(a.ID, id) }); {
		case ok != had:
			r.sorted = nil
		case ok && there:
			r.sorted[i] = r.known[id]
		}
	}
	if r.sorted == nil {
		r.sorted = slices.SortedFunc(maps.Values(r.known), func(a, b *agents.Agent) int { return agents.CompareIDs(a.ID, b.ID) })
	}
	return slices.Clone(r.sorted)
}

// sumsMax bounds the lists of groups whose sums are remembered.
const sumsMax = 10_000

// current is the sum of the file that agents in these groups are to have.
func (r *Registry) current(groups []string) string {
	key := strings.Join(groups, ",")
	sum, ok := r.sums[key]
	if !ok {
		sum = r.mergedSum(groups)
		if len(r.sums) >= sumsMax {
			clear(r.sums)
		}
		r.sums[key] = sum
	}
	return sum
}

// agent is an entry of the registry with its presence.
func (r *Registry) agent(e *registry.Agent) *agents.Agent {
	a := &agents.Agent{
		ID: e.ID, Name: e.Name, IP: e.IP, RegisterIP: e.IP, Groups: e.Groups, DateAdd: rest.Date{Time: e.Registered}, Status: agents.StateNever,
		Node: agents.UnknownNode, ConfigStatus: agents.NotSynced,
	}
	p, ok := r.reg.Presence(e.ID)
	if !ok {
		return a
	}
	a.Status, a.StatusCode, a.Version, a.Manager = string(p.State), int(p.StatusCode), p.Version, r.manager
	a.ConfigSum, a.MergedSum = p.ConfigSum, p.MergedSum
	a.OS = agents.OS{
		Name: p.OS.Name, Platform: p.OS.Platform, Version: p.OS.Version, Major: p.OS.Major, Minor: p.OS.Minor,
		Codename: p.OS.Codename, Uname: p.OS.Uname, Arch: p.OS.Arch, Build: p.OS.Build,
	}
	a.LastKeepAlive.Time, a.DisconnectedTime.Time = millis(p.LastKeepalive), millis(p.DisconnectionTime)
	a.Node = cmp.Or(p.Node, p.Gateway, agents.UnknownNode)
	a.IP = cmp.Or(p.AgentIP, p.Address, a.IP)
	// An agent reports the sum of the files it has once it has any.
	if p.MergedSum != "" && (r.mergedSum == nil || p.MergedSum == r.current(e.Groups)) {
		a.ConfigStatus = agents.Synced
	}
	return a
}

func millis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).Truncate(time.Second)
}

// Add implements Agents.
func (r *Registry) Add(ctx context.Context, n agents.NewAgent) (id, key string, err error) {
	policy := r.policy
	if f := n.Force; f != nil {
		policy = schemas.ForcePolicy{
			Enabled: f.Enabled, KeyMismatch: true, DisconnectedTimeEnabled: f.DisconnectedEnabled, DisconnectedTime: int64(f.Disconnected / time.Second),
			AfterRegistrationTime: int64(f.AfterRegistration / time.Second), Purge: r.policy.Purge,
		}
	}
	a, err := r.reg.Add(ctx, registry.AddRequest{Name: n.Name, IP: n.IP, ID: n.ID, Key: secret.String(n.Key), Force: policy})
	if err != nil {
		return "", "", registryProblem(err)
	}
	return a.ID, agents.KeyText(keyLine(&a)), nil
}

func keyLine(a *registry.Agent) string {
	return a.ID + " " + a.Name + " " + a.IP + " " + a.Key.Reveal()
}

// KeyLine implements Agents.
func (r *Registry) KeyLine(id string) (string, bool) {
	a, ok := r.reg.Agent(id)
	if !ok {
		return "", false
	}
	return keyLine(&a), true
}

// Groups implements Groups.
func (r *Registry) Groups() []groups.Group {
	all := r.reg.Groups()
	out := make([]groups.Group, len(all))
	for i, g := range all {
		out[i] = groups.Group{Name: g.Name, Agents: g.Agents}
	}
	return out
}

// AddGroup implements Groups.
func (r *Registry) AddGroup(ctx context.Context, name string) error {
	return registryProblem(r.reg.AddGroup(ctx, name))
}

// RemoveGroup implements Groups.
func (r *Registry) RemoveGroup(ctx context.Context, name string) error {
	return registryProblem(r.reg.RemoveGroup(ctx, name))
}

// SetGroups implements Groups.
func (r *Registry) SetGroups(ctx context.Context, agentID string, mode schemas.GroupMode, groups []string) error {
	return registryProblem(r.reg.SetGroups(ctx, agentID, mode, groups))
}

// Remove implements Agents.
func (r *Registry) Remove(ctx context.Context, id string, purge bool) error {
	return registryProblem(r.reg.Remove(ctx, id, purge))
}

// refusals are the codes of the registry's refusals.
var refusals = map[registry.Reason]problem.Code{
	registry.ReasonNotFound: problem.NoAgent, registry.ReasonDuplicateName: problem.AgentName, registry.ReasonHostName: problem.AgentName,
	registry.ReasonAddress: problem.AgentAddress, registry.ReasonDuplicateAddress: problem.AgentAddress,
	registry.ReasonDuplicateID: problem.AgentID, registry.ReasonID: problem.AgentID, registry.ReasonKey: problem.AgentKey,
	registry.ReasonNoGroup: problem.NoGroup, registry.ReasonGroupExists: problem.GroupExists, registry.ReasonDefaultGroup: problem.GroupDefault,
	registry.ReasonGroups: problem.GroupName, registry.ReasonTooManyGroups: problem.TooManyGroups,
	registry.ReasonNotMember: problem.GroupNotMember, registry.ReasonOnlyDefault: problem.GroupOnlyDefault,
}

// registryProblem gives a refusal of the registry its code.
func registryProblem(err error) error {
	if err == nil {
		return nil
	}
	var ref *registry.Refusal
	if !errors.As(err, &ref) {
		return problem.New(problem.EnrolmentDown, "")
	}
	if code, ok := refusals[ref.Reason]; ok {
		return problem.New(code, "")
	}
	if ref.Reason == registry.ReasonName {
		return problem.New(problem.EnrolmentFailed, "The name must be 2 to 128 of letters, digits, - _ and ., and not begin with a dot")
	}
	return problem.New(problem.EnrolmentFailed, "")
}
