package engine

import (
	"strings"
	"testing"
)

// Each form of a header recognizes its example, and no earlier form does.
func TestFormsOfHeaders(t *testing.T) {
	t.Parallel()
	for i := range syslogForms {
		f := &syslogForms[i]
		for j := range syslogForms[:i] {
			if syslogForms[j].fits(f.example) {
				t.Errorf("%q fits form %d, not its own, %d", f.example, j, i)
			}
		}
		h := predecode(f.example)
		if h.timestamp != f.example[:f.size-1] || h.hostname != "host" || h.program != "app" || h.log != "hello" {
			t.Errorf("%q is cut into %+v", f.example, h)
		}
	}
	for i := range otherForms {
		f := &otherForms[i]
		h := predecode(f.example)
		if !f.fits(f.example) || h.timestamp != f.example[f.from:f.to] || h.hasHost || h.hasProgram || h.log != f.example[f.log:] || h.log[0] == ' ' {
			t.Errorf("%q is cut into %+v", f.example, h)
		}
	}
	for _, tc := range []struct{ msg, timestamp, log string }{
		{"M\u00e4r 25 20:45:02 host app: hello", "M\u00e4r 25 20:45:0", "hello"},
		{"1140701044.525   1231 192.168.1.201 TCP", "1140701044.525  ", "1231 192.168.1.201 TCP"},
		{"[Time 2006.12.28 15:53:55 UTC] [Sender app] [Message hello] [Host host]", "", "hello"},
		{"1140701044.525 text that has no number of a duration", "", "1140701044.525 text that has no number of a duration"},
	} {
		if h := predecode(tc.msg); h.timestamp != tc.timestamp || h.log != tc.log {
			t.Errorf("%q is cut into %+v, want time %q and log %q", tc.msg, h, tc.timestamp, tc.log)
		}
	}
}

func TestShownHostname(t *testing.T) {
	t.Parallel()
	for msg, want := range map[string]string{
		"Dec 25 20:45:02 host app: x": "host",
		"Dec  5 20:45:02 h":           "h",
		"Dec 05 20:45:02 host\tx":     "host",
		"Dec 45 20:45:02 host":        "",
		"dec 25 20:45:02 host":        "",
		"Dec 25 20:45:02":             "",
		"Dec 25 20-45-02 host":        "",
		"":                            "",
	} {
		if got := shownHostname(msg); got != want {
			t.Errorf("%q: host %q, want %q", msg, got, want)
		}
	}
	if got := shownHostname("Dec 25 20:45:02 " + strings.Repeat("h", 300)); len(got) != 300 {
		t.Errorf("a long host name is cut to %d bytes", len(got))
	}
}
