package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
)

// HeaderMAC carries the HMAC of a record's value under the cluster key. Records
// that act on agents or results are applied only when it verifies.
const HeaderMAC = "mac"

// ProposalVersion is the version this program writes. A reader applies only
// versions it knows, because every reader must come to the same result.
const ProposalVersion = 1

// MaxProposalBytes bounds a proposal's value.
const MaxProposalBytes = 256 << 10

// ProposalKind says what a proposal would change.
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
)

// Proposal is one record of TopicRegistry: a change somebody asks for, with all
// it is judged by, so that every reader accepts or refuses it alike without a
// clock or anything else of its own.
type Proposal struct {
	// V is ProposalVersion.
	V int `json:"v"`
	// ID is 32 random hexadecimal digits. Sealed fields are bound to it.
	ID   string       `json:"id"`
	Kind ProposalKind `json:"kind"`
	// Proposer names the node that asks.
	Proposer string `json:"proposer"`
	// Time is the proposer's clock, in Unix milliseconds.
	Time int64 `json:"time"`

	AgentAdd    *AgentAdd    `json:"agent_add,omitempty"`
	AgentRemove *AgentRemove `json:"agent_remove,omitempty"`
	IDReserve   *IDReserve   `json:"id_reserve,omitempty"`
	UserAdd     *UserAdd     `json:"user_add,omitempty"`
	TokenKey    *TokenKey    `json:"token_key,omitempty"`
	GroupAdd    *GroupName   `json:"group_add,omitempty"`
	GroupRemove *GroupName   `json:"group_remove,omitempty"`
	AgentGroups *AgentGroups `json:"agent_groups,omitempty"`
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
	// KeyHash is what the agent sent to show that it holds a key already.
	KeyHash string   `json:"key_hash,omitempty"`
	Groups  []string `json:"groups,omitempty"`
	// HostName is the server's own name, which no agent may take.
	HostName string      `json:"host_name,omitempty"`
	Force    ForcePolicy `json:"force"`
	// Seen is what the proposer knew of the agents in the way.
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
	// disconnected for AfterSeconds: what the proposer knew of it.
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

// ParseProposal reads a record's value. Unknown fields are ignored, a newer
// version or an unknown kind is an *UnknownProposalError. It does not verify the MAC.
func ParseProposal(value []byte) (Proposal, error) {
	var p Proposal
	if len(value) > MaxProposalBytes {
		return p, ErrProposalTooLarge
	}
	if err := json.Unmarshal(value, &p); err != nil {
		return p, fmt.Errorf("read proposal: %w", err)
	}
	if p.V > ProposalVersion {
		return p, &UnknownProposalError{V: p.V, Kind: p.Kind, Proposer: p.Proposer}
	}
	if p.V != ProposalVersion {
		return p, ErrProposalVersion
	}
	ok := len(p.ID) == 32
	switch p.Kind {
	case ProposalAgentAdd:
		ok = ok && p.AgentAdd != nil
	case ProposalAgentRemove:
		ok = ok && p.AgentRemove != nil
	case ProposalIDReserve:
		ok = ok && p.IDReserve != nil
	case ProposalUserAdd:
		ok = ok && p.UserAdd != nil
	case ProposalTokenKey:
		ok = ok && p.TokenKey != nil
	case ProposalGroupAdd:
		ok = ok && p.GroupAdd != nil
	case ProposalGroupRemove:
		ok = ok && p.GroupRemove != nil
	case ProposalAgentGroups:
		ok = ok && p.AgentGroups != nil
	default:
		return p, &UnknownProposalError{V: p.V, Kind: p.Kind, Proposer: p.Proposer}
	}
	if !ok {
		return p, ErrProposalShape
	}
	return p, nil
}

// UnknownProposalError says that a newer program wrote a proposal. Its readers
// must not pass over it: they would come to another state than newer ones.
type UnknownProposalError struct {
	V        int
	Kind     ProposalKind
	Proposer string // the node that wrote it
}

func (e *UnknownProposalError) Error() string {
	return fmt.Sprintf("kind %q, version %d, written by node %q; this program knows version %d", e.Kind, e.V, e.Proposer, ProposalVersion)
}
