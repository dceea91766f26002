package schemas

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of the names, ids, addresses and keys of agents (spec/enrollment.md §2, §3 and §6).
const (
	AgentNameMin = 2
	AgentNameMax = 128
	// AgentIDMax bounds the characters of an id: agents refuse longer ones.
	AgentIDMax = 8
	// AgentKeyMin and AgentKeyMax bound a raw key, which consists of name characters.
	AgentKeyMin = 2
	AgentKeyMax = 128
	// AddressMax bounds the text of an address rule.
	AddressMax = 46
	// GroupNameMax and GroupsMax bound an agent's groups.
	GroupNameMax = 255
	GroupsMax    = 128
)

// AnyAddress is the rule that matches every address.
const AnyAddress = "any"

// DefaultGroup is the group that always exists.
const DefaultGroup = "default"

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

func nameBytes(s string) bool {
	for i := 0; i < len(s); i++ {
		if !nameByte(s[i]) {
			return false
		}
	}
	return true
}

// ValidAgentName reports whether s may name an agent: 2 to 128 of
// `A-Za-z0-9-_.`, not beginning with a dot.
func ValidAgentName(s string) bool {
	return len(s) >= AgentNameMin && len(s) <= AgentNameMax && s[0] != '.' && nameBytes(s)
}

// ValidAgentKey reports whether s may be a raw key, so that an agent accepts it.
func ValidAgentKey(s string) bool {
	return len(s) >= AgentKeyMin && len(s) <= AgentKeyMax && nameBytes(s)
}

// ValidAgentID reports whether s may be an agent's id: 1 to 8 digits (the agent
// channel knows no other), not the server's own 000.
func ValidAgentID(s string) bool {
	if s == "" || len(s) > AgentIDMax {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	n, err := strconv.Atoi(s)
	return err == nil && n > 0
}

// ValidGroupName reports whether s may name a group: `A-Za-z0-9_.-`, at most
// 255 characters, neither `.` nor `..`.
func ValidGroupName(s string) bool {
	return s != "" && len(s) <= GroupNameMax && s != "." && s != ".." && nameBytes(s)
}

// ErrAddress says that a text is no address rule.
var ErrAddress = errors.New("not `any`, an address, or an address with a prefix or netmask")

// AddressRule says from where an agent may connect: from anywhere, from one
// address, or from a network.
type AddressRule struct {
	host   string // normalised address text, or "any"
	mask   string // what followed the slash, as written; empty for a single address
	prefix netip.Prefix
}

// ParseAddressRule reads a rule and normalises it: one leading `!` is dropped,
// IPv4-mapped IPv6 becomes IPv4, other IPv6 becomes eight groups of four
// upper-case hexadecimal digits.
//
// Source: spec/enrollment.md §2 "Address normalisation".
func ParseAddressRule(s string) (AddressRule, error) {
	s = strings.TrimPrefix(s, "!")
	if s == AnyAddress {
		return AddressRule{host: AnyAddress}, nil
	}
	// A normalized IPv6 address with a prefix is longer than a request may carry.
	if len(s) > AddressMax {
		return AddressRule{}, ErrAddress
	}
	host, mask, masked := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return AddressRule{}, ErrAddress
	}
	mapped := addr.Is4In6()
	addr = addr.Unmap()
	r := AddressRule{host: AddressText(addr), mask: mask}
	n := addr.BitLen()
	if masked {
		if n, err = prefixLength(addr, mask, mapped); err != nil {
			return AddressRule{}, err
		}
		if mapped {
			r.mask = strconv.Itoa(n)
		}
	}
	r.prefix = netip.PrefixFrom(addr, n)
	return r, nil
}

func prefixLength(addr netip.Addr, mask string, mapped bool) (int, error) {
	if addr.Is4() && strings.Contains(mask, ".") {
		m, err := netip.ParseAddr(mask)
		if err != nil || !m.Is4() {
			return 0, ErrAddress
		}
		b := m.As4()
		v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		n := bits.LeadingZeros32(^v)
		if v<<n != 0 { // bits after the first zero: no prefix says that
			return 0, ErrAddress
		}
		return n, nil
	}
	if len(mask) == 0 || len(mask) > 3 || strings.TrimLeft(mask, "0123456789") != "" {
		return 0, ErrAddress
	}
	n, err := strconv.Atoi(mask)
	if mapped && n > 32 {
		n -= 96 // the prefix counted the whole IPv6 form
	}
	if err != nil || n < 0 || n > addr.BitLen() {
		return 0, ErrAddress
	}
	return n, nil
}

// AddressText returns an address as rules and replies write it.
func AddressText(a netip.Addr) string {
	a = a.Unmap()
	if a.Is4() {
		return a.String()
	}
	b := a.As16()
	var sb strings.Builder
	for i := 0; i < 16; i += 2 {
		if i > 0 {
			sb.WriteByte(':')
		}
		fmt.Fprintf(&sb, "%02X%02X", b[i], b[i+1])
	}
	return sb.String()
}

// Any reports whether the rule matches every address.
func (r AddressRule) Any() bool { return r.host == AnyAddress }

// Host is the rule without its mask part, as event headers and messages show it.
func (r AddressRule) Host() string { return r.host }

// Requested is the rule as the enrollment reply repeats it, a dotted netmask kept.
func (r AddressRule) Requested() string {
	if r.mask == "" {
		return r.host
	}
	return r.host + "/" + r.mask
}

// String is the rule as the key file stores it: a netmask as prefix length.
func (r AddressRule) String() string {
	if r.mask == "" {
		return r.host
	}
	return r.host + "/" + strconv.Itoa(r.prefix.Bits())
}

// Match reports whether an agent under this rule may talk from a.
func (r AddressRule) Match(a netip.Addr) bool {
	return r.Any() || r.prefix.IsValid() && r.prefix.Contains(a.Unmap().WithZone(""))
}
