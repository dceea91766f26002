package api

import (
	"vedette/api/agents"
	"vedette/api/groups"
	"vedette/api/rest"
)

// Names of other packages that most tests here use.
type (
	Agent    = agents.Agent
	AgentOS  = agents.OS
	NewAgent = agents.NewAgent
	Force    = agents.Force
	Group    = groups.Group
	Identity = rest.Identity
)

const (
	synced      = agents.Synced
	notSynced   = agents.NotSynced
	unknownNode = agents.UnknownNode
	serverID    = agents.ServerID
)
