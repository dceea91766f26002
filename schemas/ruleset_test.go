package schemas

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var goldenTime = time.UnixMilli(1795309100271).UTC()

func goldenVersion() RulesetVersion {
	return RulesetVersion{
		Version: "0011223344556677", Node: "node1", Time: goldenTime,
		Files: []RulesetFile{
			{Kind: FileDecoders, Name: "d.xml", Path: "etc/decoders/d.xml", Size: 12, SHA256: strings.Repeat("ab", 32)},
			{Kind: FileList, Name: "amazon/x", Path: "etc/lists/amazon/x", Size: MaxFileChunkBytes + 1, SHA256: strings.Repeat("cd", 32)},
		},
	}
}

func TestTheRecordsOfARulesetSurvive(t *testing.T) {
	t.Parallel()
	version := goldenVersion()
	rec, err := version.Record()
	if err != nil {
		t.Fatal(err)
	}
	rec = goldenFile(t, "ruleset-version-v1.json", rec)
	if got, err := ParseRulesetVersion(&rec); err != nil || cmp.Diff(version, got) != "" {
		t.Error(err, cmp.Diff(version, got))
	}
	if n := version.Files[1].Chunks(); n != 2 {
		t.Errorf("%d chunks", n)
	}

	current := RulesetCurrent{Version: "0011223344556677", Previous: "8899aabbccddeeff", Origin: OriginCommand, Node: "node2", Time: goldenTime}
	rec = goldenFile(t, "ruleset-current-v1.json", current.Record())
	if got, err := ParseRulesetCurrent(&rec); err != nil || cmp.Diff(current, got) != "" {
		t.Error(err, cmp.Diff(current, got))
	}

	worker := RulesetWorker{Node: "node1", Time: goldenTime, Version: "0011223344556677", Partitions: map[string]int{"0011223344556677": 11, "8899aabbccddeeff": 1}}
	rec = goldenFile(t, "ruleset-worker-v1.json", worker.Record())
	if got, err := ParseRulesetWorker(&rec); err != nil || cmp.Diff(worker, got) != "" {
		t.Error(err, cmp.Diff(worker, got))
	}

	worker.Shadow, worker.ShadowProblem = "8899aabbccddeeff", "r.xml:1: broken"
	rec = goldenFile(t, "ruleset-worker-shadow-v1.json", worker.Record())
	if got, err := ParseRulesetWorker(&rec); err != nil || cmp.Diff(worker, got) != "" {
		t.Error(err, cmp.Diff(worker, got))
	}

	activation := RulesetActivation{
		Topic: TopicEvents, TopicID: "AAAAAAAAAAAAAAAAAAAAAA", Partition: 7, Node: "node1", Time: goldenTime,
		Changes: []RulesetChange{{Offset: 0, Version: "8899aabbccddeeff"}, {Offset: 1234, Version: "0011223344556677"}},
	}
	rec = goldenFile(t, "ruleset-activation-v1.json", activation.Record())
	if got, err := ParseRulesetActivation(&rec); err != nil || cmp.Diff(activation, got) != "" {
		t.Error(err, cmp.Diff(activation, got))
	}
}

func TestChunksOfFilesAreToldByTheirKeys(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("0a", 32)
	rec := FileChunk(sum, 3, []byte("x"))
	if s, n, ok := FileChunkOf(rec.Key); s != sum || n != 3 || !ok {
		t.Error(s, n, ok)
	}
	for _, key := range []string{"", "content/", "content/" + sum, "content/" + sum + "/-1", "content/" + sum + "/x", "content/00/1", "ruleset/current"} {
		if _, _, ok := FileChunkOf([]byte(key)); ok {
			t.Errorf("%q is taken for a chunk", key)
		}
	}
}

func TestRecordsOfRulesetsThatLieAreRefused(t *testing.T) {
	t.Parallel()
	version := goldenVersion()
	version.Files[0].Size = MaxRulesetBytes
	if _, err := version.Record(); !errors.Is(err, ErrRulesetTooLarge) {
		t.Error(err)
	}
	version = goldenVersion()
	for range 20_000 {
		version.Files = append(version.Files, version.Files[0])
	}
	if _, err := version.Record(); !errors.Is(err, ErrRulesetTooLarge) {
		t.Error(err)
	}
	f := func(key, value string, want error) {
		t.Helper()
		rec := Record{Key: []byte(key), Value: []byte(value)}
		var err error
		switch {
		case strings.HasPrefix(key, "ruleset/version/"):
			_, err = ParseRulesetVersion(&rec)
		case key == "ruleset/current":
			_, err = ParseRulesetCurrent(&rec)
		default:
			_, err = ParseRulesetActivation(&rec)
		}
		if !errors.Is(err, want) {
			t.Errorf("%s %s: %v", key, value, err)
		}
	}
	f("ruleset/version/a", `{"v":2,"version":"a"}`, ErrRulesetRecordVersion)
	f("ruleset/version/a", `{"v":1,"version":"b"}`, ErrRulesetRecord)
	f("ruleset/version/a", `{"v":1,"version":"a","files":[{"name":"x","size":-1,"sha256":"`+strings.Repeat("ab", 32)+`"}]}`, ErrRulesetRecord)
	f("ruleset/version/a", `{"v":1,"version":"a","files":[{"name":"x","size":1,"sha256":"00"}]}`, ErrRulesetRecord)
	f("ruleset/version/a", strings.Repeat(" ", MaxRulesetManifestBytes+1), ErrRulesetRecord)
	f("ruleset/current", `{"v":1}`, ErrRulesetRecord)
	f("ruleset/current", `{`, ErrRulesetRecord)
	f("ruleset/7", `{"v":1,"partition":7,"changes":[]}`, ErrRulesetRecord)
	f("ruleset/7", `{"v":1,"partition":8,"changes":[{"offset":1,"version":"a"}]}`, ErrRulesetRecord)
	f("ruleset/7", `{"v":1,"partition":7,"changes":[{"offset":5,"version":"a"},{"offset":5,"version":"b"}]}`, ErrRulesetRecord)
}

func FuzzParseRulesetRecords(f *testing.F) {
	version := goldenVersion()
	rec, err := version.Record()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rec.Key, rec.Value)
	f.Add([]byte("ruleset/current"), []byte(`{"v":1,"version":"a"}`))
	f.Add([]byte("ruleset/7"), []byte(`{"v":1,"partition":7,"changes":[{"offset":5,"version":"a"}]}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		rec := Record{Key: key, Value: value}
		if v, err := ParseRulesetVersion(&rec); err == nil {
			if again, err := v.Record(); err != nil || string(again.Key) != string(key) {
				t.Errorf("%q: %v", key, err)
			}
		}
		if c, err := ParseRulesetCurrent(&rec); err == nil && string(c.Record().Key) != string(key) {
			t.Errorf("%q", key)
		}
		if w, err := ParseRulesetWorker(&rec); err == nil && string(w.Record().Key) != string(key) {
			t.Errorf("%q", key)
		}
		if a, err := ParseRulesetActivation(&rec); err == nil && string(a.Record().Key) != string(key) {
			t.Errorf("%q", key)
		}
	})
}
