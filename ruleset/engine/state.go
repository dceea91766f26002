package engine

import (
	"time"

	"vedette/internal/regex"
	"vedette/ruleset/program"
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

// Keyed is the state of all record keys of one partition, or of one log test,
// with the scratch space of the event at hand. It is not safe for concurrent use.
type Keyed struct {
	eng  *Engine
	keys map[string]*keyState
	// newest and oldest are the ends of the list of keys by last use.
	newest, oldest *keyState
	// bytes is the sum of the keys' bytes, evicted how many keys had to go.
	bytes   int
	evicted uint64

	rx        regex.Machine
	json      jsonReader
	ev        event
	res       Result
	names     map[string]*fieldName
	root      *path // of places, of which there are paths
	paths     int
	locations map[locationKey]*location
	tree      dataTree
	open      []*path // see writer.nest
	written   uint64
	buf       []byte
	places    map[string]*value // see geo
	trace     *Trace            // of Explain, else nil
	texts     arena

	lastLocation *location

	xml      xmlDocument
	sections [winSections][]winField
	stamps   timestamps

	// Scratch of the index, all of it of bounded size. An entry whose stamp differs
	// from the event's belongs to an earlier event.
	found       []sourceHits       // by source
	outcomes    []outcome          // by test
	failed      []uint32           // stamps, by rule entry
	candidates  []uint64           // stack of sets of children
	programs    map[string][]int32 // decoders by program name
	programList []int32
	hints       regex.Hints
	orderNames  []*fieldName // see index
}

// keyState is the state that the engine keeps under one record key.
type keyState struct {
	key        string
	next, prev *keyState // next is the one used longer ago
	now        time.Time

	fired     map[int]int // by rule index
	firedHour int64

	queues  []queue // every remembered event, for the bounds
	bySid   map[int]*history
	byGroup map[int]*history
	events  int // in queues
	bytes   int
	seq     int // of the next event

	ignored    map[int]time.Time
	firstSeen  map[string]struct{}
	firstOrder []string
	lastKeys   []string // of category ids, newest last
	diffs      map[diffKey]string
	diffOrder  []diffKey
	acc        map[string]*accumulation
	accLookups int
}

type diffKey struct {
	rule int
	host string
}

// NewState returns an empty state for this engine.
func (e *Engine) NewState() *Keyed {
	n := len(e.p.FieldIDs)
	s := &Keyed{
		eng:       e,
		keys:      map[string]*keyState{},
		locations: map[locationKey]*location{},
		ev:        event{fieldAt: make([]int32, n), stampAt: make([]uint32, n)},
	}
	if x := e.index; x != nil {
		s.found = make([]sourceHits, len(x.scans))
		s.outcomes = make([]outcome, x.tests)
		s.failed = make([]uint32, x.entries)
		s.programs = map[string][]int32{}
		s.orderNames = make([]*fieldName, len(x.orderNames))
	}
	s.forgetNames()
	s.json.use(&s.texts)
	s.tree.array.use(&s.texts)
	s.xml.texts = &s.texts
	return s
}

// clearStamps makes all stamps old.
func (s *Keyed) clearStamps() {
	clear(s.ev.stampAt)
	for i := range s.found {
		s.found[i].stamp = 0
	}
	clear(s.outcomes)
	clear(s.failed)
	s.forgetNames()
}

// Reset forgets all keys.
func (s *Keyed) Reset() {
	clear(s.keys)
	s.newest, s.oldest, s.bytes = nil, nil, 0
}

// Keys is the number of record keys with state.
func (s *Keyed) Keys() int { return len(s.keys) }

// StepsExceeded counts pattern matches that ran out of steps and were taken as
// no match. The index skips patterns that it has ruled out. So the count may be
// lower than in the plain walk, never higher.
func (s *Keyed) StepsExceeded() uint64 { return s.rx.Exceeded() }

// key finds or makes the state of ev's key and moves its clock.
func (s *Keyed) key(ev *schemas.Event) *keyState {
	name := ev.Key()
	k := s.keys[name]
	if k == nil {
		for len(s.keys) >= s.eng.c.Limits.Keys && s.oldest != nil {
			s.evict()
		}
		k = &keyState{key: name, now: ev.Time}
		s.keys[name] = k
	} else {
		s.unlink(k)
	}
	s.pushNewest(k)
	if ev.Time.After(k.now) {
		k.now = ev.Time
	}
	return k
}

func (s *Keyed) pushNewest(k *keyState) {
	k.next = s.newest
	if s.newest != nil {
		s.newest.prev = k
	}
	s.newest = k
	if s.oldest == nil {
		s.oldest = k
	}
}

func (s *Keyed) unlink(k *keyState) {
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

// Evicted counts keys whose state was given up because of Limits.Keys or
// Limits.TotalBytes.
func (s *Keyed) Evicted() uint64 { return s.evicted }

// evict forgets the key used longest ago.
func (s *Keyed) evict() {
	old := s.oldest
	s.unlink(old)
	delete(s.keys, old.key)
	s.bytes -= old.bytes
	s.evicted++
}

// count adds one firing of a rule and returns how often it fired this hour.
func (s *Keyed) count(k *keyState, r *program.Rule) int {
	if !s.eng.c.Logtest {
		_, offset := k.now.In(s.eng.c.Timezone).Zone()
		hour := (k.now.Unix() + int64(offset)) / 3600
		if hour != k.firedHour {
			clear(k.fired)
			k.firedHour = hour
		}
	}
	if k.fired == nil {
		k.fired = map[int]int{}
	}
	k.fired[r.Index]++
	return k.fired[r.Index]
}

func (k *keyState) dropOldestAccumulation() {
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
