package logtest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset"
	"vedette/ruleset/engine"
)

const decoders = `<decoder name="door"><program_name>^door$</program_name></decoder>
<decoder name="door-open"><parent>door</parent><regex>opened by (\S+)</regex><order>srcuser</order></decoder>
<decoder name="gate"><prematch>^gate </prematch></decoder>`

const rules = `<group name="door,">
<rule id="100001" level="3"><decoded_as>door</decoded_as><description>Opened by $(srcuser).</description></rule>
<rule id="100002" level="0"><decoded_as>gate</decoded_as><description>Gate.</description></rule>
<rule id="100003" level="8" frequency="3" timeframe="60"><if_matched_sid>100001</if_matched_sid><description>Opened often.</description></rule>
</group>`

func testEngine(t testing.TB) *engine.Engine {
	t.Helper()
	p, problems, err := ruleset.Compile(ruleset.Source{
		Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(decoders)}},
		Rules:    []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(rules)}},
	})
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	return engine.New(p, engine.Config{ManagerName: "m", Logtest: true})
}

func now() time.Time { return time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC) }

const opened = "Nov 22 01:00:00 h door: opened by ann"

// answers runs input and returns, per line, the values that the tests compare.
func answers(t *testing.T, input string, opts Options) []string {
	t.Helper()
	opts.Now = now
	var out bytes.Buffer
	if err := Run(testEngine(t), strings.NewReader(input), &out, opts); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		var a struct {
			Alert  bool `json:"alert"`
			Output struct {
				Timestamp string `json:"timestamp"`
				ID        string `json:"id"`
				Location  string `json:"location"`
				Rule      struct {
					ID    string `json:"id"`
					Level *int   `json:"level"`
				} `json:"rule"`
				Agent struct {
					ID string `json:"id"`
				} `json:"agent"`
			} `json:"output"`
			Error string `json:"error"`
		}
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		s := a.Output.Rule.ID
		if a.Alert {
			s += " alert"
		}
		if a.Output.Agent.ID != "000" {
			s += " agent " + a.Output.Agent.ID
		}
		if ts := a.Output.Timestamp; ts != "2026-11-22T01:00:00.000+0000" {
			s += " at " + ts
		}
		if a.Error != "" {
			s = "error"
		}
		got = append(got, s)
	}
	return got
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in string
		opts     Options
		want     []string
	}{
		{"lines", opened + "\ngate x\nnothing\n\n" + opened, Options{}, []string{"100001 alert", "100002", "", "", "100001 alert"}},
		{"state is kept", strings.Repeat(opened+"\n", 3), Options{}, []string{"100001 alert", "100001 alert", "100003 alert"}},
		{"fresh", strings.Repeat(opened+"\n", 3), Options{Fresh: true}, []string{"100001 alert", "100001 alert", "100001 alert"}},
		{"long lines", strings.Repeat("x", LineMax) + "\n" + strings.Repeat("y", LineMax+1) + "\ngate x\n", Options{Flush: true}, []string{"", "error", "100002"}},
		{"nothing", "", Options{}, nil},
	} {
		if diff := cmp.Diff(tc.want, answers(t, tc.in, tc.opts)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestNDJSON(t *testing.T) {
	t.Parallel()
	line := func(more string) string { return `{"log":"` + opened + `"` + more + "}\n" }
	for _, tc := range []struct {
		name, in string
		want     []string
	}{
		{"log alone", line(""), []string{"100001 alert"}},
		{"keys apart", strings.Repeat(line(`,"agent":{"id":"001","name":"a"}`)+line(`,"agent":{"id":"002","name":"b"}`), 2) + line(`,"agent":{"id":"001","name":"a"}`),
			[]string{"100001 alert agent 001", "100001 alert agent 002", "100001 alert agent 001", "100001 alert agent 002", "100003 alert agent 001"}},
		{"time stamps", line(`,"timestamp":"2026-11-22T03:00:00.5+02:00"`) + line(`,"timestamp":"2026-11-22T01:00:00.5+0000"`) + line(`,"timestamp":1795309100.25`) + line(`,"timestamp":1795309100250`) + line(`,"timestamp":null`),
			[]string{"100001 alert at 2026-11-22T01:00:00.500+0000", "100001 alert at 2026-11-22T01:00:00.500+0000", "100003 alert at 2026-11-22T00:58:20.250+0000", "100001 alert at 2026-11-22T00:58:20.250+0000", "100001 alert"}},
		{"malformed", "{\n[]\n{}\n\n" + `{"log":5}` + "\n" + line(`,"queue":"12"`) + line(`,"timestamp":"now"`) + line(`,"timestamp":1e300`) + line(`,"location":"[001"`) + line(""),
			[]string{"error", "error", "error", "error", "error", "error", "error", "error", "error", "100001 alert"}},
	} {
		if diff := cmp.Diff(tc.want, answers(t, tc.in, Options{NDJSON: true})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestLevelZeroIsLast(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := Run(testEngine(t), strings.NewReader("gate x\n"), &out, Options{Now: now}); err != nil {
		t.Fatal(err)
	}
	want := `{"alert":false,"output":{"timestamp":"2026-11-22T01:00:00.000+0000","rule":{"description":"Gate.","id":"100002","firedtimes":1,"mail":false,"groups":["door"],"level":0},` +
		`"agent":{"id":"000","name":"m"},"manager":{"name":"m"},"id":"1795309200.0","full_log":"gate x","decoder":{"name":"gate"},"location":"stdin"}}` + "\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzNDJSON(f *testing.F) {
	f.Add([]byte(`{"log":"x","location":"/l","queue":"1","timestamp":1.5,"agent":{"id":"001","labels":{"a":"b"}}}`))
	f.Add([]byte("{}\n\n\xff"))
	eng := testEngine(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		if err := Run(eng, bytes.NewReader(in), &out, Options{NDJSON: true, Now: now}); err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(in, []byte("\n"))
		if len(in) > 0 && in[len(in)-1] != '\n' {
			lines++
		}
		if got := bytes.Count(out.Bytes(), []byte("\n")); got != lines {
			t.Errorf("%d answers to %d lines", got, lines)
		}
		for line := range bytes.Lines(out.Bytes()) {
			if !json.Valid(line) {
				t.Errorf("no JSON: %q", line)
			}
		}
	})
}

func TestALineMayEndAsOnWindows(t *testing.T) {
	t.Parallel()
	for _, ndjson := range []bool{false, true} {
		in := opened + "\r\n\r\n"
		if ndjson {
			in = `{"log":"` + opened + `"}` + "\r\n{\"log\":\"\"}\r\n"
		}
		var out bytes.Buffer
		if err := Run(testEngine(t), strings.NewReader(in), &out, Options{Now: now, NDJSON: ndjson}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), `\r`) || strings.Count(out.String(), "\n") != 2 || strings.Contains(out.String(), `"error"`) {
			t.Errorf("ndjson %v: %s", ndjson, out.String())
		}
	}
}
