package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"vedette/internal/retry"
	"vedette/schemas"
)

// Bounds of the pause after the brokers refused to give records of a topic. A
// partition without a fault waits for the others no longer than that.
const (
	fetchPauseMin = 50 * time.Millisecond
	fetchPauseMax = time.Second
)

// Follower reads a whole topic from its start, or what comes after it begins,
// and goes on as it grows.
type Follower struct {
	c     *Cluster
	topic string
	log   *slog.Logger
	fn    func(schemas.Record)
	ready chan struct{}
	news  bool  // only what comes
	at    int64 // where partition 0 is read from, where it was set
}

// Follow prepares a follower. fn runs on the goroutine of Run, in the order of
// each partition; a record's bytes stay valid after it returns.
func (c *Cluster) Follow(topic string, log *slog.Logger, fn func(rec schemas.Record)) *Follower {
	return &Follower{c: c, topic: topic, log: log, fn: fn, ready: make(chan struct{})}
}

// FollowNew is Follow for what is written after Run has begun: Ready is closed
// once nothing of that can be missed.
func (c *Cluster) FollowNew(topic string, log *slog.Logger, fn func(rec schemas.Record)) *Follower {
	f := c.Follow(topic, log, fn)
	f.news = true
	return f
}

// From lets a follower of a topic with one partition begin at an offset, or at
// the topic's start if that lies behind it. Call it before Run.
func (f *Follower) From(offset int64) { f.at = offset }

// Ready is closed once everything that stood in the topic when Run began was
// passed to fn.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Run reads until ctx ends, then returns nil. While no broker answers it waits.
func (f *Follower) Run(ctx context.Context) error {
	name := f.c.Topic(f.topic)
	ends, from, err := f.ends(ctx, name)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	where := kgo.ConsumeTopics(name)
	if f.news {
		where = kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: from})
		clear(ends)
	}
	if f.at > 0 {
		where = kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().At(f.at)}})
		if end, ok := ends[0]; ok && end <= f.at {
			delete(ends, 0)
		}
	}
	cl, err := f.c.client(
		where,
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
	pause := retry.Backoff{Min: fetchPauseMin, Max: fetchPauseMax}
	var complaint retry.Log
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		failed := false
		fetches.EachError(func(_ string, p int32, err error) {
			failed = true
			if skipped, due := complaint.Due(); due {
				f.log.Warn("following a topic is interrupted", "topic", f.topic, "partition", p, "err", err, "not_logged", skipped)
			}
		})
		fetches.EachRecord(func(r *kgo.Record) {
			rec, _ := fromKgo(r, f.c.prefix, nil)
			f.fn(rec)
			if end, ok := ends[r.Partition]; ok && r.Offset+1 >= end {
				delete(ends, r.Partition)
			}
		})
		caughtUp()
		switch {
		case !failed:
			pause.Reset()
		case fetches.NumRecords() == 0:
			// The client hands over each refusal at once, however fast they come.
			if pause.Wait(ctx) != nil {
				return nil
			}
		}
	}
}

// ends returns the end offset of each partition that holds records, and the ends
// of all, waiting for a broker that answers and for the topic to exist.
func (f *Follower) ends(ctx context.Context, name string) (holding map[int32]int64, all map[int32]kgo.Offset, err error) {
	adm, err := f.c.Admin()
	if err != nil {
		return nil, nil, err
	}
	defer adm.Close()
	pause := retry.Backoff{Min: fetchPauseMin, Max: fetchPauseMax}
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
				out, from := map[int32]int64{}, map[int32]kgo.Offset{}
				for p, end := range ends[name] {
					from[p] = kgo.NewOffset().At(end.Offset)
					if end.Offset > starts[name][p].Offset {
						out[p] = end.Offset
					}
				}
				return out, from, nil
			}
			err = e
		}
		if !warned {
			f.log.Warn("waiting for a topic", "topic", f.topic, "err", err)
			warned = true
		}
		if err := pause.Wait(ctx); err != nil {
			return nil, nil, err
		}
	}
}
