package replay

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync"

	"vedette/internal/kafka"
	"vedette/schemas"
)

// FileSink writes one alert document per line. Alerts of one key stand in order.
type FileSink struct {
	mu sync.Mutex
	f  *os.File
	w  *bufio.Writer
}

// NewFileSink makes the file, or goes on at its end if it is to be appended to.
func NewFileSink(path string, appended bool) (*FileSink, error) {
	mode := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if appended {
		mode = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	f, err := os.OpenFile(path, mode, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write alerts: %w", err)
	}
	return &FileSink{f: f, w: bufio.NewWriterSize(f, 1<<20)}, nil
}

// Write implements Sink.
func (s *FileSink) Write(_ *Item, doc []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.w.Write(doc); err != nil {
		return err
	}
	return s.w.WriteByte('\n')
}

// Close implements Sink.
func (s *FileSink) Close() error {
	err := s.w.Flush()
	if e := s.f.Close(); err == nil {
		err = e
	}
	return err
}

// TopicSink writes alerts to a topic that somebody made for it. Their keys and
// times are those of the events.
type TopicSink struct {
	ctx   context.Context
	topic string
	p     *kafka.Producer
	slots chan struct{} // bounds what waits for acknowledgement

	mu  sync.Mutex
	err error
}

// topicSinkWaiting bounds the alerts that wait for acknowledgement.
const topicSinkWaiting = 10_000

// NewTopicSink writes to a topic, without the prefix, by a producer that Close ends.
// It refuses the names of Vedette's own topics: a replay never touches them.
func NewTopicSink(ctx context.Context, topic string, p *kafka.Producer) (*TopicSink, error) {
	for _, t := range schemas.Topics() {
		if t.Name == topic {
			return nil, fmt.Errorf("alerts of a replay cannot go to %s, which the running server uses; name another topic", topic)
		}
	}
	return &TopicSink{ctx: ctx, topic: topic, p: p, slots: make(chan struct{}, topicSinkWaiting)}, nil
}

// Write implements Sink.
func (s *TopicSink) Write(it *Item, doc []byte) error {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return nil // interrupted
	}
	rec := schemas.Record{Topic: s.topic, Key: []byte(it.Event.Key()), Timestamp: it.Event.Time, Value: append([]byte(nil), doc...)}
	s.p.Produce(rec, func(err error) {
		if err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
		<-s.slots
	})
	return nil
}

// Close implements Sink.
func (s *TopicSink) Close() error {
	err := s.p.Flush(context.WithoutCancel(s.ctx))
	s.p.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = s.err
	}
	return err
}
