//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vedette/ingest/secure"
	"vedette/internal/secret"
	"vedette/schemas"
)

// gateways starts two processes with the role ingest.
func (in *installation) gateways() (a, b *node) {
	in.t.Helper()
	a = &node{in: in, name: "gw1", role: "ingest", env: []string{"VEDETTE_CLUSTER_NODE=gw1"}}
	b = &node{in: in, name: "gw2", role: "ingest", env: []string{"VEDETTE_CLUSTER_NODE=gw2"}}
	a.start()
	b.start()
	return a, b
}

// count is the value of one of a node's counters, 0 if it has none.
func (n *node) count(name string) (v int) {
	n.in.t.Helper()
	fmt.Sscan(n.metrics(name)[name], &v)
	return v
}

// holder is whoever holds an agent's key, connected to a gateway.
type holder struct {
	t    *testing.T
	id   string
	key  *secure.Key
	c    net.Conn
	ctr  secure.Counter
	enc  secure.Encoder
	acks chan struct{}
	// ended is closed when the gateway has ended the connection, at over.
	ended chan struct{}
	over  atomic.Int64 // Unix milliseconds
}

// imported registers agents and returns their keys, by name.
func (in *installation) imported(names ...string) map[string][]string {
	in.t.Helper()
	var file strings.Builder
	for i, name := range names {
		fmt.Fprintf(&file, "%03d %s any %s\n", i+1, name, secret.RandomHex(32))
	}
	path := filepath.Join(in.dir, "client.keys")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		in.t.Fatal(err)
	}
	in.vedette(nil, "agents", "import", path)
	return in.exported()
}

// exported reads the keys of all agents, by name.
func (in *installation) exported() map[string][]string {
	in.t.Helper()
	keys := map[string][]string{}
	for line := range strings.Lines(string(in.vedette(nil, "agents", "export"))) {
		if f := strings.Fields(line); len(f) == 4 {
			keys[f[1]] = f
		}
	}
	return keys
}

// hold connects with an agent's key, starts up and sends a keepalive.
func (in *installation) hold(n *node, line []string) *holder {
	in.t.Helper()
	c, err := net.Dial("tcp", n.p.Endpoints(in.t, time.Minute).Ingest)
	if err != nil {
		in.t.Fatal(err)
	}
	h := &holder{
		t: in.t, id: line[0], key: secure.NewKey(line[0], line[1], line[3]), c: c, enc: secure.Encoder{Level: 1},
		acks: make(chan struct{}, 1000), ended: make(chan struct{}),
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		d := secure.NewDecoder()
		err := secure.ReadFrames(c, secure.MaxUnit, func(unit []byte) error {
			m, err := d.Open(h.key, unit)
			if err == nil && string(m.Payload) == secure.AckText {
				h.acks <- struct{}{}
			}
			return err
		})
		_ = err
		h.over.Store(time.Now().UnixMilli())
		close(h.ended)
	})
	in.t.Cleanup(func() { c.Close(); reading.Wait() })
	h.expect(secure.StartupPrefix + `{"version":"v4.14.7"}`)
	h.expect("#!-Linux |h |5.1 |#1 |x86_64 [Ubuntu|ubuntu: 22.04] - Wazuh v4.14.7 / ab\nx merged.mg\n#\"_agent_ip\":192.168.7.7\n")
	return h
}

// send says something; it reports whether the connection took it.
func (h *holder) send(payload string) bool {
	h.t.Helper()
	g, l := h.ctr.Next()
	u, err := h.enc.Append(nil, h.key, secure.AES, h.id, 1, g, l, []byte(payload))
	if err != nil {
		h.t.Fatal(err)
	}
	_, err = h.c.Write(secure.AppendFrame(nil, u))
	return err == nil
}

func (h *holder) expect(payload string) {
	h.t.Helper()
	h.send(payload)
	select {
	case <-h.acks:
	case <-h.ended:
		h.t.Fatal("the gateway has ended the connection: ", io.EOF)
	case <-time.After(30 * time.Second):
		h.t.Fatal("no answer")
	}
}

// wait waits for the gateway to end the connection, and says when it did.
func (h *holder) wait(d time.Duration) time.Time {
	h.t.Helper()
	select {
	case <-h.ended:
	case <-time.After(d):
		h.t.Fatalf("the connection is still open after %s", d)
	}
	return time.UnixMilli(h.over.Load())
}

func (h *holder) open() bool {
	select {
	case <-h.ended:
		return false
	default:
		return true
	}
}

// Two machines talk with one key at two gateways: the later claim holds, the
// other connection ends, and one event tells of it. An agent that has only
// moved, its old connection being dead, raises none.
func TestACopiedKeyAtTwoGatewaysIsToldOfOnce(t *testing.T) {
	t.Parallel() // most of it is waiting
	in := install(t, "holders", 6)
	gw1, gw2 := in.gateways()
	in.launch("analyze", "analyze").Endpoints(t, time.Minute)
	keys := in.imported("copied", "moved")

	// The one that moves: its connection at gw1 stays open, and says nothing.
	dead := in.hold(gw1, keys["moved"])
	first := in.hold(gw1, keys["copied"])
	dead.send("1:/var/log/a:moved 1")
	first.send("1:/var/log/a:copied 1")
	claimed := func(id, gateway string) func() bool {
		return func() bool {
			var at string
			for _, rec := range in.records(schemas.TopicPresence) {
				if p, gone, err := schemas.ParsePresence(&rec); err == nil && !gone && p.ID == id && p.Claim {
					at = p.Gateway
				}
			}
			return at == gateway
		}
	}
	eventually(t, 30*time.Second, "both are held by gw1", func() bool {
		return claimed(dead.id, "gw1")() && claimed(first.id, "gw1")()
	})
	time.Sleep(time.Second) // gw1 reads its own claims back

	moved, second := in.hold(gw2, keys["moved"]), in.hold(gw2, keys["copied"])
	begin := time.Now()
	eventually(t, 10*time.Second, "gw1 knows that it has lost both", func() bool { return gw1.count("vedette_ingest_agents_moved_total") == 2 })
	first.send("1:/var/log/a:copied 2") // may have been on its way
	for tick := time.NewTicker(500 * time.Millisecond); first.open(); <-tick.C {
		if time.Since(begin) > 15*time.Second {
			t.Fatal("the first holder's connection does not end")
		}
		first.send("1:/var/log/a:copied late")
		second.send("1:/var/log/a:copied 3")
	}
	after := first.wait(time.Second).Sub(begin)
	t.Logf("the first holder's connection ended after %s", after.Round(10*time.Millisecond))
	if after < 4*time.Second || after > 8*time.Second {
		t.Errorf("the first holder was heard for %s, want some 5 s", after)
	}
	after = dead.wait(time.Minute).Sub(begin)
	t.Logf("the dead connection ended after %s", after.Round(10*time.Millisecond))
	if after < 23*time.Second || after > 32*time.Second {
		t.Errorf("the dead connection ended after %s, want some 25 s", after)
	}
	if !second.open() || !moved.open() {
		t.Error("the holder's connection has ended")
	}
	// Ends are counted behind the end of the connection.
	for name, want := range map[string][2]int{
		"vedette_ingest_agents_moved_total":                                     {2, 0},
		"vedette_ingest_key_conflicts_total":                                    {1, 0},
		`vedette_ingest_connections_closed_total{reason="key_in_use"}`:          {1, 0},
		`vedette_ingest_connections_closed_total{reason="connected_elsewhere"}`: {1, 0},
	} {
		eventually(t, 10*time.Second, fmt.Sprint(name, want), func() bool { return [2]int{gw1.count(name), gw2.count(name)} == want })
	}
	second.send("1:/var/log/a:copied 4")
	moved.send("1:/var/log/a:moved 2")
	logs := map[string]int{}
	var told []schemas.Event
	eventually(t, 30*time.Second, "the holders' last lines are there", func() bool {
		clear(logs)
		told = nil
		for _, rec := range in.records(schemas.TopicEvents) {
			e, err := schemas.ParseEvent(&rec)
			if err != nil {
				t.Fatal(err)
			}
			logs[string(e.Log)]++
			if strings.HasPrefix(string(e.Log), "vedette: Agent key already in use") {
				told = append(told, e)
			}
		}
		return logs["copied 4"] > 0 && logs["moved 2"] > 0
	})
	for _, line := range []string{"copied 1", "copied 2", "moved 1"} {
		if logs[line] != 1 {
			t.Errorf("%q stands %d times in the topic", line, logs[line])
		}
	}
	if len(told) != 1 || told[0].AgentID != first.id || told[0].Gateway != "gw1" || !strings.Contains(string(told[0].Log), "connected at gw2") {
		t.Errorf("told of two holders: %+v", told)
	}
	eventually(t, 30*time.Second, "the alert", func() bool { return in.alerts("900506") > 0 })
	if n := in.alerts("900506"); n != 1 {
		t.Errorf("%d alerts", n)
	}
	// The process that lost goes on: the agent may come back to it.
	back := in.hold(gw1, keys["copied"])
	if !back.open() || gw1.p.Exited() || gw2.p.Exited() {
		t.Error("a gateway has ended, or does not take the agent back")
	}
}

// alerts counts the alerts of a rule, each document once.
func (in *installation) alerts(rule string) int {
	in.t.Helper()
	ids := map[string]bool{}
	for _, rec := range in.records(schemas.TopicAlerts) {
		if strings.Contains(string(rec.Value), `"id":"`+rule+`"`) {
			ids[string(rec.Value)] = true
		}
	}
	return len(ids)
}

// Agents fall silent. The event about each comes once, when its time is over, and
// each is removed once, although the gateway that found them silent is killed
// in between; those that come back stay.
func TestAgentsThatAreGoneAreToldOfOnceAndRemoved(t *testing.T) {
	t.Parallel()
	in := install(t, "gone", 6)
	in.env = append(in.env, "VEDETTE_AGENTS_DISCONNECTED_AFTER=10s", "VEDETTE_AGENTS_DISCONNECTED_ALERT_AFTER=15s", "VEDETTE_AGENTS_REMOVE_AFTER=60s")
	gw1, gw2 := in.gateways()
	in.launch("analyze", "analyze").Endpoints(t, time.Minute)
	const agents = 12
	var names []string
	for i := range agents + 1 {
		names = append(names, fmt.Sprintf("gone%d", i)) // the last one never connects
	}
	keys := in.imported(names...)
	for i := range agents {
		h := in.hold(gw2, keys[names[i]])
		if i < 2 {
			h.c.Close() // it comes back, and its old connection must not be in its way
		}
	}
	// lost and removed count, for each agent, the events with different ids.
	type events struct{ lost, removed map[string]map[string]bool }
	read := func() events {
		e := events{map[string]map[string]bool{}, map[string]map[string]bool{}}
		for _, rec := range in.records(schemas.TopicEvents) {
			ev, err := schemas.ParseEvent(&rec)
			if err != nil {
				t.Fatal(err)
			}
			m := e.removed
			id := fmt.Sprint(rec.Offset)
			switch {
			case strings.HasPrefix(string(ev.Log), "ossec: Agent disconnected"):
				m, id = e.lost, ev.EventID
			case !strings.HasPrefix(string(ev.Log), "ossec: Agent removed"):
				continue
			}
			if m[ev.AgentName] == nil {
				m[ev.AgentName] = map[string]bool{}
			}
			m[ev.AgentName][id] = true
		}
		return e
	}
	presences := func() map[string]schemas.Presence {
		at := map[string]schemas.Presence{}
		for _, rec := range in.records(schemas.TopicPresence) {
			p, gone, err := schemas.ParsePresence(&rec)
			old, known := at[p.ID]
			if err == nil && !gone && (!known || p.Follows(&old)) {
				at[p.ID] = p
			} else if gone {
				delete(at, p.ID)
			}
		}
		return at
	}
	lost := func() (n int) {
		for _, p := range presences() {
			if p.State == schemas.StateDisconnected && p.LostSince != 0 {
				n++
			}
		}
		return n
	}
	eventually(t, time.Minute, "all are found silent", func() bool { return lost() == agents })
	if e := read(); len(e.lost) != 0 {
		t.Errorf("told too early: %v", e.lost)
	}
	gw1.p.Kill() // an owner of half of them, more or less
	// Two come back: one in time, so that nothing is told of it.
	early := in.hold(gw2, keys["gone0"])
	beat := func(h *holder) {
		h.send("#!-Linux |h |5.1 |#1 |x86_64 [Ubuntu|ubuntu: 22.04] - Wazuh v4.14.7 / ab\nx merged.mg\n#\"_agent_ip\":192.168.7.7\n")
	}
	stop := make(chan struct{})
	var beating sync.WaitGroup
	defer beating.Wait()
	defer close(stop)
	keep := func(h *holder) {
		beating.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Second):
					beat(h)
				}
			}
		})
	}
	keep(early)
	eventually(t, time.Minute, "the others are told of", func() bool { return len(read().lost) == agents-1 })
	for name, ids := range read().lost {
		if len(ids) != 1 {
			t.Errorf("%s: events %v", name, ids)
		}
	}
	gw1.start()
	late := in.hold(gw1, keys["gone1"])
	keep(late)
	eventually(t, 2*time.Minute, "the others are removed", func() bool { return len(read().removed) == agents-2 })
	time.Sleep(5 * time.Second) // for one too many
	e := read()
	for name, ids := range e.removed {
		if len(ids) != 1 {
			t.Errorf("%s was removed %d times", name, len(ids))
		}
	}
	left := in.exported()
	for _, name := range []string{"gone0", "gone1", fmt.Sprintf("gone%d", agents)} {
		if left[name] == nil {
			t.Errorf("%s was removed", name)
		}
	}
	if len(left) != 3 {
		t.Errorf("%d agents are left, want 3", len(left))
	}
	if !early.open() || !late.open() {
		t.Error("an agent that came back was cut off")
	}
	eventually(t, 30*time.Second, "the alerts", func() bool { return in.alerts("900502") >= agents-1 })
	if n := in.alerts("900502"); n != agents-1 {
		t.Errorf("%d alerts about disconnected agents, want %d", n, agents-1)
	}
	t.Logf("lost %d, removed %d; counted: removed %d and %d, kept %d and %d", len(e.lost), len(e.removed),
		gw1.count("vedette_ingest_agents_removed_total"), gw2.count("vedette_ingest_agents_removed_total"),
		gw1.count("vedette_ingest_agents_kept_total"), gw2.count("vedette_ingest_agents_kept_total"))
}
