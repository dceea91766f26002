package api

import (
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
	l := assigned(g.Name)
	agents, err := a.permitted(c, l)
	if err != nil {
		return nil, err
	}
	_, named := c.strs("agents_list")
	return a.assign(c, l, g.Name, agents, named)
}

func (a *API) assignAgent(c *call) (any, error) {
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
	return a.assign(c, assigned(g.Name), g.Name, []*Agent{x}, true)
}

func assigned(group string) *list {
	return &list{
		All: "All agents asked for are in " + group, Some: "Some agents asked for were not put into " + group, None: "No agent was put into " + group,
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
		All: "All agents asked for were taken out of " + g.Name, Some: "Some agents asked for were not taken out of " + g.Name,
		None: "No agent was taken out of " + g.Name,
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
	return &plain{Message: "Agent '" + x.ID + "' is no longer in '" + g.Name + "'"}, nil
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
		All: "The agent was taken out of all groups asked for", Some: "The agent was not taken out of some groups asked for", None: "The agent was not taken out of any group",
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
