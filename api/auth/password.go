// Package auth is how the API knows its users: password hashes and tokens.
//
// Source: spec/api.md §2.
package auth

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// Bounds on the parameters a stored hash may ask for, so that no hash makes a
// login take minutes or gigabytes.
const (
	pbkdf2IterationsMax = 5_000_000
	scryptMemoryMax     = 256 << 20
	scryptPMax          = 16
)

// Parameters of new hashes: about a tenth of a second and 32 MiB.
const (
	scryptN, scryptR, scryptP = 1 << 15, 8, 3
	hashBytes                 = 64
	saltBytes                 = 16
)

// HashPassword returns the stored form of a password,
// `scrypt:32768:8:3$<salt>$<hex>`.
func HashPassword(password string) string {
	b := make([]byte, saltBytes)
	_, _ = rand.Read(b) // never fails
	salt := hex.EncodeToString(b)
	sum, err := scrypt.Key([]byte(password), []byte(salt), scryptN, scryptR, scryptP, hashBytes)
	if err != nil {
		panic("auth: constant scrypt parameters were refused: " + err.Error())
	}
	return fmt.Sprintf("scrypt:%d:%d:%d$%s$%x", scryptN, scryptR, scryptP, salt, sum)
}

// ErrHash says that a stored hash has no form that can be verified.
var ErrHash = errors.New("not a password hash of a known form")

// VerifyPassword reports whether password belongs to a stored hash of the form
// `pbkdf2:sha256:<iterations>$<salt>$<hex>` or `scrypt:<n>:<r>:<p>$<salt>$<hex>`.
func VerifyPassword(hash, password string) (bool, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 3 {
		return false, ErrHash
	}
	want, err := hex.DecodeString(parts[2])
	if err != nil || len(want) < 16 || len(want) > 128 {
		return false, ErrHash
	}
	method := strings.Split(parts[0], ":")
	var n [3]int
	for i := range n {
		if i+1 < len(method) {
			n[i], _ = strconv.Atoi(method[i+1])
		}
	}
	var got []byte
	switch {
	case method[0] == "pbkdf2" && len(method) == 3 && method[1] == "sha256":
		if n[1] < 1 || n[1] > pbkdf2IterationsMax {
			return false, ErrHash
		}
		got, err = pbkdf2.Key(sha256.New, password, []byte(parts[1]), n[1], len(want))
	case method[0] == "scrypt" && len(method) == 4:
		if n[0] < 2 || n[1] < 1 || n[2] < 1 || n[2] > scryptPMax || n[1] > 1024 || n[0] > scryptMemoryMax/128/n[1] {
			return false, ErrHash
		}
		got, err = scrypt.Key([]byte(password), []byte(parts[1]), n[0], n[1], n[2], len(want))
	default:
		return false, ErrHash
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrHash, err)
	}
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}
