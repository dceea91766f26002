package manager

import (
	"net/http"
	"time"

	"vedette/api/problem"
	"vedette/api/rest"
)

// Service answers the operations on the server itself.
type Service struct {
	Identity rest.Identity
	// Health returns the state of each part of the process by name; nil is well.
	Health func() map[string]error
}

// Part returns the operations of this package.
func (a *Service) Part() rest.Part {
	return rest.Part{Operations: []rest.Operation{
		rest.Op("banner", a.banner), rest.Op("healthz", a.healthz), rest.Op("readyz", a.readyz),
		rest.Op("manager_status", a.managerStatus), rest.Op("manager_info", a.managerInfo),
		rest.Op("cluster_status", a.clusterStatus), rest.Op("cluster_local_info", a.clusterLocalInfo),
	}}
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
	{"wazuh-clusterd", ""},
	{"wazuh-modulesd", "*"},
	{"wazuh-monitord", "*"},
	{"wazuh-db", "store"},
	{"wazuh-apid", "*"},
}

func (a *Service) managerStatus(*rest.Call, *rest.None) (rest.Answer, error) {
	health := a.health()
	var o rest.Ordered
	for _, d := range daemons {
		state := "running" // a part that is not in this process runs elsewhere
		if d.part == "" {
			state = "stopped"
		} else if health[d.part] != nil {
			state = "failed"
		}
		o = append(o, rest.Member{Key: d.name, Value: state})
	}
	return rest.Single(o, "Processes status was successfully read in specified node"), nil
}

func (a *Service) managerInfo(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	zone, offset := c.Now.In(time.Local).Zone()
	return rest.Single(rest.Ordered{
		{Key: "path", Value: a.Identity.Path},
		{Key: "version", Value: "v" + rest.Version},
		{Key: "type", Value: "server"},
		{Key: "max_agents", Value: "unlimited"},
		{Key: "openssl_support", Value: "yes"},
		{Key: "tz_offset", Value: tzOffset(offset)},
		{Key: "tz_name", Value: zone},
		{Key: "uuid", Value: a.Identity.InstallationID},
	}, "Basic information was successfully read in specified node"), nil
}

// clusterStatus says that there is no cluster of 4.14's kind, whose operations
// clients would then call: nodes share nothing but topics.
func (a *Service) clusterStatus(*rest.Call, *rest.None) (rest.Answer, error) {
	return &rest.Data{Data: rest.Ordered{{Key: "enabled", Value: "no"}, {Key: "running", Value: "no"}}}, nil
}

func (a *Service) clusterLocalInfo(*rest.Call, *rest.None) (rest.Answer, error) {
	return nil, problem.New(problem.NoCluster, "")
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
