package api

import (
	"slices"
	"sync"

	"vedette/api/problem"
	"vedette/internal/qlang"
	"vedette/schemas"
)

// changesAtOnce is how many changes of the registry one request has under way.
const changesAtOnce = 256

// forEach calls fn for each index, changesAtOnce at a time, and returns the errors.
func forEach(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, changesAtOnce) {
		wg.Go(func() {
			for i := range next {
				errs[i] = fn(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return errs
}

var groupListing = listing{
	fields: []string{"name", "count", "mergedSum", "configSum"}, sortable: []string{"name", "count", "mergedSum", "configSum"},
	options: qlang.Options{Numeric: func(name string) bool { return name == "count" }},
}

func groupResource(name string) string { return "group:id:" + name }

// mayGroup reports whether the caller may do an action to a group.
func (c *call) mayGroup(action, name string) bool { return c.perms.Allows(action, groupResource(name)) }

// pathID is the id of an agent that the path names.
func pathID(c *call) (string, error) {
	id := c.gin.Param("agent_id")
	if len(id) < 3 || !formats["numbers"](id) {
		return "", problem.Bad("'%.100s' is not a 'numbers' - 'agent_id'", id)
	}
	return id, nil
}

// pathAgent is the agent that the path names, if it is one the caller may do the
// operation to.
func (a *API) pathAgent(c *call) (*Agent, error) {
	id, err := pathID(c)
	if err != nil {
		return nil, err
	}
	resources := []string{"agent:id:" + id}
	var x *Agent
	all := a.agents()
	if i := slices.IndexFunc(all, func(x *Agent) bool { return x.ID == id }); i >= 0 {
		x = all[i]
		resources = x.resources()
	}
	switch {
	case !c.may(resources...):
		return nil, problem.New(problem.PermissionDenied, "Permission denied: Resource type: agent:id")
	case x == nil:
		return nil, problem.New(problem.NoAgent, "")
	}
	return x, nil
}

// group is the group of that name, if the caller may do the action to it.
func (a *API) group(c *call, action, name string) (Group, error) {
	if !formats["group_names"](name) {
		return Group{}, problem.Bad("'%s' is not a 'group_names' - 'group_id'", name)
	}
	if !c.mayGroup(action, name) {
		return Group{}, problem.New(problem.PermissionDenied, "Permission denied: Resource type: group:id")
	}
	for _, g := range a.deps.Groups.Groups() {
		if g.Name == name {
			return g, nil
		}
	}
	return Group{}, problem.New(problem.NoGroup, "")
}

// permittedGroups is permitted for groups.
func (a *API) permittedGroups(c *call, l *list) ([]Group, error) {
	all := a.deps.Groups.Groups()
	names, named := c.strs("groups_list")
	if !named || slices.Contains(names, "all") {
		return slices.DeleteFunc(all, func(g Group) bool { return !c.may(groupResource(g.Name)) }), nil
	}
	var out []Group
	slices.Sort(names)
	denied := 0
	for _, name := range slices.Compact(names) {
		i := slices.IndexFunc(all, func(g Group) bool { return g.Name == name })
		switch {
		case !c.may(groupResource(name)):
			denied++
			l.fail(problem.PermissionDenied, name)
		case i < 0:
			l.fail(problem.NoGroup, name)
		default:
			out = append(out, all[i])
		}
	}
	if denied > 0 && len(out) == 0 && len(l.failed) == 1 {
		return nil, problem.New(problem.PermissionDenied, "Permission denied: Resource type: group:id")
	}
	return out, nil
}

func (a *API) listGroups(c *call) (any, error) {
	l := &list{All: "All selected groups information was returned", Some: "Some groups information was not returned", None: "No group information was returned"}
	groups, err := a.permittedGroups(c, l)
	if err != nil {
		return nil, err
	}
	algorithm := c.str("hash")
	items := make([]item, 0, len(groups))
	for _, g := range groups {
		m := map[string]any{"name": g.Name, "count": g.Agents}
		if a.deps.GroupSums != nil {
			merged, config := a.deps.GroupSums(g.Name, algorithm)
			for key, sum := range map[string]string{"mergedSum": merged, "configSum": config} {
				if sum != "" { // without the file there is none
					m[key] = sum
				}
			}
		}
		items = append(items, object{m})
	}
	l.Items, l.Total, err = groupListing.cut(c, items)
	return l, err
}

// reservedGroup names a file of the groups' folder in 4.14.
const reservedGroup = "ar.conf"

func (a *API) addGroup(c *call) (any, error) {
	name, _ := c.body["group_id"].(string)
	if name == reservedGroup {
		return nil, problem.New(problem.GroupReserved, "")
	}
	if err := a.deps.Groups.AddGroup(c.ctx, name); err != nil {
		return nil, err
	}
	return &plain{Message: "Group '" + name + "' created"}, nil
}

func (a *API) deleteGroups(c *call) (any, error) {
	l := &list{All: "All selected groups were deleted", Some: "Some groups were not deleted", None: "No group was deleted"}
	groups, err := a.permittedGroups(c, l)
	if err != nil {
		return nil, err
	}
	names, _ := c.strs("groups_list")
	all := slices.Contains(names, "all")
	removed := []string{}
	for _, g := range groups {
		if g.Name == schemas.DefaultGroup {
			if !all {
				l.fail(problem.GroupDefault, g.Name)
			}
			continue
		}
		if err := a.deps.Groups.RemoveGroup(c.ctx, g.Name); err != nil {
			if err := l.failWith(err, g.Name); err != nil {
				return nil, err
			}
			continue
		}
		removed = append(removed, g.Name)
	}
	l.Items, l.Total = removed, len(removed)
	return l, nil
}

// failWith is fail for an error of Deps: the code if it is a problem, or the
// error back.
func (l *list) failWith(err error, id string) error {
	p, ok := err.(*problem.Problem) //nolint:errorlint // the interfaces promise it unwrapped
	if !ok {
		return err
	}
	l.fail(problem.Code(p.Code), id)
	return nil
}

func (a *API) listGroupAgents(c *call) (any, error) {
	g, err := a.group(c, "group:read", c.gin.Param("group_id"))
	if err != nil {
		return nil, err
	}
	return a.listSome(c, func(x *Agent) bool { return slices.Contains(x.Groups, g.Name) })
}

func (a *API) listAgentsWithoutGroup(c *call) (any, error) {
	return a.listSome(c, func(x *Agent) bool { return len(x.Groups) == 0 })
}

// listSome lists agents, without the server itself.
func (a *API) listSome(c *call, keep func(*Agent) bool) (any, error) {
	l := &list{All: "All selected agents information was returned", Some: "Some agents information was not returned", None: "No agent information was returned"}
	agents, err := a.permitted(c, l)
	if err != nil {
		return nil, err
	}
	filter := agentFilter(c)
	items := make([]item, 0, len(agents))
	for _, x := range agents {
		if x.ID != serverID && keep(x) && filter(x) {
			items = append(items, x)
		}
	}
	l.Items, l.Total, err = agentListing.cut(c, items)
	return l, err
}
