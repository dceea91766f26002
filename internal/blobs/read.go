package blobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"vedette/internal/kafka"
	"vedette/internal/replica"
	"vedette/internal/retry"
	"vedette/schemas"
)

const (
	// gapMax is how many records between two contents are read rather than asked
	// for anew.
	gapMax = 64
	// readTries is how often missing contents are read again: compaction may move
	// a content, and this node may be behind.
	readTries = 3
)

// span is where a content's chunks stand: at, and between, two offsets.
type span struct {
	schemas.Content
	topic       string
	first, last int64
}

// spanOf returns where a content stands, as far as this node knows. The caller
// holds mu.
func (s *Store) spanOf(c *schemas.Content) (span, bool) {
	if c.Size == 0 {
		return span{}, true
	}
	if b, ok := s.blobs[c.SHA256]; ok && b.Whole() && b.Size == c.Size {
		return span{*c, schemas.TopicBlobs, b.First, b.Last}, true
	}
	o := s.old[c.SHA256]
	if o == nil || len(o.offsets) < c.Chunks() || slices.Contains(o.offsets[:c.Chunks()], -1) {
		return span{}, false
	}
	at := o.offsets[:c.Chunks()]
	return span{*c, schemas.TopicFiles, slices.Min(at), slices.Max(at)}, true
}

// Load returns contents in the order in which they are asked for. The bytes must
// not be changed. A content that is not there is ErrMissing, and one that does not
// have its hash ErrDamaged; any other error may pass.
func (s *Store) Load(ctx context.Context, want ...schemas.Content) ([][]byte, error) {
	data := map[string][]byte{}
	left := want
	pause := retry.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for try := 1; ; try++ {
		states, err := s.fetch(ctx, left, data)
		if err != nil {
			return nil, err
		}
		left = slices.DeleteFunc(slices.Clone(left), func(c schemas.Content) bool { return states[c.SHA256] == nil })
		if len(left) == 0 || try == readTries {
			return s.answer(want, data, states)
		}
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// answer counts the outcomes and puts the contents in order.
func (s *Store) answer(want []schemas.Content, data map[string][]byte, states map[string]error) ([][]byte, error) {
	out := make([][]byte, len(want))
	var bad error
	for i, c := range want {
		out[i] = data[c.SHA256]
		result, err := "read", states[c.SHA256]
		switch {
		case errors.Is(err, ErrDamaged):
			result = "damaged"
		case err != nil:
			result = "missing"
		}
		if s.reads.WithLabelValues(s.cfg.Name, result).Inc(); err != nil {
			bad = fmt.Errorf("%w (SHA-256 %s)", err, c.SHA256)
			s.log.Warn("a content cannot be read", "state", s.cfg.Name, "sha256", c.SHA256, "err", err)
		}
	}
	if bad != nil {
		return nil, bad
	}
	return out, nil
}

// part is a content that is being read.
type part struct {
	span
	data []byte
	have []bool
	left int
	drop bool  // only the hash is asked for
	err  error // nil once it has its hash
}

// fetch reads contents and returns of each whether it is good: nil, ErrMissing or
// ErrDamaged, by SHA-256. It puts the good ones into keep unless that is nil.
func (s *Store) fetch(ctx context.Context, want []schemas.Content, keep map[string][]byte) (map[string]error, error) {
	states := map[string]error{}
	parts := map[string]map[string]*part{schemas.TopicBlobs: {}, schemas.TopicFiles: {}} // by topic and SHA-256
	s.mu.Lock()
	for i := range want {
		c := &want[i]
		at, known := s.spanOf(c)
		switch {
		case c.Size < 0 || c.Size > schemas.MaxBlobBytes || !known:
			states[c.SHA256] = ErrMissing
		case c.Size > 0:
			parts[at.topic][c.SHA256] = &part{span: at, have: make([]bool, c.Chunks()), left: c.Chunks(), drop: keep == nil, err: ErrMissing}
		case keep != nil:
			keep[c.SHA256] = []byte{}
		}
	}
	s.mu.Unlock()
	for topic, of := range parts {
		if err := s.readParts(ctx, topic, of); err != nil {
			return nil, err
		}
		for sum, p := range of {
			if states[sum] = p.err; p.err == nil && keep != nil {
				keep[sum] = p.data
			}
		}
	}
	return states, nil
}

// readParts reads contents of one topic where they stand. Chunks that were written
// again, by two nodes at once, may have left only the later copy: then it reads on
// behind that place.
func (s *Store) readParts(ctx context.Context, topic string, of map[string]*part) error {
	if len(of) == 0 {
		return nil
	}
	ranges, err := s.cluster.Ranges(ctx, topic)
	if err != nil {
		return err
	}
	all := ranges[0]
	for _, r := range runs(of) {
		if err := s.readRange(ctx, topic, kafka.Range{Start: max(r.Start, all.Start), End: min(r.End, all.End)}, of); err != nil {
			return err
		}
	}
	from := all.End
	for _, p := range of {
		if p.err != nil {
			from = min(from, max(p.first, all.Start))
		}
	}
	return s.readRange(ctx, topic, kafka.Range{Start: from, End: all.End}, of)
}

// runs returns ranges of offsets that cover all parts, ascending. Parts with few
// records between them share one.
func runs(of map[string]*part) []kafka.Range {
	var out []kafka.Range
	sorted := slices.SortedFunc(maps.Values(of), func(a, b *part) int { return cmp.Compare(a.first, b.first) })
	for _, p := range sorted {
		if n := len(out); n > 0 && p.first-out[n-1].End <= gapMax {
			out[n-1].End = max(out[n-1].End, p.last+1)
			continue
		}
		out = append(out, kafka.Range{Start: p.first, End: p.last + 1})
	}
	return out
}

// readRange takes the chunks of parts from a range, until all parts are good.
func (s *Store) readRange(ctx context.Context, topic string, r kafka.Range, of map[string]*part) error {
	bad := 0
	for _, p := range of {
		if p.err != nil {
			bad++
		}
	}
	if bad == 0 {
		return nil
	}
	err := s.cluster.Read(ctx, topic, 0, r, func(rec schemas.Record) bool {
		sum, n, ok := s.cfg.Owner.ChunkOf(rec.Key)
		p := of[sum]
		if !ok || p == nil || p.err == nil || n >= len(p.have) || !s.verify(&rec) {
			return true
		}
		if p.add(n, rec.Value); p.err == nil {
			bad--
		}
		return bad > 0
	})
	if errors.Is(err, kafka.ErrReadStalled) && ctx.Err() == nil {
		// The end of the range is gone, and the parts say which chunks are missing; or
		// the brokers are away.
		_, err = s.cluster.Ranges(ctx, topic)
	}
	return err
}

// verify reports whether a chunk was made under the cluster key. A refusal counts
// here only for the topic blobs, since the replica sees the others.
func (s *Store) verify(rec *schemas.Record) bool {
	if len(rec.Value) == 0 {
		return false
	}
	ok := s.topic.Verify(rec)
	if !ok && rec.Topic == schemas.TopicBlobs {
		s.topic.Refuse(rec, replica.CauseMAC, errors.New("the chunk was not made under this cluster key"))
	}
	return ok
}

// add takes in a chunk; a later copy takes the place of an earlier one.
func (p *part) add(n int, chunk []byte) {
	if p.data == nil {
		p.data = make([]byte, p.Size)
	}
	room := p.data[n*schemas.MaxFileChunkBytes:]
	if room = room[:min(len(room), schemas.MaxFileChunkBytes)]; len(chunk) != len(room) {
		return
	}
	copy(room, chunk)
	if !p.have[n] {
		p.have[n] = true
		p.left--
	}
	if p.left > 0 {
		return
	}
	if p.err = ErrDamaged; ContentOf(p.data).SHA256 != p.SHA256 {
		return
	}
	if p.err = nil; p.drop {
		p.data = nil
	}
}
