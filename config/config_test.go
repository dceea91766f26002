package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gopkg.in/yaml.v3"
)

func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "vedette.yaml")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTheExampleHoldsEveryKeyWithItsDefault(t *testing.T) {
	t.Parallel()
	const path = "../config.example.yaml"
	got, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	// An empty list in a file is a list; no list is none.
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	for _, key := range Keys() {
		at, ok := any(tree), true
		for part := range strings.SplitSeq(key, ".") {
			var m map[string]any
			if m, ok = at.(map[string]any); !ok {
				break
			}
			if at, ok = m[part]; !ok {
				break
			}
		}
		if !ok {
			t.Errorf("config.example.yaml lacks %s", key)
		}
	}
}

func TestEveryProblemIsListedAtOnce(t *testing.T) {
	t.Parallel()
	p := write(t, "dat_dir: x\nkafka: {brokers: [\"a:1\"], bogus: 1, sasl: {mechanism: MAGIC}}\nevents: {retention: soon}\nforward: {opensearch: {urls: [\"ftp://x\"]}}\n")
	_, err := Load(p, []string{"VEDETTE_NO_SUCH=1", "HOME=/x"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"dat_dir: unknown key", "kafka.bogus: unknown key", "kafka.sasl.mechanism", "\nevents.retention: \"soon\" is no time; write it as 30s", "ftp://x", "cluster.key_file: required", "enroll.password_file: required", "VEDETTE_NO_SUCH"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not mentioned: %s\n%v", want, err)
		}
	}
}

func TestAListenerNeedsAnAddressAndAPort(t *testing.T) {
	t.Parallel()
	p := write(t, "enroll: {listen: nowhere}\ningest: {tcp: \":99999\"}\napi: {listen: \"\"}\nmetrics: {listen: \"a:no such\"}\n")
	_, err := Load(p, nil)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"enroll.listen: ", "ingest.tcp: ", "api.listen: empty", "metrics.listen: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not mentioned: %s\n%v", want, err)
		}
	}
	if _, err := Load(write(t, "metrics: {listen: \"\"}\n"), nil); err != nil {
		t.Error(err)
	}
}

func TestTheEnvironmentOverridesTheFile(t *testing.T) {
	t.Parallel()
	p := write(t, "data_dir: a\nevents: {retention: 2h}\n")
	c, err := Load(p, []string{"VEDETTE_DATA_DIR=b", "VEDETTE_ANALYZE_RULESETS=builtin,.", "VEDETTE_ANALYZE_LOG_ALL=true", "VEDETTE_KAFKA_TLS_ENABLED=false", "VEDETTE_EVENTS_MAX_BYTES=5"})
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "b" || c.Events.Retention != 2*time.Hour || c.Events.MaxBytes != 5 || !c.Analyze.LogAll || len(c.Analyze.Rulesets) != 2 {
		t.Errorf("%+v", c)
	}
}

func TestAMissingOrBrokenFileIsNamed(t *testing.T) {
	t.Parallel()
	if _, err := Load("/no/such/file.yaml", nil); err == nil || !strings.Contains(err.Error(), "/no/such/file.yaml") {
		t.Error(err)
	}
	_, err := Load(write(t, "a: [1"), nil)
	if err == nil || !strings.Contains(err.Error(), "vedette.yaml") || strings.Contains(err.Error(), "empty") {
		t.Error(err) // or with problems that the file would not have
	}
}

func TestTimesOfAgentsAreBounded(t *testing.T) {
	t.Parallel()
	f := func(agents, want string) {
		t.Helper()
		_, err := Load(write(t, "agents: {"+agents+"}\n"), nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", agents, err, want)
		}
	}
	f("disconnected_after: 10s, disconnected_alert_after: 720h, remove_after: 1m", "")
	f("disconnected_after: 9s", "agents.disconnected_after: 9s")
	f("disconnected_alert_after: -1s", "agents.disconnected_alert_after: -1s")
	f("disconnected_alert_after: 721h", "agents.disconnected_alert_after: 721h")
	f("remove_after: 59s", "agents.remove_after: 59s")
	f("remove_after: -1h", "agents.remove_after: -1h")
	f("remove_after: 60500ms", "agents.remove_after: 1m0.5s")
}

func TestLimitsOfTheAPIAreBounded(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"max_requests_per_minute: -1": "api.max_requests_per_minute: -1 is negative",
		"max_login_attempts: 0":       "api.max_login_attempts: 0; at least 1",
		"block_time: 500ms":           "api.block_time: 500ms is not in 1s…24h",
		"block_time: 25h":             "api.block_time: 25h0m0s is not in 1s…24h",
	} {
		if _, err := Load(write(t, "api: {"+text+"}\n"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %q", text, err, want)
		}
	}
	c, err := Load(write(t, "api: {max_requests_per_minute: 0, max_login_attempts: 5, block_time: 1m}\n"), nil)
	if err != nil || c.API.MaxRequestsPerMinute != 0 || c.API.MaxLoginAttempts != 5 || c.API.BlockTime != time.Minute {
		t.Errorf("the limits are %+v, %v", c.API, err)
	}
}

func TestAGroupTemplateMustBeAnAgentConf(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "template.conf")
	c := Default()
	c.Agents.GroupTemplate = name
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "agents.group_template: ") {
		t.Errorf("a template that is missing: %v", err)
	}
	for text, want := range map[string]string{"<agent_config>\n<x/></agent_config>": "line 2", "<agent_config></agent_config>": ""} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		switch err := c.Validate(); {
		case want == "" && err != nil:
			t.Errorf("%s is refused: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want an error with %q", text, err, want)
		}
	}
}

func TestSectionsAndKeysWithoutAValueHaveTheirDefaults(t *testing.T) {
	t.Parallel()
	c, err := Load(write(t, "agents:\n  # remove_after: 7d\nevents:\n  retention:\nkafka: {tls: {}}\nanalyze: null\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), c, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	if _, err := Load(write(t, ""), nil); err != nil {
		t.Error(err)
	}
}

func TestDaysAndWeeksAreTimes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"7d": 168 * time.Hour, "2w": 336 * time.Hour, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "90m": 90 * time.Minute, "0": 0} {
		c, err := Load(write(t, "events: {retention: "+text+"}"), nil)
		if err != nil || c.Events.Retention != want {
			t.Errorf("%s is %s, %v; want %s", text, c.Events.Retention, err, want)
		}
		if c, err := Load("", []string{"VEDETTE_EVENTS_RETENTION=" + text}); err != nil || c.Events.Retention != want {
			t.Errorf("%s from the environment is %s, %v; want %s", text, c.Events.Retention, err, want)
		}
	}
}

func TestMistakesAreSaidPlainly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"agentz: {}":                                   "agentz: unknown key (did you mean agents?)",
		"agents: {nonsense: {}}":                       "agents.nonsense: unknown key",
		"ingest: {listen: x}":                          "ingest.listen: unknown key",
		"enroll: {lissten: x}":                         "enroll.lissten: unknown key (did you mean enroll.listen?)",
		"agents: 5":                                    "agents: a section with keys of its own is expected, such as agents.",
		"events: {retention: 5}":                       "events.retention: 5 has no unit; write it as 30s",
		"events: {retention: 5y}":                      `events.retention: "5y" is no time`,
		"agents: {push_bytes_per_second: many}":        "agents.push_bytes_per_second: a whole number is expected",
		"agents: {allow_higher_versions: perhaps}":     "agents.allow_higher_versions: true or false is expected",
		"agents: {push_bytes_per_second: 1.0e99}":      "agents.push_bytes_per_second: ",
		"enroll: {force: {disconnected_time: [1, 2]}}": "enroll.force.disconnected_time: ",
	} {
		_, err := Load(write(t, text), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
			continue
		}
		for _, bad := range []string{"strconv", "decoding failed", "reflect"} {
			if strings.Contains(err.Error(), bad) {
				t.Errorf("%s: %v", text, err)
			}
		}
		if strings.Contains(err.Error(), "did you mean") != strings.Contains(want, "did you mean") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestARoleNeedsOnlyItsOwnSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	secrets := map[string][]string{ // by file, the roles that open it; none: every role
		"VEDETTE_CLUSTER_KEY_FILE":                 nil,
		"VEDETTE_ENROLL_PASSWORD_FILE":             {RoleEnroll},
		"VEDETTE_ENROLL_CERTIFICATE":               {RoleEnroll},
		"VEDETTE_ENROLL_KEY":                       {RoleEnroll},
		"VEDETTE_ENROLL_AGENT_CA":                  {RoleEnroll},
		"VEDETTE_ENROLL_KEY_REQUEST_EXEC_PATH":     {RoleIngest},
		"VEDETTE_API_CERTIFICATE":                  {RoleAPI},
		"VEDETTE_API_KEY":                          {RoleAPI},
		"VEDETTE_AGENTS_PACKAGES_DIR":              {RoleAPI},
		"VEDETTE_AGENTS_GROUPS_DIR":                {RoleIngest, RoleAPI},
		"VEDETTE_FORWARD_OPENSEARCH_PASSWORD_FILE": {RoleForward, RoleAPI},
		"VEDETTE_FORWARD_OPENSEARCH_CA":            {RoleForward, RoleAPI},
		"VEDETTE_ANALYZE_GEOIP_FILE":               {RoleAnalyze, RoleForward, RoleAPI},
		"VEDETTE_ANALYZE_RULESETS":                 {RoleAnalyze, RoleAPI},
	}
	environ := []string{"VEDETTE_KAFKA_BROKERS=a:1", "VEDETTE_FORWARD_OPENSEARCH_URLS=https://x"}
	for name := range secrets {
		environ = append(environ, name+"="+at(name))
	}
	// With no file there, each role names just the files it would open.
	for _, role := range append(Roles(), "") {
		var roles []string
		if role != "" {
			roles = []string{role}
		}
		_, err := LoadFor("", environ, roles)
		if err == nil {
			t.Errorf("role %q: accepted without any secret", role)
			continue
		}
		for name, users := range secrets {
			named := strings.Contains(err.Error(), at(name)+":") || strings.Contains(err.Error(), at(name)+"\"")
			if want := users == nil || slices.Contains(users, role); named != want {
				t.Errorf("role %q: %s is demanded: %v, want %v\n%v", role, name, named, want, err)
			}
		}
	}
	// A password is demanded of the role that asks agents for it, and of no other.
	bare := []string{"VEDETTE_KAFKA_BROKERS=a:1", "VEDETTE_CLUSTER_KEY_FILE=" + at("key")}
	if err := os.WriteFile(at("key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, role := range Roles() {
		_, err := LoadFor("", bare, []string{role})
		if (err != nil) != (role == RoleEnroll) {
			t.Errorf("role %s without a password: %v", role, err)
		}
	}
}
