package secure

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5" //nolint:gosec // the protocol's
	"encoding/binary"
	"encoding/hex"
	"sync"

	"golang.org/x/crypto/blowfish"
)

// Method is a cipher of the channel.
type Method uint8

// Methods. An agent chooses; the server answers with the agent's latest.
const (
	AES Method = iota
	Blowfish
)

func (m Method) String() string {
	if m == Blowfish {
		return "blowfish"
	}
	return "aes"
}

var aesIV = []byte("FEDCBA0987654321")

const blowfishIV = 0xFEDCBA9876543210

// Key is the channel key of one agent with its prepared ciphers. It is safe for
// concurrent use. Blowfish's schedule, 4 KiB and tens of microseconds, is made
// when the first Blowfish message needs it.
type Key struct {
	channel string
	block   cipher.Block

	bfOnce sync.Once
	bf     *blowfish.Cipher
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// ChannelKey derives the 47 characters both ciphers take their key from.
func ChannelKey(id, name, rawKey string) string {
	return md5hex(rawKey) + md5hex(md5hex(name) + md5hex(id))[:15]
}

// NewKey prepares the channel key of an agent.
func NewKey(id, name, rawKey string) *Key {
	k := &Key{channel: ChannelKey(id, name, rawKey)}
	block, err := aes.NewCipher([]byte(k.channel[:32]))
	if err != nil {
		panic("secure: AES refuses a 32 byte key: " + err.Error())
	}
	k.block = block
	return k
}

func (k *Key) blowfish() *blowfish.Cipher {
	k.bfOnce.Do(func() {
		c, err := blowfish.NewCipher([]byte(k.channel))
		if err != nil {
			panic("secure: Blowfish refuses a 47 byte key: " + err.Error())
		}
		k.bf = c
	})
	return k.bf
}

// decryptBlowfish decrypts src, a multiple of 8 bytes, into dst.
func (k *Key) decryptBlowfish(dst, src []byte) {
	c := k.blowfish()
	prev := uint64(blowfishIV)
	for len(src) >= 8 {
		this := binary.BigEndian.Uint64(src)
		c.Decrypt(dst, src)
		binary.BigEndian.PutUint64(dst, binary.BigEndian.Uint64(dst)^prev)
		prev, src, dst = this, src[8:], dst[8:]
	}
}

// encryptBlowfish encrypts buf, a multiple of 8 bytes, in place.
func (k *Key) encryptBlowfish(buf []byte) {
	c := k.blowfish()
	prev := uint64(blowfishIV)
	for len(buf) >= 8 {
		binary.BigEndian.PutUint64(buf, binary.BigEndian.Uint64(buf)^prev)
		c.Encrypt(buf, buf)
		prev = binary.BigEndian.Uint64(buf)
		buf = buf[8:]
	}
}
