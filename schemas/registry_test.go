package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update-agents", false, "rewrite the golden registry and presence records")

func goldenProposals() map[string]Proposal {
	base := func(k ProposalKind) Proposal {
		return Proposal{V: 1, ID: "00112233445566778899aabbccddeeff", Kind: k, Proposer: "node01", Time: 1700000000123}
	}
	add, remove, user, token := base(ProposalAgentAdd), base(ProposalAgentRemove), base(ProposalUserAdd), base(ProposalTokenKey)
	reserve := base(ProposalIDReserve)
	reserve.IDReserve = &IDReserve{AgentID: "050"}
	add.AgentAdd = &AgentAdd{
		Name: "web1", IP: "10.2.0.0/255.255.0.0", AgentID: "050", Key: []byte("sealed"),
		KeyHash: "d2175c14fcc7c6ed027ec36e8951ec8f0c81e653", Groups: []string{"default"}, HostName: "vm",
		Force: DefaultForcePolicy(), Seen: []SeenAgent{{ID: "007", State: StateDisconnected, DisconnectionTime: 1690000000000}},
	}
	remove.AgentRemove = &AgentRemove{AgentID: "050", Purge: true}
	user.UserAdd = &UserAdd{Name: "wazuh", PasswordHash: []byte("sealed"), Roles: []string{"administrator"}}
	token.TokenKey = &TokenKey{PEM: []byte("sealed")}
	groupAdd, groupRemove, groups := base(ProposalGroupAdd), base(ProposalGroupRemove), base(ProposalAgentGroups)
	groupAdd.GroupAdd, groupRemove.GroupRemove = &GroupName{Name: "web"}, &GroupName{Name: "web"}
	lost := base(ProposalAgentRemove)
	lost.AgentRemove = &AgentRemove{AgentID: "050", Seen: &SeenAgent{ID: "050", State: StateDisconnected, DisconnectionTime: 1690000000000}, AfterSeconds: 86400}
	groups.AgentGroups = &AgentGroups{AgentID: "050", Mode: GroupsAppend, Groups: []string{"web", "db"}}
	activate := base(ProposalActivate)
	activate.Activate = &Activate{Formats: Formats{ProposalGroupAdd: 1, ProposalUserAdd: 1}}
	return map[string]Proposal{
		"registry.activate": activate, "agent.add": add, "agent.remove": remove, "agent.remove.lost": lost, "id.reserve": reserve, "user.add": user, "token.key": token,
		"group.add": groupAdd, "group.remove": groupRemove, "agent.groups": groups,
	}
}

func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	var indented bytes.Buffer
	if err := json.Indent(&indented, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	if *update {
		if err := os.WriteFile(path, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), indented.String()); d != "" {
		t.Errorf("%s is written differently:\n%s", name, d)
	}
	return want
}

func TestEveryGoldenProposalDecodesAndRoundTrips(t *testing.T) {
	for name, want := range goldenProposals() {
		b, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := KnownFormats().Parse(golden(t, "registry-v1-"+name+".json", b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

func TestAProposalOfAnUnknownShapeIsRefused(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]error{
		`{"v":0,"id":"00112233445566778899aabbccddeeff","kind":"agent.add","agent_add":{}}`: ErrProposalVersion,
		`{"v":1,"id":"00112233445566778899aabbccddeeff","kind":"agent.add"}`:                ErrProposalShape,
		`{"v":1,"id":"short","kind":"agent.add","agent_add":{}}`:                            ErrProposalShape,
		strings.Repeat(" ", MaxProposalBytes+1):                                             ErrProposalTooLarge,
	} {
		if _, err := KnownFormats().Parse([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%.60s: %v, want %v", in, err, want)
		}
	}
	// Records of a later version are told apart from broken ones.
	for _, in := range []string{
		`{"v":2,"id":"00112233445566778899aabbccddeeff","kind":"agent.add","proposer":"n2","agent_add":{}}`,
		`{"v":1,"id":"00112233445566778899aabbccddeeff","kind":"agent.fly","proposer":"n2"}`,
		`{"v":2,"proposer":"n2"}`,
		`{"v":1,"id":"00112233445566778899aabbccddeeff","kind":"registry.activate","proposer":"n2","activate":{"formats":{"agent.add":1,"agent.fly":1}}}`,
		`{"v":1,"id":"00112233445566778899aabbccddeeff","kind":"registry.activate","proposer":"n2","activate":{"formats":{"agent.add":2}}}`,
	} {
		_, err := KnownFormats().Parse([]byte(in))
		var unknown *UnknownProposalError
		if !errors.As(err, &unknown) || unknown.Proposer != "n2" {
			t.Errorf("%s: %v; it must be reported as unknown, with the node that wrote it", in, err)
		}
	}
	// A later version may add fields.
	if _, err := KnownFormats().Parse([]byte(`{"v":1,"id":"00112233445566778899aabbccddeeff","kind":"agent.remove","agent_remove":{"agent_id":"001"},"later":1}`)); err != nil {
		t.Error(err)
	}
}

func TestTheSweepSpeaksOnlyOfSilence(t *testing.T) {
	active := Presence{State: StateActive, LastKeepalive: 100, Session: "a"}
	found := Presence{State: StateDisconnected, LastKeepalive: 100, Sweep: true, LostSince: 900}
	told := Presence{State: StateDisconnected, LastKeepalive: 100, Sweep: true}
	f := func(p, before Presence, want bool) {
		t.Helper()
		if got := p.Follows(&before); got != want {
			t.Errorf("%+v after %+v: %v", p, before, got)
		}
	}
	later := active
	later.LastKeepalive = 101
	f(found, active, true)
	f(found, later, false) // it was heard meanwhile
	f(found, found, false) // another owner has found it
	f(found, told, false)
	f(found, Presence{State: StateDisconnected, LastKeepalive: 100, Session: "a"}, false) // it has said goodbye
	f(told, found, true)
	f(told, active, false)
	f(told, Presence{State: StateDisconnected, LastKeepalive: 100, Connected: 101}, false)
	f(later, found, true)
	f(later, told, true)
}

func TestTheGoldenPresenceDecodesAndRoundTrips(t *testing.T) {
	want := Presence{
		V: 1, ID: "001", State: StateActive, Gateway: "node01", Address: "192.0.2.7", AgentIP: "192.168.7.7", Version: "Wazuh v4.14.7",
		OS:     OS{Name: "Debian GNU/Linux", Platform: "debian", Version: "12", Major: "12", Codename: "bookworm", Uname: "Linux |host1", Arch: "x86_64"},
		Labels: []string{`"env":prod`, `!"hid":1`}, ConfigSum: "ab73af41699f13fdd81903b5f23d8d00", MergedSum: "x",
		Updated: 1700000000123, LastKeepalive: 1700000000100, Connected: 1700000000000, Node: "node01",
	}
	swept := want
	swept.State, swept.StatusCode, swept.DisconnectionTime = StateDisconnected, StatusNoKeepalive, 1700000900200
	swept.Sweep, swept.LostSince, swept.Removing = true, 1700000900200, 1700000900300
	if rec, err := swept.Record(); err != nil {
		t.Fatal(err)
	} else {
		rec.Value = golden(t, "presence-v1-swept.json", rec.Value)
		if got, _, err := ParsePresence(&rec); err != nil || cmp.Diff(swept, got) != "" {
			t.Error(err, cmp.Diff(swept, got))
		}
	}
	rec, err := want.Record()
	if err != nil {
		t.Fatal(err)
	}
	rec.Value = golden(t, "presence-v1.json", rec.Value)
	got, gone, err := ParsePresence(&rec)
	if err != nil || gone {
		t.Fatal(err, gone)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	tomb := PresenceTombstone("001")
	if p, gone, err := ParsePresence(&tomb); err != nil || !gone || p.ID != "001" {
		t.Error("tombstone", p, gone, err)
	}
	rec.Key = []byte("002")
	if _, _, err := ParsePresence(&rec); !errors.Is(err, ErrPresence) {
		t.Error("a record under another agent's key was accepted")
	}
}

func TestAddressRulesAreNormalised(t *testing.T) {
	t.Parallel()
	f := func(in, requested, stored, host string) {
		t.Helper()
		r, err := ParseAddressRule(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			return
		}
		if r.Requested() != requested || r.String() != stored || r.Host() != host {
			t.Errorf("%s: got %q %q %q", in, r.Requested(), r.String(), r.Host())
		}
	}
	f("any", "any", "any", "any")
	f("!10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1")
	f("10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8", "10.0.0.0")
	f("10.2.0.0/255.255.0.0", "10.2.0.0/255.255.0.0", "10.2.0.0/16", "10.2.0.0")
	f("::ffff:10.1.1.1", "10.1.1.1", "10.1.1.1", "10.1.1.1")
	f("::ffff:10.1.1.0/120", "10.1.1.0/24", "10.1.1.0/24", "10.1.1.0")
	f("fe80::1", "FE80:0000:0000:0000:0000:0000:0000:0001", "FE80:0000:0000:0000:0000:0000:0000:0001", "FE80:0000:0000:0000:0000:0000:0000:0001")
	f("fe80::/10", "FE80:0000:0000:0000:0000:0000:0000:0000/10", "FE80:0000:0000:0000:0000:0000:0000:0000/10", "FE80:0000:0000:0000:0000:0000:0000:0000")
	for _, bad := range []string{"", "x", "10.0.0.300", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/255.0.255.0", "fe80::1%eth0", "1.2.3.4 ", "anyone", "10.0.0.0/-1", "::1/129"} {
		if _, err := ParseAddressRule(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	m := func(rule, addr string, want bool) {
		t.Helper()
		r, _ := ParseAddressRule(rule)
		if r.Match(netip.MustParseAddr(addr)) != want {
			t.Errorf("%s match %s: want %v", rule, addr, want)
		}
	}
	m("any", "::1", true)
	m("10.2.0.0/255.255.0.0", "10.2.9.9", true)
	m("10.2.0.0/255.255.0.0", "::ffff:10.2.9.9", true)
	m("10.2.0.0/16", "10.3.0.1", false)
	m("10.2.0.1", "10.2.0.1", true)
	m("10.2.0.1", "10.2.0.2", false)
	m("fe80::1", "fe80::1%eth0", true)
}

func TestNamesIDsAndGroupsAreBounded(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"ag": true, "a": false, ".ag": false, "a.b-c_D9": true, "a b": false, "": false, strings.Repeat("a", 128): true, strings.Repeat("a", 129): false, "ä1": false} {
		if ValidAgentName(name) != want {
			t.Errorf("name %q: want %v", name, want)
		}
	}
	for id, want := range map[string]bool{"001": true, "000": false, "9": true, "12345678": true, "123456789": false, "00a": false, "": false} {
		if ValidAgentID(id) != want {
			t.Errorf("id %q: want %v", id, want)
		}
	}
	for g, want := range map[string]bool{"default": true, "a:b": false, ".": false, "..": false, "": false} {
		if ValidGroupName(g) != want {
			t.Errorf("group %q: want %v", g, want)
		}
	}
}

func TestTheGoldenSnapshotManifestDecodesAndBadOnesDoNot(t *testing.T) {
	want := SnapshotManifest{
		V: 1, ID: "00112233445566778899aabbccddeeff", Format: 1, TopicID: "AAAAAAAAAAAAAAAAAAAAAA", Offset: 9999, Node: "node01", Time: 1700000000123,
		Bytes: SnapshotChunkBytes + 1, SHA256: strings.Repeat("ab", 32), Chunks: []int64{7, 9},
	}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseSnapshotManifest(golden(t, "snapshot-v1.json", b))
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	for name, change := range map[string]func(m *SnapshotManifest){
		"version":      func(m *SnapshotManifest) { m.V = 2 },
		"id":           func(m *SnapshotManifest) { m.ID = "x" },
		"no chunk":     func(m *SnapshotManifest) { m.Chunks = nil },
		"order":        func(m *SnapshotManifest) { m.Chunks = []int64{9, 7} },
		"chunks bytes": func(m *SnapshotManifest) { m.Bytes = 3 * SnapshotChunkBytes },
		"offset":       func(m *SnapshotManifest) { m.Offset = -2 },
		"too many":     func(m *SnapshotManifest) { m.Bytes, m.Chunks = 1<<40, make([]int64, SnapshotChunksMax+1) },
	} {
		m := want
		change(&m)
		b, _ := m.Encode()
		if _, err := ParseSnapshotManifest(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
