package kafka_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/schemas"
)

// outcomes are a producer's results of records, by their value.
type outcomes struct {
	mu    sync.Mutex
	said  map[string]error
	twice []string
	wg    sync.WaitGroup
}

func (o *outcomes) produce(p *kafka.Producer, value string) {
	o.wg.Add(1)
	p.Produce(schemas.Record{Topic: schemas.TopicEvents, Key: []byte("001"), Value: []byte(value)}, func(err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if _, ok := o.said[value]; ok {
			o.twice = append(o.twice, value)
		}
		o.said[value] = err
		o.wg.Done()
	})
}

func (o *outcomes) wait(t *testing.T) {
	t.Helper()
	all := make(chan struct{})
	go func() { o.wg.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(2 * time.Minute):
		t.Fatal("not every record was answered for")
	}
	if len(o.twice) > 0 {
		t.Fatalf("answered for twice: %v", o.twice)
	}
}

// read returns the values in TopicEvents, in order.
func read(t *testing.T, c *kafka.Cluster) (values []string) {
	t.Helper()
	f := c.Follow(schemas.TopicEvents, quiet, func(r schemas.Record) { values = append(values, string(r.Value)) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	<-f.Ready()
	cancel()
	<-done
	return values
}

// times runs answer for the first n requests of a key.
func times(broker *kfake.Cluster, key kmsg.Key, n int, answer func(kmsg.Request) (kmsg.Response, error)) {
	for range n {
		broker.ControlKey(key.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
			resp, err := answer(r)
			return resp, err, true
		})
	}
}

func refuseID(r kmsg.Request) (kmsg.Response, error) {
	resp := r.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
	return resp, nil
}

func TestRecordsThatBrokersRefuseForNowAreSentAgain(t *testing.T) {
	tests := []struct {
		name string
		of   kmsg.Key
		how  func(kmsg.Request) (kmsg.Response, error)
	}{
		{"an error without a name", kmsg.Produce, func(r kmsg.Request) (kmsg.Response, error) {
			return kafkatest.RefuseProduce(r, kerr.UnknownServerError), nil
		}},
		{"a right that is missing", kmsg.Produce, func(r kmsg.Request) (kmsg.Response, error) {
			return kafkatest.RefuseProduce(r, kerr.TopicAuthorizationFailed), nil
		}},
		{"a producer that may not write", kmsg.InitProducerID, refuseID},
		{"connections closed at once, producer ids", kmsg.InitProducerID, func(kmsg.Request) (kmsg.Response, error) { return nil, io.EOF }},
		{"connections closed at once, metadata", kmsg.Metadata, func(kmsg.Request) (kmsg.Response, error) { return nil, io.EOF }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, broker := kafkatest.Start(t)
			reg := prometheus.NewRegistry()
			p, err := c.NewProducer("test", quiet, reg)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			times(broker, tt.of, 4, tt.how)
			o := outcomes{said: map[string]error{}}
			var want []string
			for i := range 3000 {
				want = append(want, fmt.Sprint(i))
				o.produce(p, want[i])
				if i%1000 == 999 {
					time.Sleep(60 * time.Millisecond) // some come while others are held
				}
			}
			if err := p.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			o.wait(t)
			for v, err := range o.said {
				if err != nil {
					t.Fatalf("record %s: %v", v, err)
				}
			}
			got := read(t, c)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%d records stand in the topic, want each of %d once", len(got), len(want))
			}
			if !p.Healthy() {
				t.Error("all is written and the producer is not healthy")
			}
		})
	}
}

// A broker refuses the batch, and the client everything it holds for the
// partition: only the bad record may be lost by that.
func TestARecordThatIsRefusedTakesNoOtherWithIt(t *testing.T) {
	for _, code := range []*kerr.Error{kerr.InvalidRecord, kerr.MessageTooLarge, kerr.CorruptMessage} {
		t.Run(code.Message, func(t *testing.T) {
			c, broker := kafkatest.Start(t)
			reg := prometheus.NewRegistry()
			p, err := c.NewProducer("test", quiet, reg)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			unpack := kgo.DefaultDecompressor()
			broker.ControlKey(kmsg.Produce.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
				broker.KeepControl()
				for _, topic := range r.(*kmsg.ProduceRequest).Topics {
					for _, part := range topic.Partitions {
						var b kmsg.RecordBatch
						if err := b.ReadFrom(part.Records); err != nil {
							t.Error(err)
						}
						plain, err := unpack.Decompress(b.Records, kgo.CompressionCodecType(b.Attributes&7))
						if err != nil {
							t.Error(err)
						}
						if bytes.Contains(plain, []byte("bad")) {
							return kafkatest.RefuseProduce(r, code), nil, true
						}
					}
				}
				return nil, nil, false
			})
			o := outcomes{said: map[string]error{}}
			want := 0
			for i := range 40 {
				v := fmt.Sprint("good ", i)
				if i%13 == 7 {
					v = fmt.Sprint("bad ", i)
				} else {
					want++
				}
				o.produce(p, v)
			}
			o.wait(t)
			for v, err := range o.said {
				if bad := strings.HasPrefix(v, "bad"); bad != errors.Is(err, code) || !bad && err != nil {
					t.Errorf("%s: %v", v, err)
				}
			}
			if got := read(t, c); len(got) != want {
				t.Errorf("%d records stand in the topic, want %d", len(got), want)
			}
			const refused = `
# HELP vedette_kafka_produce_failures_total Records whose writer was told that the brokers refused them.
# TYPE vedette_kafka_produce_failures_total counter
vedette_kafka_produce_failures_total{producer="test"} 3
`
			if err := testutil.GatherAndCompare(reg, strings.NewReader(refused), "vedette_kafka_produce_failures_total"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAClosedProducerAnswersForWhatItHolds(t *testing.T) {
	c, broker := kafkatest.Start(t)
	p, err := c.NewProducer("test", quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	times(broker, kmsg.Produce, 1000, func(r kmsg.Request) (kmsg.Response, error) {
		return kafkatest.RefuseProduce(r, kerr.UnknownServerError), nil
	})
	o := outcomes{said: map[string]error{}}
	for i := range 100 {
		o.produce(p, fmt.Sprint(i))
		time.Sleep(time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond)
	p.Close()
	o.produce(p, "late")
	o.wait(t)
	for v, err := range o.said {
		// The brokers' last word, or the closed client's.
		if !errors.Is(err, kgo.ErrClientClosed) && (v == "late" || !errors.Is(err, kerr.UnknownServerError)) {
			t.Errorf("record %s: %v", v, err)
		}
	}
}

func TestAProducerThatWasRefusedAnIDCanWriteLater(t *testing.T) {
	c, broker := kafkatest.Start(t)
	p, err := c.NewProducer("test", quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	times(broker, kmsg.InitProducerID, 1, refuseID)
	rec := schemas.Record{Topic: schemas.TopicEvents, Key: []byte("001"), Value: []byte("x")}
	if _, err := p.ProduceSync(t.Context(), rec); !errors.Is(err, kerr.ClusterAuthorizationFailed) {
		t.Fatalf("the first try: %v", err)
	}
	if _, err := p.ProduceSync(t.Context(), rec); err != nil {
		t.Fatalf("the second try: %v", err)
	}
}
