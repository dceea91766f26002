package api

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/api/agents"
	"vedette/api/groups"
	"vedette/api/manager"
	"vedette/api/rules"
	"vedette/api/rulesets"
	"vedette/api/security"
	"vedette/api/upgrades"
	"vedette/internal/logring"
	"vedette/internal/shadowlog"
	"vedette/internal/store"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// Deps are the sources of the API's answers. Each is safe for concurrent use. The
// Service of each package says more of its own.
type Deps struct {
	Agents     agents.Directory
	Groups     groups.Groups
	GroupSums  func(group, algorithm string) (merged, config string)
	GroupFiles groups.Files
	Users      security.Store
	Rules      rules.Rules
	Alerts     store.Store
	Logtest    func() (*engine.Engine, []string)
	Rulesets   rulesets.Rulesets
	Shadow     func(ctx context.Context) (*shadowlog.Summary, error)
	Orders     agents.Orders
	// ARConf is the file by which agents know responses.
	ARConf   []byte
	Packages upgrades.Packages
	// Health returns the state of each part of the process by name; nil is well.
	Health func() map[string]error
	// Metrics are those of this process; nil: none are kept.
	Metrics prometheus.Gatherer
	// Logs returns the log lines of this process that are kept, the newest first; nil:
	// none are.
	Logs func() []logring.Line
	// Settings are the parts of the configuration that the API shows; New adds the part
	// of the API itself.
	Settings manager.Settings
	// Nodes returns the announcements of all processes; nil is this one alone.
	Nodes func() []schemas.Node
}
