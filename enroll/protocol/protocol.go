// Package protocol is the enrollment exchange as a pure codec: one request line
// in, one reply out. It opens no sockets, keeps no state and reads no clock.
//
// Source: spec/enrollment.md §2 and §3; vectors in the enroll package's tests.
package protocol

import (
	"bytes"
	"crypto/subtle"
	"net/netip"
	"strings"

	"vedette/internal/secret"
	"vedette/schemas"
)

// Bounds of a request.
const (
	// MaxRequest is the longest request in bytes, its newline included.
	MaxRequest = 65536 + 4096

	versionMax    = 2048
	keyHashMax    = 40
	groupListMax  = 65535
	groupShownMax = 255
	nameShownMax  = 255
)

// Cause says why a request was refused; the set is closed, for metrics.
type Cause string

// Causes, in the order in which they are tested.
const (
	CausePassword         Cause = "password"
	CauseRequest          Cause = "request"
	CauseName             Cause = "name"
	CauseVersionField     Cause = "version_field"
	CauseVersion          Cause = "version"
	CauseGroupField       Cause = "group_field"
	CauseGroupSyntax      Cause = "group_syntax"
	CauseAddressField     Cause = "address_field"
	CauseAddress          Cause = "address"
	CauseKeyField         Cause = "key_field"
	CauseGroupCount       Cause = "group_count"
	CauseGroupName        Cause = "group_name"
	CauseGroupUnknown     Cause = "group_unknown"
	CauseDuplicateAddress Cause = "duplicate_address"
	CauseServerName       Cause = "server_name"
	CauseDuplicateName    Cause = "duplicate_name"
	CauseInternal         Cause = "internal"
)

// Causes returns every cause.
func Causes() []Cause {
	return []Cause{
		CausePassword, CauseRequest, CauseName, CauseVersionField, CauseVersion, CauseGroupField, CauseGroupSyntax, CauseAddressField,
		CauseAddress, CauseKeyField, CauseGroupCount, CauseGroupName, CauseGroupUnknown, CauseDuplicateAddress, CauseServerName,
		CauseDuplicateName, CauseInternal,
	}
}

// Refusal is the error of a request that is refused; its text is the reason in
// the reply to the agent.
type Refusal struct {
	Cause  Cause
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

func refuse(c Cause, parts ...string) (Request, error) {
	return Request{}, &Refusal{Cause: c, Reason: strings.Join(parts, "")}
}

// Rules holds the server's demands.
type Rules struct {
	// Password, when set, must begin every request.
	Password secret.String
	// ServerVersion is the newest version an agent may have: `v4.14.7`.
	ServerVersion string
	// AllowHigherVersions switches the version test off.
	AllowHigherVersions bool
	// UseSourceIP registers the source address when a request names none.
	UseSourceIP bool
	// GroupExists says which groups there are.
	GroupExists func(name string) bool
}

// Request is a request that passed every test a request can be given by itself.
type Request struct {
	Name string
	// Version is the version that the agent states, or empty.
	Version string
	// Groups are without repetition, in order; nil when the request names none.
	Groups []string
	// Address is normalised; a dotted netmask is kept.
	Address schemas.AddressRule
	// KeyHash is the agent's hash of the key it holds, or empty.
	KeyHash string
}

// ParseRequest reads a request: the bytes before the first newline. source is
// where the connection comes from. The error is always a *Refusal, the first
// that applies in the order of the table in spec/enrollment.md §3.
//
// Optional fields are recognised only in the order V, G, IP, K and directly
// after one another. An unrecognised field ends the request silently.
func ParseRequest(line []byte, source netip.Addr, r Rules) (Request, error) {
	if line = cutNUL(line); r.Password != "" {
		rest, ok := cutPassword(line, r.Password)
		if !ok {
			return refuse(CausePassword, "Invalid password")
		}
		line = rest
	}
	text := string(line)
	rest, ok := strings.CutPrefix(text, "OSSEC A:'")
	if !ok {
		return refuse(CauseRequest, "Invalid request for new agent")
	}
	var q Request
	if q.Name, rest, ok = strings.Cut(rest, "'"); !ok {
		return refuse(CauseRequest, "Invalid request for new agent")
	}
	if !schemas.ValidAgentName(q.Name) {
		return refuse(CauseName, "Invalid agent name: ", clip(q.Name, nameShownMax))
	}
	field := func(name string) (value string, present, closed bool) {
		v, found := strings.CutPrefix(rest, " "+name+":'")
		if !found {
			return "", false, true
		}
		value, after, closed := strings.Cut(v, "'")
		if closed {
			rest = after
		}
		return value, true, closed
	}

	version, present, closed := field("V")
	if !closed || len(version) > versionMax {
		return refuse(CauseVersionField, "Unterminated version field")
	}
	if present {
		q.Version = version
		if !r.AllowHigherVersions && Higher(version, r.ServerVersion) {
			return refuse(CauseVersion, "Agent version must be lower or equal to manager version")
		}
	}

	groups, grouped, closed := field("G")
	if !closed {
		return refuse(CauseGroupField, "Unterminated group field")
	}
	if grouped {
		if why := groupSyntax(groups); why != "" {
			return refuse(CauseGroupSyntax, "Invalid group name: ", why)
		}
	}

	address, addressed, closed := field("IP")
	if !closed {
		return refuse(CauseAddressField, "Unterminated IP field")
	}
	switch {
	case addressed && strings.HasPrefix(address, "src"), !addressed && r.UseSourceIP:
		address = schemas.AddressText(source)
	case !addressed:
		address = schemas.AnyAddress
	}
	var err error
	if q.Address, err = schemas.ParseAddressRule(address); err != nil {
		return refuse(CauseAddress, "Invalid IP: ", clip(address, schemas.AddressMax))
	}

	if q.KeyHash, _, closed = field("K"); !closed || len(q.KeyHash) > keyHashMax {
		return refuse(CauseKeyField, "Unterminated key field")
	}

	if grouped {
		q.Groups = unique(strings.Split(groups, ","))
		if len(q.Groups) > schemas.GroupsMax {
			return refuse(CauseGroupCount, "Maximum multigroup reached: Limit is 128")
		}
		for _, g := range q.Groups {
			if !schemas.ValidGroupName(g) {
				return refuse(CauseGroupName, "Invalid group name: ", g)
			}
		}
		for _, g := range q.Groups {
			if r.GroupExists != nil && !r.GroupExists(g) {
				return refuse(CauseGroupUnknown, "Invalid group: ", g)
			}
		}
	}
	return q, nil
}

// cutPassword takes `OSSEC PASS: <password> ` off a request, comparing in
// constant time. The password may hold spaces: it runs over exactly the
// characters of the configured one.
func cutPassword(line []byte, password secret.String) (rest []byte, ok bool) {
	rest, found := bytes.CutPrefix(line, []byte("OSSEC PASS: "))
	want := []byte(password.Reveal())
	got := make([]byte, len(want))
	n := copy(got, rest)
	same := subtle.ConstantTimeCompare(got, want) == 1
	if !found || !same || n < len(want) || len(rest) <= len(want) || rest[len(want)] != ' ' {
		return nil, false
	}
	return rest[len(want)+1:], true
}

const groupBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:;_-=+!@(),"

// groupSyntax describes the fault of a group list, or nothing.
func groupSyntax(s string) string {
	shown := clip(s, groupShownMax) + "... "
	switch {
	case s == "":
		return "Empty Group"
	case longestName(s) > schemas.GroupNameMax:
		return shown + "group is too large"
	case len(s) > groupListMax:
		return shown + "multigroup is too large"
	case strings.Contains(s, ",") && strings.Contains(s, " "):
		return shown + "white spaces are not allowed"
	case strings.Contains(s, ",,"):
		return shown + "consecutive ',' are not allowed"
	case s[0] == ',' || s[len(s)-1] == ',':
		return shown + "cannot start or end with ','"
	case !onlyOf(s, groupBytes) || strings.Trim(s, ",") == "":
		return shown + `characters '\/:*?"<>|,' are prohibited`
	}
	return ""
}

func onlyOf(s, set string) bool {
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(set, s[i]) < 0 {
			return false
		}
	}
	return true
}

func longestName(s string) (n int) {
	for name := range strings.SplitSeq(s, ",") {
		n = max(n, len(name))
	}
	return n
}

func unique(names []string) []string {
	seen := make(map[string]bool, min(len(names), schemas.GroupsMax+1))
	var out []string
	for _, n := range names {
		if !seen[n] {
			seen[n] = true
			out = append(out, n)
			if len(out) > schemas.GroupsMax {
				break // one too many is enough to refuse
			}
		}
	}
	return out
}

// Higher reports whether an agent's major.minor is greater than the server's. Of
// the agent's text only the first 9 characters count. An optional `v` is
// skipped, and a part that is not a number counts as 0.
func Higher(agent, server string) bool {
	aMajor, aMinor := majorMinor(clip(agent, 9))
	sMajor, sMinor := majorMinor(server)
	return aMajor > sMajor || aMajor == sMajor && aMinor > sMinor
}

func majorMinor(s string) (major, minor int) {
	parts := strings.SplitN(strings.TrimPrefix(s, "v"), ".", 3)
	major = leadingNumber(parts[0])
	if len(parts) > 1 {
		minor = leadingNumber(parts[1])
	}
	return major, minor
}

func leadingNumber(s string) (n int) {
	for i := 0; i < len(s) && i < 9 && s[i] >= '0' && s[i] <= '9'; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// Success is the reply to a request that is granted; it has no terminator.
func Success(id, name, address string, key secret.String) string {
	return "OSSEC K:'" + id + " " + name + " " + address + " " + key.Reveal() + "'"
}

// Failure is the reply to a request that is refused.
func Failure(reason string) string { return "ERROR: " + reason + ". Unable to add agent" }

func cutNUL(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

func clip(s string, n int) string { return s[:min(len(s), n)] }
