// Package config reads the one YAML file, lets VEDETTE_ variables override it,
// and lists every problem at once. Nothing else reads the environment.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
	"gopkg.in/yaml.v3"

	"vedette/analyze"
	"vedette/enroll"
	"vedette/forward"
	"vedette/inputs/agentless"
	"vedette/inputs/syslog"
	"vedette/inputs/topics"
	"vedette/internal/groups"
	"vedette/internal/kafka"
	"vedette/internal/keyrequest"
	"vedette/internal/responses"
	"vedette/internal/secret"
	"vedette/schemas"
)

// Config is the whole configuration. config.example.yaml at the root of the
// repository is its reference, and a test keeps the two equal.
type Config struct {
	// DataDir holds everything a single process keeps: the embedded broker's log,
	// the embedded store, generated keys, certificates and passwords.
	DataDir string       `mapstructure:"data_dir"`
	Cluster Cluster      `mapstructure:"cluster"`
	Kafka   kafka.Config `mapstructure:"kafka"`
	Events  Events       `mapstructure:"events"`
	Enroll  Enroll       `mapstructure:"enroll"`
	Ingest  Ingest       `mapstructure:"ingest"`
	Agents  Agents       `mapstructure:"agents"`
	// Agentless are checks of devices over SSH, part of the role ingest.
	Agentless []agentless.Config `mapstructure:"agentless"`
	Analyze   analyze.Config     `mapstructure:"analyze"`
	Forward   Forward            `mapstructure:"forward"`
	// ActiveResponse sets the commands that alerts start on agents and on the
	// server.
	ActiveResponse responses.Config `mapstructure:"active_response"`
	API            API              `mapstructure:"api"`
	Metrics        Metrics          `mapstructure:"metrics"`
}

// Cluster holds the settings that all processes of an installation share.
type Cluster struct {
	// Name appears in alerts as cluster.name and manager.name.
	Name string `mapstructure:"name"`
	// Node names this process in presence and event headers; empty: the host name.
	Node string `mapstructure:"node"`
	// KeyFile holds the key under which secrets and orders are sealed. Required
	// with brokers; generated under data_dir without.
	KeyFile string `mapstructure:"key_file"`
	// Hosts are the names and addresses by which agents and API clients reach this
	// installation. Generated certificates name them beside localhost; empty: the
	// host name.
	Hosts []string `mapstructure:"hosts"`
	// Timezone is the zone of alert time stamps and of rules' time and weekday.
	Timezone string `mapstructure:"timezone"`
}

// Events bounds the raw log.
type Events struct {
	// Retention is how long raw events are kept.
	Retention time.Duration `mapstructure:"retention"`
	// MaxBytes bounds each partition; 0 does not.
	MaxBytes int64 `mapstructure:"max_bytes"`
	// HistoryMaxBytes bounds the files that keep events longer than the embedded
	// broker does; 0 keeps none. With brokers there are none.
	HistoryMaxBytes int64 `mapstructure:"history_max_bytes"`
}

// Enroll is the enrollment listener.
type Enroll struct {
	Listen       string        `mapstructure:"listen"`
	UsePassword  bool          `mapstructure:"use_password"`
	Password     secret.String `mapstructure:"password"`
	PasswordFile string        `mapstructure:"password_file"`
	// Certificate and Key are PEM files; generated under data_dir when empty.
	Certificate string `mapstructure:"certificate"`
	Key         string `mapstructure:"key"`
	// AgentCA is a PEM file of CAs, one of which must have signed an agent's
	// certificate; VerifyAgentAddress demands that it names where the agent is.
	AgentCA            string `mapstructure:"agent_ca"`
	VerifyAgentAddress bool   `mapstructure:"verify_agent_address"`
	// UseSourceIP registers agents under the address they come from.
	UseSourceIP bool `mapstructure:"use_source_ip"`
	// Purge forgets agents that are replaced instead of keeping them as removed.
	Purge bool `mapstructure:"purge"`
	// RatePerSource bounds the connections a second of one address; 0: any.
	RatePerSource int   `mapstructure:"rate_per_source"`
	Force         Force `mapstructure:"force"`
	// KeyRequest asks elsewhere for the keys of agents that gateways do not know.
	KeyRequest keyrequest.Config `mapstructure:"key_request"`
}

// Force says when an agent gives way to a new one of its name or address.
type Force struct {
	Enabled     bool `mapstructure:"enabled"`
	KeyMismatch bool `mapstructure:"key_mismatch"`
	// DisconnectedTime counts only with DisconnectedTimeEnabled; 0 is at once.
	DisconnectedTimeEnabled bool          `mapstructure:"disconnected_time_enabled"`
	DisconnectedTime        time.Duration `mapstructure:"disconnected_time"`
	// AfterRegistrationTime 0 switches the test off.
	AfterRegistrationTime time.Duration `mapstructure:"after_registration_time"`
}

// Policy is the policy that proposals carry.
func (e Enroll) Policy() schemas.ForcePolicy {
	return schemas.ForcePolicy{
		Enabled: e.Force.Enabled, KeyMismatch: e.Force.KeyMismatch, Purge: e.Purge,
		DisconnectedTimeEnabled: e.Force.DisconnectedTimeEnabled, DisconnectedTime: int64(e.Force.DisconnectedTime / time.Second),
		AfterRegistrationTime: int64(e.Force.AfterRegistrationTime / time.Second),
	}
}

// Ingest holds the sources of events: the agent channel, and sources without an
// agent.
type Ingest struct {
	TCP string `mapstructure:"tcp"`
	// UDP takes agents' datagrams; empty: none.
	UDP string `mapstructure:"udp"`
	// MaxConnections bounds the agents connected to this process. Fit lowers it to
	// the files that the process may open.
	MaxConnections int `mapstructure:"max_connections"`
	// InFlightBytes bounds agents' messages that no broker has acknowledged yet;
	// above it sockets are not read. Fit lowers it to the memory.
	InFlightBytes int64 `mapstructure:"in_flight_bytes"`
	// Syslog takes messages of devices.
	Syslog syslog.Config `mapstructure:"syslog"`
	// Kafka takes topics that others write.
	Kafka []topics.Config `mapstructure:"kafka"`
}

// Agents holds settings about agents, whichever gateway they connect to.
type Agents struct {
	// AllowHigherVersions admits agents newer than the release served.
	AllowHigherVersions bool `mapstructure:"allow_higher_versions"`
	// DisconnectedAfter is how long an agent may send no keepalive.
	DisconnectedAfter time.Duration `mapstructure:"disconnected_after"`
	// DisconnectedAlertAfter is how long an agent must then be disconnected, without
	// having become active, before an event reports it.
	DisconnectedAlertAfter time.Duration `mapstructure:"disconnected_alert_after"`
	// RemoveAfter is how long an agent must be disconnected to be removed from the
	// registry; 0: none is.
	RemoveAfter time.Duration `mapstructure:"remove_after"`
	// GroupsDir holds a directory per group with the files its agents share, as
	// etc/shared does; empty: they are published by the API only.
	GroupsDir string `mapstructure:"groups_dir"`
	// GroupTemplate is a file: the agent.conf of groups that have none of their own,
	// the same on every node. Empty: one without settings.
	GroupTemplate string `mapstructure:"group_template"`
	// PackagesDir holds the packages that the API upgrades agents by, on each node
	// with the API; empty: agents are not upgraded from here.
	PackagesDir string `mapstructure:"packages_dir"`
	// PushBytesPerSecond bounds the groups' files that one gateway sends.
	PushBytesPerSecond int64 `mapstructure:"push_bytes_per_second"`
}

// Forward says where alerts go.
type Forward struct {
	OpenSearch OpenSearch `mapstructure:"opensearch"`
	// Destinations are further places. Each type decodes its own settings.
	Destinations []forward.Entry `mapstructure:"destinations"`
	// AlertsFile is the form that versions before Destinations had.
	AlertsFile AlertsFile `mapstructure:"alerts_file"`
}

// OpenSearch is an indexer; without URLs the embedded store takes its place.
type OpenSearch struct {
	URLs         []string `mapstructure:"urls"`
	Username     string   `mapstructure:"username"`
	PasswordFile string   `mapstructure:"password_file"`
	CA           string   `mapstructure:"ca"`
}

// API is the REST API.
type API struct {
	Listen      string `mapstructure:"listen"`
	Certificate string `mapstructure:"certificate"`
	Key         string `mapstructure:"key"`
	// MaxRequestsPerMinute bounds the requests of all clients together; 0: any.
	MaxRequestsPerMinute int `mapstructure:"max_requests_per_minute"`
	// MaxLoginAttempts failed logins of an address within BlockTime block its logins
	// until BlockTime is over.
	MaxLoginAttempts int           `mapstructure:"max_login_attempts"`
	BlockTime        time.Duration `mapstructure:"block_time"`
}

// Metrics is the plain HTTP listener for metrics and health of one process.
type Metrics struct {
	Listen string `mapstructure:"listen"`
}

// Default returns the configuration that needs no file.
func Default() Config {
	return Config{
		DataDir: "data",
		Cluster: Cluster{Name: "vedette", Hosts: []string{}, Timezone: "UTC"},
		Kafka:   kafka.Default(),
		Events:  Events{Retention: 168 * time.Hour, HistoryMaxBytes: 10 << 30},
		Enroll: Enroll{
			Listen: ":1515", UsePassword: true, Purge: true, RatePerSource: enroll.DefaultRatePerSource,
			Force:      Force{Enabled: true, KeyMismatch: true, DisconnectedTimeEnabled: true, DisconnectedTime: time.Hour, AfterRegistrationTime: time.Hour},
			KeyRequest: keyrequest.Default(),
		},
		Ingest:    Ingest{TCP: ":1514", MaxConnections: 100_000, InFlightBytes: 64 << 20, Syslog: syslog.Default(), Kafka: []topics.Config{}},
		Agents:    Agents{DisconnectedAfter: 15 * time.Minute, PushBytesPerSecond: 64 << 20},
		Agentless: []agentless.Config{},
		Analyze:   analyze.Default(),
		API:       API{Listen: ":55000", MaxRequestsPerMinute: 300, MaxLoginAttempts: 50, BlockTime: 5 * time.Minute},
		Metrics:   Metrics{Listen: "127.0.0.1:9100"},
	}
}

// Names of the roles.
const (
	RoleIngest  = "ingest"
	RoleEnroll  = "enroll"
	RoleAnalyze = "analyze"
	RoleForward = "forward"
	RoleAPI     = "api"
)

// Roles returns every role's name.
func Roles() []string { return []string{RoleIngest, RoleEnroll, RoleAnalyze, RoleForward, RoleAPI} }

const envPrefix = "VEDETTE"

// Load reads path (none if empty), applies the environment and validates. The
// error joins every problem, each with its key.
func Load(path string, environ []string) (Config, error) { return LoadFor(path, environ, Roles()) }

// LoadFor is Load for a process that runs only the given roles, or for a command
// that runs none: secrets and files of other roles need not be present.
func LoadFor(path string, environ, roles []string) (Config, error) {
	c, err := Parse(path, environ)
	return c, errors.Join(err, c.ValidateFor(roles))
}

// Parse is Load without checking the meaning of values, for the command that
// makes the files they name.
func Parse(path string, environ []string) (Config, error) {
	v := viper.NewWithOptions(viper.ExperimentalBindStruct())
	v.SetConfigType("yaml")
	var errs []error
	var destinations any
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return Default(), fmt.Errorf("read configuration: %w", err)
		}
		var tree map[string]any
		if err = yaml.Unmarshal(data, &tree); err == nil {
			errs = checkTree(tree, "")
			destinations = takeDestinations(tree)
			err = v.MergeConfigMap(tree)
		}
		if err != nil {
			return Default(), fmt.Errorf("read configuration %s: %w", path, err)
		}
	}
	errs = append(errs, applyEnv(v, environ)...)
	if text, ok := v.Get(destinationsKey).(string); ok {
		destinations = text
		v.Set(destinationsKey, nil)
	}
	c := Default()
	errs = append(errs, unknownInLists(v)...)
	hook := mapstructure.ComposeDecodeHookFunc(durations, commaList, yamlList)
	if err := v.Unmarshal(&c, viper.DecodeHook(hook), func(dc *mapstructure.DecoderConfig) { dc.ZeroFields = true }); err != nil {
		for _, e := range single(err) {
			errs = append(errs, plainly(e))
		}
	}
	var refused []error
	c.Forward.Destinations, refused = decodeDestinations(destinations)
	errs = append(errs, refused...)
	return c, errors.Join(errs...)
}

// single takes a joined error apart.
func single(err error) []error {
	var many interface{ Unwrap() []error }
	if !errors.As(err, &many) {
		return []error{err}
	}
	var out []error
	for _, e := range many.Unwrap() {
		out = append(out, single(e)...)
	}
	return out
}

// commaList turns "a,b" from the environment into a list.
func commaList(from, to reflect.Type, data any) (any, error) {
	if from.Kind() != reflect.String || to != reflect.TypeFor[[]string]() {
		return data, nil
	}
	if data == "" {
		return []string{}, nil
	}
	parts := strings.Split(data.(string), ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts, nil
}

// applyEnv sets every VEDETTE_ variable that names a key, and refuses the rest.
func applyEnv(v *viper.Viper, environ []string) []error {
	byEnv := map[string]string{}
	for _, k := range Keys() {
		byEnv[EnvName(k)] = k
	}
	var errs []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, envPrefix+"_") || name == StockRulesetEnv || name == SpecEnv || name == VectorsEnv {
			continue
		}
		key, ok := byEnv[name]
		if !ok {
			errs = append(errs, fmt.Errorf("environment variable %s: names no configuration key", name))
			continue
		}
		v.Set(key, value)
	}
	return errs
}

// Variables that only tests read; they are no configuration.
const (
	StockRulesetEnv = "VEDETTE_STOCK_RULESET"
	SpecEnv         = "VEDETTE_SPEC"
	VectorsEnv      = "VEDETTE_OSREGEX_VECTORS"
)

// EnvName returns the variable that overrides a key.
func EnvName(key string) string {
	return envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Keys returns the path of every key, sorted.
func Keys() []string {
	var keys []string
	var walk func(t reflect.Type, prefix string)
	walk = func(t reflect.Type, prefix string) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("mapstructure") == "-" {
				continue
			}
			k := prefix + f.Tag.Get("mapstructure")
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type, k+".")
			} else {
				keys = append(keys, k)
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	sort.Strings(keys)
	return keys
}

// Validate returns every problem, joined. Each names its key.
func (c Config) Validate() error { return c.ValidateFor(Roles()) }

// ValidateFor is Validate without the secrets and files that none of the roles
// opens.
func (c Config) ValidateFor(roles []string) error {
	v := &validation{roles: roles}
	for _, section := range []func(*Config){v.cluster, v.inputs, v.events, v.keys, v.enroll, v.ports, v.certificates, v.files, v.indexer, v.agents, v.api, v.rulesets} {
		section(&c)
	}
	v.add(c.Forward.validateDestinations(v.has(RoleForward))...)
	if err := c.Analyze.Validate(); err != nil {
		v.add(err)
	}
	if _, err := responses.New(c.ActiveResponse); err != nil && c.ActiveResponse.OssecConf == "" {
		v.add(single(err)...) // with a file, its commands count too, which are read later
	}
	sort.Slice(v.errs, func(i, j int) bool { return v.errs[i].Error() < v.errs[j].Error() })
	return errors.Join(v.errs...)
}

// validation collects the problems of a configuration for some roles.
type validation struct {
	roles []string
	errs  []error
}

// has reports whether any of the named roles runs.
func (v *validation) has(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(v.roles, n) })
}

func (v *validation) add(errs ...error) { v.errs = append(v.errs, errs...) }

func (v *validation) bad(format string, a ...any) { v.add(fmt.Errorf(format, a...)) }

// cluster checks the names that all nodes share.
func (v *validation) cluster(c *Config) {
	if c.DataDir == "" {
		v.bad("data_dir: empty")
	}
	if c.Cluster.Name == "" || strings.ContainsAny(c.Cluster.Name, " \t\n\"\\/") {
		v.bad("cluster.name: %q; use letters, digits, '.', '_' and '-'", c.Cluster.Name)
	}
	if _, err := time.LoadLocation(c.Cluster.Timezone); err != nil || c.Cluster.Timezone == "Local" {
		v.bad("cluster.timezone: %q is no time zone that every worker would agree on", c.Cluster.Timezone)
	}
}

// inputs checks the gateway and the other sources of events.
func (v *validation) inputs(c *Config) {
	if c.Ingest.MaxConnections < 1 {
		v.bad("ingest.max_connections: %d is not positive", c.Ingest.MaxConnections)
	}
	if c.Ingest.InFlightBytes < 1<<20 {
		v.bad("ingest.in_flight_bytes: %d is less than 1 MiB, which one agent may have in flight", c.Ingest.InFlightBytes)
	}
	for _, err := range []error{c.Kafka.Validate(), c.Ingest.Syslog.Validate(), topics.Validate(c.Ingest.Kafka, c.Kafka.TopicPrefix), agentless.Validate(c.Agentless)} {
		if err != nil {
			v.add(single(err)...)
		}
	}
}

// events checks the retention of events.
func (v *validation) events(c *Config) {
	if c.Events.Retention < 0 || (c.Events.Retention > 0 && c.Events.Retention < time.Minute) {
		v.bad("events.retention: %s; at least 1m, or 0 to keep for ever", c.Events.Retention)
	}
	if c.Events.MaxBytes < 0 {
		v.bad("events.max_bytes: %d is negative", c.Events.MaxBytes)
	}
	if c.Events.HistoryMaxBytes < 0 {
		v.bad("events.history_max_bytes: %d is negative", c.Events.HistoryMaxBytes)
	}
}

// keys checks the secrets that several processes must share.
func (v *validation) keys(c *Config) {
	if !c.Kafka.Embedded() {
		if c.Cluster.KeyFile == "" {
			v.bad("cluster.key_file: required with kafka.brokers, because every process must seal under the same key")
		}
		if v.has(RoleEnroll) && c.Enroll.UsePassword && c.Enroll.Password == "" && c.Enroll.PasswordFile == "" {
			v.bad("enroll.password_file: required with kafka.brokers (or enroll.password), because every enroll process must ask for the same one; or set enroll.use_password: false")
		}
	}
}

// enroll checks enrollment.
func (v *validation) enroll(c *Config) {
	if c.Enroll.Password != "" && c.Enroll.PasswordFile != "" {
		v.bad("enroll.password: give it or enroll.password_file, not both")
	}
	if n := len(c.Enroll.Password); n > 4094 || strings.ContainsAny(c.Enroll.Password.Reveal(), "\r\n") || n == 1 {
		v.bad("enroll.password: between 2 and 4094 characters on one line")
	}
	for key, d := range map[string]time.Duration{
		"enroll.force.disconnected_time": c.Enroll.Force.DisconnectedTime, "enroll.force.after_registration_time": c.Enroll.Force.AfterRegistrationTime,
	} {
		if d < 0 || d%time.Second != 0 {
			v.bad("%s: %s; whole seconds, 0 or more", key, d)
		}
	}
	if err := c.Enroll.KeyRequest.Validate("enroll.key_request"); err != nil {
		v.add(err)
	}
	if f := c.Enroll.KeyRequest.ExecPath; f != "" && v.has(RoleIngest) {
		if st, err := os.Stat(f); err != nil || st.IsDir() || st.Mode()&0o111 == 0 {
			v.bad("enroll.key_request.exec_path: %q is no program", f)
		}
	}
	if c.Enroll.RatePerSource < 0 {
		v.bad("enroll.rate_per_source: %d is negative", c.Enroll.RatePerSource)
	}
	if c.Enroll.VerifyAgentAddress && c.Enroll.AgentCA == "" {
		v.bad("enroll.verify_agent_address: needs enroll.agent_ca, because only then agents show a certificate")
	}
}

// ports checks the addresses of listeners.
func (v *validation) ports(c *Config) {
	for key, addr := range map[string]string{
		"enroll.listen": c.Enroll.Listen, "ingest.tcp": c.Ingest.TCP, "api.listen": c.API.Listen,
		"metrics.listen": c.Metrics.Listen, "kafka.embedded_listen": c.Kafka.EmbeddedListen,
	} {
		if addr == "" {
			if key != "metrics.listen" && key != "kafka.embedded_listen" { // these may be off
				v.bad("%s: empty; give an address and a port, such as :1514", key)
			}
			continue
		}
		_, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			v.bad("%s: %v", key, err)
		}
	}
}

// certificates checks that certificates and keys come in pairs.
func (v *validation) certificates(c *Config) {
	for key, pair := range map[string][2]string{
		"enroll": {c.Enroll.Certificate, c.Enroll.Key}, "api": {c.API.Certificate, c.API.Key},
	} {
		if (pair[0] == "") != (pair[1] == "") {
			v.bad("%s.certificate, %s.key: give both or neither", key, key)
		}
	}
}

// files checks that the named files are there.
func (v *validation) files(c *Config) {
	const made = "; `vedette init` makes it"
	for _, f := range []struct {
		key, path, hint string
		used            bool
	}{
		{"cluster.key_file", c.Cluster.KeyFile, made, true},
		{"enroll.password_file", c.Enroll.PasswordFile, made, v.has(RoleEnroll)},
		{"enroll.certificate", c.Enroll.Certificate, made, v.has(RoleEnroll)},
		{"enroll.key", c.Enroll.Key, made, v.has(RoleEnroll)},
		{"enroll.agent_ca", c.Enroll.AgentCA, "", v.has(RoleEnroll)},
		{"api.certificate", c.API.Certificate, made, v.has(RoleAPI)},
		{"api.key", c.API.Key, made, v.has(RoleAPI)},
		{"forward.opensearch.password_file", c.Forward.OpenSearch.PasswordFile, "", v.has(RoleForward, RoleAPI)},
		{"forward.opensearch.ca", c.Forward.OpenSearch.CA, "", v.has(RoleForward, RoleAPI)},
		{"analyze.geoip_file", c.Analyze.GeoIPFile, "", v.has(RoleAnalyze, RoleForward, RoleAPI)},
		{"active_response.ossec_conf", c.ActiveResponse.OssecConf, "", true},
	} {
		if f.path == "" || !f.used {
			continue
		}
		if _, err := os.Stat(f.path); err != nil {
			v.bad("%s: %v%s", f.key, err, f.hint)
		}
	}
}

// indexer checks the connection to the indexer.
func (v *validation) indexer(c *Config) {
	for _, u := range c.Forward.OpenSearch.URLs {
		if !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") {
			v.bad("forward.opensearch.urls: %q does not begin with https:// or http://", u)
		}
	}
	if len(c.Forward.OpenSearch.URLs) == 0 && (c.Forward.OpenSearch.Username != "" || c.Forward.OpenSearch.PasswordFile != "") {
		v.bad("forward.opensearch.urls: empty, but a login is given")
	}
}

// api checks the limits of the API.
func (v *validation) api(c *Config) {
	if n := c.API.MaxRequestsPerMinute; n < 0 {
		v.bad("api.max_requests_per_minute: %d is negative; 0 sets no bound", n)
	}
	if n := c.API.MaxLoginAttempts; n < 1 {
		v.bad("api.max_login_attempts: %d; at least 1", n)
	}
	if d := c.API.BlockTime; d < time.Second || d > 24*time.Hour {
		v.bad("api.block_time: %s is not in 1s…24h", d)
	}
}

// agents checks the section agents.
func (v *validation) agents(c *Config) {
	if d := c.Agents.DisconnectedAfter; d < 10*time.Second {
		v.bad("agents.disconnected_after: %s; at least 10s, because agents send a keepalive that often", d)
	}
	if d := c.Agents.DisconnectedAlertAfter; d < 0 || d > 30*24*time.Hour {
		v.bad("agents.disconnected_alert_after: %s is not in 0s…720h", d)
	}
	if d := c.Agents.RemoveAfter; d != 0 && (d < time.Minute || d%time.Second != 0) {
		v.bad("agents.remove_after: %s; whole seconds, at least 1m, or 0s for never", d)
	}
	if n := c.Agents.PushBytesPerSecond; n < 64<<10 {
		v.bad("agents.push_bytes_per_second: %d; at least 65536", n)
	}
	if f := c.Agents.GroupTemplate; f != "" && v.has(RoleIngest, RoleAPI) {
		if _, err := groups.ReadAgentConf(f); err != nil {
			v.bad("agents.group_template: %v", err)
		}
	}
	for _, d := range []struct {
		key, path string
		used      bool
	}{
		{"agents.groups_dir", c.Agents.GroupsDir, v.has(RoleIngest, RoleAPI)},
		{"agents.packages_dir", c.Agents.PackagesDir, v.has(RoleAPI)},
	} {
		if d.path == "" || !d.used {
			continue
		}
		if st, err := os.Stat(d.path); err != nil || !st.IsDir() {
			v.bad("%s: %q is no directory", d.key, d.path)
		}
	}
}

// rulesets checks that the named rulesets are there.
func (v *validation) rulesets(c *Config) {
	for key, names := range map[string][]string{"analyze.rulesets": c.Analyze.Rulesets, "analyze.shadow": c.Analyze.Shadow} {
		for _, r := range names {
			if r == analyze.Builtin || r == "" || !v.has(RoleAnalyze, RoleAPI) {
				continue
			}
			if st, err := os.Stat(r); err != nil {
				v.bad("%s: %v", key, err)
			} else if !st.IsDir() && !strings.HasSuffix(r, ".conf") {
				v.bad("%s: %s is neither a directory nor a .conf file", key, r)
			}
		}
	}
}

// Warnings returns the settings that are allowed but unwise.
func (c Config) Warnings() []string {
	var w []string
	if !c.Enroll.UsePassword && c.Enroll.AgentCA == "" {
		w = append(w, "enroll.use_password is false: anyone who reaches the port can enroll an agent")
	}
	if !c.Kafka.Embedded() && !c.Kafka.TLS.Enabled {
		w = append(w, "kafka.tls.enabled is false: events and sealed secrets cross the network in the clear")
	}
	w = append(w, agentless.Warnings(c.Agentless)...)
	if slices.Contains(c.Ingest.Syslog.Allowed, "any") && c.Ingest.Syslog.Enabled() {
		w = append(w, "ingest.syslog.allowed holds any: whoever reaches the port can write events")
	}
	for _, u := range c.Forward.OpenSearch.URLs {
		if strings.HasPrefix(u, "http://") {
			w = append(w, "forward.opensearch.urls: "+u+" is not encrypted")
		}
	}
	w = append(w, c.Forward.warnings()...)
	if c.Kafka.Embedded() {
		if host, _, err := net.SplitHostPort(c.Kafka.EmbeddedListen); err == nil {
			if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
				w = append(w, "kafka.embedded_listen is not a loopback address: the embedded broker has no TLS")
			}
		}
	}
	if host, _, err := net.SplitHostPort(c.Metrics.Listen); err == nil && c.Metrics.Listen != "" {
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			w = append(w, "metrics.listen is not a loopback address: metrics are served without a login")
		}
	}
	return w
}
