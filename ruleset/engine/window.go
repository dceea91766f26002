package engine

import (
	"strings"
	"time"
	"unsafe"

	"vedette/ruleset/program"
)

// previousMax bounds the texts of previous_output.
const previousMax = 11

// rememberedBytes is the approximate size of a remembered event without its texts.
const rememberedBytes = 1024

// remembered is a past event as composite rules see it.
type remembered struct {
	// The fields that every search reads are adjacent.
	at      int64 // in milliseconds
	mark    int
	agentID string
	fullLog string
	dropped bool

	category program.Category
	log      value
	location string
	located  bool
	static   []rememberedStatic  // in their order
	few      [4]rememberedStatic // where they stand, for most events have no more
	dynamics int                 // number of dynamic fields
	fields   []rememberedField
	rule     int // the index of the rule it was remembered for, which says in which histories it stands
	seq      int // grows with each event of a key
}

// size returns the bytes that the event counts toward the bounds.
func (m *remembered) size() int { return len(m.fullLog) + len(m.log.text) + rememberedBytes }

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
	h.cutDropped()
	if h.head > 32 && h.head*2 > len(h.items) {
		n := copy(h.items, h.items[h.head:])
		clear(h.items[n:])
		h.cut += h.head
		h.items, h.head = h.items[:n], 0
	}
	h.items = append(h.items, r)
}

// emptyRoom is how many places an empty history keeps.
const emptyRoom = 16

// cutDropped lets go of dropped events at the old end.
func (h *history) cutDropped() {
	for h.head < len(h.items) && h.items[h.head].dropped {
		h.items[h.head] = nil
		h.head++
	}
	if h.head > 0 && h.head == len(h.items) {
		h.cut += h.head
		h.items, h.head = h.items[:0], 0
		if cap(h.items) > emptyRoom {
			h.items = nil
		}
	}
}

// queue holds the remembered events of a key that are of use for about as long.
// Each kind has memory of its own, so that an event that counts for an hour does
// not keep the memory of events that counted for a minute.
type queue struct {
	history
	kind int
	// eventRoom and textRoom are for the next events to remember.
	eventRoom []remembered
	textRoom  []byte
}

// windowKinds sorts rules by how long their events can count.
type windowKinds struct {
	byRule  []uint8 // by rule index
	windows []int64 // by kind: the longest, in milliseconds
}

// windowKindsMost bounds the kinds: up to 1, 2, 4 … minutes, and all longer ones.
const windowKindsMost = 8

func newWindowKinds(p *program.Program) windowKinds {
	windows := p.Windows()
	k := windowKinds{byRule: make([]uint8, max(1, len(windows))), windows: make([]int64, windowKindsMost)}
	for i, w := range windows {
		kind := 0
		// An if_matched_regex looks at all events in their order.
		for !p.NeedGlobal && kind < windowKindsMost-1 && w > time.Minute<<kind {
			kind++
		}
		k.byRule[i] = uint8(kind)
		k.windows[kind] = max(k.windows[kind], w.Milliseconds())
	}
	return k
}

func (k *memory) queue(kind uint8) *queue {
	for i := range k.queues {
		if k.queues[i].kind == int(kind) {
			return &k.queues[i]
		}
	}
	k.queues = append(k.queues, queue{kind: int(kind)})
	return &k.queues[len(k.queues)-1]
}

// oldest returns the queue whose head was remembered first, nil if all are empty.
func (k *memory) oldest() *queue {
	var oldest *queue
	for i := range k.queues {
		q := &k.queues[i]
		if q.head < len(q.items) && (oldest == nil || q.items[q.head].seq < oldest.items[oldest.head].seq) {
			oldest = q
		}
	}
	return oldest
}

// inOrder gives the remembered events, oldest first.
func (k *memory) inOrder(yield func(*remembered) bool) {
	at := make([]int, len(k.queues))
	for i := range k.queues {
		at[i] = k.queues[i].head
	}
	for range k.events {
		next := -1
		for i := range k.queues {
			if at[i] < len(k.queues[i].items) && (next < 0 || k.queues[i].items[at[i]].seq < k.queues[next].items[at[next]].seq) {
				next = i
			}
		}
		if !yield(k.queues[next].items[at[next]]) {
			return
		}
		at[next]++
	}
}

// trim drops events that no rule can count any more, and the oldest beyond the
// bounds.
func (e *Engine) trim(k *keyState, now int64) {
	for i := range k.queues {
		q := &k.queues[i]
		for q.head < len(q.items) && now-q.items[q.head].at > e.kinds.windows[q.kind] {
			e.drop(k, q)
		}
	}
	for k.events > e.c.Limits.Events || k.bytes > e.c.Limits.EventBytes {
		e.drop(k, k.oldest())
	}
}

// drop forgets the oldest event of q.
func (e *Engine) drop(k *keyState, q *queue) {
	old := q.items[q.head]
	old.dropped = true
	k.events--
	k.bytes -= old.size()
	q.cutDropped()
	r := e.p.AllRules[old.rule]
	if r.SidHistory {
		k.bySid[r.Index].cutDropped()
		return
	}
	for _, g := range r.GroupHistory {
		k.byGroup[g].cutDropped()
	}
}

// searching is the part that composite rules look at earlier events by.
type searching struct{ *scratch }

// memory is the event as later searches see it. Its texts are pieces of one.
func (s *searching) memory(q *queue, r *program.Rule) *remembered {
	e := &s.ev
	m := q.roomForEvent()
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
		if e.firstOfField(i) >= 0 {
			b = append(b, e.dyn[i].text...)
			fields++
		}
	}
	s.buf = b
	all := keepText(q, b)
	m.fullLog = all[:len(e.fullLog)]
	m.log = value{text: all[logAt : logAt+len(e.log.text)], set: e.log.set}
	rest := all[max(len(e.fullLog), logAt+len(e.log.text)):]
	piece := func(v *value) string {
		text := rest[:len(v.text)]
		rest = rest[len(v.text):]
		return text
	}
	m.location, m.located = e.location.text, e.location.set // no text of the arena
	m.static = m.few[:0]
	for i := range e.static {
		if e.static[i].set {
			m.static = append(m.static, rememberedStatic{program.Static(i), piece(&e.static[i])})
		}
	}
	if fields > 0 {
		m.fields = make([]rememberedField, 0, fields)
		for i := range e.dyn {
			if id := e.firstOfField(i); id >= 0 {
				m.fields = append(m.fields, rememberedField{id, piece(&e.dyn[i].value)})
			}
		}
	}
	return m
}

// Events that are remembered and their texts are cut from pieces of memory, which
// grow with the contents of the queue: at most a quarter of it, or this much, is
// room for the next.
const (
	eventsTogether = 32
	textsTogether  = 8 << 10
	textAlone      = 1 << 10 // a longer text has memory of its own
)

func (q *queue) roomForEvent() *remembered {
	if len(q.eventRoom) == 0 {
		q.eventRoom = make([]remembered, max(1, min(eventsTogether, (len(q.items)-q.head)/4)))
	}
	m := &q.eventRoom[0]
	q.eventRoom = q.eventRoom[1:]
	return m
}

// keepText returns a copy of b.
func keepText[T string | []byte](q *queue, b T) string {
	if len(b) > textAlone || len(q.eventRoom) == 0 {
		room := make([]byte, len(b))
		copy(room, b)
		return unsafe.String(unsafe.SliceData(room), len(room))
	}
	if len(b) > len(q.textRoom) {
		q.textRoom = make([]byte, min(textsTogether, len(b)*(1+len(q.eventRoom))))
	}
	n := copy(q.textRoom, b)
	text := unsafe.String(unsafe.SliceData(q.textRoom), n)
	q.textRoom = q.textRoom[n:]
	return text
}

// enter adds m to q and to the histories that its rule feeds.
func (k *memory) enter(q *queue, m *remembered, r *program.Rule) {
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
	m.seq = k.seq
	k.seq++
	q.add(m)
	k.events++
	k.bytes += m.size()
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
func (s *searching) search(r *program.Rule) bool {
	h := s.key.history(r.Composite)
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
		if c.Regex != nil && !s.matchesOld(c, old) {
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

// matchesOld tests if_matched_regex on an old event, which must be of the event's
// category.
func (s *searching) matchesOld(c *program.Composite, old *remembered) bool {
	return old.category == s.ev.category && s.rx.Match(c.Regex, old.log.text, old.log.lower())
}

// history returns the list in which a composite rule counts, nil if it is empty yet.
func (k *memory) history(c *program.Composite) *history {
	switch {
	case c.Regex != nil:
		return &k.queue(0).history // see newWindowKinds
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
func (s *searching) weigh(t *tally, r *program.Rule, old *remembered) (done, fires bool) {
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
func (s *searching) correlates(c *program.Composite, old *remembered) bool {
	return s.same(c, old) && s.different(c, old)
}

func (s *searching) same(c *program.Composite, old *remembered) bool {
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

func (s *searching) different(c *program.Composite, old *remembered) bool {
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
func (s *searching) pair(src program.Source, old *remembered) (equal, both bool) {
	if src.Kind == program.FromGeoIP {
		a := s.geo.of(&s.ev.static[src.Static])
		text, set := old.staticText(src.Static)
		b := s.geo.of(&value{text: text, set: set})
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
		return m.location, m.located
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
