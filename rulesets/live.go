package rulesets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	published "vedette/internal/rulesets"
	"vedette/internal/stage"
	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/schemas"
)

const (
	// lookEvery is how often the configured directories are looked at. A change
	// counts when two looks in a row see the same, so that files which are just
	// being copied do not.
	lookEvery = 5 * time.Second
	// engines bounds the compiled rulesets kept: the current one, and those that
	// partitions still judge by or re-read.
	enginesMax = 4
	// publishWithin bounds one publication, leaveWithin the last report.
	publishWithin = time.Minute
	leaveWithin   = 2 * time.Second
)

// Live keeps the running ruleset of this process equal to the one that the topic files names,
// and publishes there the content of the configured directories (docs/design.md D7).
type Live struct {
	cfg   Config
	store *published.Store
	log   *slog.Logger
	// publishes says that the directories are this process's to publish: it
	// analyzes. running tells how many partitions each version judges.
	publishes bool
	running   func() map[string]int
	files     sources
	shadow    *Candidate // nil if none is configured

	refused prometheus.Counter
	info    *prometheus.GaugeVec
	ready   chan struct{}
	looks   chan chan error

	mu      sync.Mutex
	current *compiled
	kept    []*compiled // newest use last
	failed  error       // why the published current version does not run here

	// Of Run's goroutine.
	taken    string // the version last taken over from the directories
	reported schemas.RulesetWorker
	reportAt time.Time
}

// compiled is a ruleset that can run.
type compiled struct {
	*Ruleset
	live *engine.Engine
	// logtest makes the engine of log tests when the first is asked for.
	logtest func() *engine.Engine
}

// NewLive prepares the rulesets of a process. own is the ruleset of its
// directories; nil if that was refused. publishes says that the process analyzes:
// then it publishes the content of its directories.
func NewLive(cfg Config, store *published.Store, own *Ruleset, publishes bool, log *slog.Logger, reg prometheus.Registerer) *Live {
	l := &Live{
		cfg: cfg, store: store, log: log, publishes: publishes,
		files: sources{names: cfg.Names, geoipFile: cfg.GeoIPFile}, ready: make(chan struct{}), looks: make(chan chan error),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vedette_rulesets_refused_total", Help: "Rulesets that were to replace the running one and could not be compiled.",
		}),
	}
	l.info = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "vedette_ruleset_info", Help: "1 for the version of the ruleset that this process runs."}, []string{"ruleset"})
	reg.MustRegister(l.refused, l.info)
	if own == nil {
		return l
	}
	c := l.compiled(own)
	l.keep(c)
	l.taken, l.files.seen, l.files.last = own.Version, own.Version, own.Version
	if !publishes {
		l.set(c) // until the topic says otherwise
	}
	return l
}

// Observe says who tells which partitions are judged by which version. Call it
// before Run.
func (l *Live) Observe(running func() map[string]int) { l.running = running }

func (l *Live) compiled(r *Ruleset) *compiled { return newCompiled(l.cfg.Engine, r) }

// logtestLimits bound a log test over the API, of which there can be many. All
// its events have one key.
var logtestLimits = engine.Limits{Keys: 16, EventBytes: 4 << 20, TotalBytes: 4 << 20}

func newCompiled(ec engine.Config, r *Ruleset) *compiled {
	test := ec
	test.Logtest, test.Limits = true, logtestLimits
	return &compiled{Ruleset: r, live: r.Engine(ec), logtest: sync.OnceValue(func() *engine.Engine { return r.Engine(test) })}
}

// Ready implements analyze.Rulesets.
func (l *Live) Ready() <-chan struct{} { return l.ready }

// Current implements analyze.Rulesets.
func (l *Live) Current() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil {
		return ""
	}
	return l.current.Version
}

// Program returns the running program; nil before any runs.
func (l *Live) Program() *program.Program {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil {
		return nil
	}
	return l.current.Program
}

// Source returns the text of what runs; empty before anything does.
func (l *Live) Source() ruleset.Source {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil {
		return ruleset.Source{}
	}
	return l.current.Source
}

// Excluded returns the rules and decoders of files that the configured ossec.conf
// files exclude, as far as they compile beside the running ones. They never run.
func (l *Live) Excluded() (rules []program.RuleInfo, decoders []program.DecoderInfo) {
	l.mu.Lock()
	current := l.current
	l.mu.Unlock()
	if current == nil {
		return nil, nil
	}
	var out ruleset.Source
	paths := map[string]bool{}
	for _, name := range l.cfg.Names {
		if !strings.HasSuffix(name, ruleset.ConfSuffix) {
			continue
		}
		s, err := ruleset.Excluded(name)
		if err != nil {
			l.log.Warn("files that a configuration excludes are not listed", "file", name, "err", err)
			continue
		}
		out = ruleset.Merge(out, s)
	}
	for _, files := range [][]ruleset.File{out.Rules, out.Decoders} {
		for _, f := range files {
			paths[filepath.Dir(f.Path)+"/"+f.Name] = true
		}
	}
	if len(paths) == 0 {
		return nil, nil
	}
	// A file is often excluded because another one takes its ids: then it is shown
	// as it compiles alone.
	p, _, err := ruleset.Compile(ruleset.Merge(current.Source, out))
	if err != nil {
		if p, _, err = ruleset.Compile(out); err != nil {
			l.log.Warn("files that a configuration excludes do not compile and are not listed", "err", err)
			return nil, nil
		}
	}
	for _, r := range p.Rules() {
		if paths[r.Dir+"/"+r.File] {
			rules = append(rules, r)
		}
	}
	for _, d := range p.Decoders() {
		if paths[d.Dir+"/"+d.File] {
			decoders = append(decoders, d)
		}
	}
	return rules, decoders
}

// Logtest returns the running ruleset for log tests, and its warnings.
func (l *Live) Logtest() (*engine.Engine, []string) {
	l.mu.Lock()
	c := l.current
	l.mu.Unlock()
	if c == nil {
		return nil, nil
	}
	return c.logtest(), texts(c.Warnings)
}

func texts(problems []ruleset.Problem) []string {
	out := make([]string, len(problems))
	for i, p := range problems {
		out[i] = p.String()
	}
	return out
}

// Version is one published version of the ruleset.
type Version struct {
	Version   string
	Published time.Time
	Node      string
	Files     int
	// Current says that workers are to run it.
	Current bool
	// Workers run it: each changes over at the next event of each partition.
	Workers []Worker
}

// Worker is one worker that runs a version.
type Worker struct {
	Node string
	// Partitions is how many of its partitions have been judged by the version.
	Partitions int
}

// Versions returns the published versions, the newest first.
func (l *Live) Versions() []Version {
	current, _, _ := l.store.Current()
	workers := l.store.Workers()
	var out []Version
	for _, v := range slices.Backward(l.store.Versions()) {
		x := Version{Version: v.Version, Published: v.Time, Node: v.Node, Files: len(v.Files), Current: v.Version == current.Version}
		for _, w := range workers {
			if n := w.Partitions[v.Version]; n > 0 || w.Version == v.Version {
				x.Workers = append(x.Workers, Worker{Node: w.Node, Partitions: n})
			}
		}
		out = append(out, x)
	}
	return out
}

// Err is nil unless the version that is to run does not run here.
func (l *Live) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil && l.failed == nil {
		return errors.New("no ruleset has been read yet")
	}
	return errors.Join(l.failed, l.store.Err())
}

// Engine implements analyze.Rulesets.
func (l *Live) Engine(ctx context.Context, version string) (*engine.Engine, error) {
	c, err := l.load(ctx, version)
	if err != nil {
		return nil, err
	}
	return c.live, nil
}

// load finds a version among the compiled ones, or reads and compiles it.
func (l *Live) load(ctx context.Context, version string) (*compiled, error) {
	l.mu.Lock()
	for i, c := range l.kept {
		if c.Version == version {
			l.kept = append(slices.Delete(l.kept, i, i+1), c)
			l.mu.Unlock()
			return c, nil
		}
	}
	l.mu.Unlock()
	files, err := l.store.Files(ctx, version)
	if errors.Is(err, published.ErrUnknown) || errors.Is(err, published.ErrContent) {
		return nil, fmt.Errorf("%w: %w", stage.ErrGone, err)
	}
	if err != nil {
		return nil, err
	}
	r, err := compileFiles(version, files)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", stage.ErrGone, version, err)
	}
	c := l.compiled(r)
	l.keep(c)
	return c, nil
}

// keep remembers a compiled ruleset; the one unused for longest goes, but never
// the current one.
func (l *Live) keep(c *compiled) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, c)
	for i := 0; len(l.kept) > enginesMax && i < len(l.kept); i++ {
		if l.kept[i] != l.current {
			l.kept = slices.Delete(l.kept, i, i+1)
			break
		}
	}
}

func (l *Live) set(c *compiled) {
	l.mu.Lock()
	old := l.current
	l.current, l.failed = c, nil
	l.mu.Unlock()
	if old == nil {
		close(l.ready)
	}
	if old == nil || old.Version != c.Version {
		l.info.Reset()
		l.info.WithLabelValues(c.Version).Set(1)
		for _, w := range c.Warnings {
			l.log.Warn("ruleset", "problem", w.String())
		}
		l.log.Info("ruleset runs", "ruleset", c.Version, "rules", c.Program.Written(), "decoders", len(c.Program.Decoders()))
	}
}

// Run follows the topic and the directories until ctx ends.
func (l *Live) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	following := make(chan error, 1)
	// The store outlives ctx by the last report.
	storeCtx, endStore := context.WithCancel(context.WithoutCancel(ctx))
	go func() { following <- l.store.Run(storeCtx); cancel() }()
	defer func() {
		if l.reported.Version != "" {
			leave, end := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
			_ = l.store.Report(leave, schemas.RulesetWorker{})
			end()
		}
		endStore()
		<-following
	}()
	select {
	case <-l.store.Ready():
	case <-ctx.Done():
		return nil
	}
	if err := l.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	reports := time.NewTicker(time.Second)
	defer reports.Stop()
	for {
		_, _, changed := l.store.Current()
		l.obey(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
			if l.publishes {
				if err := l.look(ctx, false); err != nil && ctx.Err() == nil {
					l.log.Error("the changed ruleset is not taken over; the one before goes on", "err", err)
				}
			}
		case answer := <-l.looks:
			err := l.look(ctx, true)
			if err == nil {
				l.obey(ctx)
			}
			answer <- err
		case <-reports.C:
			l.report(ctx)
		}
	}
}

// begin decides whether the content of the directories is to run. A version that was
// published before is older than the current one, unless that came from this
// very node's directories: a node that was down while another published must not
// bring the old one back.
func (l *Live) begin(ctx context.Context) error {
	cur, ok, _ := l.store.Current()
	own := l.taken
	switch {
	case !l.publishes:
		return nil
	case own == "" && !ok:
		return errors.New("no ruleset can run: the configured one is refused, and none was published")
	case own == "" || ok && cur.Version == own:
		return nil
	case ok && l.store.Known(own) && (cur.Origin != schemas.OriginDirectories || cur.Node != l.cfg.Node):
		l.log.Warn("the directories hold a ruleset that was replaced since; it does not run",
			"directories", own, "ruleset", cur.Version, "published_by", cur.Node, "hint", "vedette ruleset promote "+own+" brings it back")
		return nil
	case ok && cur.Origin == schemas.OriginCommand && slices.Equal(l.cfg.Names, []string{Builtin}):
		// Nobody has configured any other: the ruleset that the program carries has
		// changed with the program, and must not replace one that a person has chosen.
		l.log.Warn("the built-in ruleset of this version is new; the published ruleset goes on",
			"builtin", own, "ruleset", cur.Version, "published_by", cur.Node, "hint", "publish yours again to take it in: vedette ruleset publish builtin DIR")
		return nil
	}
	c, err := l.load(ctx, own)
	if err != nil {
		return err
	}
	return l.publish(ctx, c.Ruleset)
}

func (l *Live) publish(ctx context.Context, r *Ruleset) error {
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	if err := l.store.Publish(ctx, r.Version, sourceFiles(r.Source), schemas.OriginDirectories); err != nil {
		return fmt.Errorf("publish ruleset %s: %w", r.Version, err)
	}
	l.log.Info("ruleset published", "ruleset", r.Version, "rulesets", strings.Join(l.cfg.Names, ","))
	return nil
}

// obey runs the version that the topic names.
func (l *Live) obey(ctx context.Context) {
	cur, ok, _ := l.store.Current()
	if !ok || cur.Version == l.Current() {
		return
	}
	c, err := l.load(ctx, cur.Version)
	if err == nil {
		l.set(c)
		return
	}
	if ctx.Err() != nil {
		return
	}
	err = fmt.Errorf("ruleset %s was published and does not run here: %w", cur.Version, err)
	l.mu.Lock()
	again := l.failed != nil && l.failed.Error() == err.Error()
	l.failed = err
	l.mu.Unlock()
	if !again {
		l.refused.Inc()
		l.log.Error("ruleset", "err", err)
	}
}

// look reads the directories and publishes a change. asked says that
// somebody wants it now; else a change must have lasted from one look to the next.
func (l *Live) look(ctx context.Context, asked bool) error {
	src, version, due, err := l.files.look(asked)
	if !due {
		return nil
	}
	if !asked && version == l.taken {
		return nil // mended; whatever a command made current meanwhile stays
	}
	if err != nil {
		l.refused.Inc()
		return err
	}
	cur, ok, _ := l.store.Current()
	if ok && cur.Version == version {
		return nil
	}
	r, err := compileSource(src)
	if err != nil {
		l.refused.Inc()
		return err
	}
	l.keep(l.compiled(r))
	if err := l.publish(ctx, r); err != nil {
		l.files.seen = "" // the next look tries again
		return err
	}
	l.taken = version
	return nil
}

// Reload reads the directories at once, the candidate's too, and returns when
// their content runs here, or why it does not.
func (l *Live) Reload(ctx context.Context) error {
	if !l.publishes {
		return errors.New("this process does not analyze; reload one that does")
	}
	err := ask(ctx, l.looks)
	if l.shadow != nil {
		err = errors.Join(err, l.shadow.Reload(ctx))
	}
	return err
}

// ask lets the goroutine that serves looks take one, and returns its answer.
func ask(ctx context.Context, looks chan<- chan error) error {
	answer := make(chan error, 1)
	select {
	case looks <- answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// report tells the others by which versions this worker judges, when that changed.
func (l *Live) report(ctx context.Context) {
	if l.running == nil {
		return
	}
	w, last := schemas.RulesetWorker{Version: l.Current(), Partitions: l.running()}, &l.reported
	if l.shadow != nil {
		w.Shadow, w.ShadowProblem = l.shadow.state()
	}
	if w.Version == "" || w.Version == last.Version && maps.Equal(w.Partitions, last.Partitions) &&
		w.Shadow == last.Shadow && w.ShadowProblem == last.ShadowProblem && time.Since(l.reportAt) < published.ReportEvery {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	if err := l.store.Report(ctx, w); err == nil {
		l.reported, l.reportAt = w, time.Now()
	}
}
