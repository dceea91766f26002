package registry

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // the protocol's
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"vedette/internal/secret"
	"vedette/schemas"
)

// Bounds of the state.
const (
	agentsMax = 1 << 20
	usersMax  = 10_000
	// seenMax bounds the proposal ids remembered against repeated records.
	seenMax = 1 << 21
	// activeMax bounds the kinds of proposals that a state names as active.
	activeMax = 1000
	// idMax is the largest id that has 8 digits.
	idMax = 99_999_999
)

// Agent is one entry of the registry.
type Agent struct {
	ID   string
	Name string
	// IP is the address rule as the key file stores it.
	IP         string
	Key        secret.String
	Groups     []string
	Registered time.Time
	// Removed entries keep their id and may not connect.
	Removed bool

	// Rule is IP, parsed.
	Rule schemas.AddressRule
	seq  int64 // order of addition
}

// KeyHash proves that an agent holds its key.
func (a *Agent) KeyHash() string {
	sum := sha1.Sum([]byte(a.ID + a.Name + a.Key.Reveal()))
	return hex.EncodeToString(sum[:])
}

// User is one API user.
type User struct {
	// ID is 1 for wazuh and 2 for wazuh-wui; others have FirstFreeID or more, which
	// are not used again. It is 0 before changes of access are active.
	ID           int
	Name         string
	PasswordHash secret.String
	// Roles are in order: ids in decimal, or names of built-in roles before changes
	// of access are active.
	Roles   []string
	RunAs   bool
	Created time.Time
	// NotBefore (Unix seconds) ends every token that is not younger; 0 ends none.
	NotBefore int64
}

// Reason is why a proposal was refused; the set is closed.
type Reason string

// Reasons.
const (
	ReasonName             Reason = "invalid_name"
	ReasonAddress          Reason = "invalid_address"
	ReasonID               Reason = "invalid_id"
	ReasonKey              Reason = "invalid_key"
	ReasonGroups           Reason = "invalid_groups"
	ReasonDuplicateID      Reason = "duplicate_id"
	ReasonDuplicateAddress Reason = "duplicate_address"
	ReasonHostName         Reason = "server_name"
	ReasonDuplicateName    Reason = "duplicate_name"
	ReasonNotFound         Reason = "agent_not_found"
	ReasonUserExists       Reason = "user_exists"
	ReasonUser             Reason = "invalid_user"
	ReasonTokenKeyExists   Reason = "token_key_exists"
	ReasonFull             Reason = "full"
	ReasonGroupExists      Reason = "group_exists"
	ReasonNoGroup          Reason = "group_not_found"
	ReasonDefaultGroup     Reason = "default_group"
	ReasonTooManyGroups    Reason = "too_many_groups"
	ReasonNotMember        Reason = "not_in_group"
	ReasonOnlyDefault      Reason = "only_in_default"
	ReasonRepeated         Reason = "repeated"
	ReasonNotLost          Reason = "not_disconnected_long_enough"
	ReasonNotActive        Reason = "not_active"
	ReasonBuiltIn          Reason = "built_in"
	ReasonNoUser           Reason = "user_not_found"
	ReasonNoRole           Reason = "role_not_found"
	ReasonNoPolicy         Reason = "policy_not_found"
	ReasonNoRule           Reason = "security_rule_not_found"
	ReasonNameExists       Reason = "name_exists"
	ReasonBodyExists       Reason = "body_exists"
	ReasonLinked           Reason = "already_linked"
	ReasonNotLinked        Reason = "not_linked"
	ReasonAccess           Reason = "invalid_access_change"
)

// Refusal is the error of a proposal that was refused.
type Refusal struct {
	Reason Reason
	// Arg is the subject of the reason: a name, an address, an id.
	Arg string
	// Why explains, for the server's log, why an existing agent was not replaced.
	Why string
}

func (r *Refusal) Error() string {
	s := strings.ReplaceAll(string(r.Reason), "_", " ")
	if r.Arg != "" {
		s += ": " + r.Arg
	}
	if r.Why != "" {
		s += " (" + r.Why + ")"
	}
	return s
}

// Outcome is the outcome of a proposal.
type Outcome struct {
	// Refusal is nil when the proposal was accepted.
	Refusal *Refusal
	// Agent is the agent that was added or removed.
	Agent Agent
	// Replaced are the agents that gave way to it.
	Replaced []Agent
	// Gone are the agents that could connect before and cannot now.
	Gone []Agent
	// Regrouped are the agents whose groups changed, as they are now.
	Regrouped []Agent
	// AccessID is the id of a role, policy or security rule that was added.
	AccessID int

	lost error // why it is not known here what came of it
}

// State is the registry at one offset. It is a pure state machine: no clock, no
// randomness, no I/O, and not safe for concurrent use.
type State struct {
	agents map[string]*Agent // live and removed
	byName map[string]string // live
	byHost map[string][]string
	maxID  int
	seq    int64
	groups map[string]int // live agents in each; default is always there
	users  map[string]User
	token  secret.String
	access *Access         // nil before changes of it are active
	active schemas.Formats // that may be written beyond the free ones; nil is none
	offset int64           // of the last record, -1 before the first
	seen   map[string]struct{}
	order  []string // seen in order, a ring once it is full
	next   int
}

// NewState returns the state before the first record.
func NewState() *State {
	return &State{
		agents: map[string]*Agent{}, byName: map[string]string{}, byHost: map[string][]string{},
		groups: map[string]int{schemas.DefaultGroup: 0},
		users:  map[string]User{}, seen: map[string]struct{}{}, offset: -1,
	}
}

// Apply applies the proposal that stands at an offset. opened is its sealed
// field in clear text. Refused proposals change nothing but the memory of
// their id.
//
// A change of the decisions of Apply needs a format of its own: nodes of two versions
// would part (docs/design.md D13). A format that is not active is refused.
func (s *State) Apply(p *schemas.Proposal, opened secret.String, offset int64) Outcome {
	s.offset = offset
	if _, ok := s.seen[p.ID]; ok {
		return refuse(ReasonRepeated, p.ID, "")
	}
	s.remember(p.ID)
	if p.V > s.format(p.Kind) {
		return refuse(ReasonNotActive, string(p.Kind), "")
	}
	switch p.Kind {
	case schemas.ProposalAgentAdd:
		return s.add(p, opened)
	case schemas.ProposalAgentRemove:
		a, ok := s.agents[p.AgentRemove.AgentID]
		if !ok || a.Removed && !p.AgentRemove.Purge {
			return refuse(ReasonNotFound, p.AgentRemove.AgentID, "")
		}
		if why := a.staysAfter(p); why != "" {
			return refuse(ReasonNotLost, a.ID, why)
		}
		out := Outcome{Agent: *a}
		out.Agent.Removed = true
		if !a.Removed {
			out.Gone = []Agent{out.Agent}
		}
		s.remove(a, p.AgentRemove.Purge)
		return out
	case schemas.ProposalIDReserve:
		if !schemas.ValidAgentID(p.IDReserve.AgentID) {
			return refuse(ReasonID, p.IDReserve.AgentID, "")
		}
		s.maxID = max(s.maxID, idNumber(p.IDReserve.AgentID))
		return Outcome{}
	case schemas.ProposalUserAdd:
		u := p.UserAdd
		if u.Name == "" || len(u.Name) > 128 || opened == "" || len(opened) > 1024 || len(u.Roles) > 128 {
			return refuse(ReasonUser, u.Name, "")
		}
		if _, ok := s.users[u.Name]; ok {
			return refuse(ReasonUserExists, u.Name, "")
		}
		if len(s.users) >= usersMax {
			return refuse(ReasonFull, u.Name, "")
		}
		user := User{Name: u.Name, PasswordHash: opened, Roles: slices.Clone(u.Roles), RunAs: u.RunAs, Created: time.UnixMilli(p.Time)}
		if s.access != nil {
			user.ID, user.Roles = s.userID(u.Name), roleIDs(u.Roles)
		}
		s.users[u.Name] = user
		return Outcome{}
	case schemas.ProposalTokenKey:
		if s.token != "" {
			return refuse(ReasonTokenKeyExists, "", "")
		}
		if opened == "" {
			return refuse(ReasonKey, "", "")
		}
		s.token = opened
		return Outcome{}
	case schemas.ProposalGroupAdd:
		return s.addGroup(p.GroupAdd.Name)
	case schemas.ProposalGroupRemove:
		return s.removeGroup(p.GroupRemove.Name)
	case schemas.ProposalAgentGroups:
		return s.setGroups(p.AgentGroups)
	case schemas.ProposalActivate:
		return s.activate(p.Activate)
	case schemas.ProposalAccess:
		return s.changeAccess(p, opened)
	}
	panic("registry: Formats.Parse let an unknown kind through: " + string(p.Kind))
}

// Skip says that the record at an offset is no proposal and changes nothing.
func (s *State) Skip(offset int64) { s.offset = offset }

// Offset returns where the last record stands that was applied or skipped, -1
// before the first.
func (s *State) Offset() int64 { return s.offset }

func refuse(r Reason, arg, why string) Outcome {
	return Outcome{Refusal: &Refusal{Reason: r, Arg: arg, Why: why}}
}

func (s *State) remember(id string) {
	if len(s.order) < seenMax {
		s.order = append(s.order, id)
	} else {
		delete(s.seen, s.order[s.next])
		s.order[s.next] = id
		s.next = (s.next + 1) % seenMax
	}
	s.seen[id] = struct{}{}
}

// add judges in the order of spec/enrollment.md §8: id, address, host name, name.
// Nothing changes before all is judged.
func (s *State) add(p *schemas.Proposal, key secret.String) Outcome {
	q := p.AgentAdd
	if !schemas.ValidAgentName(q.Name) {
		return refuse(ReasonName, q.Name, "")
	}
	rule, err := schemas.ParseAddressRule(q.IP)
	if err != nil {
		return refuse(ReasonAddress, q.IP, "")
	}
	if !schemas.ValidAgentKey(key.Reveal()) {
		return refuse(ReasonKey, "", "")
	}
	if len(q.Groups) > schemas.GroupsMax || slices.ContainsFunc(q.Groups, func(g string) bool { return !schemas.ValidGroupName(g) }) {
		return refuse(ReasonGroups, "", "")
	}
	if name, ok := s.unknownGroup(q.Groups); ok {
		return refuse(ReasonNoGroup, name, "")
	}
	var out Outcome
	yield := func(old *Agent) (why string) {
		if slices.ContainsFunc(out.Replaced, func(a Agent) bool { return a.ID == old.ID }) {
			return ""
		}
		if why := s.keeps(old, p); why != "" {
			return why
		}
		out.Replaced = append(out.Replaced, *old)
		return ""
	}
	id := q.AgentID
	if id != "" {
		if !schemas.ValidAgentID(id) {
			return refuse(ReasonID, id, "")
		}
		if old, ok := s.agents[id]; ok && !old.Removed {
			if why := yield(old); why != "" {
				return refuse(ReasonDuplicateID, id, why)
			}
		}
	}
	if !rule.Any() {
		if ids := s.byHost[rule.Requested()]; len(ids) > 0 {
			if why := yield(s.agents[ids[0]]); why != "" {
				return refuse(ReasonDuplicateAddress, rule.Requested(), why)
			}
		}
	}
	if q.Name == q.HostName {
		return refuse(ReasonHostName, q.Name, "")
	}
	if other, ok := s.byName[q.Name]; ok {
		if why := yield(s.agents[other]); why != "" {
			return refuse(ReasonDuplicateName, q.Name, why)
		}
	}
	if len(s.agents) >= agentsMax {
		return refuse(ReasonFull, q.Name, "")
	}
	if id == "" {
		if s.maxID >= idMax {
			return refuse(ReasonFull, q.Name, "no id is left")
		}
		id = fmt.Sprintf("%03d", s.maxID+1)
	}
	for i := range out.Replaced {
		s.remove(s.agents[out.Replaced[i].ID], q.Force.Purge)
		out.Replaced[i].Removed = true
	}
	out.Gone = out.Replaced
	n, _ := strconv.Atoi(id) // ValidAgentID says digits
	s.maxID = max(s.maxID, n)
	s.seq++
	a := &Agent{
		ID: id, Name: q.Name, IP: rule.String(), Key: key, Groups: distinct(q.Groups),
		Registered: time.UnixMilli(p.Time), Rule: rule, seq: s.seq,
	}
	s.agents[id] = a
	s.count(a.Groups, 1)
	s.byName[a.Name] = id
	if !rule.Any() {
		s.byHost[rule.Host()] = append(s.byHost[rule.Host()], id)
	}
	out.Agent = *a
	return out
}

// keeps says why an existing agent does not give way, or nothing when it does.
//
// Source: spec/enrollment.md §4, "first match wins".
func (s *State) keeps(old *Agent, p *schemas.Proposal) string {
	f := p.AgentAdd.Force
	if !f.Enabled {
		return "replacing is off"
	}
	i := slices.IndexFunc(p.AgentAdd.Seen, func(x schemas.SeenAgent) bool { return x.ID == old.ID })
	if i < 0 {
		return "the proposer did not know it yet"
	}
	seen := p.AgentAdd.Seen[i]
	if f.DisconnectedTimeEnabled && seen.State != schemas.StateNeverConnected {
		if seen.State != schemas.StateDisconnected || seen.DisconnectionTime == 0 {
			return "it is connected"
		}
		if p.Time-seen.DisconnectionTime < f.DisconnectedTime*1000 {
			return "it has not been disconnected long enough"
		}
	}
	if f.AfterRegistrationTime > 0 && p.Time-old.Registered.UnixMilli() < f.AfterRegistrationTime*1000 {
		return "it was registered too recently"
	}
	if f.KeyMismatch && p.AgentAdd.KeyHash != "" && p.AgentAdd.KeyHash == old.KeyHash() {
		return "the requester holds its key"
	}
	return ""
}

// staysAfter says why an agent is not removed by a proposal that is to remove it
// only if it has been disconnected for long; nothing when it is, or when the
// proposal has no such condition. Where the agent is connected does not stand in
// the registry: the proposer has seen to that (docs/design.md, "Presence").
func (a *Agent) staysAfter(p *schemas.Proposal) string {
	q := p.AgentRemove
	switch {
	case q.Seen == nil:
		return ""
	case a.Removed:
		return "it was removed"
	case q.Seen.ID != a.ID || q.Seen.State != schemas.StateDisconnected || q.Seen.DisconnectionTime == 0 || q.AfterSeconds <= 0:
		return "it is not known to be disconnected"
	case p.Time-q.Seen.DisconnectionTime < q.AfterSeconds*1000:
		return "it has not been disconnected long enough"
	case a.Registered.UnixMilli() > q.Seen.DisconnectionTime:
		return "it was registered since"
	}
	return ""
}

func (s *State) remove(a *Agent, purge bool) {
	if !a.Removed {
		delete(s.byName, a.Name)
		host := a.Rule.Host()
		if ids := slices.DeleteFunc(s.byHost[host], func(id string) bool { return id == a.ID }); len(ids) > 0 {
			s.byHost[host] = ids
		} else {
			delete(s.byHost, host)
		}
		s.count(a.Groups, -1)
		a.Groups = nil
	}
	if purge {
		delete(s.agents, a.ID)
		return
	}
	a.Removed = true
	a.IP = a.Rule.Host() // the key file keeps a removed line without its mask
}

// Agent returns an agent that is not removed.
func (s *State) Agent(id string) (Agent, bool) {
	if a, ok := s.agents[id]; ok && !a.Removed {
		return *a, true
	}
	return Agent{}, false
}

// AgentByHost returns the first agent whose rule, without its mask, is host.
func (s *State) AgentByHost(host string) (Agent, bool) {
	if ids := s.byHost[host]; len(ids) > 0 {
		return s.Agent(ids[0])
	}
	return Agent{}, false
}

// Agents returns all entries, removed ones too, sorted by id.
func (s *State) Agents() []Agent {
	out := make([]Agent, 0, len(s.agents))
	for _, a := range s.agents {
		out = append(out, *a)
	}
	slices.SortFunc(out, compareAgents)
	return out
}

// compareAgents orders by id: by its number, then by its text.
func compareAgents(a, b Agent) int {
	return cmp.Or(cmp.Compare(idNumber(a.ID), idNumber(b.ID)), cmp.Compare(a.ID, b.ID))
}

func idNumber(id string) int {
	n, _ := strconv.Atoi(id) // ids are digits
	return n
}

// inTheWay returns the ids a request for name, rule and id would collide with.
func (s *State) inTheWay(name string, rule schemas.AddressRule, id string) []string {
	var ids []string
	if a, ok := s.agents[id]; ok && !a.Removed {
		ids = append(ids, id)
	}
	if !rule.Any() {
		if x := s.byHost[rule.Requested()]; len(x) > 0 && !slices.Contains(ids, x[0]) {
			ids = append(ids, x[0])
		}
	}
	if x, ok := s.byName[name]; ok && !slices.Contains(ids, x) {
		ids = append(ids, x)
	}
	return ids
}
