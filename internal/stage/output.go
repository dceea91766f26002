package stage

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/schemas"
)

// outputRecordsMax and outputBytesMax bound the unacknowledged output per partition.
const (
	outputRecordsMax = 10_000
	outputBytesMax   = 32 << 20
)

// Output is the output of a partition on its way to the brokers.
type Output struct {
	s       *Stage
	wg      sync.WaitGroup
	records int
	bytes   int
}

func (o *Output) full() bool { return o.records >= outputRecordsMax || o.bytes >= outputBytesMax }

// Add hands a record over; counter counts it once it is acknowledged. A record
// that the brokers refuse for good, because it is above their limit, goes to the
// dead letter instead.
func (o *Output) Add(rec schemas.Record, counter prometheus.Counter) {
	o.records++
	o.bytes += len(rec.Value)
	o.wg.Add(1)
	o.s.c.Producer.Produce(rec, func(err error) {
		if err == nil {
			counter.Inc()
			o.wg.Done()
			return
		}
		o.s.c.Log.Error("a record was refused by the brokers", "topic", rec.Topic, "err", err)
		o.s.m.deadletter.WithLabelValues("refused_by_broker").Inc()
		dead := schemas.NewDeadLetter(&rec, "refused_by_broker", err.Error())
		// The client must not be entered from its own callback while it is full.
		go o.s.c.Producer.Produce(dead.Record(), func(error) { o.wg.Done() })
	})
}

// Dead writes an input record that cannot be handled to the dead letter.
func (o *Output) Dead(rec *schemas.Record, cause, detail string) {
	o.s.m.deadletter.WithLabelValues(cause).Inc()
	d := schemas.NewDeadLetter(rec, cause, detail)
	o.records++
	o.wg.Add(1)
	o.s.c.Producer.Produce(d.Record(), func(error) { o.wg.Done() })
}

// wait returns when everything was acknowledged. If ctx ends first, the offset is
// not committed and the next owner writes it all again.
func (o *Output) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { o.wg.Wait(); close(done) }()
	select {
	case <-done:
		o.records, o.bytes = 0, 0
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
