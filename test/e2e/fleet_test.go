//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vedette/internal/datadir"
	"vedette/schemas"
	"vedette/test/harness"
)

// node is a process that comes up again under its own addresses.
type node struct {
	in   *installation
	name string
	role string
	env  []string
	p    *harness.Process
}

func (n *node) start() {
	n.in.t.Helper()
	was := n.in.env
	n.in.env = append(slices.Clone(was), n.env...)
	n.p = n.in.launch(n.name, n.role)
	n.in.env = was
	n.p.Endpoints(n.in.t, time.Minute)
}

// written is the gateway's count of acknowledged events.
func (n *node) metrics(prefix string) map[string]string {
	n.in.t.Helper()
	return harness.Metrics(n.in.t, n.p.Endpoints(n.in.t, time.Minute).Metrics, prefix)
}

// Three gateways and two enrollment nodes behind one address, three brokers, two
// thousand agents. Nodes are stopped in order, then killed, then a broker is.
func TestAFleetLivesOnWhileNodesComeAndGo(t *testing.T) {
	if !servers.Owned() {
		t.Skip("the servers come from outside and cannot be killed")
	}
	const agents, eps = 2000, 400
	in := install(t, "fleet", 12)
	addr := func() string { return fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)) }
	var gateways, enrollers []*node
	var gwAddrs, enAddrs []string
	for i := range 3 {
		a := addr()
		gwAddrs = append(gwAddrs, a)
		gateways = append(gateways, &node{in: in, name: fmt.Sprintf("gw%d", i+1), role: "ingest", env: []string{"VEDETTE_INGEST_TCP=" + a, fmt.Sprintf("VEDETTE_CLUSTER_NODE=gw%d", i+1)}})
		gateways[i].start()
	}
	for i := range 2 {
		a := addr()
		enAddrs = append(enAddrs, a)
		enrollers = append(enrollers, &node{in: in, name: fmt.Sprintf("enroll%d", i+1), role: "enroll", env: []string{"VEDETTE_ENROLL_LISTEN=" + a, fmt.Sprintf("VEDETTE_CLUSTER_NODE=enroll%d", i+1)}})
		enrollers[i].start()
	}
	at := harness.Balance(t, map[string][]string{"agents": gwAddrs, "enrollment": enAddrs})
	front := datadir.Endpoints{Ingest: at["agents"], Enroll: at["enrollment"]}
	keys := filepath.Join(in.dir, "keys")
	sim := harness.StartSimulate(t, harness.SimulateConfig{
		Agents: agents, EPS: eps, Duration: 15 * time.Minute, Front: front, PasswordFile: filepath.Join(in.dir, "enrollment-password"), KeysFile: keys,
	})
	back := func(what string) {
		t.Helper()
		begin := time.Now()
		time.Sleep(1500 * time.Millisecond) // the progress line is of the last second
		for sim.Connected() < agents {
			if time.Since(begin) > 30*time.Second {
				t.Fatalf("%s: %d of %d agents are connected after 30 s", what, sim.Connected(), agents)
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("%s: all %d agents are connected after %.1f s", what, agents, time.Since(begin).Seconds())
	}
	eventually(t, 2*time.Minute, "all agents are connected", func() bool { return sim.Connected() == agents })

	// Nothing is lost where none is killed.
	for _, n := range slices.Concat(gateways, enrollers) {
		if err := n.p.Stop(time.Minute); err != nil {
			t.Fatal(err)
		}
		n.start()
		back("rolled " + n.name)
	}
	killed := time.Now()
	var windows float64
	for _, n := range slices.Concat(gateways, enrollers) {
		if n.role == "ingest" {
			m := n.metrics("vedette_ingest_in_flight_events")
			var f float64
			fmt.Sscan(m["vedette_ingest_in_flight_events"], &f)
			windows += f
		}
		n.p.Kill()
		back("killed " + n.name)
		n.start()
	}
	if err := servers.KillBroker(1); err != nil {
		t.Fatal(err)
	}
	back("killed a broker")
	if err := servers.StartKafka(); err != nil {
		t.Fatal(err)
	}
	back("the broker came back")
	sim.WaitSent(t, sim.Sent()+5*eps)
	sim.End()
	report := sim.Wait(t)
	for _, n := range gateways {
		if err := n.p.Stop(time.Minute); err != nil {
			t.Fatal(err)
		}
	}

	events := in.records(schemas.TopicEvents)
	seen := marks(events)
	lost, doubled := report.Sent-int64(len(seen)), 0
	for _, n := range seen {
		if n > 1 {
			doubled++
		}
	}
	// Which lines are missing, by when the next one of the agent came.
	early := 0
	when := map[string]map[int]time.Time{}
	for _, rec := range events {
		if m := seqMark.FindSubmatch(rec.Value); m != nil {
			name, seq, _ := cutLast(string(m[1]), "-")
			if when[name] == nil {
				when[name] = map[int]time.Time{}
			}
			var n int
			fmt.Sscan(seq, &n)
			when[name][n] = rec.Timestamp
		}
	}
	for _, lines := range when {
		last := 0
		for n := range lines {
			last = max(last, n)
		}
		for n := 1; n < last; n++ {
			if _, ok := lines[n]; ok {
				continue
			}
			next := n
			for lines[next].IsZero() {
				next++
			}
			if lines[next].Before(killed) {
				early++
			}
		}
	}
	t.Logf("sent %d, written %d, sent − written %d (in flight at the gateways just before they were killed: %.0f), doubled %d, missing before the first kill %d, reconnects %d, refused %d",
		report.Sent, len(seen), lost, windows, doubled, early, report.Reconnects, report.Refused)
	if early != 0 || doubled != 0 {
		t.Errorf("%d lines are missing from before the first kill, %d stand twice", early, doubled)
	}
	// Each killed gateway had a third of the agents, each of which can have had
	// lines under way: what was in flight, and what stood in the sockets.
	if lost < 0 || lost > 3*agents {
		t.Errorf("%d lines are lost", lost)
	}

	// No agent is lost, no id or name given twice.
	type agent struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	var list []agent
	for d := json.NewDecoder(bytes.NewReader(in.vedette(nil, "agents", "list", "--json"))); d.More(); {
		var a agent
		if err := d.Decode(&a); err != nil {
			t.Fatal(err)
		}
		if a.ID != schemas.ManagerID {
			list = append(list, a)
		}
	}
	ids, names := map[string]bool{}, map[string]bool{}
	for _, a := range list {
		if ids[a.ID] || names[a.Name] {
			t.Errorf("agent %s %s stands twice", a.ID, a.Name)
		}
		ids[a.ID], names[a.Name] = true, true
	}
	if len(list) != agents {
		t.Errorf("%d agents in the registry, want %d", len(list), agents)
	}
	for name := range when {
		if !names[name] {
			t.Errorf("agent %s has sent events and is not in the registry", name)
		}
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
