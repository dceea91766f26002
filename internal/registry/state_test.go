package registry

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/internal/secret"
	"vedette/schemas"
)

const hour = int64(3600)

// script applies proposals one after the other, numbering and timing them.
type script struct {
	t   *testing.T
	s   *State
	n   int
	now int64 // seconds
}

func newScript(t *testing.T) *script { return &script{t: t, s: NewState(), now: 1_700_000_000} }

func (c *script) apply(p schemas.Proposal, opened string) Outcome {
	c.t.Helper()
	c.n++
	p.V, p.ID, p.Time = 1, fmt.Sprintf("%032d", c.n), c.now*1000
	return c.s.Apply(&p, secret.String(opened), int64(c.n))
}

func (c *script) add(q schemas.AgentAdd, key string) Outcome {
	c.t.Helper()
	if q.IP == "" {
		q.IP = "any"
	}
	return c.apply(schemas.Proposal{Kind: schemas.ProposalAgentAdd, AgentAdd: &q}, key)
}

func (c *script) added(q schemas.AgentAdd, wantID string) Outcome {
	c.t.Helper()
	out := c.add(q, "thekey")
	if out.Refusal != nil || out.Agent.ID != wantID {
		c.t.Errorf("add %s %s: %v, id %s, want id %s", q.Name, q.IP, out.Refusal, out.Agent.ID, wantID)
	}
	return out
}

func (c *script) refused(q schemas.AgentAdd, want Reason, why string) {
	c.t.Helper()
	out := c.add(q, "thekey")
	if out.Refusal == nil || out.Refusal.Reason != want || !strings.Contains(out.Refusal.Why, why) {
		c.t.Errorf("add %s %s: got %v, want %s (%s)", q.Name, q.IP, out.Refusal, want, why)
	}
}

func TestReservedIDsAreNotGivenToNewAgents(t *testing.T) {
	t.Parallel()
	c := newScript(t)
	reserve := func(id string) *Refusal {
		return c.apply(schemas.Proposal{Kind: schemas.ProposalIDReserve, IDReserve: &schemas.IDReserve{AgentID: id}}, "").Refusal
	}
	if r := reserve("050"); r != nil {
		t.Error(r)
	}
	c.added(schemas.AgentAdd{Name: "web"}, "051")
	if r := reserve("007"); r != nil {
		t.Error(r)
	}
	c.added(schemas.AgentAdd{Name: "db"}, "052")
	c.added(schemas.AgentAdd{Name: "old", AgentID: "050"}, "050") // who names it may have it
	for _, id := range []string{"", "000", "x", "123456789"} {
		if r := reserve(id); r == nil || r.Reason != ReasonID {
			t.Errorf("%q: %v", id, r)
		}
	}
}

func (c *script) remove(id string, purge bool) *Refusal {
	return c.apply(schemas.Proposal{Kind: schemas.ProposalAgentRemove, AgentRemove: &schemas.AgentRemove{AgentID: id, Purge: purge}}, "").Refusal
}

func TestIDsAreNeverGivenAgain(t *testing.T) {
	t.Parallel()
	c := newScript(t)
	c.added(schemas.AgentAdd{Name: "a1"}, "001")
	c.added(schemas.AgentAdd{Name: "a2"}, "002")
	if r := c.remove("002", true); r != nil {
		t.Fatal(r)
	}
	c.added(schemas.AgentAdd{Name: "a2"}, "003")
	c.added(schemas.AgentAdd{Name: "imported", AgentID: "050"}, "050")
	c.added(schemas.AgentAdd{Name: "a4"}, "051")
	c.added(schemas.AgentAdd{Name: "big", AgentID: "1023"}, "1023")
	c.added(schemas.AgentAdd{Name: "a5"}, "1024")
	c.added(schemas.AgentAdd{Name: "last", AgentID: "99999999"}, "99999999")
	c.refused(schemas.AgentAdd{Name: "beyond"}, ReasonFull, "no id")
	if r := c.remove("002", true); r == nil || r.Reason != ReasonNotFound {
		t.Errorf("removed twice: %v", r)
	}
}

func TestARemovalForLongAbsenceIsJudgedByWhatWasSeen(t *testing.T) {
	t.Parallel()
	c := newScript(t)
	c.added(schemas.AgentAdd{Name: "web"}, "001")
	registered := c.now
	c.now += 2 * hour
	remove := func(id string, state schemas.AgentState, since, after int64, why string) {
		t.Helper()
		out := c.apply(schemas.Proposal{Kind: schemas.ProposalAgentRemove, AgentRemove: &schemas.AgentRemove{
			AgentID: id, Purge: true, AfterSeconds: after, Seen: &schemas.SeenAgent{ID: "001", State: state, DisconnectionTime: since * 1000},
		}}, "")
		if why == "" && out.Refusal != nil || why != "" && (out.Refusal == nil || !strings.Contains(out.Refusal.Why, why)) {
			t.Errorf("%+v, want %q", out.Refusal, why)
		}
	}
	remove("001", schemas.StateActive, registered+10, hour, "not known to be disconnected")
	remove("001", schemas.StateDisconnected, 0, hour, "not known to be disconnected")
	remove("001", schemas.StateDisconnected, registered+10, 0, "not known to be disconnected")
	remove("001", schemas.StateDisconnected, registered+10, 2*hour, "not been disconnected long enough")
	remove("001", schemas.StateDisconnected, registered-1, hour, "registered since")
	c.added(schemas.AgentAdd{Name: "db"}, "002")
	remove("002", schemas.StateDisconnected, registered+10, hour, "not known to be disconnected") // another was seen
	remove("001", schemas.StateDisconnected, registered+10, hour, "")
	if _, ok := c.s.Agent("001"); ok {
		t.Error("the agent is still there")
	}
}

func TestAddressesCollideByTheirTextWithoutMask(t *testing.T) {
	t.Parallel()
	c := newScript(t)
	c.added(schemas.AgentAdd{Name: "net1", IP: "10.2.0.0/16"}, "001")
	c.added(schemas.AgentAdd{Name: "net2", IP: "10.2.0.0/255.255.0.0"}, "002") // overlap is not tested
	c.refused(schemas.AgentAdd{Name: "host", IP: "10.2.0.0"}, ReasonDuplicateAddress, "replacing is off")
	c.added(schemas.AgentAdd{Name: "other", IP: "10.2.0.1"}, "003")
	c.added(schemas.AgentAdd{Name: "any1"}, "004")
	c.added(schemas.AgentAdd{Name: "any2"}, "005")
	if a, ok := c.s.AgentByHost("10.2.0.0"); !ok || a.ID != "001" {
		t.Error("the first of two networks is the one that is found")
	}
	c.remove("001", true)
	if a, ok := c.s.AgentByHost("10.2.0.0"); !ok || a.ID != "002" || a.IP != "10.2.0.0/16" {
		t.Error("the second network was lost with the first", a)
	}
}

func TestTheForcePolicyDecidesInItsOrder(t *testing.T) {
	t.Parallel()
	def := schemas.DefaultForcePolicy()
	old := func(c *script) Agent {
		out := c.added(schemas.AgentAdd{Name: "web"}, "001")
		return out.Agent
	}
	seen := func(state schemas.AgentState, at int64) []schemas.SeenAgent {
		return []schemas.SeenAgent{{ID: "001", State: state, DisconnectionTime: at * 1000}}
	}
	f := func(name string, age int64, change func(q *schemas.AgentAdd, c *script, a Agent), want string) {
		t.Helper()
		c := newScript(t)
		a := old(c)
		c.now += age
		q := schemas.AgentAdd{Name: "web", Force: def, Seen: seen(schemas.StateNeverConnected, 0)}
		change(&q, c, a)
		out := c.add(q, "newkey")
		switch {
		case want == "" && (out.Refusal != nil || len(out.Replaced) != 1 || out.Replaced[0].ID != "001" || out.Agent.ID != "002"):
			t.Errorf("%s: %+v", name, out)
		case want != "" && (out.Refusal == nil || out.Refusal.Reason != ReasonDuplicateName || !strings.Contains(out.Refusal.Why, want)):
			t.Errorf("%s: got %v, want %s", name, out.Refusal, want)
		}
		if live, ok := c.s.Agent("001"); (want == "") == ok {
			t.Errorf("%s: old agent is there: %v %v", name, ok, live)
		}
	}
	same := func(*schemas.AgentAdd, *script, Agent) {}
	f("never connected, old enough", hour, same, "")
	f("never connected, too young", hour-1, same, "too recently")
	f("too young, but the test is off", 0, func(q *schemas.AgentAdd, _ *script, _ Agent) { q.Force.AfterRegistrationTime = 0 }, "")
	f("off", 9*hour, func(q *schemas.AgentAdd, _ *script, _ Agent) { q.Force.Enabled = false }, "replacing is off")
	f("not known to the proposer", 9*hour, func(q *schemas.AgentAdd, _ *script, _ Agent) { q.Seen = nil }, "did not know")
	f("active", 9*hour, func(q *schemas.AgentAdd, _ *script, _ Agent) { q.Seen = seen(schemas.StateActive, 0) }, "connected")
	f("pending", 9*hour, func(q *schemas.AgentAdd, _ *script, _ Agent) { q.Seen = seen(schemas.StatePending, 0) }, "connected")
	f("disconnected a moment ago", 9*hour, func(q *schemas.AgentAdd, c *script, _ Agent) { q.Seen = seen(schemas.StateDisconnected, c.now-hour+1) }, "long enough")
	f("disconnected an hour ago", 9*hour, func(q *schemas.AgentAdd, c *script, _ Agent) { q.Seen = seen(schemas.StateDisconnected, c.now-hour) }, "")
	f("active, but the test is off", 9*hour, func(q *schemas.AgentAdd, _ *script, _ Agent) {
		q.Seen, q.Force.DisconnectedTimeEnabled = seen(schemas.StateActive, 0), false
	}, "")
	f("the requester holds the key", 9*hour, func(q *schemas.AgentAdd, _ *script, a Agent) { q.KeyHash = a.KeyHash() }, "holds its key")
	f("the requester holds another key", 9*hour, func(q *schemas.AgentAdd, _ *script, _ Agent) { q.KeyHash = strings.Repeat("a", 40) }, "")
	f("key mismatch is not asked for", 9*hour, func(q *schemas.AgentAdd, _ *script, a Agent) {
		q.KeyHash, q.Force.KeyMismatch = a.KeyHash(), false
	}, "")
}

func TestOneRequestMayReplaceTwoAgentsAndARefusalReplacesNone(t *testing.T) {
	t.Parallel()
	c := newScript(t)
	c.added(schemas.AgentAdd{Name: "web", IP: "10.0.0.1"}, "001")
	c.added(schemas.AgentAdd{Name: "db"}, "002")
	c.now += hour
	never := func(ids ...string) (out []schemas.SeenAgent) {
		for _, id := range ids {
			out = append(out, schemas.SeenAgent{ID: id, State: schemas.StateNeverConnected})
		}
		return out
	}
	c.refused(schemas.AgentAdd{Name: "db", IP: "10.0.0.1", Force: schemas.DefaultForcePolicy(), Seen: never("001")}, ReasonDuplicateName, "did not know")
	c.refused(schemas.AgentAdd{Name: "vm", HostName: "vm", IP: "10.0.0.1", Force: schemas.DefaultForcePolicy(), Seen: never("001")}, ReasonHostName, "")
	if _, ok := c.s.Agent("001"); !ok {
		t.Error("a refused request removed an agent")
	}
	out := c.added(schemas.AgentAdd{Name: "db", IP: "10.0.0.1", Force: schemas.DefaultForcePolicy(), Seen: never("001", "002")}, "003")
	if len(out.Replaced) != 2 || len(c.s.Agents()) != 1 {
		t.Errorf("replaced %d, %d left", len(out.Replaced), len(c.s.Agents()))
	}
}

func TestARemovedAgentStaysOnlyWithoutPurge(t *testing.T) {
	t.Parallel()
	c := newScript(t)
	c.added(schemas.AgentAdd{Name: "ag2", IP: "10.0.0.0/8"}, "001")
	c.added(schemas.AgentAdd{Name: "ag3"}, "002")
	c.remove("001", false)
	var out bytes.Buffer
	if err := WriteClientKeys(&out, c.s.Agents()); err != nil {
		t.Fatal(err)
	}
	if want := "002 ag3 any thekey\n001 !ag2 10.0.0.0 thekey\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
	if _, ok := c.s.Agent("001"); ok {
		t.Error("a removed agent may connect")
	}
	c.added(schemas.AgentAdd{Name: "ag2", IP: "10.0.0.0"}, "003") // neither name nor address is taken
	if r := c.remove("001", false); r == nil {
		t.Error("removed twice")
	}
	if r := c.remove("001", true); r != nil || len(c.s.Agents()) != 2 {
		t.Error("not purged")
	}
}

func TestBadAgentsAreRefusedOnEveryPath(t *testing.T) {
	t.Parallel()
	c := newScript(t)
	c.refused(schemas.AgentAdd{Name: "a b"}, ReasonName, "")
	c.refused(schemas.AgentAdd{Name: "ab", IP: "10.0.0.300"}, ReasonAddress, "")
	c.refused(schemas.AgentAdd{Name: "ab", AgentID: "x y"}, ReasonID, "")
	c.refused(schemas.AgentAdd{Name: "ab", Groups: []string{"../x"}}, ReasonGroups, "")
	if out := c.add(schemas.AgentAdd{Name: "ab"}, "a key"); out.Refusal == nil || out.Refusal.Reason != ReasonKey {
		t.Error("key with a space accepted")
	}
	c.added(schemas.AgentAdd{Name: "ab"}, "001")
	c.refused(schemas.AgentAdd{Name: "other", AgentID: "001"}, ReasonDuplicateID, "off")
}

func TestARepeatedRecordChangesNothing(t *testing.T) {
	t.Parallel()
	s := NewState()
	p := schemas.Proposal{V: 1, ID: strings.Repeat("1", 32), Kind: schemas.ProposalAgentAdd, AgentAdd: &schemas.AgentAdd{Name: "web", IP: "any"}}
	s.Apply(&p, "thekey", 0)
	del := schemas.Proposal{V: 1, ID: strings.Repeat("2", 32), Kind: schemas.ProposalAgentRemove, AgentRemove: &schemas.AgentRemove{AgentID: "001", Purge: true}}
	s.Apply(&del, "", 1)
	if out := s.Apply(&p, "thekey", 2); out.Refusal == nil || out.Refusal.Reason != ReasonRepeated || len(s.Agents()) != 0 {
		t.Errorf("a replayed record brought an agent back: %+v", out)
	}
}

func TestUsersAndTheTokenKeyAreGivenOnce(t *testing.T) {
	t.Parallel()
	c := newScript(t)
	user := func(name, hash string) *Refusal {
		return c.apply(schemas.Proposal{Kind: schemas.ProposalUserAdd, UserAdd: &schemas.UserAdd{Name: name}}, hash).Refusal
	}
	if r := user("wazuh", "h1"); r != nil {
		t.Fatal(r)
	}
	if r := user("wazuh", "h2"); r == nil || r.Reason != ReasonUserExists || c.s.users["wazuh"].PasswordHash != "h1" {
		t.Error("the second user of a name won", r)
	}
	token := func(k string) *Refusal {
		return c.apply(schemas.Proposal{Kind: schemas.ProposalTokenKey, TokenKey: &schemas.TokenKey{}}, k).Refusal
	}
	if r := token("k1"); r != nil {
		t.Fatal(r)
	}
	if r := token("k2"); r == nil || r.Reason != ReasonTokenKeyExists || c.s.token != "k1" {
		t.Error("the second token key won", r)
	}
}

func TestKeyFilesAreReadAsTheReferenceReadsThem(t *testing.T) {
	t.Parallel()
	got, err := ParseClientKeys(strings.NewReader("# comment\n 999 indented any k1\n001 ag1 any key1\n002 !gone 10.0.0.0 key2\n003 #gone any key3\n" +
		"004 ag4 10.2.0.0/255.255.0.0 key4\r\n005 bad name any\n006 x any key6\nabc ag7 any key7\n007 ag8 10.0.0.300 key8\n008 last any keylast"))
	want := []KeyLine{
		{ID: "001", Name: "ag1", IP: "any", Key: "key1", Line: 3},
		{ID: "002", Name: "gone", IP: "10.0.0.0", Key: "key2", Removed: true, Line: 4},
		{ID: "003", Name: "gone", IP: "any", Key: "key3", Removed: true, Line: 5},
		{ID: "004", Name: "ag4", IP: "10.2.0.0/16", Key: "key4", Line: 6},
		{ID: "008", Name: "last", IP: "any", Key: "keylast", Line: 11},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, n := range []string{"line 7", "line 8", "line 9", "line 10"} {
		if err == nil || !strings.Contains(err.Error(), n+":") {
			t.Errorf("%s is not reported: %v", n, err)
		}
	}
	if strings.Contains(fmt.Sprint(err), "key6") {
		t.Error("the report prints a key")
	}
	long, _ := ParseClientKeys(strings.NewReader("001 " + strings.Repeat("a", 200) + " any key\n002 ag2 any " + strings.Repeat("k", 5000) + "\n003 ag3 any k3\n"))
	if len(long) != 3 || len(long[0].Name) != 127 || len(long[1].Key) != 127 || long[2].ID != "003" {
		t.Errorf("long lines: %d", len(long))
	}
}

func FuzzParseClientKeys(f *testing.F) {
	f.Add("001 ag1 any key1\n002 !gone 10.0.0.0 key2\n")
	f.Add("# x\n 1\n\n004 ag4 fe80::1/64 k4")
	f.Fuzz(func(t *testing.T, s string) {
		lines, _ := ParseClientKeys(strings.NewReader(s))
		var agents []Agent
		for _, l := range lines {
			if !l.Removed {
				agents = append(agents, Agent{ID: l.ID, Name: l.Name, IP: l.IP, Key: l.Key})
			}
		}
		var out bytes.Buffer
		if err := WriteClientKeys(&out, agents); err != nil {
			t.Fatal(err)
		}
		again, err := ParseClientKeys(&out)
		if err != nil || len(again) != len(agents) {
			t.Fatalf("what was written does not read back: %v", err)
		}
		for i := range again {
			if again[i].ID != agents[i].ID || again[i].Name != agents[i].Name || again[i].IP != agents[i].IP || again[i].Key != agents[i].Key {
				t.Fatalf("%+v became %+v", agents[i], again[i])
			}
		}
	})
}

func FuzzApply(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"00000000000000000000000000000001","kind":"agent.add","agent_add":{"name":"web","ip":"any"}}`), "thekey")
	f.Add([]byte(`{"v":1,"id":"00000000000000000000000000000002","kind":"group.add","group_add":{"name":"web"}}`), "")
	f.Add([]byte(`{"v":1,"id":"00000000000000000000000000000003","kind":"group.remove","group_remove":{"name":"default"}}`), "")
	f.Add([]byte(`{"v":1,"id":"00000000000000000000000000000004","kind":"agent.groups","agent_groups":{"agent_id":"001","mode":"append","groups":["web","default","web"]}}`), "")
	f.Add([]byte(`{"v":1,"id":"00000000000000000000000000000005","kind":"registry.activate","activate":{"formats":{"group.add":1}}}`), "")
	f.Fuzz(func(t *testing.T, value []byte, opened string) {
		p, err := schemas.KnownFormats().Parse(value)
		if err != nil {
			return
		}
		s := NewState()
		s.addGroup("web")
		s.Apply(&schemas.Proposal{V: 1, ID: "first", Kind: schemas.ProposalAgentAdd, AgentAdd: &schemas.AgentAdd{Name: "ag1", IP: "any"}}, "thekey", 0)
		out := s.Apply(&p, secret.String(opened), 1)
		if again, err := DecodeState(s.AppendBinary(nil)); err != nil || !bytes.Equal(again.AppendBinary(nil), s.AppendBinary(nil)) {
			t.Fatalf("the state does not read back: %v", err)
		}
		consistent(t, s)
		var r *Refusal
		if out.Refusal != nil && !errors.As(error(out.Refusal), &r) {
			t.Fatal("a refusal is no error")
		}
	})
}
