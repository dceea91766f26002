package shadowlog

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/schemas"
)

var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func difference(offset int64, was, now int, candidate string) schemas.ShadowDiff {
	side := func(rule int) *schemas.ShadowVerdict {
		if rule == 0 {
			return nil
		}
		return &schemas.ShadowVerdict{Rule: rule, Level: 5, Groups: []string{"g"}, Description: fmt.Sprintf("rule %d at %d", rule, offset)}
	}
	d := schemas.ShadowDiff{
		Kind: schemas.ShadowChanged, Was: side(was), Now: side(now), Ruleset: candidate, Against: "v1", TopicID: "t", Offset: offset,
		Key: fmt.Sprint(offset), AgentID: "001", AgentName: "web", Location: "/x", Time: epoch.Add(time.Duration(offset) * time.Second), FullLog: fmt.Sprint("log ", offset),
	}
	switch {
	case was == 0:
		d.Kind = schemas.ShadowAdded
	case now == 0:
		d.Kind = schemas.ShadowRemoved
	}
	return d
}

func TestDifferencesAreSummedUpByRule(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	p, err := c.NewProducer("test", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	at := time.Now().Add(-time.Hour)
	write := func(ds ...schemas.ShadowDiff) {
		t.Helper()
		for _, d := range ds {
			rec := d.Record()
			at = at.Add(time.Second)
			rec.Timestamp = at
			if _, err := p.ProduceSync(t.Context(), rec); err != nil {
				t.Fatal(err)
			}
		}
	}
	reader := NewReader(c, prometheus.NewRegistry())
	if s, err := reader.Summary(t.Context(), Pair{}); err != nil || s.Ruleset != "" || len(s.Rules) != 0 || s.Lag != nil {
		t.Errorf("%+v, %v", s, err)
	}
	old := difference(9, 0, 3, "v0")
	write(old, difference(1, 0, 7, "v2"), difference(3, 7, 0, "v2"), difference(2, 7, 8, "v2"), difference(3, 7, 0, "v2"))
	write(schemas.ShadowDiff{Ruleset: "x", Against: "y", TopicID: "t"}) // cannot be read
	if err := c.BeginGroup(t.Context(), Group, schemas.TopicEvents); err != nil {
		t.Fatal(err)
	}
	got, err := Read(t.Context(), c, Pair{})
	if err != nil {
		t.Fatal(err)
	}
	removed, changed := difference(3, 7, 0, "v2"), difference(2, 7, 8, "v2")
	sample := func(d schemas.ShadowDiff) Sample {
		return Sample{Kind: d.Kind, Time: d.Time, AgentID: "001", AgentName: "web", Location: "/x", Offset: d.Offset, Was: d.Was, Now: d.Now, FullLog: d.FullLog}
	}
	want := &Summary{Ruleset: "v2", Against: "v1", Lag: new(int64), Differences: 3, Others: 1, Unread: 1, Rules: []Rule{
		{ID: 7, Level: 5, Description: "rule 7 at 3", Added: 1, Removed: 1, Last: sample(removed)},
		{ID: 8, Level: 5, Description: "rule 8 at 2", Changed: 1, Last: sample(changed)},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, err := Read(t.Context(), c, Pair{"v0", "v1"}); err != nil || got.Differences != 1 || got.Others != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	if s, err := reader.Summary(t.Context(), Pair{}); err != nil || s.Differences != 0 {
		t.Errorf("it was read anew at once: %+v, %v", s, err)
	}
	if s, err := reader.Summary(t.Context(), Pair{"v2", "v1"}); err != nil || s.Differences != 3 {
		t.Errorf("another pair gets the answer of the first: %+v, %v", s, err)
	}
	if n := testutil.ToFloat64(reader.unread); n != 1 {
		t.Errorf("%v records count as unread, want 1", n)
	}
}

func TestTheNewestRecordsAreShared(t *testing.T) {
	t.Parallel()
	f := func(limit int64, want []kafka.Range, in ...kafka.Range) {
		t.Helper()
		if d := cmp.Diff(want, newest(in, limit)); d != "" {
			t.Error(d)
		}
	}
	f(10, []kafka.Range{{Start: 1, End: 3}}, kafka.Range{Start: 1, End: 3})
	f(10, []kafka.Range{{Start: 90, End: 100}}, kafka.Range{Start: 1, End: 100})
	f(10, []kafka.Range{{Start: 96, End: 100}, {Start: 5, End: 7}, {Start: 46, End: 50}}, kafka.Range{Start: 0, End: 100}, kafka.Range{Start: 5, End: 7}, kafka.Range{Start: 0, End: 50})
	f(10, nil)
}
