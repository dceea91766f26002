package api

import (
	"net/http"
	"time"
	"vedette/api/rest"
)

func (a *API) banner(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	return &rest.Data{Data: rest.Ordered{
		{Key: "title", Value: "Vedette API"},
		{Key: "api_version", Value: Version},
		{Key: "revision", Value: "1"},
		{Key: "license_name", Value: "Apache-2.0"},
		{Key: "license_url", Value: "https://www.apache.org/licenses/LICENSE-2.0"},
		{Key: "hostname", Value: a.cfg.Identity.Manager},
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

func (a *API) managerStatus(*rest.Call, *rest.None) (rest.Answer, error) {
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
	return single(o, "Processes status was successfully read in specified node"), nil
}

func (a *API) managerInfo(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	zone, offset := c.Now.In(time.Local).Zone()
	return single(rest.Ordered{
		{Key: "path", Value: a.cfg.Identity.Path},
		{Key: "version", Value: "v" + Version},
		{Key: "type", Value: "server"},
		{Key: "max_agents", Value: "unlimited"},
		{Key: "openssl_support", Value: "yes"},
		{Key: "tz_offset", Value: tzOffset(offset)},
		{Key: "tz_name", Value: zone},
		{Key: "uuid", Value: a.cfg.Identity.InstallationID},
	}, "Basic information was successfully read in specified node"), nil
}

func tzOffset(seconds int) string {
	return time.Unix(0, 0).In(time.FixedZone("", seconds)).Format("-0700")
}

// single is a list of one item.
func single[T any](v T, message string) *rest.List[T] {
	return rest.Items([]T{v}, rest.Always(message))
}

func (a *API) health() map[string]error {
	if a.deps.Health == nil {
		return nil
	}
	return a.deps.Health()
}

func (a *API) healthz(*rest.Call, *rest.None) (rest.Answer, error) {
	return &rest.Bare{Status: http.StatusOK, Value: map[string]string{"status": "ok"}}, nil
}

// readyz names the parts that fail and not why, as anybody may ask.
func (a *API) readyz(*rest.Call, *rest.None) (rest.Answer, error) {
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
