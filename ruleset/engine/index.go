package engine

import (
	"slices"

	"vedette/internal/regex"
	"vedette/internal/regex/literal"
	"vedette/ruleset/program"
)

// index limits the search for each event to the decoders and rules that it could
// match. New prepares it from a Program. It is never written afterwards, and all
// Keyed of an Engine share it.
//
// It rests on guards: facts that must hold for a pattern to match and that cost
// next to nothing to test, such as a text that one scan of the log has found or
// not. A rule that the index leaves out could not have matched. The others are
// judged by the same matchers as in the plain walk (match.go, decode.go). A
// condition that the index does not know is left to its own test.
type index struct {
	roots []*ruleEntry
	// entries is the number of rules in the tree.
	entries int
	// tests is the number of distinct pairs of source and pattern.
	tests int
	// scans find the texts of guards in the sources that have any.
	scans []*literal.Set

	// orderNames are the names of dynamic fields in orders of decoders, once each.
	orderNames []string

	// chainKeys are the keys by which composite rules find old events.
	chainKeys []chainKey

	withProgram, withoutProgram []decoderEntry
	// byFirst are the places in withoutProgram that a log may match by its first
	// byte alone, byText those by a text that it holds.
	byFirst [256][]uint64
	byText  textGuards
}

// source numbers the places from which conditions read a text.
type source int32

// The sources. Static and dynamic fields follow each other at the end.
const (
	fromLog source = iota
	fromProgram
	fromLocation
	fromHostname
	fromUser
	fromStatic
	fromDynamic = fromStatic + source(program.NumStatic)
)

// sourceOf returns the number of a source of texts; ok is false for values that are
// worked out.
func sourceOf(from program.Source) (src source, ok bool) {
	switch from.Kind {
	case program.FromLog:
		return fromLog, true
	case program.FromProgramName:
		return fromProgram, true
	case program.FromLocation:
		return fromLocation, true
	case program.FromHostname:
		return fromHostname, true
	case program.FromUser:
		return fromUser, true
	case program.FromStatic:
		return fromStatic + source(from.Static), true
	case program.FromDynamic:
		return fromDynamic + source(from.Field), true
	}
	return 0, false
}

// guard is a regex.Guard with its texts as numbers of the source's scan.
type guard struct {
	any   bool
	exact bool
	texts []int32
	first *[4]uint64 // nil for none
}

// found tells whether the scan met one of the texts.
func (g *guard) found(hits []uint64) bool {
	for _, t := range g.texts {
		if hits[t>>6]>>(t&63)&1 == 1 {
			return true
		}
	}
	return false
}

// begins tells whether a subject may match by its first byte.
func (g *guard) begins(low string) bool {
	return g.first != nil && low != "" && g.first[low[0]>>6]>>(low[0]&63)&1 == 1
}

// ruleEntry is a rule with the rules below it. An event meets a few of thousands.
// So the data that a trial reads fits into one cache line.
type ruleEntry struct {
	rule  *program.Rule
	tests []test
	// children is nil if there are none.
	children *children
	id       int32
	// chain is the number of a composite's chainKey.
	chain     int32
	composite bool
	noAlert   bool
	// stateless says that trying the rule in vain changes nothing, here and
	// below: a second try for the same event would fail again.
	stateless bool

	_ [13]byte // entries begin where a cache line does
}

// test is a condition. Those on texts share their outcome with equal ones.
type test struct {
	pattern *regex.Pattern
	guard   *guard
	cond    *program.Condition
	src     source
	// id is the number of the pair of source and pattern, for testDecoder the
	// decoder's number.
	id     int32
	kind   testKind
	negate bool
	// changes says that testing changes the state, see program.Demands.
	changes bool
}

type testKind uint8

const (
	testText testKind = iota
	testDecoder
	testOther
)

// children are the rules below a rule, in their order, and which of them an
// event could match. Places are positions in list.
type children struct {
	list []*ruleEntry
	// all are the places whose rules name no decoder, byDecoder the others.
	all       group
	byDecoder map[int]*group
	words     int
	// few says that grouping does not pay.
	few bool
}

// group holds places with the facts that could make each match. Each place is in
// one list.
type group struct {
	always []int32
	equal  []equalGuard
	there  []thereGuard
	texts  []textGuards
}

// equalGuard finds places by the value of a field, in lower case.
type equalGuard struct {
	src    source
	values map[string][]int32
}

// thereGuard finds places that need a field, whatever its value.
type thereGuard struct {
	src    source
	places []int32
}

// textGuards finds places whose pattern needs a text in a field, or a byte at
// its beginning.
type textGuards struct {
	src source
	// begins and guards are for those that a first byte can do for.
	begins []int32
	guards []*guard
	// places are those that texts, by their numbers, make possible.
	texts  []int32
	places [][]int32
	// at is by number 1 + where the text stands in texts, if these are many.
	at []uint16
}

// manyTexts are found by the texts that an event has, fewer one by one.
const manyTexts = 12

// find adds the places that one of the texts found makes possible.
func (t *textGuards) find(hits *literal.Hits, set []uint64) {
	if t.at == nil {
		for i, n := range t.texts {
			if hits.Found[n>>6]>>(n&63)&1 == 1 {
				addPlaces(set, t.places[i])
			}
		}
		return
	}
	for _, n := range hits.List {
		if int(n) < len(t.at) && t.at[n] > 0 {
			addPlaces(set, t.places[t.at[n]-1])
		}
	}
}

func addPlaces(set []uint64, places []int32) {
	for _, at := range places {
		set[at>>6] |= 1 << (at & 63)
	}
}

func (t *textGuards) add(g *guard, at int32) {
	if g.first != nil {
		t.begins, t.guards = append(t.begins, at), append(t.guards, g)
	}
	for _, n := range g.texts {
		i := slices.Index(t.texts, n)
		if i < 0 {
			i = len(t.texts)
			t.texts, t.places = append(t.texts, n), append(t.places, nil)
		}
		t.places[i] = append(t.places[i], at)
	}
}

// done is called when all places are added.
func (t *textGuards) done() {
	if len(t.texts) <= manyTexts {
		return
	}
	t.at = make([]uint16, slices.Max(t.texts)+1)
	for i, n := range t.texts {
		t.at[n] = uint16(i + 1)
	}
}

// decoderEntry is a decoder with the guards of its patterns and all data that a
// trial reads. Entries of one parent lie side by side, because dozens of them may
// read a firewall's log in turn.
type decoderEntry struct {
	d *program.Decoder

	regex       *regex.Pattern
	regexOffset program.Offset
	more        bool // see MoreSiblings of Decoder
	order       []orderField
	regexGuard  guard
	// The numbers of the texts for the hints of its patterns, -1 for none.
	regexNeeds []int32

	prematch      *regex.Pattern
	prematchGuard guard
	prematchNeeds []int32
	children      []decoderEntry
}

// orderField is a field that a group goes to: a static one, or the dynamic one of
// index.orderNames[name].
type orderField struct {
	name   int32 // -1 for a static field
	static program.Static
}

// indexer builds an index.
type indexer struct {
	x       *index
	entries map[*program.Rule]*ruleEntry
	tests   map[testKey]int32
	guards  map[testKey]*guard
	names   map[string]int32   // of orders
	packed  []test             // see moved
	texts   []map[string]int32 // by source
	lists   [][]string
	// least is the least length of the texts of guards at the moment.
	least int
}

type testKey struct {
	src source
	p   *regex.Pattern
}

func newIndex(p *program.Program) *index {
	sources := int(fromDynamic) + len(p.FieldIDs)
	b := &indexer{
		x:       &index{scans: make([]*literal.Set, sources)},
		entries: map[*program.Rule]*ruleEntry{},
		tests:   map[testKey]int32{},
		guards:  map[testKey]*guard{},
		names:   map[string]int32{},
		texts:   make([]map[string]int32, sources),
		lists:   make([][]string, sources),
	}
	x := b.x
	b.least = literal.Min
	for _, d := range p.WithProgram {
		x.withProgram = append(x.withProgram, b.decoder(d))
	}
	for _, d := range p.WithoutProgram {
		x.withoutProgram = append(x.withoutProgram, b.decoder(d))
	}
	for _, n := range p.Roots {
		// The rules below the roots come first, since texts are numbered once.
		for _, c := range n.Children {
			b.conditions(c.Rule)
		}
	}
	for _, list := range [][]decoderEntry{x.withProgram, x.withoutProgram} {
		for i := range list {
			e := &list[i]
			for _, c := range e.d.Children {
				e.children = append(e.children, b.decoder(c))
			}
		}
	}
	b.least = deepTexts
	for _, n := range p.Roots {
		x.roots = append(x.roots, b.rule(n))
	}
	b.packDecoders()
	b.firstBytes()
	for src, texts := range b.lists {
		if len(texts) > 0 {
			x.scans[src] = literal.New(texts)
		}
	}
	x.tests, x.entries = len(b.tests), len(b.entries)
	return x
}

// rule indexes the rule of n and the rules below it, once for all its places.
func (b *indexer) rule(n *program.Node) *ruleEntry {
	r := n.Rule
	if e := b.entries[r]; e != nil {
		return e
	}
	e := &ruleEntry{
		rule: r, id: int32(len(b.entries)), composite: r.Composite != nil, noAlert: r.NoAlert,
		stateless: r.Composite == nil || !r.NoAlert,
	}
	b.entries[r] = e
	if r.Composite != nil {
		e.chain = b.chain(chainKeyOf(r.Composite))
	}
	for i := range r.Conds {
		t := b.test(&r.Conds[i])
		e.tests = append(e.tests, t)
		e.stateless = e.stateless && !t.changes
	}
	e.tests = moved(&b.packed, e.tests)
	if len(n.Children) == 0 {
		return e
	}
	e.children = &children{}
	for _, c := range n.Children {
		child := b.rule(c)
		e.children.list = append(e.children.list, child)
		e.stateless = e.stateless && child.stateless
	}
	b.group(e.children)
	return e
}

func (b *indexer) chain(k chainKey) int32 {
	equal := func(o chainKey) bool {
		return o.global == k.global && o.whole == k.whole && slices.Equal(o.same, k.same) && slices.Equal(o.fields, k.fields)
	}
	at := slices.IndexFunc(b.x.chainKeys, equal)
	if at < 0 {
		at = len(b.x.chainKeys)
		b.x.chainKeys = append(b.x.chainKeys, k)
	}
	return int32(at)
}

func (b *indexer) test(c *program.Condition) test {
	d := (*c).Demands()
	if d.Decoder != 0 {
		return test{cond: c, kind: testDecoder, id: int32(d.Decoder)}
	}
	src, ok := sourceOf(d.Value)
	if !ok || d.Pattern == nil {
		return test{cond: c, kind: testOther, changes: d.Changes}
	}
	key := testKey{src, d.Pattern}
	id, known := b.tests[key]
	if !known {
		id = int32(len(b.tests))
		b.tests[key] = id
	}
	t := test{cond: c, pattern: d.Pattern, kind: testText, src: src, id: id, negate: d.Negate}
	if src == fromLog {
		if g := b.guard(src, d.Pattern); !g.any && g.first == nil {
			t.guard = g
		}
	}
	return t
}

// deepTexts is the least length of the texts that the log is scanned for on
// behalf of rules below the top. Shorter ones are met in many logs,
// and most events never come to where they matter.
const deepTexts = 7

// guard makes the guard of a pattern over a source, and adds its texts to those
// that the source is scanned for.
func (b *indexer) guard(src source, p *regex.Pattern) *guard {
	key := testKey{src, p}
	if g := b.guards[key]; g != nil {
		return g
	}
	from := p.Guard(b.least)
	g := &guard{any: from.Any, exact: from.Exact}
	if from.HasFirst {
		g.first = &from.First
	}
	b.guards[key] = g
	for _, t := range from.Texts {
		id := b.text(src, t)
		if id < 0 {
			*g = guard{any: true}
			return g
		}
		g.texts = append(g.texts, id)
	}
	return g
}

// text numbers a text that a source is scanned for; -1 when there are too many.
func (b *indexer) text(src source, t string) int32 {
	if id, ok := b.texts[src][t]; ok {
		return id
	}
	if len(b.lists[src]) == literal.MaxTexts {
		return -1
	}
	if b.texts[src] == nil {
		b.texts[src] = map[string]int32{}
	}
	id := int32(len(b.lists[src]))
	b.lists[src] = append(b.lists[src], t)
	b.texts[src][t] = id
	return id
}

// fewChildren are tried one by one: each is cheaper than finding out which to try.
const fewChildren = 3

func (b *indexer) group(c *children) {
	if len(c.list) <= fewChildren {
		c.few = true
		return
	}
	c.words = (len(c.list) + 63) / 64
	c.byDecoder = map[int]*group{}
	byDecoder := map[*group][]int32{&c.all: nil}
	order := []*group{&c.all}
	for i, e := range c.list {
		g := &c.all
		if len(e.tests) > 0 && e.tests[0].kind == testDecoder {
			id := int(e.tests[0].id)
			if g = c.byDecoder[id]; g == nil {
				g = &group{}
				c.byDecoder[id] = g
				order = append(order, g)
			}
		}
		byDecoder[g] = append(byDecoder[g], int32(i))
	}
	for _, g := range order {
		b.fill(g, c.list, byDecoder[g])
	}
}

// textsPay is how many places of a group must share a source other than the log
// before it is worth a scan.
const textsPay = 4

// fill puts each place of a group where the best of its conditions finds it: by
// a field's value, by a text in the log, by a text in a field, by a field's being
// there at all.
func (b *indexer) fill(g *group, list []*ruleEntry, places []int32) {
	inTexts := map[source]int{}
	for _, at := range places {
		if _, src, _ := b.best(list[at]); src >= 0 {
			inTexts[src]++
		}
	}
	for _, at := range places {
		e := list[at]
		values, src, there := b.best(e)
		switch {
		case values != nil:
			g.addEqual(values, at)
		case src == fromLog || src > fromLog && inTexts[src] >= textsPay:
			b.addTexts(g, src, e, at)
		case there >= 0:
			g.addThere(there, at)
		default:
			g.always = append(g.always, at)
		}
	}
	for i := range g.texts {
		g.texts[i].done()
	}
}

// unguarded tells whether a pattern's guard would be of no use, without adding
// texts to a scan.
func (b *indexer) unguarded(src source, p *regex.Pattern) bool {
	if g := b.guards[testKey{src, p}]; g != nil {
		return g.any
	}
	from := p.Guard(b.least)
	return from.Any
}

// best picks the guards of a rule from its conditions: a test of a field's value,
// the source of a required text, and a source that must be present. The latter
// two are -1 if there is none.
func (b *indexer) best(e *ruleEntry) (values *test, texts, there source) {
	texts, there = -1, -1
	for i := range e.tests {
		t := &e.tests[i]
		if t.changes {
			break // a later condition must not keep this one from being tested
		}
		if t.kind != testText {
			continue
		}
		if t.src >= fromUser || t.src == fromProgram {
			if there < fromDynamic {
				there = t.src
			}
		}
		if t.negate {
			continue
		}
		if _, ok := t.pattern.Values(); ok && values == nil && t.src != fromLog {
			values = t
		}
		if texts != fromLog && !b.unguarded(t.src, t.pattern) {
			texts = t.src
		}
	}
	return values, texts, there
}

func (g *group) addEqual(t *test, at int32) {
	values, _ := t.pattern.Values()
	i := 0
	for i < len(g.equal) && g.equal[i].src != t.src {
		i++
	}
	if i == len(g.equal) {
		g.equal = append(g.equal, equalGuard{src: t.src, values: map[string][]int32{}})
	}
	seen := map[string]bool{}
	for _, v := range values {
		if !seen[v] {
			seen[v] = true
			g.equal[i].values[v] = append(g.equal[i].values[v], at)
		}
	}
}

func (b *indexer) addTexts(g *group, src source, e *ruleEntry, at int32) {
	i := 0
	for i < len(g.texts) && g.texts[i].src != src {
		i++
	}
	if i == len(g.texts) {
		g.texts = append(g.texts, textGuards{src: src})
	}
	for j := range e.tests {
		t := &e.tests[j]
		if t.kind != testText || t.src != src || t.negate {
			continue
		}
		if own := b.guard(src, t.pattern); !own.any {
			g.texts[i].add(own, at)
			return
		}
	}
	g.always = append(g.always, at) // there were too many texts
}

func (g *group) addThere(src source, at int32) {
	for i := range g.there {
		if g.there[i].src == src {
			g.there[i].places = append(g.there[i].places, at)
			return
		}
	}
	g.there = append(g.there, thereGuard{src, []int32{at}})
}

func (b *indexer) decoder(d *program.Decoder) decoderEntry {
	e := decoderEntry{
		d: d, regex: d.Regex, regexOffset: d.RegexOffset, more: d.MoreSiblings, regexGuard: guard{any: true},
		prematch: d.Prematch, prematchGuard: guard{any: true},
	}
	if d.Prematch != nil {
		e.prematchGuard = *b.guard(fromLog, d.Prematch)
		if d.PrematchOffset != program.OffsetNone {
			e.prematchGuard.withoutFirst()
		}
		e.prematchNeeds = b.needs(d.Prematch)
	}
	if d.Regex != nil {
		e.regexGuard = *b.guard(fromLog, d.Regex)
		if d.RegexOffset != program.OffsetNone {
			e.regexGuard.withoutFirst()
		}
		e.regexNeeds = b.needs(d.Regex)
	}
	for i := range d.Order {
		o := orderField{name: -1, static: d.Order[i].Static}
		if d.Order[i].Dynamic {
			o.name = b.orderName(d.Order[i].Name)
		}
		e.order = append(e.order, o)
	}
	return e
}

func (b *indexer) orderName(name string) int32 {
	n, known := b.names[name]
	if !known {
		n = int32(len(b.x.orderNames))
		b.x.orderNames, b.names[name] = append(b.x.orderNames, name), n
	}
	return n
}

// packDecoders brings the lists of entries together, in the order in which
// entries are tried.
func (b *indexer) packDecoders() {
	var numbers []int32
	var orders []orderField
	each := func(fn func(*decoderEntry)) {
		for _, list := range [][]decoderEntry{b.x.withProgram, b.x.withoutProgram} {
			for i := range list {
				fn(&list[i])
				for k := range list[i].children {
					fn(&list[i].children[k])
				}
			}
		}
	}
	each(func(e *decoderEntry) {
		for _, list := range []*[]int32{&e.prematchGuard.texts, &e.prematchNeeds, &e.regexGuard.texts, &e.regexNeeds} {
			*list = moved(&numbers, *list)
		}
		e.order = moved(&orders, e.order)
	})
}

// moved appends list to all and returns the copy there. Lists that were moved
// before keep their own memory if all had to grow.
func moved[T any](all *[]T, list []T) []T {
	if len(list) == 0 {
		return nil
	}
	if len(*all)+len(list) > cap(*all) {
		*all = make([]T, 0, max(movedTogether, len(list)))
	}
	from := len(*all)
	*all = append(*all, list...)
	return (*all)[from:len(*all):len(*all)]
}

// movedTogether is the length of the pieces of memory that moved fills.
const movedTogether = 1024

// needs numbers the texts for a pattern's hints on the log.
func (b *indexer) needs(p *regex.Pattern) (ids []int32) {
	for _, t := range p.Needs(b.least) {
		id := int32(-1)
		if t != "" {
			id = b.text(fromLog, t)
		}
		ids = append(ids, id)
	}
	return ids
}

// conditions makes the guards of a rule's conditions on the log.
func (b *indexer) conditions(r *program.Rule) {
	for i := range r.Conds {
		if d := r.Conds[i].Demands(); d.Pattern != nil && d.Value.Kind == program.FromLog {
			b.guard(fromLog, d.Pattern)
		}
	}
}

// withoutFirst is for a pattern that does not begin where the log begins.
func (g *guard) withoutFirst() {
	if g.first != nil {
		*g = guard{any: true}
	}
}

// firstBytes sorts the decoders without program name by the log's first byte.
func (b *indexer) firstBytes() {
	x := b.x
	words := (len(x.withoutProgram) + 63) / 64
	for c := range x.byFirst {
		x.byFirst[c] = make([]uint64, words)
	}
	for i := range x.withoutProgram {
		g := &x.withoutProgram[i].prematchGuard
		bit := uint64(1) << (i & 63)
		x.byText.add(g, int32(i))
		for c := range x.byFirst {
			if g.any || g.begins(string([]byte{byte(c)})) {
				x.byFirst[c][i>>6] |= bit
			}
		}
	}
	x.byText.done()
}
