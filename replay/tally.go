package replay

import (
	"math/bits"
	"slices"
	"strings"
	"time"
)

// Bounds of a report.
const (
	// agentsMax and hoursMax bound the separate counts; the rest goes to one
	// entry.
	agentsMax = 100_000
	hoursMax  = 24 * 366 * 5
	// sampleLogMax cuts the log of an example, in bytes.
	sampleLogMax = 1000
)

// Kind is how a verdict differs from the one it is compared with.
type Kind string

// Kinds of differences.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
)

// Counts are numbers of alerts. Was counts the alerts of the other side.
type Counts struct {
	Alerts  int64 `json:"alerts"`
	Was     int64 `json:"was"`
	Added   int64 `json:"added"`
	Removed int64 `json:"removed"`
	Changed int64 `json:"changed"`
}

func (c *Counts) plus(d *Counts) {
	c.Alerts += d.Alerts
	c.Was += d.Was
	c.Added += d.Added
	c.Removed += d.Removed
	c.Changed += d.Changed
}

func (c *Counts) differs() bool { return c.Added+c.Removed+c.Changed > 0 }

func (c *Counts) kind(k Kind) *int64 {
	switch k {
	case Added:
		return &c.Added
	case Removed:
		return &c.Removed
	}
	return &c.Changed
}

// Sample is an example of a difference.
type Sample struct {
	Kind Kind `json:"kind"`
	// Rule is the rule under which it is listed: of the alert that was removed,
	// else of the new one.
	Rule      int       `json:"rule"`
	Was       Verdict   `json:"was"`
	Now       Verdict   `json:"now"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time"`
	Agent     string    `json:"agent"`
	Location  string    `json:"location"`
	Log       string    `json:"log"`
	// Key is the event's, for explain.
	Key string `json:"-"`
	// Reason says why the verdicts differ, if the replay was to explain.
	Reason string `json:"reason,omitempty"`
}

// tally holds the counts of one lane. State keeps its exported members.
type tally struct {
	Events, Warm   int64
	Repeated       int64
	Steps, Evicted uint64
	Total          Counts
	First, Last    time.Time
	Rules          map[int]*Counts
	Agents         map[string]*Counts
	Hours          map[int64]*Counts // by Unix hour
	// Differing counts differences by kind and rule, with levels and groups as in
	// the verdicts, for conditions on them.
	Differing map[difference]int64
	Examples  map[sampleKey][]Sample
	times     histogram

	hour *Counts // of hourAt
	at   int64
}

// difference is one sort of difference.
type difference struct {
	Kind     Kind
	Was, Now Verdict
}

// rule is the rule that a difference is listed under.
func (d *difference) rule() int {
	if d.Kind == Removed {
		return d.Was.Rule
	}
	return d.Now.Rule
}

// differencesMax bounds Differing; groups and rules make few.
const differencesMax = 100_000

type sampleKey struct {
	Kind     Kind
	Was, Now int
}

func newTally() *tally {
	return &tally{
		Rules: map[int]*Counts{}, Agents: map[string]*Counts{}, Hours: map[int64]*Counts{},
		Differing: map[difference]int64{}, Examples: map[sampleKey][]Sample{},
	}
}

// entry finds or makes the counts of a key; beyond limit keys the one of rest.
func entry[K comparable](m map[K]*Counts, key, rest K, limit int) *Counts {
	c := m[key]
	if c == nil {
		if len(m) >= limit {
			key = rest
		}
		if c = m[key]; c == nil {
			c = &Counts{}
			m[key] = c
		}
	}
	return c
}

// rulesMax bounds the rules counted apart: all that two rulesets can have.
const rulesMax = 2_000_000

func (t *tally) count(it *Item, got Verdict) {
	t.Events++
	at := sane(it.Event.Time)
	if t.First.IsZero() || at.Before(t.First) {
		t.First = at
	}
	if at.After(t.Last) {
		t.Last = at
	}
	if got.Rule != 0 {
		t.each(it, func(c *Counts) { c.Alerts++ }, got.Rule)
	}
}

// each applies fn to every count that an event with a rule belongs to.
func (t *tally) each(it *Item, fn func(*Counts), rule int) {
	fn(&t.Total)
	fn(entry(t.Rules, rule, 0, rulesMax))
	fn(entry(t.Agents, it.Event.AgentID, "", agentsMax))
	if h := sane(it.Event.Time).Unix() / 3600; t.hour == nil || h != t.at {
		t.hour, t.at = entry(t.Hours, h, 0, hoursMax), h
	}
	fn(t.hour)
}

// compare counts how got differs from want.
func (t *tally) compare(o *Options, it *Item, want, got Verdict) {
	if want.Rule != 0 {
		t.each(it, func(c *Counts) { c.Was++ }, want.Rule)
	}
	if want == got {
		return
	}
	d := difference{Kind: Changed, Was: want, Now: got}
	switch {
	case want.Rule == 0:
		d.Kind = Added
	case got.Rule == 0:
		d.Kind = Removed
	}
	rule := d.rule()
	t.each(it, func(c *Counts) { *c.kind(d.Kind)++ }, rule)
	if d.Kind == Changed && want.Rule != rule {
		entry(t.Rules, want.Rule, 0, rulesMax).Changed++
	}
	if _, known := t.Differing[d]; known || len(t.Differing) < differencesMax {
		t.Differing[d]++
	}
	key := sampleKey{d.Kind, want.Rule, got.Rule}
	if have := t.Examples[key]; len(have) < o.Samples {
		log := string(it.Event.Log)
		if len(log) > sampleLogMax {
			log = log[:sampleLogMax] + "…"
		}
		t.Examples[key] = append(have, Sample{
			Kind: d.Kind, Rule: rule, Was: want, Now: got, Partition: it.Partition, Offset: it.Offset,
			Time: sane(it.Event.Time), Agent: strings.Clone(it.Event.AgentID), Location: strings.Clone(it.Event.Location), Log: strings.ToValidUTF8(log, "\ufffd"),
			Key: strings.Clone(it.Event.Key()),
		})
	}
}

// latest is the last hour that a report names.
var latest = time.Date(9999, 12, 31, 23, 0, 0, 0, time.UTC)

// sane keeps a record's time within the range that a report can write.
func sane(t time.Time) time.Time {
	switch {
	case t.After(latest):
		return latest
	case t.Unix() < 0:
		return time.Unix(0, 0).UTC()
	}
	return t
}

// merge adds the counts of another lane. The earliest examples by position stay,
// so that the number of workers does not show.
func (t *tally) merge(u *tally, samples int) {
	t.Events += u.Events
	t.Warm += u.Warm
	t.Repeated += u.Repeated
	t.Steps += u.Steps
	t.Evicted += u.Evicted
	t.Total.plus(&u.Total)
	if t.First.IsZero() || !u.First.IsZero() && u.First.Before(t.First) {
		t.First = u.First
	}
	if u.Last.After(t.Last) {
		t.Last = u.Last
	}
	for k, c := range u.Rules {
		entry(t.Rules, k, 0, rulesMax).plus(c)
	}
	for k, c := range u.Agents {
		entry(t.Agents, k, "", agentsMax).plus(c)
	}
	for k, c := range u.Hours {
		entry(t.Hours, k, 0, hoursMax).plus(c)
	}
	for k, n := range u.Differing {
		t.Differing[k] += n
	}
	for k, list := range u.Examples {
		all := slices.Concat(t.Examples[k], list)
		slices.SortFunc(all, func(a, b Sample) int {
			if a.Partition != b.Partition {
				return int(a.Partition) - int(b.Partition)
			}
			return int(min(1, max(-1, a.Offset-b.Offset)))
		})
		t.Examples[k] = all[:min(len(all), samples)]
	}
	t.times.merge(&u.times)
}

// histogram counts durations in steps of about 3 %.
type histogram struct {
	Buckets [histogramBuckets]int64
	Max     time.Duration
	N       int64
}

const (
	histogramBits    = 5 // steps per power of two, as a power of two
	histogramBuckets = 42 << histogramBits
)

func (h *histogram) add(d time.Duration) {
	h.Max = max(h.Max, d)
	h.N++
	h.Buckets[bucket(uint64(max(d, 0)))]++
}

func bucket(ns uint64) int {
	if ns < 1<<histogramBits {
		return int(ns)
	}
	shift := bits.Len64(ns) - histogramBits - 1
	return min(histogramBuckets-1, (shift+1)<<histogramBits+int(ns>>shift)-1<<histogramBits)
}

// value is the middle of a bucket, in nanoseconds.
func value(b int) float64 {
	if b < 1<<histogramBits {
		return float64(b)
	}
	shift := b>>histogramBits - 1
	low := uint64(1<<histogramBits+b&(1<<histogramBits-1)) << shift
	return float64(low) + float64(uint64(1)<<shift)/2
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
	h.Max = max(h.Max, o.Max)
	h.N += o.N
}

// quantile returns a duration in microseconds; 0 without any.
func (h *histogram) quantile(q float64) float64 {
	if h.N == 0 {
		return 0
	}
	left := int64(q * float64(h.N))
	for b, n := range h.Buckets {
		if left -= n; left < 0 {
			return min(value(b), float64(h.Max)) / 1000
		}
	}
	return float64(h.Max) / 1000
}

// describe finds a rule's own description in either ruleset.
func describe(o *Options, rule int) (level int, description string, groups []string, known bool) {
	for _, r := range []*Ruleset{&o.Ruleset, o.Against} {
		if r == nil {
			continue
		}
		if p := r.Engine.Program().RuleByID[rule]; p != nil {
			return p.Level, p.Info.Description, p.Info.Groups, true
		}
	}
	return 0, "", nil, false
}
