package schemas

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheRecordsOfContents(t *testing.T) {
	t.Parallel()
	b := Blob{
		Owner: BlobPackage, Content: Content{SHA256: strings.Repeat("0a", 32), Size: MaxFileChunkBytes + 1}, First: 7, Last: 9,
		Node: "node1", Time: time.UnixMilli(1795309100271).UTC(),
	}
	rec := goldenFile(t, "blob-v1.json", b.Record())
	if got, err := BlobPackage.ParseBlob(&rec); err != nil || cmp.Diff(b, got) != "" {
		t.Errorf("the record reads as another content: %v %s", err, cmp.Diff(b, got))
	}
	active := goldenFile(t, "blobs-active-v1.json", BlobsActive("node1", b.Time))
	if !IsBlobsActive(active.Key) || IsBlobsActive(rec.Key) {
		t.Error("the record that lets nodes write to the topic blobs is not told from others")
	}
	if _, ok := BlobPackage.BlobOf(active.Key); ok {
		t.Errorf("%s is taken for a content", active.Key)
	}
	if _, err := BlobShared.ParseBlob(&rec); !errors.Is(err, ErrBlob) {
		t.Errorf("another owner reads the record: %v", err)
	}
	begun := b
	begun.First = -1
	if !b.Whole() || begun.Whole() || (&Blob{}).Whole() {
		t.Error("a begun content counts as whole, or a whole one as begun")
	}
	for _, bad := range []string{
		"", "{", `{"v":0}`, `{"v":1}`, strings.Replace(string(rec.Value), "0a", "0b", 1),
		strings.Replace(string(rec.Value), `"last": 9`, `"last": 7`, 1), // two chunks do not stand at one offset
		strings.Replace(string(rec.Value), `"first": 7`, `"first": -2`, 1),
		strings.Replace(string(rec.Value), `"size": 524289`, `"size": 0`, 1),
		strings.Replace(string(rec.Value), `"size": 524289`, `"size": 536870913`, 1),
	} {
		if _, err := BlobPackage.ParseBlob(&Record{Key: rec.Key, Value: []byte(bad)}); !errors.Is(err, ErrBlob) || errors.Is(err, ErrNewer) {
			t.Errorf("%s gives %v, want ErrBlob and not ErrNewer", bad, err)
		}
	}
}

func TestChunksOfEachOwnerHaveOneKeyInBothTopics(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("0a", 32)
	for owner, old := range map[BlobOwner]func(string, int, []byte) Record{BlobShared: SharedChunk, BlobRuleset: FileChunk, BlobPackage: PackageChunk} {
		now, before := owner.Chunk(TopicBlobs, sum, 3, []byte("x")), old(sum, 3, []byte("x"))
		if now.Topic != TopicBlobs || before.Topic != TopicFiles || string(now.Key) != string(before.Key) {
			t.Errorf("chunk %s of %s, and %s of %s in the old form: the keys differ", now.Key, now.Topic, before.Key, before.Topic)
		}
		for _, other := range []BlobOwner{BlobShared, BlobRuleset, BlobPackage} {
			if s, n, ok := other.ChunkOf(now.Key); ok != (other == owner) || ok && (s != sum || n != 3) {
				t.Errorf("%s takes the key %s as chunk %d of %s: %v", other, now.Key, n, s, ok)
			}
		}
		for _, key := range []string{"", string(owner), string(owner) + "/" + sum, string(owner) + "/" + sum + "/-1", string(owner) + "/" + sum + "/1024", string(owner) + "/00/1", string(BlobTombstone(owner, sum).Key)} {
			if _, _, ok := owner.ChunkOf([]byte(key)); ok {
				t.Errorf("%q is taken for a chunk", key)
			}
		}
	}
	for size, want := range map[int64]int{0: 0, 1: 1, MaxFileChunkBytes: 1, MaxFileChunkBytes + 1: 2} {
		if n := (&Content{Size: size}).Chunks(); n != want {
			t.Errorf("%d bytes take %d chunks, want %d", size, n, want)
		}
	}
}

// A later form may have members of other types, and is never taken for a broken record.
func TestRecordsOfALaterFormAreTold(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("0a", 32)
	const later = `{"v":2,"sha256":{"algorithm":"x"},"files":7,"time":"noon","node":1,"size":"big","id":[]}`
	for name, parse := range map[string]func(r *Record) error{
		"blob/shared/" + sum:   func(r *Record) error { _, err := BlobShared.ParseBlob(r); return err },
		"group/web":            func(r *Record) error { _, err := ParseGroupFiles(r); return err },
		"package/" + sum:       func(r *Record) error { _, err := ParsePackage(r); return err },
		"ruleset/version/x":    func(r *Record) error { _, err := ParseRulesetVersion(r); return err },
		"ruleset/current":      func(r *Record) error { _, err := ParseRulesetCurrent(r); return err },
		"ruleset/worker/node1": func(r *Record) error { _, err := ParseRulesetWorker(r); return err },
		"command":              func(r *Record) error { _, err := ParseCommand(r); return err },
		"reply":                func(r *Record) error { _, err := ParseReply(r); return err },
		"difference":           func(r *Record) error { _, err := ParseShadowDiff(r); return err },
	} {
		if err := parse(&Record{Key: []byte(name), Value: []byte(later)}); !errors.Is(err, ErrNewer) {
			t.Errorf("%s of a later form gives %v, want ErrNewer", name, err)
		}
		if err := parse(&Record{Key: []byte(name), Value: []byte(`{"v":0}`)}); err == nil || errors.Is(err, ErrNewer) {
			t.Errorf("%s of a form that never was gives %v, want another error than ErrNewer", name, err)
		}
	}
}

func FuzzParseBlob(f *testing.F) {
	sum := strings.Repeat("0a", 32)
	b := Blob{Owner: BlobShared, Content: Content{SHA256: sum, Size: 3}, Node: "n"}
	f.Add(b.Record().Key, b.Record().Value)
	f.Add([]byte("shared/"+sum+"/1"), []byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if got, err := BlobShared.ParseBlob(&Record{Key: key, Value: value}); err == nil {
			rec := got.Record()
			if again, err := BlobShared.ParseBlob(&rec); err != nil || cmp.Diff(got, again) != "" {
				t.Errorf("%q does not survive its record: %v", value, err)
			}
		}
		for _, o := range []BlobOwner{BlobShared, BlobRuleset, BlobPackage} {
			if _, n, ok := o.ChunkOf(key); ok && (n < 0 || n*MaxFileChunkBytes >= MaxBlobBytes) {
				t.Errorf("%q is chunk %d", key, n)
			}
		}
	})
}

// The table of docs/design.md names the topics that there are.
func TestTheDesignListsEveryTopic(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "docs", "design.md"))
	if err != nil {
		t.Fatalf("no design: %v", err)
	}
	_, table, _ := strings.Cut(string(text), "### Topics")
	table, _, _ = strings.Cut(table, "\n\n`vedette topics apply`")
	row := regexp.MustCompile("(?m)^\\| ((?:`[a-z]+`(?:, )?)+) \\|(.*)$")
	var listed, single []string
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		for _, name := range regexp.MustCompile("[a-z]+").FindAllString(m[1], -1) {
			if listed = append(listed, name); strings.Contains(m[2], "1 partition") {
				single = append(single, name)
			}
		}
	}
	var want, wantSingle []string
	for _, topic := range Topics() {
		if want = append(want, topic.Name); topic.Single {
			wantSingle = append(wantSingle, topic.Name)
		}
	}
	for _, planned := range []string{"correlate"} { // a later step
		listed = slices.DeleteFunc(listed, func(s string) bool { return s == planned })
	}
	for _, s := range [][]string{want, wantSingle, listed, single} {
		slices.Sort(s)
	}
	if d := cmp.Diff(want, listed); d != "" {
		t.Errorf("the table of topics differs from schemas.Topics: %s", d)
	}
	if d := cmp.Diff(wantSingle, single); d != "" {
		t.Errorf("the table names others as topics of one partition: %s", d)
	}
}
