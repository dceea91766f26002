package nodes

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// answer is a DNS answer to a question for question, with the PTR records given.
func answer(t testing.TB, question string, names ...string) []byte {
	t.Helper()
	q := dnsmessage.MustNewName(question)
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 1, Response: true},
		Questions: []dnsmessage.Question{{Name: q, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}},
	}
	for _, n := range names {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(n)},
		})
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheNodeOfAContainerHasTheContainersName(t *testing.T) {
	t.Parallel()
	dns, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := dns.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			names := map[string][]string{
				"5.0.18.172.in-addr.arpa.": {"vedette-ingest-2.vedette_default.", "f00dfeedbeef.vedette_default."},
				"6.0.18.172.in-addr.arpa.": {"vedette_ingest_1."},
			}[m.Questions[0].Name.String()]
			_, _ = dns.WriteTo(answer(t, m.Questions[0].Name.String(), names...), from)
		}
	}()
	for addr, want := range map[string]string{"172.18.0.5": "vedette-ingest-2", "172.18.0.6": "vedette_ingest_1", "172.18.0.7": ""} {
		got, err := containerName(t.Context(), dns.LocalAddr().String(), netip.MustParseAddr(addr))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s has the name %q (%v), want %q", addr, got, err, want)
		}
	}
	// A server that does not answer costs the time of the context and no more.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := containerName(ctx, dns.LocalAddr().String(), netip.MustParseAddr("172.18.0.5")); err == nil {
		t.Errorf("an ended context still gave %q", got)
	}
	for id, want := range map[string]bool{"0123456789ab": true, "gateway-0": false, "0123456789AB": false, "0123456789abc": false} {
		if containerID.MatchString(id) != want {
			t.Errorf("%q is a container's id: %v, want %v", id, !want, want)
		}
	}
}

func FuzzFirstName(f *testing.F) {
	f.Add(answer(f, "5.0.18.172.in-addr.arpa.", "vedette-ingest-2.vedette_default."))
	f.Add(answer(f, "5.0.18.172.in-addr.arpa."))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, err := firstName(b)
		if (name == "") != (err != nil) {
			t.Errorf("name %q with error %v", name, err)
		}
	})
}
