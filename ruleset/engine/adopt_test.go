package engine_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// edited is the ruleset of the snapshot tests with other files beside its own.
func edited(decoders, rules string) ruleset.Source {
	s := snapshotSource()
	if decoders != "" {
		s.Decoders = append([]ruleset.File{{Name: "a.xml", Path: "a.xml", Data: []byte(decoders)}}, s.Decoders...)
	}
	s.Rules = append([]ruleset.File{{Name: "a.xml", Path: "a.xml", Data: []byte(rules)}}, s.Rules...)
	return s
}

func snapshot(t *testing.T, s *engine.Keyed) []byte {
	t.Helper()
	b, err := s.AppendSnapshot(nil, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAdoptingFromTheSameRulesetChangesNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		e := engine.New(compile(t, snapshotSource()), engine.Config{ManagerName: "m"})
		s := e.NewState()
		for _, ev := range snapshotEvents(rand.New(rand.NewPCG(seed, 7)), 500) {
			e.Process(s, &ev)
		}
		want := snapshot(t, s)
		if got := snapshot(t, e.Adopt(s)); !bytes.Equal(want, got) {
			t.Errorf("seed %d: the state differs", seed)
		}
	}
}

// The other ruleset numbers rules, fields and histories otherwise, and decides
// nothing else about these events.
func TestUnchangedRulesKeepTheirStateOverAChange(t *testing.T) {
	t.Parallel()
	one := engine.New(compile(t, snapshotSource()), engine.Config{ManagerName: "m"})
	two := engine.New(compile(t, edited(
		`<decoder name="z"><prematch>^Z </prematch></decoder>`,
		`<group name="first,"><rule id="800001" level="3"><decoded_as>z</decoded_as><field name="aa.bb">x</field><description>z</description></rule>
		<rule id="800002" level="9" frequency="2" timeframe="100"><if_matched_group>first</if_matched_group><same_field>aa.cc</same_field><description>zz</description></rule></group>`,
	)), engine.Config{ManagerName: "m"})
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 8))
		events := snapshotEvents(rnd, 600)
		whole, changing := two.NewState(), one.NewState()
		e, other := one, two
		changes := map[int]bool{rnd.IntN(600): true, rnd.IntN(600): true, rnd.IntN(600): true}
		fired := 0
		for i := range events {
			if changes[i] {
				e, other = other, e
				changing = e.Adopt(changing)
			}
			x, y := two.Process(whole, &events[i]), e.Process(changing, &events[i])
			want, got := x.AppendAlert(nil, "1.1", nil), y.AppendAlert(nil, "1.1", nil)
			if x.Alert != y.Alert || !bytes.Equal(want, got) {
				t.Fatalf("seed %d, event %d (%s) is judged otherwise:\n%s\n%s", seed, i, events[i].Log, want, got)
			}
			if x.Alert && len(changes) > 0 {
				fired++
			}
		}
		if fired == 0 {
			t.Error("nothing alerted: the test shows nothing")
		}
	}
}

func TestTheStateOfARuleThatGoesIsForgotten(t *testing.T) {
	t.Parallel()
	rules := func(x string) ruleset.Source {
		return ruleset.Source{
			Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(snapshotDecoders)}},
			Rules:    []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(`<group name="test,">` + x + `</group>`)}},
		}
	}
	const base = `<rule id="900001" level="3"><decoded_as>t</decoded_as><description>base</description></rule>`
	const child = `<rule id="900002" level="4"><if_sid>900001</if_sid><match>user=u1</match><description>u1</description></rule>`
	const composite = `<rule id="900003" level="10" frequency="2" timeframe="60"><if_matched_sid>900002</if_matched_sid><description>two</description></rule>`
	with := engine.New(compile(t, rules(base+child+composite)), engine.Config{})
	without := engine.New(compile(t, rules(base)), engine.Config{})
	louder := engine.New(compile(t, rules(base+`<rule id="900002" level="8"><if_sid>900001</if_sid><match>user=u1</match><description>louder</description></rule>`+composite)), engine.Config{})
	ev := snapshotEvents(rand.New(rand.NewPCG(1, 1)), 1)[0]
	ev.Log = []byte("T ip=1.1.1.1 user=u1 x=1")
	f := func(next []*engine.Engine, want int) {
		t.Helper()
		s := with.NewState()
		with.Process(s, &ev)
		var res *engine.Result
		for _, e := range next {
			s = e.Adopt(s)
			res = e.Process(s, &schemas.Event{Time: ev.Time, AgentID: ev.AgentID, AgentName: ev.AgentName, Location: ev.Location, Queue: '1', Log: ev.Log})
		}
		if res.RuleID != want {
			t.Errorf("rule %d, want %d", res.RuleID, want)
		}
	}
	f([]*engine.Engine{with}, 900003)
	f([]*engine.Engine{louder}, 900003) // a changed rule keeps its remembered events
	f([]*engine.Engine{without}, 900001)
	f([]*engine.Engine{without, with}, 900002)
}
