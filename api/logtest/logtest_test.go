package logtest

import (
	"testing"
	"time"

	"vedette/ruleset"
	"vedette/ruleset/engine"
)

func TestLogtestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	p, problems, err := ruleset.Compile(ruleset.Source{Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(`<decoder name="door"><program_name>^door$</program_name></decoder><decoder name="gate"><prematch>^gate </prematch></decoder>`)}}})
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	start := time.Now()
	l, e := &logtests{}, engine.New(p, engine.Config{ManagerName: "siem", Logtest: true})
	open := func(at time.Time) string {
		x, err := l.open("ann", e, at)
		if err != nil {
			t.Fatal(err)
		}
		return x.token
	}
	first, second := open(start), open(start.Add(time.Second))
	for i := range logtestSessions - 2 {
		open(start.Add(time.Minute + time.Duration(i)))
	}
	if l.find(first, "ann", start.Add(2*time.Minute)) == nil {
		t.Error("the first session is gone too early")
	}
	open(start.Add(2 * time.Minute))
	if l.find(first, "ann", start.Add(2*time.Minute)) == nil || l.find(second, "ann", start.Add(2*time.Minute)) != nil || len(l.sessions) != logtestSessions {
		t.Errorf("not the one used longest ago made room; %d sessions", len(l.sessions))
	}
	if l.find(first, "ann", start.Add(2*time.Minute+logtestIdle+1)) != nil || len(l.sessions) != 0 {
		t.Errorf("%d sessions outlive their time", len(l.sessions))
	}
}
