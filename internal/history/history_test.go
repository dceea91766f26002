package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// bench is a broker with one partition of events and a directory.
type bench struct {
	t    *testing.T
	c    *kafka.Cluster
	p    *kafka.Producer
	path string
	n    int // records produced
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, c: kafkatest.NewWith(t, 1), path: filepath.Join(t.TempDir(), "history")}
	var err error
	if b.p, err = b.c.NewProducer("test", slog.New(slog.DiscardHandler), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.p.Close)
	return b
}

// produce writes n events, a second apart, each of which does not compress.
func (b *bench) produce(n int) {
	b.t.Helper()
	var recs []schemas.Record
	for range n {
		e := schemas.Event{Time: epoch.Add(time.Duration(b.n) * time.Second), AgentID: "001", AgentName: "a", Location: "/x", Queue: '1', Log: fmt.Appendf(nil, "event %d\x00\xff", b.n)}
		recs = append(recs, e.Record())
		b.n++
	}
	if _, err := b.p.ProduceSync(b.t.Context(), recs...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) writer(change func(*Writer)) *Writer {
	b.t.Helper()
	w, err := NewWriter(Config{Path: b.path, Topic: schemas.TopicEvents, BytesMax: 1 << 30}, b.c, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = w.enc.Close() })
	w.close.bytes = 1 << 10 // some fifteen events
	if change != nil {
		change(w)
	}
	return w
}

func (b *bench) pass(w *Writer) {
	b.t.Helper()
	if err := w.pass(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) open() *Dir {
	b.t.Helper()
	id, err := b.c.TopicID(b.t.Context(), schemas.TopicEvents)
	if err != nil {
		b.t.Fatal(err)
	}
	d, err := Open(b.path, id)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// deleteBefore removes records from the log, as retention does.
func (b *bench) deleteBefore(offset int64) {
	b.t.Helper()
	adm, err := b.c.Admin()
	if err != nil {
		b.t.Fatal(err)
	}
	defer adm.Close()
	at := kadm.Offsets{}
	at.AddOffset(b.c.Topic(schemas.TopicEvents), 0, offset, -1)
	if _, err := adm.DeleteRecords(b.t.Context(), at); err != nil {
		b.t.Fatal(err)
	}
}

func read(t *testing.T, d *Dir, from, to int64) (out []schemas.Record) {
	t.Helper()
	err := d.Read(t.Context(), 0, from, to, func(r schemas.Record) bool { out = append(out, r); return true })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (b *bench) log() (out []schemas.Record) {
	b.t.Helper()
	ranges, err := b.c.Ranges(b.t.Context(), schemas.TopicEvents)
	if err != nil {
		b.t.Fatal(err)
	}
	err = b.c.Read(b.t.Context(), schemas.TopicEvents, 0, ranges[0], func(r schemas.Record) bool {
		r.Timestamp = r.Timestamp.Local()
		out = append(out, r)
		return true
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func count(t *testing.T, path string) (whole, began int) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			began++
		} else {
			whole++
		}
	}
	return whole, began
}

func TestTheFilesHoldWhatTheLogHeld(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.produce(100)
	odd := []schemas.Record{
		{Topic: schemas.TopicEvents, Timestamp: epoch.Add(100 * time.Second), Value: bytes.Repeat([]byte{0}, 100_000)},
		{Topic: schemas.TopicEvents, Timestamp: epoch.Add(101 * time.Second), Key: []byte{}, Value: []byte("x"), Headers: []schemas.Header{{Key: "", Value: nil}, {Key: "k", Value: []byte{}}, {Key: "k", Value: []byte("v")}}},
	}
	if _, err := b.p.ProduceSync(t.Context(), odd...); err != nil {
		t.Fatal(err)
	}
	want := b.log()
	w := b.writer(nil)
	b.pass(w)
	w.end()
	d := b.open()
	if first, end, ok := d.Range(0); first != 0 || end != 102 || !ok || len(d.Partitions()) != 1 || d.Gaps(0) != nil || d.Ignored != 0 {
		t.Error(first, end, ok, d.Partitions(), d.Gaps(0))
	}
	if diff := cmp.Diff(want, read(t, d, 0, 1000)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[37:62], read(t, d, 37, 62)); diff != "" {
		t.Error(diff)
	}
	if whole, began := count(t, b.path); whole < 5 || began != 0 {
		t.Errorf("%d files, %d under way", whole, began)
	}
	n := 0
	if err := d.Read(t.Context(), 0, 0, 1000, func(schemas.Record) bool { n++; return n < 40 }); err != nil || n != 40 {
		t.Error(n, err)
	}
	for offset, at := range map[int64]time.Time{
		0: epoch.Add(-time.Hour), 1: epoch.Add(time.Second), 38: epoch.Add(37*time.Second + time.Millisecond), 101: epoch.Add(101 * time.Second), 102: epoch.Add(time.Hour),
	} {
		if got := d.After(0, at); got != offset {
			t.Errorf("at %s stands offset %d, not %d", at, got, offset)
		}
	}
	if _, _, ok := d.Range(7); ok || d.After(7, epoch) != 0 || d.Gaps(7) != nil {
		t.Error("a partition is invented")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Read(ctx, 0, 0, 1000, func(schemas.Record) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAWriterGoesOnBehindItsWholeFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for round := range 5 {
		b.produce(23)
		w := b.writer(nil)
		b.pass(w)
		b.produce(4)
		b.pass(w)
		if _, began := count(t, b.path); began == 0 && round < 3 {
			t.Error("no file is under way, so nothing is tried")
		}
		if round%2 == 1 {
			w.end()
		} else { // killed, in the middle of a line
			for _, p := range w.parts {
				if p.open != nil {
					_ = p.open.flush(w.enc)
					_, _ = p.open.f.WriteString("half")
					_ = p.open.f.Close()
				}
			}
		}
	}
	w := b.writer(nil)
	b.pass(w)
	w.end()
	d := b.open()
	if diff := cmp.Diff(b.log(), read(t, d, 0, 1000)); diff != "" || d.Gaps(0) != nil {
		t.Error(diff, d.Gaps(0))
	}
	if _, began := count(t, b.path); began != 0 {
		t.Errorf("%d unfinished files are left", began)
	}
	if n := testutil.ToFloat64(w.lost); n != 0 {
		t.Errorf("%v records lost", n)
	}
}

func TestWhatRetentionTookIsAGap(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.produce(10)
	b.deleteBefore(3) // before the first time: no loss
	w := b.writer(nil)
	b.pass(w)
	b.produce(30)
	b.deleteBefore(25)
	b.pass(w)
	w.end()
	d := b.open()
	if diff := cmp.Diff([]Gap{{10, 25}}, d.Gaps(0)); diff != "" {
		t.Error(diff)
	}
	if got := read(t, d, 0, 1000); len(got) != 7+15 || got[0].Offset != 3 || got[7].Offset != 25 {
		t.Errorf("%d records", len(got))
	}
	if n := testutil.ToFloat64(w.lost); n != 15 {
		t.Errorf("%v records lost", n)
	}
}

func TestTheOldestFilesGoFirst(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.produce(200)
	w := b.writer(func(w *Writer) { w.c.BytesMax = 4000 })
	b.pass(w)
	w.end()
	d := b.open()
	first, end, ok := d.Range(0)
	if !ok || first == 0 || end != 200 || d.Gaps(0) != nil {
		t.Error(first, end, ok, d.Gaps(0))
	}
	total := int64(0)
	for _, f := range d.files[0] {
		total += f.size
	}
	if n := testutil.ToFloat64(w.bytes); total > 4000 || int64(n) != total || total < 2000 {
		t.Errorf("%d bytes, counted %v", total, n)
	}
	// A file that the bound took while it is read is an error that names it.
	if err := os.Remove(d.files[0][1].path); err != nil {
		t.Fatal(err)
	}
	if err := d.Read(t.Context(), 0, 0, 1000, func(schemas.Record) bool { return true }); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	// A smaller bound counts from the start.
	w = b.writer(func(w *Writer) { w.c.BytesMax = 1 })
	b.pass(w)
	if whole, _ := count(t, b.path); whole != 0 {
		t.Errorf("%d files are left", whole)
	}
}

func TestAnotherIncarnationBeginsAnew(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.produce(40)
	w := b.writer(nil)
	b.pass(w)
	old, err := b.c.TopicID(t.Context(), schemas.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	adm, err := b.c.Admin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := adm.DeleteTopics(t.Context(), b.c.Topic(schemas.TopicEvents)); err != nil {
		t.Fatal(err)
	}
	adm.Close()
	if _, err := b.c.ApplyTopics(t.Context(), kafka.Retention{}); err != nil {
		t.Fatal(err)
	}
	if b.p, err = b.c.NewProducer("test", slog.New(slog.DiscardHandler), nil); err != nil {
		t.Fatal(err)
	}
	defer b.p.Close()
	b.produce(20)
	b.pass(w)
	w.end()
	d := b.open()
	if first, end, ok := d.Range(0); first != 0 || end != 20 || !ok || d.Ignored == 0 {
		t.Error(first, end, ok, d.Ignored)
	}
	newest, err := Open(b.path, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(read(t, d, 0, 1000), read(t, newest, 0, 1000)); diff != "" {
		t.Error(diff)
	}
	// The whole files of the first Writer are there too, but its open files are
	// not.
	d, err = Open(b.path, old)
	if err != nil {
		t.Fatal(err)
	}
	if first, end, ok := d.Range(0); first != 0 || end < 15 || !ok {
		t.Error(first, end, ok)
	}
}

func TestABrokenFileIsNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.produce(40)
	w := b.writer(nil)
	b.pass(w)
	w.end()
	d := b.open()
	f := d.files[0][1]
	raw, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	all := func(schemas.Record) bool { return true }
	for what, broken := range map[string][]byte{
		"cut": raw[:len(raw)-3], "a byte changed": append(append(bytes.Clone(raw[:headerBytes+20]), raw[headerBytes+20]^1), raw[headerBytes+21:]...), "longer": append(bytes.Clone(raw), raw[headerBytes:]...),
	} {
		if err := os.WriteFile(f.path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.Read(t.Context(), 0, 0, 1000, all); !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), filepath.Base(f.path)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.WriteFile(f.path, append([]byte("x"), raw...), 0o600); err != nil {
		t.Fatal(err)
	}
	if d := b.open(); d.Ignored != 1 || len(d.Gaps(0)) != 1 {
		t.Error(d.Ignored, d.Gaps(0))
	}
	if d, err := Open(filepath.Join(b.path, "nowhere"), ""); err != nil || len(d.Partitions()) != 0 {
		t.Error(err)
	}
}

func FuzzReadFile(f *testing.F) {
	h := Header{V: version, Topic: "events", TopicID: "t", Partition: 3, First: 5, End: 9, From: 1, To: 2, Records: 2}
	head, err := h.frame()
	if err != nil {
		f.Fatal(err)
	}
	w, err := NewWriter(Config{}, nil, nil, prometheus.NewRegistry())
	if err != nil {
		f.Fatal(err)
	}
	body := appendRecord(nil, &schemas.Record{Offset: 5, Timestamp: time.UnixMilli(1), Key: []byte("k"), Value: []byte("v"), Headers: []schemas.Header{{Key: "a", Value: []byte("b")}}}, 5)
	body = appendRecord(body, &schemas.Record{Offset: 8, Timestamp: time.UnixMilli(2)}, 6)
	f.Add(head, body)
	f.Add([]byte("x"), []byte{1, 0xff})
	f.Fuzz(func(t *testing.T, head, body []byte) {
		h, err := readHeader(bytes.NewReader(head))
		if err != nil {
			h = Header{V: version, Topic: "events", TopicID: "t", End: 1 << 40, Records: 1 << 30}
		}
		for _, in := range [][]byte{body, w.enc.EncodeAll(body, nil)} {
			next := h.First
			_ = readRecords(context.Background(), bytes.NewReader(in), &h, 0, 1<<62, func(rec schemas.Record) bool {
				if rec.Offset < next || rec.Offset >= h.End {
					t.Errorf("offset %d of %+v", rec.Offset, h)
				}
				next = rec.Offset + 1
				// A record that was read is written so that it reads the same.
				again := appendRecord(nil, &rec, h.First)
				n := uvarintLen(uint64(len(again)))
				for n > 1 && uvarintLen(uint64(len(again)-n)) < n {
					n--
				}
				got, err := parseRecord(again[n:], &h, h.First)
				if err != nil || cmp.Diff(rec, got) != "" {
					t.Error(err, cmp.Diff(rec, got))
				}
				return true
			})
		}
	})
}
