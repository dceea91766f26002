// Package rulesets keeps the versions of the ruleset in the topic `files` and
// knows which of them workers are to run (docs/design.md D7). It does not look
// into the files; compiling them is its users' work.
package rulesets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/retry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// purpose under the cluster key.
const purpose = "files"

const (
	// Kept is how many versions stay; older ones go when a new one is published.
	Kept = 32
	// batchRecords bounds the chunks that wait for acknowledgement.
	batchRecords = 32
	// silentAfter is when a worker that writes nothing counts as gone; it writes
	// every ReportEvery. workersMax bounds those remembered.
	silentAfter = 3 * ReportEvery
	workersMax  = 10_000
	// readTries is how often the content of a version is read anew, when
	// compaction moved it meanwhile.
	readTries = 3
)

// ReportEvery is how often a worker repeats what it runs.
const ReportEvery = time.Minute

// Errors of a Store.
var (
	// ErrUnknown says that a version was never published, or long ago.
	ErrUnknown = errors.New("no such version of the ruleset")
	// ErrContent says that the content of a version is not what its list says.
	ErrContent = errors.New("a file of the ruleset is missing or broken")
)

// File is one file of a version, with its content.
type File struct {
	Kind       schemas.FileKind
	Name, Path string
	Data       []byte
}

// Store is one node's view of the published versions. It is safe for concurrent use.
type Store struct {
	cluster *kafka.Cluster
	box     *secret.Box
	node    string
	log     *slog.Logger

	producer *kafka.Producer
	follower *kafka.Follower
	rejected *prometheus.CounterVec

	mu       sync.Mutex
	versions map[string]schemas.RulesetVersion
	order    []string            // of versions, as first seen
	chunks   map[string]struct{} // keys of the content that stands in the topic
	workers  map[string]schemas.RulesetWorker
	current  *schemas.RulesetCurrent
	changed  chan struct{} // closed at each record
}

// Open prepares a store and opens its producer. Nothing is read before Run.
func Open(cluster *kafka.Cluster, box *secret.Box, node string, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	p, err := cluster.NewProducer("rulesets", log, reg)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cluster: cluster, box: box, node: node, log: log, producer: p,
		versions: map[string]schemas.RulesetVersion{}, chunks: map[string]struct{}{},
		workers: map[string]schemas.RulesetWorker{}, changed: make(chan struct{}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_files_rejected_total", Help: "Records of the topic files that were not applied, by cause.",
		}, []string{"reason"}),
	}
	if reg != nil {
		reg.MustRegister(s.rejected)
	}
	s.follower = cluster.Follow(schemas.TopicFiles, log, s.apply)
	return s, nil
}

// Run follows the topic until ctx ends, then closes the producer and returns nil.
func (s *Store) Run(ctx context.Context) error {
	defer s.producer.Close()
	return s.follower.Run(ctx)
}

// Ready is closed once the topic was read to the end it had when Run began.
func (s *Store) Ready() <-chan struct{} { return s.follower.Ready() }

// apply takes in one record of the topic.
func (s *Store) apply(rec schemas.Record) {
	key := string(rec.Key)
	version, isVersion := schemas.RulesetVersionOf(rec.Key)
	_, _, isChunk := schemas.FileChunkOf(rec.Key)
	isCurrent := schemas.IsRulesetCurrent(rec.Key)
	node, isWorker := schemas.RulesetWorkerOf(rec.Key)
	if !isVersion && !isChunk && !isCurrent && !isWorker {
		return // group files and feeds have readers of their own
	}
	if !s.verify(&rec) {
		return
	}
	if len(rec.Value) == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.chunks, key)
		delete(s.workers, node)
		if isVersion {
			delete(s.versions, version)
			s.order = slices.DeleteFunc(s.order, func(v string) bool { return v == version })
		}
		s.notify()
		return
	}
	var v schemas.RulesetVersion
	var c schemas.RulesetCurrent
	var w schemas.RulesetWorker
	var err error
	switch {
	case isWorker:
		w, err = schemas.ParseRulesetWorker(&rec)
	case isVersion:
		v, err = schemas.ParseRulesetVersion(&rec)
	case isCurrent:
		c, err = schemas.ParseRulesetCurrent(&rec)
	}
	if err != nil {
		s.reject(&rec, "shape", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case isChunk:
		s.chunks[key] = struct{}{}
		return
	case isWorker:
		if _, known := s.workers[node]; known || len(s.workers) < workersMax {
			s.workers[node] = w
		}
		return
	case isVersion:
		if _, again := s.versions[version]; !again {
			s.order = append(s.order, version)
		}
		s.versions[version] = v
	case isCurrent:
		s.current = &c
	}
	s.notify()
}

// notify wakes all who wait for a change. The caller holds mu.
func (s *Store) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) verify(rec *schemas.Record) bool {
	if s.box.Verify(purpose, schemas.MACInput(rec), rec.Header(schemas.HeaderMAC)) {
		return true
	}
	s.reject(rec, "mac", errors.New("the record was not made under this cluster key"))
	return false
}

// reject counts a record that is not applied, and keeps it in the dead letter.
func (s *Store) reject(rec *schemas.Record, reason string, err error) {
	s.rejected.WithLabelValues(reason).Inc()
	s.log.Warn("a record of files was not applied", "key", string(rec.Key), "offset", rec.Offset, "reason", reason, "err", err)
	select {
	case <-s.Ready(): // what stood there before this start was kept when it was new
		d := schemas.NewDeadLetter(rec, "files_"+reason, err.Error())
		s.producer.Produce(d.Record(), nil)
	default:
	}
}

// Current returns the version that workers are to run, if one was published, and
// a channel that is closed when the answer may have changed.
func (s *Store) Current() (c schemas.RulesetCurrent, ok bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return schemas.RulesetCurrent{}, false, s.changed
	}
	return *s.current, true, s.changed
}

// Versions returns the published versions, the oldest first.
func (s *Store) Versions() []schemas.RulesetVersion {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]schemas.RulesetVersion, 0, len(s.order))
	for _, v := range s.order {
		out = append(out, s.versions[v])
	}
	return out
}

// Report tells the others what this node's worker runs; without a version it
// takes the worker away. It fills in node and time.
func (s *Store) Report(ctx context.Context, w schemas.RulesetWorker) error {
	w.Node, w.Time = s.node, time.Now()
	rec := w.Record()
	if w.Version == "" {
		rec.Value = nil
	}
	_, err := s.producer.ProduceSync(ctx, s.seal(rec))
	return err
}

// Workers returns what the workers have reported lately, by node.
func (s *Store) Workers() []schemas.RulesetWorker {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []schemas.RulesetWorker
	for _, node := range slices.Sorted(maps.Keys(s.workers)) {
		if w := s.workers[node]; time.Since(w.Time) < silentAfter {
			out = append(out, w)
		}
	}
	return out
}

// Known tells whether a version was published and is still there.
func (s *Store) Known(version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.versions[version]
	return ok
}

// Publish writes the files of a version, in load order, and names it the current
// one. It returns when the store itself has read that, so that what follows sees
// it. Content that stands there already is not written again.
func (s *Store) Publish(ctx context.Context, version string, files []File, origin schemas.RulesetOrigin) error {
	v := schemas.RulesetVersion{Version: version, Node: s.node, Time: time.Now()}
	var recs []schemas.Record
	flush := func() error {
		if len(recs) == 0 {
			return nil
		}
		_, err := s.producer.ProduceSync(ctx, recs...)
		recs = recs[:0]
		return err
	}
	for _, f := range files {
		sum := sha256.Sum256(f.Data)
		v.Files = append(v.Files, schemas.RulesetFile{Kind: f.Kind, Name: f.Name, Path: f.Path, Size: int64(len(f.Data)), SHA256: hex.EncodeToString(sum[:])})
	}
	list, err := v.Record() // refuses what is too large before anything is written
	if err != nil {
		return err
	}
	for i := range files {
		n := 0
		for chunk := range slices.Chunk(files[i].Data, schemas.MaxFileChunkBytes) {
			rec := schemas.FileChunk(v.Files[i].SHA256, n, chunk)
			n++
			s.mu.Lock()
			_, there := s.chunks[string(rec.Key)]
			s.mu.Unlock()
			if there {
				continue
			}
			if recs = append(recs, s.seal(rec)); len(recs) == batchRecords {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if _, err := s.producer.ProduceSync(ctx, s.seal(list)); err != nil {
		return err
	}
	if err := s.await(ctx, func() bool { return s.Known(version) }); err != nil {
		return err
	}
	if err := s.Promote(ctx, version, origin); err != nil {
		return err
	}
	return s.forget(ctx)
}

// Promote names a published version the current one and waits until the store
// has read that.
func (s *Store) Promote(ctx context.Context, version string, origin schemas.RulesetOrigin) error {
	if !s.Known(version) {
		return fmt.Errorf("%w: %s", ErrUnknown, version)
	}
	c := schemas.RulesetCurrent{Version: version, Origin: origin, Node: s.node, Time: time.Now()}
	if old, ok, _ := s.Current(); ok {
		if c.Previous = old.Version; old.Version == version {
			c.Previous = old.Previous
		}
	}
	if _, err := s.producer.ProduceSync(ctx, s.seal(c.Record())); err != nil {
		return err
	}
	return s.await(ctx, func() bool {
		now, ok, _ := s.Current()
		return ok && now.Version == version
	})
}

// await waits until the store has read what makes seen true.
func (s *Store) await(ctx context.Context, seen func() bool) error {
	for {
		_, _, changed := s.Current()
		if seen() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (s *Store) seal(rec schemas.Record) schemas.Record {
	rec.Headers = append(rec.Headers, schemas.Header{Key: schemas.HeaderMAC, Value: s.box.MAC(purpose, schemas.MACInput(&rec))})
	return rec
}

// forget takes away the oldest versions beyond Kept, and content that none of
// the others names.
func (s *Store) forget(ctx context.Context) error {
	s.mu.Lock()
	var recs []schemas.Record
	tombstone := func(key string) {
		recs = append(recs, s.seal(schemas.Record{Topic: schemas.TopicFiles, Key: []byte(key)}))
	}
	needed := map[string]bool{}
	for i, name := range s.order {
		v := s.versions[name]
		if len(s.order)-i > Kept && (s.current == nil || name != s.current.Version && name != s.current.Previous) {
			if rec, err := v.Record(); err == nil {
				tombstone(string(rec.Key))
			}
			continue
		}
		for f := range v.Files {
			needed[v.Files[f].SHA256] = true
		}
	}
	if len(recs) > 0 {
		for key := range s.chunks {
			if sum, _, _ := schemas.FileChunkOf([]byte(key)); !needed[sum] {
				tombstone(key)
			}
		}
	}
	s.mu.Unlock()
	if len(recs) == 0 {
		return nil
	}
	_, err := s.producer.ProduceSync(ctx, recs...)
	return err
}

// Files reads the content of a version, in load order.
func (s *Store) Files(ctx context.Context, version string) ([]File, error) {
	s.mu.Lock()
	v, ok := s.versions[version]
	s.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, version)
	}
	var err error
	pause := retry.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for range readTries {
		var files []File
		if files, err = s.read(ctx, &v); err == nil {
			return files, nil
		}
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("ruleset %s: %w", version, err)
}

// read goes through the topic once and picks what v needs. Where the content
// stands is not remembered: the topic is small, and versions are seldom read.
func (s *Store) read(ctx context.Context, v *schemas.RulesetVersion) ([]File, error) {
	want := map[string]*schemas.RulesetFile{}
	for i := range v.Files {
		want[v.Files[i].SHA256] = &v.Files[i]
	}
	chunks := map[string][][]byte{}
	ranges, err := s.cluster.Ranges(ctx, schemas.TopicFiles)
	if err != nil {
		return nil, err
	}
	for p, r := range ranges {
		err := s.cluster.Read(ctx, schemas.TopicFiles, int32(p), r, func(rec schemas.Record) bool {
			sum, n, ok := schemas.FileChunkOf(rec.Key)
			f := want[sum]
			if !ok || f == nil || len(rec.Value) == 0 || n >= f.Chunks() || !s.verify(&rec) {
				return true
			}
			if chunks[sum] == nil {
				chunks[sum] = make([][]byte, f.Chunks())
			}
			chunks[sum][n] = rec.Value
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	out := make([]File, len(v.Files))
	for i := range v.Files {
		f := &v.Files[i]
		data := bytes.Join(chunks[f.SHA256], nil)
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != f.SHA256 {
			return nil, fmt.Errorf("%w: %s", ErrContent, f.Path)
		}
		out[i] = File{Kind: f.Kind, Name: f.Name, Path: f.Path, Data: data}
	}
	return out, nil
}
