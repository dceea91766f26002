package app

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/internal/health"
	"vedette/internal/kafka"
)

// Containers of an installation start together: one of them makes the topics.
func TestARoleStartsWhileTheTopicsAreMade(t *testing.T) {
	t.Parallel()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "2097152"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	asked := make(chan struct{})
	var once sync.Once
	broker.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		once.Do(func() { close(asked) })
		return nil, nil, false
	})
	made := make(chan error, 1)
	go func() {
		<-asked // the role has looked, and found none
		cfg := kafka.Default()
		cfg.Brokers, cfg.Partitions = broker.ListenAddrs(), 3
		c, err := kafka.Connect(cfg)
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_, err = c.ApplyTopics(ctx, kafka.Retention{})
		}
		made <- err
	}()
	a := launch(t, broker.ListenAddrs(), "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatalf("the role is not ready a minute after the topics were made: %v", a.Health())
	}
}

// Where nobody makes the topics, the start ends and says what to do.
func TestAStartWithoutTopicsSaysWhatToDo(t *testing.T) {
	t.Parallel()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
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
	err = health.NewWatch(c).Await(t.Context(), 0)
	if !errors.Is(err, health.ErrTopics) || !strings.Contains(err.Error(), "vedette topics apply") {
		t.Errorf("error is %v, want the missing topics and the command that makes them", err)
	}
}
