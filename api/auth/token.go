package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Claims of a token. Clients read `exp` and `rbac_roles` without verifying.
type Claims struct {
	Issuer    string `json:"iss"`
	Audience  string `json:"aud"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
	Subject   string `json:"sub"`
	RunAs     bool   `json:"run_as"`
	Roles     []int  `json:"rbac_roles"`
	Mode      string `json:"rbac_mode"`
	// Context is the hash of the context of a login; only with RunAs.
	Context string `json:"hash_auth_context,omitempty"`
}

// The methods of jwt.Claims; the library's own struct would write the audience
// as a list.

// GetExpirationTime implements jwt.Claims.
func (c *Claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Expires), nil }

// GetNotBefore implements jwt.Claims.
func (c *Claims) GetNotBefore() (*jwt.NumericDate, error) { return date(c.NotBefore), nil }

// GetIssuedAt implements jwt.Claims.
func (*Claims) GetIssuedAt() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer implements jwt.Claims.
func (c *Claims) GetIssuer() (string, error) { return c.Issuer, nil }

// GetSubject implements jwt.Claims.
func (c *Claims) GetSubject() (string, error) { return c.Subject, nil }

// GetAudience implements jwt.Claims.
func (c *Claims) GetAudience() (jwt.ClaimStrings, error) { return jwt.ClaimStrings{c.Audience}, nil }

func date(sec int64) *jwt.NumericDate {
	if sec == 0 {
		return nil
	}
	return jwt.NewNumericDate(time.Unix(sec, 0))
}

const (
	issuer   = "wazuh"
	audience = "Wazuh API REST"
)

// NewToken signs a token. It sets issuer and audience.
func NewToken(key *ecdsa.PrivateKey, c Claims) (string, error) {
	c.Issuer, c.Audience = issuer, audience
	return jwt.NewWithClaims(jwt.SigningMethodES512, &c).SignedString(key)
}

// ParseToken verifies signature, algorithm, audience and time.
func ParseToken(key *ecdsa.PublicKey, token string, now time.Time) (*Claims, error) {
	var c Claims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"ES512"}), jwt.WithAudience(audience), jwt.WithIssuer(issuer),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }))
	if err != nil {
		return nil, err
	}
	if c.NotBefore == 0 || c.Subject == "" {
		return nil, errors.New("token without nbf or sub")
	}
	return &c, nil
}

// NewKey makes a key for tokens and returns it as PEM (PKCS #8).
func NewKey() ([]byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads a key that NewKey wrote.
func ParseKey(b []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("token key: no PEM block")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	e, ok := k.(*ecdsa.PrivateKey)
	if !ok || e.Curve != elliptic.P521() {
		return nil, errors.New("token key: not an ECDSA key on P-521")
	}
	return e, nil
}
