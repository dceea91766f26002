package syslog

import (
	"bytes"
	"errors"
)

// Errors of Splitter.Next; both leave the stream without a next message.
var (
	// ErrTooLarge says that a message does not end, or claims not to, within the bound.
	ErrTooLarge = errors.New("message too large")
	// ErrFraming says that a length in front of a message is none.
	ErrFraming = errors.New("no length where a message should begin")
)

type framing int

const (
	undecided framing = iota
	lines             // each message ends with a newline
	counted           // each has its length in front
)

// Splitter cuts one sender's stream into messages.
//
// A stream whose first bytes are a length, a blank and `<` is of counted
// messages ("octet counting", RFC 6587 §3.4.1); any other is of lines ("non-
// transparent framing", §3.4.2), as 4.14 has it. Lines stay lines with any
// content: `2015 Dec 29 …` is no length. A sender that counts may put a newline
// behind a message, and send one that begins with `<` as a line.
type Splitter struct {
	// Max is one more than the longest message in bytes.
	Max  int
	mode framing
}

// Next returns the first message of buf, without framing, and how many bytes of
// buf it and its framing take. Size 0 means that more bytes are needed; a nil
// message with a size is to be skipped. The message aliases buf. Next looks at
// no more than Max bytes and a length, so buf need never be longer.
//
// Source: spec/agent-protocol.md §12; RFC 6587 §3.4.
func (s *Splitter) Next(buf []byte) (msg []byte, size int, err error) {
	if len(buf) == 0 {
		return nil, 0, nil
	}
	if s.mode == undecided {
		if s.mode = s.decide(buf); s.mode == undecided {
			return nil, 0, nil
		}
	}
	if s.mode == lines || buf[0] == '<' {
		return s.line(buf)
	}
	if buf[0] == '\n' || buf[0] == '\r' {
		return nil, 1, nil
	}
	n, at, err := s.count(buf)
	if err != nil || at == 0 || len(buf)-at < n {
		return nil, 0, err
	}
	msg = bytes.TrimSuffix(buf[at:at+n], []byte{'\n'})
	return msg[:len(msg):len(msg)], at + n, nil
}

// Rest returns the last message in buf when the stream has ended. A last line
// without its newline is a message; a part of a counted message is not.
func (s *Splitter) Rest(buf []byte) (msg []byte, ok bool) {
	if len(buf) == 0 || s.mode == counted && buf[0] != '<' {
		return nil, false
	}
	return buf, true
}

func (s *Splitter) line(buf []byte) (msg []byte, size int, err error) {
	end := bytes.IndexByte(buf[:min(len(buf), s.Max)], '\n')
	switch {
	case end >= 0:
		return buf[:end:end], end + 1, nil
	case len(buf) >= s.Max:
		return nil, 0, ErrTooLarge
	}
	return nil, 0, nil
}

// lengthDigits is how many digits a length may have.
const lengthDigits = 6

// decide looks at a stream's first bytes.
func (s *Splitter) decide(buf []byte) framing {
	if buf[0] < '1' || buf[0] > '9' {
		return lines
	}
	for i, b := range buf {
		switch {
		case b >= '0' && b <= '9':
			if i == lengthDigits {
				return lines
			}
		case b != ' ':
			return lines
		case i+1 == len(buf):
			return undecided
		case buf[i+1] == '<':
			return counted
		default:
			return lines
		}
	}
	return undecided
}

// count reads a length and the blank behind it; at is where the message begins,
// 0 if more bytes are needed.
func (s *Splitter) count(buf []byte) (n, at int, err error) {
	for i, b := range buf {
		switch {
		case b >= '0' && b <= '9':
			if i == lengthDigits || i == 0 && b == '0' {
				return 0, 0, ErrFraming
			}
			n = 10*n + int(b-'0')
		case b == ' ' && i > 0:
			if n >= s.Max {
				return 0, 0, ErrTooLarge
			}
			return n, i + 1, nil
		default:
			return 0, 0, ErrFraming
		}
	}
	return 0, 0, nil
}

// Datagram returns the message of a datagram: one trailing newline is no part of it.
//
// Source: spec/agent-protocol.md §12.
func Datagram(b []byte) []byte { return bytes.TrimSuffix(b, []byte{'\n'}) }

// Text returns the part of a message for analysis: the text behind a leading
// `<…>` of any content; without `>` all of it. A NUL ends it. The result aliases
// msg.
//
// Source: spec/agent-protocol.md §12, spec/ruleset-language.md §1.1.
func Text(msg []byte) []byte {
	if i := bytes.IndexByte(msg, 0); i >= 0 {
		msg = msg[:i]
	}
	if len(msg) > 0 && msg[0] == '<' {
		if i := bytes.IndexByte(msg, '>'); i >= 0 {
			return msg[i+1:]
		}
	}
	return msg
}
