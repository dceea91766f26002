package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/datadir"
	"vedette/schemas"
)

// embedded starts a broker on dir whose disk is healthy while sick holds nil.
func embedded(t *testing.T, dir string, sick *atomic.Pointer[error]) (*Embedded, *Cluster) {
	t.Helper()
	cfg := Default()
	cfg.EmbeddedListen, cfg.Partitions = "127.0.0.1:0", 2
	b, err := StartEmbedded(cfg, dir, "secret", func() error {
		if err := sick.Load(); err != nil {
			return *err
		}
		return nil
	}, discard)
	if err != nil {
		t.Fatalf("start the embedded broker: %v", err)
	}
	c := ConnectEmbedded(cfg, b.Addr, "secret")
	if _, err := c.ApplyTopics(t.Context(), Retention{}); err != nil {
		t.Fatalf("make the topics: %v", err)
	}
	return b, c
}

// send hands n numbered records to a producer and counts those acknowledged.
func send(t *testing.T, c *Cluster, from, to int) (acked *atomic.Int64, done func()) {
	t.Helper()
	p, err := c.NewProducer("test", discard, prometheus.NewRegistry())
	if err != nil {
		t.Fatalf("open a producer: %v", err)
	}
	acked = new(atomic.Int64)
	for i := from; i < to; i++ {
		p.Produce(schemas.Record{Topic: schemas.TopicEvents, Key: fmt.Append(nil, i%7), Value: fmt.Append(nil, i), Timestamp: time.Now()}, func(err error) {
			if err == nil {
				acked.Add(1)
			}
		})
	}
	return acked, func() { p.Close() }
}

func values(t *testing.T, c *Cluster) map[string]int {
	t.Helper()
	out := map[string]int{}
	ranges, err := c.Ranges(t.Context(), schemas.TopicEvents)
	if err != nil {
		t.Fatalf("ask for the ranges: %v", err)
	}
	for p, r := range ranges {
		if err := c.Read(t.Context(), schemas.TopicEvents, int32(p), r, func(rec schemas.Record) bool {
			out[string(rec.Value)]++
			return true
		}); err != nil {
			t.Fatalf("read partition %d: %v", p, err)
		}
	}
	return out
}

func TestRecordsWaitWhileTheDiskIsFullAndStandOnceAfterwards(t *testing.T) {
	t.Parallel()
	var sick atomic.Pointer[error]
	b, c := embedded(t, t.TempDir(), &sick)
	defer b.Close()
	first, done := send(t, c, 0, 100)
	defer done()
	eventually(t, "records are acknowledged", func() bool { return first.Load() == 100 })
	full := fmt.Errorf("%w: test", datadir.ErrFull)
	sick.Store(&full)
	second, done2 := send(t, c, 100, 200)
	defer done2()
	// A write that the guard refuses comes back from the client after its first
	// pause; until then nothing may be acknowledged or stored.
	refused := make(chan struct{})
	go func() {
		for sick.Load() != nil && second.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		close(refused)
	}()
	select {
	case <-refused:
		t.Errorf("%d records were acknowledged by a full disk", second.Load())
	case <-time.After(500 * time.Millisecond):
	}
	if n := len(values(t, c)); n != 100 {
		t.Errorf("%d records are stored while the disk is full, want 100", n)
	}
	sick.Store(nil)
	eventually(t, "the waiting records are acknowledged", func() bool { return second.Load() == 100 })
	got := values(t, c)
	for v, n := range got {
		if n != 1 {
			t.Errorf("record %s is stored %d times", v, n)
		}
	}
	if len(got) != 200 {
		t.Errorf("%d different records are stored, want 200", len(got))
	}
}

func TestNothingIsAcknowledgedIntoARemovedLog(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(dir string) error{
		"log removed": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "kafka")) },
		"log moved":   func(dir string) error { return os.Rename(filepath.Join(dir, "kafka"), filepath.Join(dir, "elsewhere")) },
		"data_dir replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+"2"), os.MkdirAll(filepath.Join(dir, "kafka"), 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			var sick atomic.Pointer[error]
			b, c := embedded(t, dir, &sick)
			defer b.Close()
			first, done := send(t, c, 0, 10)
			defer done()
			eventually(t, "records are acknowledged", func() bool { return first.Load() == 10 })
			if err := remove(dir); err != nil {
				t.Fatalf("remove: %v", err)
			}
			p, err := c.NewProducer("test", discard, prometheus.NewRegistry())
			if err != nil {
				t.Fatalf("open a producer: %v", err)
			}
			defer p.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := p.ProduceSync(ctx, schemas.Record{Topic: schemas.TopicEvents, Key: []byte("1"), Value: []byte("late"), Timestamp: time.Now()}); err == nil {
				t.Error("a record was acknowledged after the log was removed")
			}
		})
	}
}

// failing is a listener whose Accept fails some times, the last one for good.
type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		if errors.Is(err, net.ErrClosed) {
			_ = f.Listener.Close()
		}
		return nil, err
	}
	return f.Listener.Accept()
}

func TestTheBrokersPortOutlivesErrorsOfAccept(t *testing.T) {
	t.Parallel()
	l, err := listenSturdily("tcp", "127.0.0.1:0", discard)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	l.ln = &failing{l.ln, []error{syscall.EMFILE, syscall.ECONNABORTED, net.ErrClosed}}
	got := make(chan error, 2)
	accept := func() {
		conn, err := l.Accept()
		if err == nil {
			_ = conn.Close()
		}
		got <- err
	}
	go accept()
	eventually(t, "a client can connect", func() bool {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return false
		}
		_ = conn.Close()
		select {
		case err := <-got:
			if err != nil {
				t.Fatalf("accept: %v", err)
			}
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	go accept()
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	for err := range got {
		if err != nil { // connections of the loop above may come first
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept returned %v after Close, want net.ErrClosed", err)
			}
			break
		}
		go accept()
	}
}
