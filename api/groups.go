package api

import (
	"slices"

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

func (a *API) listGroups(c *rest.Call, p *listGroups) (rest.Answer, error) {
	var items []*groupItem
	for _, g := range p.Groups.Items() {
		it := &groupItem{Name: g.Name, Count: g.Agents}
		if a.deps.GroupSums != nil {
			it.MergedSum, it.ConfigSum = a.deps.GroupSums(g.Name, p.Hash)
		}
		items = append(items, it)
	}
	return groupView.Page(c, items, rest.Messages{
		All: "All selected groups information was returned", Some: "Some groups information was not returned", None: "No group information was returned",
	})
}

// reservedGroup names a file of the groups' folder in 4.14.
const reservedGroup = "ar.conf"

type addGroup struct {
	Body struct {
		ID string `json:"group_id"`
	} `body:"json"`
}

func (a *API) addGroup(c *rest.Call, p *addGroup) (rest.Answer, error) {
	if p.Body.ID == reservedGroup {
		return nil, problem.New(problem.GroupReserved, "")
	}
	if err := a.deps.Groups.AddGroup(c.Ctx, p.Body.ID); err != nil {
		return nil, err
	}
	return &rest.Data{Message: "Group '" + p.Body.ID + "' created"}, nil
}

type deleteGroups struct {
	Groups rest.Targets[Group] `param:"groups_list"`
}

func (a *API) deleteGroups(c *rest.Call, p *deleteGroups) (rest.Answer, error) {
	removed := []string{}
	for _, g := range p.Groups.Items() {
		switch {
		case g.Name != schemas.DefaultGroup:
			err := a.deps.Groups.RemoveGroup(c.Ctx, g.Name)
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
	Group  Group                `param:"group_id"`
	Agents rest.Targets[*Agent] `all:"agent:id"`
	Status []string             `param:"status"`
}

func (a *API) listGroupAgents(c *rest.Call, p *listGroupAgents) (rest.Answer, error) {
	agents := slices.DeleteFunc(others(nil, p.Agents.Items()), func(x *Agent) bool {
		return !slices.Contains(x.Groups, p.Group.Name) || !x.inState(p.Status)
	})
	return agentView.Page(c, agents, agentMessages)
}

func (a *API) listAgentsWithoutGroup(c *rest.Call, p *allAgents) (rest.Answer, error) {
	agents := slices.DeleteFunc(others(nil, p.Agents.Items()), func(x *Agent) bool { return len(x.Groups) > 0 })
	return agentView.Page(c, agents, agentMessages)
}
