package simulate

import (
	_ "embed"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

//go:embed corpus.txt
var corpus string

// field is a part of a line that changes from one message to the next.
type field uint8

const (
	literal field = iota
	fieldDate
	fieldCLF
	fieldISO
	fieldHost
	fieldIP
	fieldUser
	fieldPort
	fieldPID
	fieldUID
)

var fields = map[string]field{
	"date": fieldDate, "clf": fieldCLF, "iso": fieldISO, "host": fieldHost, "ip": fieldIP,
	"user": fieldUser, "port": fieldPort, "pid": fieldPID, "uid": fieldUID,
}

type part struct {
	field field
	text  string
}

// template is one line of the corpus.
type template []part

// compile cuts a corpus into templates; an unknown field stays as it is.
func compile(text string) []template {
	var out []template
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		var t template
		for line != "" {
			start := strings.IndexByte(line, '{')
			end := -1
			var f field
			for start >= 0 {
				if end = strings.IndexByte(line[start:], '}'); end < 0 {
					start = -1
					break
				}
				if f = fields[line[start+1:start+end]]; f != literal {
					break
				}
				next := strings.IndexByte(line[start+1:], '{')
				if next < 0 {
					start = -1
					break
				}
				start += 1 + next
			}
			if start < 0 {
				t = append(t, part{text: line})
				break
			}
			if start > 0 {
				t = append(t, part{text: line[:start]})
			}
			t = append(t, part{field: f})
			line = line[start+end+1:]
		}
		out = append(out, t)
	}
	return out
}

var users = []string{"root", "admin", "alice", "bob", "carol", "deploy", "git", "oracle", "postgres", "test", "ubuntu", "www-data"}

// source writes lines for one agent. It is not safe for concurrent use.
type source struct {
	templates []template
	plain     [][]byte // lines given by the caller, sent as they are
	rng       *rand.Rand
	host      string
	next      int

	second         int64
	date, clf, iso string
}

func (s *source) append(dst []byte, now time.Time) []byte {
	if len(s.plain) > 0 {
		line := s.plain[s.next%len(s.plain)]
		s.next++
		return append(dst, line...)
	}
	if sec := now.Unix(); sec != s.second {
		u := now.UTC()
		s.second, s.date, s.clf, s.iso = sec, u.Format(time.Stamp), u.Format("02/Jan/2006:15:04:05 -0700"), u.Format(time.RFC3339)
	}
	r := s.rng
	for _, p := range s.templates[r.IntN(len(s.templates))] {
		switch p.field {
		case literal:
			dst = append(dst, p.text...)
		case fieldDate:
			dst = append(dst, s.date...)
		case fieldCLF:
			dst = append(dst, s.clf...)
		case fieldISO:
			dst = append(dst, s.iso...)
		case fieldHost:
			dst = append(dst, s.host...)
		case fieldIP:
			dst = append(dst, "10."...)
			dst = strconv.AppendInt(dst, int64(r.IntN(256)), 10)
			dst = append(dst, '.')
			dst = strconv.AppendInt(dst, int64(r.IntN(256)), 10)
			dst = append(dst, '.')
			dst = strconv.AppendInt(dst, int64(1+r.IntN(254)), 10)
		case fieldUser:
			dst = append(dst, users[r.IntN(len(users))]...)
		case fieldPort:
			dst = strconv.AppendInt(dst, int64(1024+r.IntN(64000)), 10)
		case fieldPID:
			dst = strconv.AppendInt(dst, int64(300+r.IntN(65000)), 10)
		case fieldUID:
			dst = strconv.AppendInt(dst, int64(1+r.IntN(999)), 10)
		}
	}
	return dst
}
