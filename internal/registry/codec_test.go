package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"vedette/internal/secret"
	"vedette/schemas"
)

// command is one random record: a proposal with its sealed field in clear text,
// or one that every reader skips.
type command struct {
	p      schemas.Proposal
	opened secret.String
	skip   bool
}

// commands makes a log of every kind of proposal over few names, so that they
// meet, with repeated and skipped records in between.
func commands(rng *rand.Rand, n int) []command {
	pick := func(s ...string) string { return s[rng.IntN(len(s))] }
	name := func() string { return fmt.Sprint("ag", rng.IntN(12)) }
	id := func() string { return fmt.Sprintf("%03d", 1+rng.IntN(30)) }
	group := func() string { return pick("default", "a", "b", "c", "d", "../x", "") }
	groups := func() (gs []string) {
		for range rng.IntN(4) {
			gs = append(gs, pick("default", "a", "b", "c"))
		}
		return gs
	}
	address := func() string {
		return pick("any", "any", "10.0.0.1", "10.0.0.2", "10.0.0.0/8", "10.0.0.0/255.0.0.0", "fe80::1", "fe80::1/64", "::ffff:10.0.0.3", "x")
	}
	var out []command
	now := int64(1_700_000_000_000)
	for len(out) < n {
		if len(out) > 0 && rng.IntN(20) == 0 {
			out = append(out, out[rng.IntN(len(out))])
			continue
		}
		now += rng.Int64N(2 * 3600 * 1000)
		c := command{p: schemas.Proposal{V: 1, ID: fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64()), Proposer: pick("n1", "n2"), Time: now}, opened: "thekey"}
		if rng.IntN(50) == 0 {
			c.p.ID = fmt.Sprintf("%032X", rng.Uint64()) // not as this program writes them
		}
		switch k := rng.IntN(100); {
		case k < 35:
			a := &schemas.AgentAdd{Name: name(), IP: address(), Groups: groups(), HostName: "ag11", Force: schemas.DefaultForcePolicy()}
			a.Force.Purge, a.Force.Enabled = rng.IntN(2) == 0, rng.IntN(4) > 0
			if rng.IntN(4) == 0 {
				a.AgentID = id()
			}
			for range rng.IntN(3) {
				state := []schemas.AgentState{schemas.StateNeverConnected, schemas.StateActive, schemas.StateDisconnected}[rng.IntN(3)]
				a.Seen = append(a.Seen, schemas.SeenAgent{ID: id(), State: state, DisconnectionTime: now - rng.Int64N(4*3600*1000)})
			}
			c.p.Kind, c.p.AgentAdd = schemas.ProposalAgentAdd, a
			c.opened = secret.String(fmt.Sprintf("key%d", rng.IntN(1000)))
		case k < 50:
			r := &schemas.AgentRemove{AgentID: id(), Purge: rng.IntN(2) == 0}
			if rng.IntN(3) == 0 {
				r.Seen = &schemas.SeenAgent{ID: r.AgentID, State: schemas.StateDisconnected, DisconnectionTime: now - rng.Int64N(4*3600*1000)}
				r.AfterSeconds = rng.Int64N(3 * 3600)
			}
			c.p.Kind, c.p.AgentRemove = schemas.ProposalAgentRemove, r
		case k < 55:
			c.p.Kind, c.p.IDReserve = schemas.ProposalIDReserve, &schemas.IDReserve{AgentID: id()}
		case k < 60:
			c.p.Kind, c.p.UserAdd = schemas.ProposalUserAdd, &schemas.UserAdd{Name: pick("u1", "u2", ""), Roles: groups(), RunAs: rng.IntN(2) == 0}
		case k < 62:
			c.p.Kind, c.p.TokenKey = schemas.ProposalTokenKey, &schemas.TokenKey{}
		case k < 70:
			c.p.Kind, c.p.GroupAdd = schemas.ProposalGroupAdd, &schemas.GroupName{Name: group()}
		case k < 75:
			c.p.Kind, c.p.GroupRemove = schemas.ProposalGroupRemove, &schemas.GroupName{Name: group()}
		case k < 77:
			c.p.Kind, c.p.Activate = schemas.ProposalActivate, &schemas.Activate{Formats: schemas.Formats{schemas.ProposalAccess: 1}}
		case k < 87:
			ops := slices.Sorted(maps.Keys(accessOps))
			object := func() int { return []int{1, 2, 3, 100, 101, 102, 103, 104}[rng.IntN(8)] }
			q := &schemas.AccessChange{
				Op: ops[rng.IntN(len(ops))], ID: object(), Link: object(), Name: pick("x", "y", "z"), Actions: []string{pick("agent:read", "agent:delete")},
				Resources: []string{"agent:id:*"}, Rule: json.RawMessage(pick(`{"FIND":{"a":1}}`, `{"MATCH":{"b":2}}`, `{`)), TokenSeconds: rng.Int64N(1000) - 10,
			}
			if at := rng.IntN(4) - 1; at >= 0 {
				q.Position = &at
			}
			c.p.Kind, c.p.Access = schemas.ProposalAccess, q
		case k < 97:
			mode := []schemas.GroupMode{schemas.GroupsOverride, schemas.GroupsAppend, schemas.GroupsRemove, schemas.GroupsIfNone, "x"}[rng.IntN(5)]
			c.p.Kind, c.p.AgentGroups = schemas.ProposalAgentGroups, &schemas.AgentGroups{AgentID: id(), Mode: mode, Groups: groups()}
		default:
			c.skip = true
		}
		out = append(out, c)
	}
	return out
}

func (c *command) applyTo(s *State, offset int) {
	if c.skip {
		s.Skip(int64(offset))
		return
	}
	p := c.p
	s.Apply(&p, c.opened, int64(offset))
}

// TestEveryReaderComesToTheSameStateByteForByte is D5's property: however often
// a reader begins with a snapshot, at the same offset it holds the same bytes.
func TestEveryReaderComesToTheSameStateByteForByte(t *testing.T) {
	t.Parallel()
	accepted := 0
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		log := commands(rng, 600)
		// The brokers order the records of several proposers: any order is possible.
		rng.Shuffle(len(log), func(i, j int) { log[i], log[j] = log[j], log[i] })
		straight := NewState()
		readers := []*State{NewState(), NewState(), NewState()}
		for i := range log {
			log[i].applyTo(straight, i)
			for n, r := range readers {
				log[i].applyTo(r, i)
				if rng.IntN(40) > n*10 {
					continue
				}
				again, err := DecodeState(r.AppendBinary(nil))
				if err != nil {
					t.Fatalf("seed %d, offset %d: %v", seed, i, err)
				}
				readers[n] = again
			}
			if i%50 == 0 || i == len(log)-1 {
				want := straight.AppendBinary(nil)
				for n, r := range readers {
					if !bytes.Equal(want, r.AppendBinary(nil)) {
						t.Fatalf("seed %d, offset %d: reader %d differs", seed, i, n)
					}
				}
				consistent(t, straight)
			}
		}
		accepted += len(straight.agents)
	}
	if accepted < 30 {
		t.Errorf("only %d agents in all: the logs test nothing", accepted)
	}
}

// consistent checks what is derived within a state against what it derives from.
func consistent(t *testing.T, s *State) {
	t.Helper()
	groups, names, hosts := map[string]int{}, 0, 0
	for g := range s.groups {
		groups[g] = 0
	}
	for id, a := range s.agents {
		if a.ID != id || a.Removed && a.Groups != nil {
			t.Errorf("agent %s: %+v", id, a)
		}
		if a.Removed {
			continue
		}
		names++
		if s.byName[a.Name] != id {
			t.Errorf("agent %s is not found by its name", id)
		}
		if !a.Rule.Any() {
			hosts++
			if !slices.Contains(s.byHost[a.Rule.Host()], id) {
				t.Errorf("agent %s is not found by its address", id)
			}
		}
		for _, g := range a.Groups {
			groups[g]++
		}
	}
	n := 0
	for _, ids := range s.byHost {
		n += len(ids)
	}
	if names != len(s.byName) || hosts != n || !reflect.DeepEqual(groups, s.groups) {
		t.Errorf("%d names of %d, %d addresses of %d, groups %v of %v", len(s.byName), names, n, hosts, s.groups, groups)
	}
}

func TestASnapshotHoldsEveryFieldOfTheState(t *testing.T) {
	t.Parallel()
	// Who adds a field adds it to AppendBinary and DecodeState, adds a form
	// and lists it here.
	want := map[reflect.Type][]string{
		reflect.TypeFor[State]():        {"agents", "byName", "byHost", "maxID", "seq", "groups", "users", "token", "access", "active", "offset", "seen", "order", "next"},
		reflect.TypeFor[Agent]():        {"ID", "Name", "IP", "Key", "Groups", "Registered", "Removed", "Rule", "seq"},
		reflect.TypeFor[Access]():       {"Roles", "Policies", "Rules", "NotBefore", "RunAsNotBefore", "TokenSeconds", "Black", "nextUser", "nextRole", "nextPolicy", "nextRule"},
		reflect.TypeFor[Role]():         {"ID", "Name", "Policies", "Rules"},
		reflect.TypeFor[Policy]():       {"ID", "Name", "Actions", "Resources", "Deny"},
		reflect.TypeFor[SecurityRule](): {"ID", "Name", "Rule"},
		reflect.TypeFor[User]():         {"ID", "Name", "PasswordHash", "Roles", "RunAs", "Created", "NotBefore"},
	}
	for typ, fields := range want {
		var got []string
		for f := range typ.Fields() {
			got = append(got, f.Name)
		}
		if !slices.Equal(got, fields) {
			t.Errorf("%s has the fields %q", typ, got)
		}
	}
}

func FuzzDecodeState(f *testing.F) {
	s := NewState()
	log := commands(rand.New(rand.NewPCG(1, 2)), 200)
	for i := range log {
		log[i].applyTo(s, i)
	}
	f.Add(NewState().AppendBinary(nil))
	f.Add(s.AppendBinary(nil))
	s.activate(&schemas.Activate{Formats: schemas.Formats{schemas.ProposalGroupAdd: 2}})
	f.Add(s.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeState(b)
		if err != nil {
			return
		}
		once := s.AppendBinary(nil)
		again, err := DecodeState(once)
		if err != nil || !bytes.Equal(once, again.AppendBinary(nil)) {
			t.Fatalf("what was written does not read back: %v", err)
		}
	})
}
