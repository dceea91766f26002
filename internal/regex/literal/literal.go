// Package literal finds which of many texts stand in a subject, in one pass.
//
// A text is found by a piece of four bytes of it. Pieces are looked up at every
// second position only: of two neighbouring pieces of a text one begins at an
// even position, wherever the text stands. So each text is noted under two
// pieces, chosen to be rare, and must be five bytes long.
package literal

import (
	"math/bits"
	"slices"
)

// Min is the least length of a text, in bytes.
const Min = window + stride - 1

const (
	window = 4
	stride = 2
	// roominess is how many places a table has per piece, so that most pieces
	// of a subject meet an empty one.
	roominess = 16
)

// Set is a set of texts, safe for concurrent use.
type Set struct {
	texts []string
	shift uint
	// full has a bit for each hash that a piece has; chains are 1 + the number of
	// its first piece.
	full   []uint64
	chains []uint16
	pieces []piece
}

type piece struct {
	bytes  uint32
	text   uint32
	offset uint16
	next   uint16
}

// MaxTexts bounds a Set; each text has two pieces, numbered with 16 bits.
const MaxTexts = 30_000

// New makes a set of texts, which are numbered in their order. Texts shorter
// than Min or longer than 64 KiB, and those beyond MaxTexts, are never found.
func New(texts []string) *Set {
	texts = texts[:min(len(texts), MaxTexts)]
	bitsUsed := max(bits.Len(uint(len(texts)*2*roominess)), 6)
	s := &Set{
		texts:  texts,
		shift:  uint(32 - bitsUsed),
		full:   make([]uint64, 1<<bitsUsed/64),
		chains: make([]uint16, 1<<bitsUsed),
	}
	used := map[uint32]int{}
	for i, t := range texts {
		if len(t) < Min || len(t) > 1<<16 {
			continue
		}
		at := rarest(t, used)
		for k := range stride {
			p := piece{bytes: load(t, at+k), text: uint32(i), offset: uint16(at + k)}
			used[p.bytes]++
			h := s.hash(p.bytes)
			s.full[h>>6] |= 1 << (h & 63)
			p.next = s.chains[h]
			s.pieces = append(s.pieces, p)
			s.chains[h] = uint16(len(s.pieces))
		}
	}
	return s
}

// rarest chooses the offset of t's pieces: few common letters, and not what
// other texts are noted under already.
func rarest(t string, used map[uint32]int) int {
	best, least := 0, 0
	for at := 0; at+window+stride-1 <= len(t); at++ {
		cost := 0
		for k := range stride {
			cost += 24 * used[load(t, at+k)]
		}
		for _, c := range []byte(t[at : at+window+stride-1]) {
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

func load(s string, i int) uint32 {
	_ = s[i+3]
	return uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24
}

func (s *Set) hash(w uint32) uint32 { return w * 0x9E3779B1 >> s.shift }

// Words is the length of the bit set that Scan fills.
func (s *Set) Words() int { return (len(s.texts) + 63) / 64 }

// Scan sets the bit of every text of the set that subject holds. hits has Words
// words and is cleared first.
func (s *Set) Scan(subject string, hits []uint64) {
	clear(hits)
	for i := 0; i+window <= len(subject); i += stride {
		w := load(subject, i)
		h := s.hash(w)
		if s.full[h>>6]>>(h&63)&1 == 0 {
			continue
		}
		for at := s.chains[h]; at != 0; {
			p := &s.pieces[at-1]
			at = p.next
			if p.bytes != w || hits[p.text>>6]>>(p.text&63)&1 != 0 {
				continue
			}
			t, from := s.texts[p.text], i-int(p.offset)
			if from < 0 || len(subject)-from < len(t) {
				continue
			}
			if sub := subject[from : from+len(t)]; sub[0] == t[0] && sub[len(sub)-1] == t[len(t)-1] && sub == t {
				hits[p.text>>6] |= 1 << (p.text & 63)
			}
		}
	}
}
