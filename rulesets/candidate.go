package rulesets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	published "vedette/internal/rulesets"
	"vedette/internal/shadowlog"
	"vedette/internal/stage"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// Candidate is the ruleset that analyze.shadow names, as analyze.Rulesets. It
// follows its files. One that does not compile leaves the one before, or none.
type Candidate struct {
	cfg     Config
	log     *slog.Logger
	files   sources
	refused prometheus.Counter
	ready   chan struct{}
	looks   chan chan error

	mu      sync.Mutex
	current *compiled // nil before the first that compiles
	failed  error     // why the files do not run
}

// NewCandidate reads the candidate. A fault of it is logged: it never keeps the
// rest from starting. l reports its state and publishes it when it is promoted.
func NewCandidate(cfg Config, l *Live, log *slog.Logger, reg prometheus.Registerer) *Candidate {
	c := &Candidate{
		cfg: cfg, log: log, ready: make(chan struct{}), looks: make(chan chan error),
		files: sources{names: cfg.Shadow, geoipFile: cfg.GeoIPFile},
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vedette_shadow_refused_total", Help: "Shadow rulesets that could not be compiled.",
		}),
	}
	reg.MustRegister(c.refused)
	l.shadow = c
	if err := c.look(true); err != nil {
		c.log.Error("the shadow ruleset is off", "err", err)
	}
	return c
}

// Ready implements analyze.Rulesets.
func (c *Candidate) Ready() <-chan struct{} { return c.ready }

// Current implements analyze.Rulesets.
func (c *Candidate) Current() string {
	version, _ := c.state()
	return version
}

// Engine implements analyze.Rulesets.
func (c *Candidate) Engine(_ context.Context, version string) (*engine.Engine, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil || c.current.Version != version {
		return nil, stage.ErrGone
	}
	return c.current.live, nil
}

// state is the version that is tried, and why another one is not.
func (c *Candidate) state() (version, problem string) {
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
func (c *Candidate) version(version string) *Ruleset {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil || c.current.Version != version {
		return nil
	}
	return c.current.Ruleset
}

// Run looks after the files until ctx ends.
func (c *Candidate) Run(ctx context.Context) error {
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

// Reload reads the files at once, and returns their faults.
func (c *Candidate) Reload(ctx context.Context) error { return ask(ctx, c.looks) }

// look takes the files over, if they changed.
func (c *Candidate) look(asked bool) error {
	src, version, due, err := c.files.look(asked)
	if !due {
		return nil
	}
	var next *compiled
	if err == nil && version != c.Current() {
		var r *Ruleset
		if r, err = compileSource(src); err == nil {
			next = newCompiled(c.cfg.Engine, r)
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
	c.log.Info("shadow ruleset is tried", "ruleset", version, "rulesets", strings.Join(c.cfg.Shadow, ","))
	return nil
}

// ShadowSummary tells the changes that the candidate which workers try would make to the
// ruleset that is current. If none tries any, it is about the last.
func ShadowSummary(ctx context.Context, cluster *kafka.Cluster, s *published.Store) (*shadowlog.Summary, error) {
	return shadowSummary(s, func(of shadowlog.Pair) (*shadowlog.Summary, error) { return shadowlog.Read(ctx, cluster, of) })
}

// ShadowSummary is the function ShadowSummary for many that ask.
func (l *Live) ShadowSummary(cluster *kafka.Cluster, reg prometheus.Registerer) func(context.Context) (*shadowlog.Summary, error) {
	r := shadowlog.NewReader(cluster, reg)
	return func(ctx context.Context) (*shadowlog.Summary, error) {
		return shadowSummary(l.store, func(of shadowlog.Pair) (*shadowlog.Summary, error) { return r.Summary(ctx, of) })
	}
}

func shadowSummary(s *published.Store, read func(shadowlog.Pair) (*shadowlog.Summary, error)) (*shadowlog.Summary, error) {
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

// PreviousVersion names the version before the current one.
const PreviousVersion = "previous"

// ErrNoVersion says that a version of the ruleset is not known.
var ErrNoVersion = errors.New("no such version of the ruleset")

// Promote makes a version the current one, or the one before it if it says
// PreviousVersion, and returns which. A candidate that this process tries is
// published for it. The error says why not, with ErrNoVersion for a version that
// nobody knows.
func (l *Live) Promote(ctx context.Context, version string) (string, error) {
	if version == PreviousVersion {
		current, _, _ := l.store.Current()
		if version = current.Previous; version == "" {
			return "", ErrNoVersion
		}
	}
	if l.shadow != nil && !l.store.Known(version) {
		if r := l.shadow.version(version); r != nil {
			return version, l.store.Publish(ctx, version, sourceFiles(r.Source), schemas.OriginCommand)
		}
	}
	err := Promote(ctx, l.store, version)
	if errors.Is(err, published.ErrUnknown) {
		err = fmt.Errorf("%w: %w", ErrNoVersion, err)
	}
	return version, err
}
