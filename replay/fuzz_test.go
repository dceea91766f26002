package replay

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzDocument: any line of an archive is an event or refused.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"timestamp":"2026-11-01T12:00:00.000+0000","rule":{"id":"5715","level":3,"groups":["b","a"]},"agent":{"id":"001","name":"n","ip":"10.0.0.1","labels":{"a":"b"}},"decoder":{"name":"sshd"},"full_log":"x","location":"/x"}`))
	f.Add([]byte(`{"timestamp":"x","full_log":null}`))
	f.Add([]byte(`[1]`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var it Item
		if reason := document(line, &it); reason != "" {
			return
		}
		if it.Recorded == nil || it.Event.Time.IsZero() && !strings.Contains(string(line), "0001-01-01") {
			t.Errorf("%+v", it)
		}
		guess(line)
	})
}

func FuzzParseCondition(f *testing.F) {
	for _, s := range []string{"added level>=10 > 100/day", "removed rule=5710 > 0", "alerts group=web > 5.5/day", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCondition(text)
		if err != nil || !utf8.ValidString(text) {
			return
		}
		again, err := ParseCondition(c.Text)
		if err != nil || again != c || c.Level < 0 || c.Rule < 0 || c.Limit < 0 {
			t.Errorf("%q: %+v, then %+v (%v)", text, c, again, err)
		}
	})
}

// FuzzReadState: a state that was damaged is refused.
func FuzzReadState(f *testing.F) {
	now := rulesOf(f, "now", rulesNow)
	t := newTally()
	t.Events = 7
	t.Rules[5] = &Counts{Alerts: 7}
	t.Hours[1] = &Counts{Alerts: 7}
	t.Examples[sampleKey{Added, 0, 5}] = []Sample{{Kind: Added, Rule: 5}}
	s := State{Workers: 1, Refused: map[string]int64{"x": 1}, Lanes: []LaneState{{At: Place{Next: 1}, Begun: true, Tally: Tally{Tally: *t}}}}
	var err error
	if s.Lanes[0].State, err = now.Engine.NewState().AppendSnapshot(nil, stateBytesMax); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "state")
	if err := s.Write(path); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := readState(bytes.NewReader(whole)); err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := readState(bytes.NewReader(raw)); err == nil && !bytes.Equal(raw, whole) {
			t.Error("a damaged state is read")
		}
	})
}
