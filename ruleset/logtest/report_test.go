package logtest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func report(t *testing.T, in string, opts Options) string {
	t.Helper()
	opts.Text, opts.Now = true, now
	var out bytes.Buffer
	if err := Run(testEngine(t), strings.NewReader(in), &out, opts); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestReport(t *testing.T) {
	t.Parallel()
	want := `
Phase 1, pre-decoding: what the header says
  full_log      Nov 22 01:00:00 h door: opened by ann
  timestamp     Nov 22 01:00:00
  hostname      h
  program_name  door

Phase 2, decoding: the decoder and its fields
  name     door
  srcuser  ann

Phase 3, rule: the one chosen
  id           100001
  level        3
  description  Opened by ann.
  firedtimes   1
  mail         false
  groups       door
An alert is raised.


Phase 1, pre-decoding: what the header says
  full_log  gate x

Phase 2, decoding: the decoder and its fields
  name  gate

Phase 3, rule: the one chosen
  id           100002
  level        0
  description  Gate.
  firedtimes   1
  mail         false
  groups       door
No alert is raised.


Phase 1, pre-decoding: what the header says
  full_log  nothing

Phase 2, decoding: no decoder matches

Phase 3, rule: no rule matches

`
	if diff := cmp.Diff(want, report(t, opened+"\ngate x\nnothing\n", Options{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReportOfWhatIsNotJudged(t *testing.T) {
	t.Parallel()
	got := report(t, "{\n"+`{"log":"x","location":"[001"}`+"\n"+`{"log":"x","queue":"5"}`+"\n", Options{NDJSON: true})
	if strings.Count(got, "Not judged: ") != 2 || !strings.Contains(got, "events of this kind are not judged") {
		t.Error(got)
	}
}

// The content of an event cannot steer the terminal.
func TestReportHidesControls(t *testing.T) {
	t.Parallel()
	if got := report(t, "gate \x1b[31m\x9b\u009b\r\n", Options{}); strings.ContainsAny(got, "\x1b\r\u009b") || !strings.Contains(got, "gate ·[31m") {
		t.Errorf("%q", got)
	}
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	got := report(t, "gate x\n\n", Options{Prompt: "> ", Flush: true})
	if strings.Count(got, "> ") != 3 || strings.Count(got, "Phase 1") != 1 || !strings.HasPrefix(got, "> ") || !strings.HasSuffix(got, "> > \n") {
		t.Errorf("%q", got)
	}
}

func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"log":"{\"a\":[1,{\"b\":null}],\"c\":true}","agent":{"id":"001","labels":{"a":"b"}}}`))
	eng := testEngine(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, ndjson := range []bool{false, true} {
			var out bytes.Buffer
			if err := Run(eng, bytes.NewReader(in), &out, Options{NDJSON: ndjson, Text: true, Explain: ExplainAll, Now: now}); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(out.String(), "read alert") {
				t.Error(out.String())
			}
		}
	})
}
