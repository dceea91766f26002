package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
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
	// flushTimeout bounds the wait at the end for records handed to the brokers.
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

// Change tells a subscriber of one change to an agent.
type Change struct {
	Kind ChangeKind
	// Agent is the agent as it is now; Removed when it may no longer connect.
	Agent Agent
}

// Registry is one node's view of the registry. It is safe for concurrent use.
type Registry struct {
	cluster *kafka.Cluster
	box     *secret.Box
	node    string
	log     *slog.Logger
	m       *metrics

	// reserved are the server's own names, which no agent may take.
	reserved []string

	prod      *kafka.Producer
	registry  *kafka.Follower
	presence  *kafka.Follower
	snapshots *kafka.Follower
	ready     chan struct{}

	snapshotEvery int           // the constant, smaller in tests
	snapshotWait  time.Duration // likewise
	writing       sync.Mutex    // held while a snapshot is written

	verified atomic.Bool           // something verified under the cluster key
	foreign  atomic.Int64          // records that did not
	fault    atomic.Pointer[error] // why the state is not that of the log
	halted   atomic.Pointer[error] // why no further record is applied

	// formats are the ones that this program reads; a test puts others in their place.
	formats schemas.Formats

	// mu guards the fields below. Callbacks never run under it.
	mu        sync.RWMutex
	state     *State
	presences map[string]schemas.Presence
	pending   map[string]chan Outcome
	subs      map[int]func(Change)
	nextSub   int
	// presenceSubs are told of presence records.
	presenceSubs map[int]func(rec, current *schemas.Presence, stale bool)
	deadLetter   func(rec schemas.Record, cause string)
	touched      []func(id string)
	manifests    []schemas.SnapshotManifest // that verified, by offset
}

// Open prepares the registry of a node and opens its producer. Nothing is read before Run.
func Open(cluster *kafka.Cluster, box *secret.Box, node string, log *slog.Logger, reg prometheus.Registerer) (*Registry, error) {
	prod, err := cluster.NewProducer("registry", log, reg)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	r := &Registry{
		cluster: cluster, box: box, node: node, log: log, m: newMetrics(reg), prod: prod, ready: make(chan struct{}), formats: schemas.KnownFormats(),
		snapshotEvery: snapshotEvery, snapshotWait: snapshotWait,
		state: NewState(), presences: map[string]schemas.Presence{}, pending: map[string]chan Outcome{}, subs: map[int]func(Change){},
	}
	r.presence = cluster.Follow(schemas.TopicPresence, log, r.onPresence)
	r.snapshots = cluster.FollowNew(schemas.TopicSnapshots, log, r.onSnapshot)
	return r, nil
}

// Reserve sets the server's own names, which no agent may take: the name of
// agent 000, and the name of this machine. Call it before Run.
func (r *Registry) Reserve(names ...string) { r.reserved = names }

// OnRejected sets the receiver of records that were not applied; cause is mac,
// shape, sealed or presence. Set it before Run. It must not block.
func (r *Registry) OnRejected(fn func(rec schemas.Record, cause string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadLetter = fn
}

// Run loads the newest snapshot and follows the topics until ctx ends, then
// flushes the producer, closes it and returns nil.
func (r *Registry) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, 3)
	follow := func(i int, f *kafka.Follower) {
		wg.Go(func() {
			defer cancel()
			errs[i] = f.Run(ctx)
		})
	}
	follow(0, r.presence)
	follow(1, r.snapshots)
	wg.Go(func() {
		if !wait(ctx, r.snapshots.Ready()) { // from here on no manifest is missed
			return
		}
		from, err := r.load(ctx)
		if err != nil {
			return // ctx has ended
		}
		r.registry = r.cluster.Follow(schemas.TopicRegistry, r.log, func(rec schemas.Record) { r.onProposal(ctx, rec) })
		r.registry.From(from)
		follow(2, r.registry)
		if !wait(ctx, r.registry.Ready()) || !wait(ctx, r.presence.Ready()) {
			return
		}
		r.mu.RLock()
		agents, presences := len(r.state.byName), len(r.presences)
		r.mu.RUnlock()
		close(r.ready)
		r.log.Info("registry is ready", "agents", agents, "presences", presences)
		if err := r.Err(); err != nil {
			r.log.Error("the registry cannot be used", "err", err)
		}
		r.keepSnapshots(ctx)
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

func wait(ctx context.Context, ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	case <-ctx.Done():
		return false
	}
}

// ErrWrongKey says that nothing in the registry verifies under the cluster key.
var ErrWrongKey = errors.New("nothing in the registry verifies under this cluster key: is cluster.key_file the file of the other nodes?")

// Err says why this node's view of the registry is not to be relied on, or nil.
// While it is not nil, nothing can be proposed here.
func (r *Registry) Err() error {
	if p := r.halted.Load(); p != nil {
		return *p
	}
	if p := r.fault.Load(); p != nil {
		return *p
	}
	if r.foreign.Load() > 0 && !r.verified.Load() {
		return ErrWrongKey
	}
	return nil
}

// Ready is closed once the registry and the presences were read to the end they had when Run began.
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
func (r *Registry) onProposal(ctx context.Context, rec schemas.Record) {
	if !r.expected(ctx, rec.Offset) {
		return
	}
	skip := func(cause string) {
		r.mu.Lock()
		r.state.Skip(rec.Offset)
		r.mu.Unlock()
		r.reject(rec, cause)
	}
	if !r.box.Verify(purposeMAC, rec.Value, rec.Header(schemas.HeaderMAC)) {
		r.noteForeign(rec)
		skip("mac")
		return
	}
	r.verified.Store(true)
	p, err := r.formats.Parse(rec.Value)
	if unknown := new(schemas.UnknownProposalError); errors.As(err, &unknown) {
		r.halt(rec.Offset, unknown)
		return
	}
	if err != nil {
		skip("shape")
		return
	}
	var opened secret.String
	if sealed, has := sealedField(&p); has {
		b, err := r.box.Open(purposeSeal, sealed, []byte(p.ID))
		if err != nil {
			skip("sealed")
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
		r.tell(changes(p.Kind, &out))
	}
	if waiter != nil {
		// Every node applies the removal; the one that asked for it tells of it. An
		// agent that gives way to another is no removal: its machine enrolls again.
		for i := range out.Gone {
			r.prod.Produce(schemas.PresenceTombstone(out.Gone[i].ID), nil)
			if p.Kind != schemas.ProposalAgentRemove {
				continue
			}
			e := removalEvent(&out.Gone[i], &presences[i], r.node, time.Now())
			r.prod.Produce(e.Record(), nil)
		}
		waiter <- out // has room for one
	}
}

// ErrNewer says that a newer program has written to the registry.
var ErrNewer = errors.New("the registry needs a newer version of this program")

// halt stops the state in front of a record that a newer program wrote. Passing
// over it would lose it: the next snapshot would lack it, and the log is cut behind
// snapshots. The state so far stays in use. After an upgrade the next start
// goes on here.
func (r *Registry) halt(offset int64, unknown *schemas.UnknownProposalError) {
	err := fmt.Errorf("%w: it does not know the record at offset %d (%w). Upgrade this node to the version of that node", ErrNewer, offset, unknown)
	r.halted.Store(&err)
	r.m.halted.Set(1)
	r.log.Error("the registry is not read any further, and this node changes nothing in it", "err", err)
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, ch := range r.pending {
		delete(r.pending, id)
		ch <- Outcome{lost: err} // has room for one
	}
	r.m.pending.Set(0)
}

// noteForeign counts a record that does not verify, and tells of the first: they
// come one by one from a node with another key, or many at once from nobody.
func (r *Registry) noteForeign(rec schemas.Record) {
	if r.foreign.Add(1) == 1 {
		r.log.Warn("a record does not verify under this cluster key and is not applied; more are only counted", "topic", rec.Topic, "offset", rec.Offset)
	}
}

// expected reports whether the record at an offset is to be applied. After a gap,
// as when the log was cut behind two snapshots while this node did not read, a
// snapshot takes the place of the records that are gone.
func (r *Registry) expected(ctx context.Context, offset int64) bool {
	if r.halted.Load() != nil {
		return false
	}
	r.mu.RLock()
	at := r.state.offset
	r.mu.RUnlock()
	if offset == at+1 {
		return true
	}
	if offset > at {
		r.log.Warn("records of the registry are missing; reading the newest snapshot", "from", at+1, "to", offset)
		if _, err := r.load(ctx); err != nil {
			return false // ctx has ended
		}
		r.mu.RLock()
		at = r.state.offset
		r.mu.RUnlock()
	}
	return offset > at
}

// OnTouch has fn called with the id of each agent whose entry or presence has
// changed, after the change. It must not block.
func (r *Registry) OnTouch(fn func(id string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.touched = append(r.touched[:len(r.touched):len(r.touched)], fn)
}

// tell passes changes to the subscribers.
func (r *Registry) tell(cs []Change) {
	r.mu.RLock()
	subs, touched := slices.Collect(maps.Values(r.subs)), r.touched
	r.mu.RUnlock()
	for _, c := range cs {
		for _, fn := range touched {
			fn(c.Agent.ID)
		}
		for _, fn := range subs {
			fn(c)
		}
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
	case schemas.ProposalAccess:
		return p.Access.Secret, len(p.Access.Secret) > 0
	}
	return nil, false
}

// changes are the messages to subscribers about an accepted proposal, in order.
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
		Time: now.Truncate(time.Millisecond), AgentID: a.ID, AgentName: a.Name, AgentIP: ip, AgentAddress: host,
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

// Presence returns an agent's presence; false when the agent never connected.
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
