package qlang

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Raw is a JSON object, known to be valid, as an Item. Values reads past what it
// does not need instead of decoding the whole, which makes scanning many
// documents several times faster than Object.
type Raw []byte

// Values implements Item with the same result as Object, but for repeated
// members, of which Object keeps the last.
func (r Raw) Values(path string) []any {
	s := scanner{b: r}
	s.value(path, true)
	return s.out
}

type scanner struct {
	b   []byte
	i   int
	out []any
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// value reads the value at i, keeping what path leads to when wanted.
func (s *scanner) value(path string, wanted bool) {
	s.space()
	if s.i >= len(s.b) {
		return
	}
	switch s.b[s.i] {
	case '{':
		if !wanted || path == "" {
			s.skip()
			return
		}
		s.object(path)
	case '[':
		if !wanted {
			s.skip()
			return
		}
		s.i++
		for {
			s.space()
			if s.i >= len(s.b) {
				return
			}
			switch s.b[s.i] {
			case ']':
				s.i++
				return
			case ',':
				s.i++
			default:
				s.value(path, true)
			}
		}
	default:
		start := s.i
		s.skip()
		if wanted && path == "" {
			s.scalar(s.b[start:s.i])
		}
	}
}

func (s *scanner) object(path string) {
	s.i++
	for {
		s.space()
		if s.i >= len(s.b) {
			return
		}
		switch s.b[s.i] {
		case '}':
			s.i++
			return
		case ',':
			s.i++
			continue
		case '"':
		default:
			s.i = len(s.b) // not valid after all
			return
		}
		start := s.i
		s.skip()
		key := text(s.b[start:s.i])
		s.space()
		s.i++ // the colon
		switch rest, under := strings.CutPrefix(path, key); {
		case under && rest == "":
			s.value("", true)
		case under && rest[0] == '.':
			s.value(rest[1:], true)
		default:
			s.value("", false)
		}
	}
}

// skip moves behind the value at i; where there is none, to the end, so that
// no input keeps a caller in place.
func (s *scanner) skip() {
	start := s.i
	s.skipValue()
	if s.i == start {
		s.i = len(s.b)
	}
}

func (s *scanner) skipValue() {
	depth := 0
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case '"':
			s.i++
			for s.i < len(s.b) {
				n := bytes.IndexByte(s.b[s.i:], '"')
				if n < 0 {
					s.i = len(s.b)
					return
				}
				s.i += n + 1
				slashes := 0
				for k := s.i - 2; k >= 0 && s.b[k] == '\\'; k-- {
					slashes++
				}
				if slashes%2 == 0 {
					break
				}
			}
			if depth == 0 {
				return
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return // belongs to the one around
			}
			if depth == 0 {
				s.i++
				return
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return // ends a number or a word
			}
		}
		s.i++
	}
}

func (s *scanner) scalar(b []byte) {
	switch {
	case len(b) == 0:
	case b[0] == '"':
		s.out = append(s.out, text(b))
	case b[0] == 't':
		s.out = append(s.out, true)
	case b[0] == 'f':
		s.out = append(s.out, false)
	case b[0] != 'n':
		s.out = append(s.out, json.Number(b))
	}
}

// text decodes a JSON string.
func text(b []byte) string {
	if len(b) >= 2 && bytes.IndexByte(b, '\\') < 0 {
		return strings.ToValidUTF8(string(b[1:len(b)-1]), "\ufffd")
	}
	var t string
	_ = json.Unmarshal(b, &t)
	return t
}

// Each calls fn with every scalar that want asks for, and the dotted path under
// which Values finds it. The path is only valid until fn returns.
func (r Raw) Each(want func(path []byte) bool, fn func(path []byte, value any)) {
	s := scanner{b: r}
	s.each(make([]byte, 0, 64), false, 0, want, fn)
}

// eachDepth bounds how deep Each looks; deeper values have paths nobody asks for.
const eachDepth = 64

// each walks the value at i; named says that path is one, which may be empty.
func (s *scanner) each(path []byte, named bool, depth int, want func([]byte) bool, fn func([]byte, any)) {
	s.space()
	if s.i >= len(s.b) {
		return
	}
	open := s.b[s.i]
	switch {
	case open != '{' && open != '[':
		start := s.i
		s.skip()
		if named && want(path) {
			s.scalar(s.b[start:s.i])
			for _, v := range s.out {
				fn(path, v)
			}
			s.out = s.out[:0]
		}
		return
	case depth == eachDepth:
		s.skip()
		return
	}
	s.i++
	for {
		s.space()
		if s.i >= len(s.b) {
			return
		}
		switch c := s.b[s.i]; {
		case c == '}' || c == ']':
			s.i++
			return
		case c == ',':
			s.i++
			continue
		case open == '[':
			s.each(path, named, depth+1, want, fn)
			continue
		case c != '"':
			s.i = len(s.b) // not valid after all
			return
		}
		start := s.i
		s.skip()
		under := path
		if named {
			under = append(under, '.')
		}
		under = append(under, text(s.b[start:s.i])...)
		s.space()
		s.i++ // the colon
		s.each(under, true, depth+1, want, fn)
	}
}
