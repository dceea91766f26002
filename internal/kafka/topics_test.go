package kafka_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/schemas"
)

// The controller answers for a new topic before the other brokers have leaders.
func TestApplyTopicsWaitsForLeadersOnEveryBroker(t *testing.T) {
	t.Parallel()
	broker, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "2097152"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	cfg := kafka.Default()
	cfg.Brokers = broker.ListenAddrs()
	c, err := kafka.Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const each = 3 // answers without a leader, from each broker
	var mu sync.Mutex
	behind := map[int32]int{0: each, 1: each, 2: each}
	broker.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		req := r.(*kmsg.MetadataRequest)
		mu.Lock()
		defer mu.Unlock()
		at := broker.CurrentNode()
		if len(req.Topics) == 0 || behind[at] == 0 {
			return nil, nil, false
		}
		behind[at]--
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		for _, topic := range req.Topics {
			rt := kmsg.NewMetadataResponseTopic()
			rt.Topic = topic.Topic
			rp := kmsg.NewMetadataResponseTopicPartition()
			rp.Leader = -1
			rt.Partitions = append(rt.Partitions, rp)
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	if _, err := c.ApplyTopics(t.Context(), kafka.Retention{}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for id, left := range behind {
		if left > 0 {
			t.Errorf("broker %d had no leaders, and ApplyTopics did not wait for it (%d of %d answers unseen)", id, left, each)
		}
	}
	// Without an end, the wait ends with the context and says which topic it is.
	const ever = 1 << 30
	behind[1] = ever
	mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // ends the wait when it waits
		for ctx.Err() == nil {
			mu.Lock()
			if behind[1] < ever-1 {
				cancel()
			}
			mu.Unlock()
			time.Sleep(time.Millisecond)
		}
	}()
	_, err = c.ApplyTopics(ctx, kafka.Retention{})
	mu.Lock()
	if err == nil || !strings.Contains(err.Error(), "broker 1") || !strings.Contains(err.Error(), "has no leader") {
		t.Errorf("error is %v; it must name the broker that knows no leader", err)
	}
}

func TestTopicsOfOthersAreMadeOnceWhereTheyAreMissing(t *testing.T) {
	t.Parallel()
	c, broker := kafkatest.Start(t)
	for _, names := range [][]string{{"app-logs"}, {"app-logs", "web.logs"}} {
		if err := c.MakeTopics(t.Context(), time.Hour, names...); err != nil {
			t.Fatalf("make %v: %v", names, err)
		}
	}
	for _, name := range []string{"app-logs", "web.logs"} {
		info := broker.TopicInfo(name)
		if info == nil {
			t.Errorf("there is no topic %s", name)
			continue
		}
		if v := info.Configs["retention.ms"]; v == nil || *v != "3600000" {
			t.Errorf("topic %s has the settings %v, want an hour of retention", name, info.Configs)
		}
		for p := range int32(kafkatest.Partitions) {
			if broker.PartitionInfo(name, p) == nil {
				t.Errorf("topic %s has no partition %d; it must have as many as %s", name, p, schemas.TopicEvents)
			}
		}
	}
}
