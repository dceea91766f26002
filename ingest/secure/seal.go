package secure

import (
	"bytes"
	"crypto/cipher"
	"crypto/md5" //nolint:gosec // the protocol's
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/adler32"

	"github.com/klauspost/compress/zlib"
)

var tagAES = []byte("#AES:")

// MaxPayload is the longest payload a sender may use.
const MaxPayload = 65408

// ErrPayload says that a payload is empty or longer than MaxPayload.
var ErrPayload = errors.New("payload empty or longer than 65408 bytes")

// storedMax is the longest text sent as a stored deflate block: control
// messages gain nothing from compression, and a compressor's state is cleared
// for each message, which costs more than all the rest.
const storedMax = 320

// Counter numbers one side's messages.
type Counter struct {
	Global uint64
	Local  uint32
}

// Next advances the counter and returns the pair to send.
func (c *Counter) Next() (global uint64, local uint32) {
	if c.Local >= 9997 {
		c.Local = 0
		c.Global++
	}
	c.Local++
	return c.Global, c.Local
}

// Encoder seals messages. It keeps its buffers between calls and is not safe
// for concurrent use.
type Encoder struct {
	// Level is zlib's compression level, 1 to 9. Readers accept any.
	Level int

	text []byte
	comp bytes.Buffer
	zw   *zlib.Writer
}

// Append appends the unit that carries payload: the identifier (agents put
// theirs in front, the server passes none), the tag and the ciphertext. random
// has no meaning beyond making equal messages differ.
func (e *Encoder) Append(dst []byte, k *Key, m Method, id string, random uint16, global uint64, local uint32, payload []byte) ([]byte, error) {
	if len(payload) == 0 || len(payload) > MaxPayload {
		return dst, ErrPayload
	}
	t := append(e.text[:0], zeros[:32]...)
	t = appendDigits(t, uint64(random), 5)
	t = appendDigits(t, global, 10)
	t = append(t, ':')
	t = appendDigits(t, uint64(local), 4)
	t = append(t, ':')
	t = append(t, payload...)
	sum := md5.Sum(t[32:])
	hex.Encode(t[:32], sum[:])
	e.text = t
	e.comp.Reset()
	if len(t) <= storedMax && e.Level == 0 {
		e.comp.Write([]byte{0x78, 0x01, 1, byte(len(t)), byte(len(t) >> 8), ^byte(len(t)), ^byte(len(t) >> 8)})
		e.comp.Write(t)
		var sum [4]byte
		binary.BigEndian.PutUint32(sum[:], adler32.Checksum(t))
		e.comp.Write(sum[:])
	} else {
		if e.zw == nil {
			level := e.Level
			if level == 0 {
				level = zlib.DefaultCompression
			}
			zw, err := zlib.NewWriterLevel(&e.comp, level)
			if err != nil {
				return dst, err
			}
			e.zw = zw
		} else {
			e.zw.Reset(&e.comp)
		}
		if _, err := e.zw.Write(t); err != nil {
			return dst, err
		}
		if err := e.zw.Close(); err != nil {
			return dst, err
		}
	}
	return SealCompressed(dst, k, m, id, e.comp.Bytes()), nil
}

// SealCompressed appends the unit that carries a zlib stream, which it pads,
// encrypts and tags: the last step of Encoder.Append, for streams made elsewhere.
func SealCompressed(dst []byte, k *Key, m Method, id string, comp []byte) []byte {
	if id != "" {
		dst = append(dst, '!')
		dst = append(dst, id...)
		dst = append(dst, '!')
	}
	marks := 8 - len(comp)%8 // 1 to 8
	if m == Blowfish {
		dst = append(dst, ':')
		at := len(dst)
		dst = append(dst, "!!!!!!!!"[:marks]...)
		dst = append(dst, comp...)
		k.encryptBlowfish(dst[at:])
		return dst
	}
	dst = append(dst, tagAES...)
	at := len(dst)
	dst = append(dst, "!!!!!!!!"[:marks]...)
	dst = append(dst, comp...)
	pad := 16 - (len(dst)-at)%16
	for range pad {
		dst = append(dst, byte(pad))
	}
	cipher.NewCBCEncrypter(k.block, aesIV).CryptBlocks(dst[at:], dst[at:])
	return dst
}

const zeros = "00000000000000000000000000000000"

func appendDigits(dst []byte, n uint64, width int) []byte {
	at := len(dst)
	dst = append(dst, zeros[:width]...)
	for i := at + width - 1; i >= at; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}
