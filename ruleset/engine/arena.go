package engine

import "unsafe"

// Sizes of an arena's piece of memory, in bytes. The texts made for one event take
// a few times its own size.
const (
	arenaMin  = 4 << 10
	arenaKept = 1 << 20
)

// arena holds the texts that are made for one event, so that an event allocates
// nothing once the arena has grown to the size that events need.
//
// Its texts end with the event: whatever outlives it must be cloned.
type arena struct {
	b []byte
	// given says that texts went to a Trace, which may keep them.
	given bool
}

// reset ends the texts of the last event.
func (a *arena) reset() {
	if a.given || cap(a.b) > arenaKept {
		a.b, a.given = nil, false
	}
	a.b = a.b[:0]
}

// Room returns an empty slice of at least n bytes' capacity at the arena's end.
// The caller passes the appended bytes to Keep.
func (a *arena) Room(n int) []byte {
	if cap(a.b)-len(a.b) < n {
		// The texts of the event so far stay where they are.
		a.b = make([]byte, 0, max(n, min(2*cap(a.b), arenaKept), arenaMin))
	}
	return a.b[len(a.b):len(a.b):cap(a.b)]
}

// Keep makes a text of b, which was appended to the slice from Room.
func (a *arena) Keep(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if end := len(a.b) + len(b); end <= cap(a.b) && &a.b[:end][len(a.b)] == &b[0] {
		a.b = a.b[:end]
	}
	// Otherwise b has outgrown the room and has memory of its own.
	return unsafe.String(&b[0], len(b))
}

// copy returns a text equal to b.
func (a *arena) copy(b []byte) string { return a.Keep(append(a.Room(len(b)), b...)) }

// lower returns s with its ASCII letters in lower case.
func (a *arena) lower(s string) string {
	i := 0
	for i < len(s) && (s[i] < 'A' || s[i] > 'Z') {
		i++
	}
	if i == len(s) {
		return s
	}
	b := append(a.Room(len(s)), s...)
	lowerBytes(b[i:])
	return a.Keep(b)
}

// lowerBytes turns ASCII letters to lower case, eight bytes at a time.
func lowerBytes(b []byte) {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
	)
	for len(b) >= 8 {
		w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		low7 := w &^ high
		// The high bit of a byte says: at least 'A', and not above 'Z', and ASCII.
		upper := (low7 + (0x80-'A')*ones) &^ (low7 + (0x80-'Z'-1)*ones) &^ w & high
		w |= upper >> 2
		b[0], b[1], b[2], b[3] = byte(w), byte(w>>8), byte(w>>16), byte(w>>24)
		b[4], b[5], b[6], b[7] = byte(w>>32), byte(w>>40), byte(w>>48), byte(w>>56)
		b = b[8:]
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
}
