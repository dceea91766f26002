package schemas

// GroupName asks for a group to be made or removed.
type GroupName struct {
	Name string `json:"name"`
}

// GroupMode says how an agent's list of groups changes.
type GroupMode string

// Modes.
const (
	// GroupsOverride makes the list exactly the given one; none means default.
	GroupsOverride GroupMode = "override"
	// GroupsAppend adds the given groups behind those it has.
	GroupsAppend GroupMode = "append"
	// GroupsRemove takes the given groups out; an agent left with none is in default.
	GroupsRemove GroupMode = "remove"
	// GroupsIfNone is GroupsOverride for an agent that has no group at all, as
	// before its first keepalive, and changes nothing otherwise.
	GroupsIfNone GroupMode = "if_none"
)

// AgentGroups asks for a change of an agent's groups. The order of groups is
// that in which their files are merged.
type AgentGroups struct {
	AgentID string    `json:"agent_id"`
	Mode    GroupMode `json:"mode"`
	Groups  []string  `json:"groups,omitempty"`
}
