package rulesettest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset"
	"vedette/ruleset/engine"
)

const ini = `; a comment
[door opened]
log 1 pass = Nov 22 01:00:00 h door: opened
log 2 fail = Nov 22 01:00:00 h door: closed
rule = 100001
alert = 3
decoder = door

[often]
log 1 pass = Nov 22 01:00:00 h door: opened
log 1 pass = Nov 22 01:00:00 h door: opened
rule = 100002
alert = 8
decoder = door

[nothing]
log 1 fail = x = y
rule =
alert =
decoder =
`

func TestRun(t *testing.T) {
	t.Parallel()
	p, _, err := ruleset.Compile(ruleset.Source{
		Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(`<decoder name="door"><program_name>^door$</program_name></decoder>
			<decoder name="gate"><prematch>^gate </prematch></decoder>`)}},
		Rules: []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(`<group name="door,">
			<rule id="100001" level="3"><decoded_as>door</decoded_as><match>opened</match><description>d</description></rule>
			<rule id="100002" level="8" frequency="2"><if_matched_sid>100001</if_matched_sid><description>d</description></rule></group>`)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := Parse("door.ini", []byte(ini))
	if err != nil {
		t.Fatal(err)
	}
	eng := engine.New(p, engine.Config{Logtest: true})
	now := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	var got []Outcome
	for i := range entries {
		o := Run(eng, &entries[i], now)
		got = append(got, o)
		if !entries[i].Holds(o) {
			t.Errorf("%+v: %+v", entries[i], o)
		}
	}
	want := []Outcome{{"100001", "3", "door"}, {"", "", "door"}, {"100002", "8", "door"}, {}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if bad := (Entry{Pass: true, Want: Outcome{"1", "2", "x"}}); bad.Holds(Outcome{"1", "2", "y"}) {
		t.Error("a pass entry holds with another decoder")
	}
	if bad := (Entry{Want: Outcome{"1", "2", "x"}}); bad.Holds(bad.Want) {
		t.Error("a fail entry holds with what must not come out")
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"rule = 1", "[s]\nno value", "[s]\nlog 1 maybe = x", "[s]\ncolour = red"} {
		if _, err := Parse("x.ini", []byte(in)); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(ini))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = Parse("x.ini", data) })
}
