package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"vedette/internal/kafka"
	"vedette/schemas"
)

// FileSink writes one alert document per line. Alerts of one key are in order.
type FileSink struct {
	mu   sync.Mutex
	f    *os.File
	w    *bufio.Writer
	size int64
}

// NewFileSink makes the file and keeps its first bytes: a replay that goes on
// cuts off the documents written behind its State.
func NewFileSink(path string, keep int64) (*FileSink, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write alerts: %w", err)
	}
	st, err := f.Stat()
	if err == nil && st.Size() < keep {
		err = fmt.Errorf("%s is shorter than when the replay was interrupted", path)
	}
	if err == nil && st.Mode().IsRegular() {
		if err = f.Truncate(keep); err == nil {
			_, err = f.Seek(keep, io.SeekStart)
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write alerts: %w", err)
	}
	return &FileSink{f: f, w: bufio.NewWriterSize(f, 1<<20), size: keep}, nil
}

// Size is the length of the file once all written documents are in it.
func (s *FileSink) Size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// Write implements Sink.
func (s *FileSink) Write(_ *Item, doc []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size += int64(len(doc)) + 1
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
// times are the keys and times of the events.
type TopicSink struct {
	ctx   context.Context
	topic string
	p     *kafka.Producer
	slots chan struct{} // bounds the unacknowledged alerts

	mu  sync.Mutex
	err error
}

const (
	// topicSinkWaiting bounds the alerts that wait for acknowledgement.
	topicSinkWaiting = 10_000
	// topicSinkLeave is how long an interrupted replay waits for it.
	topicSinkLeave = 30 * time.Second
)

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
	default:
		if err := s.wait(); err != nil {
			return err
		}
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

// wait takes a slot when one is free. Alerts judged before an interruption are
// still written, unless the brokers do not answer.
func (s *TopicSink) wait() error {
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-s.ctx.Done():
	}
	leave := time.NewTimer(topicSinkLeave)
	defer leave.Stop()
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-leave.C:
		return errors.New("the brokers do not acknowledge alerts")
	}
}

// Close implements Sink.
func (s *TopicSink) Close() error {
	ctx := s.ctx
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), topicSinkLeave)
		defer cancel()
	}
	err := s.p.Flush(ctx)
	s.p.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = s.err
	}
	return err
}
