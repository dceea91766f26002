package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
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

// Follower reads a whole topic from its start, or only the records after it
// begins, and goes on as the topic grows.
type Follower struct {
	c     *Cluster
	topic string
	log   *slog.Logger
	fn    func(schemas.Record)
	ready chan struct{}
	news  bool  // only records that come after Run began
	at    int64 // where the reading of partition 0 begins; 0: at the start

	observeEvery time.Duration // 0: the default

	readyOnce sync.Once
	due       map[int32]int64 // ends that Ready waits for; of the reading goroutine
	mu        sync.Mutex
	next      map[int32]int64 // offset behind the last record passed to fn
}

// Follow prepares a follower. fn runs on the goroutine of Run, in the order of
// each partition; a record's bytes stay valid after it returns.
func (c *Cluster) Follow(topic string, log *slog.Logger, fn func(rec schemas.Record)) *Follower {
	return &Follower{c: c, topic: topic, log: log, fn: fn, ready: make(chan struct{})}
}

// FollowNew is Follow for records that are written after Run has begun. Ready is
// closed once none of them can be missed.
func (c *Cluster) FollowNew(topic string, log *slog.Logger, fn func(rec schemas.Record)) *Follower {
	f := c.Follow(topic, log, fn)
	f.news = true
	return f
}

// From lets a follower of a topic with one partition begin at an offset, or at
// the topic's start if that lies behind it. Call it before Run.
func (f *Follower) From(offset int64) { f.at = offset }

// Ready is closed once every record that was in the topic when Run began has
// been passed to fn.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Run reads until ctx ends, then returns nil. While no broker answers it waits.
func (f *Follower) Run(ctx context.Context) error {
	ranges, err := f.ranges(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	f.due, f.next = map[int32]int64{}, map[int32]int64{}
	for i, r := range ranges {
		at := r.Start
		switch {
		case f.news:
			at = r.End
		case i == 0 && f.at > 0:
			at = f.at
		}
		f.next[int32(i)] = at
		if r.End > max(at, r.Start) {
			f.due[int32(i)] = r.End
		}
	}
	for ctx.Err() == nil {
		read, again := context.WithCancel(ctx)
		var observing sync.WaitGroup
		observing.Go(func() { f.observe(read, again) })
		err := f.read(read)
		again()
		observing.Wait()
		if err != nil {
			return err
		}
	}
	return nil
}

// read passes records to fn, from f.next on, until ctx ends.
func (f *Follower) read(ctx context.Context) error {
	offsets := map[int32]kgo.Offset{}
	for p, at := range f.next {
		offsets[p] = kgo.NewOffset().At(at)
	}
	cl, err := f.c.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{f.c.Topic(f.topic): offsets}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.KeepRetryableFetchErrors(),
	)
	if err != nil {
		return fmt.Errorf("follow %s: %w", f.topic, err)
	}
	defer cl.Close()
	pause := retry.Backoff{Min: fetchPauseMin, Max: fetchPauseMax}
	var complaint retry.Log
	for {
		if len(f.due) == 0 {
			f.readyOnce.Do(func() { close(f.ready) })
		}
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
			f.mu.Lock()
			f.next[r.Partition] = r.Offset + 1
			f.mu.Unlock()
			if end, ok := f.due[r.Partition]; ok && r.Offset+1 >= end {
				delete(f.due, r.Partition)
			}
		})
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

// observe compares where the follower is with the ends of its partitions, which it
// asks the brokers itself. It reports partitions that stand still beside waiting
// records, and calls again to begin their reading anew.
func (f *Follower) observe(ctx context.Context, again func()) {
	every := f.observeEvery
	if every == 0 {
		every = observeEvery
	}
	adm, err := f.c.Admin()
	if err != nil {
		return
	}
	defer adm.Close()
	last, looks := map[int32]int64{}, map[int32]int{}
	for retry.Sleep(ctx, every) == nil {
		look, cancel := context.WithTimeout(ctx, observeTimeout)
		ranges, err := f.c.rangesBy(look, adm, f.topic)
		if err != nil {
			cancel()
			continue // readiness says elsewhere that the brokers do not answer
		}
		for i, r := range ranges {
			p := int32(i)
			f.mu.Lock()
			at := f.next[p]
			f.mu.Unlock()
			before, known := last[p]
			last[p] = at
			if at >= r.End || r.Start >= r.End || !known || before != at {
				looks[p] = 0
				f.c.shared.move(stalledPart{topic: f.topic, partition: p})
				continue
			}
			if looks[p]++; looks[p]%stalledLooks != 0 {
				continue
			}
			if found, err := f.c.holds(look, f.topic, p, Range{max(at, r.Start), r.End}); err == nil && found {
				f.c.shared.stall(f.log, stalledPart{topic: f.topic, partition: p}, "it is not read")
				again()
			}
		}
		cancel()
	}
}

// ranges returns the range of each partition. It waits for a broker that answers
// and for the topic to exist.
func (f *Follower) ranges(ctx context.Context) ([]Range, error) {
	adm, err := f.c.Admin()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	pause := retry.Backoff{Min: fetchPauseMin, Max: fetchPauseMax}
	for warned := false; ; {
		ranges, err := f.c.rangesBy(ctx, adm, f.topic)
		if err == nil && len(ranges) == 0 {
			err = fmt.Errorf("the topic %s has no partition", f.topic)
		}
		if err == nil {
			return ranges, nil
		}
		if !warned {
			f.log.Warn("waiting for a topic", "topic", f.topic, "err", err)
			warned = true
		}
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
}
