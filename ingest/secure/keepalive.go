package secure

import (
	"encoding/json"
	"strings"

	"vedette/schemas"
)

// Bounds of the stored parts of a keepalive. They keep any presence record
// within schemas.MaxPresenceBytes.
const (
	fieldMax  = 512
	labelsMax = 64
	// labelBytesMax bounds the label lines together.
	labelBytesMax = 4096
)

// Keepalive is the content of an agent's keepalive.
type Keepalive struct {
	OS schemas.OS
	// Version is as reported: `Wazuh v4.14.7`.
	Version   string
	ConfigSum string
	MergedSum string
	// AgentIP is the value of the `_agent_ip` label.
	AgentIP string
	// Labels are the other label lines as sent.
	Labels []string
	// LabelsCut says that labels were left out for their number or size.
	LabelsCut bool
}

// ParseKeepalive reads the text of a keepalive, `#!-` included. It keeps
// the parts it can read and never fails. It ignores text after the last newline.
//
// Source: spec/agent-protocol.md §7 "Parsing, per line".
func ParseKeepalive(text string) Keepalive {
	var k Keepalive
	text = strings.TrimPrefix(text, ControlPrefix)
	end := strings.LastIndexByte(text, '\n')
	if end < 0 {
		return k
	}
	labelBytes := 0
	for line := range strings.SplitSeq(text[:end], "\n") {
		switch {
		case strings.HasPrefix(line, agentIPLabel):
			k.AgentIP = clip(line[len(agentIPLabel):], schemas.AddressMax)
		case line != "" && (line[0] == '"' || line[0] == '!' || line[0] == '#'):
			if labelBytes += len(line); labelBytes > labelBytesMax || len(k.Labels) == labelsMax {
				k.LabelsCut = true
				continue
			}
			k.Labels = append(k.Labels, line)
		case strings.Contains(line, " - "):
			k.system(line)
		default:
			if sum, rest, ok := strings.Cut(line, " "); ok && strings.HasPrefix(rest, "merged.m") {
				k.MergedSum = clip(sum, fieldMax)
			}
		}
	}
	return k
}

const agentIPLabel = `#"_agent_ip":`

func (k *Keepalive) system(line string) {
	// The version follows the last " - Wazuh": a kernel's own text may hold " - ".
	at := strings.LastIndex(line, " - Wazuh")
	if at < 0 {
		at = strings.Index(line, " - ")
	}
	left, right := line[:at], line[at+3:]
	if version, sum, ok := strings.Cut(right, " / "); ok {
		k.Version, k.ConfigSum = clip(version, fieldMax), clip(sum, fieldMax)
	} else if w := strings.Index(right, "Wazuh"); w >= 0 {
		k.Version = clip(right[w:], fieldMax)
	}
	k.OS = ParseOS(left)
}

// architectures in the order in which they are looked for.
var architectures = []string{"x86_64", "i386", "i686", "sparc", "amd64", "i86pc", "ia64", "AIX", "armv6", "armv7", "aarch64", "arm64"}

// ParseOS reads the system text of a keepalive.
func ParseOS(s string) schemas.OS {
	var o schemas.OS
	if name, rest, ok := strings.Cut(s, " [Ver: "); ok {
		version, after, _ := strings.Cut(rest, "]")
		o.Name, o.Uname, o.Platform, o.Version = name, name, "windows", version
		parts := strings.SplitN(version, ".", 3)
		o.Major = parts[0]
		if len(parts) > 1 {
			o.Minor = parts[1]
		}
		if len(parts) > 2 {
			o.Build = parts[2]
		}
		if i := strings.LastIndexByte(after, '|'); i >= 0 {
			o.Arch = strings.TrimSpace(after[i+1:])
		}
	} else {
		o.Uname = s
		if i := strings.LastIndex(s, " ["); i >= 0 {
			o.Uname = s[:i]
			in := s[i+2:]
			if j := strings.LastIndexByte(in, ']'); j >= 0 {
				in = in[:j]
			}
			o.Name, in, _ = strings.Cut(in, "|")
			var version string
			o.Platform, version, _ = strings.Cut(in, ": ")
			if v, code, ok := strings.Cut(version, " ("); ok {
				version, o.Codename = v, strings.TrimSuffix(code, ")")
			}
			o.Version = version
			o.Major, o.Minor = unixVersion(version)
		}
		for _, a := range architectures {
			if strings.Contains(o.Uname, a) {
				o.Arch = a
				break
			}
		}
	}
	for _, f := range []*string{&o.Name, &o.Platform, &o.Version, &o.Major, &o.Minor, &o.Codename, &o.Uname, &o.Arch, &o.Build} {
		*f = clip(*f, fieldMax)
	}
	return o
}

func unixVersion(v string) (major, minor string) {
	major = digits(v)
	if i := strings.IndexByte(v, '.'); i >= 0 {
		return major, digits(v[i+1:])
	}
	if i := strings.Index(v, "-SP"); i >= 0 {
		return major, digits(v[i+3:])
	}
	return major, ""
}

func digits(s string) string {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i]
}

// clip cuts s to n bytes without breaking a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// VisibleLabels returns the visible labels of label lines as a flat JSON object,
// or nil when there are none. A later line wins over an earlier one of its key.
func VisibleLabels(lines []string) []byte {
	var m map[string]string
	for _, l := range lines {
		if !strings.HasPrefix(l, `"`) {
			continue
		}
		if key, value, ok := strings.Cut(l[1:], `":`); ok && key != "" {
			if m == nil {
				m = map[string]string{}
			}
			m[key] = value
		}
	}
	if m == nil {
		return nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil // strings always marshal
	}
	return b
}
