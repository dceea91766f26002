package ingest

import (
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

// requests are those that agents have not answered yet.
type requests struct {
	mu   sync.Mutex
	next uint32
	open map[string]*request
}

type request struct {
	agent string
	timer *time.Timer // its end; guarded by requests.mu
	acked chan struct{}
	once  sync.Once
	done  func(answer string, err error)
}

// request asks an agent something, `<target> <command>`. done is called once,
// from another goroutine, with the answer or one of the errors above.
func (g *Gateway) request(a *agent, r *route, text string, timeout time.Duration, done func(answer string, err error)) {
	q := &request{agent: a.reg.ID, done: done, acked: make(chan struct{})}
	rs := &g.requests
	rs.mu.Lock()
	if len(rs.open) >= requestsMax {
		rs.mu.Unlock()
		go done("", errRequestsFull)
		return
	}
	if rs.open == nil {
		rs.open = map[string]*request{}
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
	if !g.send(a, r, payload) {
		go rs.end(id, "", errRequestSend)
		return
	}
	if r.datagram() {
		route := *r
		go g.repeat(a, &route, id, payload, q)
	}
}

// repeat sends a request on UDP again until the agent has said that it came.
func (g *Gateway) repeat(a *agent, r *route, id, payload string, q *request) {
	t := time.NewTicker(requestRTO)
	defer t.Stop()
	for try := 1; ; try++ {
		select {
		case <-q.acked:
			return
		case <-g.stopping:
			return
		case <-t.C:
		}
		if try == requestAttempts {
			g.requests.end(id, "", errRequestAttempts)
			return
		}
		g.send(a, r, payload)
	}
}

// answered takes an agent's answer, or its word that the request came.
func (g *Gateway) answered(a *agent, id, text string) {
	rs := &g.requests
	rs.mu.Lock()
	q := rs.open[id]
	if q == nil || q.agent != a.reg.ID { // late, or not this agent's
		rs.mu.Unlock()
		g.m.requests.WithLabelValues("unasked").Inc()
		return
	}
	rs.mu.Unlock()
	q.once.Do(func() { close(q.acked) })
	r, ok := g.route(a, time.Now())
	if ok && r.datagram() {
		if text == requestAck {
			return
		}
		g.send(a, &r, "#!-req "+id+" "+requestAck)
	}
	rs.end(id, text, nil)
	g.m.requests.WithLabelValues("answered").Inc()
}

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
