// Package kafkatest gives tests a broker in their own process.
package kafkatest

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/internal/kafka"
)

// Partitions of the keyed topics that New makes.
const Partitions = 3

// New starts an in-memory broker with every topic; it ends with the test.
func New(t testing.TB) *kafka.Cluster {
	t.Helper()
	c, _ := Start(t)
	return c
}

// NewWith is New with another number of partitions of the keyed topics.
func NewWith(t testing.TB, partitions int) *kafka.Cluster {
	t.Helper()
	c, _ := start(t, partitions)
	return c
}

// Start is New for tests that interfere with the broker.
func Start(t testing.TB) (*kafka.Cluster, *kfake.Cluster) {
	t.Helper()
	return start(t, Partitions)
}

func start(t testing.TB, partitions int) (*kafka.Cluster, *kfake.Cluster) {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "2097152"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	cfg := kafka.Default()
	cfg.Brokers = broker.ListenAddrs()
	cfg.Partitions = partitions
	c, err := kafka.Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := c.ApplyTopics(ctx, kafka.Retention{}); err != nil {
		t.Fatal(err)
	}
	return c, broker
}

// RefuseProduce is the answer to a produce request that refuses all its batches,
// for kfake.Cluster.ControlKey.
func RefuseProduce(r kmsg.Request, code *kerr.Error) kmsg.Response {
	req := r.(*kmsg.ProduceRequest)
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
		for _, part := range topic.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.BaseOffset = part.Partition, code.Code, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}
