package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"vedette/internal/kafka"
	"vedette/schemas"
)

// Topic is the history that a broker holds: raw events, or archived documents.
type Topic struct {
	Cluster *kafka.Cluster
	// Topic is schemas.TopicEvents or schemas.TopicArchives.
	Topic string
	Range Range
	// Offsets bounds partitions by offset, in place of Range; others are left out.
	Offsets map[int32]kafka.Range
	// Agents keeps only their events; empty keeps all.
	Agents []string
	// Resume gives the offset from which a partition goes on.
	Resume map[int32]int64
}

// Name implements Source.
func (s *Topic) Name() string { return "topic " + s.Topic }

// Open implements Source: each partition is a lane. Where records of a partition
// went because of its retention, the history begins with what is left.
func (s *Topic) Open(ctx context.Context, _ int) ([]Lane, error) {
	ranges, err := s.Cluster.Ranges(ctx, s.Topic)
	if err != nil {
		return nil, err
	}
	first, last := slices.Clone(ranges), []int64(nil)
	if !s.Range.From.IsZero() {
		at, err := s.Cluster.OffsetsAfter(ctx, s.Topic, s.Range.From.Add(-s.Range.Warm))
		if err != nil {
			return nil, err
		}
		for p := range first {
			first[p].Start = max(first[p].Start, at[p])
		}
	}
	if !s.Range.To.IsZero() {
		if last, err = s.Cluster.OffsetsAfter(ctx, s.Topic, s.Range.To); err != nil {
			return nil, err
		}
	}
	var lanes []Lane
	for p, r := range first {
		// Times within a partition may run backwards, by what the broker allows:
		// what lies behind the first record after To can still belong to it.
		if last != nil && last[p] < r.End {
			r.End = min(r.End, last[p]+outOfOrder)
		}
		if s.Offsets != nil {
			want, ok := s.Offsets[int32(p)]
			if !ok {
				continue
			}
			r = kafka.Range{Start: max(want.Start, ranges[p].Start), End: min(want.End, ranges[p].End)}
		}
		begin := r.Start
		if at, ok := s.Resume[int32(p)]; ok {
			r.Start = max(r.Start, at)
		}
		l := &topicLane{s: s, partition: int32(p), r: r, begin: min(begin, r.End), refused: map[string]int64{}}
		l.next.Store(min(r.Start, r.End))
		lanes = append(lanes, l)
	}
	return lanes, nil
}

// outOfOrder is how many records behind the first one after To are looked at.
const outOfOrder = 10_000

// topicLane is one partition.
type topicLane struct {
	s         *Topic
	partition int32
	r         kafka.Range
	begin     int64
	next      atomic.Int64
	refused   map[string]int64

	batches chan []Item
	failed  error // set before batches is closed
	started bool
}

// Next implements Lane.
func (l *topicLane) Next(ctx context.Context) ([]Item, error) {
	if !l.started {
		l.started = true
		l.batches = make(chan []Item, 4)
		go l.run(ctx)
	}
	for {
		items, ok := <-l.batches
		switch {
		case !ok && l.failed != nil:
			return nil, l.failed
		case !ok:
			return nil, io.EOF
		case len(items) > 0:
			l.next.Store(items[len(items)-1].Offset + 1)
			return items, nil
		}
	}
}

// run reads the partition and hands batches over.
func (l *topicLane) run(ctx context.Context) {
	defer close(l.batches)
	items := make([]Item, 0, batchMax)
	flush := func() bool {
		if len(items) == 0 {
			return true
		}
		select {
		case l.batches <- items:
			items = make([]Item, 0, batchMax)
			return true
		case <-ctx.Done():
			return false
		}
	}
	err := l.s.Cluster.Read(ctx, l.s.Topic, l.partition, kafka.Range{Start: l.next.Load(), End: l.r.End}, func(rec schemas.Record) bool {
		it := Item{Partition: rec.Partition, Offset: rec.Offset}
		if reason := l.s.read(&rec, &it); reason != "" {
			l.refused[reason]++
			return true
		}
		in, silent := l.s.Range.place(it.Event.Time)
		if !in || !wanted(l.s.Agents, it.Event.AgentID) {
			return true
		}
		it.Silent = silent
		items = append(items, it)
		return len(items) < batchMax || flush()
	})
	if err == nil && !flush() {
		err = ctx.Err()
	}
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	l.failed = err
}

// read makes an event of a record, and says why it is none.
func (s *Topic) read(rec *schemas.Record, it *Item) (refused string) {
	if s.Topic == schemas.TopicArchives {
		return document(rec.Value, it)
	}
	ev, err := schemas.ParseEvent(rec)
	switch {
	case errors.Is(err, schemas.ErrEventKey):
		return "event_key" // it stands once more under the right key
	case err != nil:
		return "event_unreadable"
	}
	it.Event = ev
	return ""
}

// At implements Lane.
func (l *topicLane) At() Position { return Position{Partition: l.partition, Next: l.next.Load()} }

// Progress implements Lane.
func (l *topicLane) Progress() (done, total int64) {
	return l.next.Load() - l.begin, l.r.End - l.begin
}

// Refused implements Lane.
func (l *topicLane) Refused() map[string]int64 { return l.refused }

// recordedMax bounds the alerts that Recorded holds.
const recordedMax = 20_000_000

// Recorded reads which alerts the live workers have written for a topic's
// events, by partition and offset. An alert that stands there twice counts once;
// the later one counts, as in the indexer. Alerts of another incarnation of the
// topic are left out.
func Recorded(ctx context.Context, c *kafka.Cluster, since time.Time) (map[Position]Verdict, error) {
	id, err := c.TopicID(ctx, schemas.TopicEvents)
	if err != nil {
		return nil, err
	}
	ranges, err := c.Ranges(ctx, schemas.TopicAlerts)
	if err != nil {
		return nil, err
	}
	if !since.IsZero() {
		at, err := c.OffsetsAfter(ctx, schemas.TopicAlerts, since)
		if err != nil {
			return nil, err
		}
		for p := range ranges {
			ranges[p].Start = max(ranges[p].Start, at[p])
		}
	}
	out := map[Position]Verdict{}
	groups := map[string]string{} // few distinct ones
	for p, r := range ranges {
		var failed error
		err := c.Read(ctx, schemas.TopicAlerts, int32(p), r, func(rec schemas.Record) bool {
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
				} `json:"vedette"`
			}
			if json.Unmarshal(rec.Value, &d) != nil || d.Vedette.TopicID != id || d.Vedette.N != 0 {
				return true
			}
			v := Verdict{Level: d.Rule.Level}
			if _, err := fmt.Sscanf(d.Rule.ID, "%d", &v.Rule); err != nil {
				return true
			}
			g, ok := groups[string(d.Rule.Groups)]
			if !ok {
				var names []string
				_ = json.Unmarshal(d.Rule.Groups, &names) // none, if it is no list
				g = joined(names)
				groups[string(d.Rule.Groups)] = g
			}
			v.Groups = g
			out[Position{d.Vedette.Partition, d.Vedette.Offset}] = v
			if len(out) > recordedMax {
				failed = fmt.Errorf("more than %d alerts are recorded; choose a shorter time", recordedMax)
				return false
			}
			return true
		})
		if err = errors.Join(err, failed); err != nil {
			return nil, err
		}
	}
	return out, nil
}
