package registry

import "vedette/schemas"

// SubscribePresence has fn called for each presence record, in the order of the
// topic. current is the record that counts for the agent after it; stale says
// that rec does not, because another connection has claimed the agent
// (schemas.Presence.Follows). fn must not block. The result ends the subscription.
func (r *Registry) SubscribePresence(fn func(rec, current *schemas.Presence, stale bool)) (cancel func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.nextSub
	r.nextSub++
	if r.presenceSubs == nil {
		r.presenceSubs = map[int]func(rec, current *schemas.Presence, stale bool){}
	}
	r.presenceSubs[id] = fn
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.presenceSubs, id)
	}
}

// setPresence takes a record in and tells of it. It runs on one goroutine per
// topic, in the order of each agent's records.
func (r *Registry) setPresence(p *schemas.Presence, gone bool) {
	p.Compact() // of what many agents say alike, one copy is kept
	r.mu.Lock()
	old, known := r.presences[p.ID]
	stale := !gone && known && !p.Follows(&old)
	switch {
	case gone:
		delete(r.presences, p.ID)
	case !stale && (known || len(r.presences) < presencesMax):
		r.presences[p.ID] = *p
	}
	current := r.presences[p.ID]
	r.m.presences.Set(float64(len(r.presences)))
	fns := make([]func(rec, current *schemas.Presence, stale bool), 0, len(r.presenceSubs))
	for _, fn := range r.presenceSubs {
		fns = append(fns, fn)
	}
	touched := r.touched
	r.mu.Unlock()
	for _, fn := range touched {
		fn(p.ID)
	}
	if gone {
		return
	}
	for _, fn := range fns {
		fn(p, &current, stale)
	}
}
