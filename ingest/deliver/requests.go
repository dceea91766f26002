package deliver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Bounds of requests to agents.
//
// Source: spec/agent-protocol.md §8a and §14.
const (
	requestsMax     = 1024
	requestTimeout  = 60 * time.Second
	requestAttempts = 4 // on UDP
	requestRTO      = time.Second
	requestAck      = "ack"
)

// Errors of requests, in the words that clients of the old server know.
var (
	errRequestsFull    = errors.New("err Too many requests")
	errRequestSend     = errors.New("err Cannot send request")
	errRequestAttempts = errors.New("err Maximum attempts exceeded")
	errRequestTimeout  = errors.New("err Response timeout")
)

// requests are those that agents have not answered yet. mu guards next and open,
// and no other lock is taken under it.
type requests struct {
	life context.Context // of the gateway
	m    *metrics

	mu   sync.Mutex
	next uint32
	open map[string]*request
}

// request is one of them. Only once changes, and locks for itself.
type request struct {
	agent string
	timer *time.Timer // its end
	acked chan struct{}
	once  sync.Once // closes acked
	done  func(answer string, err error)
}

// send asks an agent something, `<target> <command>`. done is called once, from
// another goroutine, with the answer or one of the errors above.
func (rs *requests) send(a Agent, r Route, text string, timeout time.Duration, done func(answer string, err error)) {
	q := &request{agent: a.ID(), done: done, acked: make(chan struct{})}
	rs.mu.Lock()
	if len(rs.open) >= requestsMax {
		rs.mu.Unlock()
		go done("", errRequestsFull)
		return
	}
	var id string
	for {
		rs.next++
		id = fmt.Sprintf("%x", rs.next)
		if rs.open[id] == nil {
			break
		}
	}
	rs.open[id] = q
	q.timer = time.AfterFunc(timeout, func() { rs.end(id, "", errRequestTimeout) })
	rs.mu.Unlock()
	payload := "#!-req " + id + " " + text
	if !r.Send(payload) {
		go rs.end(id, "", errRequestSend)
		return
	}
	if r.Datagram() {
		go rs.repeat(r, id, payload, q)
	}
}

// ask is send for a caller that waits.
func (rs *requests) ask(ctx context.Context, a Agent, text string, timeout time.Duration) (string, error) {
	type outcome struct {
		text string
		err  error
	}
	r, ok := a.Route(time.Now())
	if !ok {
		return "", errors.New("the agent is not connected here any more")
	}
	ch := make(chan outcome, 1)
	rs.send(a, r, text, timeout, func(answer string, err error) { ch <- outcome{answer, err} })
	select {
	case o := <-ch:
		return o.text, o.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// repeat sends a request on UDP again until the agent has said that it came.
func (rs *requests) repeat(r Route, id, payload string, q *request) {
	t := time.NewTicker(requestRTO)
	defer t.Stop()
	for try := 1; ; try++ {
		select {
		case <-q.acked:
			return
		case <-rs.life.Done():
			return
		case <-t.C:
		}
		if try == requestAttempts {
			rs.end(id, "", errRequestAttempts)
			return
		}
		r.Send(payload)
	}
}

func (rs *requests) answered(a Agent, id, text string) {
	rs.mu.Lock()
	q := rs.open[id]
	rs.mu.Unlock()
	if q == nil || q.agent != a.ID() { // late, or not this agent's
		rs.m.requests.WithLabelValues("unasked").Inc()
		return
	}
	q.once.Do(func() { close(q.acked) })
	if r, ok := a.Route(time.Now()); ok && r.Datagram() {
		if text == requestAck {
			return
		}
		r.Send("#!-req " + id + " " + requestAck)
	}
	rs.end(id, text, nil)
	rs.m.requests.WithLabelValues("answered").Inc()
}

// end takes a request off the open ones and hands its outcome over, unless that
// was done before.
func (rs *requests) end(id, answer string, err error) {
	rs.mu.Lock()
	q := rs.open[id]
	delete(rs.open, id)
	rs.mu.Unlock()
	if q == nil {
		return
	}
	q.timer.Stop()
	q.once.Do(func() { close(q.acked) })
	q.done(answer, err)
}
