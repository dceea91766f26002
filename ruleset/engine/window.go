package engine

import (
	"strings"
	"unsafe"

	"vedette/ruleset/program"
)

// previousMax bounds the texts of previous_output.
const previousMax = 11

// rememberedBytes is what a remembered event takes besides its texts, about.
const rememberedBytes = 1024

// remembered is a past event as composite rules see it.
type remembered struct {
	// What every search looks at stands together.
	at      int64 // in milliseconds
	mark    int
	agentID string
	fullLog string
	dropped bool

	category program.Category
	log      value
	location value
	static   []rememberedStatic  // in their order
	few      [4]rememberedStatic // where they stand, for most events have no more
	dynamics int                 // number of dynamic fields
	fields   []rememberedField
	rule     int // the index of the rule it was remembered for, which says in which histories it stands
	size     int
}

// rememberedStatic is a static field that is set.
type rememberedStatic struct {
	at   program.Static
	text string
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
	// cut is how many events were moved out of items; with it an event has a
	// number that never changes.
	cut int
	// chains are of the index: see chainSet.
	chains map[int32]*chainSet
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
		h.cut += h.head
		h.items, h.head = h.items[:n], 0
	}
	h.items = append(h.items, r)
}

// remember keeps the event for later composite rules (§7.1).
func (s *Keyed) remember(k *keyState, r *program.Rule) {
	if !s.eng.p.Remembers(r) {
		return
	}
	m := s.memory(k, r)
	e := &s.ev
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

// memory is the event as later searches see it. Its texts are pieces of one.
func (s *Keyed) memory(k *keyState, r *program.Rule) *remembered {
	e := &s.ev
	m := k.roomForEvent()
	*m = remembered{at: e.now.UnixMilli(), agentID: e.agentID, dynamics: len(e.dyn), category: e.category, rule: r.Index, mark: e.mark}
	b := append(s.buf[:0], e.fullLog...)
	logAt := len(e.fullLog) - len(e.log.text)
	if !strings.HasSuffix(e.fullLog, e.log.text) {
		logAt = len(b)
		b = append(b, e.log.text...)
	}
	for i := range e.static {
		if e.static[i].set {
			b = append(b, e.static[i].text...)
		}
	}
	fields := 0
	for i := range e.dyn {
		if s.firstOfField(i) >= 0 {
			b = append(b, e.dyn[i].text...)
			fields++
		}
	}
	s.buf = b
	all := k.keepText(b)
	m.fullLog = all[:len(e.fullLog)]
	m.log = value{text: all[logAt : logAt+len(e.log.text)], set: e.log.set}
	rest := all[max(len(e.fullLog), logAt+len(e.log.text)):]
	piece := func(v *value) string {
		text := rest[:len(v.text)]
		rest = rest[len(v.text):]
		return text
	}
	m.location = value{text: e.location.text, set: e.location.set} // no text of the arena
	m.static = m.few[:0]
	for i := range e.static {
		if e.static[i].set {
			m.static = append(m.static, rememberedStatic{program.Static(i), piece(&e.static[i])})
		}
	}
	if fields > 0 {
		m.fields = make([]rememberedField, 0, fields)
		for i := range e.dyn {
			if id := s.firstOfField(i); id >= 0 {
				m.fields = append(m.fields, rememberedField{id, piece(&e.dyn[i].value)})
			}
		}
	}
	return m
}

// Events that are remembered and their texts are cut from pieces of memory, which
// grow with what the key remembers: at most a quarter of it, or this much, is room
// for the next.
const (
	eventsTogether = 32
	textsTogether  = 8 << 10
	textAlone      = 1 << 10 // a longer text has memory of its own
)

func (k *keyState) roomForEvent() *remembered {
	if len(k.eventRoom) == 0 {
		k.eventRoom = make([]remembered, max(1, min(eventsTogether, (len(k.all.items)-k.all.head)/4)))
	}
	m := &k.eventRoom[0]
	k.eventRoom = k.eventRoom[1:]
	return m
}

func (k *keyState) keepText(b []byte) string {
	if len(b) > textAlone || len(k.eventRoom) == 0 {
		return string(b)
	}
	if len(b) > len(k.textRoom) {
		k.textRoom = make([]byte, min(textsTogether, len(b)*(1+len(k.eventRoom))))
	}
	n := copy(k.textRoom, b)
	text := unsafe.String(unsafe.SliceData(k.textRoom), n)
	k.textRoom = k.textRoom[n:]
	return text
}

// firstOfField returns the number of the event's dynamic field i if it is the
// first with that number, else -1.
func (s *Keyed) firstOfField(i int) int {
	e := &s.ev
	id := e.dyn[i].name.id
	if id >= 0 && e.stampAt[id] == e.stamp && int(e.fieldAt[id]) == i {
		return id
	}
	return -1
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
	h := k.history(r.Composite)
	if h == nil {
		return false
	}
	c, e := r.Composite, &s.ev
	t := tally{now: e.now.UnixMilli()}
	for i := len(h.items) - 1; i >= h.head; i-- {
		old := h.items[i]
		if t.over(c, old) {
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
		if done, fires := s.weigh(&t, r, old); done {
			return fires
		}
	}
	return false
}

// history is what a composite rule counts in, nil if there is nothing yet.
func (k *keyState) history(c *program.Composite) *history {
	switch {
	case c.Regex != nil:
		return &k.all
	case c.Sid != nil:
		return k.bySid[c.Sid.Index]
	}
	return k.byGroup[c.GroupList]
}

// tally is a search under way.
type tally struct {
	now    int64
	count  int
	newest *remembered
	texts  [previousMax]string
}

// over tells whether an old event, and so all older ones, is too old to count.
func (t *tally) over(c *program.Composite, old *remembered) bool {
	return old.dropped || t.now-old.at > c.Timeframe.Milliseconds()
}

// weigh counts an old event that correlates, for r; done says that the search is
// over. Old events come newest first.
func (s *Keyed) weigh(t *tally, r *program.Rule, old *remembered) (done, fires bool) {
	c, e := r.Composite, &s.ev
	if old.mark > 0 && old.mark >= r.Level {
		return true, false
	}
	if t.newest == nil {
		t.newest = old
	}
	if t.count < previousMax {
		t.texts[t.count] = old.fullLog
	}
	t.count++
	if t.count < c.Frequency-1 {
		return false, false
	}
	e.mark = r.Level
	if c.Frequency > 2 {
		t.newest.mark = r.Level
	}
	n := min(t.count, previousMax)
	if c.Regex != nil {
		n--
	}
	e.previous = append(e.previous[:0], t.texts[:n]...)
	return true, true
}

// correlates tests same_… and different_… between the event and an old one (§7.3).
func (s *Keyed) correlates(c *program.Composite, old *remembered) bool {
	return s.same(c, old) && s.different(c, old)
}

func (s *Keyed) same(c *program.Composite, old *remembered) bool {
	e := &s.ev
	for _, src := range c.Same {
		if equal, both := s.pair(src, old); !equal || !both {
			return false
		}
	}
	for _, id := range c.SameFields {
		a, b, ok := e.field(id), "", false
		if b, ok = old.field(id); !ok || a == nil || a.text != b {
			return false
		}
	}
	return true
}

func (s *Keyed) different(c *program.Composite, old *remembered) bool {
	e := &s.ev
	for _, src := range c.Different {
		if equal, both := s.pair(src, old); equal && both {
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

// pair compares a value of the event with the one of an old event; both says that
// none is missing.
func (s *Keyed) pair(src program.Source, old *remembered) (equal, both bool) {
	if src.Kind == program.FromGeoIP {
		a := s.geo(&s.ev.static[src.Static])
		text, set := old.staticText(src.Static)
		b := s.geo(&value{text: text, set: set})
		return a != nil && b != nil && a.text == b.text, a != nil && b != nil
	}
	a := s.ev.source(src)
	b, ok := old.source(src)
	return a != nil && ok && a.text == b, a != nil && ok
}

func (m *remembered) source(src program.Source) (string, bool) {
	switch src.Kind {
	case program.FromStatic:
		return m.staticText(src.Static)
	case program.FromLocation:
		return m.location.text, m.location.set
	}
	return "", false
}

// staticText finds a static field.
func (m *remembered) staticText(f program.Static) (text string, set bool) {
	for i := range m.static {
		if m.static[i].at == f {
			return m.static[i].text, true
		}
	}
	return "", false
}

func (m *remembered) field(id int) (string, bool) {
	for _, f := range m.fields {
		if f.id == id {
			return f.text, true
		}
	}
	return "", false
}
