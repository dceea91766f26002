// Package literal finds which of many texts occur in a subject, in one pass.
//
// A text is found by a piece of it: of eight bytes, or of six or four if it is
// short; the shorter a piece is, the more often it is met in vain. Pieces are
// looked up at every second position only: of two neighbouring pieces of a text
// one begins at an even position, wherever the text is. So each text is noted
// under two pieces, chosen to be rare, and must be five bytes long.
package literal

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"unsafe"
)

// Min is the least length of a text, in bytes.
const Min = short + stride - 1

const (
	long   = 8
	middle = 6
	short  = 4
	stride = 2
)

// The filters are bit sets over hashes of pieces, of sizes that the compiler
// knows; together they fit into a processor's first cache. The one of heads, the
// first bytes that all pieces have, is asked first: with the texts of some
// thousand rules it is full to a twelfth, so that most positions need no other.
const (
	headBits  = 16
	longBits  = 16
	otherBits = 15
)

// Set is a set of texts, safe for concurrent use.
type Set struct {
	texts []string
	all   string // all texts, one behind the other

	long, middle, short table

	headFilter                [1 << headBits / 64]uint64
	longFilter                [1 << longBits / 64]uint64
	middleFilter, shortFilter [1 << otherBits / 64]uint64
}

// table finds the pieces of one length. chains are 1 + the number of the first
// piece of a hash, behind which the others are.
type table struct {
	chains []uint16
	shift  uint
	pieces []piece
	hashes []uint64 // of pieces, until they are linked
}

// piece is the data of a text that a search needs, and nothing else, since a
// scan meets its pieces all over the table: four of them fill a cache line.
type piece struct {
	tag    uint32 // of the piece's hash, see table.tag
	from   uint32 // place of the text in Set.all
	length uint16 // of the text, less one
	offset uint16 // of the piece in the text
	text   uint16
	last   bool // of its chain
}

// MaxTexts bounds a Set; each text has two pieces, numbered with 16 bits.
const MaxTexts = 30_000

// New makes a set of texts, which are numbered in their order. Texts shorter
// than Min or longer than 64 KiB, and those beyond MaxTexts, are never found.
func New(texts []string) *Set {
	texts = texts[:min(len(texts), MaxTexts)]
	s := &Set{texts: texts}
	var lengths [long + 1]int
	for _, t := range texts {
		lengths[pieceOf(t)]++
	}
	s.long, s.middle, s.short = newTable(lengths[long]), newTable(lengths[middle]), newTable(lengths[short])
	// How often the set's own texts have a piece says how common it is in logs.
	common := map[string]int{}
	for _, t := range texts {
		if width := pieceOf(t); width > 0 {
			for at := 0; at+width <= len(t); at++ {
				common[t[at:at+width]]++
			}
		}
	}
	var all []byte
	for i, t := range texts {
		width := pieceOf(t)
		var tab *table
		switch width {
		case long:
			tab = &s.long
		case middle:
			tab = &s.middle
		case short:
			tab = &s.short
		default:
			continue
		}
		at := rarest(t, width, common)
		for k := range stride {
			w := uint64(0)
			for j := range width {
				w |= uint64(t[at+k+j]) << (8 * j)
			}
			tab.hashes = append(tab.hashes, w*spread)
			tab.pieces = append(tab.pieces, piece{
				tag: tagOf(w * spread), text: uint16(i), from: uint32(len(all)), length: uint16(len(t) - 1), offset: uint16(at + k),
			})
			s.note(width, w)
		}
		all = append(all, t...)
	}
	s.all = string(all)
	s.long.link()
	s.middle.link()
	s.short.link()
	return s
}

// pieceOf is the length of a text's pieces, 0 for a text that is not looked for.
func pieceOf(t string) int {
	switch n := len(t) - (stride - 1); {
	case n < short || len(t) > 1<<16:
		return 0
	case n < middle:
		return short
	case n < long:
		return middle
	}
	return long
}

func newTable(texts int) table {
	n := bits.Len(uint(texts*stride)) + 1
	return table{chains: make([]uint16, 1<<n), shift: uint(64 - n)}
}

// spread is an odd number whose bits are well mixed.
const spread = 0x9E3779B97F4A7C15

// The masks leave the bytes of a piece; as it takes less time, a piece is hashed
// at the upper end of a word, to which the shifts bring it.
const (
	middleMask  = 1<<(8*middle) - 1
	shortMask   = 1<<(8*short) - 1
	middleShift = 64 - 8*middle
	shortShift  = 64 - 8*short
)

func (t *table) chain(hash uint64) *uint16 { return &t.chains[hash>>(t.shift&63)] }

// tagOf are the bits of a hash that tell apart most pieces of a chain.
func tagOf(hash uint64) uint32 { return uint32(hash >> 16) }

// link brings the pieces of each chain together.
func (t *table) link() {
	order := make([]int, len(t.pieces))
	for i := range order {
		order[i] = i
	}
	place := func(i int) uint64 { return t.hashes[i] >> (t.shift & 63) }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(place(a), place(b)) })
	sorted := make([]piece, len(order))
	for i, old := range order {
		sorted[i] = t.pieces[old]
		if chain := t.chain(t.hashes[old]); *chain == 0 {
			*chain = uint16(i + 1)
		}
		sorted[i].last = i+1 == len(order) || place(old) != place(order[i+1])
	}
	t.pieces, t.hashes = sorted, nil
}

// note sets the bits of a piece in the filters.
func (s *Set) note(width int, w uint64) {
	head := w << shortShift * spread
	s.headFilter[head>>(64-headBits+6)] |= 1 << (head >> (64 - headBits) & 63)
	switch width {
	case long:
		h := w * spread
		s.longFilter[h>>(64-longBits+6)] |= 1 << (h >> (64 - longBits) & 63)
	case middle:
		h := w << middleShift * spread
		s.middleFilter[h>>(64-otherBits+6)] |= 1 << (h >> (64 - otherBits) & 63)
	case short:
		h := w << shortShift * spread
		s.shortFilter[h>>(64-otherBits+6)] |= 1 << (h >> (64 - otherBits) & 63)
	}
}

// rarest chooses the offset of t's pieces: with few common letters, and rare in
// other texts.
func rarest(t string, width int, common map[string]int) int {
	best, least := 0, 0
	for at := 0; at+width+stride-1 <= len(t); at++ {
		cost := 0
		for k := range stride {
			cost += 24 * common[t[at+k:at+k+width]]
		}
		for _, c := range []byte(t[at : at+width+stride-1]) {
			cost += commonness(c)
		}
		if at == 0 || cost < least {
			best, least = at, cost
		}
	}
	return best
}

// commonness grades bytes by how often logs have them, roughly.
func commonness(c byte) int {
	switch {
	case slices.Contains([]byte("etaoins r"), c):
		return 6
	case 'a' <= c && c <= 'z':
		return 4
	case '0' <= c && c <= '9' || c == '.' || c == '=' || c == '"' || c == ':':
		return 3
	}
	return 1
}

// Hits are the texts that a subject holds. They may serve one Set again and again.
type Hits struct {
	// Found is the set of their numbers, List are the numbers as they were met.
	Found []uint64
	List  []int32
	// At is by number the first place of a text, or the position before; only
	// the entries of found texts count.
	At []int32
}

func (h *Hits) reset(texts int) {
	if h.At == nil {
		h.Found, h.At = make([]uint64, (texts+63)/64), make([]int32, texts)
	}
	for _, t := range h.List {
		h.Found[t>>6] = 0
	}
	h.List = h.List[:0]
}

// Scan finds the texts of the set that subject holds.
func (s *Set) Scan(subject string, h *Hits) {
	h.reset(len(s.texts))
	b := unsafe.Slice(unsafe.StringData(subject), len(subject)) // only read
	i := 0
	for {
		if i = s.candidate(b, i); i+long > len(b) {
			break
		}
		w := binary.LittleEndian.Uint64(b[i:])
		if s.mayBeLong(w) {
			s.follow(&s.long, w, subject, i, h)
		}
		if s.mayBeMiddle(w) {
			s.follow(&s.middle, w&middleMask, subject, i, h)
		}
		if s.mayBeShort(w) {
			s.follow(&s.short, w&shortMask, subject, i, h)
		}
		i += stride
	}
	for ; i+short <= len(b); i += stride {
		w := uint64(binary.LittleEndian.Uint32(b[i:]))
		s.follow(&s.short, w, subject, i, h)
		if i+middle <= len(b) {
			s.follow(&s.middle, w|uint64(binary.LittleEndian.Uint16(b[i+short:]))<<(8*short), subject, i, h)
		}
	}
}

// candidate is the first position from i on with bytes that may be a piece; fewer
// than eight bytes are left at the end. It is where nearly all positions end, so
// it calls nothing.
func (s *Set) candidate(b []byte, i int) int {
	n := len(b)
	for b = b[i:]; len(b) >= long; b = b[stride:] {
		w := binary.LittleEndian.Uint64(b)
		if s.mayBegin(w) && (s.mayBeLong(w) || s.mayBeMiddle(w) || s.mayBeShort(w)) {
			break
		}
	}
	return n - len(b)
}

// The filters tell whether the first bytes of w may be a piece, or the head of one.

func (s *Set) mayBegin(w uint64) bool {
	h := w << shortShift * spread
	return s.headFilter[h>>(64-headBits+6)]>>(h>>(64-headBits)&63)&1 != 0
}

func (s *Set) mayBeLong(w uint64) bool {
	h := w * spread
	return s.longFilter[h>>(64-longBits+6)]>>(h>>(64-longBits)&63)&1 != 0
}

func (s *Set) mayBeMiddle(w uint64) bool {
	h := w << middleShift * spread
	return s.middleFilter[h>>(64-otherBits+6)]>>(h>>(64-otherBits)&63)&1 != 0
}

func (s *Set) mayBeShort(w uint64) bool {
	h := w << shortShift * spread
	return s.shortFilter[h>>(64-otherBits+6)]>>(h>>(64-otherBits)&63)&1 != 0
}

// follow looks at the texts that have w, which is in subject at i.
func (s *Set) follow(tab *table, w uint64, subject string, i int, h *Hits) {
	hash := w * spread
	at := int(*tab.chain(hash))
	if at == 0 {
		return
	}
	for ; ; at++ {
		p := &tab.pieces[at-1]
		if p.tag == tagOf(hash) && h.Found[p.text>>6]>>(p.text&63)&1 == 0 {
			from, n := i-int(p.offset), int(p.length)+1
			if from >= 0 && len(subject)-from >= n && subject[from:from+n] == s.all[p.from:int(p.from)+n] {
				h.add(int32(p.text), from)
			}
		}
		if p.last {
			return
		}
	}
}

// add notes a text that is at from.
func (h *Hits) add(text int32, from int) {
	h.Found[text>>6] |= 1 << (text & 63)
	h.List = append(h.List, text)
	// A text that overlaps itself can be met by its second piece one byte on.
	h.At[text] = int32(max(from-1, 0))
}
