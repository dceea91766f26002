package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"vedette/schemas"
)

// wire is a client that speaks in bytes.
type wire struct {
	t *testing.T
	c net.Conn
	n uint32
}

func dialWire(t *testing.T, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("dial the embedded broker: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	return &wire{t: t, c: c}
}

// exchange sends one piece behind its length and returns one.
func (w *wire) exchange(b []byte) ([]byte, error) {
	if _, err := w.c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(w.c, size[:]); err != nil {
		return nil, err
	}
	out := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(w.c, out)
	return out, err
}

// ask sends a request and returns its response.
func (w *wire) ask(req kmsg.Request, version int16) kmsg.Response {
	w.t.Helper()
	w.n++
	req.SetVersion(version)
	b := binary.BigEndian.AppendUint16(nil, uint16(req.Key()))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, w.n)
	b = append(b, 0, 4, 'w', 'i', 'r', 'e')
	if req.IsFlexible() {
		b = append(b, 0)
	}
	got, err := w.exchange(req.AppendTo(b))
	if err != nil {
		w.t.Fatalf("request of type %d, version %d: %v", req.Key(), version, err)
	}
	if n := binary.BigEndian.Uint32(got); n != w.n {
		w.t.Fatalf("request %d is answered as %d", w.n, n)
	}
	got = got[4:]
	resp := req.ResponseKind()
	resp.SetVersion(version)
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		got = got[1:]
	}
	if err := resp.ReadFrom(got); err != nil {
		w.t.Fatalf("response of type %d, version %d: %v", req.Key(), version, err)
	}
	return resp
}

func (w *wire) handshake(version int16, mechanism string) *kmsg.SASLHandshakeResponse {
	w.t.Helper()
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = mechanism
	return w.ask(req, version).(*kmsg.SASLHandshakeResponse)
}

// login exchanges the tokens of SCRAM-SHA-256 and returns the last error.
func (w *wire) login(password string, exchange func([]byte) ([]byte, error)) error {
	w.t.Helper()
	session, token, err := scram.Auth{User: embeddedUser, Pass: password}.AsSha256Mechanism().Authenticate(context.Background(), "")
	if err != nil {
		w.t.Fatalf("begin SCRAM: %v", err)
	}
	for {
		answer, err := exchange(token)
		if err != nil {
			return err
		}
		var done bool
		if done, token, err = session.Challenge(answer); err != nil || done {
			return err
		}
	}
}

func (w *wire) authenticate(version int16) func([]byte) ([]byte, error) {
	return func(token []byte) ([]byte, error) {
		req := kmsg.NewPtrSASLAuthenticateRequest()
		req.SASLAuthBytes = token
		resp := w.ask(req, version).(*kmsg.SASLAuthenticateResponse)
		return resp.SASLAuthBytes, kerr.ErrorForCode(resp.ErrorCode)
	}
}

// served asks for data that only logged-in clients may have.
func (w *wire) served() {
	w.t.Helper()
	if resp := w.ask(kmsg.NewPtrMetadataRequest(), 1).(*kmsg.MetadataResponse); len(resp.Brokers) != 1 {
		w.t.Errorf("the metadata names %d brokers, want 1", len(resp.Brokers))
	}
}

func TestClientsLogInByTheOlderHandshakeToo(t *testing.T) {
	t.Parallel()
	var sick atomic.Pointer[error]
	b, c := embedded(t, t.TempDir(), &sick)
	defer b.Close()
	for _, version := range []int16{0, 1, 2, 3, 4} {
		w := dialWire(t, b.Addr)
		resp := w.ask(kmsg.NewPtrApiVersionsRequest(), 0).(*kmsg.ApiVersionsResponse)
		if version > 0 {
			req := kmsg.NewPtrApiVersionsRequest()
			req.ClientSoftwareName, req.ClientSoftwareVersion = "wire", "1"
			resp = w.ask(req, version).(*kmsg.ApiVersionsResponse)
		}
		offered := map[int16][2]int16{}
		for _, k := range resp.ApiKeys {
			offered[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
		}
		if got := offered[int16(kmsg.SASLHandshake)]; got != [2]int16{0, 1} {
			t.Errorf("ApiVersions version %d offers the handshake in versions %v, want 0 to 1", version, got)
		}
		if len(offered) < 20 {
			t.Errorf("ApiVersions version %d offers %d kinds of requests; the others are lost", version, len(offered))
		}
	}
	t.Run("bare tokens", func(t *testing.T) {
		w := dialWire(t, b.Addr)
		if resp := w.handshake(0, "GSSAPI"); resp.ErrorCode != kerr.UnsupportedSaslMechanism.Code {
			t.Errorf("an unknown mechanism is answered with code %d", resp.ErrorCode)
		}
		if resp := w.handshake(0, "SCRAM-SHA-256"); resp.ErrorCode != 0 {
			t.Fatalf("handshake: code %d", resp.ErrorCode)
		}
		if err := w.login("secret", w.exchange); err != nil {
			t.Fatalf("log in: %v", err)
		}
		w.served()
		w.served()
	})
	t.Run("bare tokens, wrong password", func(t *testing.T) {
		w := dialWire(t, b.Addr)
		w.handshake(0, "SCRAM-SHA-256")
		if err := w.login("wrong", w.exchange); err == nil {
			t.Error("a wrong password was let in")
		}
	})
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-512", "GSSAPI", "SCRAM-SHA-256"} {
		for version := range int16(2) {
			resp := dialWire(t, b.Addr).handshake(version, mechanism)
			if (resp.ErrorCode == 0) != (mechanism == embeddedMechanism) || !slices.Equal(resp.SupportedMechanisms, []string{embeddedMechanism}) {
				t.Errorf("handshake version %d with %s is answered with code %d and mechanisms %v", version, mechanism, resp.ErrorCode, resp.SupportedMechanisms)
			}
		}
	}
	for version := range int16(3) {
		t.Run("tokens as requests", func(t *testing.T) {
			w := dialWire(t, b.Addr)
			w.handshake(1, "SCRAM-SHA-256")
			if err := w.login("secret", w.authenticate(version)); err != nil {
				t.Fatalf("log in: %v", err)
			}
			w.served()
		})
	}
	t.Run("a large first request after the login", func(t *testing.T) {
		p, err := c.NewProducer("test", discard, nil)
		if err != nil {
			t.Fatalf("open a producer: %v", err)
		}
		defer p.Close()
		large := schemas.Record{Topic: schemas.TopicEvents, Key: []byte("1"), Value: bytes.Repeat([]byte("x"), 4*loginBytes), Timestamp: time.Now()}
		if _, err := p.ProduceSync(t.Context(), large); err != nil {
			t.Errorf("produce %d bytes: %v", len(large.Value), err)
		}
	})
}

func TestStrangersCannotAskTheBrokerAnything(t *testing.T) {
	t.Parallel()
	var sick atomic.Pointer[error]
	b, _ := embedded(t, t.TempDir(), &sick)
	defer b.Close()
	for name, sent := range map[string]string{
		"a web browser":       "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"an unknown type":     "\x00\x00\x00\x0a\x03\xe7\x00\x00\x00\x00\x00\x01\xff\xff",
		"a negative type":     "\x00\x00\x00\x0a\xff\xff\x00\x00\x00\x00\x00\x01\xff\xff",
		"metadata":            "\x00\x00\x00\x0e\x00\x03\x00\x01\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff",
		"a huge token":        "\x7f\xff\xff\xff\x00\x24\x00\x00",
		"a cut request":       "\x00\x00\x00\x03\x00\x12\x00",
		"a cut name":          "\x00\x00\x00\x0a\x00\x11\x00\x00\x00\x00\x00\x01\x7f\xff",
		"a cut handshake":     "\x00\x00\x00\x0b\x00\x11\x00\x01\x00\x00\x00\x01\xff\xff\x7f",
		"a token out of turn": "\x00\x00\x00\x0e\x00\x24\x00\x00\x00\x00\x00\x01\xff\xff\x00\x00\x00\x00\x00\x00\x00\x0e\x00\x03\x00\x01\x00\x00\x00\x02\xff\xff\xff\xff\xff\xff",
	} {
		w := dialWire(t, b.Addr)
		if _, err := io.WriteString(w.c, sent); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := io.ReadAll(w.c); strings.Contains(string(got), "127.0.0.1") || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: answered %q, %v; want the connection's end", name, got, err)
		}
	}
	w := dialWire(t, b.Addr)
	w.handshake(1, "SCRAM-SHA-256")
	if err := w.login("secret", w.authenticate(0)); err != nil {
		t.Fatalf("afterwards nobody can log in: %v", err)
	}
	w.served()
}

// script is a connection whose client has said all it will say.
type script struct {
	net.Conn
	in io.Reader
}

func (s script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s script) Write(p []byte) (int, error) { return len(p), nil }
func (s script) RemoteAddr() net.Addr        { return &net.TCPAddr{} }

func FuzzLogin(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x0e\x00\x12\x00\x00\x00\x00\x00\x01\x00\x04wire"), []byte("\x00\x00\x00\x00\x00\x01\x00\x11\x00\x01\x00\x01"))
	f.Add([]byte("\x00\x00\x00\x19\x00\x11\x00\x00\x00\x00\x00\x01\xff\xff\x00\x0dSCRAM-SHA-256\x00\x00\x00\x05n,,n="), []byte("\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x0f\x00\x24\x00\x02\x00\x00\x00\x01\xff\xff\x00\x01\x00"), []byte("\x00\x00\x00\x00\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, client, broker []byte) {
		c := &loginConn{Conn: script{in: bytes.NewReader(client)}, refused: func(net.Addr, error) {}}
		for {
			var size [4]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				return
			}
			n := binary.BigEndian.Uint32(size[:])
			if c.done { // the broker's business
				return
			}
			if n > 2*loginBytes {
				t.Fatalf("the broker is told of %d bytes before the login", n)
			}
			if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
				t.Fatalf("the broker is told of %d bytes that do not come: %v", n, err)
			}
			resp := append(binary.BigEndian.AppendUint32(nil, uint32(4+len(broker))), 0, 0, 0, 1)
			if _, err := c.Write(append(resp, broker...)); err != nil {
				return
			}
		}
	})
}
