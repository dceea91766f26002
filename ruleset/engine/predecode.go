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

// form is the form of a header: a message fits it by its length and by characters at
// some positions.
type form struct {
	least int
	marks []mark
}

// mark demands a character in a range at a position.
type mark struct {
	at        int
	low, high byte
}

// classes are the characters that mean a range in forms.
var classes = map[byte][2]byte{'9': {'0', '9'}, '0': {'0', '3'}, 'A': {'A', 'Z'}, 'a': {'a', 'z'}}

// newForm reads a form: `?` is any character, and every other character but the
// classes is itself.
func newForm(least int, text string) form {
	f := form{least: max(least, len(text))}
	for i := range len(text) {
		c := text[i]
		if c == '?' {
			continue
		}
		r, ok := classes[c]
		if !ok {
			r = [2]byte{c, c}
		}
		f.marks = append(f.marks, mark{i, r[0], r[1]})
	}
	return f
}

func (f *form) fits(s string) bool {
	if len(s) < f.least {
		return false
	}
	for i := range f.marks {
		m := &f.marks[i]
		if c := s[m.at]; c < m.low || c > m.high {
			return false
		}
	}
	return true
}

// syslogForms are the headers that host and program follow, with their lengths
// (§2.1). The first one that fits counts.
var syslogForms = []struct {
	form
	size    int
	example string
}{
	{newForm(17, "??? ?? ??:??:?? "), 16, "Dec 25 20:45:02 host app[12]: hello"},
	{newForm(24, "????-??-?? ??:??:??,"), 24, "2007-06-14 15:48:55,241 host app[12]: hello"},
	{newForm(33, "????-??-??T??:??:?????:?? "), 26, "2009-05-22T09:36:46+02:00 host app[12]: hello"},
	{newForm(33, "????-??-??T??:??:??.??????:"), 30, "2009-05-22T09:36:46.214+02:00 host app[12]: hello"},
	{newForm(33, "????-??-??T??:??:??.?????????:"), 33, "2009-05-22T09:36:46.214994+02:00 host app[12]: hello"},
	{newForm(33, "????-??-??T??:??:??."), 32, "2009-05-22T09:36:46.214994+0200 host app[12]: hello"},
	{newForm(21, "9??? ??? ?? ??:??:?? "), 21, "2015 Dec 25 20:45:02 host app[12]: hello"},
	{newForm(33, "9???-??-?? ??:??:??.??????+???? "), 32, "2009-05-22 09:36:46.214994+0200 host app[12]: hello"},
	{newForm(33, "9???-??-?? ??:??:??.??????-???? "), 32, "2009-05-22 09:36:46.214994-0200 host app[12]: hello"},
}

// syslogHeader returns the header length H of §2.1, or 0. With the two-byte
// letter of `Mär` it is the length in letters, one less than in bytes.
func syslogHeader(s string) int {
	if len(s) >= 17 && s[1] == 0xC3 && s[2] == 0xA4 {
		if at(s, 4) == ' ' && s[7] == ' ' && s[10] == ':' && s[13] == ':' && s[16] == ' ' {
			return 16
		}
	} else if syslogForms[0].fits(s) {
		return syslogForms[0].size
	}
	for i := 1; i < len(syslogForms); i++ {
		if f := &syslogForms[i]; f.fits(s) {
			return f.size
		}
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

// otherForms are headers that hold no more than a time stamp: where it is, and where the
// log begins (§2.2).
var otherForms = []struct {
	form
	from, to, log int
	example       string
}{
	{newForm(28, "??? ??? ?? ??:??:?? ???? ? "), 0, 24, 25, "Mon Apr 17 18:27:14 2006 1 64.160.42.130"},
	{newForm(24, "??/??-??:??:??.?????? "), 0, 21, 23, "01/28-09:13:16.240702  [**] [1:1] hello"},
	{newForm(28, "??/??/????-??:??:??.?????? "), 0, 26, 28, "01/28/1979-09:13:16.240702  [**] [1:1] hello"},
	{newForm(27, "[??? ??? ?? ??:??:?? ????]"), 1, 25, 27, "[Fri Feb 11 18:06:35 2004] [warn] hello"},
}

var (
	aslForm   = newForm(26, "[T??? ????.??.?? ??:") // [Time 2006.12.28 15:53:55 UTC] [Sender app] …
	squidForm = newForm(32, "1999??????.??9 ")      // 1140701044.525   1231 192.168.1.201 …
)

// otherHeader handles §2.2.
func otherHeader(s string) header {
	for i := range otherForms {
		if f := &otherForms[i]; f.fits(s) {
			return header{timestamp: s[f.from:f.to], log: s[min(f.log, len(s)):]}
		}
	}
	switch {
	case aslForm.fits(s):
		return aslHeader(s)
	case squidForm.fits(s) && (s[21] == ' ' || s[22] == ' '):
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

// shownForms are the headers whose host name alerts show.
var shownForms = [...]form{newForm(17, "Aaa  9 99:99:99 "), newForm(17, "Aaa 09 99:99:99 ")}

// shownHostname is predecoder.hostname of the alert, read from the full log
// alone (spec/alert-format.md §1.3).
func shownHostname(s string) string {
	if !shownForms[0].fits(s) && !shownForms[1].fits(s) {
		return ""
	}
	end := 16
	for end < len(s) && s[end] != ' ' && (s[end] < 9 || s[end] > 13) {
		end++
	}
	return s[16:end]
}
