package listen

import (
	"sync"
	"sync/atomic"
)

// window bounds the data in flight of all connections together, and wakes
// waiting connections when there is room again.
type window struct {
	limit int64
	total atomic.Int64

	waiters atomic.Int64 // len(waiting), readable without mu
	mu      sync.Mutex
	waiting map[*Conn]struct{}
}

// take adds n bytes for c if both bounds allow it. A message larger than the
// connection's window passes when nothing else of the connection is in flight.
func (w *window) take(c *Conn, n int64) bool {
	if in := c.inflight.Load(); in > 0 && in+n > c.s.limits.WindowBytes {
		return false
	}
	if w.total.Add(n) > w.limit {
		w.give(n)
		return false
	}
	c.inflight.Add(n)
	return true
}

// give returns n bytes, and wakes all waiters once an eighth is free, so that
// they are not woken for each message.
func (w *window) give(n int64) {
	if w.total.Add(-n) > w.limit-w.limit/8 || w.waiters.Load() == 0 {
		return
	}
	w.mu.Lock()
	for c := range w.waiting {
		c.poke()
	}
	w.mu.Unlock()
}

func (w *window) enter(c *Conn) {
	w.mu.Lock()
	w.waiting[c] = struct{}{}
	w.waiters.Store(int64(len(w.waiting)))
	w.mu.Unlock()
}

func (w *window) leave(c *Conn) {
	w.mu.Lock()
	delete(w.waiting, c)
	w.waiters.Store(int64(len(w.waiting)))
	w.mu.Unlock()
}
