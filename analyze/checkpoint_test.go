package analyze_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"

	"vedette/analyze"
	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/secret"
	"vedette/internal/stage"
	"vedette/schemas"
)

func testBox(t testing.TB, b byte) *secret.Box {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

var errKilled = errors.New("killed")

// startWith starts a worker that writes checkpoints; mod changes its options.
func startWith(t *testing.T, c *kafka.Cluster, mod func(*analyze.Options)) *worker {
	t.Helper()
	w := &worker{reg: prometheus.NewRegistry()}
	o := analyze.Options{
		Config: analyze.Default(), Cluster: c, Rulesets: analyze.Fixed{Version: "v1", Of: newEngine(t)}, Log: quiet, Registerer: w.reg,
		Box: testBox(t, 7), Checkpoints: stage.CheckpointPolicy{Every: time.Hour},
	}
	if mod != nil {
		mod(&o)
	}
	var err error
	if w.role, err = analyze.New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := w.role.Run(ctx)
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
		done <- err
	}()
	w.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = w.stop() })
	return w
}

// sum adds a metric's values over the labels whose value is given, or over all.
func sum(t *testing.T, w *worker, name, label string) float64 {
	t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0.0
	for _, f := range families {
		if f.GetName() != "vedette_analyze_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label != "" && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() != label) {
				continue
			}
			n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return n
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func firedTimes(t *testing.T, r schemas.Record) int {
	t.Helper()
	var d struct {
		Rule struct{ FiredTimes int }
	}
	if err := json.Unmarshal(r.Value, &d); err != nil {
		t.Fatal(err)
	}
	return d.Rule.FiredTimes
}

// records reads one partition of checkpoints.
func records(t *testing.T, c *kafka.Cluster, partition int) (out []schemas.Record) {
	t.Helper()
	ranges, err := c.Ranges(t.Context(), schemas.TopicCheckpoints)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Read(t.Context(), schemas.TopicCheckpoints, int32(partition), ranges[partition], func(r schemas.Record) bool {
		out = append(out, r)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func newestManifest(t *testing.T, c *kafka.Cluster) schemas.Checkpoint {
	t.Helper()
	all := records(t, c, 0)
	for i := len(all) - 1; i >= 0; i-- {
		if m, err := schemas.ParseCheckpoint("analyze", &all[i]); err == nil {
			return m
		}
	}
	t.Fatal("there is no manifest")
	return schemas.Checkpoint{}
}

func seal(rec schemas.Record, box *secret.Box) schemas.Record {
	rec.Headers = []schemas.Header{{Key: schemas.HeaderMAC, Value: box.MAC(stage.Purpose, schemas.MACInput(&rec))}}
	return rec
}

func stop(t *testing.T, w *worker) {
	t.Helper()
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
}

// ended is the result of Run, nil while it runs.
func (w *worker) ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// kill makes a worker fail at a place, and everywhere after.
type kill struct {
	mu   sync.Mutex
	at   string
	dead bool
}

func (k *kill) fault(at string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at == k.at {
		k.dead = true
	}
	if k.dead {
		return errKilled
	}
	return nil
}

// scene is a log of which a first worker judged and checkpointed two events of
// agent 001, half an hour before any later event. A re-reading of the longest
// timeframe (a minute) cannot see them.
type scene struct {
	c      *kafka.Cluster
	alerts func(n int) []schemas.Record
	p      int32 // the partition of agent 001
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{c: kafkatest.New(t)}
	in := produce(t, s.c, event("001", 0, "T ip=1.1.1.1"), event("001", 1, "T ip=1.1.1.1"))
	s.p = in[0].Partition
	w := startWith(t, s.c, nil)
	s.alerts = follow(t, s.c, schemas.TopicAlerts)
	s.alerts(2)
	stop(t, w)
	// One of the empty state before the first event, one at the stop.
	if n := sum(t, w, "checkpoints_written_total", ""); n != 2 {
		t.Fatalf("%v checkpoints were written, want 2", n)
	}
	return s
}

// third judges one more event and returns the firedtimes of its alert, which is
// 3 only for a worker that remembers the first two; extra alerts are a failure.
func (s *scene) third(t *testing.T, before int) int {
	t.Helper()
	produce(t, s.c, event("001", 1800, "T ip=1.1.1.1"))
	s.alerts(before + 1)
	time.Sleep(20 * time.Millisecond)
	got := s.alerts(before + 1)
	if len(got) != before+1 {
		t.Errorf("%d alerts, want %d", len(got), before+1)
	}
	return firedTimes(t, got[before])
}

func (s *scene) admin(t *testing.T) *kadm.Client {
	t.Helper()
	adm, err := s.c.Admin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(adm.Close)
	return adm
}

func (s *scene) commit(t *testing.T, offset int64) {
	t.Helper()
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: s.c.Topic(schemas.TopicEvents), Partition: s.p, At: offset, LeaderEpoch: -1})
	if err := s.admin(t).CommitAllOffsets(t.Context(), s.c.Topic(analyze.Group), o); err != nil {
		t.Fatal(err)
	}
}

// cut removes the records before an offset, as retention would.
func (s *scene) cut(t *testing.T, before int64) {
	t.Helper()
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: s.c.Topic(schemas.TopicEvents), Partition: s.p, At: before})
	got, err := s.admin(t).DeleteRecords(t.Context(), o)
	if err == nil {
		err = got.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, w *worker, name, label string, want float64) {
	t.Helper()
	if n := sum(t, w, name, label); n != want {
		t.Errorf("%s %s is %v, want %v", name, label, n, want)
	}
}

func TestAStoppedWorkersStateIsLoadedAndNothingIsJudgedAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := startWith(t, s.c, nil)
	if n := s.third(t, 2); n != 3 {
		t.Errorf("firedtimes is %d, want 3", n)
	}
	expect(t, w, "checkpoints_loaded_total", "", 1)
	expect(t, w, "rerun_events_total", "", 0)
	stop(t, w)
	if m := newestManifest(t, s.c); m.Offset != 3 || m.Partition != s.p || m.Slot != 0 {
		t.Errorf("the third checkpoint is %+v", m)
	}
}

func TestWithoutACheckpointTheLogIsReadAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := startWith(t, s.c, func(o *analyze.Options) { o.Box = nil })
	if n := s.third(t, 2); n != 3 {
		// Both events lie within the minute before the committed one.
		t.Errorf("firedtimes is %d, want 3", n)
	}
	expect(t, w, "rerun_events_total", "", 2)
}

func TestAKilledWorkersEventsAreJudgedAgainFromTheCheckpoint(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	k := &kill{at: stage.FaultOutput}
	first := startWith(t, s.c, func(o *analyze.Options) { o.SetFault(k.fault) })
	produce(t, s.c, event("001", 1800, "T ip=1.1.1.1"))
	s.alerts(3)
	eventually(t, "the worker dies", func() bool { k.mu.Lock(); defer k.mu.Unlock(); return k.dead })
	eventually(t, "the worker ends", func() bool { return errors.Is(first.ended(), errKilled) })
	w := startWith(t, s.c, nil)
	got := s.alerts(4) // the third once more, equal
	if !bytes.Equal(got[2].Value, got[3].Value) || firedTimes(t, got[3]) != 3 {
		t.Errorf("the repeat differs:\n%s\n%s", got[2].Value, got[3].Value)
	}
	expect(t, w, "checkpoints_loaded_total", "", 1)
}

func TestEventsBetweenCheckpointAndCommitAreJudgedSilently(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	k := &kill{at: stage.FaultClose} // commits, and writes no checkpoint
	first := startWith(t, s.c, func(o *analyze.Options) { o.SetFault(k.fault) })
	if n := s.third(t, 2); n != 3 {
		t.Errorf("firedtimes is %d", n)
	}
	stop(t, first)
	w := startWith(t, s.c, nil)
	produce(t, s.c, event("001", 1900, "T ip=1.1.1.1"))
	if n := firedTimes(t, s.alerts(4)[3]); n != 4 {
		t.Errorf("firedtimes is %d, want 4", n)
	}
	expect(t, w, "rerun_events_total", "", 1)
}

func TestACheckpointAheadOfTheCommitRepeatsNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.commit(t, 1)
	w := startWith(t, s.c, nil)
	if n := s.third(t, 2); n != 3 {
		t.Errorf("firedtimes is %d, want 3", n)
	}
	expect(t, w, "events_total", "", 1)
}

func TestWithoutACommitTheCheckpointSaysWhereToGoOn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if _, err := s.admin(t).DeleteGroup(t.Context(), s.c.Topic(analyze.Group)); err != nil {
		t.Fatal(err)
	}
	w := startWith(t, s.c, nil)
	if n := s.third(t, 2); n != 3 {
		t.Errorf("firedtimes is %d, want 3", n)
	}
	expect(t, w, "checkpoints_loaded_total", "", 1)
}

func TestACheckpointOfAnotherTopicIDIsIgnored(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	adm, name := s.admin(t), s.c.Topic(schemas.TopicEvents)
	if _, err := adm.DeleteTopic(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopic(t.Context(), kafkatest.Partitions, 1, nil, name); err != nil {
		t.Fatal(err)
	}
	w := startWith(t, s.c, nil)
	if n := s.third(t, 2); n != 1 {
		t.Errorf("firedtimes is %d, want 1 in a new log", n)
	}
	expect(t, w, "checkpoints_loaded_total", "", 0)
	if n := sum(t, w, "checkpoints_rejected_total", "other_topic") + sum(t, w, "checkpoints_rejected_total", "log_cut"); n == 0 {
		t.Error("nothing was rejected")
	}
}

func TestACheckpointOfAnotherRulesetIsIgnoredAndTheLogReadAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	w := startWith(t, s.c, func(o *analyze.Options) { o.Rulesets = analyze.Fixed{Version: "v2", Of: o.Rulesets.(analyze.Fixed).Of} })
	s.third(t, 2)
	expect(t, w, "checkpoints_rejected_total", "other_ruleset", 2)
	expect(t, w, "ruleset_gone_total", "", 1)
	expect(t, w, "rerun_events_total", "", 2)
}

func TestRetentionThatOvertookTheCheckpointLeavesItsState(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	k := &kill{at: stage.FaultClose}
	first := startWith(t, s.c, func(o *analyze.Options) { o.SetFault(k.fault) })
	s.third(t, 2)
	stop(t, first)
	s.cut(t, 3) // the third event was judged, but is in no checkpoint
	w := startWith(t, s.c, nil)
	produce(t, s.c, event("001", 1900, "T ip=1.1.1.1"))
	if n := firedTimes(t, s.alerts(4)[3]); n != 3 {
		t.Errorf("firedtimes is %d, want 3: two of the checkpoint and this one", n)
	}
	expect(t, w, "checkpoints_rejected_total", "retention_gap", 1)
	expect(t, w, "lost_events_total", "", 0)
	if err := w.role.Ready(); err != nil {
		t.Error(err)
	}
}

func TestEventsThatRetentionTookUnjudgedAreCountedAndTurnReadinessRed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	produce(t, s.c, event("001", 1700, "T ip=1.1.1.1"), event("001", 1701, "T ip=1.1.1.1"))
	s.cut(t, 4)
	w := startWith(t, s.c, nil)
	if n := s.third(t, 2); n != 3 {
		t.Errorf("firedtimes is %d, want 3", n)
	}
	expect(t, w, "lost_events_total", "", 2)
	if w.role.Ready() == nil {
		t.Error("the worker counts as ready")
	}
}

func TestAHalfWrittenCheckpointLeavesTheLastWholeOne(t *testing.T) {
	t.Parallel()
	for _, at := range []string{stage.FaultChunks, stage.FaultManifest} {
		s := newScene(t)
		k := &kill{at: at}
		first := startWith(t, s.c, func(o *analyze.Options) { o.SetFault(k.fault) })
		s.third(t, 2)
		stop(t, first)
		expect(t, first, "checkpoints_failed_total", "write", 1)
		w := startWith(t, s.c, nil)
		produce(t, s.c, event("001", 1900, "T ip=1.1.1.1"))
		if n := firedTimes(t, s.alerts(4)[3]); n != 4 {
			t.Errorf("%s: firedtimes is %d, want 4", at, n)
		}
		expect(t, w, "checkpoints_loaded_total", "", 1)
		expect(t, w, "rerun_events_total", "", 1)
	}
}

// TestABrokenCheckpointIsPassedOver writes a newer checkpoint that is broken in
// some way, and expects the older whole one to be loaded, or none where there is none.
func TestABrokenCheckpointIsPassedOver(t *testing.T) {
	t.Parallel()
	good, evil := testBox(t, 7), testBox(t, 8)
	for name, tc := range map[string]struct {
		forge  func(t *testing.T, s *scene, m schemas.Checkpoint) schemas.Record
		reason string
		dead   int
	}{
		"chunk hash": {func(_ *testing.T, _ *scene, m schemas.Checkpoint) schemas.Record {
			m.SHA256[0]++
			return seal(m.Record(), good)
		}, "chunk_hash", 0},
		"chunk cut": {func(_ *testing.T, _ *scene, m schemas.Checkpoint) schemas.Record {
			m.Bytes--
			return seal(m.Record(), good)
		}, "chunk_hash", 0},
		"chunk of another slot": {func(_ *testing.T, _ *scene, m schemas.Checkpoint) schemas.Record {
			m.Slot = 1 - m.Slot
			return seal(m.Record(), good)
		}, "chunk_missing", 0},
		"chunk beyond the end": {func(_ *testing.T, _ *scene, m schemas.Checkpoint) schemas.Record {
			m.ChunkOffsets = []int64{1000}
			return seal(m.Record(), good)
		}, "chunk_missing", 0},
		"chunk under another key": {func(t *testing.T, s *scene, m schemas.Checkpoint) schemas.Record {
			data := records(t, s.c, int(m.ChunkPartition))[0].Value
			out := produce(t, s.c, seal(m.Chunk(0, data), evil))
			m.ChunkOffsets = []int64{out[0].Offset}
			return seal(m.Record(), good)
		}, "chunk_mac", 1},
		"manifest under another key": {func(_ *testing.T, _ *scene, m schemas.Checkpoint) schemas.Record {
			return seal(m.Record(), evil)
		}, "mac", 1},
		"manifest of another partition": {func(_ *testing.T, _ *scene, m schemas.Checkpoint) schemas.Record {
			r := m.Record()
			r.Key = []byte("analyze/" + string('0'+(m.Partition+1)%3))
			return seal(r, good)
		}, "manifest", 0},
		"manifest without a MAC": {func(_ *testing.T, _ *scene, m schemas.Checkpoint) schemas.Record {
			return m.Record()
		}, "mac", 1},
		"state that is none": {func(t *testing.T, s *scene, m schemas.Checkpoint) schemas.Record {
			other := secretState(t, s, m, good)
			return other
		}, "other_form", 0},
		"offset beyond the log": {func(_ *testing.T, _ *scene, m schemas.Checkpoint) schemas.Record {
			m.Offset = 1000
			return seal(m.Record(), good)
		}, "beyond_end", 0},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			m := newestManifest(t, s.c)
			produce(t, s.c, tc.forge(t, s, m))
			w := startWith(t, s.c, nil)
			if n := s.third(t, 2); n != 3 {
				t.Errorf("firedtimes is %d, want 3", n)
			}
			if n := sum(t, w, "checkpoints_rejected_total", tc.reason); n == 0 {
				t.Errorf("no rejection by %s", tc.reason)
			}
			expect(t, w, "checkpoints_loaded_total", "", 1)
			expect(t, w, "rerun_events_total", "", 0)
			expect(t, w, "deadletter_total", "checkpoint_mac", float64(tc.dead))
			if tc.dead > 0 {
				follow(t, s.c, schemas.TopicDeadLetter)(tc.dead)
			}
		})
	}
}

// secretState makes a whole checkpoint of bytes that are no state.
func secretState(t *testing.T, s *scene, m schemas.Checkpoint, box *secret.Box) schemas.Record {
	t.Helper()
	data := []byte("no state")
	out := produce(t, s.c, seal(m.Chunk(0, data), box))
	m.ChunkOffsets, m.Bytes, m.SHA256 = []int64{out[0].Offset}, int64(len(data)), sha(data)
	return seal(m.Record(), box)
}

func TestAManifestOfAHigherEpochServesAGroupThatCountsAnew(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	m := newestManifest(t, s.c)
	m.Epoch += 1000
	produce(t, s.c, seal(m.Record(), testBox(t, 7)))
	w := startWith(t, s.c, nil)
	if n := s.third(t, 2); n != 3 {
		t.Errorf("firedtimes is %d, want 3", n)
	}
	stop(t, w)
	again := startWith(t, s.c, nil)
	produce(t, s.c, event("001", 1900, "T ip=1.1.1.1"))
	s.alerts(4)
	// The newer checkpoint counts, though its epoch is lower.
	expect(t, again, "rerun_events_total", "", 0)
}

func TestAnOlderCheckpointWrittenLateMeansMoreIsJudgedAgainAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	old := newestManifest(t, s.c)
	w := startWith(t, s.c, nil)
	s.third(t, 2)
	stop(t, w)
	produce(t, s.c, seal(old.Record(), testBox(t, 7))) // a former owner that had slept
	again := startWith(t, s.c, nil)
	produce(t, s.c, event("001", 1900, "T ip=1.1.1.1"))
	if n := firedTimes(t, s.alerts(4)[3]); n != 4 {
		t.Errorf("firedtimes is %d, want 4", n)
	}
	expect(t, again, "rerun_events_total", "", 1)
}

func TestAWorkerKilledBeforeItsFirstCheckpointIsDueLeavesNoGap(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	k := &kill{at: stage.FaultClose}
	first := startWith(t, c, func(o *analyze.Options) { o.SetFault(k.fault) })
	produce(t, c, event("001", 0, "T ip=1.1.1.1"))
	alerts := follow(t, c, schemas.TopicAlerts)
	alerts(1)
	produce(t, c, event("001", 1000, "T ip=1.1.1.1"))
	alerts(2)
	stop(t, first)
	// Re-reading a minute would not reach the first event.
	startWith(t, c, nil)
	produce(t, c, event("001", 1900, "T ip=1.1.1.1"))
	if n := firedTimes(t, alerts(3)[2]); n != 3 {
		t.Errorf("firedtimes is %d, want 3", n)
	}
}

func TestACheckpointIsDueAfterItsEventsOrItsTime(t *testing.T) {
	t.Parallel()
	for _, policy := range []stage.CheckpointPolicy{{Every: time.Nanosecond}, {Every: time.Hour, Records: 2}} {
		c := kafkatest.New(t)
		w := startWith(t, c, func(o *analyze.Options) { o.Checkpoints = policy })
		produce(t, c, event("001", 0, "T ip=1.1.1.1"), event("001", 1, "T ip=1.1.1.1"))
		eventually(t, "a second checkpoint while the worker runs", func() bool { return sum(t, w, "checkpoints_written_total", "") > 1 })
		if sum(t, w, "checkpoint_bytes_total", "") == 0 || sum(t, w, "checkpoint_seconds_total", "") == 0 {
			t.Error("its size and time are not counted")
		}
		stop(t, w)
	}
}

func TestAStateAboveTheBoundIsNotWritten(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	w := startWith(t, c, func(o *analyze.Options) { o.Checkpoints.BytesMax = 100 })
	produce(t, c, event("001", 0, "T ip=1.1.1.1"))
	follow(t, c, schemas.TopicAlerts)(1)
	stop(t, w)
	expect(t, w, "checkpoints_failed_total", "too_large", 1)
	if m := newestManifest(t, c); m.Offset != 0 {
		t.Errorf("the newest checkpoint is at %d, want that of the empty state", m.Offset)
	}
}

func sha(b []byte) [32]byte { return sha256.Sum256(b) }

func TestALargeStateIsWrittenInChunks(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	const n = 150
	recs := make([]schemas.Record, 0, n)
	for i := range n {
		recs = append(recs, event("001", i/2, "T ip=1.1.1.1 "+strings.Repeat("x", 60<<10)))
	}
	produce(t, c, recs...)
	first := startWith(t, c, nil)
	alerts := follow(t, c, schemas.TopicAlerts)
	alerts(n)
	stop(t, first)
	m := newestManifest(t, c)
	if len(m.ChunkOffsets) < 10 || m.Offset != n {
		t.Fatalf("%d chunks, %d bytes, offset %d", len(m.ChunkOffsets), m.Bytes, m.Offset)
	}
	begin := time.Now()
	w := startWith(t, c, nil)
	produce(t, c, event("001", 100, "T ip=1.1.1.1"))
	if got := firedTimes(t, alerts(n + 1)[n]); got < n/4 {
		t.Errorf("firedtimes is %d", got)
	}
	expect(t, w, "checkpoints_loaded_total", "", 1)
	expect(t, w, "rerun_events_total", "", 0)
	t.Logf("%d bytes in %d chunks, loaded in %.0f ms, judging again after %v", m.Bytes, len(m.ChunkOffsets), 1000*sum(t, w, "checkpoint_load_seconds_total", ""), time.Since(begin).Round(time.Millisecond))
}

func TestACheckpointIsLoadedAfterCompaction(t *testing.T) {
	t.Parallel()
	c, broker := kafkatest.Start(t)
	w := startWith(t, c, func(o *analyze.Options) { o.Checkpoints.Every = time.Nanosecond })
	alerts := follow(t, c, schemas.TopicAlerts)
	const n = 4
	for i := range n {
		produce(t, c, event("001", i*1000, "T ip=1.1.1.1"))
		alerts(i + 1)
		eventually(t, "a checkpoint after each event", func() bool { return sum(t, w, "checkpoints_written_total", "") >= float64(i+2) })
	}
	stop(t, w)
	before := len(records(t, c, 0))
	broker.Compact()
	if after := len(records(t, c, 0)); after >= before {
		t.Fatalf("%d manifests before compaction, %d after", before, after)
	}
	again := startWith(t, c, nil)
	produce(t, c, event("001", n*1000, "T ip=1.1.1.1"))
	alerts(n + 1)
	expect(t, again, "checkpoints_loaded_total", "", 1)
	expect(t, again, "rerun_events_total", "", 0)
}
