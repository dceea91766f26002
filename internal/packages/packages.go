// Package packages keeps the packages that agents are upgraded by, and reads them
// back where an agent is connected. A record in the topic `files` says which packages
// there are; each content stands in `blobs` once, however many nodes put it.
//
// Nothing of a package is held in memory until an agent of this node is to have it.
package packages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/blobs"
	"vedette/internal/kafka"
	"vedette/internal/secret"
	"vedette/schemas"
)

const (
	// cachedMax bounds the packages held in memory, each at most
	// schemas.MaxPackageBytes, and readsMax those that are being read.
	cachedMax = 2
	readsMax  = 2
	// cachedFor is after how long without use a package leaves the memory.
	cachedFor = 10 * time.Minute
	// keptMax bounds the packages there are, and keptFor how long one stays that
	// nobody puts again.
	keptMax = 8
	keptFor = 24 * time.Hour
	// readTime bounds the reading of a package, waitTime the wait for one that was
	// ordered a moment before this node has heard of it.
	readTime = 5 * time.Minute
	waitTime = 10 * time.Second
)

// Errors of packages.
var (
	ErrTooLarge = fmt.Errorf("a package has at most %d bytes", int64(schemas.MaxPackageBytes))
	ErrEmpty    = errors.New("the package is empty")
	ErrMissing  = errors.New("the package is not there, or not whole; order the upgrade again")
)

// Store puts and reads packages. It follows their records until Close. It is safe
// for concurrent use.
type Store struct {
	node  string
	log   *slog.Logger
	files *blobs.Store
	reads *prometheus.CounterVec

	ctx     context.Context // ends with the store
	cancel  context.CancelFunc
	running sync.WaitGroup // the follower, and the reading of packages
	putting sync.Mutex     // held by Put
	slots   chan struct{}  // one per package that is being read
	wait    time.Duration  // waitTime, shorter in tests

	mu      sync.Mutex
	there   map[string]schemas.Package // by SHA-256
	changed chan struct{}              // closed when there changes
	cached  []*content                 // the longest unused first
	flying  map[string]*reading        // by SHA-256
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

// Open begins to follow the packages' records.
func Open(cluster *kafka.Cluster, box *secret.Box, node string, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	s := &Store{
		node: node, wait: waitTime, log: log, slots: make(chan struct{}, readsMax), flying: map[string]*reading{}, there: map[string]schemas.Package{}, changed: make(chan struct{}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_packages_reads_total", Help: "Upgrade packages asked for by gateways, by where they came from: memory, topic, missing.",
		}, []string{"result"}),
	}
	for _, r := range []string{"memory", "topic", "missing"} {
		s.reads.WithLabelValues(r)
	}
	if reg != nil {
		if err := reg.Register(s.reads); err != nil {
			return nil, err
		}
	}
	var err error
	s.files, err = blobs.Open(cluster, box, blobs.Config{
		Name: "packages", Owner: schemas.BlobPackage, Apply: s.apply, Named: s.named,
		Claims: func(key []byte) bool { _, chunk, ok := schemas.PackageOf(key); return ok && chunk < 0 },
	}, node, log, reg)
	if err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.running.Go(func() {
		if err := s.files.Run(s.ctx); err != nil {
			s.log.Error("upgrade packages are not followed any more; restart this process", "err", err)
		}
	})
	return s, nil
}

// Close ends what is being read and forgets what is in memory. No package may be
// asked for any more.
func (s *Store) Close() {
	s.cancel()
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.cached {
		c.forget.Stop()
	}
	s.cached = nil
}

// Err is nil unless a newer program wrote records that this one does not read.
func (s *Store) Err() error { return s.files.Err() }

// apply takes in the record of a package.
func (s *Store) apply(_ context.Context, rec *schemas.Record) error {
	sum, _, _ := schemas.PackageOf(rec.Key)
	var p schemas.Package
	if len(rec.Value) > 0 {
		var err error
		if p, err = schemas.ParsePackage(rec); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.there[sum] = p; p.Size == 0 {
		delete(s.there, sum)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// named returns the contents of all packages.
func (s *Store) named() []schemas.Content {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []schemas.Content
	for sum, p := range s.there {
		out = append(out, schemas.Content{SHA256: sum, Size: p.Size})
	}
	return out
}

// Put makes a package available to all gateways and returns its SHA-256. A content
// that is there already is not written again. Packages that nobody has put for a day go, and the
// oldest of too many.
func (s *Store) Put(ctx context.Context, file string, data []byte) (string, error) {
	switch {
	case len(data) == 0:
		return "", ErrEmpty
	case len(data) > schemas.MaxPackageBytes:
		return "", ErrTooLarge
	}
	p := schemas.Package{File: file, SHA256: blobs.ContentOf(data).SHA256, Size: int64(len(data)), Node: s.node, Time: time.Now()}
	rec, err := p.Record()
	if err != nil {
		return "", err
	}
	select {
	case <-s.files.Ready():
	case <-ctx.Done():
		return "", ctx.Err()
	}
	s.putting.Lock()
	defer s.putting.Unlock()
	if err := s.files.Publish(ctx, [][]byte{data}, rec); err != nil {
		return "", fmt.Errorf("write the package: %w", err)
	}
	if err := s.files.Put(ctx, s.outdated(p.SHA256, p.Time)...); err != nil {
		s.log.Warn("old packages were not taken away; tried again with the next one", "err", err)
	}
	s.files.Sweep(ctx)
	return p.SHA256, nil
}

// outdated returns the records that take away which packages are too old, and the
// oldest beyond the number kept. The package that was just put stays.
func (s *Store) outdated(put string, now time.Time) []schemas.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	order := slices.SortedFunc(maps.Keys(s.there), func(a, b string) int { return s.there[b].Time.Compare(s.there[a].Time) }) // the newest first
	order = slices.DeleteFunc(order, func(sum string) bool { return sum == put })
	var recs []schemas.Record
	for i, sum := range order {
		if i >= keptMax-1 || now.Sub(s.there[sum].Time) > keptFor {
			recs = append(recs, schemas.PackageTombstone(sum))
		}
	}
	return recs
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
		s.running.Go(func() { s.fetch(u.SHA256, u.Size, r) })
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
	if r.err = s.await(ctx, sum); r.err == nil {
		select {
		case s.slots <- struct{}{}:
			r.data, r.err = s.load(ctx, sum, size)
			<-s.slots
		case <-ctx.Done():
			r.err = ctx.Err()
		}
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

// await waits until a package is there. A gateway may hear of an order before it
// hears of the package, because the two stand in different topics.
func (s *Store) await(ctx context.Context, sum string) error {
	select {
	case <-s.files.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	limit := time.NewTimer(s.wait)
	defer limit.Stop()
	for {
		s.mu.Lock()
		_, ok := s.there[sum]
		changed := s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-limit.C:
			return ErrMissing
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// load reads a content.
func (s *Store) load(ctx context.Context, sum string, size int64) ([]byte, error) {
	data, err := s.files.Load(ctx, schemas.Content{SHA256: sum, Size: size})
	switch {
	case errors.Is(err, blobs.ErrMissing), errors.Is(err, blobs.ErrDamaged):
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	case err != nil:
		return nil, fmt.Errorf("read the package: %w", err)
	}
	return data[0], nil
}
