// Package ipset holds lists of IP addresses and networks in the notation of
// rule conditions.
package ipset

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Set is a list of networks. The zero value holds nothing.
type Set struct {
	any      bool
	prefixes []netip.Prefix
}

// Add adds what text names: an IPv4 or IPv6 address, either with /prefix, IPv4
// with /mask, or `any`. A leading `!` is accepted and means nothing, as 4.14 has
// it (spec/ruleset-language.md §4.5, example E26).
func (s *Set) Add(text string) error {
	text = strings.TrimPrefix(text, "!")
	if text == "any" {
		s.any = true
		return nil
	}
	host, bits, hasBits := strings.Cut(text, "/")
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		return fmt.Errorf("%q is not an IP address, a network or any", text)
	}
	mapped := a.Is4In6()
	a = a.Unmap()
	n := a.BitLen()
	if hasBits {
		if n, err = prefixLen(a, bits); err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
		if mapped && n > 32 {
			n -= 96
		}
	}
	p, err := a.Prefix(n)
	if err != nil {
		return fmt.Errorf("%q: prefix out of range", text)
	}
	s.prefixes = append(s.prefixes, p)
	return nil
}

func prefixLen(a netip.Addr, bits string) (int, error) {
	if n, err := strconv.Atoi(bits); err == nil && bits[0] != '+' && n >= 0 {
		return n, nil
	}
	m, err := netip.ParseAddr(bits)
	if err != nil || !a.Is4() || !m.Is4() {
		return 0, fmt.Errorf("%q is neither a prefix length nor a mask", bits)
	}
	b := m.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n := 0
	for v&(1<<31) != 0 {
		n++
		v <<= 1
	}
	if v != 0 {
		return 0, fmt.Errorf("mask %q has holes", bits)
	}
	return n, nil
}

// Contains tells whether text is an address that lies in the set.
func (s *Set) Contains(text string) bool {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	if s.any {
		return true
	}
	a = a.WithZone("").Unmap()
	for _, p := range s.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
