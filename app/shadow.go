package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/analyze"
	"vedette/analyze/shadow"
	apirulesets "vedette/api/rulesets"
	"vedette/config"
	"vedette/internal/kafka"
	"vedette/internal/rulesets"
	"vedette/internal/shadowlog"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// candidate is the ruleset that analyze.shadow names, as analyze.Rulesets. It
// follows its files. One that does not compile leaves the one before, or none.
type candidate struct {
	cfg     config.Config
	log     *slog.Logger
	files   sources
	refused prometheus.Counter
	ready   chan struct{}
	looks   chan chan error

	mu      sync.Mutex
	current *compiled // nil before the first that compiles
	failed  error     // why the files do not run
}

// newCandidate reads the candidate. What is wrong with it is logged: it never
// keeps the rest from starting.
func newCandidate(cfg config.Config, log *slog.Logger, reg prometheus.Registerer) *candidate {
	c := &candidate{
		cfg: cfg, log: log, ready: make(chan struct{}), looks: make(chan chan error),
		files: sources{c: analyze.Config{Rulesets: cfg.Analyze.Shadow, GeoIPFile: cfg.Analyze.GeoIPFile}},
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vedette_shadow_refused_total", Help: "Shadow rulesets that could not be compiled.",
		}),
	}
	reg.MustRegister(c.refused)
	if err := c.look(true); err != nil {
		c.log.Error("the shadow ruleset is off", "err", err)
	}
	return c
}

// Ready implements analyze.Rulesets.
func (c *candidate) Ready() <-chan struct{} { return c.ready }

// Current implements analyze.Rulesets.
func (c *candidate) Current() string {
	version, _ := c.state()
	return version
}

// Engine implements analyze.Rulesets.
func (c *candidate) Engine(_ context.Context, version string) (*engine.Engine, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil || c.current.Version != version {
		return nil, analyze.ErrRulesetGone
	}
	return c.current.live, nil
}

// state is the version that is tried, and why another one is not.
func (c *candidate) state() (version, problem string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil {
		version = c.current.Version
	}
	if c.failed != nil {
		problem = c.failed.Error()
	}
	return version, problem
}

// version returns the candidate if it is of a version, else nil.
func (c *candidate) version(version string) *Ruleset {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil || c.current.Version != version {
		return nil
	}
	return c.current.Ruleset
}

// Run looks after the files until ctx ends.
func (c *candidate) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := c.look(false); err != nil {
				c.log.Error("the changed shadow ruleset is not taken over", "err", err)
			}
		case answer := <-c.looks:
			answer <- c.look(true)
		}
	}
}

// Reload reads the files at once, and returns what is wrong with them.
func (c *candidate) Reload(ctx context.Context) error { return ask(ctx, c.looks) }

// look takes over what the files hold, if that changed.
func (c *candidate) look(asked bool) error {
	src, version, due, err := c.files.look(asked)
	if !due {
		return nil
	}
	var next *compiled
	if err == nil && version != c.Current() {
		var r *Ruleset
		if r, err = compileSource(src); err == nil {
			next, err = newCompiled(c.cfg, r)
		}
	}
	if err != nil {
		c.refused.Inc()
		err = fmt.Errorf("analyze.shadow: %w", err)
	}
	c.mu.Lock()
	first := c.current == nil
	if c.failed = err; next != nil {
		c.current = next
	}
	c.mu.Unlock()
	if next == nil {
		return err
	}
	if first {
		close(c.ready)
	}
	for _, w := range next.Warnings {
		c.log.Warn("shadow ruleset", "problem", w.String())
	}
	c.log.Info("shadow ruleset is tried", "ruleset", version, "rulesets", strings.Join(c.cfg.Analyze.Shadow, ","))
	return nil
}

// buildShadow tries the candidate beside the role analyze.
func (a *App) buildShadow() error {
	if len(a.cfg.Analyze.Shadow) == 0 {
		return nil
	}
	c := newCandidate(a.cfg, a.log, a.reg)
	r, err := shadow.New(shadow.Options{Cluster: a.cluster, Running: a.rules, Candidate: c, Log: a.log, Registerer: a.reg})
	if err != nil {
		return err
	}
	a.rules.shadow = c
	a.infra["candidate"], a.roles["shadow"] = c, r
	return nil
}

// ShadowSummary tells what the candidate that workers try would change about the
// ruleset that is current. If none tries any, it is about the last.
func ShadowSummary(ctx context.Context, cluster *kafka.Cluster, s *rulesets.Store) (*shadowlog.Summary, error) {
	return shadowSummary(s, func(of shadowlog.Pair) (*shadowlog.Summary, error) { return shadowlog.Read(ctx, cluster, of) })
}

// shadowSummary is ShadowSummary for many that ask.
func (l *liveRulesets) shadowSummary(cluster *kafka.Cluster) func(context.Context) (*shadowlog.Summary, error) {
	r := shadowlog.NewReader(cluster)
	return func(ctx context.Context) (*shadowlog.Summary, error) {
		return shadowSummary(l.store, func(of shadowlog.Pair) (*shadowlog.Summary, error) { return r.Summary(ctx, of) })
	}
}

func shadowSummary(s *rulesets.Store, read func(shadowlog.Pair) (*shadowlog.Summary, error)) (*shadowlog.Summary, error) {
	var of shadowlog.Pair
	problem := ""
	for _, w := range s.Workers() {
		if w.Shadow != "" {
			current, _, _ := s.Current()
			of = shadowlog.Pair{Ruleset: w.Shadow, Against: current.Version}
		}
		if w.ShadowProblem != "" {
			problem = w.Node + ": " + w.ShadowProblem
		}
	}
	sum, err := read(of)
	if err != nil || problem == "" {
		return sum, err
	}
	told := *sum
	told.Problem = problem
	return &told, nil
}

// Promote implements api.Rulesets.
func (l *liveRulesets) Promote(ctx context.Context, version string) (string, error) {
	if version == apirulesets.PreviousRuleset {
		current, _, _ := l.store.Current()
		if version = current.Previous; version == "" {
			return "", apirulesets.ErrNoRuleset
		}
	}
	if l.shadow != nil && !l.store.Known(version) {
		if r := l.shadow.version(version); r != nil {
			return version, l.store.Publish(ctx, version, sourceFiles(r.Source), schemas.OriginCommand)
		}
	}
	err := PromoteRuleset(ctx, l.store, version)
	if errors.Is(err, rulesets.ErrUnknown) {
		err = fmt.Errorf("%w: %w", apirulesets.ErrNoRuleset, err)
	}
	return version, err
}
