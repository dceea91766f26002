package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"vedette/analyze"
	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/schemas"
)

// produced writes records and returns them by position.
func produced(t *testing.T, c *kafka.Cluster, recs ...schemas.Record) map[Position]schemas.Record {
	t.Helper()
	p, err := c.NewProducer("test", quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	recs, err = p.ProduceSync(t.Context(), recs...)
	if err != nil {
		t.Fatal(err)
	}
	out := map[Position]schemas.Record{}
	for _, r := range recs {
		out[Position{r.Partition, r.Offset}] = r
	}
	return out
}

func records(events []schemas.Event) []schemas.Record {
	var recs []schemas.Record
	for i := range events {
		recs = append(recs, events[i].Record())
	}
	return recs
}

// held lists the content of a cluster, which a replay must not change.
func held(t *testing.T, c *kafka.Cluster) string {
	t.Helper()
	adm, err := c.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	topics, err := adm.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range topics.Names() {
		r, err := c.Ranges(t.Context(), strings.TrimPrefix(name, c.Topic("")))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, name, r)
	}
	groups, err := adm.ListGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	commits := adm.FetchManyOffsets(t.Context(), groups.Groups()...)
	fmt.Fprintln(&b, groups.Groups())
	commits.EachError(func(r kadm.FetchOffsetsResponse) { t.Fatal(r.Err) })
	for _, g := range groups.Groups() {
		for _, o := range commits[g].Fetched.Sorted() {
			fmt.Fprintln(&b, g, o.Topic, o.Partition, o.At)
		}
	}
	return b.String()
}

// worker judges live until everything is committed.
func worker(t *testing.T, c *kafka.Cluster, r *Ruleset, all bool) {
	t.Helper()
	w, err := analyze.New(analyze.Options{
		Config: analyze.Config{LogAll: all}, Cluster: c, Rulesets: analyze.Fixed{Version: r.Version, Of: r.Engine}, Log: quiet, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		judged, err := Judged(t.Context(), c)
		if err != nil {
			continue // no group yet
		}
		ranges, err := c.Ranges(t.Context(), schemas.TopicEvents)
		if err != nil {
			t.Fatal(err)
		}
		done := true
		for p, r := range ranges {
			done = done && judged[int32(p)] == r.End
		}
		if done {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the worker does not come to the end")
		}
	}
}

func TestATopicIsJudgedAsAFileIsAndLeftAlone(t *testing.T) {
	t.Parallel()
	before, now := rulesOf(t, "before", rulesBefore), rulesOf(t, "now", rulesNow)
	c := kafkatest.NewWith(t, 5)
	events := randomEvents(rand.New(rand.NewPCG(1, 5)), 3000)
	at := produced(t, c, records(events)...)
	as := held(t, c)
	was, is := verdicts(&before, events), verdicts(&now, events)
	first := ""
	for _, workers := range []int{1, 2, 7} {
		r := judgeAll(t, Options{Source: &Topic{Cluster: c, Topic: schemas.TopicEvents}, Ruleset: now, Against: &before, Workers: workers, Samples: 3, Explain: true})
		if d := cmp.Diff(expected(events, was, is), countsOf(r)); d != "" {
			t.Errorf("%d workers (-two runs +report):\n%s", workers, d)
		}
		if got := text(t, r); first == "" {
			first = got
		} else if d := cmp.Diff(first, got); d != "" {
			t.Errorf("%d workers report otherwise:\n%s", workers, d)
		}
		if len(r.Samples) == 0 || r.Notes == nil {
			t.Error("no examples, or no notes")
		}
		for _, s := range r.Samples {
			if s.Log != string(at[Position{s.Partition, s.Offset}].Value) || s.Reason == "" {
				t.Errorf("%+v", s)
			}
		}
	}
	if d := cmp.Diff(as, held(t, c)); d != "" || !strings.Contains(as, "\n[]\n") {
		t.Errorf("the cluster has changed, or has groups:\n%s\n%s", as, d)
	}
}

func TestAStretchOfATopicIsThatStretchOfTheWhole(t *testing.T) {
	t.Parallel()
	rules := rulesOf(t, "r", strings.NewReplacer("<check_diff/>", "", "<if_fts/>", "").Replace(rulesBefore))
	c := kafkatest.New(t)
	events := randomEvents(rand.New(rand.NewPCG(2, 5)), 3000)
	at := produced(t, c, records(events)...)
	// One engine over all, by the order of partitions.
	verdict := map[Position]Verdict{}
	state := rules.Engine.NewState()
	order := []Position{}
	for p := range at {
		order = append(order, p)
	}
	slices.SortFunc(order, func(a, b Position) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	for _, p := range order {
		rec := at[p]
		ev, err := schemas.ParseEvent(&rec)
		if err != nil {
			t.Fatal(err)
		}
		if res := rules.Engine.Process(state, &ev); res.Alert {
			verdict[p] = Verdict{res.RuleID, res.Level, joined(res.Rule().Info.Groups)}
		}
	}
	f := func(name string, s *Topic, in func(Position, time.Time) bool) {
		t.Helper()
		s.Cluster, s.Topic, s.Range.Warm = c, schemas.TopicEvents, rules.Engine.Program().LongestWindow()
		n, want := int64(0), map[int]int64{}
		for p, rec := range at {
			if in(p, rec.Timestamp) {
				n++
				if v := verdict[p]; v.Rule != 0 {
					want[v.Rule]++
				}
			}
		}
		r := judgeAll(t, Options{Source: s, Ruleset: rules, Workers: 2})
		got := map[int]int64{}
		for _, x := range r.Rules {
			got[x.ID] = x.Alerts
		}
		if d := cmp.Diff(want, got); d != "" || r.Events != n || n == 0 {
			t.Errorf("%s: %d events, want %d:\n%s", name, r.Events, n, d)
		}
		if r.Warm == 0 || r.Warm > 1500 {
			t.Errorf("%s: %d events to warm up", name, r.Warm)
		}
	}
	from, to := events[1000].Time, events[2000].Time
	f("from and to", &Topic{Range: Range{From: from, To: to}}, func(_ Position, at time.Time) bool { return !at.Before(from) && at.Before(to) })
	f("from", &Topic{Range: Range{From: from}}, func(_ Position, at time.Time) bool { return !at.Before(from) })
	f("offsets", &Topic{Offsets: map[int32]kafka.Range{1: {Start: 300, End: 700}, 2: {Start: 100, End: 1 << 62}}}, func(p Position, _ time.Time) bool {
		return p.Partition == 1 && p.Offset >= 300 && p.Offset < 700 || p.Partition == 2 && p.Offset >= 100
	})
	if _, _, err := Run(t.Context(), Options{Source: &Topic{Cluster: c, Topic: schemas.TopicEvents, Offsets: map[int32]kafka.Range{9: {Start: 0, End: 1}}}, Ruleset: rules}); err == nil {
		t.Error("a partition that is not there is passed over")
	}
}

func TestRecordedAlertsAgreeWithTheRulesetThatRan(t *testing.T) {
	t.Parallel()
	before, now := rulesOf(t, "before", rulesBefore), rulesOf(t, "now", rulesNow)
	c := kafkatest.New(t)
	events := randomEvents(rand.New(rand.NewPCG(3, 5)), 2000)
	produced(t, c, records(events)...)
	// One has the wrong key: the worker puts it under the right one.
	stray := schemas.Event{Time: events[1999].Time, AgentID: "003", Location: "/x", Queue: '1', Log: []byte("T ip=10.0.0.9 user=u2")}
	rec := stray.Record()
	rec.Key = []byte("004")
	produced(t, c, rec)
	unjudged := func(r *Report, want int64) {
		t.Helper()
		var sum int64
		for _, n := range r.UnjudgedPartitions {
			sum += n
		}
		if r.Unjudged == nil || *r.Unjudged != want || sum != want {
			t.Errorf("unjudged %v, by partition %v, want %d", r.Unjudged, r.UnjudgedPartitions, want)
			return
		}
		var plain, page, data strings.Builder
		if err := errors.Join(r.WriteText(&plain), r.WriteHTML(&page), r.WriteJSON(&data)); err != nil {
			t.Fatal(err)
		}
		line := "0 records never judged by the workers"
		if want > 0 {
			line = number(want) + " records NEVER JUDGED by the workers and not compared, in "
		}
		for name, got := range map[string]string{"text": plain.String(), "HTML": page.String()} {
			if !strings.Contains(got, line) {
				t.Errorf("%s lacks %q: %.2000s", name, line, got)
			}
		}
		if member := fmt.Sprintf(`"unjudged": %d,`, want); !strings.Contains(data.String(), member) {
			t.Errorf("JSON lacks %s: %.2000s", member, data.String())
		}
	}
	// Before any worker has committed, all of it is unjudged.
	none, err := ReadRecorded(t.Context(), c, Range{})
	if err != nil {
		t.Fatal(err)
	}
	until, err := Judged(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	r := judgeAll(t, Options{Source: &Topic{Cluster: c, Topic: schemas.TopicEvents, Until: until}, Ruleset: before, RecordedAlerts: none, Workers: 2})
	if unjudged(r, 2001); r.Events != 0 {
		t.Errorf("%d events are compared", r.Events)
	}
	// A partition that stands still while the others go on shows too.
	ranges, err := c.Ranges(t.Context(), schemas.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	for p, x := range ranges {
		until[int32(p)] = x.End
	}
	busiest := int32(slices.IndexFunc(ranges, func(x kafka.Range) bool { return x.End > 100 }))
	until[busiest] = 60
	r = judgeAll(t, Options{Source: &Topic{Cluster: c, Topic: schemas.TopicEvents, Until: until}, Ruleset: before, RecordedAlerts: none, Workers: 2})
	unjudged(r, ranges[busiest].End-60)
	if want := map[int32]int64{busiest: ranges[busiest].End - 60}; !maps.Equal(r.UnjudgedPartitions, want) {
		t.Errorf("by partition %v, want %v", r.UnjudgedPartitions, want)
	}
	// So does a part of it by offset.
	r = judgeAll(t, Options{Source: &Topic{Cluster: c, Topic: schemas.TopicEvents, Until: until, Offsets: map[int32]kafka.Range{busiest: {Start: 50, End: 90}}}, Ruleset: before, RecordedAlerts: none, Workers: 2})
	unjudged(r, 30)
	worker(t, c, &before, true)
	later := randomEvents(rand.New(rand.NewPCG(4, 5)), 50)
	produced(t, c, records(later)...) // nobody has judged these
	as := held(t, c)

	span := Range{}
	options := func(r Ruleset) Options {
		alerts, err := ReadRecorded(t.Context(), c, span)
		if err != nil {
			t.Fatal(err)
		}
		until, err := Judged(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return Options{Source: &Topic{Cluster: c, Topic: schemas.TopicEvents, Until: until, Range: span}, Ruleset: r, RecordedAlerts: alerts, Workers: 2, Samples: 3, Explain: true}
	}
	all := append(slices.Clone(events), stray)
	r = judgeAll(t, options(before))
	unjudged(r, 50)
	if r.Events != int64(len(all)) || r.Total.differs() || r.Total.Alerts == 0 || r.Total.Was != r.Total.Alerts || r.Refused["event_key"] != 1 || r.Against.Version != before.Version {
		t.Errorf("%d events, %+v, refused %v, against %v, samples %+v", r.Events, r.Total, r.Refused, r.Against, r.Samples)
	}
	want := expected(all, verdicts(&before, all), verdicts(&now, all))
	r = judgeAll(t, options(now))
	if d := cmp.Diff(want, countsOf(r)); d != "" {
		t.Errorf("(-two runs +report):\n%s", d)
	}
	for _, s := range r.Samples {
		if s.Reason == "" {
			t.Errorf("%+v", s)
		}
	}
	i := slices.IndexFunc(r.Rules, func(x RuleCounts) bool { return x.ID == 900002 })
	if x := r.Rules[i]; x.Level != 4 || !slices.Equal(x.Groups, []string{"base", "test"}) {
		t.Errorf("a rule that only the alerts know: %+v", x)
	}

	for _, n := range r.Notes {
		if strings.Contains(n, "removed by retention") {
			t.Error(n)
		}
	}

	// A part of the time, bounded alike on both sides.
	span = Range{From: events[700].Time, To: events[1400].Time, Warm: before.Engine.Program().LongestWindow()}
	r = judgeAll(t, options(before))
	if r.Events == 0 || r.Total.Was == 0 {
		t.Errorf("%+v", r.Total)
	}
	for _, d := range r.Differences {
		// First sightings from before are not known any more.
		if d.Was.Rule != 900010 && d.Now.Rule != 900011 && d.Was.Rule != 900006 && d.Now.Rule != 900006 {
			t.Errorf("%+v", d)
		}
	}

	// Archives record the outcome of each event themselves.
	r = judgeAll(t, Options{Source: &Topic{Cluster: c, Topic: schemas.TopicArchives}, Ruleset: before, Recorded: true, Workers: 2})
	if r.Events != int64(len(all)) || r.Total.Was == 0 || r.Total.differs() {
		t.Errorf("archives: %d events, %+v, refused %v", r.Events, r.Total, r.Refused)
	}
	r = judgeAll(t, Options{Source: &Topic{Cluster: c, Topic: schemas.TopicArchives}, Ruleset: now, Recorded: true, Workers: 2})
	if d := cmp.Diff(want, countsOf(r)); d != "" {
		t.Errorf("archives (-two runs +report):\n%s", d)
	}
	if d := cmp.Diff(as, held(t, c)); d != "" {
		t.Errorf("the cluster has changed:\n%s", d)
	}

	// Alerts that retention took are said to be missing.
	adm, err := c.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	var o kadm.Offsets
	o.AddOffset(c.Topic(schemas.TopicAlerts), 0, 20, -1)
	if _, err := adm.DeleteRecords(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for want, s := range map[bool]Range{true: {}, false: {From: events[1000].Time}} {
		if got, err := ReadRecorded(t.Context(), c, s); err != nil || got.Cut != want {
			t.Errorf("%+v: %v, %v", s, got.Cut, err)
		}
	}
}

func TestAReplayOfATopicGoesOn(t *testing.T) {
	t.Parallel()
	before, now := rulesOf(t, "before", rulesBefore), rulesOf(t, "now", rulesNow)
	total := 0
	for seed := range uint64(3) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		c := kafkatest.NewWith(t, 4)
		events := randomEvents(rnd, 6000)
		recs := records(events)
		for i := range recs {
			if i%50 == 0 {
				recs[i].Key = []byte("x") // refused
			}
		}
		produced(t, c, recs...)
		span := Range{}
		if seed == 1 {
			span = Range{From: events[2000].Time, To: events[5000].Time, Warm: 10 * time.Minute}
		}
		options := func() Options {
			return Options{Source: &Topic{Cluster: c, Topic: schemas.TopicEvents, Range: span}, Ruleset: now, Against: &before, Workers: 2, Samples: 4, Explain: true}
		}
		want := text(t, judgeAll(t, options()))
		n := 0
		got, interruptions := piecewise(t, rnd, len(events), func() Options {
			if n++; n > 1 {
				produced(t, c, records(randomEvents(rnd, 5))...) // the topic grows meanwhile
			}
			return options()
		})
		total += interruptions
		if d := cmp.Diff(want, text(t, got)); d != "" {
			t.Errorf("seed %d, %d interruptions (-whole +resumed):\n%s", seed, interruptions, d)
		}
	}
	t.Logf("%d interruptions", total)
	if total < 3 {
		t.Error("hardly anything was interrupted")
	}
}

// twice makes records of events as a source leaves them that dies and writes its
// last ones again, and tells how many are repeats.
func twice(rnd *rand.Rand, events []schemas.Event) (recs []schemas.Record, repeated int) {
	begin := 0
	for i := range events {
		e := events[i]
		e.EventID = fmt.Sprintf("T/0/%d", i)
		recs = append(recs, e.Record())
		if rnd.IntN(40) == 0 {
			again := recs[begin+rnd.IntN(len(recs)-begin):]
			repeated += len(again)
			recs = append(recs, again...)
			begin = len(recs)
		}
	}
	return recs, repeated
}

func TestRepeatsOfASourceAreJudgedOnceAsTheyAreLive(t *testing.T) {
	t.Parallel()
	before, now := rulesOf(t, "before", rulesBefore), rulesOf(t, "now", rulesNow)
	rnd := rand.New(rand.NewPCG(11, 6))
	c := kafkatest.NewWith(t, 3)
	events := randomEvents(rnd, 3000)
	recs, repeated := twice(rnd, events)
	if repeated < 200 {
		t.Fatalf("only %d repeats", repeated)
	}
	produced(t, c, recs...)
	worker(t, c, &before, false)
	alerts, err := ReadRecorded(t.Context(), c, Range{})
	if err != nil {
		t.Fatal(err)
	}
	live := judgeAll(t, Options{Source: &Topic{Cluster: c, Topic: schemas.TopicEvents}, Ruleset: before, RecordedAlerts: alerts, Workers: 2})
	if live.Events != int64(len(events)) || live.Repeated != int64(repeated) || live.Total.differs() || live.Total.Was == 0 || len(live.Refused) != 0 {
		t.Errorf("%d events, %d repeats of %d, %+v, %v", live.Events, live.Repeated, repeated, live.Total, live.Refused)
	}
	// Two rulesets, with reasons, in one go and in pieces.
	options := func() Options {
		return Options{Source: &Topic{Cluster: c, Topic: schemas.TopicEvents}, Ruleset: now, Against: &before, Workers: 2, Samples: 4, Explain: true}
	}
	whole := judgeAll(t, options())
	if d := cmp.Diff(expected(events, verdicts(&before, events), verdicts(&now, events)), countsOf(whole)); d != "" {
		t.Errorf("(-two runs without repeats +report):\n%s", d)
	}
	got, interruptions := piecewise(t, rnd, len(events)/2, options)
	if d := cmp.Diff(text(t, whole), text(t, got)); d != "" || interruptions == 0 {
		t.Errorf("%d interruptions (-whole +resumed):\n%s", interruptions, d)
	}
}

func TestWhatRetentionTookIsCounted(t *testing.T) {
	t.Parallel()
	now := rulesOf(t, "now", rulesNow)
	c := kafkatest.NewWith(t, 1)
	produced(t, c, records(randomEvents(rand.New(rand.NewPCG(7, 5)), 3000))...)
	adm, err := c.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	cut := func(to int64) {
		t.Helper()
		var o kadm.Offsets
		o.AddOffset(c.Topic(schemas.TopicEvents), 0, to, -1)
		if r, err := adm.DeleteRecords(t.Context(), o); err != nil || r.Error() != nil {
			t.Fatal(err, r.Error())
		}
	}
	cut(100)
	source := &Topic{Cluster: c, Topic: schemas.TopicEvents}
	r := judgeAll(t, Options{Source: source, Ruleset: now})
	if r.Events != 2900 || len(r.Refused) != 0 {
		t.Errorf("%d events, refused %v: what was gone before is no part of the history", r.Events, r.Refused)
	}
	// Interrupted; meanwhile more goes than was judged.
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, state, err := Run(ctx, Options{Source: source, Ruleset: now, judged: func() {
		if n++; n == 500 {
			cancel()
		}
	}})
	cancel()
	if err != nil || state == nil {
		t.Fatal(err)
	}
	next := state.Lanes[0].At.Next
	cut(next + 77)
	r = judgeAll(t, Options{Source: source, Ruleset: now, State: state})
	if r.Events != 2900-77 || r.Refused["removed_by_retention"] != 77 {
		t.Errorf("%d events, refused %v", r.Events, r.Refused)
	}
	cut(3000)
	r = judgeAll(t, Options{Source: source, Ruleset: now, State: state})
	if r.Refused["removed_by_retention"] != 3000-next {
		t.Errorf("%d events, refused %v", r.Events, r.Refused)
	}
}

// kept holds records of one partition beside the broker.
type kept []schemas.Record

func (k kept) Range(int32) (first, end int64, ok bool) {
	return k[0].Offset, k[len(k)-1].Offset + 1, true
}

func (k kept) After(_ int32, t time.Time) int64 {
	for _, r := range k {
		if !r.Timestamp.Before(t) {
			return r.Offset
		}
	}
	return k[len(k)-1].Offset + 1
}

func (k kept) Read(_ context.Context, _ int32, from, to int64, fn func(schemas.Record) bool) error {
	for _, r := range k {
		if r.Offset >= from && r.Offset < to && !fn(r) {
			break
		}
	}
	return nil
}

func TestWhatTheBrokerRemovedIsReadWhereItIsKept(t *testing.T) {
	t.Parallel()
	before, now := rulesOf(t, "before", rulesBefore), rulesOf(t, "now", rulesNow)
	c := kafkatest.NewWith(t, 1)
	events := randomEvents(rand.New(rand.NewPCG(9, 5)), 3000)
	at := produced(t, c, records(events)...)
	var older kept
	for o := range int64(2000) {
		older = append(older, at[Position{0, o}])
	}
	topic := func(s Topic) Options {
		s.Cluster, s.Topic, s.Range.Warm = c, schemas.TopicEvents, time.Hour
		return Options{Source: &s, Ruleset: now, Against: &before, Workers: 2, Samples: 3, Explain: true}
	}
	stretches := map[string]Topic{
		"all": {}, "from": {Range: Range{From: events[300].Time}}, "from and to": {Range: Range{From: events[300].Time, To: events[1200].Time}},
		"offsets": {Offsets: map[int32]kafka.Range{0: {Start: 500, End: 2500}}},
	}
	want := map[string]string{}
	for name, s := range stretches {
		want[name] = text(t, judgeAll(t, topic(s)))
	}
	adm, err := c.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	var o kadm.Offsets
	o.AddOffset(c.Topic(schemas.TopicEvents), 0, 1500, -1)
	if _, err := adm.DeleteRecords(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for name, s := range stretches {
		s.Older = older
		if d := cmp.Diff(want[name], text(t, judgeAll(t, topic(s)))); d != "" {
			t.Errorf("%s (-before it was removed +after):\n%.3000s", name, d)
		}
		s.Older = append(slices.Clone(older[:700]), older[710:1450]...)
		if r := judgeAll(t, topic(s)); name == "all" && (r.Refused["removed_by_retention"] != 60 || r.Events != 2940) {
			t.Errorf("%d events, refused %v", r.Events, r.Refused)
		}
	}
}

func TestAPartitionThatEndsInTheMarkOfATransactionEnds(t *testing.T) {
	t.Parallel()
	now := rulesOf(t, "now", rulesNow)
	c, broker := kafkatest.Start(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.TransactionalID("another tool"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for range 2 {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: c.Topic(schemas.TopicEvents), Key: []byte("000"), Value: []byte("T ip=1.1.1.1 user=u2")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	r := judgeAll(t, Options{Source: &Topic{Cluster: c, Topic: schemas.TopicEvents}, Ruleset: now})
	if r.Events != 2 || r.Total.Alerts != 2 || len(r.Refused) != 0 {
		t.Errorf("%d events, %+v, refused %v; want two events with an alert each", r.Events, r.Total, r.Refused)
	}
}

func TestAlertsGoToATopicOfTheUsersOwn(t *testing.T) {
	t.Parallel()
	now := rulesOf(t, "now", rulesNow)
	c := kafkatest.New(t)
	events := randomEvents(rand.New(rand.NewPCG(8, 5)), 1000)
	producer := func() *kafka.Producer {
		p, err := c.NewProducer("replay", quiet, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := producer()
	defer p.Close()
	if _, err := NewTopicSink(t.Context(), schemas.TopicAlerts, p); err == nil {
		t.Error("alerts of a replay may go to the live topic")
	}
	adm, err := c.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	if _, err := adm.CreateTopic(t.Context(), 2, 1, nil, c.Topic("backtest")); err != nil {
		t.Fatal(err)
	}
	sink, err := NewTopicSink(t.Context(), "backtest", producer())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "alerts")
	file, err := NewFileSink(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	source := &File{Path: write(t, "e", ndjson(events))}
	r := judgeAll(t, Options{Source: source, Ruleset: now, Workers: 3, Out: sink})
	judgeAll(t, Options{Source: source, Ruleset: now, Workers: 3, Out: file})
	ranges, err := c.Ranges(t.Context(), "backtest")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for p, rng := range ranges {
		if err := c.Read(t.Context(), "backtest", int32(p), rng, func(rec schemas.Record) bool {
			got = append(got, string(rec.Value))
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(got)
	want := linesOf(t, path)
	if d := cmp.Diff(want, got); d != "" || int64(len(got)) != r.Total.Alerts {
		t.Errorf("%d alerts, want %d:\n%.2000s", len(got), r.Total.Alerts, d)
	}
}
