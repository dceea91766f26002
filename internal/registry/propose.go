package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vedette/internal/secret"
	"vedette/schemas"
)

// AddRequest asks for a new agent.
type AddRequest struct {
	Name string
	// IP is an address rule; empty means any.
	IP string
	// ID and Key are given by imports; empty means the next id, a random key.
	ID  string
	Key secret.String
	// KeyHash is the requester's proof of the key it holds.
	KeyHash string
	Groups  []string
	Force   schemas.ForcePolicy
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
		Name: q.Name, IP: rule.Requested(), AgentID: q.ID, KeyHash: q.KeyHash, Groups: q.Groups, Force: q.Force,
		Key:  r.box.Seal(purposeSeal, []byte(q.Key.Reveal()), []byte(p.ID)),
		Seen: r.seen(q.Name, rule, q.ID),
	}
	if slices.Contains(r.reserved, q.Name) {
		p.AgentAdd.HostName = q.Name
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
// is gone is told as an event; agents that Add replaces are not.
func (r *Registry) Remove(ctx context.Context, id string, purge bool) error {
	p := r.proposal(schemas.ProposalAgentRemove)
	p.AgentRemove = &schemas.AgentRemove{AgentID: id, Purge: purge}
	_, err := r.propose(ctx, p)
	return err
}

// RemoveLost proposes the removal of an agent that was seen to be disconnected
// for at least after (whole seconds), and waits for the outcome. An agent that
// was registered since it was seen, under the same id, stays: that is a *Refusal.
func (r *Registry) RemoveLost(ctx context.Context, seen schemas.SeenAgent, after time.Duration, purge bool) error {
	p := r.proposal(schemas.ProposalAgentRemove)
	p.AgentRemove = &schemas.AgentRemove{AgentID: seen.ID, Purge: purge, Seen: &seen, AfterSeconds: int64(after / time.Second)}
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

func (r *Registry) proposal(kind schemas.ProposalKind) schemas.Proposal {
	return schemas.Proposal{ID: secret.RandomHex(16), Kind: kind, Proposer: r.node, Time: time.Now().UnixMilli()}
}

// proposeTimeout bounds the wait for an outcome where the caller sets no bound.
const proposeTimeout = time.Minute

// propose writes a proposal and waits until this node has applied it.
func (r *Registry) propose(ctx context.Context, p schemas.Proposal) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	select {
	case <-r.ready: // what is proposed must be judged by a state that was read
	case <-ctx.Done():
		return Outcome{}, fmt.Errorf("registry is not ready: %w", ctx.Err())
	}
	if err := r.Err(); err != nil {
		return Outcome{}, err
	}
	if r.Status().Offset < 0 && p.Kind != schemas.ProposalActivate {
		// Nobody runs an older program yet: a new registry begins with all formats.
		if _, err := r.Activate(ctx, nil, nil); err != nil {
			return Outcome{}, err
		}
	}
	r.mu.RLock()
	p.V = min(r.state.format(p.Kind), r.formats[p.Kind])
	r.mu.RUnlock()
	if p.V == 0 {
		return Outcome{}, &NotActiveError{p.Kind}
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
		if out.lost != nil {
			return Outcome{}, fmt.Errorf("the outcome of %s is not known: %w", p.Kind, out.lost)
		}
		if out.Refusal != nil {
			return out, out.Refusal
		}
		return out, nil
	case <-ctx.Done(): // it stands in the topic and stays pending, because this node is to tell of it
		return Outcome{}, fmt.Errorf("wait for the outcome of %s: %w", p.Kind, ctx.Err())
	}
}
