package agents

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"time"

	"vedette/api/problem"
	"vedette/api/rest"
)

// Service answers the operations on agents and gives them orders.
type Service struct {
	Agents Directory
	// Orders gives orders to agents; nil where none can be given.
	Orders Orders
	// Own returns a part of the server's own configuration, or a *problem.Problem; nil
	// where there is none.
	Own      func(component, configuration string) (any, error)
	Identity rest.Identity
	Log      *slog.Logger
}

// Part returns the operations and the kinds of this package.
func (a *Service) Part() rest.Part {
	return rest.Part{
		Kinds: []rest.AnyKind{
			&rest.Kind[*Agent]{Resource: "agent:id", All: a.all, ID: func(x *Agent) string { return x.ID }, Names: (*Agent).names, Missing: problem.NoAgent},
			&rest.Kind[node]{Resource: "node:id", All: a.nodes, ID: func(n node) string { return string(n) }, Missing: problem.NoNode},
		},
		Items: []rest.Item{rest.ItemOf[Agent]("Agent")},
		Operations: []rest.Operation{
			rest.Op("list_agents", a.listAgents), rest.Op("add_agent", a.addAgent), rest.Op("delete_agents", a.deleteAgents),
			rest.Op("insert_agent", a.insertAgent), rest.Op("insert_agent_quick", a.insertAgentQuick), rest.Op("read_agent_key", a.readKey),
			rest.Op("summarize_agent_status", a.summarizeAgentStatus), rest.Op("summarize_agent_os", a.summarizeAgentOS), rest.Op("list_outdated_agents", a.listOutdated), rest.Op("restart_agents", a.restartAgents), rest.Op("restart_agent", a.restartAgent),
			rest.Op("restart_node", a.restartNode), rest.Op("reconnect_agents", a.reconnectAgents), rest.Op("read_agent_config", a.agentConfig),
			rest.Op("read_agent_stats", a.agentStats), rest.Op("read_agent_counters", a.agentCounters), rest.Op("summarize_agents", a.summarizeAgents),
			rest.Op("count_agents", a.countAgents), rest.Op("may_uninstall", a.mayUninstall), rest.Op("is_agent_synced", a.agentSynced),
		},
	}
}

// Agent is one agent as the API shows it. Its JSON is the one list of an agent's
// fields: lists select, sort, search and query by it. Fields are in the order of
// their names.
type Agent struct {
	ConfigSum        string    `json:"configSum,omitempty"`
	DateAdd          rest.Date `json:"dateAdd,omitzero"`
	DisconnectedTime rest.Date `json:"disconnection_time,omitzero"`
	Groups           []string  `json:"group,omitempty"`
	// ConfigStatus says whether the agent has its groups' current files.
	ConfigStatus string `json:"group_config_status"`
	ID           string `json:"id"`
	// IP is the last seen address, RegisterIP the rule of the enrollment.
	IP            string    `json:"ip,omitempty"`
	LastKeepAlive rest.Date `json:"lastKeepAlive,omitzero"`
	Manager       string    `json:"manager,omitempty"`
	MergedSum     string    `json:"mergedSum,omitempty"`
	Name          string    `json:"name,omitempty"`
	Node          string    `json:"node_name"` // unknownNode before the first report
	OS            OS        `json:"os,omitzero"`
	RegisterIP    string    `json:"registerIP,omitempty"`
	Status        string    `json:"status,omitempty"`
	StatusCode    int       `json:"status_code"`
	Version       string    `json:"version,omitempty"`

	encoded atomic.Pointer[json.RawMessage] // made when it is asked for
}

// OS is an agent's operating system.
type OS struct {
	Arch     string `json:"arch,omitempty"`
	Build    string `json:"build,omitempty"`
	Codename string `json:"codename,omitempty"`
	Major    string `json:"major,omitempty"`
	Minor    string `json:"minor,omitempty"`
	Name     string `json:"name,omitempty"`
	Platform string `json:"platform,omitempty"`
	Uname    string `json:"uname,omitempty"`
	Version  string `json:"version,omitempty"`
}

// Values of Agent.ConfigStatus and Agent.Node.
const (
	Synced      = "synced"
	NotSynced   = "not synced"
	UnknownNode = "unknown"
)

// Directory holds the agents that are enrolled, without the server itself.
type Directory interface {
	// List returns them in the order of their ids. They must not be changed.
	List() []*Agent
	// Add enrols an agent. A refusal is a *problem.Problem.
	Add(ctx context.Context, r NewAgent) (id, key string, err error)
	// Remove removes an agent. A refusal is a *problem.Problem.
	Remove(ctx context.Context, id string, purge bool) error
	// KeyLine returns an agent's line of the key file, a secret.
	KeyLine(id string) (line string, ok bool)
}

// NewAgent is a request to enrol an agent.
type NewAgent struct {
	Name string
	// IP is an address, a network or any.
	IP string
	// Force is nil for the policy of the enrollment port.
	Force *Force
	// ID and Key are given by imports; empty: the next id, a random key.
	ID, Key string
}

// Force says when an agent that is in the way is replaced.
type Force struct {
	Enabled bool
	// AfterRegistration protects agents younger than this.
	AfterRegistration time.Duration
	// Disconnected, if DisconnectedEnabled, protects agents seen within it.
	DisconnectedEnabled bool
	Disconnected        time.Duration
}
