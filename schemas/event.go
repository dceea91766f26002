package schemas

import (
	"errors"
	"strings"
	"time"
)

// ManagerID is the agent id of events that belong to no agent: syslog devices
// and records produced by other tools.
const ManagerID = "000"

// MaxEventBytes bounds one event's message (spec/agent-protocol.md §14).
const MaxEventBytes = 65536

// Names of the headers of an event record; all are optional.
const (
	HeaderAgentID      = "agent.id"
	HeaderAgentName    = "agent.name"
	HeaderAgentIP      = "agent.ip"
	HeaderAgentAddress = "agent.address"
	HeaderAgentLabels  = "agent.labels"
	HeaderLocation     = "location"
	HeaderQueue        = "queue"
	HeaderGateway      = "gateway"
	HeaderEventID      = "event.id"
)

// Event is one message of an agent, a device or another tool, before analysis.
type Event struct {
	// Time is the record's timestamp: the reception, in milliseconds.
	Time time.Time
	// AgentID is "000" when no agent sent it.
	AgentID   string
	AgentName string
	// AgentIP is the address the agent reported, else its registered address
	// rule; empty or "any" when unknown. It moves: nothing but the alert shows it.
	AgentIP string
	// AgentAddress is the agent's registered address rule without its mask, which
	// rules see in the location; empty is "any".
	AgentAddress string
	// AgentLabels is a JSON object of the agent's visible labels, or nil.
	AgentLabels []byte
	// Location is the source on the agent, unescaped, without any agent prefix
	// (`/var/log/auth.log`, `EventChannel`, `syscheck`).
	Location string
	// Queue is the protocol's source character (spec/ruleset-language.md §1.2).
	Queue byte
	// Gateway names the node that received the event.
	Gateway string
	// EventID is set by sources that may repeat themselves.
	EventID string
	// Log is the message as received; it may hold any byte.
	Log []byte
}

// Key returns the record key under which an event is ordered and correlated:
// the agent id, or `000/` and the source for events that no agent sent.
func (e *Event) Key() string {
	if e.AgentID != "" && e.AgentID != ManagerID {
		return e.AgentID
	}
	if e.Queue == '2' {
		return ManagerID + "/" + e.Location
	}
	return ManagerID
}

// Record returns the event as a record of TopicEvents. The value aliases e.Log.
func (e *Event) Record() Record {
	h := make([]Header, 0, 8)
	add := func(k, v string) {
		if v != "" {
			h = append(h, Header{Key: k, Value: []byte(v)})
		}
	}
	add(HeaderAgentID, e.AgentID)
	add(HeaderAgentName, e.AgentName)
	add(HeaderAgentIP, e.AgentIP)
	if e.AgentAddress != AnyAddress {
		add(HeaderAgentAddress, e.AgentAddress)
	}
	if len(e.AgentLabels) > 0 {
		h = append(h, Header{Key: HeaderAgentLabels, Value: e.AgentLabels})
	}
	add(HeaderLocation, e.Location)
	if e.Queue != 0 {
		h = append(h, Header{Key: HeaderQueue, Value: []byte{e.Queue}})
	}
	add(HeaderGateway, e.Gateway)
	add(HeaderEventID, e.EventID)
	return Record{Topic: TopicEvents, Timestamp: e.Time, Key: []byte(e.Key()), Value: e.Log, Headers: h}
}

// Errors of ParseEvent. Each is a cause under which a record goes to the dead letter.
var (
	ErrEventTooLarge = errors.New("event larger than 65536 bytes")
	ErrEventQueue    = errors.New("header queue is not exactly one character")
	// ErrEventKey says that the key is missing or contradicts the headers, so
	// that the record stands in the wrong partition.
	ErrEventKey = errors.New("record key does not match the event")
)

// ParseEvent reads a record of TopicEvents. Strings and slices of the result
// alias the record. With ErrEventKey the event is usable, and the caller must
// produce it once more under Event.Key instead of analyzing it here.
func ParseEvent(r *Record) (Event, error) {
	e := Event{Time: r.Timestamp, AgentID: ManagerID, Location: r.Topic, Queue: '1', Log: r.Value}
	located := false
	for i := range r.Headers {
		v := r.Headers[i].Value
		switch r.Headers[i].Key {
		case HeaderAgentID:
			e.AgentID = string(v)
		case HeaderAgentName:
			e.AgentName = string(v)
		case HeaderAgentIP:
			e.AgentIP = string(v)
		case HeaderAgentAddress:
			e.AgentAddress = string(v)
		case HeaderAgentLabels:
			e.AgentLabels = v
		case HeaderLocation:
			e.Location, located = string(v), true
		case HeaderQueue:
			if len(v) != 1 {
				return e, ErrEventQueue
			}
			e.Queue = v[0]
		case HeaderGateway:
			e.Gateway = string(v)
		case HeaderEventID:
			e.EventID = string(v)
		}
	}
	if e.AgentID == "" {
		e.AgentID = ManagerID
	}
	if len(e.Log) > MaxEventBytes {
		return e, ErrEventTooLarge
	}
	key := string(r.Key)
	want := e.Key()
	if e.AgentID == ManagerID && e.Queue == '2' && !located {
		want = ManagerID
	}
	if key == want || (want == ManagerID && strings.HasPrefix(key, ManagerID+"/")) {
		return e, nil
	}
	return e, ErrEventKey
}
