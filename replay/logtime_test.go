package replay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTimesOfLines(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("", 3600)
	changed := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const none = "none"
	for line, want := range map[string]string{
		"Nov 22 01:02:03 host sshd[1]: x":                                         "2026-11-22T00:02:03Z",
		"Nov  2 01:02:03 host sshd[1]: x":                                         "2026-11-02T00:02:03Z",
		"<34>Nov 22 01:02:03 host sshd[1]: x":                                     "2026-11-22T00:02:03Z",
		"Nov 22 2025 01:02:03 fw : x":                                             "2025-11-22T00:02:03Z",
		"Nov 22 01:02:03 2025 host x":                                             "2025-11-22T00:02:03Z",
		"Dec 25 01:02:03 host x":                                                  "2025-12-25T00:02:03Z", // not behind the file's last change
		"Nov 23 01:02:03 host a day ahead is the zone":                            "2026-11-23T00:02:03Z",
		"[Sun Nov 22 01:02:03.456789 2026] [core:error] x":                        "2026-11-22T00:02:03.456Z",
		"2026-11-22T01:02:03.004Z host x":                                         "2026-11-22T01:02:03.004Z",
		"2026-11-22T01:02:03.004567+02:00 host x":                                 "2026-11-21T23:02:03.004Z",
		"<34>1 2026-11-22T01:02:03-0100 host x":                                   "2026-11-22T02:02:03Z",
		"2026-11-22 01:02:03,004 WARN x":                                          "2026-11-22T00:02:03.004Z",
		"2026-11-22 01:02:03. A sentence":                                         "2026-11-22T00:02:03Z",
		"2026/11/22 01:02:03 [error] 4210#4210: x":                                "2026-11-22T00:02:03Z",
		`203.0.113.7 - - [22/Nov/2026:01:02:03 +0000] "GET / HTTP/1.1" 200 1`:     "2026-11-22T01:02:03Z",
		`203.0.113.7 [x] - [22/Nov/2026:01:02:03 +0200] "GET /"`:                  "2026-11-21T23:02:03Z",
		"type=SYSCALL msg=audit(1795309323.456:789): arch=c000003e":               "2026-11-22T01:02:03.456Z",
		"1795309323.456    120 10.0.0.1 TCP_MISS/200 1 GET http://example.org/ -": "2026-11-22T01:02:03.456Z",
		`{"@timestamp":"2026-11-22T01:02:03Z","time":"2020-01-01T00:00:00Z"}`:     "2026-11-22T01:02:03Z",
		`{"a":1,"timestamp" : "2026-11-22 01:02:03"}`:                             "2026-11-22T00:02:03Z",
		`{"ts":1795309323.456}`:                                                   "2026-11-22T01:02:03.456Z",
		`{"time":1795309323456}`:                                                  "2026-11-22T01:02:03.456Z",
		`{"time":"soon"}`:                                                         none,
		`{"level":"info"}`:                                                        none,
		"no time here":                                                            none,
		"Nov 31 01:02:03 host x":                                                  none,
		"Feb 29 01:02:03 host x":                                                  none, // neither 2026 nor 2025
		"Nov 22 25:02:03 host x":                                                  none,
		"2026-13-01T00:00:00Z x":                                                  none,
		"17953093231234567 an id":                                                 none,
		"":                                                                        none,
	} {
		c := newLogClock(LogTimes{Zone: zone}, changed)
		got := none
		if at, ok := c.of([]byte(line), changed); ok {
			got = at.Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

// judgedTimes are the times of a file's events.
func judgedTimes(t *testing.T, f *File) []string {
	t.Helper()
	lanes, err := f.Open(t.Context(), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for {
		items, err := lanes[0].Next(t.Context())
		for _, it := range items {
			out = append(out, it.Event.Time.Format("2006-01-02T15:04:05"))
		}
		if err != nil {
			return out
		}
	}
}

func TestPlainLinesHaveTheirOwnTimes(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "auth.log")
	lines := []string{
		"continues nothing",
		"Dec 31 23:59:59 h a: b", "  and goes on", "Jan  1 00:00:01 h a: c", "Dec 31 23:59:58 h a: late", "Jun 30 01:00:00 h a: d", "Dec 30 01:00:00 h a: e", "Jan  2 01:00:00 h a: f",
	}
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
	if err := os.Chtimes(name, changed, changed); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what string
		file File
		want []string
	}{
		{"the year follows from the file's last change", File{Times: &LogTimes{}}, []string{
			"2026-01-03T00:00:00", "2025-12-31T23:59:59", "2025-12-31T23:59:59", "2026-01-01T00:00:01", "2025-12-31T23:59:58", "2026-06-30T01:00:00", "2026-12-30T01:00:00", "2027-01-02T01:00:00",
		}},
		{"a year that is given", File{Times: &LogTimes{Year: 2023}}, []string{
			"2026-01-03T00:00:00", "2023-12-31T23:59:59", "2023-12-31T23:59:59", "2024-01-01T00:00:01", "2023-12-31T23:59:58", "2024-06-30T01:00:00", "2024-12-30T01:00:00", "2025-01-02T01:00:00",
		}},
		{"a zone", File{Times: &LogTimes{Zone: time.FixedZone("", -3600)}}, []string{
			"2026-01-03T00:00:00", "2026-01-01T00:59:59", "2026-01-01T00:59:59", "2026-01-01T01:00:01", "2026-01-01T00:59:58", "2026-06-30T02:00:00", "2026-12-30T02:00:00", "2027-01-02T02:00:00",
		}},
		{"not asked for", File{}, []string{
			"2026-01-03T00:00:00", "2026-01-03T00:00:00", "2026-01-03T00:00:00", "2026-01-03T00:00:00", "2026-01-03T00:00:00", "2026-01-03T00:00:00", "2026-01-03T00:00:00", "2026-01-03T00:00:00",
		}},
	} {
		tc.file.Path = name
		if diff := cmp.Diff(tc.want, judgedTimes(t, &tc.file)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
	}
}

// FuzzLogTime: the time of any line is a time that records can have.
func FuzzLogTime(f *testing.F) {
	for _, s := range []string{
		"Nov 22 01:02:03 host x", "[Sun Nov 22 01:02:03.456789 2026] x", "<34>1 2026-11-22T01:02:03.004+02:00 x", "2026/11/22 01:02:03 x",
		"- - [22/Nov/2026:01:02:03 +0000] x", "msg=audit(1795309323.456:789)", `{"@timestamp":"2026-11-22T01:02:03Z"}`, `{"ts":1795309323456}`, "Feb 29 01:02:03",
	} {
		f.Add([]byte(s))
	}
	changed := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, line []byte) {
		c := newLogClock(LogTimes{}, changed)
		last := changed
		for range 2 {
			at, ok := c.of(line, last)
			if !ok {
				return
			}
			if at.Year() < 1969 || at.Year() > 10000 || at.Nanosecond()%int(time.Millisecond) != 0 {
				t.Errorf("%q: %v", line, at)
			}
			last = at
		}
	})
}
