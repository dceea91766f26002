package engine

import (
	"encoding/binary"
	"math/bits"

	"vedette/schemas"
)

// appendText appends s as a JSON string, as schemas.AppendJSONString does, eight
// bytes at a time: texts are most of an alert.
func appendText(dst []byte, s string) []byte {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
	)
	dst = append(dst, '"')
	i := 0
	for i+8 <= len(s) {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		quote, slash := w^('"'*ones), w^('\\'*ones)
		// The lowest byte whose high bit is set here is the first that cannot stand
		// as it is: a control character, a quote, a backslash, or not ASCII.
		special := (w | (w - 0x20*ones) | (quote - ones) | (slash-ones)&^slash) & high
		if special == 0 {
			dst = binary.LittleEndian.AppendUint64(dst, w)
			i += 8
			continue
		}
		n := bits.TrailingZeros64(special) >> 3
		dst = append(dst, s[i:i+n]...)
		i += n
		dst, i = appendByte(dst, s, i)
	}
	for i < len(s) {
		dst, i = appendByte(dst, s, i)
	}
	return append(dst, '"')
}

// appendByte appends the byte of s at i, or what it stands in, and returns where
// to go on.
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
	// Rare enough to be left to the one who knows all about it: that writes a
	// string of its own, of which the quotes are taken away.
	end := i + 1
	for end < len(s) && (s[end] < 0x20 || s[end] >= 0x80) {
		end++
	}
	at := len(dst)
	dst = schemas.AppendJSONString(dst, s[i:end])
	return append(dst[:at], dst[at+1:len(dst)-1]...), end
}
