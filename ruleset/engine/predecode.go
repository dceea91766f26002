package engine

import "strings"

// header holds the parts that pre-decoding finds in a message. Positions and
// lengths follow spec/ruleset-language.md §2.
type header struct {
	timestamp  string
	hostname   string
	program    string
	hasHost    bool
	hasProgram bool
	log        string
}

// at is the byte at i, or 0 behind the end.
func at(s string, i int) byte {
	if i < len(s) {
		return s[i]
	}
	return 0
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// nameByte tells the characters of host and program names.
func nameByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '-' <= c && c <= '9', c == '(', c == ')', c == '@', c == '_':
		return true // - . / 0-9 are neighbours
	}
	return false
}

func nameRun(s string, from int) int {
	for from < len(s) && nameByte(s[from]) {
		from++
	}
	return from
}

// predecode cuts a recognised header off a message.
func predecode(msg string) header {
	if n := syslogHeader(msg); n > 0 {
		return hostAndProgram(msg, n)
	}
	return otherHeader(msg)
}

// syslogHeader returns the header length H of §2.1, or 0. With the two-byte
// letter of `Mär` it is the length in letters, one less than in bytes.
func syslogHeader(s string) int {
	n := len(s) + 1
	c := func(i int, b byte) bool { return at(s, i) == b }
	shift := 0
	if c(1, 0xC3) && c(2, 0xA4) {
		shift = 1
	}
	if n > 17 && c(3+shift, ' ') && c(6+shift, ' ') && c(9+shift, ':') && c(12+shift, ':') && c(15+shift, ' ') {
		return 16
	}
	if n <= 21 {
		return 0
	}
	if n > 24 && c(4, '-') && c(7, '-') && c(10, ' ') && c(13, ':') && c(16, ':') && c(19, ',') {
		return 24
	}
	if n > 33 && c(4, '-') && c(7, '-') && c(10, 'T') && c(13, ':') && c(16, ':') {
		if c(22, ':') && c(25, ' ') {
			return 26
		}
		if c(19, '.') {
			switch {
			case c(26, ':'):
				return 30
			case c(29, ':'):
				return 33
			}
			return 32
		}
	}
	if digit(s[0]) && c(4, ' ') && c(8, ' ') && c(11, ' ') && c(14, ':') && c(17, ':') && c(20, ' ') {
		return 21
	}
	if n > 33 && digit(s[0]) && c(4, '-') && c(7, '-') && c(10, ' ') && c(13, ':') && c(16, ':') && c(19, '.') &&
		(c(26, '+') || c(26, '-')) && c(31, ' ') {
		return 32
	}
	return 0
}

// hostAndProgram reads the host and program behind a header of n bytes.
func hostAndProgram(s string, n int) header {
	h := header{timestamp: s[:n-1]}
	pos := n
	if at(s, 1) == 0xC3 && at(s, 2) == 0xA4 && n == 16 {
		pos++
	}
	if at(s, pos) == ' ' {
		pos++
	}
	pos = min(pos, len(s))
	h.log = s[pos:]
	end := nameRun(s, pos)
	switch {
	case at(s, end) == ':' && at(s, end+1) == ' ':
		h.program, h.hasProgram = s[pos:end], true
		h.log = s[end+2:]
	case at(s, end) == ' ':
		h.hostname, h.hasHost = s[pos:end], true
		h.log = s[end+1:]
		h.readProgram()
	}
	// Solaris message ids.
	if strings.HasPrefix(h.log, "[ID ") {
		if i := strings.IndexByte(h.log, ']'); i >= 0 {
			h.log = h.log[min(i+2, len(h.log)):]
		}
	}
	return h
}

// readProgram reads the program name at the start of log.
func (h *header) readProgram() {
	s := h.log
	end := nameRun(s, 0)
	rest := s[end:]
	take := func(name, log string) {
		h.program, h.hasProgram, h.log = name, true, log
	}
	switch at(rest, 0) {
	case ':':
		take(s[:end], strings.TrimPrefix(rest[1:], " "))
	case '[':
		n := 1
		for digit(at(rest, n)) {
			n++
		}
		if n == 1 || at(rest, n) != ']' {
			return
		}
		switch at(rest, n+1) {
		case ':':
			take(s[:end], strings.TrimPrefix(rest[n+2:], " "))
		case ' ':
			take(s[:end], rest[n+2:])
		}
	case '|':
		// AIX: facility|x:level prog
		if c := at(rest, 1); c < 'a' || c > 'z' {
			return
		}
		space := strings.IndexByte(rest, ' ')
		if space < 0 || strings.IndexByte(rest[:space], ':') < 0 {
			return
		}
		word := rest[space+1:]
		n := nameRun(word, 0)
		tail := word[n:]
		if strings.HasPrefix(tail, ": ") {
			take(word[:n], tail[2:])
			return
		}
		if at(tail, 0) == '[' {
			k := 1
			for digit(at(tail, k)) {
				k++
			}
			if k > 1 && strings.HasPrefix(tail[k:], "]: ") {
				take(word[:n], tail[k+3:])
			}
		}
	}
}

// otherHeader handles §2.2.
func otherHeader(s string) header {
	n := len(s) + 1
	c := func(i int, b byte) bool { return at(s, i) == b }
	switch {
	case n > 28 && c(3, ' ') && c(7, ' ') && c(10, ' ') && c(13, ':') && c(16, ':') && c(19, ' ') && c(24, ' ') && c(26, ' '):
		return header{timestamp: s[:24], log: s[25:]}
	case n > 24 && c(2, '/') && c(5, '-') && c(8, ':') && c(11, ':') && c(14, '.') && c(21, ' '):
		return header{timestamp: s[:21], log: s[23:]}
	case n > 28 && c(2, '/') && c(5, '/') && c(10, '-') && c(13, ':') && c(16, ':') && c(19, '.') && c(26, ' '):
		return header{timestamp: s[:26], log: s[28:]}
	case n > 27 && c(0, '[') && c(4, ' ') && c(8, ' ') && c(11, ' ') && c(14, ':') && c(17, ':') && c(20, ' ') && c(25, ']'):
		return header{timestamp: s[1:25], log: s[min(27, len(s)):]}
	case n > 26 && c(0, '[') && c(1, 'T') && c(5, ' ') && c(10, '.') && c(13, '.') && c(16, ' ') && c(19, ':'):
		return aslHeader(s)
	case n > 32 && c(0, '1') && digit(s[1]) && digit(s[2]) && digit(s[3]) && c(10, '.') && digit(s[13]) && c(14, ' ') && (c(21, ' ') || c(22, ' ')):
		end := 14
		for at(s, end) == ' ' {
			end++
		}
		return header{timestamp: s[:end-1], log: s[end:]}
	}
	return header{log: s}
}

// aslHeader reads the bracketed items of Apple's system log.
func aslHeader(s string) header {
	h := header{log: s}
	hasMessage := false
	for rest := s; ; {
		i := strings.IndexByte(rest, '[')
		if i < 0 {
			return h
		}
		rest = rest[i+1:]
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			return h
		}
		item := rest[:end]
		rest = rest[end+1:]
		if v, ok := strings.CutPrefix(item, "Sender "); ok && !h.hasProgram {
			h.program, h.hasProgram = v, true
		} else if v, ok := strings.CutPrefix(item, "Message "); ok && !hasMessage {
			h.log, hasMessage = v, true
		} else if v, ok := strings.CutPrefix(item, "Host "); ok {
			h.hostname, h.hasHost = v, true
			return h
		}
	}
}

// shownHostname is predecoder.hostname of the alert, read from the full log
// alone (spec/alert-format.md §1.3).
func shownHostname(s string) string {
	if len(s) < 17 {
		return ""
	}
	capital := func(c byte) bool { return 'A' <= c && c <= 'Z' }
	small := func(c byte) bool { return 'a' <= c && c <= 'z' }
	if !capital(s[0]) || !small(s[1]) || !small(s[2]) || s[3] != ' ' ||
		s[4] != ' ' && (s[4] < '0' || s[4] > '3') || !digit(s[5]) || s[6] != ' ' ||
		!digit(s[7]) || !digit(s[8]) || s[9] != ':' || !digit(s[10]) || !digit(s[11]) || s[12] != ':' ||
		!digit(s[13]) || !digit(s[14]) || s[15] != ' ' {
		return ""
	}
	end := 16
	for end < len(s) && s[end] != ' ' && (s[end] < 9 || s[end] > 13) {
		end++
	}
	return s[16:end]
}
