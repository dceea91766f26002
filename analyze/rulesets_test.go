package analyze_test

import (
	"strings"
	"testing"

	"vedette/analyze"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/stage"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

func TestANewRulesetAppliesToWhatComesNext(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	rules := &several{current: "v1", engines: map[string]*engine.Engine{
		"v1": rememberingEngine(t, rememberingRules),
		"v2": rememberingEngine(t, strings.ReplaceAll(rememberingRules, "three of", "thrice")),
	}}
	w := startWith(t, c, func(o *analyze.Options) { o.Rulesets = rules })
	alerts := follow(t, c, schemas.TopicAlerts)
	in := produce(t, c, event("001", 0, "T ip=1.1.1.1 user=x"), event("001", 1, "T ip=1.1.1.1 user=x"))
	alerts(2)
	expect(t, w, "ruleset_partitions", "v1", 1)
	rules.mu.Lock()
	rules.current = "v2"
	rules.mu.Unlock()
	produce(t, c, event("001", 2, "T ip=1.1.1.1 user=x"))
	last := string(alerts(3)[2].Value)
	// The two events before it were remembered by the ruleset before.
	if !strings.Contains(last, "thrice 1.1.1.1") || !strings.Contains(last, `"ruleset":"v2"`) {
		t.Error(last)
	}
	expect(t, w, "ruleset_partitions", "v2", 1)
	expect(t, w, "ruleset_partitions", "v1", 0)
	expect(t, w, "ruleset_changes_total", "", 1)
	got := activations(t, c)[in[0].Partition]
	if len(got) != 2 || got[0] != (schemas.RulesetChange{Offset: in[0].Offset, Version: "v1"}) || got[1] != (schemas.RulesetChange{Offset: in[0].Offset + 2, Version: "v2"}) {
		t.Errorf("%+v", got)
	}
	stop(t, w)
}

// Records under another key say nothing about which ruleset judges.
func TestAnActivationUnderAnotherKeyIsNotObeyed(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	id, err := c.TopicID(t.Context(), schemas.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(kafkatest.Partitions) {
		forged := schemas.RulesetActivation{
			Topic: schemas.TopicEvents, TopicID: id, Partition: p, Changes: []schemas.RulesetChange{{Offset: 0, Version: "v2"}},
		}
		rec := forged.Record()
		rec.Headers = []schemas.Header{{Key: schemas.HeaderMAC, Value: testBox(t, 9).MAC(stage.Purpose, schemas.MACInput(&rec))}}
		produce(t, c, rec)
	}
	rules := &several{current: "v1", engines: map[string]*engine.Engine{
		"v1": rememberingEngine(t, rememberingRules), "v2": rememberingEngine(t, strings.ReplaceAll(rememberingRules, "base", "forged")),
	}}
	w := startWith(t, c, func(o *analyze.Options) { o.Rulesets = rules })
	alerts := follow(t, c, schemas.TopicAlerts)
	produce(t, c, event("001", 0, "T ip=1.1.1.1 user=x"))
	if last := string(alerts(1)[0].Value); !strings.Contains(last, `"ruleset":"v1"`) {
		t.Error(last)
	}
	expect(t, w, "checkpoints_rejected_total", "mac", 3)
	stop(t, w)
}
