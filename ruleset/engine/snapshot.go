package engine

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"vedette/ruleset/program"
)

// ErrSnapshotTooLarge says that a state takes more bytes than a snapshot may.
var ErrSnapshotTooLarge = errors.New("the state is larger than a snapshot may be")

// Errors of RestoreState.
var (
	// ErrSnapshotForeign says that the snapshot was made under another ruleset
	// or by a program that writes another form.
	ErrSnapshotForeign = errors.New("the snapshot is of another ruleset or version")
	// ErrSnapshotBroken says that AppendSnapshot did not write the bytes in this
	// form, or that they hold more than this engine's Limits allow.
	ErrSnapshotBroken = errors.New("the snapshot is broken")
)

// snapshotMagic begins a snapshot; its last byte is the version of the form.
const snapshotMagic = "vedette state\x00\x01"

// Forms in which a snapshot stores the text that rules see, beside the full log.
const (
	logLiteral = iota
	logSuffix  // it is the end of the full log
	logUnset
)

// AppendSnapshot appends the whole state to dst: everything that a later event's
// judgement can depend on, and nothing of the event at hand. Equal states give
// equal bytes. It gives up with ErrSnapshotTooLarge once it has appended more
// than maxBytes, and then returns dst as it was.
//
// The form is binary and holds, from the key used longest ago to the newest, its
// clock, counters, remembered events and the rest. Rules stand as their index,
// which is why a snapshot belongs to one version of a ruleset.
func (s *Keyed) AppendSnapshot(dst []byte, maxBytes int) ([]byte, error) {
	w := snapshotWriter{b: append(dst, snapshotMagic...)}
	p := s.scratch.eng.p
	w.text(p.Version)
	w.b = binary.LittleEndian.AppendUint64(w.b, fingerprint(p))
	w.count(len(s.keys.byName))
	for k := s.keys.oldest; k != nil; k = k.prev {
		w.key(k)
		if len(w.b)-len(dst) > maxBytes {
			return dst, ErrSnapshotTooLarge
		}
	}
	return w.b, nil
}

// fingerprint covers the numbers of a Program that a snapshot relies on.
func fingerprint(p *program.Program) uint64 {
	h := fnv.New64a()
	var b []byte
	b = binary.AppendUvarint(b, uint64(len(p.AllRules)))
	b = binary.AppendUvarint(b, uint64(p.GroupLists))
	b = binary.AppendUvarint(b, uint64(program.NumStatic))
	for _, name := range slices.Sorted(maps.Keys(p.FieldIDs)) {
		b = append(append(b, name...), 0)
		b = binary.AppendUvarint(b, uint64(p.FieldIDs[name]))
	}
	_, _ = h.Write(b)
	return h.Sum64()
}

type snapshotWriter struct {
	b     []byte
	event []byte // scratch
}

func (w *snapshotWriter) count(n int)    { w.b = binary.AppendUvarint(w.b, uint64(n)) }
func (w *snapshotWriter) number(n int64) { w.b = binary.AppendVarint(w.b, n) }
func (w *snapshotWriter) text(s string)  { w.count(len(s)); w.b = append(w.b, s...) }
func (w *snapshotWriter) time(t time.Time) {
	w.number(t.Unix())
	w.count(t.Nanosecond())
}

func (w *snapshotWriter) texts(list []string) {
	w.count(len(list))
	for _, s := range list {
		w.text(s)
	}
}

func (w *snapshotWriter) key(k *keyState) {
	w.text(k.key)
	w.time(k.now)
	w.number(k.firedHour)
	w.count(len(k.fired))
	for _, r := range slices.Sorted(maps.Keys(k.fired)) {
		w.count(r)
		w.count(k.fired[r])
	}
	w.count(len(k.ignored))
	for _, r := range slices.Sorted(maps.Keys(k.ignored)) {
		w.count(r)
		w.time(k.ignored[r])
	}
	w.texts(k.firstOrder)
	w.texts(k.lastKeys)
	w.count(len(k.diffOrder))
	for _, d := range k.diffOrder {
		w.number(int64(d.rule))
		w.text(d.host)
		w.text(k.diffs[d])
	}
	w.count(k.accLookups)
	w.count(len(k.acc))
	for _, name := range slices.Sorted(maps.Keys(k.acc)) {
		a := k.acc[name]
		w.text(name)
		w.number(a.at)
		for i := range a.values {
			w.optional(a.values[i], a.set[i])
		}
	}
	w.count(k.events)
	for m := range k.inOrder {
		// The length stands first, so that a reader takes the event's texts in
		// one piece.
		e := snapshotWriter{b: w.event[:0]}
		e.remembered(m)
		w.event = e.b
		w.count(len(e.b))
		w.b = append(w.b, e.b...)
	}
}

// optional writes 0 for a missing text, else 1 + its length and the text.
func (w *snapshotWriter) optional(s string, set bool) {
	if !set {
		w.count(0)
		return
	}
	w.count(len(s) + 1)
	w.b = append(w.b, s...)
}

func (w *snapshotWriter) remembered(m *remembered) {
	w.number(m.at)
	w.count(m.rule)
	w.count(m.mark)
	w.count(int(m.category))
	w.count(m.dynamics)
	w.text(m.agentID)
	w.text(m.fullLog)
	switch {
	case !m.log.set:
		w.count(logUnset)
	case strings.HasSuffix(m.fullLog, m.log.text):
		w.count(logSuffix)
		w.count(len(m.log.text))
	default:
		w.count(logLiteral)
		w.text(m.log.text)
	}
	w.optional(m.location, m.located)
	var have uint64
	for i := range m.static {
		have |= 1 << m.static[i].at
	}
	w.b = binary.AppendUvarint(w.b, have)
	for i := range m.static {
		w.text(m.static[i].text)
	}
	w.count(len(m.fields))
	for _, f := range m.fields {
		w.count(f.id)
		w.text(f.text)
	}
}

// RestoreState reads a snapshot that AppendSnapshot wrote under the same ruleset.
// The state judges every later event as the written state would have. It keeps
// no reference to data.
//
// Whatever data holds, it neither panics nor allocates out of proportion to
// data's length, and gives ErrSnapshotForeign or ErrSnapshotBroken.
func (e *Engine) RestoreState(data []byte) (*Keyed, error) {
	if len(data) < len(snapshotMagic) || string(data[:len(snapshotMagic)]) != snapshotMagic {
		return nil, ErrSnapshotForeign
	}
	r := snapshotReader{s: string(data[len(snapshotMagic):]), eng: e}
	version := r.text()
	numbers := r.take(8)
	if r.broken {
		return nil, ErrSnapshotBroken
	}
	if version != e.p.Version || binary.LittleEndian.Uint64([]byte(numbers)) != fingerprint(e.p) {
		return nil, ErrSnapshotForeign
	}
	s := e.NewState()
	for range r.count(e.c.Limits.Keys) {
		k := r.key()
		if r.broken || s.keys.byName[k.key] != nil {
			return nil, ErrSnapshotBroken
		}
		if s.keys.add(k); s.keys.bytes > e.c.Limits.TotalBytes+e.c.Limits.EventBytes {
			return nil, ErrSnapshotBroken // the last key used may stand above the total
		}
	}
	if r.broken || r.s != "" {
		return nil, ErrSnapshotBroken
	}
	return s, nil
}

// snapshotReader takes s apart from its front. After the first fault broken is
// set, and every read gives a zero value.
type snapshotReader struct {
	s      string
	eng    *Engine
	broken bool
}

func (r *snapshotReader) fail() {
	r.broken, r.s = true, ""
}

func (r *snapshotReader) take(n int) string {
	if n < 0 || n > len(r.s) {
		r.fail()
		return ""
	}
	out := r.s[:n]
	r.s = r.s[n:]
	return out
}

func (r *snapshotReader) uvarint() uint64 {
	var x uint64
	for i := range min(len(r.s), binary.MaxVarintLen64) {
		c := r.s[i]
		x |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.s = r.s[i+1:]
			return x
		}
	}
	r.fail()
	return 0
}

func (r *snapshotReader) number() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads a number of at most limit; a negative limit allows none.
func (r *snapshotReader) count(limit int) int {
	u := r.uvarint()
	if limit < 0 || u > uint64(limit) {
		r.fail()
		return 0
	}
	return int(u)
}

// list reads the length of a list whose entries take at least a byte each.
func (r *snapshotReader) list(limit int) int { return r.count(min(limit, len(r.s))) }

func (r *snapshotReader) rule() int { return r.count(len(r.eng.p.AllRules) - 1) }

// text returns a copy, so that keeping it does not keep the whole snapshot.
func (r *snapshotReader) text() string { return strings.Clone(r.take(r.count(len(r.s)))) }

func (r *snapshotReader) time() time.Time {
	sec := r.number()
	return time.Unix(sec, int64(r.count(999_999_999))).UTC()
}

func (r *snapshotReader) optional() (string, bool) {
	n := r.count(len(r.s) + 1)
	if n == 0 {
		return "", false
	}
	return strings.Clone(r.take(n - 1)), !r.broken
}

// countMax bounds counters, which only ever grow by one.
const countMax = 1<<31 - 1

func (r *snapshotReader) key() *keyState {
	l := &r.eng.c.Limits
	k := &keyState{key: r.text(), now: r.time(), firings: firings{firedHour: r.number()}}
	r.counters(&k.firings)
	r.firstSeen(&k.firsts, l.FirstSeen)
	r.diffs(&k.lastLogs, l.Diffs)
	r.accumulated(&k.accumulator, l.Accumulated)
	r.events(&k.memory, l)
	return k
}

func (r *snapshotReader) counters(k *firings) {
	if n := r.list(len(r.eng.p.AllRules)); n > 0 {
		k.fired = make(map[int]int, n)
		for range n {
			rule := r.rule()
			k.fired[rule] = r.count(countMax)
		}
	}
	if n := r.list(len(r.eng.p.AllRules)); n > 0 {
		k.ignored = make(map[int]time.Time, n)
		for range n {
			rule := r.rule()
			k.ignored[rule] = r.time()
		}
	}
}

func (r *snapshotReader) firstSeen(k *firsts, limit int) {
	if n := r.list(limit); n > 0 {
		k.firstSeen = make(map[string]struct{}, n)
		for range n {
			name := r.text()
			k.firstSeen[name] = struct{}{}
			k.firstOrder = append(k.firstOrder, name)
		}
		if len(k.firstSeen) != n {
			r.fail()
		}
	}
	for range r.list(ftsRecent) {
		k.lastKeys = append(k.lastKeys, r.text())
	}
}

func (r *snapshotReader) diffs(k *lastLogs, limit int) {
	n := r.list(limit)
	if n == 0 {
		return
	}
	k.diffs = make(map[diffKey]string, n)
	for range n {
		d := diffKey{rule: int(r.number()), host: r.text()}
		k.diffs[d] = r.text()
		k.diffOrder = append(k.diffOrder, d)
	}
	if len(k.diffs) != n {
		r.fail()
	}
}

func (r *snapshotReader) accumulated(k *accumulator, limit int) {
	k.accLookups = r.count(countMax)
	n := r.list(limit)
	if n == 0 {
		return
	}
	k.acc = make(map[string]*accumulation, n)
	for range n {
		name := r.text()
		a := &accumulation{at: r.number()}
		for i := range a.values {
			a.values[i], a.set[i] = r.optional()
		}
		k.acc[name] = a
	}
	if len(k.acc) != n {
		r.fail()
	}
}

func (r *snapshotReader) events(k *memory, l *Limits) {
	for range r.list(l.Events) {
		raw := r.take(r.count(len(r.s)))
		rule := (&snapshotReader{s: raw, eng: r.eng}).ruleOfEvent()
		q := k.queue(r.eng.kinds.byRule[rule])
		m := q.roomForEvent()
		// The event's texts are pieces of one string.
		e := snapshotReader{s: keepText(q, raw), eng: r.eng}
		e.remembered(m)
		if e.broken || e.s != "" || k.bytes > l.EventBytes {
			r.fail()
			break
		}
		k.enter(q, m, r.eng.p.AllRules[m.rule])
	}
}

// ruleOfEvent is the rule that a remembered event begins with; the event is read
// again from its front.
func (r *snapshotReader) ruleOfEvent() int {
	r.number()
	return r.rule()
}

func (r *snapshotReader) remembered(m *remembered) {
	piece := func() string { return r.take(r.count(len(r.s))) }
	*m = remembered{
		at: r.number(), rule: r.rule(), mark: r.count(countMax),
		category: program.Category(r.count(255)), dynamics: r.count(countMax),
		agentID: piece(), fullLog: piece(),
	}
	switch r.count(logUnset) {
	case logLiteral:
		m.log = value{text: piece(), set: true}
	case logSuffix:
		n := r.count(len(m.fullLog))
		m.log = value{text: m.fullLog[len(m.fullLog)-n:], set: true}
	}
	if n := r.count(len(r.s) + 1); n > 0 {
		m.location, m.located = r.take(n-1), true
	}
	have := r.uvarint()
	if have>>program.NumStatic != 0 {
		r.fail()
	}
	m.static = m.few[:0]
	for i := range program.NumStatic {
		if have>>i&1 == 1 {
			m.static = append(m.static, rememberedStatic{i, piece()})
		}
	}
	if n := r.list(len(r.eng.p.FieldIDs)); n > 0 {
		m.fields = make([]rememberedField, 0, n)
	}
	for range cap(m.fields) {
		id := r.count(len(r.eng.p.FieldIDs) - 1)
		m.fields = append(m.fields, rememberedField{id, piece()})
	}
}
