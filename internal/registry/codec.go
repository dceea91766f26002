package registry

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"vedette/internal/secret"
	"vedette/schemas"
)

// Versions of the form that AppendBinary writes. A state without activations has
// the first, so that programs from before activation read it.
const (
	formFirst      = 1
	formActivation = 2 // with the active formats
	formAccess     = 3 // with access, once changes of it are active
	formNewest     = formAccess
)

func (s *State) form() int {
	if s.access != nil {
		return formAccess
	}
	if len(s.active) > 0 {
		return formActivation
	}
	return formFirst
}

// errState says that bytes are no state, without saying where: they are sealed,
// so that nobody but this program can have written them.
var errState = errors.New("not a state of the registry")

// AppendBinary appends the whole state to b. Equal states give equal bytes,
// however they came about. The result holds keys in clear text.
func (s *State) AppendBinary(b []byte) []byte {
	w := writer(b)
	w.uint(uint64(s.form()))
	if s.form() >= formActivation {
		w.uint(uint64(len(s.active)))
		for _, kind := range slices.Sorted(maps.Keys(s.active)) {
			w.text(string(kind))
			w.uint(uint64(s.active[kind]))
		}
	}
	w.int(s.offset)
	w.uint(uint64(s.maxID))
	w.int(s.seq)
	w.text(s.token.Reveal())
	w.texts(slices.Sorted(maps.Keys(s.groups)))

	w.uint(uint64(len(s.users)))
	for _, name := range slices.Sorted(maps.Keys(s.users)) {
		u := s.users[name]
		w.text(u.Name)
		w.text(u.PasswordHash.Reveal())
		w.texts(u.Roles)
		w.bool(u.RunAs)
		w.int(u.Created.UnixMilli())
		if s.access != nil {
			w.uint(uint64(u.ID))
			w.int(u.NotBefore)
		}
	}
	if s.access != nil {
		s.access.append(&w)
	}

	// In the order of addition, which is that of byHost.
	agents := make([]*Agent, 0, len(s.agents))
	for _, a := range s.agents {
		agents = append(agents, a)
	}
	slices.SortFunc(agents, func(a, b *Agent) int { return cmp.Compare(a.seq, b.seq) })
	w.uint(uint64(len(agents)))
	for _, a := range agents {
		w.text(a.ID)
		w.text(a.Name)
		w.text(a.Rule.Requested())
		w.text(a.Key.Reveal())
		w.texts(a.Groups)
		w.int(a.Registered.UnixMilli())
		w.bool(a.Removed)
		w.int(a.seq)
	}

	// Oldest first, so that where the ring begins does not show.
	w.uint(uint64(len(s.order)))
	for i := range s.order {
		w.proposalID(s.order[(s.next+i)%len(s.order)])
	}
	return w
}

// DecodeState returns the state that AppendBinary wrote.
func DecodeState(b []byte) (*State, error) {
	r := reader{b: b}
	form := r.uint()
	if form < formFirst || form > formNewest {
		return nil, fmt.Errorf("%w: form %d, this program knows %d", errState, form, formNewest)
	}
	s := NewState()
	if form >= formActivation {
		s.active = schemas.Formats{}
		for range r.count(activeMax) {
			kind := schemas.ProposalKind(r.text())
			s.active[kind] = int(r.uint())
		}
		if len(s.active) == 0 {
			return nil, errState
		}
	}
	s.offset = r.int()
	s.maxID = int(r.uint())
	s.seq = r.int()
	s.token = secret.String(r.text())
	for _, g := range r.texts() {
		s.groups[g] = 0
	}
	for range r.count(usersMax) {
		u := User{Name: r.text(), PasswordHash: secret.String(r.text()), Roles: r.texts(), RunAs: r.bool(), Created: time.UnixMilli(r.int())}
		if form >= formAccess {
			u.ID, u.NotBefore = int(r.uint()), r.int()
		}
		s.users[u.Name] = u
	}
	if form >= formAccess {
		s.access = r.access()
	}
	n := r.count(agentsMax)
	s.agents, s.byName = make(map[string]*Agent, n), make(map[string]string, n)
	for range n {
		a := &Agent{ID: r.text(), Name: r.text()}
		rule, err := schemas.ParseAddressRule(r.text())
		if err != nil || r.bad {
			return nil, errState
		}
		a.Rule, a.IP = rule, rule.String()
		a.Key, a.Groups, a.Registered, a.Removed, a.seq = secret.String(r.text()), r.texts(), time.UnixMilli(r.int()), r.bool(), r.int()
		s.agents[a.ID] = a
		if a.Removed {
			a.IP = rule.Host()
			continue
		}
		s.byName[a.Name] = a.ID
		if !rule.Any() {
			s.byHost[rule.Host()] = append(s.byHost[rule.Host()], a.ID)
		}
		if _, unknown := s.unknownGroup(a.Groups); unknown {
			return nil, errState
		}
		s.count(a.Groups, 1)
	}
	n = r.count(seenMax)
	s.order, s.seen = make([]string, 0, n), make(map[string]struct{}, n)
	for range n {
		id := r.proposalID()
		s.order = append(s.order, id)
		s.seen[id] = struct{}{}
	}
	if r.bad || len(r.b) != 0 {
		return nil, errState
	}
	return s, nil
}

// append writes access in the order of ids.
func (a *Access) append(w *writer) {
	for _, n := range []int{a.nextUser, a.nextRole, a.nextPolicy, a.nextRule} {
		w.uint(uint64(n))
	}
	w.int(a.TokenSeconds)
	w.bool(a.Black)
	w.int(a.RunAsNotBefore)
	w.uint(uint64(len(a.NotBefore)))
	for _, id := range slices.Sorted(maps.Keys(a.NotBefore)) {
		w.uint(uint64(id))
		w.int(a.NotBefore[id])
	}
	w.uint(uint64(len(a.Roles)))
	for _, id := range slices.Sorted(maps.Keys(a.Roles)) {
		x := a.Roles[id]
		w.uint(uint64(id))
		w.text(x.Name)
		w.ids(x.Policies)
		w.ids(x.Rules)
	}
	w.uint(uint64(len(a.Policies)))
	for _, id := range slices.Sorted(maps.Keys(a.Policies)) {
		x := a.Policies[id]
		w.uint(uint64(id))
		w.text(x.Name)
		w.texts(x.Actions)
		w.texts(x.Resources)
		w.bool(x.Deny)
	}
	w.uint(uint64(len(a.Rules)))
	for _, id := range slices.Sorted(maps.Keys(a.Rules)) {
		x := a.Rules[id]
		w.uint(uint64(id))
		w.text(x.Name)
		w.text(string(x.Rule))
	}
}

// access reads the bytes of Access.append.
func (r *reader) access() *Access {
	a := newAccess()
	for _, n := range []*int{&a.nextUser, &a.nextRole, &a.nextPolicy, &a.nextRule} {
		*n = int(r.uint())
	}
	a.TokenSeconds, a.Black, a.RunAsNotBefore = r.int(), r.bool(), r.int()
	for range r.count(2 * accessMax) {
		id := int(r.uint())
		a.NotBefore[id] = r.int()
	}
	for range r.count(2 * accessMax) {
		x := Role{ID: int(r.uint()), Name: r.text(), Policies: r.ids(), Rules: r.ids()}
		a.Roles[x.ID] = x
	}
	for range r.count(accessMax) {
		x := Policy{ID: int(r.uint()), Name: r.text(), Actions: r.texts(), Resources: r.texts(), Deny: r.bool()}
		a.Policies[x.ID] = x
	}
	for range r.count(accessMax) {
		x := SecurityRule{ID: int(r.uint()), Name: r.text()}
		x.Rule = json.RawMessage(r.text())
		a.Rules[x.ID] = x
	}
	return a
}

func (w *writer) ids(l []int) {
	w.uint(uint64(len(l)))
	for _, id := range l {
		w.uint(uint64(id))
	}
}

func (r *reader) ids() []int {
	var l []int // nil for none, as before the first link
	for range r.count(linksMax) {
		l = append(l, int(r.uint()))
	}
	return l
}

type writer []byte

func (w *writer) uint(v uint64) { *w = binary.AppendUvarint(*w, v) }
func (w *writer) int(v int64)   { *w = binary.AppendVarint(*w, v) }

func (w *writer) bool(v bool) {
	var b byte
	if v {
		b = 1
	}
	*w = append(*w, b)
}

func (w *writer) text(s string) {
	w.uint(uint64(len(s)))
	*w = append(*w, s...)
}

func (w *writer) texts(l []string) {
	w.uint(uint64(len(l)))
	for _, s := range l {
		w.text(s)
	}
}

// proposalID takes half the room for ids as this program makes them.
func (w *writer) proposalID(id string) {
	if raw, err := hex.DecodeString(id); err == nil && hex.EncodeToString(raw) == id {
		*w = append(append(*w, byte(len(raw))), raw...)
		return
	}
	*w = append(*w, 0)
	w.text(id)
}

// reader takes the bytes of a writer apart; bad is set once something is missing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of entries, each of which takes a byte at least.
func (r *reader) count(limit uint64) int {
	n := r.uint()
	if n > limit || n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) bool() bool {
	b := r.take(1)
	return len(b) == 1 && b[0] == 1
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) text() string { return string(r.take(r.uint())) }

func (r *reader) texts() []string {
	var l []string // nil for none, as where no list was given
	for range r.count(groupsMax) {
		l = append(l, r.text())
	}
	return l
}

func (r *reader) proposalID() string {
	n := r.take(1)
	if len(n) == 0 {
		return ""
	}
	if n[0] == 0 {
		return r.text()
	}
	return hex.EncodeToString(r.take(uint64(n[0])))
}
