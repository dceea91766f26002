package engine

import "vedette/ruleset/program"

// previousMax bounds the texts of previous_output.
const previousMax = 11

// rememberedBytes is what a remembered event takes besides its texts, about.
const rememberedBytes = 1024

// remembered is a past event as composite rules see it.
type remembered struct {
	at       int64 // in milliseconds
	agentID  string
	fullLog  string
	log      value
	location value
	static   [program.NumStatic]value
	dynamics int // number of dynamic fields
	fields   []rememberedField
	category program.Category
	rule     int // the index of the rule it was remembered for, which says in which histories it stands
	mark     int
	dropped  bool
	size     int
}

// rememberedField is the first dynamic field of a number that rules know.
type rememberedField struct {
	id   int
	text string
}

// history is a list of events, oldest first.
type history struct {
	items []*remembered
	head  int
}

func (h *history) add(r *remembered) {
	// Dropped events are cut off the old end before the list grows.
	for h.head < len(h.items) && h.items[h.head].dropped {
		h.items[h.head] = nil
		h.head++
	}
	if h.head > 32 && h.head*2 > len(h.items) {
		n := copy(h.items, h.items[h.head:])
		clear(h.items[n:])
		h.items, h.head = h.items[:n], 0
	}
	h.items = append(h.items, r)
}

// remember keeps the event for later composite rules (§7.1).
func (s *Keyed) remember(k *keyState, r *program.Rule) {
	if !s.eng.p.Remembers(r) {
		return
	}
	e := &s.ev
	m := &remembered{
		at: e.now.UnixMilli(), agentID: e.agentID, fullLog: e.fullLog, log: e.log, location: e.location,
		static: e.static, dynamics: len(e.dyn), category: e.category, rule: r.Index, mark: e.mark,
	}
	for i := range e.dyn {
		id := s.fieldID(e.dyn[i].name)
		if id >= 0 && e.stampAt[id] == e.stamp && int(e.fieldAt[id]) == i {
			m.fields = append(m.fields, rememberedField{id, e.dyn[i].text})
		}
	}
	before := k.bytes
	k.enter(m, r)
	now, window := e.now.UnixMilli(), s.eng.window.Milliseconds()
	for k.all.head < len(k.all.items) {
		old := k.all.items[k.all.head]
		n := len(k.all.items) - k.all.head
		if n <= s.eng.c.Limits.Events && k.bytes <= s.eng.c.Limits.EventBytes && now-old.at <= window {
			break
		}
		old.dropped = true
		k.bytes -= old.size
		k.all.items[k.all.head] = nil
		k.all.head++
	}
	for s.bytes += k.bytes - before; s.bytes > s.eng.c.Limits.TotalBytes && s.oldest != k; {
		s.evict()
	}
}

// enter adds m to the histories that its rule feeds.
func (k *keyState) enter(m *remembered, r *program.Rule) {
	switch {
	case r.SidHistory:
		if k.bySid == nil {
			k.bySid = map[int]*history{}
		}
		addTo(k.bySid, r.Index, m)
	default:
		if k.byGroup == nil && len(r.GroupHistory) > 0 {
			k.byGroup = map[int]*history{}
		}
		for _, g := range r.GroupHistory {
			addTo(k.byGroup, g, m)
		}
	}
	m.size = len(m.fullLog) + len(m.log.text) + rememberedBytes
	k.all.add(m)
	k.bytes += m.size
}

func addTo(m map[int]*history, id int, r *remembered) {
	h := m[id]
	if h == nil {
		h = &history{}
		m[id] = h
	}
	h.add(r)
}

// search looks through the history of a composite rule (§7.2).
func (s *Keyed) search(k *keyState, r *program.Rule) bool {
	c, e := r.Composite, &s.ev
	var h *history
	switch {
	case c.Regex != nil:
		h = &k.all
	case c.Sid != nil:
		h = k.bySid[c.Sid.Index]
	default:
		h = k.byGroup[c.GroupList]
	}
	if h == nil {
		return false
	}
	now, timeframe := e.now.UnixMilli(), c.Timeframe.Milliseconds()
	var texts [previousMax]string
	count := 0
	var newest *remembered
	for i := len(h.items) - 1; i >= h.head; i-- {
		old := h.items[i]
		if old.dropped || now-old.at > timeframe {
			return false
		}
		if old.agentID != e.agentID && !c.Global {
			continue
		}
		if c.Regex != nil && (old.category != e.category || !s.rx.Match(c.Regex, old.log.text, old.log.lower())) {
			continue
		}
		if !s.correlates(c, old) {
			continue
		}
		if old.mark > 0 && old.mark >= r.Level {
			return false
		}
		if newest == nil {
			newest = old
		}
		if count < previousMax {
			texts[count] = old.fullLog
		}
		count++
		if count < c.Frequency-1 {
			continue
		}
		e.mark = r.Level
		if c.Frequency > 2 {
			newest.mark = r.Level
		}
		n := min(count, previousMax)
		if c.Regex != nil {
			n--
		}
		e.previous = append(e.previous[:0], texts[:n]...)
		return true
	}
	return false
}

// correlates tests same_… and different_… between the event and an old one (§7.3).
func (s *Keyed) correlates(c *program.Composite, old *remembered) bool {
	e := &s.ev
	for _, src := range c.Same {
		a, b := e.source(src), old.source(src)
		if a == nil || b == nil || a.text != b.text {
			return false
		}
	}
	for _, id := range c.SameFields {
		a, b, ok := e.field(id), "", false
		if b, ok = old.field(id); !ok || a == nil || a.text != b {
			return false
		}
	}
	for _, src := range c.Different {
		a, b := e.source(src), old.source(src)
		if a != nil && b != nil && a.text == b.text {
			return false
		}
	}
	if len(c.DifferentFields) > 0 && len(e.dyn) == 0 && old.dynamics == 0 {
		return false
	}
	for _, id := range c.DifferentFields {
		a := e.field(id)
		if b, ok := old.field(id); ok && a != nil && a.text == b {
			return false
		}
	}
	return true
}

func (m *remembered) source(src program.Source) *value {
	v := &m.location
	if src.Kind == program.FromStatic {
		v = &m.static[src.Static]
	} else if src.Kind != program.FromLocation {
		return nil
	}
	if !v.set {
		return nil
	}
	return v
}

func (m *remembered) field(id int) (string, bool) {
	for _, f := range m.fields {
		if f.id == id {
			return f.text, true
		}
	}
	return "", false
}
