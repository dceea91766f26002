package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"vedette/schemas"
)

// Follower reads a whole topic from its start and goes on as it grows.
type Follower struct {
	c     *Cluster
	topic string
	log   *slog.Logger
	fn    func(schemas.Record)
	ready chan struct{}
}

// Follow prepares a follower. fn runs on the goroutine of Run, in the order of
// each partition; a record's bytes stay valid after it returns.
func (c *Cluster) Follow(topic string, log *slog.Logger, fn func(rec schemas.Record)) *Follower {
	return &Follower{c: c, topic: topic, log: log, fn: fn, ready: make(chan struct{})}
}

// Ready is closed once everything that stood in the topic when Run began was
// passed to fn.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Run reads until ctx ends, then returns nil. While no broker answers it waits.
func (f *Follower) Run(ctx context.Context) error {
	name := f.c.Topic(f.topic)
	ends, err := f.ends(ctx, name)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	cl, err := f.c.client(
		kgo.ConsumeTopics(name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.KeepRetryableFetchErrors(),
	)
	if err != nil {
		return fmt.Errorf("follow %s: %w", f.topic, err)
	}
	defer cl.Close()
	caughtUp := func() {
		if len(ends) == 0 {
			select {
			case <-f.ready:
			default:
				close(f.ready)
			}
		}
	}
	caughtUp()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		fetches.EachError(func(_ string, p int32, err error) {
			f.log.Warn("following a topic is interrupted", "topic", f.topic, "partition", p, "err", err)
		})
		fetches.EachRecord(func(r *kgo.Record) {
			rec, _ := fromKgo(r, f.c.prefix, nil)
			f.fn(rec)
			if end, ok := ends[r.Partition]; ok && r.Offset+1 >= end {
				delete(ends, r.Partition)
			}
		})
		caughtUp()
	}
}

// ends returns the end offset of each partition that holds records, waiting for
// a broker that answers and for the topic to exist.
func (f *Follower) ends(ctx context.Context, name string) (map[int32]int64, error) {
	adm, err := f.c.Admin()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	for warned := false; ; {
		starts, err := adm.ListStartOffsets(ctx, name)
		if err == nil {
			err = starts.Error()
		}
		if err == nil {
			ends, e := adm.ListEndOffsets(ctx, name)
			if e == nil {
				e = ends.Error()
			}
			if e == nil {
				out := map[int32]int64{}
				for p, end := range ends[name] {
					if end.Offset > starts[name][p].Offset {
						out[p] = end.Offset
					}
				}
				return out, nil
			}
			err = e
		}
		if !warned {
			f.log.Warn("waiting for a topic", "topic", f.topic, "err", err)
			warned = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}
