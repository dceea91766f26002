package api

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"vedette/api/rest"
	"vedette/internal/shadowlog"
	"vedette/internal/store"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// Deps are what the API answers from. Each is safe for concurrent use.
type Deps struct {
	Agents Agents
	Groups Groups
	// GroupSums returns the sums of a group's merged file and of its agent.conf,
	// empty without the file; algorithm is md5, sha256 or the like. Nil: none.
	GroupSums func(group, algorithm string) (merged, config string)
	Users     rest.Users
	Rules     Rules
	Alerts    store.Store
	// Logtest gives the engine of the ruleset in use, made with
	// engine.Config.Logtest and limits that 64 sessions can have, and what loading
	// that ruleset had to say. It is called for each new session; a nil engine is
	// one that is not there yet.
	Logtest func() (*engine.Engine, []string)
	// Rulesets looks after the versions of the ruleset; nil where none runs.
	Rulesets Rulesets
	// Shadow tells what a candidate ruleset would change; nil where nobody can.
	Shadow func(ctx context.Context) (*shadowlog.Summary, error)
	// Orders gives orders to agents; nil where none can be given.
	Orders Orders
	// ARConf is the file by which agents know responses.
	ARConf []byte
	// Packages take what agents are upgraded by; nil where there are none.
	Packages Packages
	// GroupFiles are the files of groups; nil where there are none.
	GroupFiles GroupFiles
	// Health returns the state of each part of the process by name; nil is well.
	Health func() map[string]error
}

// Agents are the agents that are enrolled, without the server itself.
type Agents interface {
	// List returns them in the order of their ids. They must not be changed.
	List() []*Agent
	// Add enrols an agent. A refusal is a *problem.Problem.
	Add(ctx context.Context, r NewAgent) (id, key string, err error)
	// Remove removes an agent. A refusal is a *problem.Problem.
	Remove(ctx context.Context, id string, purge bool) error
	// KeyLine returns an agent's line of the key file, a secret.
	KeyLine(id string) (line string, ok bool)
}

// Groups are what agents are put into. A refusal is a *problem.Problem.
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

// Rules give the ruleset in use; nil before the first is loaded.
type Rules interface {
	Program() *program.Program
	// Excluded returns the rules and decoders of files that the configuration
	// excludes, which are shown and do not run.
	Excluded() ([]program.RuleInfo, []program.DecoderInfo)
}

// Rulesets are the published versions of the ruleset.
type Rulesets interface {
	// Versions returns them, the newest first.
	Versions() []RulesetVersion
	// Reload reads the ruleset's directories anew and returns when this node runs
	// what they hold, or why it does not.
	Reload(ctx context.Context) error
	// Promote makes a version the current one, or the one before it if it says
	// PreviousRuleset, and returns which. A candidate that this node tries is
	// published for it. The error says why not, with ErrNoRuleset for a version
	// that nobody knows.
	Promote(ctx context.Context, version string) (string, error)
}

// PreviousRuleset names the version before the current one.
const PreviousRuleset = "previous"

// ErrNoRuleset says that a version of the ruleset is not known.
var ErrNoRuleset = errors.New("no such version of the ruleset")

// RulesetVersion is one version of the ruleset.
type RulesetVersion struct {
	Version   string
	Published time.Time
	Node      string
	Files     int
	// Current says that workers are to run it.
	Current bool
	// Workers run it: each changes over at the next event of each partition.
	Workers []RulesetWorker
}

// RulesetWorker is one worker that runs a version.
type RulesetWorker struct {
	Node string
	// Partitions is how many of its partitions have been judged by the version.
	Partitions int
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
	OS            AgentOS   `json:"os,omitzero"`
	RegisterIP    string    `json:"registerIP,omitempty"`
	Status        string    `json:"status,omitempty"`
	StatusCode    int       `json:"status_code"`
	Version       string    `json:"version,omitempty"`

	encoded atomic.Pointer[json.RawMessage] // made when it is asked for
}

// AgentOS is an agent's operating system.
type AgentOS struct {
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
	synced      = "synced"
	notSynced   = "not synced"
	unknownNode = "unknown"
)
