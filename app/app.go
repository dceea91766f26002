package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"vedette/api"
	"vedette/config"
	"vedette/internal/datadir"
	"vedette/internal/groups"
	"vedette/internal/health"
	"vedette/internal/history"
	"vedette/internal/kafka"
	"vedette/internal/logring"
	"vedette/internal/nodes"
	"vedette/internal/packages"
	"vedette/internal/registry"
	"vedette/internal/retry"
	"vedette/internal/secret"
	"vedette/rulesets"
	"vedette/schemas"
)

// Names of the roles.
const (
	RoleIngest  = config.RoleIngest
	RoleEnroll  = config.RoleEnroll
	RoleAnalyze = config.RoleAnalyze
	RoleForward = config.RoleForward
	RoleAPI     = config.RoleAPI
)

// Roles returns every role's name.
func Roles() []string { return config.Roles() }

// CheckRoles refuses names that are no role.
func CheckRoles(names []string) error {
	for _, n := range names {
		if !slices.Contains(Roles(), n) {
			return fmt.Errorf("no role %q; the roles are %s", n, strings.Join(Roles(), ", "))
		}
	}
	return nil
}

// Role is one long-running part of the pipeline. Its constructor has already
// bound its listeners. Run serves until ctx ends, then stops taking input,
// drains what it has accepted, commits, and returns nil. Any other return ends
// the process.
type Role interface {
	Run(ctx context.Context) error
}

// App is one process with its roles.
type App struct {
	cfg   config.Config
	log   *slog.Logger
	lines *logring.Ring
	// apiLog keeps no line below a warning in lines: one is written for each request.
	apiLog *slog.Logger
	reg    *prometheus.Registry
	roles  map[string]Role
	// infra runs beside the roles and ends after them.
	infra    map[string]Role
	checks   health.Checks
	registry *registry.Registry
	rules    *rulesets.Live // nil for roles that need none
	groups   *groups.Store  // nil for roles that need none
	packages *packages.Store
	nodes    *nodes.Nodes
	cluster  *kafka.Cluster
	box      *secret.Box
	dir      *datadir.Dir
	ends     datadir.Endpoints
	cleanup  []func()
	ready    chan struct{}

	user     *api.FirstUser // nil without the role api
	password string         // path of the generated enrollment password
	node     string
}

// OpenRegistry opens the registry of this installation.
func OpenRegistry(c config.Config, cluster *kafka.Cluster, box *secret.Box, log *slog.Logger, reg prometheus.Registerer) (*registry.Registry, error) {
	r, err := registry.Open(cluster, box, NodeName(c), log, reg)
	if err != nil {
		return nil, err
	}
	r.Reserve(c.Cluster.Name, NodeName(c))
	return r, nil
}

// Start builds the named roles (all if none) and binds every listener. Problems
// are returned together; then nothing is left open.
func Start(ctx context.Context, c config.Config, names []string, log *slog.Logger) (_ *App, err error) {
	if len(names) == 0 {
		names = Roles()
	}
	if err := CheckRoles(names); err != nil {
		return nil, err
	}
	lines, plain := logring.New(), log.Handler()
	log = slog.New(lines.Handler(plain, slog.LevelDebug))
	a := &App{
		cfg: c, log: log, lines: lines, apiLog: slog.New(lines.Handler(plain, slog.LevelWarn)), reg: prometheus.NewRegistry(), roles: map[string]Role{}, infra: map[string]Role{},
		ready: make(chan struct{}), node: NodeName(c),
	}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	a.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	// Checks that touch nothing come first.
	var own *rulesets.Ruleset
	var refused error
	if needsRules(names) {
		own, refused = rulesets.Load(c.Analyze.Rulesets, c.Analyze.GeoIPFile)
	}
	if refused != nil && c.Kafka.Embedded() {
		if _, err := os.Stat(c.DataDir); errors.Is(err, os.ErrNotExist) {
			return nil, refused // nothing was ever published here
		}
	}
	if a.dir, err = datadir.Open(c.DataDir); err != nil {
		return nil, err
	}
	a.cleanup = append(a.cleanup, func() { _ = a.dir.Close() })
	a.watchDisk()
	if a.box, err = openBox(keyFile(c), log); err != nil {
		return nil, err
	}
	a.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "vedette_cluster_key_old_uses_total", Help: "Values that opened or verified under an older key of cluster.key_file only.",
	}, func() float64 { return float64(a.box.OldUses()) }))
	if err := a.openBrokers(ctx); err != nil {
		return nil, err
	}
	if err := a.openRulesets(ctx, names, own, refused); err != nil {
		return nil, err
	}
	if err := a.build(names); err != nil {
		return nil, err
	}
	if err := a.openNodes(names); err != nil {
		return nil, err
	}
	if c.Metrics.Listen != "" {
		h, err := health.NewServer(c.Metrics.Listen, a.reg, &a.checks)
		if err != nil {
			return nil, err
		}
		a.infra["metrics"] = h
		a.cleanup = append(a.cleanup, func() { _ = h.Close() })
		a.ends.Metrics = h.Addr().String()
	}
	switch err := a.dir.WriteEndpoints(a.ends); {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		// A start on a full disk is how retention gets to free it.
		log.Error("commands on this machine cannot find this process until there is room on the disk", "err", err)
		a.infra["endpoints"] = endpointsLater{a}
	case err != nil:
		return nil, err
	}
	return a, nil
}

// endpointsLater publishes where this process listens once the disk has room.
type endpointsLater struct{ a *App }

func (e endpointsLater) Run(ctx context.Context) error {
	pause := retry.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for pause.Wait(ctx) == nil {
		if e.a.dir.WriteEndpoints(e.a.ends) == nil {
			<-ctx.Done()
		}
	}
	return nil
}

// topicsWithin is how long a start waits for topics that answering brokers lack.
const topicsWithin = 30 * time.Second

// openBrokers starts the embedded broker, or looks whether the configured ones
// hold the topics. Brokers that do not answer are waited for later.
func (a *App) openBrokers(ctx context.Context) error {
	if a.cfg.Kafka.Embedded() {
		broker, cluster, err := startEmbedded(ctx, a.dir, a.cfg.Kafka, a.cfg.Events, a.log)
		if err != nil {
			return err
		}
		a.cleanup = append(a.cleanup, broker.Close)
		a.cluster, a.ends.Kafka = cluster, broker.Addr
		if err := a.keepHistory(); err != nil {
			return err
		}
		if err := a.makeSources(ctx); err != nil {
			return err
		}
	} else {
		cluster, err := kafka.Connect(a.cfg.Kafka)
		if err != nil {
			return err
		}
		a.cluster = cluster
	}
	w := health.NewWatch(a.cluster)
	err := w.Await(ctx, topicsWithin)
	if err != nil {
		if errors.Is(err, health.ErrTopics) {
			return err
		}
		a.log.Warn("starting without brokers; waiting for them", "err", err)
	}
	a.infra["watch"] = w
	a.checks.Add("kafka", w.Err)
	a.checks.Add("progress", a.cluster.Progress)
	return nil
}

// watchDisk lets readiness and metrics name the disk of data_dir.
func (a *App) watchDisk() {
	a.checks.Add("disk", a.dir.Err)
	gauge := func(name, help string, of func(datadir.Space) int64) {
		a.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			s, err := a.dir.Space()
			if err != nil {
				return math.NaN()
			}
			return float64(of(s))
		}))
	}
	gauge("vedette_disk_free_bytes", "Room on the file system of data_dir.", func(s datadir.Space) int64 { return s.Free })
	gauge("vedette_disk_reserve_bytes", "Room that stays free: below it the embedded broker takes no records.", func(s datadir.Space) int64 { return s.Reserve })
}

// keepHistory copies events to files before the embedded broker removes them.
func (a *App) keepHistory() error {
	e := a.cfg.Events
	if e.HistoryMaxBytes == 0 || e.Retention == 0 && e.MaxBytes == 0 { // then nothing is removed
		return nil
	}
	w, err := history.NewWriter(history.Config{
		Path: a.dir.File(datadir.History), Topic: schemas.TopicEvents, BytesMax: e.HistoryMaxBytes, Retention: e.Retention, RetentionBytes: e.MaxBytes,
	}, a.cluster, a.log, a.reg)
	if err != nil {
		return err
	}
	a.infra["history"] = w
	return nil
}

func (a *App) close() {
	for i := len(a.cleanup) - 1; i >= 0; i-- {
		a.cleanup[i]()
	}
	a.cleanup = nil
}

// Ready is closed once every role takes input.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Endpoints is where this process listens.
func (a *App) Endpoints() datadir.Endpoints { return a.ends }

// Health returns the state of every check; nil is good.
func (a *App) Health() map[string]error { return a.checks.Run() }

// Reload reads the configured rulesets anew and runs them, in every
// process that analyzes. A broken ruleset changes nothing; its error is returned.
func (a *App) Reload(ctx context.Context) error {
	if a.rules == nil {
		return errors.New("no role of this process runs a ruleset")
	}
	return a.rules.Reload(ctx)
}

// Run serves until ctx ends, drains every role, and returns nil. The first role
// that fails ends the others; its error is returned.
func (a *App) Run(ctx context.Context) error {
	defer a.close()
	roleCtx, cancelRoles := context.WithCancel(ctx)
	defer cancelRoles()
	infraCtx, cancelInfra := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelInfra()

	var mu sync.Mutex
	var errs []error
	start := func(ctx context.Context, wg *sync.WaitGroup, name string, r Role) {
		wg.Go(func() {
			err := r.Run(ctx)
			if ctx.Err() == nil && err == nil {
				err = errors.New("ended by itself")
			}
			if err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
				mu.Unlock()
				cancelRoles()
			}
		})
	}
	var infra, roles sync.WaitGroup
	for name, r := range a.infra {
		start(infraCtx, &infra, name, r)
	}
	for name, r := range a.roles {
		a.log.Info("role started", "role", name)
		start(roleCtx, &roles, name, r)
	}
	infra.Go(func() { a.awaitReady(infraCtx) })
	<-roleCtx.Done()
	a.log.Info("draining")
	roles.Wait()
	cancelInfra()
	infra.Wait()
	a.log.Info("stopped")
	return errors.Join(errs...)
}

func (a *App) awaitReady(ctx context.Context) {
	for {
		good := true
		for _, err := range a.checks.Run() {
			good = good && err == nil
		}
		if good {
			a.log.Info("ready")
			close(a.ready)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Describe tells a person the ports, the places of secrets and the first commands.
func (a *App) Describe(w io.Writer) {
	line := func(what, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-22s %s\n", what, value)
		}
	}
	fmt.Fprintln(w, "\nVedette is ready.")
	line("agents connect to", a.ends.Ingest)
	line("  over UDP", a.ends.IngestUDP)
	line("agents enroll at", a.ends.Enroll)
	for _, t := range []string{"udp", "tcp", "tls"} {
		line("syslog over "+t, strings.Join(a.ends.Syslog[t], ", "))
	}
	line("REST API", prefixed("https://", a.ends.API))
	line("metrics, health", prefixed("http://", a.ends.Metrics))
	line("embedded broker", a.ends.Kafka)
	line("enrollment password", a.password)
	credentials := ""
	if a.user != nil {
		credentials = a.user.Path()
	}
	line("API credentials", credentials)
	if a.ends.API == "" || credentials == "" || a.ends.Ingest == "" || a.ends.Enroll == "" {
		return
	}
	_, apiPort, _ := net.SplitHostPort(a.ends.API)
	flags := ""
	if a.cfg.DataDir != "data" {
		flags = " --password-file " + a.password
	}
	if _, p, _ := net.SplitHostPort(a.ends.Enroll); p != "1515" {
		flags += " --enroll-port " + p
	}
	if _, p, _ := net.SplitHostPort(a.ends.Ingest); p != "1514" {
		flags += " --port " + p
	}
	fmt.Fprintf(w, `
Try, in another terminal, for first alerts, the highest first:
  %s simulate --manager 127.0.0.1 --agents 3 --eps 20 --duration 10s%s
  TOKEN=$(curl -sk -u "$(cat %s)" -X POST 'https://127.0.0.1:%s/security/user/authenticate?raw=true')
  curl -sk -H "Authorization: Bearer $TOKEN" 'https://127.0.0.1:%s/alerts?sort=-rule.level&limit=3&pretty=true'
`, os.Args[0], flags, credentials, apiPort, apiPort)
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
