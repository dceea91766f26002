package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/internal/retry"
)

// loginBytes bounds a request of a client that has not logged in.
const loginBytes = 64 << 10

// loginListener hands out connections on which older clients can log in too.
type loginListener struct {
	net.Listener
	log  *slog.Logger
	warn retry.Log
}

// Accept waits for the next connection.
func (l *loginListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &loginConn{Conn: c, refused: l.refused}, nil
}

func (l *loginListener) refused(from net.Addr, why error) {
	if skipped, due := l.warn.Due(); due {
		l.log.Warn("the embedded broker closes a connection that has not logged in; clients need SASL_PLAINTEXT with SCRAM-SHA-256", "source", from.String(), "err", why, "not_logged", skipped)
	}
}

// answer says how a response of the broker reaches the client.
type answer struct {
	key     int16
	version int16 // of the request, as the client sent it
	known   bool  // of a handshake: its mechanism is the embedded broker's
	raw     bool  // the request was a bare token
}

// loginConn sits between a client and the broker until the client has logged
// in. The broker knows only the newer handshake, after which tokens travel as
// requests of their own. librdkafka before 2.1 and kafka-python log in only where
// the older one is offered, and others use it: after it tokens travel bare. So
// the offer is widened, and the older form translated.
//
// The broker reads requests of any kind and size from strangers, so those that
// are not part of a login end here.
type loginConn struct {
	net.Conn
	refused func(from net.Addr, why error)

	ahead []byte // read and not yet handed to the broker; of the reading goroutine

	mu      sync.Mutex // guards the fields below; the broker reads and writes at once
	answers []answer   // expected from the broker, in this order
	raw     bool       // tokens come bare
	rounds  int        // tokens of the client until it is logged in
	done    bool       // logged in: bytes pass as they are
}

// Read hands the client's requests to the broker.
func (c *loginConn) Read(p []byte) (int, error) {
	if len(c.ahead) == 0 {
		c.mu.Lock()
		done := c.done
		c.mu.Unlock()
		if done {
			return c.Conn.Read(p)
		}
		if err := c.readRequest(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.ahead)
	c.ahead = c.ahead[n:]
	return n, nil
}

// readRequest puts the next request into ahead.
func (c *loginConn) readRequest() error {
	var head [4]byte
	if _, err := io.ReadFull(c.Conn, head[:]); err != nil {
		return err
	}
	c.mu.Lock()
	done, raw := c.done, c.raw
	c.mu.Unlock()
	if done { // meanwhile
		c.ahead = append(c.ahead[:0], head[:]...)
		return nil
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > loginBytes {
		return c.refuse(fmt.Errorf("a request of %d bytes; at most %d may come before the login", size, loginBytes))
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.Conn, body); err != nil {
		return err
	}
	a := answer{raw: raw}
	if raw {
		a.key = int16(kmsg.SASLAuthenticate)
		body = authenticate(body)
	} else if err := a.of(body); err != nil {
		return c.refuse(err)
	}
	c.ahead = binary.BigEndian.AppendUint32(c.ahead[:0], uint32(len(body)))
	c.ahead = append(c.ahead, body...)
	c.mu.Lock()
	c.answers = append(c.answers, a)
	c.mu.Unlock()
	return nil
}

func (c *loginConn) refuse(why error) error {
	c.refused(c.RemoteAddr(), why)
	return why
}

// of takes the parts of a request that its answer depends on. It makes the older
// handshake the newer one: only the messages after it differ.
func (a *answer) of(body []byte) error {
	if len(body) < 10 { // key, version, correlation, client's name
		return errors.New("a request that is cut short")
	}
	a.key, a.version = int16(binary.BigEndian.Uint16(body)), int16(binary.BigEndian.Uint16(body[2:]))
	switch kmsg.Key(a.key) {
	case kmsg.ApiVersions, kmsg.SASLAuthenticate:
		return nil
	case kmsg.SASLHandshake:
	default:
		return fmt.Errorf("a request of type %d before the login", a.key)
	}
	if a.version == 0 {
		binary.BigEndian.PutUint16(body[2:], 1)
	}
	rest := body[10:]
	if n := int16(binary.BigEndian.Uint16(body[8:])); n > 0 {
		if int(n) > len(rest) {
			return errors.New("a request that is cut short")
		}
		rest = rest[n:]
	}
	req := kmsg.NewPtrSASLHandshakeRequest()
	if err := req.ReadFrom(rest); err != nil {
		return fmt.Errorf("a handshake that cannot be read: %w", err)
	}
	a.known = req.Mechanism == embeddedMechanism
	return nil
}

// authenticate makes a bare token a request.
func authenticate(token []byte) []byte {
	req := kmsg.NewPtrSASLAuthenticateRequest()
	req.SASLAuthBytes = token
	head := binary.BigEndian.AppendUint16(nil, uint16(kmsg.SASLAuthenticate))
	head = append(head, 0, 0, 0, 0, 0, 0, 0xff, 0xff) // version 0, no correlation, no name
	return req.AppendTo(head)
}

// Write hands a response of the broker to the client. The broker writes each in
// one piece.
func (c *loginConn) Write(p []byte) (int, error) {
	out, err := c.translate(p)
	if err != nil {
		return 0, err
	}
	if _, err := c.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// translate returns the client's form of a response, with its length in front.
func (c *loginConn) translate(p []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const head = 8                              // length, correlation
	if len(c.answers) == 0 || len(p) < head+2 { // after the login, or none of the broker's
		return p, nil
	}
	a := c.answers[0]
	c.answers = c.answers[1:]
	body := p[head:]
	switch kmsg.Key(a.key) {
	case kmsg.ApiVersions:
		return offerBoth(p[:head], body, a.version), nil
	case kmsg.SASLHandshake:
		resp := kmsg.NewPtrSASLHandshakeResponse()
		if err := resp.ReadFrom(body); err != nil {
			return nil, fmt.Errorf("the broker's answer to a handshake cannot be read: %w", err)
		}
		// The broker accepts mechanisms for which it knows nobody, and names none
		// where kafka-python looks for its own.
		resp.SupportedMechanisms = []string{embeddedMechanism}
		switch {
		case !a.known:
			resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
		case resp.ErrorCode == 0:
			c.raw, c.rounds = a.version == 0, 2
		}
		return sized(resp.AppendTo(append([]byte(nil), p[:head]...))), nil
	case kmsg.SASLAuthenticate:
		resp := kmsg.NewPtrSASLAuthenticateResponse()
		if resp.SetVersion(a.version); resp.IsFlexible() {
			body = body[1:] // tags of the header
		}
		if err := resp.ReadFrom(body); err != nil {
			return nil, fmt.Errorf("the broker's answer to a login cannot be read: %w", err)
		}
		err := kerr.ErrorForCode(resp.ErrorCode)
		if c.rounds--; err == nil && c.rounds == 0 {
			c.done = true
		}
		if a.raw {
			if err != nil { // which a bare token cannot tell
				return nil, err
			}
			return append(binary.BigEndian.AppendUint32(nil, uint32(len(resp.SASLAuthBytes))), resp.SASLAuthBytes...), nil
		}
	}
	return p, nil
}

// offerBoth adds the older handshake to the versions that the broker offers.
func offerBoth(head, body []byte, version int16) []byte {
	same := append(head[:len(head):len(head)], body...)
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.SetVersion(version)
	if binary.BigEndian.Uint16(body) != 0 || resp.ReadFrom(body) != nil {
		return same // an error comes in a form of its own
	}
	for i := range resp.ApiKeys {
		if resp.ApiKeys[i].ApiKey == int16(kmsg.SASLHandshake) {
			resp.ApiKeys[i].MinVersion = 0
		}
	}
	return sized(resp.AppendTo(append([]byte(nil), head...)))
}

// sized writes the length of the rest into the first four bytes.
func sized(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}
