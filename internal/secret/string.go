// Package secret holds what must never be printed and the cryptography that
// keeps it so between processes: redacted strings, the cluster key, sealing and
// message authentication under it.
package secret

import (
	"fmt"
	"log/slog"
)

// Redacted stands in every place where a String would have been printed.
const Redacted = "[redacted]"

// String is a secret text. Whatever prints, logs or marshals it gives Redacted;
// only Reveal gives the text, so that a grep for Reveal finds every use.
type String string

// Reveal returns the text itself.
func (s String) Reveal() string { return string(s) }

// String returns Redacted, or nothing for an empty secret, so that "not set" can be told.
func (s String) String() string {
	if s == "" {
		return ""
	}
	return Redacted
}

// Format covers every verb, including %x, %q and %#v.
func (s String) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// GoString is what %#v would print.
func (s String) GoString() string { return s.String() }

// LogValue is what slog prints.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is what encoders such as encoding/json print.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text as it stands, so that configuration can hold secrets.
func (s *String) UnmarshalText(b []byte) error {
	*s = String(b)
	return nil
}
