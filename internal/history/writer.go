package history

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/schemas"
)

const (
	// every is how often a Writer looks for new records. The embedded broker
	// removes old or excess records once a minute.
	every = 20 * time.Second
	// A file is closed with so many bytes of records, or at so old an age.
	closeBytes = 64 << 20
	closeAfter = 24 * time.Hour
	// chunkBytes is the size compressed at once, and so held in memory per
	// partition.
	chunkBytes = 1 << 20
	// filesMax bounds the files beside their bytes: each day and each start of the
	// process make one per partition.
	filesMax = 50_000
)

// Config sets the topic, place and bounds of a Writer.
type Config struct {
	// Path is the directory. Nobody else may write there.
	Path string
	// Topic is the copied topic, without prefix.
	Topic string
	// BytesMax bounds the files together.
	BytesMax int64
	// Retention is how long the brokers keep a record; 0 for ever. RetentionBytes
	// is how much of each partition they keep; 0 for all.
	Retention      time.Duration
	RetentionBytes int64
}

// Writer copies a topic into files.
type Writer struct {
	c       Config
	cluster *kafka.Cluster
	log     *slog.Logger
	enc     *zstd.Encoder
	every   time.Duration
	close   struct { // when a file is closed
		bytes int64
		after time.Duration
	}

	records, lost, failures prometheus.Counter
	bytes                   prometheus.Gauge

	// Of Run's goroutine.
	topicID string
	parts   map[int32]*part
	failed  string
}

// part is the position of a partition's copy.
type part struct {
	next int64    // the first offset that is not copied
	open *segment // nil between files
}

// segment is a file under way.
type segment struct {
	Header
	f     *os.File
	path  string // once it is finished
	began time.Time
	chunk []byte
	raw   int64 // bytes of records so far
}

// NewWriter prepares a writer; nothing is touched before Run.
func NewWriter(c Config, cluster *kafka.Cluster, log *slog.Logger, reg prometheus.Registerer) (*Writer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(chunkBytes))
	if err != nil {
		return nil, err
	}
	w := &Writer{c: c, cluster: cluster, log: log, enc: enc, every: every, parts: map[int32]*part{}}
	w.close.bytes, w.close.after = closeBytes, closeAfter
	// The process can die: records in an open file must still be in the log.
	if c.RetentionBytes > 0 {
		w.close.bytes = min(w.close.bytes, c.RetentionBytes/4)
	}
	if c.Retention > 0 {
		w.close.after = min(w.close.after, c.Retention/4)
		w.every = min(w.every, c.Retention/8)
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_history_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	w.records = counter("records_total", "Records copied from the log to files.")
	w.lost = counter("lost_records_total", "Records that retention took before they were copied.")
	w.failures = counter("failures_total", "Times that copying failed; it is tried again.")
	w.bytes = prometheus.NewGauge(prometheus.GaugeOpts{Name: "vedette_history_bytes", Help: "Size of the files."})
	reg.MustRegister(w.bytes)
	return w, nil
}

// Run copies until ctx ends, then finishes the files under way and returns nil.
// Failures are logged and tried again: they must not end the rest of the process.
func (w *Writer) Run(ctx context.Context) error {
	defer func() {
		w.end()
		_ = w.enc.Close()
	}()
	for {
		err := w.pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			w.failures.Inc()
			if w.failed != err.Error() { // a full disk is reported once
				w.log.Error("records are not copied to the history", "topic", w.c.Topic, "err", err)
			}
			w.failed = err.Error()
			w.drop()
		} else {
			w.failed = ""
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(w.every):
		}
	}
}

// pass copies new records.
func (w *Writer) pass(ctx context.Context) error {
	id, err := w.cluster.TopicID(ctx, w.c.Topic)
	if err != nil {
		return err
	}
	ranges, err := w.cluster.Ranges(ctx, w.c.Topic)
	if err != nil {
		return err
	}
	if id != w.topicID {
		if err := w.begin(id); err != nil {
			return err
		}
	}
	for p, r := range ranges {
		if err := w.copy(ctx, int32(p), r); err != nil {
			return err
		}
	}
	return nil
}

// begin takes up the files that are there.
func (w *Writer) begin(topicID string) error {
	w.drop()
	if err := os.MkdirAll(w.c.Path, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(w.c.Path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, began := isFile(e.Name()); began { // a crash left it
			if err := os.Remove(filepath.Join(w.c.Path, e.Name())); err != nil {
				return err
			}
		}
	}
	all, broken, err := list(w.c.Path)
	if err != nil {
		return err
	}
	if broken > 0 {
		w.log.Warn("files of the history cannot be read", "files", broken, "path", w.c.Path)
	}
	for _, f := range all {
		if f.TopicID == topicID {
			p := w.part(f.Partition)
			p.next = max(p.next, f.End)
		}
	}
	w.topicID = topicID
	return w.bound()
}

func (w *Writer) part(p int32) *part {
	if w.parts[p] == nil {
		w.parts[p] = &part{}
	}
	return w.parts[p]
}

// copy copies the records of a partition that are not copied yet.
func (w *Writer) copy(ctx context.Context, partition int32, r kafka.Range) error {
	p := w.part(partition)
	if p.next > r.End {
		// The broker lost the end of its log. Whole files keep the lost records;
		// an open file is copied anew.
		if p.open != nil {
			w.discard(p)
		}
		return nil
	}
	if r.Start > p.next {
		if p.next == 0 {
			p.next = r.Start // the first time
		} else if err := w.gap(p, partition, r.Start); err != nil {
			return err
		}
	}
	var failed error
	err := w.cluster.Read(ctx, w.c.Topic, partition, kafka.Range{Start: p.next, End: r.End}, func(rec schemas.Record) bool {
		failed = w.add(p, &rec)
		return failed == nil && ctx.Err() == nil
	})
	if failed != nil || ctx.Err() != nil {
		return failed
	}
	if err != nil && !errors.Is(err, kafka.ErrReadStalled) { // retention can remove the records before they are read
		return err
	}
	if p.open != nil && time.Since(p.open.began) >= w.close.after {
		return w.finish(p)
	}
	return nil
}

// gap notes that the records up to an offset are gone. No file covers them.
func (w *Writer) gap(p *part, partition int32, to int64) error {
	w.lost.Add(float64(to - p.next))
	w.log.Warn("records were removed by retention before they were copied to the history", "topic", w.c.Topic, "partition", partition, "offset", p.next, "lost", to-p.next)
	if err := w.finish(p); err != nil {
		return err
	}
	p.next = to
	return nil
}

// add copies one record.
func (w *Writer) add(p *part, rec *schemas.Record) error {
	if n := rec.Offset - p.next; n > 1 { // one is the mark of a transaction
		if err := w.gap(p, rec.Partition, rec.Offset); err != nil {
			return err
		}
	}
	if size(rec) > recordBytesMax {
		w.lost.Inc() // far more than an event may have
		p.next = rec.Offset + 1
		return nil
	}
	s := p.open
	if s == nil {
		s = &segment{Header: Header{V: version, Topic: w.c.Topic, TopicID: w.topicID, Partition: rec.Partition, First: rec.Offset, End: rec.Offset, From: 1 << 62}, began: time.Now()}
		s.path = filepath.Join(w.c.Path, fileName(&s.Header))
		var err error
		if s.f, err = os.OpenFile(s.path+unfinished, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
			return err
		}
		p.open = s
		if _, err := s.f.Write(make([]byte, headerBytes)); err != nil {
			return err
		}
	}
	before := len(s.chunk)
	s.chunk = appendRecord(s.chunk, rec, s.End)
	s.raw += int64(len(s.chunk) - before)
	ms := millis(rec)
	s.From, s.To = min(s.From, ms), max(s.To, ms)
	s.Records++
	s.End = rec.Offset + 1
	p.next = s.End
	if len(s.chunk) >= chunkBytes {
		if err := s.flush(w.enc); err != nil {
			return err
		}
	}
	if s.raw >= w.close.bytes {
		return w.finish(p)
	}
	return nil
}

// flush compresses the waiting records.
func (s *segment) flush(enc *zstd.Encoder) error {
	if len(s.chunk) == 0 {
		return nil
	}
	_, err := s.f.Write(enc.EncodeAll(s.chunk, nil))
	if s.chunk = s.chunk[:0]; cap(s.chunk) > 4*chunkBytes {
		s.chunk = nil
	}
	return err
}

// finish makes the open file of a partition a whole one.
func (w *Writer) finish(p *part) error {
	s := p.open
	if s == nil {
		return nil
	}
	head, err := s.frame()
	if err != nil {
		return err
	}
	if err := s.flush(w.enc); err != nil {
		return err
	}
	if _, err := s.f.WriteAt(head, 0); err != nil {
		return err
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	if err := s.f.Close(); err != nil {
		return err
	}
	if err := os.Rename(s.path+unfinished, s.path); err != nil {
		return err
	}
	if err := syncDir(w.c.Path); err != nil {
		return err
	}
	p.open = nil
	w.records.Add(float64(s.Records))
	return w.bound()
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// bound removes the oldest files, of any incarnation, beyond the bound.
func (w *Writer) bound() error {
	all, _, err := list(w.c.Path)
	if err != nil {
		return err
	}
	total := int64(0)
	for i := range all {
		total += all[i].size
	}
	slices.SortFunc(all, func(a, b file) int { return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(a.First, b.First)) })
	for i := 0; i < len(all) && (total > w.c.BytesMax || len(all)-i > filesMax); i++ {
		if err := os.Remove(all[i].path); err != nil {
			return err
		}
		total -= all[i].size
	}
	w.bytes.Set(float64(total))
	return nil
}

// discard gives the open file of a partition up; its records are copied again.
func (w *Writer) discard(p *part) {
	s := p.open
	_ = s.f.Close()
	_ = os.Remove(s.path + unfinished)
	p.next, p.open = s.First, nil
}

// drop gives everything up that is not in whole files.
func (w *Writer) drop() {
	for _, p := range w.parts {
		if p.open != nil {
			w.discard(p)
		}
	}
	clear(w.parts)
	w.topicID = ""
}

// end finishes the files under way, so that a process that is down for long
// leaves no gap.
func (w *Writer) end() {
	for _, p := range w.parts {
		if err := w.finish(p); err != nil {
			w.log.Error("a file of the history is not finished", "path", p.open.path, "err", err)
			w.discard(p)
		}
	}
}
