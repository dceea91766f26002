package engine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// windowRules count over times from half a minute to two hours, and events of one
// rule enter histories with several of these.
const windowRules = `<group name="test,">
<rule id="900001" level="3"><decoded_as>t</decoded_as><description>base</description><group>often,</group></rule>
<rule id="900002" level="4"><if_sid>900001</if_sid><field name="extra.x">^9</field><description>nine</description><group>nine,often,</group></rule>
<rule id="900003" level="4"><if_sid>900001</if_sid><match>user=root</match><description>root</description></rule>
<rule id="900010" level="10" frequency="4" timeframe="30"><if_matched_group>often</if_matched_group><same_srcip/><description>often</description></rule>
<rule id="900011" level="11" frequency="3" timeframe="600"><if_matched_group>nine</if_matched_group><same_field>extra.x</same_field><different_user/><description>nines</description></rule>
<rule id="900012" level="12" frequency="9" timeframe="7200"><if_matched_sid>900003</if_matched_sid><same_srcip/><description>root over hours</description></rule>
</group>`

func windowEngine(t *testing.T, limits engine.Limits) *engine.Engine {
	t.Helper()
	src := snapshotSource()
	src.Rules = []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(windowRules)}}
	return engine.New(compile(t, src), engine.Config{ManagerName: "m", Limits: limits})
}

// An event may only be forgotten when no rule can count it any more.
func TestEventsOfShortWindowsAreForgottenWithoutAnyDifference(t *testing.T) {
	t.Parallel()
	short, long := windowEngine(t, engine.Limits{}), windowEngine(t, engine.Limits{})
	long.KeepAllAlike()
	fired := map[int]int{}
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		a, b := short.NewState(), long.NewState()
		at := time.Date(2026, 11, 22, 10, 50, 0, 0, time.UTC)
		for i := range 2000 {
			at = at.Add(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
			user := []string{"root", "u1", "u2", "u3"}[rnd.IntN(4)]
			ev := schemas.Event{Time: at, AgentID: "001", Location: "/x", Queue: '1', Log: fmt.Appendf(nil, "T ip=10.0.0.%d user=%s x=%d", rnd.IntN(3), user, 7+rnd.IntN(3))}
			x, y := short.Process(a, &ev), long.Process(b, &ev)
			if p, q := x.AppendAlert(nil, "1.1", nil), y.AppendAlert(nil, "1.1", nil); x.Alert != y.Alert || !bytes.Equal(p, q) {
				t.Fatalf("seed %d, event %d is judged otherwise when less is kept:\n%s\n%s", seed, i, p, q)
			}
			fired[x.RuleID]++
		}
		if n, all := a.Remembered("001"), b.Remembered("001"); n >= all*3/4 {
			t.Errorf("seed %d: %d events are kept, %d if all were kept as long: nothing was forgotten early", seed, n, all)
		}
	}
	for _, id := range []int{900010, 900011, 900012} {
		if fired[id] == 0 {
			t.Errorf("rule %d never fired: the test shows nothing about it", id)
		}
	}
}

// With little room, states that are written and read must drop the same events.
func TestWindowsOfSeveralKindsSurviveASnapshot(t *testing.T) {
	t.Parallel()
	for _, limits := range []engine.Limits{{}, {Events: 12}, {EventBytes: 16 << 10}} {
		e := windowEngine(t, limits)
		for seed := range uint64(6) {
			rnd := rand.New(rand.NewPCG(seed, 9))
			sameAfterRestore(t, e, snapshotEvents(rnd, 800), rnd, 12)
		}
	}
}

// A history whose rule fires no more must not keep the memory of its events.
func TestDroppedEventsLeaveTheirHistories(t *testing.T) {
	t.Parallel()
	e := windowEngine(t, engine.Limits{Events: 50})
	s := e.NewState()
	at := time.Date(2026, 11, 22, 10, 50, 0, 0, time.UTC)
	process := func(user string, n int) {
		for range n {
			at = at.Add(time.Millisecond)
			e.Process(s, &schemas.Event{Time: at, AgentID: "001", Location: "/x", Queue: '1', Log: fmt.Appendf(nil, "T ip=10.0.0.1 user=%s x=7", user)})
		}
	}
	process("root", 40)
	process("u1", 60)
	if n, most := s.HeldByHistories("001"), s.Remembered("001"); most != 50 || n > most {
		t.Errorf("%d events are remembered, 50 were expected; histories keep %d", most, n)
	}
}
