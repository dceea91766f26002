package enroll

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

const (
	// rateBurst is how many seconds' worth of connections may come at once.
	rateBurst = 20
	// sourcesMax bounds the addresses remembered; the one unseen longest is
	// forgotten first, which gives it a full bucket again.
	sourcesMax = 65_536
)

// limiter is a token bucket per source address. It is safe for concurrent use.
type limiter struct {
	rate, burst float64

	mu      sync.Mutex // guards the fields below; nothing is locked under it
	buckets map[netip.Prefix]*list.Element
	recent  *list.List // of *bucket, the latest seen in front
}

type bucket struct {
	source netip.Prefix
	tokens float64
	at     time.Time
}

// newLimiter returns a limiter of so many connections a second; 0 limits nothing.
func newLimiter(perSecond int) *limiter {
	return &limiter{
		rate: float64(perSecond), burst: float64(perSecond * rateBurst),
		buckets: map[netip.Prefix]*list.Element{}, recent: list.New(),
	}
}

// sourceKey is the unit that counts as one source: an IPv6 host may use all of
// its /64.
func sourceKey(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero prefix for no address
	return p
}

// allow takes a token of the source, or reports that there is none.
func (l *limiter) allow(key netip.Prefix, now time.Time) bool {
	if l.rate == 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.buckets[key]
	if !ok {
		if l.recent.Len() >= sourcesMax {
			oldest := l.recent.Back()
			delete(l.buckets, oldest.Value.(*bucket).source)
			l.recent.Remove(oldest)
		}
		e = l.recent.PushFront(&bucket{source: key, tokens: l.burst, at: now})
		l.buckets[key] = e
	}
	l.recent.MoveToFront(e)
	b := e.Value.(*bucket)
	if d := now.Sub(b.at).Seconds(); d > 0 {
		b.tokens, b.at = min(l.burst, b.tokens+d*l.rate), now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
