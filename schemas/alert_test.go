package schemas

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var updateOutput = flag.Bool("update-output", false, "rewrite the golden records of alerts and dead letters")

// goldenRecord is a record as its golden file shows it.
type goldenRecord struct {
	Topic     string            `json:"topic"`
	Timestamp int64             `json:"timestamp"`
	Key       string            `json:"key"`
	Headers   map[string]string `json:"headers,omitempty"`
	Value     json.RawMessage   `json:"value"`
}

// goldenFile compares a record with its file and returns the file's record: a
// reader must take the records of every version before it.
func goldenFile(t *testing.T, name string, r Record) Record {
	t.Helper()
	path := filepath.Join("testdata", name)
	g := goldenRecord{Topic: r.Topic, Key: string(r.Key), Value: r.Value, Headers: map[string]string{}}
	if !r.Timestamp.IsZero() {
		g.Timestamp = r.Timestamp.UnixMilli()
	}
	for _, h := range r.Headers {
		g.Headers[h.Key] = string(h.Value)
	}
	b, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *updateOutput {
		if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(file), string(b)+"\n"); d != "" {
		t.Errorf("%s: %s", name, d)
	}
	var old goldenRecord
	if err := json.Unmarshal(file, &old); err != nil {
		t.Fatal(err)
	}
	out := Record{Topic: old.Topic, Timestamp: time.UnixMilli(old.Timestamp), Key: []byte(old.Key), Value: old.Value}
	for k, v := range old.Headers {
		out.Headers = append(out.Headers, Header{Key: k, Value: []byte(v)})
	}
	return out
}

func TestAlertGoldenRecord(t *testing.T) {
	t.Parallel()
	a := Alert{
		ID: AlertDocID("q0Zz-_AAAAAAAAAAAAAAAA", 3, 12345, 0), Epoch: 7, Key: "001", Time: time.UnixMilli(1795309100271),
		Document: []byte(`{"timestamp":"2026-11-22T00:58:20.271+0000","rule":{"level":5,"description":"Login","id":"5710","mail":false,"groups":["sshd"]},"agent":{"id":"001","name":"web1"},"manager":{"name":"m"},"id":"1795309100.12345000030","full_log":"x","decoder":{"name":"sshd"},"location":"/var/log/auth.log","vedette":{"topic_id":"q0Zz-_AAAAAAAAAAAAAAAA","partition":3,"offset":12345,"n":0,"ruleset":"r1","gateway":"gw1"}}`),
	}
	var pretty []byte
	r := a.Record()
	r = goldenFile(t, "alert-v1.json", r)
	got, err := ParseAlert(&r)
	if err != nil {
		t.Fatal(err)
	}
	// The file is indented for people.
	var v any
	if err := json.Unmarshal(got.Document, &v); err != nil {
		t.Fatal(err)
	}
	if pretty, err = json.Marshal(v); err != nil {
		t.Fatal(err)
	}
	var w any
	if err := json.Unmarshal(a.Document, &w); err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(w)
	a.Document, got.Document = want, pretty
	if d := cmp.Diff(a, got); d != "" {
		t.Error(d)
	}
}

func TestAlertDocIDsDifferAndNeedNoEscaping(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range []int32{0, 1, 11} {
		for _, o := range []int64{0, 1, 11, 1 << 62} {
			for n := range 3 {
				id := AlertDocID("abc_-123", p, o, n)
				if seen[id] || !urlSafe(id) {
					t.Error(id)
				}
				seen[id] = true
			}
		}
	}
}

func TestWhatIsNoAlertIsRefused(t *testing.T) {
	t.Parallel()
	f := func(want error, id, epoch, doc string) {
		t.Helper()
		r := Record{Value: []byte(doc), Headers: []Header{{Key: HeaderAlertID, Value: []byte(id)}, {Key: HeaderAlertEpoch, Value: []byte(epoch)}}}
		if _, err := ParseAlert(&r); !errors.Is(err, want) {
			t.Errorf("%.20q %q %.20q: %v", id, epoch, doc, err)
		}
	}
	f(nil, "a-0-0-0", "0", ` {"a":1}`)
	f(ErrAlertID, "", "0", `{}`)
	f(ErrAlertID, "a/b", "0", `{}`)
	f(ErrAlertID, "a\nb", "0", `{}`)
	f(ErrAlertID, strings.Repeat("a", 513), "0", `{}`)
	f(ErrAlertEpoch, "a", "", `{}`)
	f(ErrAlertEpoch, "a", "-1", `{}`)
	f(ErrAlertEpoch, "a", "x", `{}`)
	f(ErrAlertDocument, "a", "0", ``)
	f(ErrAlertDocument, "a", "0", `[]`)
	f(ErrAlertDocument, "a", "0", `{`)
	f(ErrAlertDocument, "a", "0", "{}\n{}")
	f(ErrAlertTooLarge, "a", "0", `{"a":"`+strings.Repeat("x", MaxAlertBytes)+`"}`)
}

func TestDeadLetterGoldenRecord(t *testing.T) {
	t.Parallel()
	src := Record{
		Topic: TopicAlerts, Partition: 3, Offset: 12345, Timestamp: time.UnixMilli(1795309100271).UTC(), Value: []byte("raw\x00\xff bytes"),
		Headers: []Header{{Key: "id", Value: []byte("a-0-0-0")}},
	}
	d := NewDeadLetter(&src, "mapping", "indexer: the value does not fit")
	r := goldenFile(t, "deadletter-v1.json", d.Record())
	got, err := ParseDeadLetter(&r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, got); diff != "" {
		t.Error(diff)
	}
}

func TestADeadLetterIsBounded(t *testing.T) {
	t.Parallel()
	src := Record{Topic: TopicAlerts, Value: make([]byte, 2<<20), Headers: []Header{{Key: "h", Value: make([]byte, 1<<20)}}}
	d := NewDeadLetter(&src, "record", strings.Repeat("ü", 100_000))
	r := d.Record()
	if len(r.Value) > 800<<10 {
		t.Errorf("%d bytes", len(r.Value))
	}
	got, err := ParseDeadLetter(&r)
	if err != nil || len(got.Value) != MaxDeadLetterValueBytes || got.ValueBytes != 2<<20 || len(got.Headers) != 0 {
		t.Errorf("%d of %d bytes, %v", len(got.Value), got.ValueBytes, err)
	}
}

func FuzzParseDeadLetter(f *testing.F) {
	f.Add([]byte(`{"topic":"alerts","cause":"x","time":"2026-11-22T00:00:00Z","value":""}`))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = ParseDeadLetter(&Record{Value: b}) })
}

func FuzzParseAlert(f *testing.F) {
	f.Add("a-0-0-0", "1", []byte(`{"a":1}`))
	f.Fuzz(func(_ *testing.T, id, epoch string, b []byte) {
		_, _ = ParseAlert(&Record{Value: b, Headers: []Header{{Key: HeaderAlertID, Value: []byte(id)}, {Key: HeaderAlertEpoch, Value: []byte(epoch)}}})
	})
}
