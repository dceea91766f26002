package schemas

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEventSurvivesItsRecord(t *testing.T) {
	t.Parallel()
	e := Event{
		Time: time.UnixMilli(1795309100271), AgentID: "001", AgentName: "web1", AgentIP: "10.0.0.5", AgentAddress: "10.0.0.0",
		AgentLabels: []byte(`{"env":"prod"}`), Location: "/var/log/auth.log", Queue: '1', Gateway: "gw1", EventID: "e", Log: []byte("a\x00\xff"),
	}
	r := e.Record()
	got, err := ParseEvent(&r)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(e, got); d != "" {
		t.Error(d)
	}
	if string(r.Key) != "001" {
		t.Errorf("key is %q", r.Key)
	}
}

func TestAPlainRecordIsAnEventOfAgent000(t *testing.T) {
	t.Parallel()
	r := Record{Topic: TopicEvents, Key: []byte("000"), Value: []byte("hello")}
	e, err := ParseEvent(&r)
	if err != nil || e.AgentID != "000" || e.Location != TopicEvents || e.Queue != '1' {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestAnEventUnderAWrongKeyIsRefused(t *testing.T) {
	t.Parallel()
	f := func(key string, want error, h ...Header) {
		t.Helper()
		r := Record{Topic: TopicEvents, Key: []byte(key), Headers: h}
		if _, err := ParseEvent(&r); !errors.Is(err, want) {
			t.Errorf("key %q: %v", key, err)
		}
	}
	id := Header{Key: HeaderAgentID, Value: []byte("007")}
	f("007", nil, id)
	f("007", nil, id, Header{Key: HeaderQueue, Value: []byte("2")}) // an agent's syslog event without a location
	f("008", ErrEventKey, id)
	f("", ErrEventKey)
	f("000/10.0.0.1", nil, Header{Key: HeaderQueue, Value: []byte("2")}, Header{Key: HeaderLocation, Value: []byte("10.0.0.1")})
	f("000", ErrEventQueue, Header{Key: HeaderQueue, Value: []byte("22")})
	big := Record{Key: []byte("000"), Value: make([]byte, MaxEventBytes+1)}
	if _, err := ParseEvent(&big); !errors.Is(err, ErrEventTooLarge) {
		t.Error(err)
	}
}

func TestAlertIDsOfOneSecondDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	at := time.Unix(1795309100, 0)
	for _, offset := range []int64{0, 1, 11, 110} {
		for _, p := range []int32{0, 1, 10, 11, 110} {
			for n := range 3 {
				id := AlertID(at, p, offset, n)
				if seen[id] || !strings.HasPrefix(id, "1795309100.") {
					t.Errorf("%s (partition %d, offset %d, n %d)", id, p, offset, n)
				}
				seen[id] = true
			}
		}
	}
}

func FuzzAppendJSONString(f *testing.F) {
	f.Add([]byte("plain"))
	f.Add([]byte("a\"\\\x00\x1f\xff\xc3\xa4\xe2\x80"))
	f.Fuzz(func(t *testing.T, s []byte) {
		var got string
		if err := json.Unmarshal(AppendJSONString(nil, s), &got); err != nil {
			t.Fatal(err)
		}
		if want := strings.ToValidUTF8(string(s), "\ufffd"); strings.ReplaceAll(got, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte("001"), "agent.id", []byte("001"), []byte("log"))
	f.Add([]byte(""), "queue", []byte(""), []byte(""))
	f.Fuzz(func(t *testing.T, key []byte, name string, header, value []byte) {
		r := Record{Topic: TopicEvents, Key: key, Value: value, Headers: []Header{{Key: name, Value: header}}}
		e, err := ParseEvent(&r)
		if err == nil || errors.Is(err, ErrEventKey) {
			again := e.Record()
			if _, err := ParseEvent(&again); err != nil && len(value) <= MaxEventBytes {
				t.Fatalf("the event's own record is refused: %v", err)
			}
		}
	})
}
