package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/ingest/deliver"
	"vedette/ingest/secure"
	"vedette/internal/leaktest"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// fakeRegistry is a registry under the test's control.
type fakeRegistry struct {
	ready chan struct{}

	mu        sync.Mutex
	agents    map[string]registry.Agent
	presences map[string]schemas.Presence
	writes    []schemas.Presence
	sub       func(registry.Change)
	presSub   func(rec, current *schemas.Presence, stale bool)
	groupSets []string
	removals  []string
	refuse    error // of RemoveLost
	beforeSet func(*schemas.Presence)
}

func (r *fakeRegistry) SubscribePresence(fn func(rec, current *schemas.Presence, stale bool)) func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.presSub = fn
	return func() {}
}

func (r *fakeRegistry) RemoveLost(_ context.Context, seen schemas.SeenAgent, after time.Duration, purge bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removals = append(r.removals, fmt.Sprintf("%s %s after %s purge %v", seen.ID, seen.State, after, purge))
	if r.refuse != nil {
		return r.refuse
	}
	delete(r.agents, seen.ID)
	delete(r.presences, seen.ID)
	return nil
}

func (r *fakeRegistry) SetGroups(_ context.Context, id string, mode schemas.GroupMode, groups []string) error {
	r.mu.Lock()
	a := r.agents[id]
	a.Groups = groups
	r.agents[id] = a
	r.groupSets = append(r.groupSets, id+" "+string(mode)+" "+strings.Join(groups, ","))
	sub := r.sub
	r.mu.Unlock()
	sub(registry.Change{Kind: registry.ChangeGroups, Agent: a})
	return nil
}

func newRegistry() *fakeRegistry {
	r := &fakeRegistry{ready: make(chan struct{}), agents: map[string]registry.Agent{}, presences: map[string]schemas.Presence{}}
	close(r.ready)
	return r
}

func (r *fakeRegistry) put(id, name, ip, key string) {
	rule, err := schemas.ParseAddressRule(ip)
	if err != nil {
		panic(err)
	}
	a := registry.Agent{ID: id, Name: name, IP: rule.String(), Rule: rule, Key: secret.String(key)}
	r.mu.Lock()
	r.agents[id] = a
	sub := r.sub
	r.mu.Unlock()
	if sub != nil {
		sub(registry.Change{Agent: a})
	}
}

func (r *fakeRegistry) remove(id string) {
	r.mu.Lock()
	a := r.agents[id]
	delete(r.agents, id)
	sub := r.sub
	r.mu.Unlock()
	a.Removed = true
	sub(registry.Change{Agent: a})
}

func (r *fakeRegistry) Ready() <-chan struct{} { return r.ready }

func (r *fakeRegistry) Agent(id string) (registry.Agent, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.agents[id]
	return a, ok
}

func (r *fakeRegistry) AgentByHost(host string) (registry.Agent, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.agents {
		if a.Rule.Host() == host {
			return a, true
		}
	}
	return registry.Agent{}, false
}

func (r *fakeRegistry) Presence(id string) (schemas.Presence, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.presences[id]
	return p, ok
}

func (r *fakeRegistry) Presences(keep func(*schemas.Presence) bool) (out []schemas.Presence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.presences {
		if keep(&p) {
			out = append(out, p)
		}
	}
	return out
}

func (r *fakeRegistry) SetPresence(p schemas.Presence, done func(error)) {
	r.mu.Lock()
	if r.beforeSet != nil {
		r.beforeSet(&p)
	}
	if old, known := r.presences[p.ID]; !known || p.Follows(&old) {
		r.presences[p.ID] = p
	}
	r.writes = append(r.writes, p)
	r.mu.Unlock()
	go done(nil)
}

func (r *fakeRegistry) Subscribe(fn func(registry.Change)) func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sub = fn
	return func() {}
}

// fakeProducer acknowledges at once, or when it is let.
type fakeProducer struct {
	mu      sync.Mutex
	hold    bool
	waiting []func()
	events  []schemas.Event
	replies []schemas.Reply
	fail    error
}

func (p *fakeProducer) Produce(rec schemas.Record, done func(error)) {
	p.mu.Lock()
	fail := p.fail
	ack := func() {
		if fail == nil && rec.Topic == schemas.TopicReplies {
			r, err := schemas.ParseReply(&rec)
			if err != nil {
				panic(err)
			}
			p.mu.Lock()
			p.replies = append(p.replies, r)
			p.mu.Unlock()
		} else if fail == nil {
			e, err := schemas.ParseEvent(&rec)
			if err != nil {
				panic(err)
			}
			p.mu.Lock()
			p.events = append(p.events, e)
			p.mu.Unlock()
		}
		done(fail)
	}
	if p.hold {
		p.waiting = append(p.waiting, ack)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	ack()
}

func (p *fakeProducer) Healthy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.hold
}

func (p *fakeProducer) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = true
}

func (p *fakeProducer) resume() {
	p.mu.Lock()
	w := p.waiting
	p.waiting, p.hold = nil, false
	p.mu.Unlock()
	for _, ack := range w {
		ack()
	}
}

func (p *fakeProducer) got() []schemas.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]schemas.Event(nil), p.events...)
}

// bench is a gateway with its surroundings.
type bench struct {
	t    *testing.T
	g    *Gateway
	reg  *fakeRegistry
	prod *fakeProducer
	prom *prometheus.Registry
	stop func()
}

func start(t *testing.T, change func(*Config)) *bench {
	return startWith(t, deliver.Services{}, change)
}

func startWith(t *testing.T, svc deliver.Services, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, reg: newRegistry(), prod: &fakeProducer{}, prom: prometheus.NewRegistry()}
	b.reg.put("001", "ag1", "any", "key-1")
	cfg := Default()
	cfg.Listen, cfg.Node = "127.0.0.1:0", "gw1"
	if change != nil {
		change(&cfg)
	}
	var err error
	if b.g, err = New(cfg, b.reg, b.prod, Services{Deliver: svc}, slog.New(slog.DiscardHandler), b.prom); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.g.Run(ctx) }()
	var once sync.Once
	b.stop = func() {
		once.Do(func() {
			b.prod.resume()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if n := testutil.ToFloat64(b.g.m.inflight); n != 0 || b.g.srv.InFlight() != 0 {
				t.Errorf("%v events, %d bytes in flight at the end", n, b.g.srv.InFlight())
			}
			received := testutil.ToFloat64(b.g.m.receivedAgent) + testutil.ToFloat64(b.g.m.receivedGateway)
			refused := 0.0
			for _, r := range []string{refusedMalformed, refusedKeepalive, refusedProduce, refusedShutdown, refusedOver} {
				refused += testutil.ToFloat64(b.g.m.refused.WithLabelValues(r))
			}
			if written := testutil.ToFloat64(b.g.m.written); received != written+refused {
				t.Errorf("received %v, written %v, refused %v", received, written, refused)
			}
		})
	}
	t.Cleanup(b.stop)
	return b
}

func (b *bench) wait(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatal("not in time: " + what)
		}
	}
}

// counted returns the value of a metric's series by its only label's value.
func (b *bench) counted(name, label string) float64 {
	b.t.Helper()
	families, err := b.prom.Gather()
	if err != nil {
		b.t.Fatalf("the metrics cannot be read: %v", err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func (b *bench) closedFor(reason string) float64 {
	return testutil.ToFloat64(b.g.m.listen.Closed.WithLabelValues(reason))
}

// client is an agent's side of a connection.
type client struct {
	b      *bench
	c      *net.TCPConn
	key    *secure.Key
	id     string
	method secure.Method
	ctr    secure.Counter
	enc    secure.Encoder
}

func (b *bench) dial(id, name, key string) *client {
	b.t.Helper()
	c, err := net.Dial("tcp", b.g.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute)) // also on a machine that does much else
	return &client{b: b, c: c.(*net.TCPConn), key: secure.NewKey(id, name, key), id: id, enc: secure.Encoder{Level: 1}}
}

func (b *bench) agent() *client { return b.dial("001", "ag1", "key-1") }

func (c *client) unit(payload string) []byte {
	g, l := c.ctr.Next()
	u, err := c.enc.Append(nil, c.key, c.method, c.id, 1, g, l, []byte(payload))
	if err != nil {
		c.b.t.Fatal(err)
	}
	return u
}

func (c *client) raw(unit []byte) {
	_, _ = c.c.Write(secure.AppendFrame(nil, unit)) // the server may have closed already
}

func (c *client) send(payload string) { c.raw(c.unit(payload)) }

// unitBack reads one unit.
func (c *client) unitBack() []byte {
	c.b.t.Helper()
	var h [4]byte
	if _, err := io.ReadFull(c.c, h[:]); err != nil {
		c.b.t.Fatal(err)
	}
	u := make([]byte, binary.LittleEndian.Uint32(h[:]))
	if _, err := io.ReadFull(c.c, u); err != nil {
		c.b.t.Fatal(err)
	}
	return u
}

func (c *client) answer() (string, secure.Method) {
	c.b.t.Helper()
	m, err := secure.NewDecoder().Open(c.key, c.unitBack())
	if err != nil {
		c.b.t.Fatal(err)
	}
	return string(m.Payload), m.Method
}

func (c *client) expect(payload, want string) {
	c.b.t.Helper()
	c.send(payload)
	if got, m := c.answer(); got != want || m != c.method {
		c.b.t.Errorf("%.40q: answered %q in %s", payload, got, m)
	}
}

// ends checks that the server closes without an answer.
func (c *client) ends(what string) {
	c.b.t.Helper()
	n, err := io.Copy(io.Discard, c.c)
	var ne net.Error
	if n != 0 || errors.As(err, &ne) && ne.Timeout() {
		c.b.t.Errorf("%s: %d bytes answered, %v", what, n, err)
	}
}

const keepalive = "#!-Linux |h |5 |v |x86_64 [Debian GNU/Linux|debian: 12 (bookworm)] - Wazuh v4.14.7 / ab\n\"env\":prod\n!\"hid\":1\nx merged.mg\n#\"_agent_ip\":192.168.7.7\n"

func TestAnAgentsLife(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	c := b.agent()
	c.expect(`#!-agent startup {"version":"v4.14.7"}`, "#!-agent ack ")
	b.wait("pending", func() bool {
		p, _ := b.reg.Presence("001")
		return p.State == schemas.StatePending && p.Gateway == "gw1" && p.Address == "127.0.0.1"
	})
	c.send("1:/var/log/a|:b:before\x00after")
	c.method = secure.Blowfish
	c.expect(keepalive, "#!-agent ack ")
	c.send("#!-req 1 ok")
	c.send("#!-unknown")
	c.send("d:syscollector:{\"a\":\"\xff\xfe\"}")
	c.send("1:keepalive:x")
	c.send("no event")
	c.send("#!-agent shutdown ")
	_ = c.c.CloseWrite()
	c.ends("after shutdown")
	b.stop()
	got := b.prod.got()
	if len(got) != 3 {
		t.Fatalf("%d events: %+v", len(got), got)
	}
	for i := range got {
		if got[i].Time.IsZero() || time.Since(got[i].Time) > time.Minute {
			t.Error("time", got[i].Time)
		}
		got[i].Time = time.Time{}
	}
	labels := []byte(`{"env":"prod"}`)
	want := []schemas.Event{
		{AgentID: "001", AgentName: "ag1", Location: "/var/log/a:b", Queue: '1', Gateway: "gw1", Log: []byte("before")},
		{AgentID: "001", AgentName: "ag1", AgentIP: "192.168.7.7", AgentLabels: labels, Location: "syscollector", Queue: 'd', Gateway: "gw1", Log: []byte("{\"a\":\"\xff\xfe\"}")},
		{AgentID: "001", AgentName: "ag1", AgentIP: "192.168.7.7", AgentLabels: labels, Location: "wazuh-remoted", Queue: '1', Gateway: "gw1", Log: []byte("ossec: Agent stopped: 'ag1->any'.")},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	p := b.reg.presences["001"]
	if p.State != schemas.StateDisconnected || p.StatusCode != schemas.StatusShutdown || p.DisconnectionTime == 0 || p.OS.Platform != "debian" || p.ConfigSum != "ab" {
		t.Errorf("after shutdown: %+v", p)
	}
}

func TestPresenceIsWrittenOnChangeOnly(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	c := b.agent()
	c.expect("#!-agent startup ", "#!-agent ack ")
	for range 5 {
		c.expect(keepalive, "#!-agent ack ")
	}
	c.expect(strings.Replace(keepalive, "prod", "test", 1), "#!-agent ack ")
	c.c.Close()
	b.stop()
	if n := len(b.reg.writes); n > 3 || n < 2 {
		t.Errorf("%d writes, want startup, first keepalive, changed label", n)
	}
	if p := b.reg.presences["001"]; !cmp.Equal(p.Labels, []string{`"env":test`, `!"hid":1`}) {
		t.Errorf("labels %q", p.Labels)
	}
}

func TestVersionsAreTestedAtStartup(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	c := b.agent()
	c.expect(`#!-agent startup {"version":"v4.15.0"}`, `#!-err {"message":"Agent version must be lower or equal to manager version"}`)
	c.expect(`#!-agent startup {"v":1}`, `#!-err {"message":"Couldn't retrieve version"}`)
	c.expect(`#!-agent startup junk`, `#!-err {"message":"Couldn't retrieve version"}`)
	c.expect(`#!-agent startup {"version":"v4.14.99"}`, "#!-agent ack ")
	c.expect(`#!-agent startup {"version":"v5.0.0"}`, `#!-err {"message":"Agent version must be lower or equal to manager version"}`)
	b.wait("status code", func() bool {
		p, _ := b.reg.Presence("001")
		return p.StatusCode == schemas.StatusVersionTooHigh && p.State == schemas.StatePending
	})
	c.expect(keepalive, "#!-agent ack ") // later keepalives are not blocked
}

func TestAnybodyMayPing(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	c := b.agent()
	for _, u := range []string{"#ping", "#ping and more"} {
		c.raw([]byte(u))
		if got := c.unitBack(); string(got) != "#pong" {
			t.Errorf("%q: %q", u, got)
		}
	}
}

func TestBadUnitsEndTheConnectionAndAreCounted(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.reg.put("002", "far", "10.9.9.9", "key-2")
	b.reg.put("003", "other", "any", "key-3")
	f := func(reason string, send func(c *client)) {
		t.Helper()
		c := b.agent()
		before := b.closedFor(reason)
		send(c)
		c.ends(reason)
		b.wait(reason+" is counted", func() bool { return b.closedFor(reason) == before+1 })
	}
	f("wrong_key", func(c *client) { c.key = secure.NewKey("001", "ag1", "another"); c.send("1:x:y") })
	f("agent_unknown", func(c *client) { c.id = "999"; c.send("1:x:y") })
	f("agent_unknown", func(c *client) { c.id = "1"; c.send("1:x:y") }) // leading zeros matter
	f("agent_unknown", func(c *client) { c.id = ""; c.send("1:x:y") })  // no entry has this address
	f("address_not_allowed", func(c *client) { c.id = "002"; c.key = secure.NewKey("002", "far", "key-2"); c.send("1:x:y") })
	f("identifier_malformed", func(c *client) { c.id = "abc"; c.send("1:x:y") })
	f("identifier_malformed", func(c *client) { c.raw([]byte("!001")) })
	f("no_cipher_tag", func(c *client) { c.raw([]byte("!001!")) })
	f("empty_unit", func(c *client) { c.raw(nil) })
	f("unit_too_large", func(c *client) { _, _ = c.c.Write([]byte{1, 0, 1, 0}) })
	f("unit_too_large", func(c *client) { _, _ = c.c.Write([]byte{255, 255, 255, 255}) })
	f("wrong_key", func(c *client) { c.raw([]byte("!001!#AES:0123456789abcdef")) })
	f("another_agent", func(c *client) {
		c.send("1:x:good")
		c.id, c.key = "003", secure.NewKey("003", "other", "key-3")
		c.send("1:x:y")
	})
	f("truncated_unit", func(c *client) {
		c.send("1:x:good")
		_, _ = c.c.Write([]byte{100, 0, 0, 0, '!'})
		_ = c.c.CloseWrite()
	})
	if n := len(b.prod.got()); n != 2 {
		t.Errorf("%d events, want the two good ones", n)
	}
}

func TestSpecUnitsOverTheWire(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("VEDETTE_SPEC")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "spec")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "vectors", "vectors.json"))
	if err != nil {
		t.Skipf("specification vectors are missing (set VEDETTE_SPEC): %v", err)
	}
	type unit struct {
		Reason string `json:"reason"`
		Hex    string `json:"datagram_hex"`
	}
	var v struct {
		Keys []struct {
			ID, Name, IP string
			RawKey       string `json:"raw_key"`
		} `json:"keys"`
		Reject, Tolerate []unit
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	b := start(t, nil)
	for _, k := range v.Keys {
		b.reg.put(k.ID, k.Name, k.IP, k.RawKey)
	}
	for _, u := range v.Reject {
		c := b.agent()
		d, _ := hex.DecodeString(u.Hex)
		c.raw(d)
		c.ends(u.Reason)
	}
	for _, u := range v.Tolerate {
		c := b.agent()
		d, _ := hex.DecodeString(u.Hex)
		c.raw(d)
		c.raw([]byte("#ping"))
		if string(c.unitBack()) != "#pong" {
			t.Errorf("not tolerated: %s", u.Reason)
		}
	}
	if got := b.prod.got(); len(got) != len(v.Tolerate) {
		t.Errorf("%d events, want %d", len(got), len(v.Tolerate))
	}
}

func TestTheLongestLogIsTaken(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	c := b.agent()
	e := secure.Encoder{Level: 9}
	u, err := e.Append(nil, c.key, secure.AES, "001", 1, 0, 1, bytes.Repeat([]byte("a"), secure.MaxPayload))
	if err != nil {
		t.Fatal(err)
	}
	c.raw(u) // the longest allowed is no bomb, but has no location
	c.send("1:/x:" + strings.Repeat("b", secure.MaxPayload-5))
	b.wait("the 64 KiB log", func() bool { return len(b.prod.got()) == 1 })
	if e := b.prod.got()[0]; len(e.Log) != secure.MaxPayload-5 {
		t.Errorf("%d bytes", len(e.Log))
	}
}

func TestASlowClientHoldsLittleAndNotForLong(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) { c.Limits.FirstUnit = 300 * time.Millisecond })
	stranger := b.agent() // says nothing
	drip := b.agent()     // one byte at a time, never a whole unit
	// A gateway of its own for those that must not be late with their first unit.
	b2 := start(t, func(c *Config) { c.Limits.PartialUnit = 400 * time.Millisecond })
	known := b2.agent() // authenticated, then stops inside a unit
	known.send("1:x:good")
	_, _ = known.c.Write([]byte{0, 1, 0, 0, '!'})
	idle := b2.agent() // authenticated and silent between units: allowed
	idle.send("1:x:good")
	go func() {
		for _, c := range secure.AppendFrame(nil, drip.unit("1:x:y")) {
			if _, err := drip.c.Write([]byte{c}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	stranger.ends("no_unit_in_time")
	drip.ends("no_unit_in_time")
	known.ends("unit_not_complete_in_time")
	b.wait("counted", func() bool {
		return b.closedFor("no_unit_in_time") == 2 && b2.closedFor("unit_not_complete_in_time") == 1
	})
	time.Sleep(500 * time.Millisecond)
	idle.expect("#!-agent startup ", "#!-agent ack ")
}

func TestTheOldestStrangerGivesWay(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) { c.Limits.Strangers, c.Limits.StrangerGrace = 3, 50*time.Millisecond })
	var all []*client
	for range 10 {
		all = append(all, b.agent())
	}
	b.wait("seven are closed", func() bool { return b.closedFor("too_many_strangers") == 7 })
	for _, c := range all[:7] {
		c.ends("stranger")
	}
	all[9].expect("#!-agent startup ", "#!-agent ack ")
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) { c.MaxConnections = 1 })
	one := b.agent()
	one.expect("#!-agent startup ", "#!-agent ack ")
	b.agent().ends("too_many_connections")
	one.expect("#!-agent startup ", "#!-agent ack ")
}

func TestAnAgentHasOneConnection(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) { c.OvertakeTime = time.Hour })
	first := b.agent()
	first.expect("#!-agent startup ", "#!-agent ack ")
	second := b.agent()
	second.send("#!-agent startup ")
	second.ends("key_in_use")
	events := b.agent()
	events.send("1:x:y")
	events.ends("key_in_use")
	first.expect(keepalive, "#!-agent ack ")
	// A connection that ends releases the agent at once.
	_ = first.c.CloseWrite()
	first.ends("first")
	third := b.agent()
	third.expect("#!-agent startup ", "#!-agent ack ")
	// One event reports all refusals.
	if got := b.prod.got(); len(got) != 1 || got[0].Location != locationGateway {
		t.Errorf("%+v", got)
	}
}

func TestASilentConnectionIsOvertaken(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) { c.OvertakeTime = time.Millisecond })
	first := b.agent()
	first.expect("#!-agent startup ", "#!-agent ack ")
	time.Sleep(100 * time.Millisecond) // longer than it may be silent
	second := b.agent()
	second.expect("#!-agent startup ", "#!-agent ack ")
	first.ends("overtaken")
}

func TestAKeyThatComesAMomentLaterIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	c := b.dial("007", "late", "key-7")
	c.send("#!-agent startup ")
	time.Sleep(100 * time.Millisecond)
	b.reg.put("007", "late", "any", "key-7")
	if got, _ := c.answer(); got != "#!-agent ack " {
		t.Error(got)
	}
}

func TestARemovedAgentIsCutOff(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	bound, unbound := b.agent(), b.agent()
	unbound.send("1:x:y")
	b.wait("event", func() bool { return len(b.prod.got()) == 1 })
	bound.expect("#!-agent startup ", "#!-agent ack ")
	b.reg.remove("001")
	bound.ends("agent_removed")
	unbound.send("1:x:y")
	unbound.ends("agent_removed")
	again := b.agent()
	again.send("1:x:y")
	again.ends("agent_unknown")
	if n := len(b.prod.got()); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestAnAgentWithAFixedAddressNeedsNoID(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.reg.put("004", "fixed", "127.0.0.1", "key-4")
	c := b.dial("004", "fixed", "key-4")
	c.id = ""
	c.expect("#!-agent startup ", "#!-agent ack ")
	c.send("1:x:y")
	b.wait("event", func() bool { return len(b.prod.got()) == 1 })
	if e := b.prod.got()[0]; e.AgentID != "004" || e.AgentIP != "127.0.0.1" || e.AgentAddress != "127.0.0.1" {
		t.Errorf("%+v", e)
	}
	// Another address of the moment leaves the registered one as it is.
	c.expect(keepalive, "#!-agent ack ")
	c.send("1:x:z")
	b.wait("second event", func() bool {
		return slices.ContainsFunc(b.prod.got(), func(e schemas.Event) bool { return string(e.Log) == "z" })
	})
	for _, e := range b.prod.got() {
		if string(e.Log) == "z" && (e.AgentIP != "192.168.7.7" || e.AgentAddress != "127.0.0.1") {
			t.Errorf("after a keepalive: %+v", e)
		}
	}
}

func TestWhileNothingIsAcknowledgedReadingStopsAndControlGoesOn(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) {
		c.WindowBytes, c.TotalBytes = 8<<10, 256<<10
		c.Limits.LifeInterval = 50 * time.Millisecond
	})
	b.prod.pause()
	c := b.agent()
	c.expect("#!-agent startup ", "#!-agent ack ")
	const total = 2000
	go func() {
		for i := range total {
			c.send(fmt.Sprintf("1:/x:%0200d", i))
		}
	}()
	// Three signs of life come while the socket is not read.
	for range 3 {
		if got, _ := c.answer(); got != "#!-agent ack " {
			t.Errorf("sign of life %q", got)
		}
	}
	if n := b.g.srv.InFlight(); n > 8<<10 || n == 0 {
		t.Errorf("%d bytes in flight", n)
	}
	if n := testutil.ToFloat64(b.g.m.listen.Paused); n != 1 {
		t.Errorf("%v paused", n)
	}
	if b.g.Ready() == nil {
		t.Error("ready while the brokers do not acknowledge")
	}
	// Another agent's control traffic does not wait.
	b.reg.put("002", "ag2", "any", "key-2")
	other := b.dial("002", "ag2", "key-2")
	other.expect("#!-agent startup ", "#!-agent ack ")
	other.expect(keepalive, "#!-agent ack ")

	b.prod.resume()
	b.wait("all events", func() bool { return len(b.prod.got()) == total })
	for i, e := range b.prod.got() {
		if string(e.Log) != fmt.Sprintf("%0200d", i) {
			t.Fatalf("event %d is %s", i, e.Log)
		}
	}
	if err := b.g.Ready(); err != nil {
		t.Error(err)
	}
}

func TestTheTotalBoundsAllConnectionsTogether(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) { c.WindowBytes, c.TotalBytes = 256<<10, 256<<10 })
	b.prod.pause()
	const agents, each = 4, 400 // each alone exceeds the total
	for i := range agents {
		id := fmt.Sprintf("10%d", i)
		b.reg.put(id, "many"+id, "any", "key-"+id)
		c := b.dial(id, "many"+id, "key-"+id)
		go func() {
			for n := range each {
				c.send(fmt.Sprintf("1:/x:%01000d", n))
			}
		}()
	}
	b.wait("all are held", func() bool { return testutil.ToFloat64(b.g.m.listen.Paused) == agents })
	if n := b.g.srv.InFlight(); n > 256<<10 {
		t.Errorf("%d bytes in flight", n)
	}
	b.prod.resume()
	b.wait("all events", func() bool { return len(b.prod.got()) == agents*each })
}

func TestRecordsTheBrokersRefuseAreCounted(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.prod.fail = errors.New("record too large")
	c := b.agent()
	c.send("1:x:y")
	b.wait("refusal", func() bool { return testutil.ToFloat64(b.g.m.refused.WithLabelValues(refusedProduce)) == 1 })
}

func TestAnOrderlyEndWritesWhatWasSent(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	c := b.agent()
	const total = 500
	for i := range total {
		c.send(fmt.Sprintf("1:/x:%d", i))
	}
	go func() { // the agent sees the end of the stream and closes
		_, _ = io.Copy(io.Discard, c.c)
		c.c.Close()
	}()
	b.wait("first event", func() bool { return len(b.prod.got()) > 0 })
	b.stop()
	if n := len(b.prod.got()); n != total {
		t.Errorf("%d events, want %d", n, total)
	}
}

func TestNobodyIsReadBeforeTheRegistryIs(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, reg: newRegistry(), prod: &fakeProducer{}, prom: prometheus.NewRegistry()}
	b.reg.ready = make(chan struct{})
	cfg := Default()
	cfg.Listen = "127.0.0.1:0"
	var err error
	if b.g, err = New(cfg, b.reg, b.prod, Services{}, slog.New(slog.DiscardHandler), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.g.Run(ctx) }()
	c := b.agent()
	c.send("#!-agent startup ")
	time.Sleep(100 * time.Millisecond)
	if b.g.Ready() == nil {
		t.Error("ready before the registry")
	}
	b.reg.put("001", "ag1", "any", "key-1")
	close(b.reg.ready)
	if got, _ := c.answer(); got != "#!-agent ack " {
		t.Error(got)
	}
	if err := b.g.Ready(); err != nil {
		t.Error(err)
	}
	c.c.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAPortInUseIsAnErrorAtStart(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	cfg := Default()
	cfg.Listen = b.g.Addr().String()
	if _, err := New(cfg, b.reg, b.prod, Services{}, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("err = %v", err)
	}
	cfg.WindowBytes, cfg.OvertakeTime = 1, -1
	if _, err := New(cfg, b.reg, b.prod, Services{}, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "ingest.window_bytes") || !strings.Contains(err.Error(), "ingest.overtake_time") {
		t.Errorf("err = %v", err)
	}
}
