package api

import (
	"context"
	_ "embed" // the document
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/api/auth"
	"vedette/api/problem"
	"vedette/api/rest"
)

//go:embed openapi.yaml
var document []byte

// Document returns openapi.yaml.
func Document() []byte { return document }

// API is the role.
type API struct {
	cfg   Config
	deps  Deps
	log   *slog.Logger
	frame *rest.Frame
	ln    net.Listener

	logins   *loginLimit
	checking chan struct{} // one token per password check
	ruleset  rulesetCache
	logtests logtests
	// publishing is held while a group's files are read, changed and published,
	// packaging while upgrade packages are read and put.
	publishing, packaging chan struct{}
}

// New reads the document, matches it with the functions and binds the listener.
func New(cfg Config, deps Deps, log *slog.Logger, reg prometheus.Registerer) (*API, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a, err := build(cfg, deps, log, reg)
	if err != nil {
		return nil, err
	}
	if a.ln, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return a, nil
}

// build is New without a listener.
func build(cfg Config, deps Deps, log *slog.Logger, reg prometheus.Registerer) (*API, error) {
	cfg.Node = cfg.Identity.Node
	a := &API{
		cfg: cfg, deps: deps, log: log, logins: newLoginLimit(cfg.MaxLoginAttempts, cfg.BlockTime),
		checking: make(chan struct{}, passwordChecks), publishing: make(chan struct{}, 1), packaging: make(chan struct{}, 1),
	}
	var err error
	a.frame, err = rest.New(cfg.Config, document, deps.Users, []rest.Part{a.part()}, log, reg)
	return a, err
}

// part is the operations by the ids that openapi.yaml gives them.
func (a *API) part() rest.Part {
	return rest.Part{Kinds: []rest.AnyKind{
		&rest.Kind[*Agent]{Resource: "agent:id", All: a.agents, ID: func(x *Agent) string { return x.ID }, Names: (*Agent).names, Missing: problem.NoAgent},
		&rest.Kind[Group]{Resource: "group:id", All: func() []Group { return a.deps.Groups.Groups() }, ID: func(g Group) string { return g.Name }, Missing: problem.NoGroup},
		&rest.Kind[node]{Resource: "node:id", All: a.nodes, ID: func(n node) string { return string(n) }, Missing: problem.NoNode},
		&rest.Kind[*ruleItem]{
			Resource: "rule:file", All: func() []*ruleItem { rules, _ := a.ruleset.items(a.deps.Rules); return rules },
			ID: func(x *ruleItem) string { return x.Filename },
		},
		&rest.Kind[*decoderItem]{
			Resource: "decoder:file", All: func() []*decoderItem { _, decoders := a.ruleset.items(a.deps.Rules); return decoders },
			ID: func(x *decoderItem) string { return x.Filename },
		},
	}, Operations: []rest.Operation{
		rest.Op("banner", a.banner),
		rest.Op("healthz", a.healthz),
		rest.Op("readyz", a.readyz),
		rest.Op("login", a.login),
		rest.Op("login_deprecated", a.loginDeprecated),
		rest.Op("list_agents", a.listAgents),
		rest.Op("add_agent", a.addAgent),
		rest.Op("delete_agents", a.deleteAgents),
		rest.Op("insert_agent", a.insertAgent),
		rest.Op("insert_agent_quick", a.insertAgentQuick),
		rest.Op("read_agent_key", a.readKey),
		rest.Op("list_agents_no_group", a.listAgentsWithoutGroup),
		rest.Op("assign_agent", a.assignAgent),
		rest.Op("assign_agents", a.assignAgents),
		rest.Op("unassign_agent", a.unassignAgent),
		rest.Op("unassign_agent_groups", a.unassignAgentGroups),
		rest.Op("unassign_agents", a.unassignAgents),
		rest.Op("list_groups", a.listGroups),
		rest.Op("add_group", a.addGroup),
		rest.Op("delete_groups", a.deleteGroups),
		rest.Op("list_group_agents", a.listGroupAgents),
		rest.Op("list_group_files", a.listGroupFiles),
		rest.Op("read_group_file", a.readGroupFile),
		rest.Op("read_group_config", a.readGroupConfig),
		rest.Op("write_group_config", a.writeGroupConfig),
		rest.Op("summarize_agent_status", a.summarizeAgentStatus),
		rest.Op("restart_agents", a.restartAgents),
		rest.Op("restart_agent", a.restartAgent),
		rest.Op("restart_group", a.restartGroup),
		rest.Op("restart_node", a.restartNode),
		rest.Op("reconnect_agents", a.reconnectAgents),
		rest.Op("upgrade_agents", a.upgradeAgents),
		rest.Op("upgrade_agents_custom", a.upgradeByFile),
		rest.Op("list_upgrades", a.upgradeResults),
		rest.Op("list_tasks", a.listTasks),
		rest.Op("read_agent_config", a.agentConfig),
		rest.Op("read_agent_stats", a.agentStats),
		rest.Op("is_agent_synced", a.agentSynced),
		rest.Op("run_response", a.runResponse),
		rest.Op("list_responses", a.listResponses),
		rest.Op("manager_status", a.managerStatus),
		rest.Op("manager_info", a.managerInfo),
		rest.Op("reload_ruleset", a.reloadRuleset),
		rest.Op("list_rulesets", a.listRulesets),
		rest.Op("promote_ruleset", a.promoteRuleset),
		rest.Op("summarize_shadow", a.summarizeShadow),
		rest.Op("list_rules", a.listRules),
		rest.Op("list_decoders", a.listDecoders),
		rest.Op("list_alerts", a.listAlerts),
		rest.Op("run_logtest", a.runLogtest),
		rest.Op("end_logtest", a.endLogtest),
	}}
}

// Addr is where the API listens.
func (a *API) Addr() net.Addr { return a.ln.Addr() }

// Handler serves the API without a listener.
func (a *API) Handler() http.Handler { return a.frame.Handler() }

// Run serves until ctx ends, then finishes the requests under way, and returns nil.
func (a *API) Run(ctx context.Context) error { return a.frame.Serve(ctx, a.ln) }

// HashPassword returns the stored form of a password.
func HashPassword(password string) string { return auth.HashPassword(password) }
