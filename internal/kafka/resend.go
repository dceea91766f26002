package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"vedette/internal/retry"
)

// held are records that brokers refused for a cause that may pass, in order, and
// behind them the records handed over since. Their owners bound them like
// records in flight; maxBufferedRecords bounds the records of other owners.
type held struct {
	waiting atomic.Bool // there are such records; one goroutine sends them
	mu      sync.Mutex
	room    sync.Cond
	records []heldRecord
	warned  retry.Log
}

type heldRecord struct {
	rec  *kgo.Record
	done func(err error)
	// alone is set when brokers refused the record, or another of its batch, for
	// its content. Sent alone, the bad record is found.
	alone bool
}

// ofItself are refusals for a record's content. The brokers refuse its whole
// batch, and the client then gives up all it holds for the partition.
var ofItself = []error{
	kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp,
	kerr.CorruptMessage, kerr.PolicyViolation, kerr.UnsupportedForMessageFormat,
}

// RefusedForGood reports whether a record, sent alone, was refused for its
// content; another error of a producer may pass.
func RefusedForGood(err error) bool {
	return slices.ContainsFunc(ofItself, func(e error) bool { return errors.Is(err, e) })
}

// join puts a record behind the waiting records; it returns false if there are
// none.
func (h *held) join(rec *kgo.Record, done func(error)) bool {
	if !h.waiting.Load() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.waiting.Load() && len(h.records) >= maxBufferedRecords {
		h.room.Wait()
	}
	if !h.waiting.Load() {
		return false
	}
	h.records = append(h.records, heldRecord{rec: rec, done: done})
	return true
}

// hold keeps a refused record to be sent again; false if it is refused for good.
// The client retries errors that Kafka calls retriable by itself. The causes
// here are brokers that begin or end, a login or a right that is missing for
// now, and a record of the same batch that is refused for its content.
func (p *Producer) hold(rec *kgo.Record, done func(error), err error) bool {
	h := &p.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.isClosed() {
		return false
	}
	h.records = append(h.records, heldRecord{rec: fresh(rec), done: done, alone: RefusedForGood(err)})
	p.warn(err)
	if !h.waiting.Swap(true) {
		go p.resend()
	}
	return true
}

func (p *Producer) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// warn logs a refusal, at most once per retry.LogEvery.
func (p *Producer) warn(err error) {
	if skipped, due := p.held.warned.Due(); due {
		p.log.Warn("the brokers refuse records; they are kept and sent again. If this goes on, look at the brokers, and at what the user may write", "err", err, "not_logged", skipped)
	}
}

// fresh is the record as it was handed over.
func fresh(r *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}
}

// resend sends the held records, in order, until none is left.
func (p *Producer) resend() {
	h := &p.held
	pause := retry.Backoff{Min: resendDelayMin, Max: resendDelayMax}
	for delay := pause.Next(); ; {
		select {
		case <-time.After(delay):
		case <-p.closed:
		}
		h.mu.Lock()
		batch := h.records
		h.records = nil
		h.mu.Unlock()
		// The first shows whether the cause has passed.
		again := p.sendAgain(batch[:1])
		if refused := len(again) > 0; refused {
			again = append(again, batch[1:]...)
			delay = pause.Next()
			p.renew()
		} else {
			again = p.sendAgain(batch[1:])
			delay = 0 // for records handed over meanwhile
			pause.Reset()
			if len(again) > 0 {
				delay = pause.Next()
			}
		}
		h.mu.Lock()
		h.records = append(again, h.records...)
		none := len(h.records) == 0
		if none {
			h.waiting.Store(false)
		}
		h.room.Broadcast()
		h.mu.Unlock()
		if none {
			return
		}
	}
}

// renew opens another client in place of a client that was refused a producer
// id. Such a client refuses everything for good, and has nothing in flight.
func (p *Producer) renew() {
	p.renewing.Lock()
	defer p.renewing.Unlock()
	old := p.cl.Load()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, _, err := old.ProducerID(ctx); err == nil || ctx.Err() != nil || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	cl, err := p.c.client(p.opts...)
	if err != nil {
		return // as at the start, but for files that are gone; tried again
	}
	p.held.mu.Lock()
	if p.isClosed() {
		old = cl
	} else {
		p.cl.Store(cl)
	}
	p.held.mu.Unlock()
	old.Close()
}

// sendAgain returns the records that were refused once more.
func (p *Producer) sendAgain(batch []heldRecord) (again []heldRecord) {
	refused := make([]error, len(batch))
	var wg sync.WaitGroup
	for i, e := range batch {
		if e.alone {
			wg.Wait()
		}
		wg.Add(1)
		p.resent.Inc()
		p.cl.Load().Produce(context.Background(), e.rec, func(_ *kgo.Record, err error) {
			if err == nil || p.isClosed() || e.alone && RefusedForGood(err) {
				p.finish(e.done, err)
			} else {
				refused[i] = err
			}
			wg.Done()
		})
		if e.alone {
			wg.Wait()
		}
	}
	wg.Wait()
	p.held.mu.Lock()
	defer p.held.mu.Unlock()
	for i, err := range refused {
		if err != nil {
			p.warn(err)
			again = append(again, heldRecord{rec: fresh(batch[i].rec), done: batch[i].done, alone: batch[i].alone || RefusedForGood(err)})
		}
	}
	return again
}
