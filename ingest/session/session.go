// Package session interprets the messages of one agent: startup, keepalives,
// shutdown, events. It is pure: callers pass the time in, and send or write its
// results.
//
// Source: spec/agent-protocol.md §5 to §8 and §10.
package session

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"vedette/ingest/secure"
	"vedette/schemas"
)

// presenceEvery is how often an agent's presence is written when only its last
// keepalive has changed; more often where silence is held against agents sooner.
const presenceEvery = time.Minute

// Locations and texts of the events the server raises about agents.
const (
	LocationStopped      = "wazuh-remoted"
	LocationDisconnected = "wazuh-monitord"
)

// Kind classifies a message.
type Kind uint8

// Kinds of messages.
const (
	Event Kind = iota
	Startup
	Keepalive
	Shutdown
	Request
	Unknown // a control message that is none of the known ones
)

var kindNames = [...]string{"event", "startup", "keepalive", "shutdown", "request", "unknown"}

func (k Kind) String() string { return kindNames[k] }

// Kinds returns every kind.
func Kinds() []Kind { return []Kind{Event, Startup, Keepalive, Shutdown, Request, Unknown} }

// Control reports whether a payload is a control message.
func Control(payload []byte) bool { return bytes.HasPrefix(payload, controlPrefix) }

var controlPrefix = []byte(secure.ControlPrefix)

// Identity names the agent and its connection.
type Identity struct {
	ID   string
	Name string
	// Host is the agent's address rule without its mask.
	Host string
	// Address is the connection's source.
	Address string
	// Gateway is this node.
	Gateway string
	// ServerVersion is the newest version an agent may have.
	ServerVersion string
	// AllowHigherVersions switches the version test off.
	AllowHigherVersions bool
	// Connection names this connection among all of the agent's; empty on UDP,
	// which binds nothing.
	Connection string
	// SilentAfter is how long an agent may send no keepalive; 0 is 15 minutes. An
	// agent's last keepalive is written at least four times within it.
	SilentAfter time.Duration
}

func (id *Identity) presenceEvery() time.Duration {
	if id.SilentAfter <= 0 {
		return presenceEvery
	}
	return min(presenceEvery, id.SilentAfter/4)
}

// Result holds the effects of one message.
type Result struct {
	Kind Kind
	// Reply is the payload of the answer, or empty.
	Reply string
	// Raised says that Event is to be produced.
	Raised bool
	Event  schemas.Event
	// Refused is why an event is not: an error of secure.ParseEvent.
	Refused error
	// WritePresence says that Session.Presence is to be written.
	WritePresence bool
	// LabelsCut says that the keepalive carried more labels than are kept.
	LabelsCut bool
	// RequestID and Answer belong to an answer to a request.
	RequestID string
	Answer    string
	// MergedSum is the checksum of the shared configuration that a keepalive
	// reports; empty when it reports nothing.
	MergedSum string
}

// Session is the state of one agent's connection. It is not safe for concurrent use.
type Session struct {
	id       Identity
	presence schemas.Presence
	labels   []byte // visible ones, as JSON; replaced, never written into
	agentIP  string
	written  time.Time
	last     uint64 // hash of the last keepalive text
	claimed  bool   // a record of this connection has said that it holds the agent
}

var seed = maphash.MakeSeed()

// New begins a session. p is the agent's presence as the registry knows it;
// the zero value when it never connected.
func New(id Identity, p schemas.Presence) *Session {
	s := &Session{id: id, presence: p}
	s.presence.V, s.presence.ID = schemas.PresenceVersion, id.ID
	s.presence.Sweep, s.presence.Removing = false, 0
	s.derive()
	return s
}

// Presence is the agent's presence now.
func (s *Session) Presence() schemas.Presence { return s.presence }

// Reclaim has the next keepalive say once more that this connection holds the agent.
func (s *Session) Reclaim() { s.claimed = false }

// HeldBack notes that the agent's socket was not read for lack of room, so that
// its silence is not held against it, and reports whether that is to be written.
func (s *Session) HeldBack(now time.Time) bool {
	if s.presence.State != schemas.StateActive && s.presence.State != schemas.StatePending || now.Sub(s.written) < s.id.presenceEvery() {
		return false
	}
	s.here()
	s.presence.HeldBack = now.UnixMilli()
	s.wrote(now)
	return true
}

// derive computes the parts of events that come from keepalives.
func (s *Session) derive() {
	s.labels = secure.VisibleLabels(s.presence.Labels)
	s.agentIP = s.presence.AgentIP
	if s.agentIP == "" && s.id.Host != schemas.AnyAddress {
		s.agentIP = s.id.Host
	}
}

// Handle takes one payload. The event of the result does not alias it.
func (s *Session) Handle(now time.Time, payload []byte) Result {
	if !Control(payload) {
		return s.event(now, payload)
	}
	text := string(secure.CutNUL(payload))
	if rest, ok := strings.CutPrefix(text, secure.RequestPrefix); ok {
		id, answer, _ := strings.Cut(rest, " ")
		return Result{Kind: Request, RequestID: id, Answer: answer}
	}
	text = strings.ToValidUTF8(text, "\ufffd")
	switch {
	case strings.HasPrefix(text, secure.StartupPrefix):
		return s.startup(now, text[len(secure.StartupPrefix):])
	case text == secure.ShutdownText:
		return s.shutdown(now)
	case strings.Contains(text, "\n"):
		return s.keepalive(now, text)
	}
	return Result{Kind: Unknown}
}

func (s *Session) event(now time.Time, payload []byte) Result {
	e, err := secure.ParseEvent(payload)
	if err != nil {
		return Result{Kind: Event, Refused: err}
	}
	text := e.Text
	if room := secure.MaxAnalysisText - e.HeaderLen(s.id.ID, s.id.Name, s.id.Host); len(text) > room {
		text = text[:max(room, 0)]
	}
	r := Result{Kind: Event, Raised: true, Event: s.raise(now, e.Location, bytes.Clone(text))}
	r.Event.Queue = e.Queue
	return r
}

func (s *Session) raise(now time.Time, location string, text []byte) schemas.Event {
	return schemas.Event{
		Time: now.Truncate(time.Millisecond), AgentID: s.id.ID, AgentName: s.id.Name, AgentIP: s.agentIP, AgentAddress: s.id.Host, AgentLabels: s.labels,
		Location: location, Queue: '1', Gateway: s.id.Gateway, Log: text,
	}
}

// Disconnected is the event that an agent sent no keepalive for too long.
func (s *Session) Disconnected(now time.Time) schemas.Event {
	return s.raise(now, LocationDisconnected, []byte("ossec: Agent disconnected: '"+s.id.Name+"-"+s.id.Host+"'."))
}

func (s *Session) startup(now time.Time, about string) Result {
	r := Result{Kind: Startup}
	if about = strings.TrimSpace(about); about != "" && !s.id.AllowHigherVersions {
		var v struct {
			Version *string `json:"version"`
		}
		code, why := schemas.StatusNone, ""
		if err := json.Unmarshal([]byte(about), &v); err != nil || v.Version == nil {
			code, why = schemas.StatusVersionUnreadable, "Couldn't retrieve version"
		} else if higher(*v.Version, s.id.ServerVersion) {
			code, why = schemas.StatusVersionTooHigh, "Agent version must be lower or equal to manager version"
		}
		if why != "" {
			// The state stays as it was; an agent that never connected has none to write.
			r.Reply = secure.ErrPrefix + `{"message":"` + why + `"}`
			if r.WritePresence = s.presence.State != "" && s.presence.StatusCode != code; r.WritePresence {
				s.presence.StatusCode = code
				s.wrote(now)
			}
			return r
		}
	}
	s.here()
	s.presence.State, s.presence.StatusCode, s.presence.DisconnectionTime = schemas.StatePending, schemas.StatusNone, 0
	s.presence.Connected = now.UnixMilli()
	s.wrote(now)
	s.claimed = true
	r.Reply, r.WritePresence = secure.AckText, true
	return r
}

func (s *Session) here() {
	p := &s.presence
	p.Gateway, p.Node, p.Address = s.id.Gateway, s.id.Gateway, s.id.Address
	p.Session, p.Claim = s.id.Connection, !s.claimed && s.id.Connection != ""
}

func (s *Session) wrote(now time.Time) {
	s.written = now
	s.presence.Updated = now.UnixMilli()
}

func (s *Session) shutdown(now time.Time) Result {
	s.here()
	s.presence.State, s.presence.StatusCode, s.presence.DisconnectionTime = schemas.StateDisconnected, schemas.StatusShutdown, now.UnixMilli()
	s.presence.LostSince = 0 // the event below reports it
	s.wrote(now)
	return Result{
		Kind: Shutdown, WritePresence: true, Raised: true,
		Event: s.raise(now, LocationStopped, []byte("ossec: Agent stopped: '"+s.id.Name+"->"+s.id.Host+"'.")),
	}
}

func (s *Session) keepalive(now time.Time, text string) Result {
	r := Result{Kind: Keepalive, Reply: secure.AckText}
	before := s.presence
	if h := maphash.String(seed, text); h != s.last {
		s.last = h
		k := secure.ParseKeepalive(text)
		r.LabelsCut = k.LabelsCut
		p := &s.presence
		p.OS, p.Version, p.ConfigSum, p.MergedSum, p.AgentIP = k.OS, k.Version, k.ConfigSum, k.MergedSum, k.AgentIP
		if !slices.Equal(p.Labels, k.Labels) {
			p.Labels = k.Labels
		}
		p.Compact()
		s.derive()
	}
	s.here()
	s.presence.State, s.presence.StatusCode, s.presence.DisconnectionTime = schemas.StateActive, schemas.StatusNone, 0
	s.presence.LostSince = 0
	s.presence.LastKeepalive = now.UnixMilli()
	r.MergedSum = s.presence.MergedSum
	if changed(&before, &s.presence) || s.presence.Claim || now.Sub(s.written) >= s.id.presenceEvery() {
		s.wrote(now)
		r.WritePresence = true
		s.claimed = true
	}
	return r
}

// changed reports whether more than times differ.
func changed(a, b *schemas.Presence) bool {
	return a.State != b.State || a.StatusCode != b.StatusCode || a.Gateway != b.Gateway || a.Address != b.Address ||
		a.AgentIP != b.AgentIP || a.Version != b.Version || a.OS != b.OS || a.ConfigSum != b.ConfigSum ||
		a.MergedSum != b.MergedSum || !slices.Equal(a.Labels, b.Labels)
}

// higher compares major.minor; see enroll/protocol.Higher, which judges the
// same text at enrollment.
func higher(agent, server string) bool {
	aMajor, aMinor := majorMinor(agent)
	sMajor, sMinor := majorMinor(server)
	return aMajor > sMajor || aMajor == sMajor && aMinor > sMinor
}

func majorMinor(s string) (major, minor int) {
	s = strings.TrimPrefix(s[:min(len(s), 32)], "v")
	a, b, _ := strings.Cut(s, ".")
	return number(a), number(b)
}

func number(s string) (n int) {
	for i := 0; i < len(s) && i < 9 && s[i] >= '0' && s[i] <= '9'; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n
}
