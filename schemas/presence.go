package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unique"
)

// PresenceVersion is the version this program writes; readers accept any.
const PresenceVersion = 1

// MaxPresenceBytes bounds a presence record's value.
const MaxPresenceBytes = 64 << 10

// AgentState is how an agent stands with the servers.
type AgentState string

// States of an agent (spec/agent-protocol.md §8). An agent without a presence
// record never connected.
const (
	StateNeverConnected AgentState = "never_connected"
	StatePending        AgentState = "pending"
	StateActive         AgentState = "active"
	StateDisconnected   AgentState = "disconnected"
)

// StatusCode says why an agent is in its state.
type StatusCode int

// Status codes.
const (
	StatusNone              StatusCode = 0
	StatusVersionTooHigh    StatusCode = 1
	StatusVersionUnreadable StatusCode = 2
	StatusShutdown          StatusCode = 3
	StatusNoKeepalive       StatusCode = 4
	StatusResetByServer     StatusCode = 5
)

// Presence is the gateways' knowledge of an agent that has connected, one record
// of TopicPresence per agent id, written on change and at most once a minute.
type Presence struct {
	V  int    `json:"v"`
	ID string `json:"id"`

	State      AgentState `json:"state"`
	StatusCode StatusCode `json:"status_code"`
	// Gateway names the node that holds, or last held, the connection.
	Gateway string `json:"gateway"`
	// Address is the connection's source address.
	Address string `json:"address,omitempty"`
	// AgentIP is the address the agent reported of itself (`_agent_ip`).
	AgentIP string `json:"agent_ip,omitempty"`
	// Version is as reported: `Wazuh v4.14.7`.
	Version string `json:"version,omitempty"`
	OS      OS     `json:"os"`
	// Labels are the agent's label lines as sent: `"key":value`, hidden ones
	// with `!` and system ones with `#` in front.
	Labels    []string `json:"labels,omitempty"`
	ConfigSum string   `json:"config_sum,omitempty"`
	MergedSum string   `json:"merged_sum,omitempty"`

	// Times are in Unix milliseconds; 0 is never.
	Updated           int64 `json:"updated"`
	LastKeepalive     int64 `json:"last_keepalive,omitempty"`
	DisconnectionTime int64 `json:"disconnection_time,omitempty"`
	// Connected is when the startup message was accepted.
	Connected int64 `json:"connected,omitempty"`
	// Node is the cluster node name the API reports.
	Node string `json:"node,omitempty"`

	// Session names the connection that the record tells of; empty for records of
	// the sweep. Claim is set where a connection becomes the agent's: from then on
	// records of another session count for nothing (see Follows).
	Session string `json:"session,omitempty"`
	Claim   bool   `json:"claim,omitempty"`
	// HeldBack is when the gateway last left the agent's messages unread.
	HeldBack int64 `json:"held_back,omitempty"`

	// Sweep is set where the search for silent agents wrote the record, for an
	// agent of which it had heard no more than the record says (see Follows).
	Sweep bool `json:"sweep,omitempty"`
	// LostSince is when the agent was found silent for too long, as long as no
	// event has told of that and the agent has not become active again.
	LostSince int64 `json:"lost_since,omitempty"`
	// Removing is when the agent was found disconnected for so long that it is
	// about to be removed.
	Removing int64 `json:"removing,omitempty"`
}

// Follows reports whether p counts after before, the record that counted until
// then. The order of claims in the topic decides who holds an agent: what a
// connection says after another one has claimed the agent is too late. So is
// what the sweep says of an agent that has given a sign of life since, or that
// another owner has found lost. All readers judge alike (docs/design.md, "Presence").
func (p *Presence) Follows(before *Presence) bool {
	if p.Sweep {
		found := p.LostSince != 0
		return found != (before.State == StateDisconnected) && p.LastSign() >= before.LastSign()
	}
	return p.Claim || p.Session == "" || p.Session == before.Session || before.Session == "" || before.State == StateDisconnected
}

// LastSign is when the agent last gave a sign of life, in Unix milliseconds.
func (p *Presence) LastSign() int64 { return max(p.LastKeepalive, p.Connected, p.HeldBack) }

// OS is an agent's operating system as its keepalive tells it.
type OS struct {
	Name     string `json:"name,omitempty"`
	Platform string `json:"platform,omitempty"`
	Version  string `json:"version,omitempty"`
	Major    string `json:"major,omitempty"`
	Minor    string `json:"minor,omitempty"`
	Codename string `json:"codename,omitempty"`
	Uname    string `json:"uname,omitempty"`
	Arch     string `json:"arch,omitempty"`
	Build    string `json:"build,omitempty"`
}

// Compact makes p hold as little as it can: texts that many agents have in common
// are held once in the process, the others without the text that they were cut
// from. Texts that nobody holds any longer are forgotten.
func (p *Presence) Compact() {
	os := &p.OS
	for _, s := range [...]*string{
		(*string)(&p.State), &p.Gateway, &p.Node, &p.Version, &p.ConfigSum, &p.MergedSum,
		&os.Name, &os.Platform, &os.Version, &os.Major, &os.Minor, &os.Codename, &os.Uname, &os.Arch, &os.Build,
	} {
		*s = unique.Make(*s).Value()
	}
	for _, s := range [...]*string{&p.ID, &p.Address, &p.AgentIP, &p.Session} {
		*s = strings.Clone(*s)
	}
	labels := make([]string, len(p.Labels))
	for i, l := range p.Labels {
		labels[i] = strings.Clone(l)
	}
	if len(labels) > 0 {
		p.Labels = labels
	}
}

// ErrPresence says that a record of TopicPresence is not usable.
var ErrPresence = errors.New("presence record without a usable id or state")

// Record returns p as a record of TopicPresence.
func (p *Presence) Record() (Record, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return Record{}, err
	}
	if len(b) > MaxPresenceBytes {
		return Record{}, fmt.Errorf("presence of agent %s: %d bytes, at most %d", p.ID, len(b), MaxPresenceBytes)
	}
	return Record{Topic: TopicPresence, Timestamp: time.UnixMilli(p.Updated), Key: []byte(p.ID), Value: b}, nil
}

// PresenceTombstone returns the record that ends an agent's presence.
func PresenceTombstone(id string) Record {
	return Record{Topic: TopicPresence, Key: []byte(id)}
}

// ParsePresence reads a record of TopicPresence. gone says that it is a
// tombstone, of which only ID is set.
func ParsePresence(r *Record) (p Presence, gone bool, err error) {
	id := string(r.Key)
	if !ValidAgentID(id) {
		return p, false, ErrPresence
	}
	if len(r.Value) == 0 {
		return Presence{ID: id}, true, nil
	}
	if len(r.Value) > MaxPresenceBytes {
		return p, false, ErrPresence
	}
	if err := json.Unmarshal(r.Value, &p); err != nil {
		return p, false, fmt.Errorf("read presence: %w", err)
	}
	switch p.State {
	case StatePending, StateActive, StateDisconnected:
	default:
		return p, false, ErrPresence
	}
	if p.ID != id {
		return p, false, ErrPresence
	}
	return p, false, nil
}
