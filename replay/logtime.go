package replay

import (
	"bytes"
	"strconv"
	"time"
)

// LogTimes sets how the times in plain lines are read.
type LogTimes struct {
	// Year is the year of the first time without a year; 0 takes the latest year
	// that does not put it behind the file's last change.
	Year int
	// Zone is the zone of times without one; nil is UTC.
	Zone *time.Location
}

// logClock finds the time of each line. Lines go on from one another, so a time
// without a year has the first year in which it does not lie far behind the line before.
type logClock struct {
	zone *time.Location
	year int // of the first time without a year, 0 once one was met
	// latest bounds the first time without a year.
	latest time.Time
	// begun says that a time was found.
	begun bool
}

func newLogClock(o LogTimes, changed time.Time) *logClock {
	zone := o.Zone
	if zone == nil {
		zone = time.UTC
	}
	return &logClock{zone: zone, year: o.Year, latest: changed.Add(24 * time.Hour)}
}

// searchMax is how much of a line is looked through for a time that does not stand
// at its begin.
const searchMax = 1024

// of finds the time of a line; last is the time of the line before.
func (c *logClock) of(line []byte, last time.Time) (time.Time, bool) {
	p := timeParser{s: line[:min(len(line), searchMax)], zone: c.zone}
	if !p.find() {
		return time.Time{}, false
	}
	if p.yearless {
		p.year = c.yearOf(&p, last)
	}
	t, ok := p.time()
	if !ok {
		return time.Time{}, false
	}
	c.begun, c.year = true, 0
	return t.UTC().Truncate(time.Millisecond), true
}

// yearOf chooses the year of a time without one.
func (c *logClock) yearOf(p *timeParser, last time.Time) int {
	switch {
	case c.year != 0:
		return c.year
	case !c.begun:
		p.year = c.latest.In(c.zone).Year()
		if t, ok := p.time(); !ok || t.After(c.latest) {
			p.year--
		}
		return p.year
	}
	for year := last.In(c.zone).Year() - 1; year <= last.In(c.zone).Year()+1; year++ {
		p.year = year
		if t, ok := p.time(); ok && !t.Before(last.Add(-lateMax)) {
			return year
		}
	}
	return 0
}

// lateMax is how far behind the line before a line may lie. A time that would lie
// further back is of the next year.
const lateMax = 31 * 24 * time.Hour

// timeParser reads one time.
type timeParser struct {
	s    []byte
	pos  int
	zone *time.Location

	year, month, day, hour, minute, second, nano int
	yearless                                     bool
	at                                           time.Time // instead of all these, seconds since 1970
}

func (p *timeParser) time() (time.Time, bool) {
	if !p.at.IsZero() {
		return p.at, true
	}
	if p.year < 1970 || p.year > 9999 || p.month < 1 || p.month > 12 || p.day < 1 || p.hour > 23 || p.minute > 59 || p.second > 60 {
		return time.Time{}, false
	}
	t := time.Date(p.year, time.Month(p.month), p.day, p.hour, p.minute, p.second, p.nano, p.zone)
	// February 30 would be a day of March.
	if day := time.Date(p.year, time.Month(p.month), p.day, 0, 0, 0, 0, time.UTC); day.Day() != p.day {
		return time.Time{}, false
	}
	return t, true
}

// jsonTimes are the members that hold the time of a JSON log, the surest first.
var jsonTimes = [][]byte{[]byte(`"@timestamp"`), []byte(`"timestamp"`), []byte(`"time"`), []byte(`"ts"`), []byte(`"datetime"`), []byte(`"eventTime"`)}

// find looks for a time: in a member of JSON, at the line's begin, behind the
// priority of syslog, in brackets as web servers write it, or as the kernel's audit does.
func (p *timeParser) find() bool {
	p.s = bytes.TrimLeft(p.s, " \t")
	if len(p.s) > 0 && p.s[0] == '{' {
		for _, name := range jsonTimes {
			if p.member(name) {
				return true
			}
		}
		return false
	}
	if p.byte('<') && p.digits(1, 3) >= 0 && p.byte('>') {
		if from := p.pos; p.digits(1, 2) < 0 || !p.byte(' ') { // the version of RFC 5424
			p.pos = from
		}
		p.s = p.s[p.pos:]
	}
	p.pos = 0
	p.byte('[')
	if p.try(p.iso) || p.try(p.classic) || p.try(p.slashed) || p.try(p.web) || p.try(p.epoch) {
		return true
	}
	for _, mark := range [...]struct {
		text string
		read func() bool
	}{{"msg=audit(", p.epoch}, {"[", p.web}} {
		for from := 0; ; {
			i := bytes.Index(p.s[from:], []byte(mark.text))
			if i < 0 {
				break
			}
			from += i + len(mark.text)
			if p.pos = from; p.try(mark.read) {
				return true
			}
		}
	}
	return false
}

// try reads a form at pos, and gives back the text read if the form is not
// there.
func (p *timeParser) try(read func() bool) bool {
	was := *p
	if read() {
		return true
	}
	*p = was
	return false
}

func (p *timeParser) member(name []byte) bool {
	i := bytes.Index(p.s, name)
	if i < 0 {
		return false
	}
	p.pos = i + len(name)
	p.blanks()
	if !p.byte(':') {
		return false
	}
	p.blanks()
	if p.byte('"') {
		return p.try(p.iso) || p.try(p.classic) || p.try(p.slashed) || p.try(p.web) || p.try(p.epoch)
	}
	return p.try(p.epoch)
}

func (p *timeParser) blanks() {
	for p.pos < len(p.s) && (p.s[p.pos] == ' ' || p.s[p.pos] == '\t') {
		p.pos++
	}
}

func (p *timeParser) byte(b byte) bool {
	if p.pos < len(p.s) && p.s[p.pos] == b {
		p.pos++
		return true
	}
	return false
}

// digits reads a number of least to most digits; -1 if there is none.
func (p *timeParser) digits(least, most int) int {
	from := p.pos
	for p.pos < len(p.s) && p.pos-from < most && '0' <= p.s[p.pos] && p.s[p.pos] <= '9' {
		p.pos++
	}
	if p.pos-from < least {
		p.pos = from
		return -1
	}
	n, _ := strconv.Atoi(string(p.s[from:p.pos]))
	return n
}

// clock reads hh:mm:ss with a fraction behind a dot or a comma.
func (p *timeParser) clock() bool {
	if p.hour = p.digits(2, 2); p.hour < 0 || !p.byte(':') {
		return false
	}
	if p.minute = p.digits(2, 2); p.minute < 0 || !p.byte(':') {
		return false
	}
	if p.second = p.digits(2, 2); p.second < 0 {
		return false
	}
	if from := p.pos; p.byte('.') || p.byte(',') {
		scale, n := 1_000_000_000, 0
		for p.pos < len(p.s) && '0' <= p.s[p.pos] && p.s[p.pos] <= '9' {
			if scale > 1 {
				scale /= 10
				n = n*10 + int(p.s[p.pos]-'0')
			}
			p.pos++
		}
		if p.pos == from+1 {
			p.pos = from // a full stop
		}
		p.nano = n * scale
	}
	return true
}

// offset reads Z, ±hh:mm, ±hhmm or nothing.
func (p *timeParser) offset() {
	if p.byte('Z') || p.byte('z') {
		p.zone = time.UTC
		return
	}
	from, sign := p.pos, 0
	switch {
	case p.byte('+'):
		sign = 1
	case p.byte('-'):
		sign = -1
	default:
		return
	}
	hours := p.digits(2, 2)
	p.byte(':')
	minutes := p.digits(2, 2)
	if hours < 0 || minutes < 0 || hours > 15 || minutes > 59 {
		p.pos = from
		return
	}
	p.zone = time.FixedZone("", sign*(hours*3600+minutes*60))
}

// iso reads 2026-11-22T01:02:03.004+01:00 and its like, with a blank for the T.
func (p *timeParser) iso() bool {
	if p.year = p.digits(4, 4); p.year < 0 || !p.byte('-') {
		return false
	}
	if p.month = p.digits(2, 2); p.month < 0 || !p.byte('-') {
		return false
	}
	if p.day = p.digits(2, 2); p.day < 0 || !p.byte('T') && !p.byte('t') && !p.byte(' ') || !p.clock() {
		return false
	}
	p.offset()
	return true
}

// slashed reads 2026/11/22 01:02:03.
func (p *timeParser) slashed() bool {
	if p.year = p.digits(4, 4); p.year < 0 || !p.byte('/') {
		return false
	}
	if p.month = p.digits(2, 2); p.month < 0 || !p.byte('/') {
		return false
	}
	p.day = p.digits(2, 2)
	return p.day >= 0 && p.byte(' ') && p.clock()
}

var monthNames = [...]string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}

func (p *timeParser) monthName() bool {
	for i, name := range monthNames {
		if bytes.HasPrefix(p.s[p.pos:], []byte(name)) {
			p.pos += len(name)
			p.month = i + 1
			return true
		}
	}
	return false
}

var dayNames = [...]string{"Mon ", "Tue ", "Wed ", "Thu ", "Fri ", "Sat ", "Sun "}

// classic reads Nov 22 01:02:03, also with a weekday before, and with the year
// before or behind the clock.
func (p *timeParser) classic() bool {
	for _, name := range dayNames {
		if bytes.HasPrefix(p.s[p.pos:], []byte(name)) {
			p.pos += len(name)
			break
		}
	}
	if !p.monthName() || !p.byte(' ') {
		return false
	}
	p.blanks()
	if p.day = p.digits(1, 2); p.day < 0 || !p.byte(' ') {
		return false
	}
	p.blanks()
	p.yearless = true
	p.yearHere(func() bool { return p.byte(' ') })
	if !p.clock() {
		return false
	}
	if p.yearless {
		if from := p.pos; !p.byte(' ') || !p.yearHere(func() bool { return p.pos == len(p.s) || p.s[p.pos] == ' ' || p.s[p.pos] == ']' || p.s[p.pos] == ':' }) {
			p.pos = from
		}
	}
	return true
}

// yearHere reads a year that ends is true behind.
func (p *timeParser) yearHere(ends func() bool) bool {
	from := p.pos
	if year := p.digits(4, 4); year >= 1970 && year <= 2199 && ends() {
		p.year, p.yearless = year, false
		return true
	}
	p.pos = from
	return false
}

// web reads 22/Nov/2026:01:02:03 +0100.
func (p *timeParser) web() bool {
	if p.day = p.digits(2, 2); p.day < 0 || !p.byte('/') || !p.monthName() || !p.byte('/') {
		return false
	}
	if p.year = p.digits(4, 4); p.year < 0 || !p.byte(':') || !p.clock() {
		return false
	}
	p.byte(' ')
	p.offset()
	return true
}

// epoch reads seconds since 1970 with a fraction, or milliseconds: ten digits or
// thirteen, which all times since 2001 have.
func (p *timeParser) epoch() bool {
	from := p.pos
	n := p.digits(10, 13)
	switch p.pos - from {
	case 10:
		p.at = time.Unix(int64(n), 0)
		if p.byte('.') {
			start := p.pos
			if ms := p.digits(3, 3); ms >= 0 {
				p.at = p.at.Add(time.Duration(ms) * time.Millisecond)
			} else {
				p.pos = start
			}
		}
	case 13:
		p.at = time.UnixMilli(int64(n))
	default:
		return false
	}
	// A longer number is an id of some kind.
	return n >= 1_000_000_000 && (p.pos == len(p.s) || p.s[p.pos] < '0' || p.s[p.pos] > '9' || p.s[p.pos-4] == '.')
}
