package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"vedette/schemas"
)

// Range is the offsets of a partition: from Start up to, and not with, End.
type Range struct{ Start, End int64 }

// readStalled is how long Read waits for the next record of the range.
const readStalled = 5 * time.Second

// ErrReadStalled reports that records of a partition's range did not arrive.
var ErrReadStalled = errors.New("the brokers send no more of the partition")

// Ranges returns the range of each partition of a topic.
func (c *Cluster) Ranges(ctx context.Context, topic string) ([]Range, error) {
	adm, err := c.Admin()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	return c.rangesBy(ctx, adm, topic)
}

func (c *Cluster) rangesBy(ctx context.Context, adm *kadm.Client, topic string) ([]Range, error) {
	name := c.Topic(topic)
	starts, err := adm.ListStartOffsets(ctx, name)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the start of %s: %w", topic, err)
	}
	ends, err := adm.ListEndOffsets(ctx, name)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the end of %s: %w", topic, err)
	}
	out := make([]Range, len(ends[name]))
	for p := range out {
		start, ok1 := starts.Lookup(name, int32(p))
		end, ok2 := ends.Lookup(name, int32(p))
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("topic %s: partition %d is not described", topic, p)
		}
		out[p] = Range{start.Offset, end.Offset}
	}
	return out, nil
}

// Read passes the records in a range of one partition to fn, in order. It
// returns when it has seen the range to its end or fn answers false. The range
// must lie within the result of Ranges. A record's bytes stay valid after fn
// returns.
func (c *Cluster) Read(ctx context.Context, topic string, partition int32, r Range, fn func(rec schemas.Record) bool) error {
	if r.Start >= r.End {
		return nil
	}
	cl, err := c.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic(topic): {partition: kgo.NewOffset().At(r.Start)}}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// Marks of transactions take offsets too; without them a range that ends in
		// one would seem to have no end.
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(4<<20), kgo.FetchMaxPartitionBytes(4<<20), kgo.FetchMaxWait(100*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		poll, cancel := context.WithTimeout(ctx, readStalled)
		fetches := cl.PollFetches(poll)
		cancel()
		if err := ctx.Err(); err != nil {
			return err
		}
		it := fetches.RecordIter()
		if it.Done() {
			return fmt.Errorf("read %s/%d: %w", topic, partition, errors.Join(ErrReadStalled, fetches.Err()))
		}
		for !it.Done() {
			rec := it.Next()
			if rec.Offset >= r.End {
				return nil
			}
			if !rec.Attrs.IsControl() {
				sr, _ := fromKgo(rec, c.prefix, nil)
				if !fn(sr) {
					return nil
				}
			}
			if rec.Offset+1 >= r.End {
				return nil
			}
		}
	}
}

// holds reports whether a range of a partition holds a record. Marks of transactions
// and removed records take offsets too. If the brokers send nothing for
// readStalled, it answers false.
func (c *Cluster) holds(ctx context.Context, topic string, partition int32, r Range) (bool, error) {
	found := false
	err := c.Read(ctx, topic, partition, r, func(schemas.Record) bool {
		found = true
		return false
	})
	if errors.Is(err, ErrReadStalled) {
		err = nil
	}
	return found, err
}

// OffsetsAfter returns, for each partition of a topic, the first offset whose
// record is not older than t, or the partition's end.
func (c *Cluster) OffsetsAfter(ctx context.Context, topic string, t time.Time) ([]int64, error) {
	adm, err := c.Admin()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	name := c.Topic(topic)
	listed, err := adm.ListOffsetsAfterMilli(ctx, t.UnixMilli(), name)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask where %s is at %s: %w", topic, t.Format(time.RFC3339), err)
	}
	out := make([]int64, len(listed[name]))
	for p := range out {
		l, ok := listed.Lookup(name, int32(p))
		if !ok {
			return nil, fmt.Errorf("topic %s: partition %d is not described", topic, p)
		}
		out[p] = l.Offset
	}
	return out, nil
}
