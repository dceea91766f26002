// Package shadowlog sums up, for people, what the topic shadow holds: what a
// candidate ruleset would change about the alerts of the one that runs.
//
// It is no replica.Topic. Nothing acts on these records, so they carry no MAC and
// nobody waits for them, and a node that followed the topic would hold a gigabyte
// of differences for a summary that is seldom asked for.
package shadowlog

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/schemas"
)

// Group is the consumer group that writes the topic, without the prefix.
const Group = "shadow"

const (
	// recordsMax bounds the records that one summary reads, the newest of each partition.
	recordsMax = 100_000
	// pairsMax bounds the pairs of rulesets told apart, and rulesMax the rules of each.
	pairsMax = 64
	rulesMax = 20_000
	// cachedFor is how long a Reader gives the same answer.
	cachedFor = 5 * time.Second
)

// Pair is a candidate and the ruleset that it was compared with, by version.
type Pair struct{ Ruleset, Against string }

// Summary is what a candidate would change. It is not to be changed.
type Summary struct {
	// Ruleset is the candidate's version, Against that of the ruleset compared
	// with; both are empty when there is nothing to tell of.
	Ruleset string `json:"ruleset"`
	Against string `json:"against"`
	// Problem is why a candidate cannot run.
	Problem string `json:"problem,omitempty"`
	// Lag is how many events the candidate has not judged yet; nil if it never began.
	Lag *int64 `json:"lag"`
	// Differences are those of the pair among the records read, Others those of
	// other pairs, from before either ruleset changed. Cut says that older records
	// were left out.
	Differences int64 `json:"differences"`
	Others      int64 `json:"others"`
	Cut         bool  `json:"cut"`
	// Unread counts the records that this program cannot read.
	Unread int64  `json:"-"`
	Rules  []Rule `json:"rules"`
}

// Rule is what would change about a rule's alerts. A change counts for the rule
// that would fire.
type Rule struct {
	ID          int    `json:"rule"`
	Level       int    `json:"level"`
	Description string `json:"description"`
	Added       int64  `json:"added"`
	Removed     int64  `json:"removed"`
	Changed     int64  `json:"changed"`
	// Last is the latest event of these.
	Last Sample `json:"last"`
}

// Sample is one event whose verdict would change.
type Sample struct {
	Kind      schemas.ShadowKind     `json:"kind"`
	Time      time.Time              `json:"timestamp"`
	AgentID   string                 `json:"agent_id"`
	AgentName string                 `json:"agent_name"`
	Location  string                 `json:"location"`
	Partition int32                  `json:"partition"`
	Offset    int64                  `json:"offset"`
	Was       *schemas.ShadowVerdict `json:"was"`
	Now       *schemas.ShadowVerdict `json:"now"`
	FullLog   string                 `json:"full_log"`
}

// Read sums up what the topic holds of a pair; of the one written last if none is named.
func Read(ctx context.Context, c *kafka.Cluster, of Pair) (*Summary, error) {
	ranges, err := c.Ranges(ctx, schemas.TopicShadow)
	if err != nil {
		return nil, err
	}
	s := &Summary{Ruleset: of.Ruleset, Against: of.Against, Rules: []Rule{}}
	lag, began, err := c.GroupLag(ctx, Group, schemas.TopicEvents)
	if err != nil {
		return nil, err
	}
	if began {
		s.Lag = &lag
	}
	t := &tally{seen: map[string]bool{}, pairs: map[Pair]*sums{}}
	for p, r := range newest(ranges, recordsMax) {
		s.Cut = s.Cut || r.Start > ranges[p].Start
		err := c.Read(ctx, schemas.TopicShadow, int32(p), r, func(rec schemas.Record) bool {
			t.add(&rec)
			return true
		})
		// Retention may take the last records while they are read.
		if err != nil && (ctx.Err() != nil || !errors.Is(err, kafka.ErrReadStalled)) {
			return nil, err
		}
	}
	s.Unread = t.unread
	if of == (Pair{}) {
		s.Ruleset, s.Against = t.last.Ruleset, t.last.Against
	}
	for pair, x := range t.pairs {
		if pair != (Pair{s.Ruleset, s.Against}) {
			s.Others += x.count
			continue
		}
		s.Differences = x.count
		for _, r := range x.rules {
			s.Rules = append(s.Rules, *r)
		}
	}
	slices.SortFunc(s.Rules, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(b.Added+b.Removed+b.Changed, a.Added+a.Removed+a.Changed), cmp.Compare(a.ID, b.ID))
	})
	return s, nil
}

// newest cuts ranges down to so many records in all: small ones stay whole, the
// others share what is left.
func newest(ranges []kafka.Range, limit int64) []kafka.Range {
	out := slices.Clone(ranges)
	order := make([]int, len(out))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(out[a].End-out[a].Start, out[b].End-out[b].Start) })
	for i, p := range order {
		share := limit / int64(len(order)-i)
		out[p].Start = max(out[p].Start, out[p].End-share)
		limit -= out[p].End - out[p].Start
	}
	return out
}

// tally counts differences, each once.
type tally struct {
	seen   map[string]bool
	pairs  map[Pair]*sums
	last   Pair
	lastAt time.Time
	unread int64
}

type sums struct {
	count int64
	rules map[int]*Rule
}

func (t *tally) add(rec *schemas.Record) {
	d, err := schemas.ParseShadowDiff(rec)
	if err != nil {
		t.unread++
		return
	}
	if t.seen[d.ID()] {
		return // written again after a crash
	}
	t.seen[d.ID()] = true
	pair := Pair{d.Ruleset, d.Against}
	if !rec.Timestamp.Before(t.lastAt) {
		t.last, t.lastAt = pair, rec.Timestamp
	}
	x := t.pairs[pair]
	if x == nil {
		if len(t.pairs) == pairsMax {
			return
		}
		x = &sums{rules: map[int]*Rule{}}
		t.pairs[pair] = x
	}
	x.count++
	v := d.Verdict()
	r := x.rules[v.Rule]
	if r == nil {
		if len(x.rules) == rulesMax {
			return
		}
		r = &Rule{ID: v.Rule}
		x.rules[v.Rule] = r
	}
	switch d.Kind {
	case schemas.ShadowAdded:
		r.Added++
	case schemas.ShadowRemoved:
		r.Removed++
	case schemas.ShadowChanged:
		r.Changed++
	}
	if d.Time.Before(r.Last.Time) {
		return
	}
	r.Level, r.Description = v.Level, v.Description
	r.Last = Sample{
		Kind: d.Kind, Time: d.Time, AgentID: d.AgentID, AgentName: d.AgentName, Location: d.Location,
		Partition: d.Partition, Offset: d.Offset, Was: d.Was, Now: d.Now, FullLog: d.FullLog,
	}
}

// Reader is Read for many that ask. It is safe for concurrent use.
type Reader struct {
	c      *kafka.Cluster
	unread prometheus.Gauge
	busy   chan struct{} // held while reading; guards what follows
	of     Pair
	at     time.Time
	got    *Summary
}

// NewReader returns a reader.
func NewReader(c *kafka.Cluster, reg prometheus.Registerer) *Reader {
	r := &Reader{c: c, busy: make(chan struct{}, 1), unread: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "vedette_shadow_unread_records", Help: "Records of the topic shadow that the last summary could not read; a newer program may have written them.",
	})}
	reg.MustRegister(r.unread)
	return r
}

// Summary is Read, or its answer of a few seconds ago.
func (r *Reader) Summary(ctx context.Context, of Pair) (*Summary, error) {
	select {
	case r.busy <- struct{}{}:
		defer func() { <-r.busy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r.got != nil && r.of == of && time.Since(r.at) < cachedFor {
		return r.got, nil
	}
	s, err := Read(ctx, r.c, of)
	if err != nil {
		return nil, err
	}
	r.unread.Set(float64(s.Unread))
	r.of, r.at, r.got = of, time.Now(), s
	return s, nil
}
