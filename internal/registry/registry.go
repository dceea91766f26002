package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/secret"
	"vedette/schemas"
)

// Purposes under the cluster key.
const (
	purposeMAC  = "registry record"
	purposeSeal = "registry field"
)

const (
	// pendingMax bounds the proposals of this node whose outcome is awaited.
	pendingMax = 4096
	// presencesMax bounds the presence records kept.
	presencesMax = 2 * agentsMax
	// flushTimeout bounds the wait at the end for what was handed to the brokers.
	flushTimeout = 5 * time.Second
)

// ErrBusy says that pendingMax proposals are already waiting.
var ErrBusy = errors.New("too many registry changes are waiting for the broker")

// ChangeKind says which side of an agent changed.
type ChangeKind uint8

// Kinds of changes.
const (
	// ChangeKey: the agent was added, replaced or removed; what was made of its
	// key is void.
	ChangeKey ChangeKind = iota
	// ChangeGroups: only the agent's groups changed; its key is good.
	ChangeGroups
)

// Change tells a subscriber what happened to an agent.
type Change struct {
	Kind ChangeKind
	// Agent is the agent as it is now; Removed when it may no longer connect.
	Agent Agent
}

// Registry is one node's view of the registry. It is safe for concurrent use.
type Registry struct {
	box  *secret.Box
	node string
	log  *slog.Logger
	m    *metrics

	prod     *kafka.Producer
	registry *kafka.Follower
	presence *kafka.Follower
	ready    chan struct{}

	// mu guards what follows. Callbacks never run under it.
	mu         sync.RWMutex
	state      *State
	presences  map[string]schemas.Presence
	pending    map[string]chan Outcome
	subs       map[int]func(Change)
	nextSub    int
	// presenceSubs are told of presence records.
	presenceSubs map[int]func(rec, current *schemas.Presence, stale bool)
	deadLetter func(rec schemas.Record, cause string)
}

// Open prepares the registry of a node and opens its producer. Nothing is read before Run.
func Open(cluster *kafka.Cluster, box *secret.Box, node string, log *slog.Logger, reg prometheus.Registerer) (*Registry, error) {
	prod, err := cluster.NewProducer("registry", log, reg)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	r := &Registry{
		box: box, node: node, log: log, m: newMetrics(reg), prod: prod, ready: make(chan struct{}),
		state: NewState(), presences: map[string]schemas.Presence{}, pending: map[string]chan Outcome{}, subs: map[int]func(Change){},
	}
	r.registry = cluster.Follow(schemas.TopicRegistry, log, r.onProposal)
	r.presence = cluster.Follow(schemas.TopicPresence, log, r.onPresence)
	return r, nil
}

// OnRejected sets what is told of records that were not applied; cause is mac,
// shape, sealed or presence. Set it before Run. It must not block.
func (r *Registry) OnRejected(fn func(rec schemas.Record, cause string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadLetter = fn
}

// Run follows the topics until ctx ends, then writes out what was produced,
// closes the producer and returns nil.
func (r *Registry) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, f := range []*kafka.Follower{r.registry, r.presence} {
		wg.Go(func() {
			defer cancel()
			errs[i] = f.Run(ctx)
		})
	}
	wg.Go(func() {
		for _, f := range []*kafka.Follower{r.registry, r.presence} {
			select {
			case <-f.Ready():
			case <-ctx.Done():
				return
			}
		}
		close(r.ready)
		r.mu.RLock()
		agents, presences := len(r.state.byName), len(r.presences)
		r.mu.RUnlock()
		r.log.Info("registry is ready", "agents", agents, "presences", presences)
	})
	wg.Wait()
	flush, end := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer end()
	if err := r.prod.Flush(flush); err != nil {
		r.log.Warn("the brokers did not take everything the registry wrote", "err", err)
	}
	r.prod.Close()
	return errors.Join(errs...)
}

// Ready is closed once both topics were read to the end they had when Run began.
func (r *Registry) Ready() <-chan struct{} { return r.ready }

func (r *Registry) reject(rec schemas.Record, cause string) {
	r.m.unverified.WithLabelValues(cause).Inc()
	r.mu.RLock()
	fn := r.deadLetter
	r.mu.RUnlock()
	if fn != nil {
		fn(rec, cause)
	}
}

// onProposal applies one record. It runs on one goroutine, in offset order.
func (r *Registry) onProposal(rec schemas.Record) {
	if !r.box.Verify(purposeMAC, rec.Value, rec.Header(schemas.HeaderMAC)) {
		r.reject(rec, "mac")
		return
	}
	p, err := schemas.ParseProposal(rec.Value)
	if err != nil {
		r.reject(rec, "shape")
		return
	}
	var opened secret.String
	if sealed, has := sealedField(&p); has {
		b, err := r.box.Open(purposeSeal, sealed, []byte(p.ID))
		if err != nil {
			r.reject(rec, "sealed")
			return
		}
		opened = secret.String(b)
	}
	r.mu.Lock()
	out := r.state.Apply(&p, opened, rec.Offset)
	agents := len(r.state.byName)
	waiter := r.pending[p.ID]
	if out.Refusal != nil && out.Refusal.Reason == ReasonRepeated {
		waiter = nil
	}
	if waiter != nil {
		delete(r.pending, p.ID)
		r.m.pending.Set(float64(len(r.pending)))
	}
	subs := slices.Collect(maps.Values(r.subs))
	presences := make([]schemas.Presence, len(out.Gone))
	for i := range out.Gone {
		presences[i] = r.presences[out.Gone[i].ID]
	}
	r.mu.Unlock()

	outcome := "accepted"
	if out.Refusal != nil {
		outcome = string(out.Refusal.Reason)
	}
	r.m.applied.WithLabelValues(string(p.Kind), outcome).Inc()
	r.m.agents.Set(float64(agents))
	if out.Refusal == nil {
		for _, c := range changes(p.Kind, &out) {
			for _, fn := range subs {
				fn(c)
			}
		}
	}
	if waiter != nil {
		// Every node applies the removal; the one that asked for it tells of it.
		for i := range out.Gone {
			r.prod.Produce(schemas.PresenceTombstone(out.Gone[i].ID), nil)
			e := removalEvent(&out.Gone[i], &presences[i], r.node, time.Now())
			r.prod.Produce(e.Record(), nil)
		}
		waiter <- out // has room for one
	}
}

// sealedField returns the field of a proposal that is sealed, if its kind has one.
func sealedField(p *schemas.Proposal) (sealed []byte, has bool) {
	switch p.Kind {
	case schemas.ProposalAgentAdd:
		return p.AgentAdd.Key, true
	case schemas.ProposalUserAdd:
		return p.UserAdd.PasswordHash, true
	case schemas.ProposalTokenKey:
		return p.TokenKey.PEM, true
	}
	return nil, false
}

// changes are what subscribers are told of an accepted proposal, in order.
func changes(kind schemas.ProposalKind, out *Outcome) []Change {
	var cs []Change
	if kind == schemas.ProposalAgentAdd || kind == schemas.ProposalAgentRemove {
		for _, old := range out.Replaced {
			cs = append(cs, Change{Agent: old})
		}
		cs = append(cs, Change{Agent: out.Agent})
	}
	for _, a := range out.Regrouped {
		cs = append(cs, Change{Kind: ChangeGroups, Agent: a})
	}
	return cs
}

// locationRemoved is where 4.14 raises the event from; see spec/agent-protocol.md §8.
const locationRemoved = "wazuh-monitord"

func removalEvent(a *Agent, p *schemas.Presence, node string, now time.Time) schemas.Event {
	host := a.Rule.Host()
	ip := p.AgentIP
	if ip == "" && host != schemas.AnyAddress {
		ip = host
	}
	return schemas.Event{
		Time: now.Truncate(time.Millisecond), AgentID: a.ID, AgentName: a.Name, AgentIP: ip,
		Location: locationRemoved, Queue: '1', Gateway: node, Log: []byte("ossec: Agent removed: '" + a.Name + "-" + host + "'."),
	}
}

func (r *Registry) onPresence(rec schemas.Record) {
	p, gone, err := schemas.ParsePresence(&rec)
	if err != nil {
		r.reject(rec, "presence")
		return
	}
	r.setPresence(&p, gone)
}

// Agent returns an agent that may connect.
func (r *Registry) Agent(id string) (Agent, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Agent(id)
}

// AgentByHost returns the agent whose address rule, without its mask, is host.
func (r *Registry) AgentByHost(host string) (Agent, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.AgentByHost(host)
}

// AgentByName returns an agent that may connect.
func (r *Registry) AgentByName(name string) (Agent, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	id, ok := r.state.byName[name]
	if !ok {
		return Agent{}, false
	}
	return r.state.Agent(id)
}

// Agents returns every entry sorted by id; removed ones that were not purged are marked.
func (r *Registry) Agents() []Agent {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Agents()
}

// Presence returns what the gateways know of an agent; false when it never connected.
func (r *Registry) Presence(id string) (schemas.Presence, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p, ok := r.presences[id]
	return p, ok
}

// Presences returns all presence records for which keep is true, in no order.
func (r *Registry) Presences(keep func(*schemas.Presence) bool) []schemas.Presence {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []schemas.Presence
	for _, p := range r.presences {
		if keep == nil || keep(&p) {
			out = append(out, p)
		}
	}
	return out
}

// SetPresence writes an agent's presence; done, which may be nil, is told when
// it is durable. Presence returns it once it was read back.
func (r *Registry) SetPresence(p schemas.Presence, done func(error)) {
	rec, err := p.Record()
	if err != nil {
		if done != nil {
			done(err)
		}
		return
	}
	r.prod.Produce(rec, done)
}

// Subscribe has fn called after each change of an agent, in order. fn must not
// block: it runs where the registry is read. The result ends the subscription.
func (r *Registry) Subscribe(fn func(Change)) (cancel func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.nextSub
	r.nextSub++
	r.subs[id] = fn
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.subs, id)
	}
}

// AddRequest asks for a new agent.
type AddRequest struct {
	Name string
	// IP is an address rule; empty means any.
	IP string
	// ID and Key are given by imports; empty means the next id, a random key.
	ID  string
	Key secret.String
	// KeyHash is what the requester showed of the key it holds.
	KeyHash string
	Groups  []string
	// HostName is the server's own name, which no agent may take.
	HostName string
	Force    schemas.ForcePolicy
}

// Add proposes an agent and waits for the outcome, so that the agent may
// connect here when Add returns. A refusal is a *Refusal. Any other error leaves
// open whether the agent was added.
func (r *Registry) Add(ctx context.Context, q AddRequest) (Agent, error) {
	if q.IP == "" {
		q.IP = schemas.AnyAddress
	}
	rule, err := schemas.ParseAddressRule(q.IP)
	if err != nil {
		return Agent{}, &Refusal{Reason: ReasonAddress, Arg: q.IP}
	}
	if q.Key == "" {
		q.Key = secret.String(secret.RandomHex(32))
	}
	p := r.proposal(schemas.ProposalAgentAdd)
	p.AgentAdd = &schemas.AgentAdd{
		Name: q.Name, IP: rule.Requested(), AgentID: q.ID, KeyHash: q.KeyHash, Groups: q.Groups, HostName: q.HostName, Force: q.Force,
		Key:  r.box.Seal(purposeSeal, []byte(q.Key.Reveal()), []byte(p.ID)),
		Seen: r.seen(q.Name, rule, q.ID),
	}
	out, err := r.propose(ctx, p)
	if err != nil {
		return Agent{}, err
	}
	return out.Agent, nil
}

func (r *Registry) seen(name string, rule schemas.AddressRule, id string) []schemas.SeenAgent {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []schemas.SeenAgent
	for _, other := range r.state.inTheWay(name, rule, id) {
		s := schemas.SeenAgent{ID: other, State: schemas.StateNeverConnected}
		if p, ok := r.presences[other]; ok {
			s.State, s.DisconnectionTime = p.State, p.DisconnectionTime
		}
		out = append(out, s)
	}
	return out
}

// Remove proposes an agent's removal and waits for the outcome. That the agent
// is gone is told as an event, like the removal of those that Add replaces.
func (r *Registry) Remove(ctx context.Context, id string, purge bool) error {
	p := r.proposal(schemas.ProposalAgentRemove)
	p.AgentRemove = &schemas.AgentRemove{AgentID: id, Purge: purge}
	_, err := r.propose(ctx, p)
	return err
}

// ReserveIDs proposes that new agents get ids above id, and waits for the outcome.
func (r *Registry) ReserveIDs(ctx context.Context, id string) error {
	p := r.proposal(schemas.ProposalIDReserve)
	p.IDReserve = &schemas.IDReserve{AgentID: id}
	_, err := r.propose(ctx, p)
	return err
}

// User returns an API user.
func (r *Registry) User(name string) (User, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	u, ok := r.state.users[name]
	return u, ok
}

// Users returns the API users sorted by name.
func (r *Registry) Users() []User {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]User, 0, len(r.state.users))
	for _, name := range slices.Sorted(maps.Keys(r.state.users)) {
		out = append(out, r.state.users[name])
	}
	return out
}

// AddUser proposes an API user and waits for the outcome. Of two nodes that add
// the same name one gets a *Refusal with ReasonUserExists.
func (r *Registry) AddUser(ctx context.Context, u User) error {
	p := r.proposal(schemas.ProposalUserAdd)
	p.UserAdd = &schemas.UserAdd{
		Name: u.Name, Roles: u.Roles, RunAs: u.RunAs,
		PasswordHash: r.box.Seal(purposeSeal, []byte(u.PasswordHash.Reveal()), []byte(p.ID)),
	}
	_, err := r.propose(ctx, p)
	return err
}

// TokenKey returns the key that signs API tokens, as PEM, and whether there is one.
func (r *Registry) TokenKey() ([]byte, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return []byte(r.state.token.Reveal()), r.state.token != ""
}

// SetTokenKey offers a key for API tokens and returns the one that counts on
// every node: the first ever offered.
func (r *Registry) SetTokenKey(ctx context.Context, pem []byte) ([]byte, error) {
	if key, ok := r.TokenKey(); ok {
		return key, nil
	}
	p := r.proposal(schemas.ProposalTokenKey)
	p.TokenKey = &schemas.TokenKey{PEM: r.box.Seal(purposeSeal, pem, []byte(p.ID))}
	_, err := r.propose(ctx, p)
	if refusal := (*Refusal)(nil); err != nil && !(errors.As(err, &refusal) && refusal.Reason == ReasonTokenKeyExists) {
		return nil, err
	}
	key, _ := r.TokenKey()
	return key, nil
}

func (r *Registry) proposal(kind schemas.ProposalKind) schemas.Proposal {
	return schemas.Proposal{V: schemas.ProposalVersion, ID: secret.RandomHex(16), Kind: kind, Proposer: r.node, Time: time.Now().UnixMilli()}
}

// propose writes a proposal and waits until this node has applied it.
func (r *Registry) propose(ctx context.Context, p schemas.Proposal) (Outcome, error) {
	select {
	case <-r.ready: // what is proposed must be judged by a state that was read
	case <-ctx.Done():
		return Outcome{}, fmt.Errorf("registry is not ready: %w", ctx.Err())
	}
	value, err := p.Encode()
	if err != nil {
		return Outcome{}, err
	}
	ch := make(chan Outcome, 1)
	r.mu.Lock()
	if len(r.pending) >= pendingMax {
		r.mu.Unlock()
		return Outcome{}, ErrBusy
	}
	r.pending[p.ID] = ch
	r.m.pending.Set(float64(len(r.pending)))
	r.mu.Unlock()
	forget := func() {
		r.mu.Lock()
		delete(r.pending, p.ID)
		r.m.pending.Set(float64(len(r.pending)))
		r.mu.Unlock()
	}
	if _, err := r.prod.ProduceSync(ctx, schemas.ProposalRecord(value, r.box.MAC(purposeMAC, value))); err != nil {
		forget()
		return Outcome{}, fmt.Errorf("propose %s: %w", p.Kind, err)
	}
	select {
	case out := <-ch:
		forget()
		if out.Refusal != nil {
			return out, out.Refusal
		}
		return out, nil
	case <-ctx.Done(): // it stands in the topic and stays pending, because this node is to tell of it
		return Outcome{}, fmt.Errorf("wait for the outcome of %s: %w", p.Kind, ctx.Err())
	}
}
