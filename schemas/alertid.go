package schemas

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// AlertID returns the alert's own member `id`: the record's second, a dot, and
// digits that no other alert of that second has (offset, partition, n).
//
// Source: docs/design.md D3; spec/alert-format.md §1.
func AlertID(t time.Time, partition int32, offset int64, n int) string {
	return string(AppendAlertID(make([]byte, 0, 40), t, partition, offset, n))
}

// AppendAlertID appends the result of AlertID.
func AppendAlertID(b []byte, t time.Time, partition int32, offset int64, n int) []byte {
	b = strconv.AppendInt(b, t.Unix(), 10)
	b = append(b, '.')
	b = strconv.AppendInt(b, offset, 10)
	// Fixed widths keep the digits unambiguous.
	p := partition
	return append(b, byte('0'+p/10000%10), byte('0'+p/1000%10), byte('0'+p/100%10), byte('0'+p/10%10), byte('0'+p%10), byte('0'+n%10))
}

const hexDigits = "0123456789abcdef"

// AppendJSONString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD,
// one for each bad byte; control characters are escaped.
func AppendJSONString[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			case '\b':
				dst = append(dst, '\\', 'b')
			case '\f':
				dst = append(dst, '\\', 'f')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\ufffd"...)
			i++
			start = i
			continue
		}
		i += n
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
