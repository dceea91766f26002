package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// HeaderMAC carries the HMAC of a record's value under the cluster key. Records
// that act on agents or results are applied only when it verifies.
const HeaderMAC = "mac"

// MaxProposalBytes bounds a proposal's value.
const MaxProposalBytes = 256 << 10

// ProposalKind names the change that a proposal asks for.
type ProposalKind string

// Kinds of proposals.
const (
	ProposalAgentAdd    ProposalKind = "agent.add"
	ProposalAgentRemove ProposalKind = "agent.remove"
	ProposalIDReserve   ProposalKind = "id.reserve"
	ProposalUserAdd     ProposalKind = "user.add"
	ProposalTokenKey    ProposalKind = "token.key"
	ProposalGroupAdd    ProposalKind = "group.add"
	ProposalGroupRemove ProposalKind = "group.remove"
	ProposalAgentGroups ProposalKind = "agent.groups"
	ProposalActivate    ProposalKind = "registry.activate"
	ProposalAccess      ProposalKind = "access.change"

	// FormatBlobs is no proposal. Once it is active, contents stand in TopicBlobs.
	FormatBlobs ProposalKind = "files.blobs"
)

// Formats maps kinds of proposals to the number of their newest format. A kind's
// number grows when a proposal of it gets another meaning or another field that
// decides.
type Formats map[ProposalKind]int

// proposalKinds has one line for each kind: the newest format that this program
// reads, the newest format that needs no activation, and the field of the proposal
// that the kind needs.
var proposalKinds = map[ProposalKind]struct {
	newest, free int
	has          func(p *Proposal) bool
}{
	ProposalAgentAdd:    {1, 1, func(p *Proposal) bool { return p.AgentAdd != nil }},
	ProposalAgentRemove: {1, 1, func(p *Proposal) bool { return p.AgentRemove != nil }},
	ProposalIDReserve:   {1, 1, func(p *Proposal) bool { return p.IDReserve != nil }},
	ProposalUserAdd:     {1, 1, func(p *Proposal) bool { return p.UserAdd != nil }},
	ProposalTokenKey:    {1, 1, func(p *Proposal) bool { return p.TokenKey != nil }},
	ProposalGroupAdd:    {1, 1, func(p *Proposal) bool { return p.GroupAdd != nil }},
	ProposalGroupRemove: {1, 1, func(p *Proposal) bool { return p.GroupRemove != nil }},
	ProposalAgentGroups: {1, 1, func(p *Proposal) bool { return p.AgentGroups != nil }},
	// An activation is written only when every node knows it, so it needs none itself.
	ProposalActivate: {1, 1, func(p *Proposal) bool { return p.Activate != nil }},
	ProposalAccess:   {1, 0, func(p *Proposal) bool { return p.Access != nil }},
	FormatBlobs:      {1, 0, func(*Proposal) bool { return false }},
}

// KnownFormats returns the newest format of each kind that this program reads.
func KnownFormats() Formats {
	known := Formats{}
	for kind, k := range proposalKinds {
		known[kind] = k.newest
	}
	return known
}

// FreeFormat returns the newest format of a kind that every node of a registry
// reads without an activation; 0 where the kind needs one.
func FreeFormat(kind ProposalKind) int { return proposalKinds[kind].free }

// Proposal is one record of TopicRegistry: a change somebody asks for, with all
// it is judged by, so that every reader accepts or refuses it alike without a
// clock or anything else of its own.
type Proposal struct {
	// V is the number of the kind's format, from 1.
	V int `json:"v"`
	// ID is 32 random hexadecimal digits. Sealed fields are bound to it.
	ID   string       `json:"id"`
	Kind ProposalKind `json:"kind"`
	// Proposer names the node that asks.
	Proposer string `json:"proposer"`
	// Time is the proposer's clock, in Unix milliseconds.
	Time int64 `json:"time"`

	AgentAdd    *AgentAdd     `json:"agent_add,omitempty"`
	AgentRemove *AgentRemove  `json:"agent_remove,omitempty"`
	IDReserve   *IDReserve    `json:"id_reserve,omitempty"`
	UserAdd     *UserAdd      `json:"user_add,omitempty"`
	TokenKey    *TokenKey     `json:"token_key,omitempty"`
	GroupAdd    *GroupName    `json:"group_add,omitempty"`
	GroupRemove *GroupName    `json:"group_remove,omitempty"`
	AgentGroups *AgentGroups  `json:"agent_groups,omitempty"`
	Activate    *Activate     `json:"activate,omitempty"`
	Access      *AccessChange `json:"access,omitempty"`
}

// Activate says that every node reads these formats, so that they may be written
// from here on.
type Activate struct {
	Formats Formats `json:"formats"`
}

// AgentAdd asks for a new agent.
type AgentAdd struct {
	Name string `json:"name"`
	// IP is the address rule as requested (AddressRule.Requested).
	IP string `json:"ip"`
	// AgentID is the id asked for, or empty for the next one.
	AgentID string `json:"agent_id,omitempty"`
	// Key is the raw key, sealed under the cluster key with the proposal's ID.
	Key []byte `json:"key"`
	// KeyHash is the agent's proof that it holds a key already.
	KeyHash string   `json:"key_hash,omitempty"`
	Groups  []string `json:"groups,omitempty"`
	// HostName is the server's own name, which no agent may take.
	HostName string      `json:"host_name,omitempty"`
	Force    ForcePolicy `json:"force"`
	// Seen is the proposer's knowledge of the agents in the way.
	Seen []SeenAgent `json:"seen,omitempty"`
}

// ForcePolicy says when an existing agent gives way to a new one of the same
// name, address or id (spec/enrollment.md §4). Times are in seconds.
type ForcePolicy struct {
	Enabled bool `json:"enabled"`
	// KeyMismatch keeps an agent whose key the requester has shown to hold.
	KeyMismatch             bool  `json:"key_mismatch"`
	DisconnectedTimeEnabled bool  `json:"disconnected_time_enabled"`
	DisconnectedTime        int64 `json:"disconnected_time"`
	AfterRegistrationTime   int64 `json:"after_registration_time"`
	// Purge lets a replaced agent disappear instead of staying as removed.
	Purge bool `json:"purge"`
}

// DefaultForcePolicy is the policy of a server that configures nothing.
func DefaultForcePolicy() ForcePolicy {
	return ForcePolicy{
		Enabled: true, KeyMismatch: true, DisconnectedTimeEnabled: true,
		DisconnectedTime: 3600, AfterRegistrationTime: 3600, Purge: true,
	}
}

// SeenAgent is the state in which a proposer saw an agent.
type SeenAgent struct {
	ID    string     `json:"id"`
	State AgentState `json:"state"`
	// DisconnectionTime is in Unix milliseconds; 0 is unknown.
	DisconnectionTime int64 `json:"disconnection_time,omitempty"`
}

// AgentRemove asks for an agent's removal.
type AgentRemove struct {
	AgentID string `json:"agent_id"`
	// Purge lets it disappear; otherwise it stays, marked as removed.
	Purge bool `json:"purge"`
	// Force removes even while a condition would keep it; reserved.
	Force bool `json:"force,omitempty"`
	// Seen is set where the agent is to be removed only because it has been
	// disconnected for AfterSeconds: the proposer's knowledge of it.
	Seen         *SeenAgent `json:"seen,omitempty"`
	AfterSeconds int64      `json:"after_seconds,omitempty"`
}

// IDReserve asks that no new agent gets an id up to this one.
type IDReserve struct {
	AgentID string `json:"agent_id"`
}

// UserAdd asks for a new API user.
type UserAdd struct {
	Name string `json:"name"`
	// PasswordHash is sealed like an agent's key.
	PasswordHash []byte   `json:"password_hash"`
	Roles        []string `json:"roles,omitempty"`
	RunAs        bool     `json:"run_as,omitempty"`
}

// TokenKey offers the key that signs API tokens; the first one wins.
type TokenKey struct {
	// PEM is sealed like an agent's key.
	PEM []byte `json:"pem"`
}

// Errors of ParseProposal.
var (
	ErrProposalTooLarge = errors.New("proposal too large")
	ErrProposalVersion  = errors.New("proposal of an unknown version")
	ErrProposalShape    = errors.New("proposal lacks what its kind needs")
)

// Encode returns the record's value, over which the MAC is made.
func (p *Proposal) Encode() ([]byte, error) {
	b, err := json.Marshal(p)
	if err == nil && len(b) > MaxProposalBytes {
		err = ErrProposalTooLarge
	}
	return b, err
}

// ProposalRecord returns the record for an encoded proposal and its MAC.
func ProposalRecord(value, mac []byte) Record {
	return Record{Topic: TopicRegistry, Value: value, Headers: []Header{{Key: HeaderMAC, Value: mac}}}
}

// Parse reads a record's value. Unknown fields are ignored; a kind or a format
// beyond known is an *UnknownProposalError. It does not verify the MAC.
func (known Formats) Parse(value []byte) (Proposal, error) {
	var p Proposal
	if len(value) > MaxProposalBytes {
		return p, ErrProposalTooLarge
	}
	if err := json.Unmarshal(value, &p); err != nil {
		return p, fmt.Errorf("read proposal: %w", err)
	}
	if p.V < 1 {
		return p, ErrProposalVersion
	}
	if p.V > known[p.Kind] {
		return p, &UnknownProposalError{V: p.V, Kind: p.Kind, Proposer: p.Proposer, Known: known[p.Kind]}
	}
	if k, ok := proposalKinds[p.Kind]; len(p.ID) != 32 || ok && !k.has(&p) {
		return p, ErrProposalShape
	}
	if p.Activate == nil {
		return p, nil
	}
	for _, kind := range slices.Sorted(maps.Keys(p.Activate.Formats)) {
		if v := p.Activate.Formats[kind]; v > known[kind] {
			return p, &UnknownProposalError{V: v, Kind: kind, Proposer: p.Proposer, Known: known[kind]}
		}
	}
	return p, nil
}

// UnknownProposalError says that a newer program wrote a proposal. Its readers
// must not pass over it: they would come to another state than newer ones.
type UnknownProposalError struct {
	V        int
	Kind     ProposalKind
	Proposer string // the node that wrote it
	Known    int    // the newest format of the kind that this program reads, 0 for none
}

func (e *UnknownProposalError) Error() string {
	if e.Known == 0 {
		return fmt.Sprintf("kind %q, format %d, written by node %q", e.Kind, e.V, e.Proposer)
	}
	return fmt.Sprintf("kind %q, format %d, written by node %q; this program knows format %d", e.Kind, e.V, e.Proposer, e.Known)
}
