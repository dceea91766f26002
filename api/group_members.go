package api

import (
	"errors"
	"slices"

	"vedette/api/problem"
	"vedette/schemas"
)

// actionAssign is what changes of a group's members need of the group; the
// operation's own action is what they need of the agents.
const actionAssign = "group:modify_assignments"

func (a *API) assignAgents(c *call) (any, error) {
	g, err := a.group(c, actionAssign, c.str("group_id"))
	if err != nil {
		return nil, err
	}
	l := assigned(c, g.Name)
	agents, err := a.permitted(c, l)
	if err != nil {
		return nil, err
	}
	_, named := c.strs("agents_list")
	return a.assign(c, l, g.Name, agents, named)
}

func (a *API) assignAgent(c *call) (any, error) {
	if _, err := pathID(c); err != nil {
		return nil, err
	}
	g, err := a.group(c, actionAssign, c.gin.Param("group_id"))
	if err != nil {
		return nil, err
	}
	l := assigned(c, g.Name)
	agents, err := a.onPath(c, l)
	if err != nil {
		return nil, err
	}
	return a.assign(c, l, g.Name, agents, true)
}

func assigned(c *call, group string) *list {
	if c.flag("force_single_group") {
		group += " and removed from the other groups"
	}
	return &list{
		All: "All selected agents were assigned to " + group, Some: "Some agents were not assigned to " + group, None: "No agents were assigned to " + group,
	}
}

func (a *API) assign(c *call, l *list, group string, agents []*Agent, named bool) (any, error) {
	mode := schemas.GroupsAppend
	if c.flag("force_single_group") {
		mode = schemas.GroupsOverride
	}
	return a.regroup(c, l, agents, named, func(x *Agent) error {
		if mode == schemas.GroupsAppend && slices.Contains(x.Groups, group) {
			return problem.New(problem.GroupMember, "")
		}
		return a.deps.Groups.SetGroups(c.ctx, x.ID, mode, []string{group})
	})
}

func (a *API) unassignAgents(c *call) (any, error) {
	g, err := a.group(c, actionAssign, c.str("group_id"))
	if err != nil {
		return nil, err
	}
	l := &list{
		All: "All selected agents were removed from group " + g.Name, Some: "Some agents were not removed from group " + g.Name,
		None: "No agents were removed from group " + g.Name,
	}
	agents, err := a.permitted(c, l)
	if err != nil {
		return nil, err
	}
	ids, _ := c.strs("agents_list")
	named := !slices.Contains(ids, "all")
	if !named { // who is not in it was not meant
		agents = slices.DeleteFunc(agents, func(x *Agent) bool { return !slices.Contains(x.Groups, g.Name) })
	}
	return a.regroup(c, l, agents, named, func(x *Agent) error {
		return a.deps.Groups.SetGroups(c.ctx, x.ID, schemas.GroupsRemove, []string{g.Name})
	})
}

// unasked are the codes that are no failure of an agent nobody named.
//
// Source: spec/answers.md §3.
var unasked = []problem.Code{problem.NoAgent, problem.NotForServer, problem.GroupMember}

// regroup changes agents' groups and lists those for which it was done.
func (a *API) regroup(c *call, l *list, agents []*Agent, named bool, change func(*Agent) error) (any, error) {
	agents = slices.DeleteFunc(agents, func(x *Agent) bool {
		if x.ID == serverID && named {
			l.fail(problem.NotForServer, x.ID)
		}
		return x.ID == serverID
	})
	done := []string{}
	for i, err := range forEach(len(agents), func(i int) error { return change(agents[i]) }) {
		if p := (*problem.Problem)(nil); !named && errors.As(err, &p) && slices.Contains(unasked, problem.Code(p.Code)) {
			continue
		}
		if err != nil {
			if err := l.failWith(err, agents[i].ID); err != nil {
				return nil, err
			}
			continue
		}
		done = append(done, agents[i].ID)
	}
	l.Items, l.Total = done, len(done)
	return l, c.ctx.Err()
}

func (a *API) unassignAgent(c *call) (any, error) {
	x, err := a.pathAgent(c)
	if err != nil {
		return nil, err
	}
	g, err := a.group(c, actionAssign, c.gin.Param("group_id"))
	if err != nil {
		return nil, err
	}
	if x.ID == serverID {
		return nil, problem.New(problem.NotForServer, "")
	}
	if err := a.deps.Groups.SetGroups(c.ctx, x.ID, schemas.GroupsRemove, []string{g.Name}); err != nil {
		return nil, err
	}
	return &plain{Message: "Agent '" + x.ID + "' removed from '" + g.Name + "'."}, nil
}

// unassignAgentGroups takes an agent out of the groups named, or of all; without
// any it is in default.
func (a *API) unassignAgentGroups(c *call) (any, error) {
	x, err := a.pathAgent(c)
	if err != nil {
		return nil, err
	}
	if x.ID == serverID {
		return nil, problem.New(problem.NotForServer, "")
	}
	l := &list{
		All: "Specified agent was removed from returned groups", Some: "Specified agent was not removed from some groups", None: "Specified agent was not removed from any group",
	}
	names, named := c.strs("groups_list")
	if !named {
		names = slices.Clone(x.Groups)
	}
	var out []string
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		switch _, err := a.group(c, actionAssign, name); {
		case err == nil && slices.Contains(x.Groups, name):
			out = append(out, name)
		case !named:
		case err == nil:
			l.fail(problem.GroupNotMember, name)
		default:
			if err := l.failWith(err, name); err != nil {
				return nil, err
			}
		}
	}
	done := []string{}
	if len(out) > 0 {
		err := a.deps.Groups.SetGroups(c.ctx, x.ID, schemas.GroupsRemove, out)
		if err == nil {
			done = out
		}
		for _, name := range out {
			if err != nil {
				if err := l.failWith(err, name); err != nil {
					return nil, err
				}
			}
		}
	}
	l.Items, l.Total = done, len(done)
	return l, nil
}
