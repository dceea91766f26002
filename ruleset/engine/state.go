package engine

import (
	"time"

	"vedette/schemas"
)

// Limits bound the state that the engine keeps. Zero means the default.
type Limits struct {
	// Keys is the most record keys of one Keyed; the longest unused go first.
	Keys int
	// Events and EventBytes bound the events a key remembers for composite
	// rules; the oldest go first.
	Events     int
	EventBytes int
	// TotalBytes bounds the remembered events of all keys of one Keyed; the
	// longest unused keys go first, with all that is known of them.
	TotalBytes int
	// FirstSeen bounds the first-time-seen keys of a key; the oldest go first.
	FirstSeen int
	// Diffs bounds the logs a key keeps for check_diff.
	Diffs int
	// Accumulated bounds the entries of a key's accumulator.
	Accumulated int
}

// Defaults of Limits.
const (
	DefaultKeys        = 50_000
	DefaultEvents      = 8192 // memory_size of 4.14, there for all agents together
	DefaultEventBytes  = 16 << 20
	DefaultTotalBytes  = 512 << 20
	DefaultFirstSeen   = 4096
	DefaultDiffs       = 64
	DefaultAccumulated = 1024
)

func (l Limits) orDefault() Limits {
	def := func(n *int, d int) {
		if *n <= 0 {
			*n = d
		}
	}
	def(&l.Keys, DefaultKeys)
	def(&l.Events, DefaultEvents)
	def(&l.EventBytes, DefaultEventBytes)
	def(&l.TotalBytes, DefaultTotalBytes)
	def(&l.FirstSeen, DefaultFirstSeen)
	def(&l.Diffs, DefaultDiffs)
	def(&l.Accumulated, DefaultAccumulated)
	return l
}

// Keyed judges the events of one partition, or of one log test: it holds the state
// of all their record keys, and the parts of the engine that work on the event at
// hand. It is not safe for concurrent use.
type Keyed struct {
	keys keyStore

	// The event at hand, and the parts that look at it in this order.
	scratch  scratch
	decoding decoding
	modules  modules
	matching matching
	history  searching
	document document
	res      Result
}

// keyStore is the state of a partition: all that later events' judgements depend on.
type keyStore struct {
	limits *Limits
	byName map[string]*keyState
	// newest and oldest are the ends of the list of keys by last use.
	newest, oldest *keyState
	// bytes is the sum of the keys' bytes, evicted how many keys had to go.
	bytes   int
	evicted uint64
}

// keyState is the state that the engine keeps under one record key.
type keyState struct {
	key        string
	next, prev *keyState // next is the one used longer ago
	now        time.Time

	firings
	memory
	firsts
	lastLogs
	accumulator
}

// firings count how often rules fired.
type firings struct {
	fired     map[int]int // by rule index
	firedHour int64
	ignored   map[int]time.Time // when rules with ignore= fired, by rule index
}

// memory holds the events that composite rules can count.
type memory struct {
	queues  []queue // every remembered event, for the bounds
	bySid   map[int]*history
	byGroup map[int]*history
	events  int // in queues
	bytes   int
	seq     int // of the next event
}

// firsts are the keys of <fts> that were seen.
type firsts struct {
	firstSeen  map[string]struct{}
	firstOrder []string
	lastKeys   []string // of category ids, newest last
}

// lastLogs are the last logs by rule and host, for check_diff.
type lastLogs struct {
	diffs     map[diffKey]string
	diffOrder []diffKey
}

// accumulator holds the fields of events that decoders join.
type accumulator struct {
	acc        map[string]*accumulation
	accLookups int
}

type diffKey struct {
	rule int
	host string
}

// NewState returns an empty state for this engine.
func (e *Engine) NewState() *Keyed {
	s := &Keyed{keys: keyStore{limits: &e.c.Limits, byName: map[string]*keyState{}}}
	x := &s.scratch
	x.init(e)
	s.decoding = decoding{scratch: x}
	s.decoding.json.use(&x.texts)
	s.modules = modules{decoding: &s.decoding}
	s.modules.xml.texts = &x.texts
	s.history = searching{scratch: x}
	s.matching = matching{scratch: x, view: view{x}, history: &s.history}
	s.document.tree.array.use(&x.texts)
	if i := e.index; i != nil {
		s.decoding.programs = map[string][]int32{}
		s.matching.outcomes = make([]outcome, i.tests)
		s.matching.failed = make([]uint32, i.entries)
	}
	return s
}

// begin makes ev the event at hand.
func (s *Keyed) begin(ev *schemas.Event, k *keyState) {
	if s.scratch.begin(ev, k) {
		// Stamps begin anew: old ones could look current.
		clear(s.matching.outcomes)
		clear(s.matching.failed)
	}
}

// Reset forgets all keys.
func (s *Keyed) Reset() { s.keys.reset() }

// Keys is the number of record keys with state.
func (s *Keyed) Keys() int { return len(s.keys.byName) }

// StepsExceeded counts pattern matches that ran out of steps and were taken as
// no match. The index skips patterns that it has ruled out. So the count may be
// lower than in the plain walk, never higher.
func (s *Keyed) StepsExceeded() uint64 { return s.scratch.rx.Exceeded() }

// Evicted counts keys whose state was given up because of Limits.Keys or
// Limits.TotalBytes.
func (s *Keyed) Evicted() uint64 { return s.keys.evicted }

func (s *keyStore) reset() {
	clear(s.byName)
	s.newest, s.oldest, s.bytes = nil, nil, 0
}

// of finds or makes the state of ev's key and moves its clock.
func (s *keyStore) of(ev *schemas.Event) *keyState {
	name := ev.Key()
	k := s.byName[name]
	if k == nil {
		for len(s.byName) >= s.limits.Keys && s.oldest != nil {
			s.evict()
		}
		k = &keyState{key: name, now: ev.Time}
		s.byName[name] = k
	} else {
		s.unlink(k)
	}
	s.pushNewest(k)
	if ev.Time.After(k.now) {
		k.now = ev.Time
	}
	return k
}

func (s *keyStore) pushNewest(k *keyState) {
	k.next = s.newest
	if s.newest != nil {
		s.newest.prev = k
	}
	s.newest = k
	if s.oldest == nil {
		s.oldest = k
	}
}

func (s *keyStore) unlink(k *keyState) {
	if k.prev != nil {
		k.prev.next = k.next
	} else {
		s.newest = k.next
	}
	if k.next != nil {
		k.next.prev = k.prev
	} else {
		s.oldest = k.prev
	}
	k.next, k.prev = nil, nil
}

// evict forgets the key used longest ago.
func (s *keyStore) evict() {
	old := s.oldest
	s.unlink(old)
	delete(s.byName, old.key)
	s.bytes -= old.bytes
	s.evicted++
}

// add takes a key of another state, as the one used last.
func (s *keyStore) add(k *keyState) {
	s.byName[k.key] = k
	s.bytes += k.bytes
	s.pushNewest(k)
}

// grown notes that the key used last took more bytes, and evicts other keys beyond
// the bound of all.
func (s *keyStore) grown(bytes int) {
	for s.bytes += bytes; s.bytes > s.limits.TotalBytes && s.oldest != s.newest; {
		s.evict()
	}
}

// count adds one firing of a rule and returns how often it fired this hour, or ever
// if hour does not change.
func (k *firings) count(rule int, hour int64) int {
	if hour != k.firedHour {
		clear(k.fired)
		k.firedHour = hour
	}
	if k.fired == nil {
		k.fired = map[int]int{}
	}
	k.fired[rule]++
	return k.fired[rule]
}

// hour numbers the hour of the key's clock in the engine's zone. The log test never
// clears its counters.
func (e *Engine) hour(k *keyState) int64 {
	if e.c.Logtest {
		return k.firedHour
	}
	_, offset := k.now.In(e.c.Timezone).Zone()
	return (k.now.Unix() + int64(offset)) / 3600
}

func (k *accumulator) dropOldestAccumulation() {
	var oldest string
	at := int64(0)
	found := false
	for key, a := range k.acc {
		if !found || a.at < at || a.at == at && key < oldest {
			oldest, at, found = key, a.at, true
		}
	}
	delete(k.acc, oldest)
}
