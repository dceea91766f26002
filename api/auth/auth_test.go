package auth

import (
	"strings"
	"testing"
	"time"
)

func TestPasswordHashesOfOthersVerify(t *testing.T) {
	t.Parallel()
	f := func(hash, password string, want bool) {
		t.Helper()
		if got, err := VerifyPassword(hash, password); err != nil || got != want {
			t.Errorf("%s: %v, %v", hash, got, err)
		}
	}
	// Made with Python's hashlib: pbkdf2_hmac("sha256", b"wazuh", b"aSalt123", 150000, 32) and
	// scrypt(b"wazuh", salt=b"aSalt123", n=32768, r=8, p=1, dklen=64).
	const pb = "pbkdf2:sha256:150000$aSalt123$e6a11225eee1483d7019c69d512d86522b6807475a59b53e4d1079dfaca06a84"
	const sc = "scrypt:32768:8:1$aSalt123$faeb8fb3ff0f08aa8abbc2b40fe97e07d01edb32108e44a4d73349d73720052eed9c7f0f8bb64b89215f69a9f838060a60c8720eb3d015b76ce9d1f187423643"
	f(pb, "wazuh", true)
	f(pb, "Wazuh", false)
	f(sc, "wazuh", true)
	f(sc, "", false)
	own := HashPassword("pässword$:")
	f(own, "pässword$:", true)
	f(own, "password", false)
	if own == HashPassword("pässword$:") {
		t.Error("two hashes of one password are equal: no salt")
	}
}

func TestUnusableHashesAreErrors(t *testing.T) {
	t.Parallel()
	h := strings.Repeat("ab", 32)
	for _, s := range []string{
		"", "x", "plain", "pbkdf2:sha256:1$s", "pbkdf2:md5:1000$s$" + h, "pbkdf2:sha256:0$s$" + h, "pbkdf2:sha256:99999999$s$" + h,
		"pbkdf2:sha256:1000$s$zz", "pbkdf2:sha256:1000$s$ab", "scrypt:3:8:1$s$" + h, "scrypt:1048576:1024:1$s$" + h, "scrypt:32768:8:99$s$" + h, "scrypt:32768:8$s$" + h,
	} {
		if ok, err := VerifyPassword(s, "x"); err == nil || ok {
			t.Errorf("%q: %v", s, ok)
		}
	}
}

func TestTokensComeBack(t *testing.T) {
	t.Parallel()
	pem, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tok, err := NewToken(k, Claims{Subject: "u", Roles: []int{}, Mode: "white", NotBefore: now.Unix(), Expires: now.Unix() + 900})
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseToken(&k.PublicKey, tok, now)
	if err != nil || c.Subject != "u" || c.Roles == nil || c.Mode != "white" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, at := range []time.Time{now.Add(901 * time.Second), now.Add(-time.Minute)} {
		if _, err := ParseToken(&k.PublicKey, tok, at); err == nil {
			t.Errorf("good at %s", at)
		}
	}
	other, _ := NewKey()
	o, _ := ParseKey(other)
	if _, err := ParseToken(&o.PublicKey, tok, now); err == nil {
		t.Error("good under another key")
	}
	if _, err := ParseKey([]byte("x")); err == nil {
		t.Error("x is a key")
	}
}

func FuzzVerifyPassword(f *testing.F) {
	f.Add("pbkdf2:sha256:1$s$"+strings.Repeat("ab", 32), "x")
	f.Add("scrypt:2:1:1$s$"+strings.Repeat("ab", 32), "x")
	f.Fuzz(func(t *testing.T, hash, password string) {
		if len(hash) > 200 || strings.Count(hash, "0") > 3 {
			return // parameters that are allowed and slow
		}
		_, _ = VerifyPassword(hash, password)
	})
}
