package engine

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unsafe"

	"vedette/schemas"
)

// appendText appends s as a JSON string, as schemas.AppendJSONString does, eight
// bytes at a time: texts are most of an alert.
func appendText(dst []byte, s string) []byte {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
	)
	src := unsafe.Slice(unsafe.StringData(s), len(s)) // only read
	// Most texts take less than twice their length; for others dst grows below.
	dst = slices.Grow(dst, 2*len(s)+16)
	n := len(dst)
	dst = dst[:cap(dst)]
	dst[n] = '"'
	n++
	i := 0
	for i+8 <= len(src) {
		if n+16 > len(dst) {
			dst = slices.Grow(dst[:n], 2*(len(s)-i)+16)
			dst = dst[:cap(dst)]
		}
		w := binary.LittleEndian.Uint64(src[i:])
		binary.LittleEndian.PutUint64(dst[n:], w)
		quote, slash := w^('"'*ones), w^('\\'*ones)
		// The lowest byte whose high bit is set here is the first that cannot stand
		// as it is: a control character, a quote, a backslash, or not ASCII.
		special := (w | (w - 0x20*ones) | (quote-ones)&^quote | (slash-ones)&^slash) & high
		if special == 0 {
			n, i = n+8, i+8
			continue
		}
		k := bits.TrailingZeros64(special) >> 3
		n, i = n+k, i+k
		c := src[i]
		switch c {
		case '"', '\\':
		case '\n':
			c = 'n'
		case '\r':
			c = 'r'
		case '\t':
			c = 't'
		default:
			dst, i = appendByte(dst[:n], s, i)
			n = len(dst)
			dst = dst[:cap(dst)]
			continue
		}
		dst[n], dst[n+1] = '\\', c
		n, i = n+2, i+1
	}
	// The last few bytes, if they all stand as they are; the rest of the word is
	// blanks, which the quote and later texts take over.
	if left := len(src) - i; left > 0 && n+16 <= len(dst) {
		w := uint64(' ' * ones)
		for k := len(src) - 1; k >= i; k-- {
			w = w<<8 | uint64(src[k])
		}
		quote, slash := w^('"'*ones), w^('\\'*ones)
		if (w|(w-0x20*ones)|(quote-ones)&^quote|(slash-ones)&^slash)&high == 0 {
			binary.LittleEndian.PutUint64(dst[n:], w)
			n, i = n+left, len(src)
		}
	}
	dst = dst[:n]
	for i < len(s) {
		dst, i = appendByte(dst, s, i)
	}
	return append(dst, '"')
}

// appendByte appends the byte of s at i, or the run of unusual bytes that begins
// there, and returns the index behind it.
func appendByte(dst []byte, s string, i int) ([]byte, int) {
	switch c := s[i]; {
	case c == '"' || c == '\\':
		return append(dst, '\\', c), i + 1
	case c == '\n':
		return append(dst, '\\', 'n'), i + 1
	case c == '\r':
		return append(dst, '\\', 'r'), i + 1
	case c == '\t':
		return append(dst, '\\', 't'), i + 1
	case c >= 0x20 && c < 0x80:
		return append(dst, c), i + 1
	}
	// Rare enough to be left to the standard encoder. It writes a whole string,
	// whose quotes are removed here.
	end := i + 1
	for end < len(s) && (s[end] < 0x20 || s[end] >= 0x80) {
		end++
	}
	at := len(dst)
	dst = schemas.AppendJSONString(dst, s[i:end])
	return append(dst[:at], dst[at+1:len(dst)-1]...), end
}
