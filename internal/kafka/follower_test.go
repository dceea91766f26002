package kafka_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/internal/kafka/kafkatest"
	"vedette/internal/retry"
	"vedette/schemas"
)

// A broker that came back refuses for a while. Each refusal must cost a pause, and
// not a log line of its own.
func TestAFollowerPausesWhileTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	const refusals = 9
	c, broker := kafkatest.Start(t)
	produce(t, c, 0, 7, time.Now())
	var refused atomic.Int32
	var first, last atomic.Int64 // when the broker refused, in nanoseconds
	broker.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		if refused.Load() == refusals {
			return nil, nil, false
		}
		last.Store(time.Now().UnixNano())
		first.CompareAndSwap(0, last.Load())
		refused.Add(1)
		req := r.(*kmsg.FetchRequest)
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		for _, topic := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, part := range topic.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.ErrorCode = part.Partition, kerr.UnknownLeaderEpoch.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	var mu sync.Mutex
	var log bytes.Buffer
	var n int
	f := c.Follow(schemas.TopicEvents, slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil)), func(schemas.Record) { n++ })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	select {
	case <-f.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatalf("the follower does not recover: %d of %d refusals in a minute", refused.Load(), refusals)
	}
	cancel()
	if err := <-done; err != nil || n != 7 {
		t.Fatalf("read %d records, err %v; want 7", n, err)
	}
	took := time.Duration(last.Load() - first.Load())
	// The least of the pauses 50, 100, 200, 400, 800 ms, 1 s, …, less half of each
	// for the jitter; some refusals share a poll, hence half of that again.
	if least := 500 * time.Millisecond; took < least {
		t.Errorf("%d refusals took %s, so the follower hardly pauses; want at least %s", refusals, took, least)
	}
	mu.Lock()
	defer mu.Unlock()
	lines := strings.Count(log.String(), "following a topic is interrupted")
	if most := 1 + int(took/retry.LogEvery); lines < 1 || lines > most {
		t.Errorf("%d refusals of three partitions gave %d log lines, want 1 to %d:\n%s", refusals, lines, most, log.String())
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
