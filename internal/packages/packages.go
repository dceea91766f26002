// Package packages keeps the packages that agents are upgraded by in the topic
// `files`, and reads them back where an agent is connected.
//
// A package's chunks stand under its SHA-256, once, whoever put it; a record
// behind them says that they are complete. Nothing of a package is held in memory
// until an agent of this node is to have it.
package packages

import (
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
	"vedette/internal/secret"
	"vedette/schemas"
)

// purpose under the cluster key, that of all content in the topic.
const purpose = "files"

const (
	// cachedMax bounds the packages held in memory, each at most
	// schemas.MaxPackageBytes, and readsMax those that are being read.
	cachedMax = 2
	readsMax  = 2
	// cachedFor is after how long without use a package leaves the memory.
	cachedFor = 10 * time.Minute
	// keptMax bounds the packages in the topic, and keptFor how long one stays
	// that nobody puts again.
	keptMax = 8
	keptFor = 24 * time.Hour
	// batchRecords bounds the chunks that wait for acknowledgement together.
	batchRecords = 32
	// readTime bounds the reading of a package.
	readTime = 5 * time.Minute
)

// Errors of packages.
var (
	ErrTooLarge = fmt.Errorf("a package has at most %d bytes", int64(schemas.MaxPackageBytes))
	ErrEmpty    = errors.New("the package is empty")
	ErrMissing  = errors.New("the package is not there, or not whole; order the upgrade again")
)

// Store puts and reads packages. It is safe for concurrent use.
type Store struct {
	cluster *kafka.Cluster
	box     *secret.Box
	node    string
	log     *slog.Logger
	prod    *kafka.Producer
	reads   *prometheus.CounterVec

	ctx     context.Context // ends with the store
	cancel  context.CancelFunc
	reading sync.WaitGroup
	putting sync.Mutex    // held by Put
	slots   chan struct{} // one per package that is being read

	mu     sync.Mutex
	cached []*content          // the longest unused first
	flying map[string]*reading // by SHA-256
}

type content struct {
	sum    string
	data   []byte
	forget *time.Timer
}

// reading is one package on its way into memory; several may wait for it.
type reading struct {
	done chan struct{}
	data []byte
	err  error
}

// Open prepares a store and opens its producer.
func Open(cluster *kafka.Cluster, box *secret.Box, node string, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	p, err := cluster.NewProducer("packages", log, reg)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cluster: cluster, box: box, node: node, log: log, prod: p, slots: make(chan struct{}, readsMax), flying: map[string]*reading{},
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_packages_reads_total", Help: "Upgrade packages asked for by gateways, by where they came from: memory, topic, missing.",
		}, []string{"result"}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, r := range []string{"memory", "topic", "missing"} {
		s.reads.WithLabelValues(r)
	}
	if reg != nil {
		if err := reg.Register(s.reads); err != nil {
			p.Close()
			return nil, err
		}
	}
	return s, nil
}

// Close ends what is being read, closes the producer and forgets what is in
// memory. No package may be asked for any more.
func (s *Store) Close() {
	s.cancel()
	s.reading.Wait()
	s.prod.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.cached {
		c.forget.Stop()
	}
	s.cached = nil
}

// Put sees to it that a package stands in the topic and returns its SHA-256. What
// stands there already is not written again. Packages that nobody has put for a
// day go, and the oldest of too many.
func (s *Store) Put(ctx context.Context, file string, data []byte) (string, error) {
	switch {
	case len(data) == 0:
		return "", ErrEmpty
	case len(data) > schemas.MaxPackageBytes:
		return "", ErrTooLarge
	}
	hash := sha256.Sum256(data)
	p := schemas.Package{File: file, SHA256: hex.EncodeToString(hash[:]), Size: int64(len(data)), Node: s.node, Time: time.Now()}
	rec, err := p.Record()
	if err != nil {
		return "", err
	}
	s.putting.Lock()
	defer s.putting.Unlock()
	have, err := s.scan(ctx)
	if err != nil {
		return "", err
	}
	var there map[int]bool
	if x := have[p.SHA256]; x != nil {
		there = x.chunks
	}
	var recs []schemas.Record
	n := 0
	for chunk := range slices.Chunk(data, schemas.MaxFileChunkBytes) {
		if !there[n] {
			recs = append(recs, schemas.PackageChunk(p.SHA256, n, chunk))
		}
		n++
	}
	if err := s.write(ctx, append(recs, rec)); err != nil {
		return "", err
	}
	delete(have, p.SHA256)
	if err := s.write(ctx, outdated(have, p.Time)); err != nil {
		s.log.Warn("old packages were not taken away; tried again with the next one", "err", err)
	}
	return p.SHA256, nil
}

// write produces records in their order, sealed, a bounded number at a time.
func (s *Store) write(ctx context.Context, recs []schemas.Record) error {
	for batch := range slices.Chunk(recs, batchRecords) {
		sealed := make([]schemas.Record, len(batch))
		for i, rec := range batch {
			rec.Headers = append(rec.Headers, schemas.Header{Key: schemas.HeaderMAC, Value: s.box.MAC(purpose, schemas.MACInput(&rec))})
			sealed[i] = rec
		}
		if _, err := s.prod.ProduceSync(ctx, sealed...); err != nil {
			return fmt.Errorf("write the package: %w", err)
		}
	}
	return nil
}

// standing is what the topic holds of a package.
type standing struct {
	chunks map[int]bool
	// time is when it was put last, or, of what was never completed, when its
	// newest chunk was written.
	time time.Time
	put  bool
}

// scan reads what packages the topic holds.
func (s *Store) scan(ctx context.Context) (map[string]*standing, error) {
	out := map[string]*standing{}
	err := s.read(ctx, func(rec *schemas.Record, sum string, chunk int) bool {
		x := out[sum]
		if x == nil {
			x = &standing{chunks: map[int]bool{}}
			out[sum] = x
		}
		switch {
		case chunk >= 0 && len(rec.Value) == 0:
			delete(x.chunks, chunk)
		case chunk >= 0:
			x.chunks[chunk] = true
			if !x.put {
				x.time = rec.Timestamp
			}
		case len(rec.Value) == 0:
			x.put = false
		default:
			if p, err := schemas.ParsePackage(rec); err == nil {
				x.put, x.time = true, p.Time
			}
		}
		return true
	})
	maps.DeleteFunc(out, func(_ string, x *standing) bool { return !x.put && len(x.chunks) == 0 })
	return out, err
}

// outdated returns the records that take away which packages are too old, and the
// oldest beyond the number kept beside one more.
func outdated(have map[string]*standing, now time.Time) []schemas.Record {
	order := slices.SortedFunc(maps.Keys(have), func(a, b string) int { return have[b].time.Compare(have[a].time) }) // the newest first
	var recs []schemas.Record
	for i, sum := range order {
		x := have[sum]
		if i < keptMax-1 && now.Sub(x.time) <= keptFor {
			continue
		}
		recs = append(recs, schemas.PackageTombstone(sum))
		for _, n := range slices.Sorted(maps.Keys(x.chunks)) {
			recs = append(recs, schemas.PackageChunk(sum, n, nil))
		}
	}
	return recs
}

// read passes the topic's records of packages that verify to fn, until it answers
// false. chunk is -1 for the record that a package is there.
func (s *Store) read(ctx context.Context, fn func(rec *schemas.Record, sum string, chunk int) bool) error {
	ranges, err := s.cluster.Ranges(ctx, schemas.TopicFiles)
	if err != nil {
		return err
	}
	for p, r := range ranges {
		err := s.cluster.Read(ctx, schemas.TopicFiles, int32(p), r, func(rec schemas.Record) bool {
			sum, chunk, ok := schemas.PackageOf(rec.Key)
			if !ok || !s.box.Verify(purpose, schemas.MACInput(&rec), rec.Header(schemas.HeaderMAC)) {
				return true
			}
			return fn(&rec, sum, chunk)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Package returns a package's content by its SHA-256, from memory or the topic.
// The bytes must not be changed. Of several calls for one package at a time one
// reads it.
func (s *Store) Package(ctx context.Context, u *schemas.AgentUpgrade) ([]byte, error) {
	if u.Size < 1 || u.Size > schemas.MaxPackageBytes {
		return nil, ErrTooLarge
	}
	s.mu.Lock()
	if i := slices.IndexFunc(s.cached, func(c *content) bool { return c.sum == u.SHA256 }); i >= 0 {
		c := s.cached[i]
		s.cached = append(slices.Delete(s.cached, i, i+1), c)
		c.forget.Reset(cachedFor)
		s.mu.Unlock()
		s.reads.WithLabelValues("memory").Inc()
		return c.data, nil
	}
	r := s.flying[u.SHA256]
	if r == nil {
		r = &reading{done: make(chan struct{})}
		s.flying[u.SHA256] = r
		// Who asked first may go; the others still wait for it.
		s.reading.Go(func() { s.fetch(u.SHA256, u.Size, r) })
	}
	s.mu.Unlock()
	select {
	case <-r.done:
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Store) fetch(sum string, size int64, r *reading) {
	ctx, cancel := context.WithTimeout(s.ctx, readTime)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		r.data, r.err = s.load(ctx, sum, size)
		<-s.slots
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	result := "topic"
	if r.err != nil {
		result = "missing"
		s.log.Warn("an upgrade package was not read", "sha256", sum, "err", r.err)
	}
	s.reads.WithLabelValues(result).Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flying, sum)
	if r.err == nil && s.ctx.Err() == nil {
		s.keep(sum, r.data)
	}
	close(r.done)
}

// keep holds a content in memory for a while. The caller holds mu.
func (s *Store) keep(sum string, data []byte) {
	c := &content{sum: sum, data: data}
	c.forget = time.AfterFunc(cachedFor, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cached = slices.DeleteFunc(s.cached, func(x *content) bool { return x == c })
	})
	if s.cached = append(s.cached, c); len(s.cached) > cachedMax {
		s.cached[0].forget.Stop()
		s.cached = slices.Delete(s.cached, 0, 1)
	}
}

// load reads a content from the topic. It ends at the last chunk that was
// missing: what a tombstone behind it takes away is whole all the same.
func (s *Store) load(ctx context.Context, sum string, size int64) ([]byte, error) {
	data, missing := make([]byte, size), map[int]bool{}
	for n := range schemas.PackageChunks(size) {
		missing[n] = true
	}
	err := s.read(ctx, func(rec *schemas.Record, of string, n int) bool {
		if of != sum || !missing[n] {
			return true
		}
		room := data[n*schemas.MaxFileChunkBytes:]
		if room = room[:min(len(room), schemas.MaxFileChunkBytes)]; len(rec.Value) == len(room) {
			copy(room, rec.Value)
			delete(missing, n)
		}
		return len(missing) > 0
	})
	if err != nil {
		return nil, fmt.Errorf("read the package: %w", err)
	}
	if hash := sha256.Sum256(data); len(missing) > 0 || hex.EncodeToString(hash[:]) != sum {
		return nil, ErrMissing
	}
	return data, nil
}
