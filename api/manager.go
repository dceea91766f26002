package api

import (
	"net/http"
	"time"
)

func (a *API) banner(c *call) (any, error) {
	return &plain{Data: ordered{
		{"title", "Vedette API"},
		{"api_version", Version},
		{"revision", "1"},
		{"license_name", "Apache-2.0"},
		{"license_url", "https://www.apache.org/licenses/LICENSE-2.0"},
		{"hostname", a.cfg.Identity.Manager},
		{"timestamp", c.now.UTC().Format("2006-01-02T15:04:05Z")},
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

func (a *API) managerStatus(*call) (any, error) {
	health := a.health()
	var o ordered
	for _, d := range daemons {
		state := "running" // a part that is not in this process runs elsewhere
		if d.part == "" {
			state = "stopped"
		} else if health[d.part] != nil {
			state = "failed"
		}
		o = append(o, member{d.name, state})
	}
	return single(o, "Processes status was successfully read in specified node"), nil
}

func (a *API) managerInfo(c *call) (any, error) {
	zone, offset := c.now.In(time.Local).Zone()
	return single(ordered{
		{"path", a.cfg.Identity.Path},
		{"version", "v" + Version},
		{"type", "server"},
		{"max_agents", "unlimited"},
		{"openssl_support", "yes"},
		{"tz_offset", tzOffset(offset)},
		{"tz_name", zone},
		{"uuid", a.cfg.Identity.InstallationID},
	}, "Basic information was successfully read in specified node"), nil
}

func tzOffset(seconds int) string {
	return time.Unix(0, 0).In(time.FixedZone("", seconds)).Format("-0700")
}

// single is a list of one item.
func single(v any, message string) *list {
	return &list{Items: []any{v}, Total: 1, All: message, Some: message, None: message}
}

func (a *API) health() map[string]error {
	if a.deps.Health == nil {
		return nil
	}
	return a.deps.Health()
}

func (a *API) healthz(*call) (any, error) {
	return &bare{http.StatusOK, map[string]string{"status": "ok"}}, nil
}

// readyz names the parts that fail and not why, as anybody may ask.
func (a *API) readyz(*call) (any, error) {
	status, word := http.StatusOK, "ready"
	parts := map[string]string{}
	for name, err := range a.health() {
		parts[name] = "ok"
		if err != nil {
			parts[name] = "failing"
			status, word = http.StatusServiceUnavailable, "not ready"
		}
	}
	return &bare{status, ordered{{"status", word}, {"components", parts}}}, nil
}
