package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"vedette/internal/kafka"
	"vedette/schemas"
)

// Topic is the history that a broker holds: raw events, or archived documents.
type Topic struct {
	Cluster *kafka.Cluster
	// Topic is schemas.TopicEvents or schemas.TopicArchives.
	Topic string
	Range Range
	// Offsets bounds partitions by offset, in place of Range's times; others are
	// left out.
	Offsets map[int32]kafka.Range
	// Until, if not nil, ends partitions before an offset: the live workers have
	// not judged the records behind it yet.
	Until map[int32]int64
	// Agents keeps only their events; empty keeps all.
	Agents []string
	// Older, if not nil, holds the records that the broker has removed.
	Older Older

	unjudged map[int32]int64 // see Unjudged
}

// Unjudged returns how many records of the range each partition has behind
// Until, for all agents. It is known once the topic was opened at its begin.
func (s *Topic) Unjudged() map[int32]int64 { return s.unjudged }

// Older holds records of a topic that are not in its log any more, by partition
// and offset, as history.Dir does.
type Older interface {
	Range(partition int32) (first, end int64, ok bool)
	After(partition int32, t time.Time) int64
	Read(ctx context.Context, partition int32, from, to int64, fn func(schemas.Record) bool) error
}

// Name implements Source.
func (s *Topic) Name() string { return "topic " + s.Topic }

// Open implements Source: each partition is a lane. Where retention removed
// records of a partition, the history begins with the remaining ones.
func (s *Topic) Open(ctx context.Context, _ int, from []Place) ([]Lane, error) {
	ranges, err := s.Cluster.Ranges(ctx, s.Topic)
	if err != nil {
		return nil, err
	}
	places := slices.Clone(from)
	if from == nil {
		if places, err = s.places(ctx, ranges); err != nil {
			return nil, err
		}
	}
	agents := choose(s.Agents)
	var lanes []Lane
	for _, p := range places {
		if int(p.Partition) >= len(ranges) {
			return nil, fmt.Errorf("topic %s has no partition %d", s.Topic, p.Partition)
		}
		l := &topicLane{s: s, agents: agents, at: p, refused: map[string]int64{}}
		l.next.Store(p.Next)
		lanes = append(lanes, l)
	}
	return lanes, nil
}

// places works out which part of each partition is to be read.
func (s *Topic) places(ctx context.Context, ranges []kafka.Range) ([]Place, error) {
	first, last := slices.Clone(ranges), []int64(nil)
	s.unjudged = map[int32]int64{}
	// asked is the range itself, without the records that warm up and the
	// records searched for late ones.
	asked := slices.Clone(ranges)
	for p := range first {
		first[p].Start = s.oldest(int32(p), ranges[p])
	}
	if !s.Range.From.IsZero() {
		at, err := s.after(ctx, ranges, s.Range.From.Add(-s.Range.Warm))
		if err != nil {
			return nil, err
		}
		for p := range first {
			first[p].Start = max(first[p].Start, at[p])
		}
		if at, err = s.after(ctx, ranges, s.Range.From); err != nil {
			return nil, err
		}
		for p := range asked {
			asked[p].Start = max(asked[p].Start, at[p])
		}
	}
	if !s.Range.To.IsZero() {
		var err error
		if last, err = s.after(ctx, ranges, s.Range.To); err != nil {
			return nil, err
		}
	}
	var places []Place
	for p, r := range first {
		// Times within a partition may run backwards, as far as the broker
		// allows: records behind the first record after To can still belong to
		// it.
		if last != nil && last[p] < r.End {
			asked[p].End = last[p]
			r.End = min(r.End, last[p]+outOfOrder)
		}
		if s.Offsets != nil {
			want, ok := s.Offsets[int32(p)]
			if !ok {
				continue
			}
			start, err := s.warm(ctx, int32(p), max(want.Start, s.oldest(int32(p), ranges[p])), ranges)
			if err != nil {
				return nil, err
			}
			r = kafka.Range{Start: start, End: min(want.End, ranges[p].End)}
			asked[p] = kafka.Range{Start: max(want.Start, ranges[p].Start), End: r.End}
		}
		if s.Until != nil {
			until := s.Until[int32(p)] // 0 where the workers have committed nothing
			if n := asked[p].End - max(asked[p].Start, until); n > 0 {
				s.unjudged[int32(p)] = n
			}
			r.End = min(r.End, until)
		}
		r.Start = min(r.Start, r.End)
		places = append(places, Place{Partition: int32(p), Begin: r.Start, End: r.End, Next: r.Start})
	}
	for p := range s.Offsets {
		if int(p) >= len(ranges) {
			return nil, fmt.Errorf("topic %s has no partition %d", s.Topic, p)
		}
	}
	return places, nil
}

// oldest is the first offset of a partition that can be read.
func (s *Topic) oldest(p int32, r kafka.Range) int64 {
	if s.Older != nil {
		if first, _, ok := s.Older.Range(p); ok {
			return min(first, r.Start)
		}
	}
	return r.Start
}

// after finds the first offset of each partition whose record is not older than t.
func (s *Topic) after(ctx context.Context, ranges []kafka.Range, t time.Time) ([]int64, error) {
	at, err := s.Cluster.OffsetsAfter(ctx, s.Topic, t)
	if err != nil || s.Older == nil {
		return at, err
	}
	for p := range at {
		if _, end, ok := s.Older.Range(int32(p)); ok {
			if o := s.Older.After(int32(p), t); o < min(end, ranges[p].Start) {
				at[p] = o
			}
		}
	}
	return at, nil
}

// warm finds where to begin so that windows are full at an offset.
func (s *Topic) warm(ctx context.Context, p int32, offset int64, ranges []kafka.Range) (int64, error) {
	r := ranges[p]
	if s.Range.Warm == 0 || offset >= r.End {
		return offset, nil
	}
	var at time.Time
	look := func(rec schemas.Record) bool {
		at = rec.Timestamp
		return false
	}
	var err error
	if offset < r.Start {
		err = s.Older.Read(ctx, p, offset, r.Start, look)
	} else {
		err = s.Cluster.Read(ctx, s.Topic, p, kafka.Range{Start: offset, End: r.End}, look)
	}
	if err != nil || at.IsZero() {
		return offset, err
	}
	after, err := s.after(ctx, ranges, at.Add(-s.Range.Warm))
	if err != nil {
		return 0, err
	}
	return min(offset, max(s.oldest(p, r), after[p])), nil
}

const (
	// scannedMax is after how many records that give no event a lane says how far it is.
	scannedMax = 50_000
	// stalledMax is how often in a row a lane waits for brokers that send nothing,
	// some five seconds each time.
	stalledMax = 12
	// batchesMax bounds the batches that are read ahead of a lane.
	batchesMax = 4
)

// topicLane is one partition.
type topicLane struct {
	s      *Topic
	agents chosen
	at     Place // as it was opened; Begun and Past as of the last batch
	next   atomic.Int64

	refused map[string]int64
	batches chan batch
	free    chan []Item
	items   []Item // given out last
	failed  error  // set before batches is closed
}

// batch holds the records read up to a position.
type batch struct {
	items   []Item
	place   Place
	refused map[string]int64 // since the batch before; nil for none
}

// Next implements Lane.
func (l *topicLane) Next(ctx context.Context) ([]Item, error) {
	if l.batches == nil {
		l.batches, l.free = make(chan batch, batchesMax), make(chan []Item, batchesMax+2)
		go l.run(ctx)
	}
	if l.items != nil {
		select {
		case l.free <- l.items:
		default:
		}
		l.items = nil
	}
	for b := range l.batches {
		for reason, n := range b.refused {
			l.refused[reason] += n
		}
		l.at.Begun, l.at.Past = b.place.Begun, b.place.Past
		l.next.Store(b.place.Next)
		if len(b.items) > 0 {
			l.items = b.items
			return b.items, nil
		}
	}
	if l.failed != nil {
		return nil, l.failed
	}
	return nil, io.EOF
}

// feed holds records that run has read and not handed over yet.
type feed struct {
	l       *topicLane
	place   Place
	items   []Item
	refused map[string]int64
	scanned int
}

func (f *feed) refuse(reason string, n int64) {
	if f.refused == nil {
		f.refused = map[string]int64{}
	}
	f.refused[reason] += n
}

// flush hands over the records read; false when ctx ended.
func (f *feed) flush(ctx context.Context) bool {
	b := batch{items: f.items, place: f.place, refused: f.refused}
	select {
	case f.l.batches <- b:
	case <-ctx.Done():
		return false
	}
	select {
	case f.items = <-f.l.free:
		f.items = f.items[:0]
	default:
		f.items = make([]Item, 0, batchMax)
	}
	f.refused, f.scanned = nil, 0
	return true
}

// run reads the partition and hands batches over.
func (l *topicLane) run(ctx context.Context) {
	defer close(l.batches)
	f := &feed{l: l, place: l.at, items: make([]Item, 0, batchMax)}
	err := f.all(ctx)
	if err == nil && !f.flush(ctx) {
		err = ctx.Err()
	}
	l.failed = err
}

// all reads to the end of the lane, in spite of retention and while brokers come
// and go.
func (f *feed) all(ctx context.Context) error {
	l := f.l
	ended := false
	take := func(rec schemas.Record) bool {
		ended = !f.take(&rec)
		f.place.Next = rec.Offset + 1
		f.scanned++
		return !ended && (len(f.items) < batchMax && f.scanned < scannedMax || f.flush(ctx))
	}
	for stalled := 0; f.place.Next < f.place.End; {
		if ranges, err := l.s.Cluster.Ranges(ctx, l.s.Topic); err == nil && ranges[l.at.Partition].Start > f.place.Next {
			to := min(ranges[l.at.Partition].Start, f.place.End)
			if l.s.Older != nil {
				err := l.s.Older.Read(ctx, l.at.Partition, f.place.Next, to, func(rec schemas.Record) bool {
					f.gap(rec.Offset)
					return take(rec)
				})
				switch {
				case ctx.Err() != nil:
					return ctx.Err()
				case err != nil:
					return err
				case ended:
					f.place.Next = f.place.End
					return nil
				}
			}
			f.gap(to)
			continue
		}
		before := f.place.Next
		err := l.s.Cluster.Read(ctx, l.s.Topic, l.at.Partition, kafka.Range{Start: f.place.Next, End: f.place.End}, take)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil || ended:
			// Offsets at the end that hold no event, too.
			f.place.Next = f.place.End
			return nil
		case !errors.Is(err, kafka.ErrReadStalled):
			return err
		}
		if f.place.Next > before {
			stalled = 0
		}
		if stalled++; stalled > stalledMax {
			return err
		}
	}
	return nil
}

// gap goes on behind records that retention took.
func (f *feed) gap(to int64) {
	if to > f.place.Next {
		f.refuse("removed_by_retention", to-f.place.Next)
		f.place.Next = to
	}
}

// take makes an item of a record, unless it is none; false ends the lane.
func (f *feed) take(rec *schemas.Record) bool {
	s := f.l.s
	it := Item{Partition: rec.Partition, Offset: rec.Offset, Key: rec.Key}
	if reason := s.read(rec, &it); reason != "" {
		f.refuse(reason, 1)
		return true
	}
	if !f.l.agents.wants(it.Event.AgentID) {
		return true
	}
	placed := counted
	if s.Offsets == nil {
		placed = f.place.place(&s.Range, it.Event.Time)
	} else if it.Offset < s.Offsets[it.Partition].Start {
		placed = silent
	}
	switch placed {
	case ended:
		return false
	case silent, counted:
		it.Silent = placed == silent
		f.items = append(f.items, it)
	}
	return true
}

// read makes an event of a record, and says why it is none.
func (s *Topic) read(rec *schemas.Record, it *Item) (refused string) {
	if s.Topic == schemas.TopicArchives {
		return document(rec.Value, it)
	}
	ev, err := schemas.ParseEvent(rec)
	switch {
	case errors.Is(err, schemas.ErrEventKey):
		return "event_key" // the topic holds it once more under the right key
	case err != nil:
		return "event_unreadable"
	}
	it.Event = ev
	return ""
}

// At implements Lane.
func (l *topicLane) At() Place {
	p := l.at
	p.Next = l.next.Load()
	return p
}

// Progress implements Lane.
func (l *topicLane) Progress() (done, total int64) {
	return l.next.Load() - l.at.Begin, l.at.End - l.at.Begin
}

// Refused implements Lane.
func (l *topicLane) Refused() map[string]int64 { return l.refused }

// workersGroup is the consumer group of the live workers, analyze.Group; a
// replay only reads its commits.
const workersGroup = "analyze"

// Judged tells up to which offsets the live workers have judged the topic events.
func Judged(ctx context.Context, c *kafka.Cluster) (map[int32]int64, error) {
	adm, err := c.Admin()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	commits, err := adm.FetchOffsets(ctx, c.Topic(workersGroup))
	if errors.Is(err, kerr.GroupIDNotFound) {
		return map[int32]int64{}, nil // nothing yet
	}
	if err != nil {
		return nil, fmt.Errorf("ask how far the workers have judged: %w", err)
	}
	out := map[int32]int64{}
	for p, o := range commits[c.Topic(schemas.TopicEvents)] {
		out[p] = max(0, o.At)
	}
	return out, nil
}

// recordedMax bounds the alerts that Recorded holds.
const recordedMax = 20_000_000

// Recorded holds the live workers' verdicts on a topic's events.
type Recorded struct {
	at       map[Position]int32
	verdicts []Verdict
	// Rulesets are the versions that judged, sorted.
	Rulesets []string
	// Cut says that retention took alerts that may belong to the range.
	Cut bool
}

// verdict returns the recorded verdict on an event; a zero Verdict is no alert.
func (r *Recorded) verdict(partition int32, offset int64) Verdict {
	if i, ok := r.at[Position{partition, offset}]; ok {
		return r.verdicts[i]
	}
	return Verdict{}
}

// ReadRecorded reads which alerts the live workers have written for the events
// of a range of time. An alert that is there twice counts once; the later
// one counts, as in the indexer. Alerts of another incarnation of the topic are
// left out.
func ReadRecorded(ctx context.Context, c *kafka.Cluster, span Range) (*Recorded, error) {
	id, err := c.TopicID(ctx, schemas.TopicEvents)
	if err != nil {
		return nil, err
	}
	ranges, err := c.Ranges(ctx, schemas.TopicAlerts)
	if err != nil {
		return nil, err
	}
	out := &Recorded{at: map[Position]int32{}}
	if span.From.IsZero() {
		out.Cut = slices.ContainsFunc(ranges, func(r kafka.Range) bool { return r.Start > 0 })
	} else {
		// Alerts carry their events' times, so that none before belongs to the range.
		at, err := c.OffsetsAfter(ctx, schemas.TopicAlerts, span.From)
		if err != nil {
			return nil, err
		}
		for p := range ranges {
			out.Cut = out.Cut || ranges[p].Start > 0 && at[p] <= ranges[p].Start
			ranges[p].Start = max(ranges[p].Start, at[p])
		}
	}
	known, groups, versions := map[Verdict]int32{}, map[string]string{}, map[string]bool{}
	for p, r := range ranges {
		var failed error
		err := c.Read(ctx, schemas.TopicAlerts, int32(p), r, func(rec schemas.Record) bool {
			if !span.To.IsZero() && !rec.Timestamp.Before(span.To) {
				return true
			}
			var d struct {
				Rule struct {
					ID     string          `json:"id"`
					Level  int             `json:"level"`
					Groups json.RawMessage `json:"groups"`
				} `json:"rule"`
				Vedette struct {
					TopicID   string `json:"topic_id"`
					Partition int32  `json:"partition"`
					Offset    int64  `json:"offset"`
					N         int    `json:"n"`
					Ruleset   string `json:"ruleset"`
				} `json:"vedette"`
			}
			if json.Unmarshal(rec.Value, &d) != nil || d.Vedette.TopicID != id || d.Vedette.N != 0 {
				return true
			}
			rule, err := strconv.Atoi(d.Rule.ID)
			if err != nil {
				return true
			}
			g, ok := groups[string(d.Rule.Groups)]
			if !ok {
				var names []string
				_ = json.Unmarshal(d.Rule.Groups, &names) // none, if it is no list
				g = joined(names)
				groups[string(d.Rule.Groups)] = g
			}
			v := Verdict{Rule: rule, Level: d.Rule.Level, Groups: g}
			i, ok := known[v]
			if !ok {
				i = int32(len(out.verdicts))
				out.verdicts, known[v] = append(out.verdicts, v), i
			}
			if !versions[d.Vedette.Ruleset] {
				versions[strings.Clone(d.Vedette.Ruleset)] = true
			}
			if out.at[Position{d.Vedette.Partition, d.Vedette.Offset}] = i; len(out.at) > recordedMax {
				failed = fmt.Errorf("more than %d alerts are recorded; choose a shorter time", recordedMax)
				return false
			}
			return true
		})
		if err = errors.Join(err, failed); err != nil {
			return nil, err
		}
	}
	out.Rulesets = slices.Sorted(maps.Keys(versions))
	return out, nil
}
