package blobs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"vedette/internal/kafka"
	"vedette/schemas"
)

// carry copies contents that only the old form holds to the topic blobs. Several
// nodes may do it at once: they come to the same, in orders of their own.
func (s *Store) carry(ctx context.Context) error {
	s.mu.Lock()
	nothing := len(s.old) == 0
	s.mu.Unlock()
	if nothing || !s.isActive() {
		return nil
	}
	set := map[schemas.Content]bool{}
	for _, c := range s.cfg.Named() {
		set[c] = true
	}
	named := slices.Collect(maps.Keys(set)) // in no order
	copied := 0
	for len(named) > 0 {
		var batch []schemas.Content
		size := int64(0)
		for len(named) > 0 && (len(batch) == 0 || size+named[0].Size <= flushBytes) {
			// Looked up now, because another node may have been faster.
			if at, ok := s.find(&named[0]); ok && at.topic == schemas.TopicFiles {
				batch = append(batch, named[0])
				size += named[0].Size
			}
			named = named[1:]
		}
		if err := s.carryBatch(ctx, batch); err != nil {
			return err
		}
		copied += len(batch)
	}
	if copied > 0 {
		s.log.Info("contents were carried over to the topic blobs", "state", s.cfg.Name, "contents", copied)
	}
	return nil
}

// carryBatch copies contents of flushBytes in all, or a larger one.
func (s *Store) carryBatch(ctx context.Context, batch []schemas.Content) error {
	if len(batch) == 1 && batch[0].Size > flushBytes {
		return s.copyLarge(ctx, &batch[0])
	}
	data := map[string][]byte{}
	states, err := s.fetch(ctx, batch, data)
	if err != nil {
		return err
	}
	for sum, bad := range states {
		if bad != nil { // it was lost before; its readers report it
			s.log.Warn("a content cannot be carried over", "state", s.cfg.Name, "sha256", sum, "err", bad)
		}
	}
	places, err := s.write(ctx, data, true)
	if err != nil {
		return err
	}
	return s.topic.Put(ctx, places...)
}

// find is spanOf with the lock.
func (s *Store) find(c *schemas.Content) (span, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spanOf(c)
}

// copyLarge copies the chunks of one content. It holds flushBytes of them at a time.
// Readers compare the hash, so the copy does not.
func (s *Store) copyLarge(ctx context.Context, c *schemas.Content) error {
	at, ok := s.offsetsOf(c)
	if !ok {
		return nil // it is gone, or another node was faster
	}
	k := &copier{s: s, place: schemas.Blob{Owner: s.cfg.Owner, Content: *c, First: -1, Node: s.node, Time: time.Now()}}
	if err := s.topic.Put(ctx, k.place.Record()); err != nil {
		return err
	}
	var failed error
	err := s.cluster.Read(ctx, schemas.TopicFiles, 0, kafka.Range{Start: slices.Min(at), End: slices.Max(at) + 1}, func(rec schemas.Record) bool {
		sum, n, ok := s.cfg.Owner.ChunkOf(rec.Key)
		if ok && sum == c.SHA256 && n < len(at) && at[n] == rec.Offset && s.verify(&rec) {
			failed = k.add(ctx, n, rec.Value)
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	if err != nil && !errors.Is(err, kafka.ErrReadStalled) {
		return err
	}
	if err := k.flush(ctx); err != nil {
		return err
	}
	if k.copied < c.Chunks() { // it was lost before; its readers report it
		s.log.Warn("a content cannot be carried over", "state", s.cfg.Name, "sha256", c.SHA256, "read", k.copied, "chunks", c.Chunks())
		return nil
	}
	k.place.Time = time.Now()
	return s.topic.Put(ctx, k.place.Record())
}

// offsetsOf returns where the chunks of a content stand that only the old form holds.
func (s *Store) offsetsOf(c *schemas.Content) ([]int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.spanOf(c); !ok || at.topic != schemas.TopicFiles {
		return nil, false
	}
	return slices.Clone(s.old[c.SHA256].offsets[:c.Chunks()]), true
}

// copier writes chunks to the topic blobs and notes where they stand.
type copier struct {
	s      *Store
	place  schemas.Blob
	chunks []schemas.Record
	size   int
	copied int
}

func (k *copier) add(ctx context.Context, n int, chunk []byte) error {
	k.chunks = append(k.chunks, k.s.cfg.Owner.Chunk(schemas.TopicBlobs, k.place.SHA256, n, chunk))
	if k.size += len(chunk); k.size < flushBytes {
		return nil
	}
	return k.flush(ctx)
}

func (k *copier) flush(ctx context.Context) error {
	written, err := k.s.topic.Write(ctx, k.chunks...)
	if err != nil || len(written) == 0 {
		return err
	}
	if k.copied == 0 {
		k.place.First = written[0].Offset
	}
	k.place.Last = written[len(written)-1].Offset
	k.copied += len(written)
	k.chunks, k.size = nil, 0
	return nil
}

// Sweep carries contents of the old form over, if that is allowed, and removes their
// chunks there. It also removes contents that no control record has named for an
// hour. Call it after a publication. If it fails, the next one goes on.
func (s *Store) Sweep(ctx context.Context) {
	err := s.carry(ctx)
	if err == nil {
		err = s.sweep(ctx)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("contents were not all carried over or removed; tried again after the next publication", "state", s.cfg.Name, "err", err)
	}
}

func (s *Store) sweep(ctx context.Context) error {
	if s.Err() != nil {
		return nil // records of a newer program may name contents too
	}
	chunks, blobs := s.garbage()
	if err := s.topic.Put(ctx, chunks...); err != nil {
		return err
	}
	for i := range blobs {
		if err := s.remove(ctx, &blobs[i]); err != nil {
			return err
		}
	}
	return nil
}

// garbage returns the records that remove chunks of the old form, and the contents
// that may go.
func (s *Store) garbage() (chunks []schemas.Record, gone []schemas.Blob) {
	named := map[string]bool{}
	for _, c := range s.cfg.Named() {
		named[c.SHA256] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for sum, o := range s.old {
		carried := s.blobs[sum]
		if !carried.Whole() && (named[sum] || time.Since(o.time) < s.grace) {
			continue
		}
		for n, at := range o.offsets {
			if at >= 0 {
				chunks = append(chunks, s.cfg.Owner.Chunk(schemas.TopicFiles, sum, n, nil))
			}
		}
	}
	for sum, b := range s.blobs {
		if !named[sum] && time.Since(b.Time) >= s.grace {
			gone = append(gone, b)
		}
	}
	return chunks, gone
}

// remove ends a content. First a record marks it as going, so that a node that
// publishes it from here on writes it again. The mark does not count if a control
// record named the content before it (applyBlob). A node that is killed in between
// leaves the mark, and the next sweep goes on.
func (s *Store) remove(ctx context.Context, b *schemas.Blob) error {
	going := *b
	going.First = -1
	if err := s.topic.Put(ctx, going.Record()); err != nil {
		return err
	}
	s.mu.Lock()
	now := s.blobs[b.SHA256]
	s.mu.Unlock()
	if now.Whole() {
		// Nodes that start later read the newest record of a key, so it must not be
		// the mark.
		return s.topic.Put(ctx, now.Record())
	}
	var recs []schemas.Record
	for n := range b.Chunks() {
		recs = append(recs, s.cfg.Owner.Chunk(schemas.TopicBlobs, b.SHA256, n, nil))
	}
	if _, err := s.topic.Write(ctx, recs...); err != nil {
		return err
	}
	return s.topic.Put(ctx, schemas.BlobTombstone(s.cfg.Owner, b.SHA256))
}
