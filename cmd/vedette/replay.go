package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vedette/app"
	"vedette/config"
	"vedette/internal/datadir"
	eventfiles "vedette/internal/history"
	"vedette/internal/kafka"
	"vedette/internal/registry"
	published "vedette/internal/rulesets"
	"vedette/replay"
	"vedette/rulesets"
	"vedette/schemas"
)

// Words of --against.
const (
	againstRunning  = "running"
	againstRecorded = "recorded"
)

// Words of --time.
const (
	timeFromLog = "from-log"
	timeFile    = "file"
)

// replayFlags are the command's flags.
type replayFlags struct {
	source, input, from, to, offsets, out, format, report, junit, resume, stats, time, zone string
	agents, groups, rulesets, against, failOn                                               []string
	workers, loop, samples, year                                                            int
	explain                                                                                 bool
}

func (s *shell) replayCommand() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay [--source events|archives|FILE] [--ruleset DIR]… [--against DIR|running|recorded]…",
		Short: "Judge a history by a ruleset, and tell what would have been different",
		Long: `Reads a topic (events, archives) or a file (plain lines, what logtest reads by
--input ndjson, alerts.json, archives.json; also .gz and .zst), judges it by a
ruleset with the engine that runs live, and reports the alerts. --against
compares: with another ruleset, with the one that runs now, or with the alerts
that were recorded. Nothing of the running server is touched; alerts go only to
where --out says.

Plain lines are judged at the time that stands in them: of syslog, ISO 8601, web
and proxy servers, the kernel's audit, or a member such as "@timestamp" of JSON. A
line without one has the time of the line before. --year and --zone complete what
is not in the lines; without --year the last year before the file's last change
counts. --time file takes the file's last change for all lines.

--from and --to take 2026-11-01, 2026-11-01T08:00:00Z or a time back such as 7d.
Windows are warmed up over the longest timeframe before --from.

--fail-on "added level>=10 > 100/day" (alerts, added, removed, changed, differs;
level>=N, rule=ID, group=NAME; a count or a count a day) makes the command fail
for CI; it may be repeated.

Ctrl-C ends with the report so far; with --resume FILE the same command goes on.

archives.json and the topic archives hold what was decoded of module messages
(file integrity, Windows events, …) and not what was sent; those are left out.

Exit codes: 0 done, 1 failed, interrupted or a --fail-on was met, 2 used wrongly.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.replay(cmd, &f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.source, "source", schemas.TopicEvents, "events, archives or a file")
	fl.StringVar(&f.input, "input", string(replay.FormatAuto), "of a file: auto, lines, ndjson or documents")
	fl.StringVar(&f.time, "time", timeFromLog, "of plain lines: from-log (the time in the line) or file (the file's last change)")
	fl.IntVar(&f.year, "year", 0, "year of the first line, where lines have none; default: from the file's last change")
	fl.StringVar(&f.zone, "zone", "", "time zone of lines that name none, such as Europe/Berlin; default: cluster.timezone")
	fl.StringVar(&f.from, "from", "", "the time from which alerts count")
	fl.StringVar(&f.to, "to", "", "the time up to which events count")
	fl.StringVar(&f.offsets, "offsets", "", "of a topic, in place of times: PARTITION:FROM-TO,…")
	fl.StringSliceVar(&f.agents, "agent", nil, "only these agents' events, by id")
	fl.StringSliceVar(&f.groups, "group", nil, "only the events of agents in these groups")
	fl.StringArrayVar(&f.rulesets, "ruleset", nil, "directory, ossec.conf or \"builtin\"; may be repeated; default: analyze.rulesets")
	fl.StringArrayVar(&f.against, "against", nil, "another ruleset (may be repeated), \"running\" or \"recorded\"")
	fl.IntVar(&f.workers, "workers", runtime.NumCPU(), "how many parts are judged at once")
	fl.StringVar(&f.out, "out", "none", "where alerts go: none, a file, or topic:NAME")
	fl.StringVar(&f.format, "format", "text", "of the report: text, json or html")
	fl.StringVar(&f.report, "report", "", "file for the report; default: standard output")
	fl.StringVar(&f.junit, "junit", "", "write the --fail-on conditions to this file as JUnit XML")
	fl.StringArrayVar(&f.failOn, "fail-on", nil, "condition on which the command fails")
	fl.IntVar(&f.samples, "samples", 3, "examples of each difference of a rule")
	fl.BoolVar(&f.explain, "explain", false, "say of each example why it differs; judges the history once more")
	fl.StringVar(&f.resume, "resume", "", "keep the state of an interrupted replay in this file, and go on from it")
	fl.StringVar(&f.stats, "stats", "", "json: print what the replay took, in place of the report")
	fl.IntVar(&f.loop, "loop", 0, "hold the file in memory and judge it N times, each later by its own span")
	return cmd
}

// job is a replay that is being prepared.
type job struct {
	*replayFlags
	shell *shell
	cmd   *cobra.Command
	cfg   config.Config
	log   *slog.Logger
	o     replay.Options
	span  replay.Range
	// lineZone is the zone of plain lines which name none.
	lineZone *time.Location
	goes     *replay.State
	data     *app.Data // nil until the topics are needed
	fails    []replay.Condition
}

func (s *shell) replay(cmd *cobra.Command, f *replayFlags) error {
	cfg, err := s.load(app.RoleAnalyze)
	if err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	log, err := s.quietLogger(cmd)
	if err != nil {
		return err
	}
	j := &job{replayFlags: f, shell: s, cmd: cmd, cfg: cfg, log: log}
	defer func() {
		if j.data != nil {
			j.data.Close()
		}
	}()
	if err := j.check(); err != nil {
		return usageError{err}
	}
	for _, step := range []func(context.Context) error{j.loadRulesets, j.goOn, j.openSource, j.openRecorded, j.openOut, j.run} {
		if err := step(cmd.Context()); err != nil {
			if errors.Is(err, context.Canceled) {
				// The state of an earlier interruption stays unchanged.
				return errors.New("interrupted before anything was judged")
			}
			return err
		}
	}
	return nil
}

// check reads the flags that need nothing else.
func (j *job) check() error {
	var errs []error
	now := time.Now()
	for _, x := range []struct {
		name, text string
		into       *time.Time
	}{{"--from", j.from, &j.span.From}, {"--to", j.to, &j.span.To}} {
		t, err := parseWhen(x.text, now)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", x.name, err))
		}
		*x.into = t
	}
	if !slices.Contains([]string{"text", "json", "html"}, j.format) {
		errs = append(errs, fmt.Errorf("--format %q: choose text, json or html", j.format))
	}
	if j.stats != "" && j.stats != "json" {
		errs = append(errs, fmt.Errorf("--stats %q: choose json", j.stats))
	}
	if _, err := replay.ParseFormat(j.input); err != nil {
		errs = append(errs, fmt.Errorf("--input: %w", err))
	}
	if j.workers < 1 || j.workers > 256 {
		errs = append(errs, errors.New("--workers: between 1 and 256"))
	}
	if j.samples < 0 || j.samples > 100 {
		errs = append(errs, errors.New("--samples: between 0 and 100"))
	}
	if j.offsets != "" && (!j.topic() || j.from != "" || j.to != "") {
		errs = append(errs, errors.New("--offsets: for a topic, in place of --from and --to"))
	}
	if _, err := parseOffsets(j.offsets); err != nil {
		errs = append(errs, fmt.Errorf("--offsets: %w", err))
	}
	if !j.span.From.IsZero() && !j.span.To.IsZero() && !j.span.From.Before(j.span.To) {
		errs = append(errs, errors.New("--from: not before --to"))
	}
	errs = append(errs, j.checkTimes()...)
	errs = append(errs, j.checkFiles()...)
	if j.loop < 0 || j.loop > 0 && (j.topic() || j.resume != "" || j.explain) {
		errs = append(errs, errors.New("--loop: a number above 0, for a file, without --resume and --explain"))
	}
	for _, a := range j.against {
		if len(j.against) > 1 && (a == againstRunning || a == againstRecorded) {
			errs = append(errs, fmt.Errorf("--against: %q stands alone", a))
		}
	}
	for _, text := range j.failOn {
		c, err := replay.ParseCondition(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--fail-on: %w", err))
		} else if c.What != "alerts" && len(j.against) == 0 {
			errs = append(errs, fmt.Errorf("--fail-on %q: needs --against", text))
		}
		j.fails = append(j.fails, c)
	}
	return errors.Join(errs...)
}

// checkTimes reads the options for the times of plain lines.
func (j *job) checkTimes() []error {
	var errs []error
	if j.time != timeFromLog && j.time != timeFile {
		errs = append(errs, fmt.Errorf("--time %q: choose %s or %s", j.time, timeFromLog, timeFile))
	}
	if j.year != 0 && (j.year < 1970 || j.year > 9999) {
		errs = append(errs, fmt.Errorf("--year %d: write all four digits", j.year))
	}
	zone := j.zone
	if zone == "" {
		zone = j.cfg.Cluster.Timezone
	}
	var err error
	if j.lineZone, err = time.LoadLocation(zone); err != nil {
		errs = append(errs, fmt.Errorf("--zone %q: name a zone such as Europe/Berlin or UTC: %w", zone, err))
	}
	if j.topic() && (j.year != 0 || j.zone != "" || j.time != timeFromLog) {
		errs = append(errs, errors.New("--time, --year and --zone: for a file of plain lines; records have a time"))
	}
	return errs
}

// checkFiles looks at the named files: a history must not be written over, and
// only documents hold recorded verdicts.
func (j *job) checkFiles() []error {
	if j.topic() {
		return nil
	}
	source, err := os.Stat(j.source)
	if err != nil {
		return []error{fmt.Errorf("--source: neither events nor archives, and no file: %w", err)}
	}
	if source.IsDir() {
		return []error{fmt.Errorf("--source %s is a directory; name a file in it", j.source)}
	}
	var errs []error
	for _, x := range []struct{ flag, name string }{{"--out", j.out}, {"--report", j.report}, {"--junit", j.junit}, {"--resume", j.resume}} {
		if st, err := os.Stat(x.name); x.name != "" && err == nil && os.SameFile(source, st) {
			errs = append(errs, fmt.Errorf("%s: %s is the history itself", x.flag, x.name))
		}
	}
	format, err := replay.ParseFormat(j.input)
	if err == nil && slices.Contains(j.against, againstRecorded) {
		f := replay.File{Path: j.source, Format: format}
		if format, err = f.Lines(); err == nil && format != replay.FormatDocuments {
			errs = append(errs, fmt.Errorf("--against recorded: %s holds %s, and only alerts.json or archives.json say what was recorded", j.source, format))
		}
	}
	return errs
}

// parseWhen reads a date, a time, or a time back from now.
func parseWhen(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100_000 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no date, no time (2026-11-01T08:00:00Z) and no time back (7d, 12h)", text)
}

func (j *job) topic() bool {
	return j.source == schemas.TopicEvents || j.source == schemas.TopicArchives
}

// open reaches the topics.
func (j *job) open(ctx context.Context) error {
	if j.data != nil {
		return nil
	}
	var err error
	j.data, err = app.OpenData(ctx, j.cfg, j.log)
	return err
}

func (j *job) loadRulesets(ctx context.Context) error {
	names := j.rulesets
	if len(names) == 0 {
		names = j.cfg.Analyze.Rulesets
	}
	geoipFile := j.cfg.Analyze.GeoIPFile
	r, err := rulesets.Load(names, geoipFile)
	if err != nil {
		return err
	}
	ec, err := app.EngineConfig(j.cfg, false)
	if err != nil {
		return err
	}
	j.o.Ruleset = replay.Ruleset{Name: strings.Join(names, "+"), Version: r.Version, Engine: r.Engine(ec)}
	j.span.Warm = r.Program.LongestWindow()
	if len(j.against) == 0 || j.against[0] == againstRecorded {
		return nil
	}
	if j.against[0] != againstRunning {
		r, err = rulesets.Load(j.against, geoipFile)
	} else if err = j.open(ctx); err == nil {
		err = j.data.Rulesets(ctx, j.cfg, j.log, func(ctx context.Context, store *published.Store) error {
			r, err = rulesets.Running(ctx, store)
			return err
		})
	}
	if err != nil {
		return err
	}
	j.o.Against = &replay.Ruleset{Name: strings.Join(j.against, "+"), Version: r.Version, Engine: r.Engine(ec)}
	j.span.Warm = max(j.span.Warm, r.Program.LongestWindow())
	return nil
}

func (j *job) openSource(ctx context.Context) error {
	agents := slices.Clone(j.agents)
	switch {
	case j.goes != nil:
		agents, j.span = j.goes.Kept.Agents, j.goes.Kept.Range
	case len(j.groups) > 0:
		if err := j.open(ctx); err != nil {
			return err
		}
		err := readRegistry(ctx, j.data, j.cfg, j.log, func(_ context.Context, r *registry.Registry) error {
			for _, a := range r.Agents() {
				if slices.ContainsFunc(a.Groups, func(g string) bool { return slices.Contains(j.groups, g) }) {
					agents = append(agents, a.ID)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(agents) == 0 {
			return fmt.Errorf("no agent is in %s", strings.Join(j.groups, ", "))
		}
	}
	slices.Sort(agents)
	agents = slices.Compact(agents)
	j.o.Kept.Range, j.o.Kept.Agents = j.span, agents
	if !j.topic() {
		format, _ := replay.ParseFormat(j.input) // checked
		file := &replay.File{Path: j.source, Format: format, Range: j.span, Agents: agents, Loop: j.loop}
		if j.time == timeFromLog {
			file.Times = &replay.LogTimes{Year: j.year, Zone: j.lineZone}
		}
		j.o.Source = file
		return nil
	}
	offsets, _ := parseOffsets(j.offsets) // checked
	if err := j.open(ctx); err != nil {
		return err
	}
	topic := &replay.Topic{Cluster: j.data.Cluster, Topic: j.source, Range: j.span, Offsets: offsets, Agents: agents}
	j.o.Source = topic
	if j.source == schemas.TopicEvents && j.cfg.Kafka.Embedded() {
		// The embedded broker's log is short; the records it removed are beside
		// it.
		id, err := j.data.Cluster.TopicID(ctx, schemas.TopicEvents)
		if err != nil {
			return err
		}
		if topic.Older, err = eventfiles.Open(filepath.Join(j.cfg.DataDir, datadir.History), id); err != nil {
			return err
		}
	}
	if j.recorded() && j.source == schemas.TopicEvents {
		var err error
		topic.Until, err = replay.Judged(ctx, j.data.Cluster)
		return err
	}
	return nil
}

func (j *job) recorded() bool { return slices.Contains(j.against, againstRecorded) }

// parseOffsets reads PARTITION:FROM-TO,…; TO does not belong to the range, and
// may be left out.
func parseOffsets(text string) (map[int32]kafka.Range, error) {
	if text == "" {
		return nil, nil
	}
	out := map[int32]kafka.Range{}
	for part := range strings.SplitSeq(text, ",") {
		p, span, ok := strings.Cut(part, ":")
		from, to, _ := strings.Cut(span, "-")
		n, err1 := strconv.ParseInt(p, 10, 32)
		start, err2 := strconv.ParseInt(from, 10, 64)
		end, err3 := int64(1<<62), error(nil)
		if to != "" {
			end, err3 = strconv.ParseInt(to, 10, 64)
		}
		if !ok || errors.Join(err1, err2, err3) != nil || n < 0 || start < 0 || end < start {
			return nil, fmt.Errorf("%q is not PARTITION:FROM-TO", part)
		}
		out[int32(n)] = kafka.Range{Start: start, End: end}
	}
	return out, nil
}

func (j *job) openRecorded(ctx context.Context) error {
	if !j.recorded() {
		return nil
	}
	if j.source != schemas.TopicEvents {
		j.o.Recorded = true // the documents say it themselves
		return nil
	}
	var err error
	j.o.RecordedAlerts, err = replay.ReadRecorded(ctx, j.data.Cluster, j.span)
	return err
}

// goOn takes up an interrupted replay.
func (j *job) goOn(context.Context) error {
	if j.resume == "" {
		return nil
	}
	// Nothing that only says where answers go, or how fast, need be the same.
	j.o.Kept.Request = fmt.Sprintf("--source %s --input %s --from %q --to %q --offsets %q --agent %q --group %q --against %q --out %s --samples %d --time %s --year %d --zone %s",
		j.source, j.input, j.from, j.to, j.offsets, j.agents, j.groups, j.against, j.out, j.samples, j.time, j.year, j.lineZone)
	state, err := replay.ReadState(j.resume)
	if err != nil || state == nil {
		return err
	}
	if err := state.Fits(&j.o); err != nil {
		return fmt.Errorf("resume from %s: %w", j.resume, err)
	}
	j.goes, j.o.State = state, state
	if !j.topic() {
		j.workers = state.Workers // the lanes of a file are as many
	}
	return nil
}

func (j *job) openOut(ctx context.Context) error {
	name, topic := strings.CutPrefix(j.out, "topic:")
	switch {
	case j.out == "none" || j.out == "":
		return nil
	case topic:
		if err := j.open(ctx); err != nil {
			return err
		}
		p, err := j.data.Cluster.NewProducer("replay", j.log, nil)
		if err != nil {
			return err
		}
		sink, err := replay.NewTopicSink(ctx, name, p)
		if err != nil {
			p.Close()
			return err
		}
		if _, err := j.data.Cluster.Ranges(ctx, name); err != nil {
			p.Close()
			return fmt.Errorf("--out: make the topic %s first: %w", j.data.Cluster.Topic(name), err)
		}
		j.o.Out = sink
		return nil
	}
	keep := int64(0)
	if j.goes != nil {
		keep = j.goes.OutBytes
	}
	sink, err := replay.NewFileSink(j.out, keep)
	if err != nil {
		return err
	}
	j.o.Out = sink
	return nil
}

func (j *job) run(ctx context.Context) error {
	o := &j.o
	o.Workers, o.Samples, o.Explain, o.Timing = j.workers, j.samples, j.explain, j.stats != ""
	if err := os.Stderr; j.cmd.ErrOrStderr() == io.Writer(err) && term.IsTerminal(int(err.Fd())) {
		o.OnProgress = progress(err)
	}
	report, state, err := replay.Run(ctx, *o)
	if o.OnProgress != nil {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	if err != nil {
		return err
	}
	if err := j.write(report); err != nil {
		return err
	}
	if j.junit != "" && !report.Interrupted { // figures of a part are no answer
		if err := toFile(j.junit, func(w io.Writer) error { return report.WriteJUnit(w, j.fails) }); err != nil {
			return err
		}
	}
	if report.Interrupted {
		hint := ""
		if j.resume != "" {
			if err := state.Write(j.resume); err != nil {
				return err
			}
			hint = "; the same command goes on from " + j.resume
		}
		return errors.New("interrupted" + hint)
	}
	if j.resume != "" {
		if err := os.Remove(j.resume); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	var errs []error
	for i := range j.fails {
		if figure, met := j.fails[i].Met(report); met {
			errs = append(errs, fmt.Errorf("failed on %q: it is %.6g", j.fails[i].Text, figure))
		}
	}
	return errors.Join(errs...)
}

func (j *job) write(r *replay.Report) error {
	write := map[string]func(io.Writer) error{"text": r.WriteText, "json": r.WriteJSON, "html": r.WriteHTML}[j.format]
	if j.stats != "" {
		if err := json.NewEncoder(j.cmd.OutOrStdout()).Encode(r.Stats); err != nil || j.report == "" {
			return err
		}
	}
	if j.report != "" {
		return toFile(j.report, write)
	}
	return write(j.cmd.OutOrStdout())
}

func toFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	return errors.Join(write(w), w.Flush(), f.Close())
}

// progress draws a line with speed, position and time left.
func progress(w io.Writer) func(replay.Progress) {
	begin := time.Now()
	return func(p replay.Progress) {
		share := 0.0
		if p.Total > 0 {
			share = min(1, float64(p.Done)/float64(p.Total))
		}
		const width = 30
		filled := int(share * width)
		elapsed := time.Since(begin)
		left := "–"
		if share > 0.001 {
			left = time.Duration(float64(elapsed) * (1 - share) / share).Round(time.Second).String()
		}
		fmt.Fprintf(w, "\r\x1b[K[%s%s] %3.0f %%  %d events, %.0f/s, %s left", strings.Repeat("=", filled), strings.Repeat(" ", width-filled),
			share*100, p.Events, float64(p.Events)/elapsed.Seconds(), left)
	}
}
