package schemas

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func goldenShadow() ShadowDiff {
	return ShadowDiff{
		Kind: ShadowChanged, Ruleset: "8899aabbccddeeff", Against: "0011223344556677",
		Was:     &ShadowVerdict{Rule: 100001, Level: 5, Groups: []string{"app", "login"}, Description: "one"},
		Now:     &ShadowVerdict{Rule: 100002, Level: 10, Groups: []string{}, Description: "two"},
		TopicID: "AAAAAAAAAAAAAAAAAAAAAA", Partition: 7, Offset: 1234, Key: "001",
		AgentID: "001", AgentName: "web1", Location: "/var/log/auth.log", Time: goldenTime, FullLog: "app: hello",
	}
}

func TestAShadowDifferenceSurvivesItsRecord(t *testing.T) {
	t.Parallel()
	want := goldenShadow()
	r := goldenFile(t, "shadow-v1.json", want.Record())
	got, err := ParseShadowDiff(&r)
	if err != nil || cmp.Diff(want, got) != "" {
		t.Error(err, cmp.Diff(want, got))
	}
	if got.Verdict().Rule != 100002 {
		t.Error("a change counts by what comes")
	}
	other := goldenShadow()
	other.Ruleset = "x"
	if again := goldenShadow(); again.ID() != want.ID() || other.ID() == want.ID() {
		t.Errorf("%s, %s", again.ID(), other.ID())
	}
}

func TestAShadowDifferenceIsBounded(t *testing.T) {
	t.Parallel()
	d := goldenShadow()
	d.FullLog = "x" + strings.Repeat("ä", MaxEventBytes)
	d.Location, d.AgentName = strings.Repeat("\x00", 1<<20), strings.Repeat("\x00", 1<<20)
	d.Was.Description = strings.Repeat("\x00", 1<<20)
	for range 10_000 {
		d.Now.Groups = append(d.Now.Groups, "group")
	}
	r := d.Record()
	if len(r.Value) > MaxShadowBytes {
		t.Errorf("%d bytes", len(r.Value))
	}
	got, err := ParseShadowDiff(&r)
	if err != nil {
		t.Fatal(err)
	}
	if !utf8.ValidString(got.FullLog) || len(got.FullLog) != MaxShadowLogBytes-1 || strings.Contains(got.FullLog, "\ufffd") {
		t.Errorf("the log has %d bytes", len(got.FullLog))
	}
}

func TestAShadowDifferenceThatLiesIsRefused(t *testing.T) {
	t.Parallel()
	f := func(old, replacement string, want error) {
		t.Helper()
		d := goldenShadow()
		r := d.Record()
		value := strings.Replace(string(r.Value), old, replacement, 1)
		if value == string(r.Value) {
			t.Fatalf("%s is not there", old)
		}
		r.Value = []byte(value)
		if _, err := ParseShadowDiff(&r); !errors.Is(err, want) {
			t.Errorf("%s: %v", replacement, err)
		}
	}
	f(`"v":1`, `"v":2`, ErrShadowVersion)
	f(`"kind":"changed"`, `"kind":"added"`, ErrShadow)
	f(`"kind":"changed"`, `"kind":"removed"`, ErrShadow)
	f(`"kind":"changed"`, `"kind":"other"`, ErrShadow)
	f(`"partition":7`, `"partition":-1`, ErrShadow)
	f(`"offset":1234`, `"offset":-1`, ErrShadow)
	f(`"topic_id":"AAAA`, `"topic_id":"/AAA`, ErrShadow)
	f(`"against":"0011223344556677"`, `"against":""`, ErrShadow)
	f(`"ruleset":"8899`, `"ruleset":"8/99`, ErrShadow)
	f(`"timestamp":"2026`, `"timestamp":"x026`, ErrShadow)
	f(`{"v"`, strings.Repeat(" ", MaxShadowBytes)+`{"v"`, ErrShadow)
}

func FuzzParseShadowDiff(f *testing.F) {
	d := goldenShadow()
	r := d.Record()
	f.Add(r.Value)
	f.Add([]byte(`{"v":1,"kind":"added","now":{},"ruleset":"a","against":"b","event":{"topic_id":"x"},"timestamp":"2026-11-01T12:00:00Z"}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		d, err := ParseShadowDiff(&Record{Key: []byte("001"), Value: value})
		if err != nil {
			return
		}
		r := d.Record()
		again, err := ParseShadowDiff(&r)
		if err != nil {
			t.Fatal(err)
		}
		if again.ID() != d.ID() || again.Kind != d.Kind {
			t.Errorf("%+v became %+v", d, again)
		}
	})
}
