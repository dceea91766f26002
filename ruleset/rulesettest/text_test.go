package rulesettest

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
)

func doorProgram(t testing.TB) *program.Program {
	t.Helper()
	p, problems, err := ruleset.Compile(ruleset.Source{
		Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(`<decoder name="door"><program_name>^door$</program_name></decoder>
			<decoder name="door-open"><parent>door</parent><prematch>opened</prematch><regex>by (\S+) id=(\S+) x=(\S*)</regex><order>srcuser, id, door.x</order></decoder>
			<decoder name="json"><prematch>^{</prematch><plugin_decoder>JSON_Decoder</plugin_decoder></decoder>`)}},
		Rules: []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(`<group name="door,shut,">
			<rule id="100001" level="3"><decoded_as>door</decoded_as><description>By $(srcuser).</description><mitre><id>T1110</id></mitre></rule>
			<rule id="100002" level="8" frequency="3" timeframe="60"><if_matched_sid>100001</if_matched_sid><description>d</description></rule>
			<rule id="100003" level="0"><decoded_as>json</decoded_as><description>d</description></rule>
			<rule id="100004" level="5"><if_sid>100003</if_sid><field name="a.b">x</field><description>d</description></rule></group>`)}},
	})
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	return p
}

// run gives the differences of all tests of a text.
func run(t *testing.T, text string, cov *Coverage) (results []Result, diffs []string) {
	t.Helper()
	tests, err := ParseFile("x.test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	eng := engine.New(doorProgram(t), engine.Config{ManagerName: "manager", Logtest: true})
	for i := range tests {
		r := RunTest(eng, &tests[i], cov)
		results = append(results, r)
		for _, f := range r.Failures {
			diffs = append(diffs, f.Diffs...)
		}
	}
	return results, diffs
}

const opened = "log: Nov 22 01:00:00 h door: opened by ann id=7 x=\n"

func TestExpectations(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"all holds", opened + `expect: rule=100001 level=3 decoder=door parent=door alert=true srcuser=ann id=7 door.x= ` +
			`description="By ann." groups=door,shut rule.mitre.id=T1110 firedtimes=1 mail=false program_name=door hostname=h predecoder.timestamp="Nov 22 01:00:00" location=stdin agent.id=000 nope=""`, nil},
		{"differs", opened + "expect: rule=none level=4 srcuser!=ann nope=1 description=x", []string{
			"rule         want none, got 100001", "level        want 4, got 3", "srcuser      must not be ann",
			"nope         want 1, got none", `description  want x, got "By ann."`,
		}},
		{"names in data", `log: {"a":{"b":"x y","n":[1,"z",null],"t":true,"s":["p","q"],"o":[{"k":1}]},"level":"low"}` + "\n" +
			`expect: rule=100004 a.b="x y" A.B="x y" data.level=low level=5 a.n="[1,\"z\",null]" a.t=true a.s=p,q a.o="[{\"k\":1}]"`, nil},
		{"nothing", "log: hello\nexpect: rule=none decoder=none alert=false level=", nil},
		{"level 0", "log: {}\nexpect: rule=100003 level=0 alert=false", nil},
		{"state within a block", strings.Repeat(opened, 3) + "expect: rule=100002", nil},
		{"not beyond it", opened + opened + "expect: rule=100001\n\n" + opened + "expect: rule=100001", nil},
		{"fresh", opened + opened + "fresh\n" + opened + "expect: rule=100001", nil},
		{"wait", opened + opened + "wait: 61s\n" + opened + "expect: rule=100001", nil},
		{"wait not enough", opened + "wait: 30s\n" + opened + "wait: 30s\n" + opened + "expect: rule=100002", nil},
		{"agents", "agent: 001 a\n" + opened + opened + "agent: 002 b 10.0.0.1\nlocation: /l\n" + opened + "expect: rule=100001 agent.id=002 agent.name=b agent.ip=10.0.0.1 location=/l", nil},
		{"time", "time: 2026-02-01T10:00:00+01:00\n" + opened + "expect: timestamp=x", []string{`timestamp    want x, got "Nov 22 01:00:00"`}},
		{"queue", "queue: 5\n" + opened + "expect: rule=none", nil},
		{"rejected", "location: [001\n" + opened + "expect: rule=none", []string{"the location is malformed, the event was not judged"}},
		{"windows line ends", strings.ReplaceAll(opened+"expect: rule=100001\n", "\n", "\r\n"), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, got := run(t, tc.text, nil)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseText(t *testing.T) {
	t.Parallel()
	tests, err := ParseText("x.txt", []byte("# Alone.\n\n# Named.\n# More.\nlog:  two blanks  \nwait: 5s\nlog: b\nexpect: rule=1\n\n\nlog: c\nexpect: rule=2"))
	if err != nil {
		t.Fatal(err)
	}
	if len(tests) != 2 || tests[0].Name != "Named." || tests[0].Line != 5 || tests[1].Name != "line 11" {
		t.Fatalf("%+v", tests)
	}
	s := tests[0].Steps
	if string(s[0].Event.Log) != " two blanks  " || s[1].Line != 7 || s[1].Event.Time != Start.Add(5*time.Second) {
		t.Errorf("%+v", s)
	}
	if Start.Weekday() != time.Monday {
		t.Error(Start.Weekday())
	}
}

func TestParseTextErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"colour: red":                       "x.txt:1: unknown key",
		"log: x":                            "x.txt:1: the block has no expect: line",
		"fresh":                             "x.txt:1: the block has no log: line",
		"expect: rule=1":                    "expect: stands before any log:",
		"log: x\nexpect:":                   "x.txt:2: expect: says nothing",
		"log: x\nexpect: rule":              "not name=value",
		"log: x\nexpect: =1":                "has no name",
		"log: x\nexpect: a=\"b":             "no closing quote",
		"log: x\nexpect: a=\"b\"c":          "no blank after the value of a",
		"log: x\nexpect: alert=yes":         "choose true or false",
		"agent: 001":                        "takes an id, a name",
		"agent: web1 001":                   "is no number",
		"queue: 12":                         "exactly one character",
		"time: noon":                        "is not like",
		"wait: -5s":                         "is not a time like",
		"hello":                             "neither",
		"log: x\nexpect: a=1\n\nlag: y\nz:": "x.txt:5: unknown key",
	} {
		if _, err := ParseText("x.txt", []byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestINIFails(t *testing.T) {
	t.Parallel()
	tests, err := ParseFile("x.INI", []byte("[s]\nlog 1 pass = {}\nlog 2 fail = {\"a\":{\"b\":\"x\"}}\nrule = 100004\nalert = 5\ndecoder = json\n"))
	if err != nil {
		t.Fatal(err)
	}
	eng := engine.New(doorProgram(t), engine.Config{Logtest: true})
	var out bytes.Buffer
	var results []Result
	for i := range tests {
		r := RunTest(eng, &tests[i], nil)
		results = append(results, r)
		if err := r.Write(&out); err != nil {
			t.Fatal(err)
		}
	}
	want := `FAIL x.INI:2: s / log 1 pass
  x.INI:2: {}
    rule         want 100004, got 100003
    level        want 5, got 0
FAIL x.INI:3: s / log 2 fail
  x.INI:3: {"a":{"b":"x"}}
    must not give rule 100004, level 5, decoder json
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	if err := WriteJUnit(&out, results); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, `<testsuites tests="2" failures="2">`) || !strings.Contains(s, `name="s / log 1 pass"`) {
		t.Error(s)
	}
}

func TestJUnitIsXML(t *testing.T) {
	t.Parallel()
	results, _ := run(t, "# <a> & \x01\nlog: \x02\xff<b>\nexpect: rule=1\n\n"+opened+"expect: rule=100001", nil)
	var out bytes.Buffer
	if err := WriteJUnit(&out, results); err != nil {
		t.Fatal(err)
	}
	var back junitSuites
	if err := xml.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	if back.Tests != 2 || back.Failures != 1 || len(back.Suites) != 1 || back.Suites[0].Cases[1].Failure != nil {
		t.Errorf("%+v", back)
	}
}

func TestCoverage(t *testing.T) {
	t.Parallel()
	cov := NewCoverage(doorProgram(t))
	eng := engine.New(cov.p, engine.Config{Logtest: true})
	tests, err := ParseText("x.txt", []byte(`log: {"a":{"b":"x"}}`+"\nexpect: rule=100004"))
	if err != nil {
		t.Fatal(err)
	}
	RunTest(eng, &tests[0], cov)
	var out bytes.Buffer
	if err := cov.Write(&out); err != nil {
		t.Fatal(err)
	}
	want := `rules hit: 2 of 4 (50.0 %)
rules never hit:
  100001  r.xml  By $(srcuser).
  100002  r.xml  d
decoders hit: 1 of 2 (50.0 %)
decoders never hit:
  door  d.xml
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParseText(f *testing.F) {
	f.Add([]byte(opened + "expect: rule=100001 a=\"b c\" d!=e\nwait: 5s\nfresh\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tests, err := ParseText("x.txt", data)
		for i := range tests {
			if len(tests[i].Steps) == 0 {
				t.Errorf("a test without steps (%v)", err)
			}
		}
	})
}
