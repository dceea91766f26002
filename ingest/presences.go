package ingest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/schemas"
)

// presences writes agents' presence records, one of an agent at a time. Only
// underWay changes, atomically.
type presences struct {
	reg      Registry
	results  *prometheus.CounterVec
	underWay atomic.Int64
}

// presenceQueue holds an agent's newest record while an older one is under way.
// mu guards both fields, and no other lock is taken under it.
type presenceQueue struct {
	mu      sync.Mutex
	pending bool
	next    *schemas.Presence
}

// write writes an agent's presence unless one is under way; then the newest
// follows it. So a broker that is away costs one record per agent.
func (ps *presences) write(a *agent, p schemas.Presence) {
	if a.revoked.Load() { // its tombstone is the last word
		return
	}
	q := &a.presence
	q.mu.Lock()
	if q.pending {
		p.Claim = p.Claim || q.next != nil && q.next.Claim && q.next.Session == p.Session
		q.next = &p
		q.mu.Unlock()
		return
	}
	q.pending = true
	q.mu.Unlock()
	ps.underWay.Add(1)
	ps.reg.SetPresence(p, func(err error) {
		result := "written"
		if err != nil {
			result = "failed"
			if p.Claim { // otherwise the records after it would count for nothing
				a.reclaim.Store(true)
			}
		}
		ps.results.WithLabelValues(result).Inc()
		q.mu.Lock()
		next := q.next
		q.pending, q.next = false, nil
		q.mu.Unlock()
		if next != nil && err == nil {
			go func() { // not on the client's goroutine, which must not wait for its own buffer
				ps.write(a, *next)
				ps.underWay.Add(-1)
			}()
			return
		}
		ps.underWay.Add(-1)
	})
}

// drain waits until no record is under way, at most for limit.
func (ps *presences) drain(limit time.Duration) {
	for end := time.Now().Add(limit); ps.underWay.Load() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}
