package secret

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeyBytes is the length of a new cluster key, and the least accepted.
const KeyBytes = 32

// ErrOpen says that a sealed value was made under another key, for another
// purpose or associated data, or was altered.
var ErrOpen = errors.New("sealed value does not open under this cluster key")

// Box seals and authenticates values under the cluster key, and opens and
// verifies them under it or one of the keys before it. Every purpose has its own
// subkey, so a value sealed for one purpose never opens for another. It is safe
// for concurrent use.
type Box struct {
	key   []byte
	older []*Box // each with one key
	old   atomic.Int64

	mu   sync.Mutex // guards subs; never held while another lock is taken
	subs map[string]*subkeys
}

type subkeys struct {
	aead cipher.AEAD
	mac  []byte
}

// purposesMax bounds the cached subkeys: purposes are constants of the program,
// never input.
const purposesMax = 64

// KeysMax bounds the keys of a Box, the first included.
const KeysMax = 8

// NewBox returns a Box for a cluster key of at least KeyBytes bytes, and for
// older ones, under which it only opens and verifies.
func NewBox(key []byte, older ...[]byte) (*Box, error) {
	if len(older) >= KeysMax {
		return nil, fmt.Errorf("%d cluster keys, at most %d are possible", 1+len(older), KeysMax)
	}
	if len(key) < KeyBytes {
		return nil, fmt.Errorf("cluster key has %d bytes, at least %d are needed", len(key), KeyBytes)
	}
	b := &Box{key: append([]byte(nil), key...), subs: map[string]*subkeys{}}
	for _, k := range older {
		o, err := NewBox(k)
		if err != nil {
			return nil, fmt.Errorf("an older %w", err)
		}
		b.older = append(b.older, o)
	}
	return b, nil
}

// Keys returns how many keys the Box has.
func (b *Box) Keys() int { return 1 + len(b.older) }

// OldUses returns how often a value opened or verified under an older key only:
// what still needs it.
func (b *Box) OldUses() int64 { return b.old.Load() }

func (b *Box) sub(purpose string) *subkeys {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.subs[purpose]; ok {
		return s
	}
	derive := func(use string) []byte {
		k, err := hkdf.Key(sha256.New, b.key, nil, "vedette "+use+" "+purpose, chacha20poly1305.KeySize)
		if err != nil {
			panic("secret: hkdf refuses a 32 byte key: " + err.Error())
		}
		return k
	}
	aead, err := chacha20poly1305.NewX(derive("seal"))
	if err != nil {
		panic("secret: XChaCha20-Poly1305 refuses a 32 byte key: " + err.Error())
	}
	s := &subkeys{aead: aead, mac: derive("mac")}
	if len(b.subs) < purposesMax {
		b.subs[purpose] = s
	}
	return s
}

// Seal encrypts plain and binds it to purpose and ad. The result begins with its random nonce.
func (b *Box) Seal(purpose string, plain, ad []byte) []byte {
	s := b.sub(purpose)
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plain)+s.aead.Overhead())
	_, _ = rand.Read(nonce) // never fails since Go 1.24
	return s.aead.Seal(nonce, nonce, plain, ad)
}

// Open returns what Seal was given, or ErrOpen.
func (b *Box) Open(purpose string, sealed, ad []byte) ([]byte, error) {
	plain, err := b.open(purpose, sealed, ad)
	for _, o := range b.older {
		if err == nil {
			break
		}
		if plain, err = o.open(purpose, sealed, ad); err == nil {
			b.old.Add(1)
		}
	}
	return plain, err
}

func (b *Box) open(purpose string, sealed, ad []byte) ([]byte, error) {
	if len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, ErrOpen
	}
	n := chacha20poly1305.NonceSizeX
	plain, err := b.sub(purpose).aead.Open(nil, sealed[:n], sealed[n:], ad)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// MAC returns the HMAC-SHA256 of data for purpose.
func (b *Box) MAC(purpose string, data []byte) []byte {
	h := hmac.New(sha256.New, b.sub(purpose).mac)
	h.Write(data)
	return h.Sum(nil)
}

// Verify reports in constant time whether mac is the MAC of data for purpose.
func (b *Box) Verify(purpose string, data, mac []byte) bool {
	if hmac.Equal(b.MAC(purpose, data), mac) {
		return true
	}
	for _, o := range b.older {
		if hmac.Equal(o.MAC(purpose, data), mac) {
			b.old.Add(1)
			return true
		}
	}
	return false
}

// LoadOrCreateKeys reads the cluster keys from path, or makes a random one and
// writes it with mode 0600. A key is hexadecimal, or any other 32 bytes or more.
// Several stand one a line, the one to seal under first; they are several if
// each line is a key and one of them hexadecimal. Every node of an installation
// needs the same file. A file that others can read gives a warning on log (which
// may be nil), because refusing to start would take the agents down with it.
func LoadOrCreateKeys(path string, log *slog.Logger) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKey(path); err != nil {
			return nil, fmt.Errorf("create cluster key: %w", err)
		}
		text, err = os.ReadFile(path) // another process may have been first: what stands there counts
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster key: %w", err)
	}
	if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 && log != nil {
		log.Warn("cluster key can be read by others; set its mode to 0600", "path", path, "mode", st.Mode().Perm().String())
	}
	if keys := keyLines(text); keys != nil {
		return keys, nil
	}
	key, _ := parseKey(text)
	if len(key) < KeyBytes {
		return nil, fmt.Errorf("cluster key %s: has %d bytes, at least %d are needed", path, len(key), KeyBytes)
	}
	return [][]byte{key}, nil
}

// parseKey reads one key. Subkeys are derived, so any text of enough bytes will
// do; hexadecimal counts by what it stands for. The text itself must not be printed.
func parseKey(text []byte) (key []byte, hexadecimal bool) {
	text = bytes.TrimSpace(text)
	if key, err := hex.DecodeString(string(text)); err == nil {
		return key, true
	}
	return text, false
}

// keyLines returns the keys of a file that holds several, or nil: a key may be
// any text, also one with line breaks.
func keyLines(text []byte) [][]byte {
	var keys [][]byte
	one := false
	for line := range bytes.Lines(text) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		key, hexadecimal := parseKey(line)
		if len(key) < KeyBytes {
			return nil
		}
		keys, one = append(keys, key), one || hexadecimal
	}
	if len(keys) < 2 || !one {
		return nil
	}
	return keys
}

// createKey writes a new key beside path and links it into place, so that of
// two processes that start together one wins and no half-written file is seen.
func createKey(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".cluster-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(RandomHex(KeyBytes) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// RandomHex returns n random bytes as 2n lower-case hexadecimal digits.
func RandomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return hex.EncodeToString(b)
}

// passwordAlphabet leaves out characters that look alike or need quoting.
const passwordAlphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789.*+?-"

// RandomPassword returns n characters that hold at least one upper-case letter,
// one lower-case letter, one digit and one sign. n is raised to 8.
func RandomPassword(n int) String {
	if n < 8 {
		n = 8
	}
	for {
		out := make([]byte, 0, n)
		buf := make([]byte, 2*n)
		for len(out) < n {
			_, _ = rand.Read(buf)
			for _, c := range buf {
				if int(c) < 256/len(passwordAlphabet)*len(passwordAlphabet) && len(out) < n { // no modulo bias
					out = append(out, passwordAlphabet[int(c)%len(passwordAlphabet)])
				}
			}
		}
		s := string(out)
		if strings.ContainsAny(s, "ABCDEFGHJKLMNPQRSTUVWXYZ") && strings.ContainsAny(s, "abcdefghijkmnopqrstuvwxyz") &&
			strings.ContainsAny(s, "23456789") && strings.ContainsAny(s, ".*+?-") {
			return String(s)
		}
	}
}
