// Package repeats finds events that their source has written again after a
// crash, so that live analysis, the shadow and a replay leave out the same ones.
package repeats

import (
	"encoding/binary"
	"errors"
	"strings"
)

const (
	// repeatsMax bounds the streams remembered per partition, over all record
	// keys; the longest unused go first.
	repeatsMax = 50_000
	// streamMax bounds the name of a stream; events of a longer one are not
	// looked at.
	streamMax = 128
	// repeatsMagic begins a snapshot; its last byte is the version
	// of the form. The engine's snapshot begins otherwise.
	repeatsMagic = "vedette repeats\x00\x01"
)

// Memory finds events that a source has written again after a crash. Such a
// source names its events `<stream>/<n>` (schemas.HeaderEventID), n being a
// decimal number that grows, for each record key, from one event to the next: of
// a topic of others, the stream is topic id and partition, and n the offset. An
// event whose n is not above the largest that its key has seen of the stream is
// a repeat. So what is remembered is one number per key and stream, however long
// ago the first one was. Other ids tell nothing, and are never repeats.
//
// The answer follows from the log alone, as the engine's does (docs/design.md
// D1): Memory is part of a partition's state and of its checkpoint. The zero
// value has seen nothing. It is not safe for concurrent use.
type Memory struct {
	at             map[repeatKey]*repeatEntry
	newest, oldest *repeatEntry
	max            int // of tests; 0: repeatsMax
}

type repeatKey struct{ key, stream string }

type repeatEntry struct {
	repeatKey
	highest    uint64
	next, prev *repeatEntry // next is the one used longer ago
}

// Seen tells whether an event with this id was seen under a record key, and
// remembers it.
func (r *Memory) Seen(key []byte, id string) bool {
	if id == "" { // nearly all
		return false
	}
	stream, n, ok := parseEventID(id)
	if !ok {
		return false
	}
	if e := r.at[repeatKey{string(key), stream}]; e != nil {
		r.use(e)
		if n <= e.highest {
			return true
		}
		e.highest = n
		return false
	}
	r.add(&repeatEntry{repeatKey: repeatKey{string(key), strings.Clone(stream)}, highest: n})
	return false
}

// parseEventID takes `<stream>/<n>` apart.
func parseEventID(id string) (stream string, n uint64, ok bool) {
	slash := strings.LastIndexByte(id, '/')
	digits := id[slash+1:]
	if slash < 1 || slash > streamMax || digits == "" || len(digits) > 19 || digits[0] == '0' && len(digits) > 1 {
		return "", 0, false
	}
	for i := 0; i < len(digits); i++ {
		if digits[i] < '0' || digits[i] > '9' {
			return "", 0, false
		}
		n = 10*n + uint64(digits[i]-'0') // 19 digits fit
	}
	return id[:slash], n, true
}

func (r *Memory) limit() int {
	if r.max > 0 {
		return r.max
	}
	return repeatsMax
}

func (r *Memory) add(e *repeatEntry) {
	if r.at == nil {
		r.at = map[repeatKey]*repeatEntry{}
	}
	if len(r.at) >= r.limit() {
		old := r.oldest
		r.unlink(old)
		delete(r.at, old.repeatKey)
	}
	r.at[e.repeatKey] = e
	r.push(e)
}

func (r *Memory) use(e *repeatEntry) {
	if r.newest != e {
		r.unlink(e)
		r.push(e)
	}
}

func (r *Memory) push(e *repeatEntry) {
	e.next, e.prev = r.newest, nil
	if r.newest != nil {
		r.newest.prev = e
	} else {
		r.oldest = e
	}
	r.newest = e
}

func (r *Memory) unlink(e *repeatEntry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		r.newest = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		r.oldest = e.prev
	}
	e.next, e.prev = nil, nil
}

// AppendSnapshot appends everything that is remembered to dst, from the entry
// used longest ago to the newest; nothing if that is nothing. Equal states give
// equal bytes.
func (r *Memory) AppendSnapshot(dst []byte) []byte {
	if len(r.at) == 0 {
		return dst
	}
	dst = append(dst, repeatsMagic...)
	dst = binary.AppendUvarint(dst, uint64(len(r.at)))
	for e := r.oldest; e != nil; e = e.prev {
		dst = binary.AppendUvarint(dst, uint64(len(e.key)))
		dst = append(dst, e.key...)
		dst = binary.AppendUvarint(dst, uint64(len(e.stream)))
		dst = append(dst, e.stream...)
		dst = binary.AppendUvarint(dst, e.highest)
	}
	return dst
}

// ErrBroken says that bytes begin like a snapshot, and
// are not.
var ErrBroken = errors.New("what is remembered of repeats is broken")

// Restore reads the snapshot at the begin of data, and
// returns the bytes behind it. Data that begins otherwise remembers nothing.
func Restore(data []byte) (r Memory, rest []byte, err error) {
	if len(data) < len(repeatsMagic) || string(data[:len(repeatsMagic)]) != repeatsMagic {
		return Memory{}, data, nil
	}
	rest = data[len(repeatsMagic):]
	ok := true
	number := func() uint64 {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			ok = false
			return 0
		}
		rest = rest[size:]
		return n
	}
	text := func() string {
		n := number()
		if !ok || n > uint64(len(rest)) {
			ok = false
			return ""
		}
		s := string(rest[:n])
		rest = rest[n:]
		return s
	}
	count := number()
	if count > repeatsMax {
		ok = false
	}
	for i := uint64(0); ok && i < count; i++ {
		e := &repeatEntry{repeatKey: repeatKey{text(), text()}}
		e.highest = number()
		if ok {
			ok = len(e.stream) <= streamMax && r.at[e.repeatKey] == nil
		}
		if ok {
			r.add(e)
		}
	}
	if !ok {
		return Memory{}, nil, ErrBroken
	}
	return r, rest, nil
}
