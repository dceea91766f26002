package registry

import (
	"context"
	"maps"
	"slices"

	"vedette/schemas"
)

const (
	// groupsMax bounds the groups of an installation.
	groupsMax = 10_000
	// groupNamesMax bounds the names in one change of an agent's groups.
	groupNamesMax = 1024
)

// Group is a set of agents that share files.
type Group struct {
	Name string
	// Agents is how many agents are in it that may connect.
	Agents int
}

func (s *State) addGroup(name string) Outcome {
	if !schemas.ValidGroupName(name) {
		return refuse(ReasonGroups, name, "")
	}
	if _, ok := s.groups[name]; ok {
		return refuse(ReasonGroupExists, name, "")
	}
	if len(s.groups) >= groupsMax {
		return refuse(ReasonFull, name, "")
	}
	s.groups[name] = 0
	return Outcome{}
}

// removeGroup takes a group out of every agent that is in it.
func (s *State) removeGroup(name string) Outcome {
	if name == schemas.DefaultGroup {
		return refuse(ReasonDefaultGroup, name, "")
	}
	n, ok := s.groups[name]
	if !ok {
		return refuse(ReasonNoGroup, name, "")
	}
	var out Outcome
	if n > 0 {
		for _, a := range s.agents {
			if !a.Removed && slices.Contains(a.Groups, name) {
				s.regroup(a, without(a.Groups, []string{name}))
				out.Regrouped = append(out.Regrouped, *a)
			}
		}
		slices.SortFunc(out.Regrouped, compareAgents)
	}
	delete(s.groups, name)
	return out
}

// setGroups changes one agent's list.
//
// Source: spec/enrollment.md §5 (override), spec/api.md "Groups".
func (s *State) setGroups(q *schemas.AgentGroups) Outcome {
	a, ok := s.agents[q.AgentID]
	if !ok || a.Removed {
		return refuse(ReasonNotFound, q.AgentID, "")
	}
	if len(q.Groups) > groupNamesMax {
		return refuse(ReasonTooManyGroups, q.AgentID, "")
	}
	if name, ok := s.unknownGroup(q.Groups); ok {
		return refuse(ReasonNoGroup, name, "")
	}
	names := distinct(q.Groups)
	switch q.Mode {
	case schemas.GroupsOverride:
	case schemas.GroupsIfNone:
		if len(a.Groups) > 0 {
			return Outcome{Agent: *a}
		}
	case schemas.GroupsAppend:
		names = distinct(append(slices.Clone(a.Groups), names...))
	case schemas.GroupsRemove:
		left := without(a.Groups, names)
		switch {
		case len(left) == len(a.Groups):
			return refuse(ReasonNotMember, q.AgentID, "")
		case len(left) == 0 && slices.Equal(a.Groups, []string{schemas.DefaultGroup}):
			return refuse(ReasonOnlyDefault, q.AgentID, "")
		}
		names = left
	default:
		return refuse(ReasonGroups, string(q.Mode), "unknown mode")
	}
	if len(names) > schemas.GroupsMax {
		return refuse(ReasonTooManyGroups, q.AgentID, "")
	}
	before := a.Groups
	s.regroup(a, names)
	out := Outcome{Agent: *a}
	if !slices.Equal(before, a.Groups) {
		out.Regrouped = []Agent{*a}
	}
	return out
}

// regroup gives an agent a new list; none at all is default. The old list is
// never written to, because copies of the agent share it.
func (s *State) regroup(a *Agent, names []string) {
	if len(names) == 0 {
		names = []string{schemas.DefaultGroup}
	}
	s.count(a.Groups, -1)
	a.Groups = names
	s.count(a.Groups, 1)
}

func (s *State) count(groups []string, by int) {
	for _, g := range groups {
		s.groups[g] += by
	}
}

func (s *State) unknownGroup(names []string) (string, bool) {
	for _, n := range names {
		if _, ok := s.groups[n]; !ok {
			return n, true
		}
	}
	return "", false
}

// distinct returns the names without repetition, the first of each kept.
func distinct(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func without(names, taken []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(taken, n) {
			out = append(out, n)
		}
	}
	return out
}

// GroupExists reports whether agents may be put into a group; default always exists.
func (r *Registry) GroupExists(name string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.state.groups[name]
	return ok
}

// Groups returns every group sorted by name.
func (r *Registry) Groups() []Group {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]Group, 0, len(r.state.groups))
	for _, name := range slices.Sorted(maps.Keys(r.state.groups)) {
		out = append(out, Group{Name: name, Agents: r.state.groups[name]})
	}
	return out
}

// AddGroup proposes a group and waits for the outcome. A *Refusal says
// ReasonGroups (the name), ReasonGroupExists or ReasonFull.
func (r *Registry) AddGroup(ctx context.Context, name string) error {
	p := r.proposal(schemas.ProposalGroupAdd)
	p.GroupAdd = &schemas.GroupName{Name: name}
	_, err := r.propose(ctx, p)
	return err
}

// RemoveGroup proposes a group's removal and waits for the outcome. Its agents
// lose it; those left with none are in default. A *Refusal says
// ReasonDefaultGroup or ReasonNoGroup.
func (r *Registry) RemoveGroup(ctx context.Context, name string) error {
	p := r.proposal(schemas.ProposalGroupRemove)
	p.GroupRemove = &schemas.GroupName{Name: name}
	_, err := r.propose(ctx, p)
	return err
}

// SetGroups proposes a change of an agent's groups and waits for the outcome.
// A *Refusal says ReasonNotFound (the agent), ReasonNoGroup, ReasonTooManyGroups
// (over schemas.GroupsMax), and of GroupsRemove ReasonNotMember (it is in none of
// them) or ReasonOnlyDefault. What changes nothing is accepted; subscribers are
// not told of it.
func (r *Registry) SetGroups(ctx context.Context, agentID string, mode schemas.GroupMode, groups []string) error {
	p := r.proposal(schemas.ProposalAgentGroups)
	p.AgentGroups = &schemas.AgentGroups{AgentID: agentID, Mode: mode, Groups: groups}
	_, err := r.propose(ctx, p)
	return err
}

// AssignDefault puts an agent that has no group into default and leaves others
// alone, as a first keepalive does.
//
// Source: spec/agent-protocol.md §7.
func (r *Registry) AssignDefault(ctx context.Context, agentID string) error {
	if a, ok := r.Agent(agentID); ok && len(a.Groups) > 0 {
		return nil // spares the record
	}
	return r.SetGroups(ctx, agentID, schemas.GroupsIfNone, []string{schemas.DefaultGroup})
}
