package replay

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Report holds the findings of a replay.
type Report struct {
	Source  string `json:"source"`
	Ruleset Named  `json:"ruleset"`
	// Against is the other side of the comparison; nil for nothing.
	Against *Named `json:"against,omitempty"`
	// Interrupted says that the history was not read to its end.
	Interrupted bool `json:"interrupted,omitempty"`

	Events int64 `json:"events"`
	// Warm counts the events before the range that only warmed the state up.
	Warm int64 `json:"warm"`
	// Repeated counts the events that their source had written before, and that are
	// judged once as in live analysis.
	Repeated int64 `json:"repeated,omitempty"`
	// Unjudged counts the records of the range that the live workers have never
	// judged, for all agents, by partition too; nil if alerts of a topic are not compared.
	// Those are neither judged here nor compared.
	Unjudged           *int64          `json:"unjudged,omitempty"`
	UnjudgedPartitions map[int32]int64 `json:"unjudged_partitions,omitempty"`
	// Refused counts the inputs that could not be judged, by cause.
	Refused map[string]int64 `json:"refused,omitempty"`
	First   time.Time        `json:"first"`
	Last    time.Time        `json:"last"`
	// Days is the time from First to Last, at least an hour of it.
	Days  float64 `json:"days"`
	Total Counts  `json:"total"`

	// Differences are the sorts of differences, the most frequent first.
	Differences []Difference `json:"differences,omitempty"`
	// Rules counts an alert that went from one rule to another as changed at both.
	Rules   []RuleCounts  `json:"rules"`
	Agents  []AgentCounts `json:"agents"`
	Hours   []HourCounts  `json:"hours"`
	Samples []Sample      `json:"samples,omitempty"`
	// Notes tell the reader how far to trust the figures.
	Notes []string `json:"notes,omitempty"`
	Stats Stats    `json:"stats"`

	tally *tally
}

// Named is a ruleset, or the recorded verdicts.
type Named struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// Difference is how often one verdict became another.
type Difference struct {
	Kind  Kind    `json:"kind"`
	Was   Verdict `json:"was"`
	Now   Verdict `json:"now"`
	Count int64   `json:"count"`
}

// RuleCounts are the alerts of a rule.
type RuleCounts struct {
	ID          int      `json:"id"`
	Level       int      `json:"level"`
	Description string   `json:"description"`
	Groups      []string `json:"groups,omitempty"`
	Counts
	// PerDay is how many alerts the rule gives a day: its noise.
	PerDay float64 `json:"per_day"`
}

// AgentCounts are the alerts of an agent; an empty id stands for agents beyond
// the bound.
type AgentCounts struct {
	ID string `json:"id"`
	Counts
}

// HourCounts are the alerts of an hour.
type HourCounts struct {
	Hour time.Time `json:"hour"`
	Counts
}

// Stats are the resources of a replay. CPU is the time of the whole process.
type Stats struct {
	Events              int64   `json:"events"`
	Alerts              int64   `json:"alerts"`
	CPUSeconds          float64 `json:"cpu_seconds"`
	WallSeconds         float64 `json:"wall_seconds"`
	EventsPerCPUSecond  float64 `json:"events_per_cpu_second"`
	MaxRSSBytes         int64   `json:"max_rss_bytes"`
	P50Microseconds     float64 `json:"p50_us"`
	P99Microseconds     float64 `json:"p99_us"`
	MaxMicroseconds     float64 `json:"max_us"`
	StepBudgetExceeded  uint64  `json:"pattern_budget_exceeded"`
	KeysEvicted         uint64  `json:"evicted_keys"`
	EventsPerWallSecond float64 `json:"events_per_wall_second"`
}

func newReport(o *Options) *Report {
	r := &Report{
		Source: o.Source.Name(), Ruleset: Named{o.Ruleset.Name, o.Ruleset.Version}, Refused: map[string]int64{}, tally: newTally(),
	}
	switch {
	case o.Against != nil:
		r.Against = &Named{o.Against.Name, o.Against.Version}
	case o.comparesRecorded():
		r.Against = &Named{Name: "recorded"}
		if a := o.RecordedAlerts; a != nil {
			r.Against.Version = strings.Join(a.Rulesets, " ")
		}
	}
	return r
}

func (r *Report) add(t *tally) { r.tally.merge(t, samplesMax) }

// samplesMax bounds Options.Samples.
const samplesMax = 100

func (r *Report) finish(o *Options, runs []*run, wall, cpu time.Duration) {
	t := r.tally
	r.Events, r.Warm, r.Repeated, r.Total, r.First, r.Last = t.Events, t.Warm, t.Repeated, t.Total, t.First, t.Last
	r.Days = max(r.Last.Sub(r.First), time.Hour).Hours() / 24
	for id, c := range t.Rules {
		x := RuleCounts{ID: id, Counts: *c, PerDay: float64(c.Alerts) / r.Days}
		var known bool
		if x.Level, x.Description, x.Groups, known = describe(o, id); !known {
			// Only the recorded verdicts name it.
			for d := range t.Differing {
				if d.Was.Rule == id {
					x.Level, x.Groups = max(x.Level, d.Was.Level), strings.Split(d.Was.Groups, ",")
				}
			}
		}
		r.Rules = append(r.Rules, x)
	}
	slices.SortFunc(r.Rules, func(a, b RuleCounts) int {
		return cmp.Or(cmp.Compare(b.Added+b.Removed+b.Changed, a.Added+a.Removed+a.Changed), cmp.Compare(b.Alerts, a.Alerts), cmp.Compare(a.ID, b.ID))
	})
	for id, c := range t.Agents {
		r.Agents = append(r.Agents, AgentCounts{id, *c})
	}
	slices.SortFunc(r.Agents, func(a, b AgentCounts) int {
		return cmp.Or(cmp.Compare(b.Added+b.Removed+b.Changed, a.Added+a.Removed+a.Changed), cmp.Compare(b.Alerts, a.Alerts), cmp.Compare(a.ID, b.ID))
	})
	for h, c := range t.Hours {
		r.Hours = append(r.Hours, HourCounts{time.Unix(h*3600, 0).UTC(), *c})
	}
	slices.SortFunc(r.Hours, func(a, b HourCounts) int { return a.Hour.Compare(b.Hour) })
	for d, n := range t.Differing {
		r.Differences = append(r.Differences, Difference{d.Kind, d.Was, d.Now, n})
	}
	slices.SortFunc(r.Differences, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Was.Rule, b.Was.Rule), cmp.Compare(a.Now.Rule, b.Now.Rule),
			cmp.Compare(a.Was.Level, b.Was.Level), cmp.Compare(a.Now.Level, b.Now.Level), cmp.Compare(a.Was.Groups, b.Was.Groups), cmp.Compare(a.Now.Groups, b.Now.Groups))
	})
	for _, list := range t.Examples {
		r.Samples = append(r.Samples, list[:min(len(list), o.Samples)]...)
	}
	often := map[sampleKey]int64{}
	for d, n := range t.Differing {
		often[sampleKey{d.Kind, d.Was.Rule, d.Now.Rule}] += n
	}
	slices.SortFunc(r.Samples, func(a, b Sample) int {
		return cmp.Or(cmp.Compare(often[sampleKey{b.Kind, b.Was.Rule, b.Now.Rule}], often[sampleKey{a.Kind, a.Was.Rule, a.Now.Rule}]),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Was.Rule, b.Was.Rule), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	s := &r.Stats
	for _, x := range runs {
		s.Events += x.events.Load()
		if x.state != nil {
			x.count()
			t.Steps, t.Evicted = t.Steps+x.state.StepsExceeded(), t.Evicted+x.state.Evicted()
		}
	}
	s.Alerts, s.StepBudgetExceeded, s.KeysEvicted = r.Total.Alerts, t.Steps, t.Evicted
	s.CPUSeconds, s.WallSeconds = cpu.Seconds(), wall.Seconds()
	if cpu > 0 {
		s.EventsPerCPUSecond = float64(s.Events) / cpu.Seconds()
	}
	if wall > 0 {
		s.EventsPerWallSecond = float64(s.Events) / wall.Seconds()
	}
	s.MaxRSSBytes = maxRSS()
	s.P50Microseconds, s.P99Microseconds, s.MaxMicroseconds = t.times.quantile(0.5), t.times.quantile(0.99), float64(t.times.Max)/1000
	if r.Warm == 0 && r.Events > 0 {
		r.Notes = append(r.Notes, "windows, first-time-seen and check_diff began empty: nothing was read before the first event")
	} else if r.Warm > 0 {
		r.Notes = append(r.Notes, "windows were warmed up by the events before; first-time-seen and check_diff know only what those held")
	}
	if f, ok := o.Source.(*File); ok && f.Loop == 0 && r.Events > 1 && r.First.Equal(r.Last) {
		r.Notes = append(r.Notes, "the lines bring no times: all count as of "+when(r.First)+", so windows never end and figures a day mean nothing")
	}
	if o.RecordedAlerts != nil {
		r.Unjudged, r.UnjudgedPartitions = new(int64), o.Kept.Unjudged
		for _, n := range o.Kept.Unjudged {
			*r.Unjudged += n
		}
		r.Notes = append(r.Notes, "only what the workers have judged is compared; they may have judged it by several rulesets, with what they remembered then")
	}
	if o.RecordedAlerts != nil && o.RecordedAlerts.Cut {
		r.Notes = append(r.Notes, "the oldest alerts were removed by retention: where they are missing, alerts show as added")
	}
	if span := r.Last.Sub(r.First); r.Events > 0 && span < time.Hour {
		r.Notes = append(r.Notes, "the history spans "+span.Round(time.Millisecond).String()+"; figures a day are those of an hour with these alerts, 24 times")
	}
	if s.KeysEvicted > 0 {
		r.Notes = append(r.Notes, "the state of some keys was given up to keep within memory: composite rules may have counted less there")
	}
	if len(r.Refused) > 0 {
		r.Notes = append(r.Notes, "some of the history could not be judged, see refused")
	}
}

// cpuTime is the CPU time that the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// maxRSS is the most memory that the process has held, in bytes. On Linux,
// getrusage starts with the memory of the parent process at the fork, so it is
// asked only where /proc has no number.
func maxRSS() int64 {
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		var kib int64
		if _, peak, ok := strings.Cut(string(status), "VmHWM:"); ok {
			if _, err := fmt.Sscan(peak, &kib); err == nil {
				return kib << 10
			}
		}
	}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return u.Maxrss // bytes there, KiB elsewhere
	}
	return u.Maxrss << 10
}
