package session

import (
	"strings"
	"testing"
	"time"

	"vedette/ingest/secure"
	"vedette/schemas"
)

// Whatever an authenticated agent says gives a result within bounds.
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
