package enroll

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
)

// lookedAt is how many connections are examined to find one to close.
const lookedAt = 64

// slots bounds the connections of the port. When all are taken, a connection
// that waits for a request gives way to a new one. If a source holds more than
// an eighth of all places, its longest waiting connection goes, or else the
// longest waiting of all. An agent asks at once; a client that only holds a
// place does not. It is safe for concurrent use.
type slots struct {
	max int

	mu      sync.Mutex // guards the fields below; nothing is locked under it
	taken   int
	waiting *list.List // of *slot that may give way, the next in front
	holds   map[netip.Prefix]int
}

// slot is one connection's place.
type slot struct {
	s      *slots
	raw    net.Conn
	source netip.Prefix
	at     *list.Element // in waiting; nil while its request is answered, or it gave way
	gone   bool          // it gave way: its place belongs to another
}

func newSlots(n int) *slots {
	return &slots{max: n, waiting: list.New(), holds: map[netip.Prefix]int{}}
}

// take gives a connection a place, closing another one for it if need be, or
// returns nil if every place is held by a request that is being answered.
func (s *slots) take(raw net.Conn, source netip.Prefix) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.max && !s.makeRoom() {
		return nil
	}
	x := &slot{s: s, raw: raw, source: source}
	x.at = s.waiting.PushBack(x)
	s.taken++
	s.holds[source]++
	return x
}

func (s *slots) makeRoom() bool {
	e := s.waiting.Front()
	if e == nil {
		return false
	}
	for c, n := e, 0; c != nil && n < lookedAt; c, n = c.Next(), n+1 {
		if s.holds[c.Value.(*slot).source] > s.max/8 {
			e = c
			break
		}
	}
	x := s.waiting.Remove(e).(*slot)
	x.at, x.gone = nil, true
	s.release(x)
	x.raw.Close() // its goroutine ends with the read that fails
	return true
}

func (s *slots) release(x *slot) {
	s.taken--
	if s.holds[x.source]--; s.holds[x.source] == 0 {
		delete(s.holds, x.source)
	}
}

// asked says that the request is there, so that the place is kept until it is
// answered. It reports whether the place had not been given away before.
func (x *slot) asked() bool {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.leave()
	return !x.gone
}

func (x *slot) leave() {
	if x.at != nil {
		x.s.waiting.Remove(x.at)
		x.at = nil
	}
}

// answered says that the reply was sent: nothing is lost if this place is the
// next to be given away.
func (x *slot) answered() {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	if x.at == nil && !x.gone {
		x.at = x.s.waiting.PushFront(x)
	}
}

// gaveWay reports whether the place went to another connection.
func (x *slot) gaveWay() bool {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	return x.gone
}

// free gives the place back.
func (x *slot) free() {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.leave()
	if !x.gone {
		x.s.release(x)
	}
}
