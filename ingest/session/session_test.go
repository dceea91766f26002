package session

import (
	"strings"
	"testing"
	"time"

	"vedette/ingest/secure"
	"vedette/schemas"
)

// Any text of an authenticated agent gives a result within bounds.
func FuzzHandle(f *testing.F) {
	for _, s := range []string{
		`#!-agent startup {"version":"v4.14.7"}`, "#!-agent startup ", "#!-agent shutdown ", "#!-req 1f ok {}", "#!-req ", "#!-",
		"#!-Linux |h |5.1 |#1 |x86_64 [Ubuntu|ubuntu: 22.04] - Wazuh v4.14.7 / ab\n\"a\":b\nx merged.mg\n#\"_agent_ip\":192.168.7.7\n",
		"1:/var/log/x:hello", "f:EventChannel:{}", "#!-Windows [Ver: 10.0.1] |h|x - Wazuh v4\n", "\xff\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) > secure.MaxText {
			return
		}
		now := time.UnixMilli(1795309100000)
		s := New(Identity{ID: "001", Name: "ag1", Host: "any", Address: "10.0.0.1", Gateway: "gw1", ServerVersion: "v4.14.7", Connection: "c"}, schemas.Presence{})
		for range 2 {
			r := s.Handle(now, payload)
			if len(r.Reply) > 255 || strings.IndexByte(r.Reply, 0) >= 0 {
				t.Errorf("reply %q", r.Reply)
			}
			p := s.Presence()
			if r.WritePresence {
				rec, err := p.Record()
				if err != nil {
					t.Fatalf("the presence cannot be written: %v", err)
				}
				if _, _, err := schemas.ParsePresence(&rec); err != nil {
					t.Fatalf("the presence cannot be read: %v", err)
				}
			}
			if r.Raised {
				rec := r.Event.Record()
				if _, err := schemas.ParseEvent(&rec); err != nil {
					t.Fatalf("the event cannot be read: %v", err)
				}
			}
			now = now.Add(time.Second)
		}
	})
}

func TestALiveAgentIsNeverSilentForOthers(t *testing.T) {
	for _, after := range []time.Duration{10 * time.Second, time.Minute, 15 * time.Minute} {
		s := New(Identity{ID: "001", Name: "web", Host: "any", Gateway: "gw1", Connection: "gw1/1", SilentAfter: after}, schemas.Presence{})
		begin := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
		s.Handle(begin, []byte("#!-agent startup "))
		last, writes := begin, 0
		const every = 2 * time.Second
		for at := every; at < 2*after; at += every {
			now := begin.Add(at)
			if s.Handle(now, []byte("#!-x - Wazuh v4.14.7\n")).WritePresence {
				last, writes = now, writes+1
			}
			if silent := now.Sub(last); silent >= after/2 {
				t.Fatalf("%s: nothing was written for %s", after, silent)
			}
		}
		if most := int(2*after/min(time.Minute, after/4)) + 2; writes > most {
			t.Errorf("%s: %d writes, at most %d are due", after, writes, most)
		}
	}
}
