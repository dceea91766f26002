package api

import (
	"errors"
	"slices"

	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/schemas"
)

type assignAgents struct {
	Group  Group                `param:"group_id"`
	Agents rest.Targets[*Agent] `param:"agents_list"`
	Single bool                 `param:"force_single_group"`
}

func (a *API) assignAgents(c *rest.Call, p *assignAgents) (rest.Answer, error) {
	mode, to := schemas.GroupsAppend, p.Group.Name
	if p.Single {
		mode, to = schemas.GroupsOverride, to+" and removed from the other groups"
	}
	m := rest.Messages{All: "All selected agents were assigned to " + to, Some: "Some agents were not assigned to " + to, None: "No agents were assigned to " + to}
	return regroup(c, m, &p.Agents, realAgents(c, &p.Agents), func(x *Agent) error {
		if mode == schemas.GroupsAppend && slices.Contains(x.Groups, p.Group.Name) {
			return problem.New(problem.GroupMember, "")
		}
		return a.deps.Groups.SetGroups(c.Ctx, x.ID, mode, []string{p.Group.Name})
	})
}

type assignAgent struct {
	Group  Group                `param:"group_id"`
	Agents rest.Targets[*Agent] `param:"agent_id"`
	Single bool                 `param:"force_single_group"`
}

func (a *API) assignAgent(c *rest.Call, p *assignAgent) (rest.Answer, error) {
	return a.assignAgents(c, (*assignAgents)(p))
}

type unassignAgents struct {
	Group  Group                `param:"group_id"`
	Agents rest.Targets[*Agent] `param:"agents_list"`
}

func (a *API) unassignAgents(c *rest.Call, p *unassignAgents) (rest.Answer, error) {
	from, agents := p.Group.Name, realAgents(c, &p.Agents)
	if !p.Agents.Named { // other groups' agents were not meant
		agents = slices.DeleteFunc(agents, func(x *Agent) bool { return !slices.Contains(x.Groups, from) })
	}
	m := rest.Messages{All: "All selected agents were removed from group " + from, Some: "Some agents were not removed from group " + from, None: "No agents were removed from group " + from}
	return regroup(c, m, &p.Agents, agents, func(x *Agent) error {
		return a.deps.Groups.SetGroups(c.Ctx, x.ID, schemas.GroupsRemove, []string{from})
	})
}

// unasked are the codes that are no failure of an agent nobody named.
//
// Source: spec/answers.md §3.
var unasked = []problem.Code{problem.NoAgent, problem.NotForServer, problem.GroupMember}

// regroup changes agents' groups and lists those for which it was done.
func regroup(c *rest.Call, m rest.Messages, from *rest.Targets[*Agent], agents []*Agent, change func(*Agent) error) (rest.Answer, error) {
	done, err := doneFor(c, agents, func(x *Agent) error {
		err := change(x)
		if p := (*problem.Problem)(nil); !from.Named && errors.As(err, &p) && slices.Contains(unasked, problem.Code(p.Code)) {
			return errUnasked
		}
		return err
	})
	return rest.Items(done, m), errors.Join(err, c.Ctx.Err())
}

type unassignAgent struct {
	Agent *Agent `param:"agent_id"`
	Group Group  `param:"group_id"`
}

func (a *API) unassignAgent(c *rest.Call, p *unassignAgent) (rest.Answer, error) {
	if p.Agent.ID == serverID {
		return nil, problem.New(problem.NotForServer, "")
	}
	if err := a.deps.Groups.SetGroups(c.Ctx, p.Agent.ID, schemas.GroupsRemove, []string{p.Group.Name}); err != nil {
		return nil, err
	}
	return &rest.Data{Message: "Agent '" + p.Agent.ID + "' removed from '" + p.Group.Name + "'."}, nil
}

type unassignAgentGroups struct {
	Agent  *Agent              `param:"agent_id"`
	Groups rest.Targets[Group] `param:"groups_list"`
}

// unassignAgentGroups takes an agent out of the groups named, or of all; without
// any it is in default.
func (a *API) unassignAgentGroups(c *rest.Call, p *unassignAgentGroups) (rest.Answer, error) {
	if p.Agent.ID == serverID {
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
		if err := a.deps.Groups.SetGroups(c.Ctx, p.Agent.ID, schemas.GroupsRemove, out); err != nil {
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
