package manager

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/api/agents"
	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/internal/logring"
	"vedette/rulesets"
	"vedette/schemas"
)

// Service answers the operations on the server itself and on all nodes.
type Service struct {
	Identity rest.Identity
	// Health returns the state of each part of the process by name; nil is well.
	Health func() map[string]error
	// Nodes returns the announcements of all processes; nil is this one alone.
	Nodes func() []schemas.Node
	// Agents are the agents that are enrolled.
	Agents agents.Directory
	// Metrics are those of this process; nil: none are kept.
	Metrics prometheus.Gatherer
	// Logs returns the log lines of this process that are kept, the newest first; nil:
	// none are.
	Logs     func() []logring.Line
	Settings Settings
	// Rulesets looks after the versions of the ruleset; nil where none runs.
	Rulesets Rulesets
}

// Rulesets are the published versions of the ruleset.
type Rulesets interface {
	// Versions returns them, the newest first.
	Versions() []rulesets.Version
	// Reload reads the ruleset's directories anew and returns when this node runs
	// them; the error says why it does not.
	Reload(ctx context.Context) error
}

// Part returns the operations and the kinds of this package.
func (a *Service) Part() rest.Part {
	return rest.Part{
		Kinds: []rest.AnyKind{&rest.Kind[*node]{
			Resource: "node:id", All: a.running, ID: func(n *node) string { return n.Name }, Missing: problem.NoNode, Refused: a.noCluster,
		}},
		Items: []rest.Item{
			rest.ItemOf[nodeItem]("ClusterNode"), rest.ItemOf[nodeHealth]("NodeHealth"), rest.ItemOf[syncItem]("RulesetSync"), rest.ItemOf[reloadItem]("NodeReload"),
			rest.ItemOf[remotedStats]("RemotedStats"), rest.ItemOf[analysisdStats]("AnalysisdStats"), rest.ItemOf[daemonStats]("DaemonStats"), rest.ItemOf[logItem]("LogLine"), rest.ItemOf[validity]("Validity"), rest.ItemOf[nodeAPI]("NodeAPI"),
		},
		Operations: []rest.Operation{
			rest.Op("banner", a.banner), rest.Op("healthz", a.healthz), rest.Op("readyz", a.readyz),
			rest.Op("manager_status", a.managerStatus), rest.Op("manager_info", a.managerInfo), rest.Op("restart_manager", a.restartManager),
			rest.Op("cluster_status", a.clusterStatus), rest.Op("cluster_local_info", a.clusterLocalInfo), rest.Op("cluster_local_config", a.clusterLocalConfig),
			rest.Op("list_nodes", a.listNodes), rest.Op("cluster_health", a.clusterHealth), rest.Op("cluster_ruleset_sync", a.rulesetSync),
			rest.Op("node_status", a.nodeStatus), rest.Op("node_info", a.nodeInfo),
			rest.Op("restart_nodes", a.restartNodes), rest.Op("reload_nodes", a.reloadNodes),
			rest.Op("remoted_stats", a.remotedStats), rest.Op("analysisd_stats", a.analysisdStats), rest.Op("daemon_stats", a.daemonStats),
			rest.Op("day_stats", a.dayStats), rest.Op("hourly_stats", a.hourStats), rest.Op("weekly_stats", a.hourStats),
			rest.Op("node_remoted_stats", a.nodeRemotedStats), rest.Op("node_analysisd_stats", a.nodeAnalysisdStats), rest.Op("node_daemon_stats", a.nodeDaemonStats),
			rest.Op("node_day_stats", a.nodeDayStats), rest.Op("node_hourly_stats", a.nodeHourStats), rest.Op("node_weekly_stats", a.nodeHourStats),
			rest.Op("list_logs", a.listLogs), rest.Op("summarize_logs", a.summarizeLogs), rest.Op("list_node_logs", a.listNodeLogs), rest.Op("summarize_node_logs", a.summarizeNodeLogs),
			rest.Op("configuration", a.configuration), rest.Op("component_configuration", a.component), rest.Op("validate_configuration", a.validate),
			rest.Op("node_configuration", a.nodeConfiguration), rest.Op("node_component_configuration", a.nodeComponent), rest.Op("validate_nodes", a.validateNodes),
			rest.Op("api_config", a.apiConfig), rest.Op("api_configs", a.apiConfigs), rest.Op("version_check", a.versionCheck),
		},
	}
}

func (a *Service) banner(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	return &rest.Data{Data: rest.Ordered{
		{Key: "title", Value: "Vedette API"},
		{Key: "api_version", Value: rest.Version},
		{Key: "revision", Value: "1"},
		{Key: "license_name", Value: "Apache-2.0"},
		{Key: "license_url", Value: "https://www.apache.org/licenses/LICENSE-2.0"},
		{Key: "hostname", Value: a.Identity.Manager},
		{Key: "timestamp", Value: c.Now.UTC().Format("2006-01-02T15:04:05Z")},
	}}, nil
}

const clusterDaemon = "wazuh-clusterd"

// daemons are the names of 4.14 and the part of ours that each stands for:
// "*" is the process itself, "" is not there.
var daemons = []struct{ name, part string }{
	{"wazuh-agentlessd", ""},
	{"wazuh-analysisd", "analyze"},
	{"wazuh-authd", "enroll"},
	{"wazuh-csyslogd", ""},
	{"wazuh-execd", "*"},
	{"wazuh-integratord", ""},
	{"wazuh-logcollector", ""},
	{"wazuh-maild", ""},
	{"wazuh-remoted", "ingest"},
	{"wazuh-reportd", ""},
	{"wazuh-syscheckd", ""},
	{clusterDaemon, ""},
	{"wazuh-modulesd", "*"},
	{"wazuh-monitord", "*"},
	{"wazuh-db", "store"},
	{"wazuh-apid", "*"},
}

// The states of a daemon.
const (
	stateRunning = "running"
	stateStopped = "stopped"
	stateFailed  = "failed"
)

// states answers with the state of each daemon, by the part that it stands for.
func (a *Service) states(of func(part string) string) rest.Answer {
	var o rest.Ordered
	for _, d := range daemons {
		state := stateStopped
		switch {
		case d.name == clusterDaemon && a.clustered():
			state = stateRunning
		case d.part != "":
			state = of(d.part)
		}
		o = append(o, rest.Member{Key: d.name, Value: state})
	}
	return rest.Single(o, "Processes status was successfully read in specified node")
}

// managerStatus takes a part that is not in this process as running when some
// other node runs it: clients want to know whether the installation works.
func (a *Service) managerStatus(*rest.Call, *rest.None) (rest.Answer, error) {
	health, elsewhere := a.health(), a.roles()
	return a.states(func(part string) string {
		switch {
		case health[part] != nil:
			return stateFailed
		case onEveryNode(part), elsewhere == nil, slices.Contains(elsewhere, part):
			return stateRunning
		}
		return stateStopped
	}), nil
}

// onEveryNode reports whether a part is no role, which nodes have or have not.
func onEveryNode(part string) bool { return part == "*" || part == "store" }

func (a *Service) managerInfo(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	return rest.Single(a.info(c), "Basic information was successfully read in specified node"), nil
}

func (a *Service) info(c *rest.Call) rest.Ordered {
	zone, offset := c.Now.In(time.Local).Zone()
	return rest.Ordered{
		{Key: "path", Value: a.Identity.Path},
		{Key: "version", Value: "v" + rest.Version},
		{Key: "type", Value: "server"},
		{Key: "max_agents", Value: "unlimited"},
		{Key: "openssl_support", Value: "yes"},
		{Key: "tz_offset", Value: tzOffset(offset)},
		{Key: "tz_name", Value: zone},
		{Key: "uuid", Value: a.Identity.InstallationID},
	}
}

// restartManager reads the ruleset's files anew, as reload_ruleset does: scripts
// restart a server to bring in rules.
func (a *Service) restartManager(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	if err := a.reload(c); err != nil {
		return nil, err
	}
	l := rest.Single(a.Identity.Node, "Restart request sent to all specified nodes")
	l.Status = http.StatusAccepted
	return l, nil
}

func (a *Service) reload(c *rest.Call) error {
	if a.Rulesets == nil {
		return problem.New(problem.ReloadFailed, "No ruleset runs in this process")
	}
	err := a.Rulesets.Reload(c.Ctx)
	switch {
	case err == nil || c.Ctx.Err() != nil:
		return c.Ctx.Err()
	default:
		return problem.New(problem.ReloadFailed, err.Error())
	}
}

func tzOffset(seconds int) string {
	return time.Unix(0, 0).In(time.FixedZone("", seconds)).Format("-0700")
}

func (a *Service) health() map[string]error {
	if a.Health == nil {
		return nil
	}
	return a.Health()
}

func (a *Service) healthz(*rest.Call, *rest.None) (rest.Answer, error) {
	return &rest.Bare{Status: http.StatusOK, Value: map[string]string{"status": "ok"}}, nil
}

// readyz names the parts that fail and not why, as anybody may ask.
func (a *Service) readyz(*rest.Call, *rest.None) (rest.Answer, error) {
	status, word := http.StatusOK, "ready"
	parts := map[string]string{}
	for name, err := range a.health() {
		parts[name] = "ok"
		if err != nil {
			parts[name] = "failing"
			status, word = http.StatusServiceUnavailable, "not ready"
		}
	}
	return &rest.Bare{Status: status, Value: rest.Ordered{{Key: "status", Value: word}, {Key: "components", Value: parts}}}, nil
}
