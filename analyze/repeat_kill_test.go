package analyze_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/analyze"
	"vedette/internal/kafka/kafkatest"
	"vedette/schemas"
)

// crashed makes a log as sources leave it that die and write their last events
// again, and the same log without the repeats.
func crashed(rnd *rand.Rand, n int) (log, once []schemas.Record) {
	streams := make([][]schemas.Record, 3)
	for i, rec := range randomLog(rnd, n) {
		once = append(once, rec)
		if rnd.IntN(4) == 0 { // an agent's event
			log = append(log, rec)
			continue
		}
		s := rnd.IntN(len(streams))
		rec.Headers = append(slices.Clone(rec.Headers), schemas.Header{Key: schemas.HeaderEventID, Value: fmt.Appendf(nil, "T/%d/%d", s, i)})
		streams[s] = append(streams[s], rec)
		log = append(log, rec)
		if rnd.IntN(15) == 0 {
			s := streams[rnd.IntN(len(streams))]
			log = append(log, s[len(s)-min(len(s), 1+rnd.IntN(30)):]...)
		}
	}
	return log, once
}

// contents are alerts without the parts that depend on the places of their
// events.
func contents(t *testing.T, docs map[string]string) (out []string) {
	t.Helper()
	for doc := range maps.Values(docs) {
		var d map[string]any
		if err := json.Unmarshal([]byte(doc), &d); err != nil {
			t.Fatal(err)
		}
		delete(d, "id")
		delete(d, "vedette")
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	slices.Sort(out)
	return out
}

func TestRepeatsOfASourceChangeNoAlertWhoeverDies(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 46))
			log, once := crashed(rnd, 300)
			if len(log) < len(once)+50 {
				t.Fatalf("only %d repeats", len(log)-len(once))
			}
			partitions := []int{1, 3, 12}[seed]
			want := contents(t, uninterrupted(t, once, partitions))
			straight := uninterrupted(t, log, partitions)
			if d := cmp.Diff(want, contents(t, straight)); d != "" {
				t.Errorf("seed %d (-without repeats +with):\n%s", seed, d)
			}
			if d := cmp.Diff(straight, interrupted(t, kafkatest.NewWith(t, partitions), rnd, log, remembering(t), func() {})); d != "" {
				t.Errorf("seed %d (-uninterrupted +interrupted):\n%s", seed, d)
			}
		})
	}
}

func TestRepeatsAreCountedAndRememberedOverAStop(t *testing.T) {
	t.Parallel()
	c := kafkatest.NewWith(t, 1)
	rec := func(n int) schemas.Record {
		r := event("001", n, "T ip=10.0.0.1 user=u1")
		r.Headers = append(r.Headers, schemas.Header{Key: schemas.HeaderEventID, Value: fmt.Appendf(nil, "T/0/%d", n)})
		return r
	}
	start := func(t *testing.T) *worker {
		return startWith(t, c, func(o *analyze.Options) { remembering(t)(o) })
	}
	produce(t, c, rec(1), rec(2), rec(2), rec(3))
	w := start(t)
	if docs := judged(t, c); len(docs) != 3 {
		t.Errorf("%d alerts", len(docs))
	}
	if n := sum(t, w, "repeated_events_total", ""); n != 1 {
		t.Errorf("%v repeats", n)
	}
	stop(t, w)
	produce(t, c, rec(2), rec(3), rec(4))
	w = start(t)
	if docs := judged(t, c); len(docs) != 4 {
		t.Errorf("%d alerts", len(docs))
	}
	if n := sum(t, w, "repeated_events_total", ""); n != 2 {
		t.Errorf("%v repeats", n)
	}
	stop(t, w)
}
