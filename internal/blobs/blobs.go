// Package blobs keeps the contents that control records name by their hash: files
// of groups, files of rulesets, upgrade packages.
//
// A content stands in chunks in the topic blobs, which nobody follows. A small
// record in the topic files says at which offsets. So a node knows all contents
// after it has read the control records, and reads the bytes of one when it needs
// them.
//
// Each Store has an owner, the state whose control records name the contents, and
// keeps both in one replica.Topic. Their order in the log decides for every node
// alike whether a content is named.
package blobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/replica"
	"vedette/internal/retry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// purpose under the cluster key.
const purpose = "files"

const (
	// garbageAfter is how long a content stays that no control record names. It must
	// be longer than a publication takes, which writes contents before their names.
	garbageAfter = time.Hour
	// publishTries bounds how often contents are written again because another node
	// removed one of them meanwhile.
	publishTries = 3
	// Pauses between tries to activate and to carry over.
	pauseMin = 100 * time.Millisecond
	pauseMax = 30 * time.Second
)

// Errors of a Store.
var (
	// ErrMissing says that a content is not in the topics, or not whole.
	ErrMissing = errors.New("the content is missing; publish it again")
	// ErrDamaged says that the chunks of a content do not have its hash.
	ErrDamaged = errors.New("the content is damaged; publish it again")
	// ErrTooLarge says that a content has more than schemas.MaxBlobBytes.
	ErrTooLarge = fmt.Errorf("a content has at most %d bytes", int64(schemas.MaxBlobBytes))
)

// Config says whose contents a Store keeps.
type Config struct {
	// Name says in metrics and messages whose state it is.
	Name  string
	Owner schemas.BlobOwner
	// Claims and Apply take the owner's control records of the topic files, as in
	// replica.Config.
	Claims func(key []byte) bool
	Apply  func(ctx context.Context, rec *schemas.Record) error
	// Named returns the contents that the control records applied so far name.
	Named func() []schemas.Content
}

// Store keeps the contents of one owner, and its control records. It is safe for
// concurrent use.
type Store struct {
	cfg     Config
	cluster *kafka.Cluster
	node    string
	log     *slog.Logger
	topic   *replica.Topic
	reads   *prometheus.CounterVec
	ready   chan struct{}
	grace   time.Duration // garbageAfter, shorter in tests

	mu     sync.Mutex
	active chan struct{} // closed once contents may be written to the topic blobs
	blobs  map[string]schemas.Blob
	old    map[string]*oldForm
}

// oldForm is a content whose chunks stand in the topic files, as releases before
// the topic blobs wrote it.
type oldForm struct {
	offsets []int64 // by chunk; -1 where none is known
	time    time.Time
}

// Open prepares a store. Nothing is read before Run.
func Open(cluster *kafka.Cluster, box *secret.Box, cfg Config, node string, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	s := &Store{
		cfg: cfg, cluster: cluster, node: node, log: log, ready: make(chan struct{}), active: make(chan struct{}), grace: garbageAfter,
		blobs: map[string]schemas.Blob{}, old: map[string]*oldForm{},
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_blobs_reads_total", Help: "Contents that were asked for, by their state and the outcome: read, missing, damaged.",
		}, []string{"state", "result"}),
	}
	var err error
	s.topic, err = replica.Open(cluster, box, replica.Config{Name: cfg.Name, Topic: schemas.TopicFiles, Purpose: purpose, Claims: s.claims, Apply: s.apply}, log, reg)
	if err != nil {
		return nil, err
	}
	if reg != nil {
		if err := reg.Register(s.reads); err != nil {
			var are prometheus.AlreadyRegisteredError
			if !errors.As(err, &are) {
				s.topic.Close()
				return nil, err
			}
			s.reads = are.ExistingCollector.(*prometheus.CounterVec)
		}
	}
	for _, result := range []string{"read", "missing", "damaged"} {
		s.reads.WithLabelValues(cfg.Name, result)
	}
	return s, nil
}

// Run follows the control records until ctx ends and returns nil. Once they are
// read, it carries contents of the old form over and removes those that nobody names.
func (s *Store) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- s.topic.Run(ctx)
	}()
	select {
	case <-s.topic.Ready():
		s.settle(ctx)
	case <-ctx.Done():
	}
	return <-done
}

// Ready is closed once the control records were read to the end they had when Run
// began. No content was read then.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Err is nil unless a newer program wrote records that this one does not read; see
// replica.Topic.
func (s *Store) Err() error { return s.topic.Err() }

// Close closes a Store that does not run.
func (s *Store) Close() { s.topic.Close() }

func (s *Store) claims(key []byte) bool {
	_, isBlob := s.cfg.Owner.BlobOf(key)
	_, _, isChunk := s.cfg.Owner.ChunkOf(key)
	return isBlob || isChunk || schemas.IsBlobsActive(key) || s.cfg.Claims(key)
}

func (s *Store) apply(ctx context.Context, rec *schemas.Record) error {
	if sum, ok := s.cfg.Owner.BlobOf(rec.Key); ok {
		return s.applyBlob(sum, rec)
	}
	if sum, n, ok := s.cfg.Owner.ChunkOf(rec.Key); ok {
		s.applyOld(sum, n, rec)
		return nil
	}
	if schemas.IsBlobsActive(rec.Key) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.isActive() { // it is never taken back
			close(s.active)
		}
		return nil
	}
	return s.cfg.Apply(ctx, rec)
}

func (s *Store) applyBlob(sum string, rec *schemas.Record) error {
	if len(rec.Value) == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.blobs, sum)
		return nil
	}
	b, err := s.cfg.Owner.ParseBlob(rec)
	if err != nil {
		return err
	}
	// A mark that comes behind the content's name does not count. All nodes agree,
	// because they read both in one order.
	named := !b.Whole() && slices.Contains(s.cfg.Named(), b.Content)
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.blobs[sum]; !before.Whole() || !named {
		s.blobs[sum] = b
	}
	return nil
}

// applyOld remembers where a chunk of the old form stands. Its bytes are not kept.
func (s *Store) applyOld(sum string, n int, rec *schemas.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.old[sum]
	if len(rec.Value) == 0 {
		if o == nil || n >= len(o.offsets) {
			return
		}
		o.offsets[n] = -1
		for len(o.offsets) > 0 && o.offsets[len(o.offsets)-1] < 0 {
			o.offsets = o.offsets[:len(o.offsets)-1]
		}
		if len(o.offsets) == 0 {
			delete(s.old, sum)
		}
		return
	}
	if o == nil {
		o = &oldForm{}
		s.old[sum] = o
	}
	for len(o.offsets) <= n {
		o.offsets = append(o.offsets, -1)
	}
	o.offsets[n], o.time = rec.Offset, rec.Timestamp
}

// isActive reports whether active is closed.
func (s *Store) isActive() bool {
	select {
	case <-s.active:
		return true
	default:
		return false
	}
}

// Activate lets every node write contents to the topic blobs from here on. Call it
// when no node of a release without that topic runs any more: such a node would not
// find them.
func (s *Store) Activate(ctx context.Context) error {
	if s.isActive() {
		return nil
	}
	return s.topic.Put(ctx, schemas.BlobsActive(s.node, time.Now()))
}

// settle does the work of a start. Nodes of an older release would have written
// something to the topic files, so an empty one has none of them beside it.
func (s *Store) settle(ctx context.Context) {
	pause := retry.Backoff{Min: pauseMin, Max: pauseMax}
	if s.topic.Empty() {
		for err := s.Activate(ctx); err != nil; err = s.Activate(ctx) {
			s.log.Warn("contents cannot be written to the topic blobs yet; tried again", "state", s.cfg.Name, "err", err)
			if pause.Wait(ctx) != nil {
				return
			}
		}
	}
	close(s.ready)
	select {
	case <-s.active:
	case <-ctx.Done():
		return
	}
	pause.Reset()
	for err := s.carry(ctx); err != nil; err = s.carry(ctx) {
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("contents of the old form were not carried over; tried again", "state", s.cfg.Name, "err", err)
		if pause.Wait(ctx) != nil {
			return
		}
	}
	s.Sweep(ctx)
}

// ContentOf names bytes.
func ContentOf(data []byte) schemas.Content {
	sum := sha256.Sum256(data)
	return schemas.Content{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data))}
}

// Put writes control records, which name no new content, and waits until this node
// has applied them.
func (s *Store) Put(ctx context.Context, recs ...schemas.Record) error {
	return s.topic.Put(ctx, recs...)
}

// Publish writes contents, then control records that name them, and waits until
// this node has applied both. Contents that can be read already are not written
// again.
func (s *Store) Publish(ctx context.Context, contents [][]byte, recs ...schemas.Record) error {
	var err error
	for range publishTries {
		if err = s.save(ctx, contents); err != nil {
			return err
		}
		// Another node may remove a content, which nobody named until now, between
		// the two. After the names nobody does.
		if err = s.topic.Put(ctx, recs...); err == nil {
			if err = s.whole(contents); err == nil {
				return nil
			}
		}
		if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrDamaged) {
			return err
		}
	}
	return err
}

// whole returns ErrMissing unless all contents are written as far as this node knows.
func (s *Store) whole(contents [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, data := range contents {
		c := ContentOf(data)
		if _, ok := s.spanOf(&c); !ok {
			return fmt.Errorf("%w (SHA-256 %s)", ErrMissing, c.SHA256)
		}
	}
	return nil
}

// save writes the contents that cannot be read.
func (s *Store) save(ctx context.Context, contents [][]byte) error {
	missing := map[string][]byte{}
	var known []schemas.Content
	active := s.isActive()
	s.mu.Lock()
	for _, data := range contents {
		c := ContentOf(data)
		if c.Size == 0 {
			continue
		}
		if c.Size > schemas.MaxBlobBytes {
			s.mu.Unlock()
			return ErrTooLarge
		}
		missing[c.SHA256] = data
		if b, ok := s.blobs[c.SHA256]; ok && b.Whole() || !active && s.old[c.SHA256] != nil {
			known = append(known, c)
		}
	}
	s.mu.Unlock()
	// A content whose place is known may be gone, as when a topic was made anew.
	states, err := s.fetch(ctx, known, nil)
	if err != nil {
		return err
	}
	var recs []schemas.Record
	for sum, bad := range states {
		if bad != nil {
			continue
		}
		delete(missing, sum)
		s.mu.Lock()
		b, ok := s.blobs[sum]
		s.mu.Unlock()
		if ok && time.Since(b.Time) > s.grace/2 { // it must not go before it is named
			b.Node, b.Time = s.node, time.Now()
			recs = append(recs, b.Record())
		}
	}
	written, err := s.write(ctx, missing, active)
	if err != nil {
		return err
	}
	return s.topic.Put(ctx, append(recs, written...)...)
}

// write writes the chunks of contents and returns the records that say where.
func (s *Store) write(ctx context.Context, contents map[string][]byte, active bool) ([]schemas.Record, error) {
	var out, chunks []schemas.Record
	var begun []schemas.Blob
	size := 0
	flush := func() error {
		if len(chunks) == 0 {
			return nil
		}
		written, err := s.topic.Write(ctx, chunks...)
		if err != nil {
			return err
		}
		at := 0
		for _, b := range begun {
			n := b.Chunks()
			b.First, b.Last, b.Time = written[at].Offset, written[at+n-1].Offset, time.Now()
			out = append(out, b.Record())
			at += n
		}
		chunks, begun, size = nil, nil, 0
		return nil
	}
	for sum, data := range contents {
		if !active {
			chunks = append(chunks, s.chunks(schemas.TopicFiles, sum, data)...)
		} else {
			b := schemas.Blob{Owner: s.cfg.Owner, Content: schemas.Content{SHA256: sum, Size: int64(len(data))}, First: -1, Node: s.node, Time: time.Now()}
			if len(data) > flushBytes {
				// A process that is killed in the middle leaves chunks. This record lets
				// others remove them.
				if err := s.topic.Put(ctx, b.Record()); err != nil {
					return nil, err
				}
			}
			begun = append(begun, b)
			chunks = append(chunks, s.chunks(schemas.TopicBlobs, sum, data)...)
		}
		if size += len(data); size > flushBytes {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	return out, flush()
}

// flushBytes bounds the contents that are written together; a larger one is
// written alone.
const flushBytes = 16 << 20

func (s *Store) chunks(topic, sum string, data []byte) []schemas.Record {
	var out []schemas.Record
	for n := 0; len(data) > 0; n++ {
		size := min(len(data), schemas.MaxFileChunkBytes)
		out = append(out, s.cfg.Owner.Chunk(topic, sum, n, data[:size]))
		data = data[size:]
	}
	return out
}
