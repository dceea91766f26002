package groups

import (
	"errors"
	"slices"

	"vedette/api/agents"
	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/internal/qlang"
	"vedette/schemas"
)

// groupItem is a group as lists show it.
type groupItem struct {
	ConfigSum string `json:"configSum,omitempty"` // without the file there is none
	Count     int    `json:"count"`
	MergedSum string `json:"mergedSum,omitempty"`
	Name      string `json:"name"`
}

var groupView = rest.View[groupItem]{Options: qlang.Options{Numeric: func(name string) bool { return name == "count" }}}.Init()

type listGroups struct {
	Groups rest.Targets[Group] `param:"groups_list"`
	Hash   string              `param:"hash"`
}

func (a *Service) listGroups(c *rest.Call, p *listGroups) (rest.Answer, error) {
	return groupView.Page(c, a.items(p.Groups.Items(), p.Hash), rest.Messages{
		All: "All selected groups information was returned", Some: "Some groups information was not returned", None: "No group information was returned",
	})
}

// items are groups as lists show them, with the sums of an algorithm.
func (a *Service) items(groups []Group, algorithm string) []*groupItem {
	items := []*groupItem{}
	for _, g := range groups {
		it := &groupItem{Name: g.Name, Count: g.Agents}
		if a.Sums != nil {
			it.MergedSum, it.ConfigSum = a.Sums(g.Name, algorithm)
		}
		items = append(items, it)
	}
	return items
}

// reservedGroup names a file of the groups' folder in 4.14.
const reservedGroup = "ar.conf"

type addGroup struct {
	Body struct {
		ID string `json:"group_id"`
	} `body:"json"`
}

func (a *Service) addGroup(c *rest.Call, p *addGroup) (rest.Answer, error) {
	if p.Body.ID == reservedGroup {
		return nil, problem.New(problem.GroupReserved, "")
	}
	if err := a.Groups.AddGroup(c.Ctx, p.Body.ID); err != nil {
		return nil, err
	}
	return &rest.Data{Message: "Group '" + p.Body.ID + "' created"}, nil
}

type deleteGroups struct {
	Groups rest.Targets[Group] `param:"groups_list"`
}

func (a *Service) deleteGroups(c *rest.Call, p *deleteGroups) (rest.Answer, error) {
	removed := []string{}
	for _, g := range p.Groups.Items() {
		switch {
		case g.Name != schemas.DefaultGroup:
			err := a.Groups.RemoveGroup(c.Ctx, g.Name)
			if err == nil {
				removed = append(removed, g.Name)
			} else if err := c.FailWith(err, g.Name); err != nil {
				return nil, err
			}
		case p.Groups.Named:
			c.Fail(problem.GroupDefault, g.Name)
		}
	}
	return rest.Items(removed, rest.Messages{All: "All selected groups were deleted", Some: "Some groups were not deleted", None: "No group was deleted"}), nil
}

type listGroupAgents struct {
	Group  Group                       `param:"group_id"`
	Agents rest.Targets[*agents.Agent] `all:"agent:id"`
	Status []string                    `param:"status"`
}

func (a *Service) listGroupAgents(c *rest.Call, p *listGroupAgents) (rest.Answer, error) {
	chosen := slices.DeleteFunc(agents.Others(nil, p.Agents.Items()), func(x *agents.Agent) bool {
		return !slices.Contains(x.Groups, p.Group.Name) || !x.InState(p.Status)
	})
	return agents.View.Page(c, chosen, agents.Messages)
}

func (a *Service) listAgentsWithoutGroup(c *rest.Call, p *agents.All) (rest.Answer, error) {
	chosen := slices.DeleteFunc(agents.Others(nil, p.Agents.Items()), func(x *agents.Agent) bool { return len(x.Groups) > 0 })
	return agents.View.Page(c, chosen, agents.Messages)
}

type assignAgents struct {
	Group  Group                       `param:"group_id"`
	Agents rest.Targets[*agents.Agent] `param:"agents_list"`
	Single bool                        `param:"force_single_group"`
}

func (a *Service) assignAgents(c *rest.Call, p *assignAgents) (rest.Answer, error) {
	mode, to := schemas.GroupsAppend, p.Group.Name
	if p.Single {
		mode, to = schemas.GroupsOverride, to+" and removed from the other groups"
	}
	m := rest.Messages{All: "All selected agents were assigned to " + to, Some: "Some agents were not assigned to " + to, None: "No agents were assigned to " + to}
	return regroup(c, m, &p.Agents, agents.Real(c, &p.Agents), func(x *agents.Agent) error {
		if mode == schemas.GroupsAppend && slices.Contains(x.Groups, p.Group.Name) {
			return problem.New(problem.GroupMember, "")
		}
		return a.Groups.SetGroups(c.Ctx, x.ID, mode, []string{p.Group.Name})
	})
}

type assignAgent struct {
	Group  Group                       `param:"group_id"`
	Agents rest.Targets[*agents.Agent] `param:"agent_id"`
	Single bool                        `param:"force_single_group"`
}

func (a *Service) assignAgent(c *rest.Call, p *assignAgent) (rest.Answer, error) {
	return a.assignAgents(c, (*assignAgents)(p))
}

type unassignAgents struct {
	Group  Group                       `param:"group_id"`
	Agents rest.Targets[*agents.Agent] `param:"agents_list"`
}

func (a *Service) unassignAgents(c *rest.Call, p *unassignAgents) (rest.Answer, error) {
	from, chosen := p.Group.Name, agents.Real(c, &p.Agents)
	if !p.Agents.Named { // other groups' agents were not meant
		chosen = slices.DeleteFunc(chosen, func(x *agents.Agent) bool { return !slices.Contains(x.Groups, from) })
	}
	m := rest.Messages{All: "All selected agents were removed from group " + from, Some: "Some agents were not removed from group " + from, None: "No agents were removed from group " + from}
	return regroup(c, m, &p.Agents, chosen, func(x *agents.Agent) error {
		return a.Groups.SetGroups(c.Ctx, x.ID, schemas.GroupsRemove, []string{from})
	})
}

// unasked are the codes that are no failure of an agent nobody named.
//
// Source: spec/answers.md §3.
var unasked = []problem.Code{problem.NoAgent, problem.NotForServer, problem.GroupMember}

// regroup changes agents' groups and lists those for which it was done.
func regroup(c *rest.Call, m rest.Messages, from *rest.Targets[*agents.Agent], chosen []*agents.Agent, change func(*agents.Agent) error) (rest.Answer, error) {
	done, err := agents.DoneFor(c, chosen, func(x *agents.Agent) error {
		err := change(x)
		if p := (*problem.Problem)(nil); !from.Named && errors.As(err, &p) && slices.Contains(unasked, problem.Code(p.Code)) {
			return agents.ErrUnasked
		}
		return err
	})
	return rest.Items(done, m), errors.Join(err, c.Ctx.Err())
}

type unassignAgent struct {
	Agent *agents.Agent `param:"agent_id"`
	Group Group         `param:"group_id"`
}

func (a *Service) unassignAgent(c *rest.Call, p *unassignAgent) (rest.Answer, error) {
	if p.Agent.ID == agents.ServerID {
		return nil, problem.New(problem.NotForServer, "")
	}
	if err := a.Groups.SetGroups(c.Ctx, p.Agent.ID, schemas.GroupsRemove, []string{p.Group.Name}); err != nil {
		return nil, err
	}
	return &rest.Data{Message: "Agent '" + p.Agent.ID + "' removed from '" + p.Group.Name + "'."}, nil
}

type unassignAgentGroups struct {
	Agent  *agents.Agent       `param:"agent_id"`
	Groups rest.Targets[Group] `param:"groups_list"`
}

// unassignAgentGroups takes an agent out of the groups named, or of all; without
// any it is in default.
func (a *Service) unassignAgentGroups(c *rest.Call, p *unassignAgentGroups) (rest.Answer, error) {
	if p.Agent.ID == agents.ServerID {
		return nil, problem.New(problem.NotForServer, "")
	}
	out := []string{}
	for _, g := range p.Groups.Items() {
		switch {
		case slices.Contains(p.Agent.Groups, g.Name):
			out = append(out, g.Name)
		case p.Groups.Named:
			c.Fail(problem.GroupNotMember, g.Name)
		}
	}
	if len(out) > 0 {
		if err := a.Groups.SetGroups(c.Ctx, p.Agent.ID, schemas.GroupsRemove, out); err != nil {
			for _, name := range out {
				if err := c.FailWith(err, name); err != nil {
					return nil, err
				}
			}
			out = []string{}
		}
	}
	return rest.Items(out, rest.Messages{
		All: "Specified agent was removed from returned groups", Some: "Specified agent was not removed from some groups", None: "Specified agent was not removed from any group",
	}), nil
}

type restartGroup struct {
	Group  string                      `param:"group_id"`
	Agents rest.Targets[*agents.Agent] `all:"agent:id"`
}

func (a *Service) restartGroup(c *rest.Call, p *restartGroup) (rest.Answer, error) {
	if !slices.ContainsFunc(a.Groups.Groups(), func(g Group) bool { return g.Name == p.Group }) {
		return nil, problem.New(problem.NoGroup, "")
	}
	return a.Restart(c, slices.DeleteFunc(p.Agents.Items(), func(x *agents.Agent) bool { return !slices.Contains(x.Groups, p.Group) }))
}
