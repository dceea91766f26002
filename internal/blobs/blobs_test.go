package blobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/replica"
	"vedette/internal/secret"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

func testBox(t *testing.T, key byte) *secret.Box {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{key}, 32))
	if err != nil {
		t.Fatalf("no box: %v", err)
	}
	return box
}

// owner is a state whose control records `name/<x>` list contents as JSON.
type owner struct {
	*Store
	stop func()

	mu    sync.Mutex
	names map[string][]schemas.Content
}

func (o *owner) apply(_ context.Context, rec *schemas.Record) error {
	var list []schemas.Content
	if len(rec.Value) > 0 {
		if err := json.Unmarshal(rec.Value, &list); err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names[string(rec.Key)] = list
	return nil
}

func (o *owner) named() []schemas.Content {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []schemas.Content
	for _, list := range o.names {
		out = append(out, list...)
	}
	return out
}

// list is a control record that names contents; none removes the name.
func list(name string, contents ...[]byte) schemas.Record {
	rec := schemas.Record{Topic: schemas.TopicFiles, Key: []byte("name/" + name)}
	var cs []schemas.Content
	for _, c := range contents {
		cs = append(cs, ContentOf(c))
	}
	if cs != nil {
		rec.Value, _ = json.Marshal(cs)
	}
	return rec
}

func start(t *testing.T, c *kafka.Cluster, node string, key byte) *owner {
	t.Helper()
	return startWith(t, c, node, key, garbageAfter)
}

// startWith is start with another time for which contents stay without a name.
func startWith(t *testing.T, c *kafka.Cluster, node string, key byte, grace time.Duration) *owner {
	t.Helper()
	o := &owner{names: map[string][]schemas.Content{}}
	var err error
	o.Store, err = Open(c, testBox(t, key), Config{
		Name: "test", Owner: schemas.BlobShared, Apply: o.apply, Named: o.named,
		Claims: func(key []byte) bool { return bytes.HasPrefix(key, []byte("name/")) },
	}, node, quiet, nil)
	if err != nil {
		t.Fatalf("the store does not open: %v", err)
	}
	o.grace = grace
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := o.Run(ctx); err != nil {
			t.Errorf("Run ended with %v, want nil", err)
		}
	}()
	o.stop = func() { cancel(); <-done }
	t.Cleanup(o.stop)
	select {
	case <-o.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("the store does not become ready")
	}
	return o
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func random(seed byte, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func publish(t *testing.T, o *owner, name string, contents ...[]byte) {
	t.Helper()
	if err := o.Publish(t.Context(), contents, list(name, contents...)); err != nil {
		t.Fatalf("Publish of %s returned %v", name, err)
	}
}

func load(t *testing.T, o *owner, contents ...[]byte) {
	t.Helper()
	var want []schemas.Content
	for _, c := range contents {
		want = append(want, ContentOf(c))
	}
	got, err := o.Load(t.Context(), want...)
	if err != nil {
		t.Errorf("Load returned %v", err)
		return
	}
	for i := range contents {
		if got[i] == nil || !bytes.Equal(got[i], contents[i]) {
			t.Errorf("content %d has %d bytes, want the %d that were published", i, len(got[i]), len(contents[i]))
		}
	}
}

// records returns how many records with a value the topics hold: control records of
// contents, chunks in blobs and chunks in files, the newest of each key.
func records(t *testing.T, c *kafka.Cluster) (manifests, chunks, old int) {
	t.Helper()
	count := func(topic string, of func(key []byte) bool) int {
		newest := map[string]bool{}
		ranges, err := c.Ranges(t.Context(), topic)
		if err != nil {
			t.Fatalf("no range of %s: %v", topic, err)
		}
		err = c.Read(t.Context(), topic, 0, ranges[0], func(rec schemas.Record) bool {
			if of(rec.Key) {
				newest[string(rec.Key)] = len(rec.Value) > 0
			}
			return true
		})
		if err != nil {
			t.Fatalf("%s cannot be read: %v", topic, err)
		}
		n := 0
		for _, there := range newest {
			if there {
				n++
			}
		}
		return n
	}
	isChunk := func(key []byte) bool { _, _, ok := schemas.BlobShared.ChunkOf(key); return ok }
	manifests = count(schemas.TopicFiles, func(key []byte) bool { _, ok := schemas.BlobShared.BlobOf(key); return ok })
	return manifests, count(schemas.TopicBlobs, isChunk), count(schemas.TopicFiles, isChunk)
}

func end(t *testing.T, c *kafka.Cluster, topic string) int64 {
	t.Helper()
	r, err := c.Ranges(t.Context(), topic)
	if err != nil {
		t.Fatalf("no range of %s: %v", topic, err)
	}
	return r[0].End
}

func produce(t *testing.T, c *kafka.Cluster, recs ...schemas.Record) {
	t.Helper()
	p, err := c.NewProducer("test", quiet, nil)
	if err != nil {
		t.Fatalf("no producer: %v", err)
	}
	defer p.Close()
	if _, err := p.ProduceSync(t.Context(), recs...); err != nil {
		t.Fatalf("the records are not written: %v", err)
	}
}

func TestContentsAreReadElsewhereAndWrittenOnce(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a, b := start(t, c, "a", 1), start(t, c, "b", 1)
	small, empty := []byte("small"), []byte{}
	big := random(1, 3*schemas.MaxFileChunkBytes+17)
	huge := random(2, flushBytes+1)
	publish(t, a, "x", small, big, empty, small, huge)
	load(t, a, huge, small, empty, big)
	eventually(t, "the other node knows the names", func() bool { return len(b.named()) == 5 })
	load(t, b, big, small, small)
	load(t, start(t, c, "late", 1), huge, big, small)
	before := end(t, c, schemas.TopicBlobs)
	publish(t, b, "y", big, small)
	if after := end(t, c, schemas.TopicBlobs); after != before {
		t.Errorf("contents that are there were written again: %d records more", after-before)
	}
	if _, _, old := records(t, c); old != 0 {
		t.Errorf("files holds %d chunks of contents, want none", old)
	}
	if n := testutil.ToFloat64(b.reads.WithLabelValues("test", "read")); n != 3 {
		t.Errorf("%v contents count as read, want 3", n)
	}
}

func TestAMissingOrDamagedContentIsToldAndCanBePublishedAgain(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, "a", 1)
	data, other := random(1, schemas.MaxFileChunkBytes+1), random(2, schemas.MaxFileChunkBytes+1)
	publish(t, a, "x", data, other)
	if _, err := a.Load(t.Context(), ContentOf([]byte("never"))); !errors.Is(err, ErrMissing) {
		t.Errorf("Load of an unknown content returned %v, want ErrMissing", err)
	}
	if _, err := a.Load(t.Context(), schemas.Content{SHA256: ContentOf(data).SHA256, Size: int64(len(data)) - 1}); !errors.Is(err, ErrMissing) {
		t.Errorf("Load of another size returned %v, want ErrMissing", err)
	}
	// A record that sends readers elsewhere, as after the loss of the topic's end.
	a.Store.mu.Lock()
	lost := a.blobs[ContentOf(data).SHA256]
	a.Store.mu.Unlock()
	lost.First, lost.Last = 1000, 1001
	if err := a.Put(t.Context(), lost.Record()); err != nil {
		t.Fatalf("Put returned %v", err)
	}
	if _, err := a.Load(t.Context(), ContentOf(data)); !errors.Is(err, ErrMissing) {
		t.Errorf("Load of a lost content returned %v, want ErrMissing", err)
	}
	// Chunks of the right size with other bytes.
	sum := ContentOf(other).SHA256
	for n := range 2 {
		chunk := data[n*schemas.MaxFileChunkBytes : min((n+1)*schemas.MaxFileChunkBytes, len(data))]
		produce(t, c, replica.Seal(testBox(t, 1), purpose, schemas.BlobShared.Chunk(schemas.TopicBlobs, sum, n, chunk)))
	}
	a.Store.mu.Lock()
	moved := a.blobs[sum]
	a.Store.mu.Unlock()
	moved.First, moved.Last = end(t, c, schemas.TopicBlobs)-2, end(t, c, schemas.TopicBlobs)-1
	if err := a.Put(t.Context(), moved.Record()); err != nil {
		t.Fatalf("Put returned %v", err)
	}
	if _, err := a.Load(t.Context(), ContentOf(other)); !errors.Is(err, ErrDamaged) {
		t.Errorf("Load of a damaged content returned %v, want ErrDamaged", err)
	}
	for result, want := range map[string]float64{"missing": 3, "damaged": 1, "read": 0} {
		if n := testutil.ToFloat64(a.reads.WithLabelValues("test", result)); n != want {
			t.Errorf("%v contents count as %s, want %v", n, result, want)
		}
	}
	publish(t, a, "x", data, other)
	load(t, a, data, other)
}

func TestChunksThatWereWrittenAgainAreFoundBehindTheirPlace(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, "a", 1)
	data := random(1, 2*schemas.MaxFileChunkBytes)
	publish(t, a, "x", data)
	// Another node has written the same chunks, and compaction removes the first copy.
	var again []schemas.Record
	for _, rec := range a.chunks(schemas.TopicBlobs, ContentOf(data).SHA256, data) {
		again = append(again, replica.Seal(testBox(t, 1), purpose, rec))
	}
	produce(t, c, again...)
	if err := c.DeleteBefore(t.Context(), schemas.TopicBlobs, 0, 2); err != nil {
		t.Fatalf("the topic is not cut: %v", err)
	}
	load(t, a, data)
}

func TestForeignChunksAreCountedAndNotTaken(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, "a", 1)
	data := random(1, 2*schemas.MaxFileChunkBytes)
	forged := a.chunks(schemas.TopicBlobs, ContentOf(data).SHA256, random(2, len(data)))
	produce(t, c, replica.Seal(testBox(t, 2), purpose, forged[0]), forged[1])
	publish(t, a, "x", data)
	a.Store.mu.Lock()
	wide := a.blobs[ContentOf(data).SHA256]
	a.Store.mu.Unlock()
	wide.First = 0
	if err := a.Put(t.Context(), wide.Record()); err != nil {
		t.Fatalf("Put returned %v", err)
	}
	load(t, a, data)
	eventually(t, "they are in the dead letter", func() bool { return deadLetters(t, c) == 2 })
}

func deadLetters(t *testing.T, c *kafka.Cluster) (n int64) {
	t.Helper()
	ranges, err := c.Ranges(t.Context(), schemas.TopicDeadLetter)
	if err != nil {
		t.Fatalf("no range of the dead letter: %v", err)
	}
	for _, r := range ranges {
		n += r.End
	}
	return n
}

func TestContentsThatNobodyNamesGo(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, "a", 1)
	keep, drop := random(1, schemas.MaxFileChunkBytes+1), random(2, schemas.MaxFileChunkBytes+1)
	publish(t, a, "x", keep, drop)
	publish(t, a, "x", keep)
	if err := a.sweep(t.Context()); err != nil {
		t.Fatalf("Sweep returned %v", err)
	}
	if manifests, chunks, _ := records(t, c); manifests != 2 || chunks != 4 {
		t.Errorf("%d contents and %d chunks stand, want 2 and 4: a publication may be about to name one", manifests, chunks)
	}
	strict := startWith(t, c, "b", 1, 0)
	if err := strict.sweep(t.Context()); err != nil {
		t.Fatalf("Sweep returned %v", err)
	}
	if manifests, chunks, _ := records(t, c); manifests != 1 || chunks != 2 {
		t.Errorf("%d contents and %d chunks stand, want 1 and 2", manifests, chunks)
	}
	load(t, strict, keep)
	eventually(t, "the first node knows", func() bool { a.Store.mu.Lock(); defer a.Store.mu.Unlock(); return len(a.blobs) == 1 })
	publish(t, a, "y", drop)
	load(t, a, drop, keep)
	// A content whose writer was killed goes too.
	begun := schemas.Blob{Owner: schemas.BlobShared, Content: ContentOf([]byte("begun")), First: -1, Time: time.Now()}
	if err := a.Put(t.Context(), begun.Record()); err != nil {
		t.Fatalf("Put returned %v", err)
	}
	eventually(t, "the other node knows", func() bool {
		strict.Store.mu.Lock()
		defer strict.Store.mu.Unlock()
		return len(strict.blobs) == 3
	})
	if err := strict.sweep(t.Context()); err != nil {
		t.Fatalf("Sweep returned %v", err)
	}
	if manifests, chunks, _ := records(t, c); manifests != 2 || chunks != 4 {
		t.Errorf("%d contents and %d chunks stand, want 2 and 4", manifests, chunks)
	}
}

func TestAMarkBehindTheNameDoesNotCount(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, "a", 1)
	data := random(1, 100)
	publish(t, a, "x", data)
	a.Store.mu.Lock()
	blob := a.blobs[ContentOf(data).SHA256]
	a.Store.mu.Unlock()
	// A sweep that decided before it had read the name.
	if err := a.remove(t.Context(), &blob); err != nil {
		t.Fatalf("remove returned %v", err)
	}
	load(t, a, data)
	load(t, start(t, c, "late", 1), data)
	if manifests, chunks, _ := records(t, c); manifests != 1 || chunks != 1 {
		t.Errorf("%d contents and %d chunks stand, want 1 and 1", manifests, chunks)
	}
}

func TestNothingIsRemovedWhileANewerProgramNamesContents(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, "a", 1)
	data := random(1, 100)
	publish(t, a, "x", data)
	publish(t, a, "x", []byte("other"))
	later := schemas.BlobTombstone(schemas.BlobShared, ContentOf([]byte("new")).SHA256)
	later.Value = []byte(`{"v":2,"sha256":7}`)
	if err := a.Put(t.Context(), later); !errors.Is(err, schemas.ErrNewer) {
		t.Errorf("Put of a later form returned %v, want ErrNewer", err)
	}
	b := startWith(t, c, "b", 1, 0)
	if err := b.sweep(t.Context()); err != nil || !errors.Is(b.Err(), replica.ErrNewer) {
		t.Errorf("Sweep returned %v and Err is %v, want nil and ErrNewer", err, b.Err())
	}
	load(t, b, data)
}

// writeOld writes contents and their names as a release before the topic blobs does.
func writeOld(t *testing.T, c *kafka.Cluster, name string, contents ...[]byte) {
	t.Helper()
	var recs []schemas.Record
	for _, data := range contents {
		n := 0
		for chunk := range slices.Chunk(data, schemas.MaxFileChunkBytes) {
			recs = append(recs, replica.Seal(testBox(t, 1), purpose, schemas.SharedChunk(ContentOf(data).SHA256, n, chunk)))
			n++
		}
	}
	produce(t, c, append(recs, replica.Seal(testBox(t, 1), purpose, list(name, contents...)))...)
}

func TestOldContentsStayAsTheyAreWhileOldNodesMayRun(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	data, more := random(1, 2*schemas.MaxFileChunkBytes+5), []byte("more")
	writeOld(t, c, "x", data)
	a := start(t, c, "a", 1)
	load(t, a, data)
	publish(t, a, "y", data, more)
	load(t, a, data, more)
	if manifests, chunks, old := records(t, c); manifests != 0 || chunks != 0 || old != 4 {
		t.Errorf("%d contents, %d chunks in blobs and %d in files; a node of the release before needs all 4 in files", manifests, chunks, old)
	}
	// What it writes is read, and what it removes is written again.
	writeOld(t, c, "z", []byte("by the old node"))
	eventually(t, "the new node knows its name", func() bool { return len(a.named()) == 4 })
	load(t, a, []byte("by the old node"))
	produce(t, c, replica.Seal(testBox(t, 1), purpose, schemas.SharedChunk(ContentOf(more).SHA256, 0, nil)))
	publish(t, a, "y", data, more)
	load(t, a, more)
}

func TestOldContentsAreCarriedOverOnce(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	data, huge, gone := random(1, 2*schemas.MaxFileChunkBytes+5), random(2, flushBytes+3*schemas.MaxFileChunkBytes), []byte("no name")
	writeOld(t, c, "x", data, huge, gone, []byte{})
	writeOld(t, c, "x", data, huge, []byte{})
	a, late := startWith(t, c, "a", 1, 0), start(t, c, "b", 1)
	if err := a.Activate(t.Context()); err != nil {
		t.Fatalf("Activate returned %v", err)
	}
	eventually(t, "the contents are in blobs", func() bool {
		_, _, old := records(t, c)
		return old == 0
	})
	load(t, a, data, huge)
	eventually(t, "the other node knows", func() bool { late.Store.mu.Lock(); defer late.Store.mu.Unlock(); return len(late.old) == 0 })
	load(t, late, data, huge)
	late.stop()
	before := end(t, c, schemas.TopicBlobs)
	late = start(t, c, "b", 1)
	load(t, late, huge, data)
	publish(t, late, "y", data)
	if after := end(t, c, schemas.TopicBlobs); after != before {
		t.Errorf("a later start or publication wrote %d records again", after-before)
	}
	if err := a.Activate(t.Context()); err != nil {
		t.Errorf("a second Activate returned %v", err)
	}
	// A node of the older release that was overlooked still writes the old form.
	straggler := []byte("by a straggler")
	writeOld(t, c, "s", straggler)
	eventually(t, "its name is read", func() bool { return slices.Contains(a.named(), ContentOf(straggler)) })
	load(t, a, straggler)
	a.Sweep(t.Context())
	if _, _, old := records(t, c); old != 0 {
		t.Errorf("%d chunks stay in files after a sweep, want none", old)
	}
	load(t, a, straggler)
}
