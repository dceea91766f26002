package engine

import (
	"encoding/binary"

	"vedette/ruleset/program"
)

// A composite rule with same_… only counts old events that agree with the new
// one in some values. The index finds them without looking at the others: the
// events of a history that have equal values are a chain.
//
// Chains say nothing that the history does not, so they are made and caught up
// when a search needs them, and are in no snapshot.

// chainKey lists the values that all events of a chain have in common. Composites
// that compare the same values share chains.
type chainKey struct {
	global bool
	same   []program.Source
	fields []int
	// whole says that no other same_… is to be tested.
	whole bool
}

// chainKeyOf leaves out values that are compared in another form than they are
// kept in. Such chains also hold events that do not count, so each is tested.
func chainKeyOf(c *program.Composite) chainKey {
	k := chainKey{global: c.Global, fields: c.SameFields}
	for _, src := range c.Same {
		if src.Kind == program.FromStatic || src.Kind == program.FromLocation {
			k.same = append(k.same, src)
		}
	}
	k.whole = len(k.same) == len(c.Same)
	return k
}

// chainSet are the chains of one history under one key.
type chainSet struct {
	by map[string]*chain
	// next is the number of the first event that is in no chain yet, entered how
	// many are.
	next, entered int
}

// chain are the numbers of events, oldest first.
type chain struct{ events []int }

// chainsPay is the length of a history below which it is looked through as it is.
const chainsPay = 12

// chainsSpare is how many dropped events chains may hold beside those that live,
// of which there may be as many again.
const chainsSpare = 64

// searchIndexed gives the result of search.
func (s *searching) searchIndexed(x *ruleEntry) bool {
	r := x.rule
	h := s.key.history(r.Composite)
	if h == nil {
		return false
	}
	if r.Composite.Regex != nil || len(h.items)-h.head < chainsPay {
		return s.search(r)
	}
	key := &s.eng.index.chainKeys[x.chain]
	c := s.chains(h, x.chain, key)
	values, ok := s.chainValues(key)
	if !ok {
		return false // no old event can agree with a value that is missing
	}
	events := c.by[string(values)]
	if events == nil {
		return false
	}
	t := tally{now: s.ev.now.UnixMilli()}
	// Of as many events as it takes, the oldest must not be too old.
	first := len(events.events) - max(r.Composite.Frequency-1, 1)
	if first < 0 {
		return false
	}
	if at := events.events[first] - h.cut; at < h.head || t.over(r.Composite, h.items[at]) {
		return false
	}
	for i := len(events.events) - 1; i >= 0; i-- {
		at := events.events[i] - h.cut
		if at < h.head {
			return false // dropped
		}
		old := h.items[at]
		if t.over(r.Composite, old) {
			return false
		}
		if !key.whole && !s.same(r.Composite, old) || !s.different(r.Composite, old) {
			continue
		}
		if done, fires := s.weigh(&t, r, old); done {
			return fires
		}
	}
	return false
}

// chains returns the chains of h under a key, with all its events.
func (s *searching) chains(h *history, id int32, key *chainKey) *chainSet {
	c := h.chains[id]
	if c == nil {
		c = &chainSet{by: map[string]*chain{}}
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
		values, ok := s.oldChainValues(key, h.items[at])
		if !ok {
			continue
		}
		events := c.by[string(values)]
		if events == nil {
			events = &chain{}
			c.by[string(values)] = events
		}
		events.events = append(events.events, h.cut+at)
		c.entered++
	}
	c.next = h.cut + len(h.items)
	return c
}

// appendChainValue adds a value so that no two lists of values look the same.
func appendChainValue(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// chainValues returns the current event's values of a chain key; ok is false if
// one is missing. They are valid until s.buf is used again.
func (s *searching) chainValues(k *chainKey) (values []byte, ok bool) {
	e, b := &s.ev, s.buf[:0]
	if !k.global {
		b = appendChainValue(b, e.agentID)
	}
	for _, src := range k.same {
		v := e.source(src)
		if v == nil {
			return nil, false
		}
		b = appendChainValue(b, v.text)
	}
	for _, id := range k.fields {
		v := e.field(id)
		if v == nil {
			return nil, false
		}
		b = appendChainValue(b, v.text)
	}
	s.buf = b
	return b, true
}

// oldChainValues are those of an old event.
func (s *searching) oldChainValues(k *chainKey, m *remembered) (values []byte, ok bool) {
	b := s.buf[:0]
	if !k.global {
		b = appendChainValue(b, m.agentID)
	}
	for _, src := range k.same {
		text, ok := m.source(src)
		if !ok {
			return nil, false
		}
		b = appendChainValue(b, text)
	}
	for _, id := range k.fields {
		text, ok := m.field(id)
		if !ok {
			return nil, false
		}
		b = appendChainValue(b, text)
	}
	s.buf = b
	return b, true
}
