package analyze_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/analyze"
	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/stage"
	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// The ruleset of these tests uses all that the engine remembers: windows by rule
// and by group, counters by the hour, ignore=, check_diff, first-time-seen and
// the accumulator.
const rememberingDecoders = `<decoder name="t"><prematch>^T </prematch></decoder>
<decoder name="t1"><parent>t</parent><regex>ip=(\S+) user=(\S+)</regex><order>srcip, dstuser</order></decoder>
<decoder name="f"><type>ids</type><prematch>^F </prematch><regex>ip=(\S+)</regex><order>srcip</order><fts>name, srcip, location</fts></decoder>
<decoder name="a"><prematch>^A </prematch><accumulate/></decoder>
<decoder name="a1"><parent>a</parent><regex>id=(\S+)</regex><order>id</order><accumulate/></decoder>
<decoder name="a1"><parent>a</parent><regex>ip=(\S+)</regex><order>srcip</order><accumulate/></decoder>
<decoder name="p"><program_name>^p$</program_name></decoder>`

const rememberingRules = `<group name="test,">
<rule id="900001" level="3"><decoded_as>t</decoded_as><description>base $(srcip)</description></rule>
<rule id="900002" level="4"><if_sid>900001</if_sid><match>user=u1</match><description>u1</description><group>base,</group></rule>
<rule id="900003" level="10" frequency="3" timeframe="150"><if_matched_sid>900001</if_matched_sid><same_srcip/><description>three of $(srcip)</description></rule>
<rule id="900004" level="11" frequency="2" timeframe="200"><if_matched_group>base</if_matched_group><same_srcip/><description>again</description></rule>
<rule id="900005" level="5" ignore="40"><if_sid>900001</if_sid><match>user=root</match><description>root, seldom</description></rule>
<rule id="900006" level="7"><if_sid>900001</if_sid><match>user=diff</match><check_diff/><description>differs</description></rule>
<rule id="900010" level="3"><category>ids</category><decoded_as>f</decoded_as><description>f</description></rule>
<rule id="900011" level="8"><if_sid>900010</if_sid><if_fts/><description>first seen</description></rule>
<rule id="900020" level="3"><decoded_as>a</decoded_as><description>a $(srcip)</description></rule>
</group>`

func rememberingEngine(t *testing.T, rules string) *engine.Engine {
	t.Helper()
	p, problems, err := ruleset.Compile(ruleset.Source{
		Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(rememberingDecoders)}},
		Rules:    []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(rules)}},
	})
	if err != nil {
		t.Fatal(err, problems)
	}
	return engine.New(p, engine.Config{ManagerName: "test", Timezone: time.FixedZone("", 1800)})
}

// randomLog makes events whose times advance by hours in all, and run backwards
// now and then.
func randomLog(rnd *rand.Rand, n int) []schemas.Record {
	at := 0
	recs := make([]schemas.Record, 0, n)
	for range n {
		at += rnd.IntN(20)
		if rnd.IntN(40) == 0 {
			at += 1500
		}
		second := at
		if rnd.IntN(5) == 0 {
			second -= rnd.IntN(200)
		}
		agent := fmt.Sprintf("%03d", 1+rnd.IntN(7))
		text := fmt.Sprintf("T ip=10.0.0.%d user=%s", rnd.IntN(2), []string{"u1", "u2", "root", "diff"}[rnd.IntN(4)])
		switch rnd.IntN(6) {
		case 0:
			text = fmt.Sprintf("F ip=10.0.0.%d", rnd.IntN(30))
		case 1:
			text = fmt.Sprintf("A id=%d", rnd.IntN(3))
			if rnd.IntN(2) == 0 {
				text += fmt.Sprintf(" ip=1.1.1.%d", rnd.IntN(5))
			}
		}
		recs = append(recs, event(agent, second, text))
	}
	return recs
}

// judged waits until every event is committed and returns the alerts by document
// id. Repeats must be equal. The topic's id, which differs from broker to
// broker, reads TOPIC.
func judged(t *testing.T, c *kafka.Cluster) map[string]string {
	t.Helper()
	adm, err := c.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	eventually(t, "everything is committed", func() bool {
		commits, err := adm.FetchOffsets(t.Context(), c.Topic(analyze.Group))
		if err != nil {
			return false
		}
		ranges, err := c.Ranges(t.Context(), schemas.TopicEvents)
		if err != nil {
			return false
		}
		for p, r := range ranges {
			if o, ok := commits.Lookup(c.Topic(schemas.TopicEvents), int32(p)); r.End > 0 && (!ok || o.At != r.End) {
				return false
			}
		}
		return true
	})
	id, err := c.TopicID(t.Context(), schemas.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	ranges, err := c.Ranges(t.Context(), schemas.TopicAlerts)
	if err != nil {
		t.Fatal(err)
	}
	docs, repeats := map[string]string{}, 0
	for p, r := range ranges {
		err := c.Read(t.Context(), schemas.TopicAlerts, int32(p), r, func(rec schemas.Record) bool {
			a, err := schemas.ParseAlert(&rec)
			if err != nil {
				t.Error(err)
				return false
			}
			key, doc := strings.ReplaceAll(a.ID, id, "TOPIC"), strings.ReplaceAll(string(a.Document), id, "TOPIC")
			if old, ok := docs[key]; ok {
				repeats++
				if old != doc {
					t.Errorf("a repeat of %s differs:\n%s\n%s", key, old, doc)
				}
			}
			docs[key] = doc
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d alerts, %d repeats", len(docs), repeats)
	return docs
}

func remembering(t *testing.T) func(*analyze.Options) {
	e := rememberingEngine(t, rememberingRules)
	return func(o *analyze.Options) { o.Rulesets = analyze.Fixed{Version: "v1", Of: e} }
}

// uninterrupted returns one worker's alerts of a log.
func uninterrupted(t *testing.T, recs []schemas.Record, partitions int) map[string]string {
	t.Helper()
	c := kafkatest.NewWith(t, partitions)
	produce(t, c, recs...)
	w := startWith(t, c, func(o *analyze.Options) { remembering(t)(o); o.Box = nil })
	docs := judged(t, c)
	stop(t, w)
	return docs
}

// interrupted returns the alerts of workers that come, go and die at random
// places while the log grows, with checkpoints at random moments. rules sets the
// rulesets they judge by; between is called now and then.
func interrupted(t *testing.T, c *kafka.Cluster, rnd *rand.Rand, recs []schemas.Record, rules func(*analyze.Options), between func()) map[string]string {
	t.Helper()
	var workers []*worker
	kills, stops := 0, 0
	begin := func(mortal bool) {
		policy := stage.CheckpointPolicy{Every: time.Hour, Records: 1 + rnd.IntN(60)}
		if rnd.IntN(4) == 0 {
			policy.Records = 0
		}
		left := rnd.IntN(120)
		places := []string{
			stage.FaultProcessed, stage.FaultOutput, stage.FaultChunks, stage.FaultManifest, stage.FaultClose,
			stage.FaultChange, stage.FaultChanged,
		}
		place := places[rnd.IntN(len(places))]
		if place != stage.FaultProcessed {
			left /= 20
		}
		k := &kill{}
		workers = append(workers, startWith(t, c, func(o *analyze.Options) {
			rules(o)
			o.Checkpoints = policy
			if mortal {
				o.SetFault(func(at string) error {
					k.mu.Lock()
					defer k.mu.Unlock()
					if at == place {
						left--
					}
					if left < 0 {
						return errKilled
					}
					return nil
				})
			}
		}))
	}
	for len(recs) > 0 || len(workers) == 0 {
		switch n := rnd.IntN(4); {
		case len(workers) == 0 || n == 0 && len(workers) < 3:
			begin(true)
		case n == 1:
			i := rnd.IntN(len(workers))
			if err := workers[i].stop(); err != nil {
				kills++
			} else {
				stops++
			}
			workers = slices.Delete(workers, i, i+1)
		default:
			n := min(len(recs), 1+rnd.IntN(60))
			produce(t, c, recs[:n]...)
			recs = recs[n:]
			time.Sleep(time.Duration(rnd.IntN(80)) * time.Millisecond)
		}
		between()
	}
	for _, w := range workers {
		if w.stop() != nil {
			kills++
		} else {
			stops++
		}
	}
	workers = nil
	begin(false)
	docs := judged(t, c)
	t.Logf("%d workers stopped, %d killed; the last loaded %v checkpoints", stops, kills, sum(t, workers[0], "checkpoints_loaded_total", ""))
	stop(t, workers[0])
	return docs
}

func TestAlertsDoNotDependOnWorkersAndTheirDeaths(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 44))
			partitions := []int{1, 3, 12, 3}[seed]
			recs := randomLog(rnd, 400)
			want, got := uninterrupted(t, recs, partitions), interrupted(t, kafkatest.NewWith(t, partitions), rnd, recs, remembering(t), func() {})
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("seed %d (-uninterrupted +interrupted):\n%s", seed, d)
			}
			all := strings.Join(slices.Collect(maps.Values(want)), "\n")
			for _, id := range []string{"900001", "900003", "900004", "900005", "900006", "900010", "900011", "900020"} {
				if !strings.Contains(all, `"id":"`+id+`"`) {
					t.Errorf("rule %s never fired: the test shows nothing about it", id)
				}
			}
		})
	}
}

func TestAlertsDoNotDependOnTheNumberOfPartitions(t *testing.T) {
	t.Parallel()
	recs := randomLog(rand.New(rand.NewPCG(9, 44)), 400)
	var want []string
	for _, partitions := range []int{1, 3, 12} {
		var got []string
		for _, doc := range uninterrupted(t, recs, partitions) {
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
			got = append(got, string(b))
		}
		slices.Sort(got)
		if want == nil {
			want = got
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d partitions:\n%s", partitions, d)
		}
	}
}

// several are versions of a ruleset; each worker runs the version it learned of
// last.
type several struct {
	engines map[string]*engine.Engine
	mu      sync.Mutex
	current string
}

func (s *several) Ready() <-chan struct{} { return analyze.Fixed{}.Ready() }

func (s *several) Current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

func (s *several) Engine(_ context.Context, version string) (*engine.Engine, error) {
	if e := s.engines[version]; e != nil {
		return e, nil
	}
	return nil, analyze.ErrRulesetGone
}

// activations reads which rulesets judge each partition.
func activations(t *testing.T, c *kafka.Cluster) map[int32][]schemas.RulesetChange {
	t.Helper()
	ranges, err := c.Ranges(t.Context(), schemas.TopicCheckpoints)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int32][]schemas.RulesetChange{}
	err = c.Read(t.Context(), schemas.TopicCheckpoints, 0, ranges[0], func(rec schemas.Record) bool {
		if p, ok := schemas.RulesetActivationOf(rec.Key); ok {
			a, err := schemas.ParseRulesetActivation(&rec)
			if err != nil {
				t.Error(err)
			}
			out[p] = a.Changes
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// walked returns the alerts of the log under the rulesets that are written for
// its partitions, worked out without workers.
func walked(t *testing.T, c *kafka.Cluster, engines map[string]*engine.Engine, changes map[int32][]schemas.RulesetChange) map[string]string {
	t.Helper()
	ranges, err := c.Ranges(t.Context(), schemas.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	for p, r := range ranges {
		var e *engine.Engine
		var state *engine.Keyed
		version, next := "", changes[int32(p)]
		err := c.Read(t.Context(), schemas.TopicEvents, int32(p), r, func(rec schemas.Record) bool {
			for len(next) > 0 && next[0].Offset <= rec.Offset {
				version, next, e = next[0].Version, next[1:], engines[next[0].Version]
				if state == nil {
					state = e.NewState()
				} else {
					state = e.Adopt(state)
				}
			}
			ev, err := schemas.ParseEvent(&rec)
			if err != nil {
				t.Fatal(err)
			}
			if res := e.Process(state, &ev); res.Alert {
				vedette := fmt.Sprintf(`{"topic_id":"TOPIC","partition":%d,"offset":%d,"n":0,"ruleset":"%s","gateway":"g"}`, p, rec.Offset, version)
				id := schemas.AlertID(rec.Timestamp, rec.Partition, rec.Offset, 0)
				docs[schemas.AlertDocID("TOPIC", rec.Partition, rec.Offset, 0)] = string(res.AppendAlert(nil, id, []byte(vedette)))
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return docs
}

// The log, and the places where the partitions changed their rulesets, decide
// the alerts. Which workers judge, die and start makes no difference.
func TestAlertsFollowFromTheLogAndTheChangesOfTheRuleset(t *testing.T) {
	t.Parallel()
	engines := map[string]*engine.Engine{
		"v1": rememberingEngine(t, rememberingRules),
		"v2": rememberingEngine(t, `<group name="new,"><rule id="800000" level="6"><category>ids</category><match>10.0.0.7</match><description>another</description></rule></group>`+
			strings.ReplaceAll(rememberingRules, `level="4"`, `level="6"`)),
		"v3": rememberingEngine(t, strings.ReplaceAll(rememberingRules, `<rule id="900004" level="11" frequency="2"`, `<rule id="900004" level="12" frequency="4"`)),
	}
	var changed atomic.Int64
	t.Cleanup(func() {
		if changed.Load() == 0 {
			t.Error("the ruleset never changed: the test shows nothing")
		}
	})
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 45))
			partitions := []int{1, 3, 3, 12}[seed]
			c := kafkatest.NewWith(t, partitions)
			var all []*several // one per worker, since workers learn of a version at different times
			told := "v1"
			got := interrupted(t, c, rnd, randomLog(rnd, 400), func(o *analyze.Options) {
				s := &several{engines: engines, current: told}
				all = append(all, s)
				o.Rulesets = s
			}, func() {
				if rnd.IntN(3) == 0 {
					told = fmt.Sprint("v", 1+rnd.IntN(3))
				}
				for _, s := range all {
					if rnd.IntN(2) == 0 {
						s.mu.Lock()
						s.current = told
						s.mu.Unlock()
					}
				}
			})
			changes := activations(t, c)
			for _, list := range changes {
				changed.Add(int64(len(list) - 1))
			}
			if d := cmp.Diff(walked(t, c, engines, changes), got); d != "" {
				t.Errorf("seed %d (-log and changes +workers):\n%s", seed, d)
			}
		})
	}
}
