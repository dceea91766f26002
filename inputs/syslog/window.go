package syslog

import "sync"

// window bounds the messages that wait for the brokers, per holder and of all
// together.
type window struct {
	each, limit int64

	mu      sync.Mutex // guards the fields below and every holder
	total   int64
	waiting map[*holder]struct{}
}

// holder is one connection, or one source over UDP.
type holder struct {
	in   int64
	wake chan struct{} // one pending wake-up at most; nil for those that never wait
}

func newWindow(each, limit int64) *window {
	return &window{each: each, limit: limit, waiting: map[*holder]struct{}{}}
}

func newHolder() *holder { return &holder{wake: make(chan struct{}, 1)} }

// fits reports whether n more bytes of h may be in flight. A message larger than a
// bound passes when nothing else is. The caller holds mu.
func (w *window) fits(h *holder, n int64) bool {
	return (h.in == 0 || h.in+n <= w.each) && (w.total == 0 || w.total+n <= w.limit)
}

// take adds n bytes of h if there is room for them.
func (w *window) take(h *holder, n int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.fits(h, n) {
		return false
	}
	h.in += n
	w.total += n
	return true
}

// acquire waits until there is room and adds n bytes of h; paused is called once
// if it has to wait. It returns false when done is closed first.
func (w *window) acquire(h *holder, n int64, done <-chan struct{}, paused func(bool)) bool {
	if w.take(h, n) {
		return true
	}
	paused(true)
	defer paused(false)
	for {
		w.mu.Lock()
		if w.fits(h, n) {
			h.in += n
			w.total += n
			delete(w.waiting, h)
			w.mu.Unlock()
			return true
		}
		w.waiting[h] = struct{}{}
		w.mu.Unlock()
		select {
		case <-h.wake:
		case <-done:
			w.mu.Lock()
			delete(w.waiting, h)
			w.mu.Unlock()
			return false
		}
	}
}

// give returns n bytes of h. Those that wait are woken once half of their own
// room, or an eighth of all, is free, and not for each message.
func (w *window) give(h *holder, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h.in -= n
	w.total -= n
	if len(w.waiting) == 0 {
		return
	}
	if w.total <= w.limit-w.limit/8 {
		for h := range w.waiting {
			if h.in <= w.each/2 {
				poke(h)
			}
		}
	}
}

func poke(h *holder) {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (w *window) inFlight() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}
