// Package rulesets keeps the versions of the ruleset and knows which of them
// workers are to run (docs/design.md D7). Lists of files stand in the topic `files`,
// their contents in `blobs`, from where they are read when a version is compiled. It
// does not look into the files; compiling them is its users' work.
package rulesets

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
	// Kept is how many versions stay; older ones go when a new one is published.
	Kept = 32
	// silentAfter is when a worker that writes nothing counts as gone; it writes
	// every ReportEvery. workersMax bounds those remembered.
	silentAfter = 3 * ReportEvery
	workersMax  = 10_000
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
	node    string
	content *blobs.Store

	mu       sync.Mutex
	versions map[string]schemas.RulesetVersion
	order    []string // of versions, as first seen
	workers  map[string]schemas.RulesetWorker
	current  *schemas.RulesetCurrent
	changed  chan struct{} // closed when the versions or the current one change
}

// Open prepares a store and opens its producer. Nothing is read before Run.
func Open(cluster *kafka.Cluster, box *secret.Box, node string, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	s := &Store{
		node: node, versions: map[string]schemas.RulesetVersion{}, workers: map[string]schemas.RulesetWorker{}, changed: make(chan struct{}),
	}
	var err error
	s.content, err = blobs.Open(cluster, box, blobs.Config{
		Name: "rulesets", Owner: schemas.BlobRuleset, Claims: claims, Apply: s.apply, Named: s.named,
	}, node, log, reg)
	return s, err
}

// Run follows the topic until ctx ends and returns nil.
func (s *Store) Run(ctx context.Context) error { return s.content.Run(ctx) }

// Ready is closed once the topic was read to the end it had when Run began.
func (s *Store) Ready() <-chan struct{} { return s.content.Ready() }

// Err is nil unless a newer program wrote records that this one does not read.
func (s *Store) Err() error { return s.content.Err() }

func claims(key []byte) bool {
	_, isVersion := schemas.RulesetVersionOf(key)
	_, isWorker := schemas.RulesetWorkerOf(key)
	return isVersion || isWorker || schemas.IsRulesetCurrent(key)
}

// apply takes in one record.
func (s *Store) apply(_ context.Context, rec *schemas.Record) error {
	if node, ok := schemas.RulesetWorkerOf(rec.Key); ok {
		return s.applyWorker(node, rec)
	}
	version, isVersion := schemas.RulesetVersionOf(rec.Key)
	apply := s.applyCurrent
	if isVersion {
		apply = func(rec *schemas.Record) error { return s.applyVersion(version, rec) }
	}
	if err := apply(rec); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *Store) applyWorker(node string, rec *schemas.Record) error {
	if len(rec.Value) == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.workers, node)
		return nil
	}
	w, err := schemas.ParseRulesetWorker(rec)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.workers[node]; known || len(s.workers) < workersMax {
		s.workers[node] = w
	}
	return nil
}

func (s *Store) applyVersion(version string, rec *schemas.Record) error {
	if len(rec.Value) == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.versions, version)
		s.order = slices.DeleteFunc(s.order, func(v string) bool { return v == version })
		return nil
	}
	v, err := schemas.ParseRulesetVersion(rec)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.versions[version]; !again {
		s.order = append(s.order, version)
	}
	s.versions[version] = v
	return nil
}

func (s *Store) applyCurrent(rec *schemas.Record) error {
	c, err := schemas.ParseRulesetCurrent(rec)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = &c
	return nil
}

// named returns the contents of all versions.
func (s *Store) named() []schemas.Content {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []schemas.Content
	for _, v := range s.versions {
		out = append(out, contents(&v)...)
	}
	return out
}

// contents returns the contents of a version, in load order.
func contents(v *schemas.RulesetVersion) []schemas.Content {
	out := make([]schemas.Content, len(v.Files))
	for i := range v.Files {
		out[i] = schemas.Content{SHA256: v.Files[i].SHA256, Size: v.Files[i].Size}
	}
	return out
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
	return s.content.Put(ctx, rec)
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
	data := make([][]byte, len(files))
	for i, f := range files {
		c := blobs.ContentOf(f.Data)
		v.Files = append(v.Files, schemas.RulesetFile{Kind: f.Kind, Name: f.Name, Path: f.Path, Size: c.Size, SHA256: c.SHA256})
		data[i] = f.Data
	}
	list, err := v.Record() // refuses what is too large before anything is written
	if err != nil {
		return err
	}
	if err := s.content.Publish(ctx, data, list); err != nil {
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
	return s.content.Put(ctx, c.Record())
}

// forget takes away the oldest versions beyond Kept, and contents that none of the
// others names.
func (s *Store) forget(ctx context.Context) error {
	s.mu.Lock()
	var recs []schemas.Record
	for i, name := range s.order {
		v := s.versions[name]
		if len(s.order)-i <= Kept || s.current != nil && (name == s.current.Version || name == s.current.Previous) {
			continue
		}
		if rec, err := v.Record(); err == nil {
			rec.Value = nil
			recs = append(recs, rec)
		}
	}
	s.mu.Unlock()
	if err := s.content.Put(ctx, recs...); err != nil {
		return err
	}
	s.content.Sweep(ctx)
	return nil
}

// Files reads the content of a version, in load order.
func (s *Store) Files(ctx context.Context, version string) ([]File, error) {
	s.mu.Lock()
	v, ok := s.versions[version]
	s.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, version)
	}
	data, err := s.content.Load(ctx, contents(&v)...)
	switch {
	case errors.Is(err, blobs.ErrMissing), errors.Is(err, blobs.ErrDamaged):
		return nil, fmt.Errorf("ruleset %s: %w: %w", version, ErrContent, err)
	case err != nil:
		return nil, fmt.Errorf("ruleset %s: %w", version, err)
	}
	out := make([]File, len(v.Files))
	for i := range v.Files {
		f := &v.Files[i]
		out[i] = File{Kind: f.Kind, Name: f.Name, Path: f.Path, Data: data[i]}
	}
	return out, nil
}
