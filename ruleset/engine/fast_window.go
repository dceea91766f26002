package engine

import (
	"hash/maphash"

	"vedette/ruleset/program"
)

// A composite rule with same_… only counts old events that agree with the new
// one in some values. The index finds them without looking at the others: the
// events of a history that have equal values are a chain.
//
// Chains say nothing that the history does not, so they are made and caught up
// when a search needs them, and are in no snapshot.

// chainKey is what events of a chain agree in. Composites that compare the same
// things share chains.
type chainKey struct {
	global bool
	same   []program.Source
	fields []int
}

// chainKeyOf leaves out what is compared in another form than it is kept in;
// correlates tests that anyway.
func chainKeyOf(c *program.Composite) chainKey {
	k := chainKey{global: c.Global, fields: c.SameFields}
	for _, src := range c.Same {
		if src.Kind == program.FromStatic || src.Kind == program.FromLocation {
			k.same = append(k.same, src)
		}
	}
	return k
}

// chainSet are the chains of one history under one key, by the hash of what
// their events agree in. Events stand as their numbers, oldest first.
type chainSet struct {
	by map[uint64][]int
	// next is the number of the first event that is in no chain yet, entered how
	// many are.
	next, entered int
}

// chainsPay is the length of a history below which it is looked through as it is.
const chainsPay = 12

// chainsSpare is how many dropped events chains may hold beside those that live,
// of which there may be as many again.
const chainsSpare = 64

// searchIndexed does what search does.
func (s *Keyed) searchIndexed(k *keyState, x *ruleEntry) bool {
	r := x.rule
	h := k.history(r.Composite)
	if h == nil {
		return false
	}
	if r.Composite.Regex != nil || len(h.items)-h.head < chainsPay {
		return s.search(k, r)
	}
	key := &s.eng.index.chainKeys[x.chain]
	hash, ok := s.chainHash(key)
	if !ok {
		return false // no old event can agree with a value that is missing
	}
	t := tally{now: s.ev.now.UnixMilli()}
	chain := s.chains(h, x.chain, key).by[hash]
	for i := len(chain) - 1; i >= 0; i-- {
		at := chain[i] - h.cut
		if at < h.head {
			return false // dropped
		}
		if done, fires := s.weigh(&t, r, h.items[at]); done {
			return fires
		}
	}
	return false
}

// chains returns the chains of h under a key, with all its events.
func (s *Keyed) chains(h *history, id int32, key *chainKey) *chainSet {
	c := h.chains[id]
	if c == nil {
		c = &chainSet{by: map[uint64][]int{}}
		if h.chains == nil {
			h.chains = map[int32]*chainSet{}
		}
		h.chains[id] = c
	}
	if c.entered > 2*(len(h.items)-h.head)+chainsSpare {
		clear(c.by)
		c.next, c.entered = 0, 0
	}
	for at := max(c.next-h.cut, h.head); at < len(h.items); at++ {
		if hash, ok := s.eng.index.rememberedHash(key, h.items[at]); ok {
			c.by[hash] = append(c.by[hash], h.cut+at)
			c.entered++
		}
	}
	c.next = h.cut + len(h.items)
	return c
}

// mix adds a text to a hash. Unequal values may share a hash: a chain is then
// longer than it need be.
func (x *index) mix(hash uint64, text string) uint64 {
	return (hash ^ maphash.String(x.seed, text)) * 0x9E3779B97F4A7C15
}

// chainHash is the hash of the event at hand; ok is false if a value is missing.
func (s *Keyed) chainHash(k *chainKey) (hash uint64, ok bool) {
	x, e := s.eng.index, &s.ev
	if !k.global {
		hash = x.mix(hash, e.agentID)
	}
	for _, src := range k.same {
		v := e.source(src)
		if v == nil {
			return 0, false
		}
		hash = x.mix(hash, v.text)
	}
	for _, id := range k.fields {
		v := e.field(id)
		if v == nil {
			return 0, false
		}
		hash = x.mix(hash, v.text)
	}
	return hash, true
}

// rememberedHash is the hash of an old event.
func (x *index) rememberedHash(k *chainKey, m *remembered) (hash uint64, ok bool) {
	if !k.global {
		hash = x.mix(hash, m.agentID)
	}
	for _, src := range k.same {
		v := m.source(src)
		if v == nil {
			return 0, false
		}
		hash = x.mix(hash, v.text)
	}
	for _, id := range k.fields {
		text, ok := m.field(id)
		if !ok {
			return 0, false
		}
		hash = x.mix(hash, text)
	}
	return hash, true
}
