package syslog

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// split cuts a stream that arrives in pieces of n bytes.
func split(stream string, n, most int) (msgs []string, err error) {
	s := Splitter{Max: most}
	var buf []byte
	for len(stream) > 0 {
		piece := stream[:min(n, len(stream))]
		stream = stream[len(piece):]
		buf = append(buf, piece...)
		for {
			msg, size, err := s.Next(buf)
			if err != nil {
				return msgs, err
			}
			if size == 0 {
				break
			}
			if msg != nil {
				msgs = append(msgs, string(msg))
			}
			buf = buf[size:]
		}
	}
	if msg, ok := s.Rest(buf); ok {
		msgs = append(msgs, "rest:"+string(msg))
	}
	return msgs, nil
}

func TestAStreamIsCutByNewlinesOrByLengths(t *testing.T) {
	t.Parallel()
	f := func(stream string, wantErr error, want ...string) {
		t.Helper()
		for n := 1; n <= len(stream)+1; n++ {
			got, err := split(stream, n, 64)
			if !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
				t.Fatalf("%q in pieces of %d: error %v, want %v", stream, n, err, wantErr)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("%q in pieces of %d:\n%s", stream, n, d)
			}
		}
	}
	f("", nil)
	f("<13>a\n<14>b\n", nil, "<13>a", "<14>b")
	f("a\r\n\nb", nil, "a\r", "", "rest:b")
	f("6 <13>ab5 <1>cd", nil, "<13>ab", "<1>cd")
	f("6 <13>ab\n5 <1>cd\r\n4 x\ny", nil, "<13>ab", "<1>cd") // the last is cut short
	f("8 <13>a\nb\n3 x\ny", nil, "<13>a\nb", "x\ny")
	f("4 <1>a<13>line\n4 <1>b", nil, "<1>a", "<13>line", "<1>b")
}

func TestWhatLooksLikeALengthIsTextInAStreamOfLines(t *testing.T) {
	t.Parallel()
	f := func(stream string, want ...string) {
		t.Helper()
		for n := 1; n <= len(stream); n++ {
			got, err := split(stream, n, 64)
			if d := cmp.Diff(want, got); d != "" || err != nil {
				t.Fatalf("%q in pieces of %d: %v\n%s", stream, n, err, d)
			}
		}
	}
	f("2015 Dec 29 10:00:01 host app: x\n", "2015 Dec 29 10:00:01 host app: x")
	f("12\n", "12")
	f("1234567 <13>x\n", "1234567 <13>x")
	f("0 <13>x\n", "0 <13>x")
	f("<13>x\n5 <13>y\n", "<13>x", "5 <13>y") // lines stay lines
}

func TestALengthThatIsNoneEndsTheStream(t *testing.T) {
	t.Parallel()
	f := func(stream string, want error) {
		t.Helper()
		for n := 1; n <= len(stream); n++ {
			if _, err := split(stream, n, 64); !errors.Is(err, want) {
				t.Errorf("%q in pieces of %d: %v, want %v", stream, n, err, want)
			}
		}
	}
	f("4 <1>abc 4 <1>d", ErrFraming) // too short a length
	f("4 <1>a04 <1>d", ErrFraming)
	f("4 <1>a4x<1>d", ErrFraming)
	f("4 <1>a1234567 x", ErrFraming)
	f("64 <1>d", ErrTooLarge)
	f("4 <1>a999999 x", ErrTooLarge)
	f(strings.Repeat("x", 64), ErrTooLarge)
	f("4 <1>a<"+strings.Repeat("x", 63), ErrTooLarge)
}

func TestTheLongestMessageHasOneByteLessThanTheBound(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 63)
	for stream, want := range map[string]string{long + "\n": long, "63 <" + long[1:]: "<" + long[1:]} {
		if got, err := split(stream, 1000, 64); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%q: %q, %v", stream, got, err)
		}
	}
}

func TestTextIsWhatStandsBehindThePriority(t *testing.T) {
	t.Parallel()
	f := func(msg, want string) {
		t.Helper()
		if got := string(Text([]byte(msg))); got != want {
			t.Errorf("%q: %q, want %q", msg, got, want)
		}
	}
	f("<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "Oct 11 22:14:15 mymachine su: 'su root' failed")
	f("<165>1 2003-10-11T22:14:15.003Z host app - ID47 [x@1 a=\"1\"] text", "1 2003-10-11T22:14:15.003Z host app - ID47 [x@1 a=\"1\"] text")
	f("<whatever it is> x", " x")
	f("<no end", "<no end")
	f("x <34>y", "x <34>y")
	f("<1>", "")
	f("", "")
	f("<1>a\x00b", "a")
	f("<1\x00>a", "<1")
	f("<13>\xff\xfe tail ", "\xff\xfe tail ")
}

func TestADatagramLosesOneNewline(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a\n": "a", "a\n\n": "a\n", "a\r\n": "a\r", "a\nb": "a\nb", "": ""} {
		if got := string(Datagram([]byte(in))); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// However a stream arrives, its messages are the same. Each is shorter than the
// bound, and lines are exactly the texts between newlines.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"<13>a\n<14>b\n", "6 <13>ab5 <1>cd", "2015 Dec 29 x\n", "8 <13>a\nb\n3 x\ny", "4 <1>a<13>line\n", "64 <1>", "1", "\n\n", "5 <13>x"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, n uint8) {
		const most = 48
		whole, err := split(string(stream), len(stream)+1, most)
		got, err2 := split(string(stream), int(n)+1, most)
		if d := cmp.Diff(whole, got); d != "" || !errors.Is(err2, err) {
			t.Fatalf("%q in pieces of %d: %v, %v\n%s", stream, int(n)+1, err, err2, d)
		}
		for _, m := range got {
			if len(strings.TrimPrefix(m, "rest:")) >= most {
				t.Fatalf("%q is too long", m)
			}
			if text := Text([]byte(m)); bytes.IndexByte(text, 0) >= 0 || !bytes.HasSuffix([]byte(strings.SplitN(m, "\x00", 2)[0]), text) {
				t.Fatalf("%q gave %q", m, text)
			}
		}
	})
}
