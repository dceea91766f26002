package secure

import (
	"bytes"
	"crypto/cipher"
	"crypto/md5" //nolint:gosec // the protocol's
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/adler32"
	"io"

	"github.com/klauspost/compress/flate"
)

// MaxText and minText bound the decompressed text: a checksum, the counters and
// the payload.
const (
	MaxText = 65536
	minText = 53
)

// Errors of Split and Open. Each is a cause under which a unit is refused; the
// connection it came on is then closed without an answer.
var (
	ErrID         = errors.New("identifier is not digits between exclamation marks")
	ErrTag        = errors.New("neither #AES: nor : before the ciphertext")
	ErrCipherText = errors.New("ciphertext is not whole blocks")
	ErrKey        = errors.New("does not decrypt under the agent's key")
	ErrInflate    = errors.New("zlib stream damaged or cut")
	ErrTooLong    = errors.New("decompressed text longer than 65536 bytes")
	ErrTooShort   = errors.New("decompressed text shorter than 53 bytes")
	ErrChecksum   = errors.New("checksum mismatch")
	ErrCounters   = errors.New("message counters malformed")
)

// Split takes the agent's identifier off a unit. id is empty when the unit
// carries none, which agents with a fixed address may do.
func Split(unit []byte) (id, body []byte, err error) {
	if len(unit) == 0 || unit[0] != '!' {
		return nil, unit, nil
	}
	end := bytes.IndexByte(unit[1:min(len(unit), maxIDScan)], '!')
	if end < 1 {
		return nil, nil, ErrID
	}
	id = unit[1 : 1+end]
	for _, c := range id {
		if c < '0' || c > '9' {
			return nil, nil, ErrID
		}
	}
	return id, unit[end+2:], nil
}

// maxIDScan bounds the search for the closing mark; ids have at most 8 digits.
const maxIDScan = 64

// Message is the content of a unit.
type Message struct {
	// Payload is valid until the Decoder is used again.
	Payload []byte
	// Global and Local are the sender's counters.
	Global uint64
	Local  uint32
	// Method is the cipher the sender used.
	Method Method
}

// Decoder opens units. It keeps its buffers between calls, so one costs about
// 100 KiB once it has seen a long message; share them through a pool. It is not
// safe for concurrent use.
type Decoder struct {
	plain []byte
	text  []byte
	src   bytes.Reader
	inf   io.ReadCloser
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder { return &Decoder{text: make([]byte, 4096)} }

// Open decrypts and checks the part of a unit after the identifier.
//
// Source: spec/agent-protocol.md §2 "Receiving, in order".
func (d *Decoder) Open(k *Key, body []byte) (Message, error) {
	plain, method, err := d.decrypt(k, body)
	if err != nil {
		return Message{}, err
	}
	if len(plain) == 0 || plain[0] != '!' {
		return Message{}, ErrKey
	}
	for len(plain) > 0 && plain[0] == '!' {
		plain = plain[1:]
	}
	text, err := d.inflate(plain)
	if err != nil {
		return Message{}, err
	}
	if len(text) < minText {
		return Message{}, ErrTooShort
	}
	counted := text[32:]
	sum := md5.Sum(counted)
	var digits [32]byte
	hex.Encode(digits[:], sum[:])
	if !bytes.Equal(digits[:], text[:32]) {
		return Message{}, ErrChecksum
	}
	m := Message{Method: method, Payload: counted[21:]}
	global, ok1 := number(counted[5:15])
	local, ok2 := number(counted[16:20])
	if counted[15] != ':' || counted[20] != ':' || !ok1 || !ok2 {
		return Message{}, ErrCounters
	}
	m.Global, m.Local = global, uint32(local)
	return m, nil
}

func (d *Decoder) decrypt(k *Key, body []byte) ([]byte, Method, error) {
	switch {
	case bytes.HasPrefix(body, tagAES):
		body = body[len(tagAES):]
		if len(body) == 0 || len(body)%16 != 0 {
			return nil, AES, ErrCipherText
		}
		d.grow(len(body))
		cipher.NewCBCDecrypter(k.block, aesIV).CryptBlocks(d.plain, body)
		pad := int(d.plain[len(d.plain)-1])
		if pad < 1 || pad > 16 || pad > len(d.plain) {
			return nil, AES, ErrKey
		}
		for _, c := range d.plain[len(d.plain)-pad:] {
			if int(c) != pad {
				return nil, AES, ErrKey
			}
		}
		return d.plain[:len(d.plain)-pad], AES, nil
	case len(body) > 0 && body[0] == ':':
		body = body[1:]
		if len(body) == 0 || len(body)%8 != 0 {
			return nil, Blowfish, ErrCipherText
		}
		d.grow(len(body))
		k.decryptBlowfish(d.plain, body)
		return d.plain, Blowfish, nil
	}
	return nil, AES, ErrTag
}

func (d *Decoder) grow(n int) {
	if cap(d.plain) < n {
		d.plain = make([]byte, n, n+n/2)
	}
	d.plain = d.plain[:n]
}

// inflate reads an RFC 1950 stream and ignores bytes after it. The result is at
// most MaxText bytes and valid until the next call.
func (d *Decoder) inflate(z []byte) ([]byte, error) {
	if len(z) < 6 || z[0]&0x0f != 8 || z[0]>>4 > 7 || z[1]&0x20 != 0 || binary.BigEndian.Uint16(z)%31 != 0 {
		return nil, ErrInflate
	}
	d.src.Reset(z[2:])
	if d.inf == nil {
		d.inf = flate.NewReader(&d.src)
	} else if err := d.inf.(flate.Resetter).Reset(&d.src, nil); err != nil {
		return nil, ErrInflate
	}
	n := 0
	for {
		if n == len(d.text) {
			if n > MaxText {
				return nil, ErrTooLong
			}
			// One byte more than allowed tells "exactly the limit" from "more".
			bigger := make([]byte, min(4*n, MaxText+1))
			copy(bigger, d.text)
			d.text = bigger
		}
		m, err := d.inf.Read(d.text[n:])
		n += m
		if n > MaxText {
			return nil, ErrTooLong
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, ErrInflate
		}
	}
	var want [4]byte
	if c, _ := io.ReadFull(&d.src, want[:]); c != 4 || binary.BigEndian.Uint32(want[:]) != adler32.Checksum(d.text[:n]) {
		return nil, ErrInflate
	}
	return d.text[:n], nil
}

// number reads decimal digits; n has at most 10.
func number(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}
