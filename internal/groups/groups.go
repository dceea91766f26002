// Package groups keeps what agents of each group share, in the topic `files`,
// and builds the merged files that agents are sent. Which groups there are and
// which agents are in them is the registry's business.
//
// Source: spec/agent-protocol.md §9.
package groups

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
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/secret"
	"vedette/schemas"
)

// purpose under the cluster key.
const purpose = "files"

const (
	// contentBytesMax bounds the content of all groups, which is held in memory.
	contentBytesMax = 512 << 20
	// mergedMax and mergedBytesMax bound the merged files kept; further ones are
	// built whenever they are asked for.
	mergedMax      = 4096
	mergedBytesMax = 256 << 20
	// batchRecords bounds the chunks that wait for acknowledgement.
	batchRecords = 32
	publishTries = 3
)

// ErrTooLarge says that all groups together hold more than fits in memory.
var ErrTooLarge = errors.New("the groups' files are too large in all")

// Store is one node's view of the groups' files. It is safe for concurrent use.
type Store struct {
	box  *secret.Box
	node string
	log  *slog.Logger

	producer *kafka.Producer
	follower *kafka.Follower
	rejected *prometheus.CounterVec

	mu      sync.Mutex // guards what follows; callbacks do not run under it
	groups  map[string]*group
	chunks  map[string][][]byte // by SHA-256, what has come of a content
	given   Provided
	merged  map[string]*Merged // by the list of groups
	bytes   int                // of merged
	changed chan struct{}      // closed at each change
	subs    []func()
}

type group struct {
	list  schemas.GroupFiles
	files []File
}

// Open prepares a store and opens its producer. Nothing is read before Run.
func Open(cluster *kafka.Cluster, box *secret.Box, node string, given Provided, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	p, err := cluster.NewProducer("groups", log, reg)
	if err != nil {
		return nil, err
	}
	s := &Store{
		box: box, node: node, log: log, producer: p, given: given,
		groups: map[string]*group{}, chunks: map[string][][]byte{}, merged: map[string]*Merged{}, changed: make(chan struct{}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_groups_rejected_total", Help: "Records of groups' files that were not applied, by cause.",
		}, []string{"reason"}),
	}
	if reg != nil {
		if err := reg.Register(s.rejected); err != nil {
			return nil, err
		}
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

// OnChange has fn called after each change of any group's files, where the topic
// is read: it must not block. Call it before Run.
func (s *Store) OnChange(fn func()) { s.subs = append(s.subs, fn) }

// apply takes in one record of the topic.
func (s *Store) apply(rec schemas.Record) {
	name, isList := schemas.GroupFilesOf(rec.Key)
	sum, n, isChunk := schemas.SharedChunkOf(rec.Key)
	if !isList && !isChunk {
		return // rulesets have readers of their own
	}
	if !s.box.Verify(purpose, schemas.MACInput(&rec), rec.Header(schemas.HeaderMAC)) {
		s.reject(&rec, "mac", errors.New("the record was not made under this cluster key"))
		return
	}
	if isChunk {
		s.chunk(&rec, sum, n)
		return
	}
	if len(rec.Value) == 0 {
		s.mu.Lock()
		delete(s.groups, name)
		s.change()
		return
	}
	list, err := schemas.ParseGroupFiles(&rec)
	if err != nil {
		s.reject(&rec, "shape", err)
		return
	}
	s.mu.Lock()
	g, err := s.assemble(list)
	if err != nil {
		s.mu.Unlock()
		s.reject(&rec, "content", err)
		return
	}
	s.groups[name] = g
	s.change()
}

// change forgets what was built and tells of it. It unlocks mu.
func (s *Store) change() {
	s.merged, s.bytes = map[string]*Merged{}, 0
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	for _, fn := range s.subs {
		fn()
	}
}

func (s *Store) chunk(rec *schemas.Record, sum string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(rec.Value) == 0 {
		delete(s.chunks, sum)
		return
	}
	if n >= schemas.MaxSharedBytes/schemas.MaxFileChunkBytes+1 || len(rec.Value) > schemas.MaxFileChunkBytes {
		return
	}
	c := s.chunks[sum]
	for len(c) <= n {
		c = append(c, nil)
	}
	c[n] = rec.Value
	s.chunks[sum] = c
}

// assemble puts the files of a list together. The caller holds mu.
func (s *Store) assemble(list schemas.GroupFiles) (*group, error) {
	g := &group{list: list}
	for i := range list.Files {
		f := &list.Files[i]
		c := s.chunks[f.SHA256]
		var data []byte
		if c = c[:min(len(c), f.Chunks())]; len(c) == 1 {
			data = c[0]
		} else {
			data = bytes.Join(c, nil)
		}
		if sum := sha256.Sum256(data); int64(len(data)) != f.Size || hex.EncodeToString(sum[:]) != f.SHA256 {
			return nil, fmt.Errorf("the content of %s/%s is missing or broken", list.Group, f.Path)
		}
		g.files = append(g.files, File{Path: f.Path, Data: data})
	}
	return g, nil
}

// reject counts a record that is not applied, and keeps it in the dead letter.
func (s *Store) reject(rec *schemas.Record, reason string, err error) {
	s.rejected.WithLabelValues(reason).Inc()
	s.log.Warn("a group's files were not taken over; those before stay", "key", string(rec.Key), "offset", rec.Offset, "reason", reason, "err", err)
	select {
	case <-s.Ready(): // what stood there before this start was kept when it was new
		d := schemas.NewDeadLetter(rec, "files_"+reason, err.Error())
		s.producer.Produce(d.Record(), nil)
	default:
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
	content := map[string][]byte{}
	total := 0
	for _, f := range files {
		sum := sha256.Sum256(f.Data)
		text := hex.EncodeToString(sum[:])
		list.Files = append(list.Files, schemas.SharedFile{Path: f.Path, Size: int64(len(f.Data)), SHA256: text})
		content[text] = f.Data
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
	// Another node may take away content that its own last list named while it is
	// published here; then it is written again.
	for try := range publishTries {
		if err := s.write(ctx, content, try > 0); err != nil {
			return err
		}
		if _, err := s.producer.ProduceSync(ctx, s.seal(rec)); err != nil {
			return err
		}
		if err = s.await(ctx, &list); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	return s.forget(ctx, before)
}

// Remove takes a group's files away.
func (s *Store) Remove(ctx context.Context, name string) error {
	s.mu.Lock()
	before := s.groups[name]
	s.mu.Unlock()
	if before == nil {
		return nil
	}
	key := schemas.Record{Topic: schemas.TopicFiles, Key: []byte("group/" + name)}
	if _, err := s.producer.ProduceSync(ctx, s.seal(key)); err != nil {
		return err
	}
	for {
		s.mu.Lock()
		_, there := s.groups[name]
		changed := s.changed
		s.mu.Unlock()
		if !there {
			return s.forget(ctx, before)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// write produces the chunks of contents that do not stand in the topic yet.
func (s *Store) write(ctx context.Context, content map[string][]byte, again bool) error {
	var recs []schemas.Record
	flush := func() error {
		if len(recs) == 0 {
			return nil
		}
		_, err := s.producer.ProduceSync(ctx, recs...)
		recs = recs[:0]
		return err
	}
	for _, sum := range slices.Sorted(maps.Keys(content)) {
		s.mu.Lock()
		_, there := s.chunks[sum]
		s.mu.Unlock()
		if there && !again {
			continue
		}
		n := 0
		for chunk := range slices.Chunk(content[sum], schemas.MaxFileChunkBytes) {
			if recs = append(recs, s.seal(schemas.SharedChunk(sum, n, chunk))); len(recs) == batchRecords {
				if err := flush(); err != nil {
					return err
				}
			}
			n++
		}
	}
	return flush()
}

var errNotTaken = errors.New("the files were published but not taken over; see the log for why")

// await waits until the store has taken the list over, or another one after it.
func (s *Store) await(ctx context.Context, list *schemas.GroupFiles) error {
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	for {
		s.mu.Lock()
		g, changed := s.groups[list.Group], s.changed
		s.mu.Unlock()
		if g != nil && (slices.Equal(g.list.Files, list.Files) || g.list.Time.After(list.Time)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return errNotTaken
		case <-changed:
		}
	}
}

// forget takes away content that only the former list named.
func (s *Store) forget(ctx context.Context, before *group) error {
	if before == nil {
		return nil
	}
	s.mu.Lock()
	needed := map[string]bool{}
	for _, g := range s.groups {
		for i := range g.list.Files {
			needed[g.list.Files[i].SHA256] = true
		}
	}
	var recs []schemas.Record
	for i := range before.list.Files {
		f := &before.list.Files[i]
		if needed[f.SHA256] {
			continue
		}
		needed[f.SHA256] = true // once
		for n := range f.Chunks() {
			recs = append(recs, s.seal(schemas.SharedChunk(f.SHA256, n, nil)))
		}
	}
	s.mu.Unlock()
	if len(recs) == 0 {
		return nil
	}
	_, err := s.producer.ProduceSync(ctx, recs...)
	return err
}

func (s *Store) seal(rec schemas.Record) schemas.Record {
	rec.Headers = append(rec.Headers, schemas.Header{Key: schemas.HeaderMAC, Value: s.box.MAC(purpose, schemas.MACInput(&rec))})
	return rec
}
