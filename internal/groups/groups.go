// Package groups keeps what agents of each group share, and builds the merged
// files that agents are sent. Lists of files stand in the topic `files`, their
// contents in `blobs`. Which groups there are and which agents are in them is the
// registry's business.
//
// Source: spec/agent-protocol.md §9.
package groups

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/blobs"
	"vedette/internal/kafka"
	"vedette/internal/replica"
	"vedette/internal/retry"
	"vedette/internal/secret"
	"vedette/schemas"
)

const (
	// contentBytesMax bounds the content of all groups, which is held in memory.
	contentBytesMax = 512 << 20
	// mergedMax and mergedBytesMax bound the merged files kept; further ones are
	// built whenever they are asked for.
	mergedMax      = 4096
	mergedBytesMax = 256 << 20
	// loadBytes is about how much content a start reads at once.
	loadBytes = 32 << 20
	// Pauses between tries to read contents.
	loadPauseMin = 100 * time.Millisecond
	loadPauseMax = 10 * time.Second
)

// ErrTooLarge says that all groups together hold more than fits in memory.
var ErrTooLarge = errors.New("the groups' files are too large in all")

// Store is one node's view of the groups' files. It is safe for concurrent use.
//
// Unlike other states it holds all contents in memory and is ready only when it has
// read them: no agent may be sent an outdated merged file, and its sum follows from
// every byte. It reads the contents of the newest lists only, nothing else.
type Store struct {
	node    string
	log     *slog.Logger
	content *blobs.Store
	ready   chan struct{}

	mu     sync.Mutex // guards what follows; callbacks do not run under it
	lists  map[string]schemas.GroupFiles
	groups map[string]*group
	given  Provided
	merged map[string]*Merged // by the list of groups
	bytes  int                // of merged
	subs   []func()
}

type group struct {
	list  schemas.GroupFiles
	files []File
}

// Open prepares a store and opens its producer. Nothing is read before Run.
func Open(cluster *kafka.Cluster, box *secret.Box, node string, given Provided, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	s := &Store{
		node: node, log: log, given: given, ready: make(chan struct{}),
		lists: map[string]schemas.GroupFiles{}, groups: map[string]*group{}, merged: map[string]*Merged{},
	}
	var err error
	s.content, err = blobs.Open(cluster, box, blobs.Config{
		Name: "groups", Owner: schemas.BlobShared, Apply: s.apply, Named: s.named,
		Claims: func(key []byte) bool { _, ok := schemas.GroupFilesOf(key); return ok },
	}, node, log, reg)
	return s, err
}

// Run follows the groups' files until ctx ends and returns nil.
func (s *Store) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- s.content.Run(ctx)
	}()
	select {
	case <-s.content.Ready():
		s.begin(ctx)
	case <-ctx.Done():
	}
	return <-done
}

// Ready is closed once the lists of files and their contents were read to the end
// they had when Run began.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Err is nil unless a newer program wrote records that this one does not read.
func (s *Store) Err() error { return s.content.Err() }

// Activate lets every node write contents to the topic blobs; see blobs.Store.
func (s *Store) Activate(ctx context.Context) error { return s.content.Activate(ctx) }

// OnChange has fn called after each change of any group's files, where the topic
// is read: it must not block. Call it before Run.
func (s *Store) OnChange(fn func()) { s.subs = append(s.subs, fn) }

// apply takes in the list of a group's files.
func (s *Store) apply(ctx context.Context, rec *schemas.Record) error {
	name, _ := schemas.GroupFilesOf(rec.Key)
	if len(rec.Value) == 0 {
		s.mu.Lock()
		delete(s.lists, name)
		delete(s.groups, name)
		s.change()
		return nil
	}
	list, err := schemas.ParseGroupFiles(rec)
	if err != nil {
		return err
	}
	s.mu.Lock()
	before, had := s.lists[name]
	s.lists[name] = list
	s.mu.Unlock()
	select {
	case <-s.content.Ready():
	default:
		return nil // a later list may take its place; begin reads the contents
	}
	if err := s.take(ctx, list); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		// The contents of the files in use must stay.
		if s.lists[name] = before; !had {
			delete(s.lists, name)
		}
		return err
	}
	return nil
}

// begin reads the contents of the lists that stood in the topic.
func (s *Store) begin(ctx context.Context) {
	s.mu.Lock()
	lists := slices.Collect(maps.Values(s.lists))
	s.mu.Unlock()
	for len(lists) > 0 {
		n, bytes := 0, int64(0)
		for n < len(lists) && (n == 0 || bytes < loadBytes) {
			for _, c := range contents(lists[n]) {
				bytes += c.Size
			}
			n++
		}
		if err := s.take(ctx, lists[:n]...); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.log.Error("the files of some groups cannot be shared; publish them again", "err", err)
		}
		lists = lists[n:]
	}
	close(s.ready)
}

// take reads the contents of lists and lets agents have them. It waits for brokers
// that do not answer; a content that is missing or damaged is a refusal of its list.
func (s *Store) take(ctx context.Context, lists ...schemas.GroupFiles) error {
	data, err := s.load(ctx, contents(lists...))
	if refused := (*replica.Refusal)(nil); errors.As(err, &refused) && len(lists) > 1 {
		var errs []error
		for _, list := range lists {
			errs = append(errs, s.take(ctx, list))
		}
		return errors.Join(errs...)
	}
	if err != nil {
		return fmt.Errorf("files of the group %s: %w", lists[0].Group, err)
	}
	s.mu.Lock()
	for _, list := range lists {
		g := &group{list: list}
		for i := range list.Files {
			g.files = append(g.files, File{Path: list.Files[i].Path, Data: data[i]})
		}
		data = data[len(list.Files):]
		// Another list may have taken its place meanwhile.
		if now, ok := s.lists[list.Group]; ok && now.Time.Equal(list.Time) && slices.Equal(now.Files, list.Files) {
			s.groups[list.Group] = g
		}
	}
	s.change()
	return nil
}

// load reads contents; brokers that do not answer are asked again.
func (s *Store) load(ctx context.Context, want []schemas.Content) ([][]byte, error) {
	pause := retry.Backoff{Min: loadPauseMin, Max: loadPauseMax}
	var complaint retry.Log
	for {
		data, err := s.content.Load(ctx, want...)
		if errors.Is(err, blobs.ErrMissing) || errors.Is(err, blobs.ErrDamaged) {
			return nil, &replica.Refusal{Cause: "content", Err: err}
		}
		if err == nil {
			return data, nil
		}
		if skipped, due := complaint.Due(); due && ctx.Err() == nil {
			s.log.Warn("groups' files cannot be read from the topic blobs; tried again", "err", err, "not_logged", skipped)
		}
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// contents returns the contents of lists, in their order.
func contents(lists ...schemas.GroupFiles) []schemas.Content {
	var out []schemas.Content
	for _, list := range lists {
		for i := range list.Files {
			out = append(out, schemas.Content{SHA256: list.Files[i].SHA256, Size: list.Files[i].Size})
		}
	}
	return out
}

// named returns the contents of all lists.
func (s *Store) named() []schemas.Content {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []schemas.Content
	for _, list := range s.lists {
		out = append(out, contents(list)...)
	}
	return out
}

// change forgets what was built and tells of it. It unlocks mu.
func (s *Store) change() {
	s.merged, s.bytes = map[string]*Merged{}, 0
	s.mu.Unlock()
	for _, fn := range s.subs {
		fn()
	}
}

// Merged returns the merged file of an agent in these groups, in the order of
// their assignment. No groups mean the default group.
func (s *Store) Merged(groups []string) *Merged {
	if len(groups) == 0 {
		groups = []string{schemas.DefaultGroup}
	}
	key := strings.Join(groups, ",")
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.merged[key]; ok {
		return m
	}
	name, files := groups[0], s.files(groups[0])
	if len(groups) > 1 {
		name, files = multigroupName(groups), combine(groups, s.files)
	}
	m := merge(name, s.given.ARConf, files)
	if len(s.merged) < mergedMax && s.bytes+len(m.Data) <= mergedBytesMax {
		s.merged[key] = m
		s.bytes += len(m.Data)
	}
	return m
}

// Files returns the files that agents of a group get, sorted by path: those
// published, completed by Provided. The last result reports whether any were published.
func (s *Store) Files(name string) ([]File, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.files(name)), s.groups[name] != nil
}

// files is Files without a copy. The caller holds mu.
func (s *Store) files(name string) []File {
	g := s.groups[name]
	if g == nil {
		return s.given.complete(startFiles(name))
	}
	return s.given.complete(g.files)
}

// Published returns when a group's files were published, and by which node.
func (s *Store) Published(name string) (list schemas.GroupFiles, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[name]
	if g == nil {
		return list, false
	}
	return g.list, true
}

// Names returns the groups that have files, sorted.
func (s *Store) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.groups))
}

// Publish replaces a group's files and returns when this store has read that.
func (s *Store) Publish(ctx context.Context, name string, files []File) error {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	if err := Check(files); err != nil {
		return err
	}
	list := schemas.GroupFiles{Group: name, Node: s.node, Time: time.Now()}
	var data [][]byte
	total := 0
	for _, f := range files {
		c := blobs.ContentOf(f.Data)
		list.Files = append(list.Files, schemas.SharedFile{Path: f.Path, Size: c.Size, SHA256: c.SHA256})
		data = append(data, f.Data)
		total += len(f.Data)
	}
	rec, err := list.Record()
	if err != nil {
		return err
	}
	s.mu.Lock()
	for other, g := range s.groups {
		for i := range g.files {
			if other != name {
				total += len(g.files[i].Data)
			}
		}
	}
	before := s.groups[name]
	s.mu.Unlock()
	if total > contentBytesMax {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, total, contentBytesMax)
	}
	if before != nil && slices.Equal(before.list.Files, list.Files) {
		return nil
	}
	if err := s.content.Publish(ctx, data, rec); err != nil {
		return err
	}
	s.content.Sweep(ctx)
	return nil
}

// Remove takes a group's files away.
func (s *Store) Remove(ctx context.Context, name string) error {
	if _, ok := s.Published(name); !ok {
		return nil
	}
	if err := s.content.Put(ctx, schemas.Record{Topic: schemas.TopicFiles, Key: []byte("group/" + name)}); err != nil {
		return err
	}
	s.content.Sweep(ctx)
	return nil
}
