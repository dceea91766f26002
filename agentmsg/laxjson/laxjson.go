// Package laxjson reads JSON as servers of 4.14 do: it stops behind the first
// value, and takes numbers and control characters that strict parsers refuse.
//
// Source: spec/ruleset-language.md §5.5.
package laxjson

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// Texts is memory for the strings whose escapes have to be replaced.
type Texts interface {
	// Room returns an empty slice with a capacity of at least n bytes.
	Room(n int) []byte
	// Keep makes a text of b, which was appended to the slice from Room.
	Keep(b []byte) string
}

// Reader reads values of S from Pos on. Strings without escapes are parts of S.
type Reader struct {
	S   string
	Pos int
	// Texts holds the other strings; nil gives each memory of its own.
	Texts Texts
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// Blank skips white space and control characters.
func (r *Reader) Blank() {
	for r.Pos < len(r.S) && r.S[r.Pos] <= ' ' {
		r.Pos++
	}
}

// Literal reports whether s stands at Pos, and skips it.
func (r *Reader) Literal(s string) bool {
	if strings.HasPrefix(r.S[r.Pos:], s) {
		r.Pos += len(s)
		return true
	}
	return false
}

// PlainInteger reads an integer of at most nine digits that is written as it is
// printed. It reads nothing and returns "" if another value stands at Pos.
func (r *Reader) PlainInteger() string {
	end := r.Pos
	for end < len(r.S) && digit(r.S[end]) {
		end++
	}
	n := end - r.Pos
	if n == 0 || n > 9 || n > 1 && r.S[r.Pos] == '0' || end < len(r.S) && strings.IndexByte("+-eE.", r.S[end]) >= 0 {
		return ""
	}
	text := r.S[r.Pos:end]
	r.Pos = end
	return text
}

// Number reads the number at Pos, of at most 63 bytes.
func (r *Reader) Number() (f float64, ok bool) {
	if r.Pos >= len(r.S) || r.S[r.Pos] != '-' && !digit(r.S[r.Pos]) {
		return 0, false
	}
	end := r.Pos
	for end < len(r.S) && end-r.Pos < 63 && (digit(r.S[end]) || strings.IndexByte("+-eE.", r.S[end]) >= 0) {
		end++
	}
	// The longest prefix that is a number counts, as strtod has it.
	for ; end > r.Pos; end-- {
		v, err := strconv.ParseFloat(r.S[r.Pos:end], 64)
		if err == nil || math.IsInf(v, 0) {
			r.Pos = end
			return v, true
		}
	}
	return 0, false
}

// Str reads the string at Pos and returns it without its escapes.
func (r *Reader) Str() (string, bool) {
	if r.Pos >= len(r.S) || r.S[r.Pos] != '"' {
		return "", false
	}
	start := r.Pos + 1
	i := quoteOrSlash(r.S, start)
	if i == len(r.S) {
		return "", false
	}
	if r.S[i] == '"' {
		r.Pos = i + 1
		return r.S[start:i], true
	}
	// Unescaped texts are no longer than escaped ones.
	var b []byte
	if r.Texts != nil {
		b = r.Texts.Room(len(r.S) - start)
	}
	b = append(b, r.S[start:i]...)
	for i < len(r.S) {
		if r.S[i] == '"' {
			r.Pos = i + 1
			if r.Texts != nil {
				return r.Texts.Keep(b), true
			}
			return string(b), true
		}
		var n int
		var ok bool
		if b, n, ok = unescape(b, r.S[i:]); !ok {
			return "", false
		}
		from := i + n
		i = quoteOrSlash(r.S, from)
		b = append(b, r.S[from:i]...)
	}
	return "", false
}

// quoteOrSlash is the position of the first quote or backslash from i on, or the
// length of s. It takes eight bytes at a time, and more where there are none for long.
func quoteOrSlash(s string, i int) int {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
		near = 64
		far  = 512
	)
	b := unsafe.Slice(unsafe.StringData(s), len(s)) // only read
	for end := min(i+near, len(b)); i+8 <= end; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, slash := w^('"'*ones), w^('\\'*ones)
		if found := ((quote-ones)&^quote | (slash-ones)&^slash) & high; found != 0 {
			return i + bits.TrailingZeros64(found)>>3
		}
	}
	for i < len(s) {
		part := s[i:min(i+far, len(s))]
		quote := strings.IndexByte(part, '"')
		if quote >= 0 {
			part = part[:quote]
		}
		if slash := strings.IndexByte(part, '\\'); slash >= 0 {
			return i + slash
		}
		i += len(part)
		if quote >= 0 {
			break
		}
	}
	return i
}

// unescape appends the character of the escape at the start of s.
func unescape(b []byte, s string) ([]byte, int, bool) {
	if len(s) < 2 {
		return b, 0, false
	}
	switch c := s[1]; c {
	case 'b':
		return append(b, '\b'), 2, true
	case 'f':
		return append(b, '\f'), 2, true
	case 'n':
		return append(b, '\n'), 2, true
	case 'r':
		return append(b, '\r'), 2, true
	case 't':
		return append(b, '\t'), 2, true
	case '"', '\\', '/':
		return append(b, c), 2, true
	case 'u':
		hi, ok := hex4(s[2:])
		if !ok || hi >= 0xDC00 && hi < 0xE000 {
			return b, 0, false
		}
		if hi < 0xD800 || hi >= 0xE000 {
			return utf8.AppendRune(b, rune(hi)), 6, true
		}
		if len(s) < 12 || s[6] != '\\' || s[7] != 'u' {
			return b, 0, false
		}
		lo, ok := hex4(s[8:])
		if !ok || lo < 0xDC00 || lo >= 0xE000 {
			return b, 0, false
		}
		return utf8.AppendRune(b, 0x10000+rune(hi&0x3FF)<<10|rune(lo&0x3FF)), 12, true
	}
	return b, 0, false
}

func hex4(s string) (int, bool) {
	if len(s) < 4 {
		return 0, false
	}
	v, err := strconv.ParseUint(s[:4], 16, 16)
	return int(v), err == nil
}
