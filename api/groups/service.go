package groups

import (
	"context"

	"vedette/api/agents"
	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/schemas"
)

// Service answers the operations on groups.
type Service struct {
	*agents.Service
	Groups Groups
	// Sums returns the sums of a group's merged file and of its agent.conf, empty
	// without the file; algorithm is md5, sha256 or the like. Nil: none.
	Sums func(group, algorithm string) (merged, config string)
	// Files are the files of groups; nil where there are none.
	Files Files
	// ARConf is the file by which agents know responses.
	ARConf []byte

	publishing chan struct{} // holds a token while a group's files are read, changed and published
}

// New returns the service.
func New(s Service) *Service {
	s.publishing = make(chan struct{}, 1)
	return &s
}

// Part returns the operations and the kinds of this package.
func (a *Service) Part() rest.Part {
	return rest.Part{
		Kinds: []rest.AnyKind{&rest.Kind[Group]{
			Resource: "group:id", All: func() []Group { return a.Groups.Groups() }, ID: func(g Group) string { return g.Name }, Missing: problem.NoGroup,
		}},
		Items: []rest.Item{rest.ItemOf[groupItem]("Group"), rest.ItemOf[fileItem]("GroupFile")},
		Operations: []rest.Operation{
			rest.Op("list_agents_no_group", a.listAgentsWithoutGroup), rest.Op("assign_agent", a.assignAgent), rest.Op("assign_agents", a.assignAgents),
			rest.Op("unassign_agent", a.unassignAgent), rest.Op("unassign_agent_groups", a.unassignAgentGroups), rest.Op("unassign_agents", a.unassignAgents),
			rest.Op("list_groups", a.listGroups), rest.Op("add_group", a.addGroup), rest.Op("delete_groups", a.deleteGroups),
			rest.Op("list_group_agents", a.listGroupAgents), rest.Op("list_group_files", a.listGroupFiles), rest.Op("read_group_file", a.readGroupFile),
			rest.Op("read_group_config", a.readGroupConfig), rest.Op("write_group_config", a.writeGroupConfig), rest.Op("restart_group", a.restartGroup),
			rest.Op("overview_agents", a.overviewAgents),
		},
	}
}

// Groups hold agents. A refusal is a *problem.Problem.
type Groups interface {
	// Groups returns all of them sorted by name.
	Groups() []Group
	AddGroup(ctx context.Context, name string) error
	RemoveGroup(ctx context.Context, name string) error
	SetGroups(ctx context.Context, agentID string, mode schemas.GroupMode, groups []string) error
}

// Group is one group and how many agents are in it.
type Group struct {
	Name   string
	Agents int
}
