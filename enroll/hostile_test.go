package enroll

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/internal/kafka/kafkatest"
	"vedette/internal/registry"
	"vedette/internal/secret"
)

func dropped(s *Server, why string) float64 {
	return testutil.ToFloat64(s.m.dropped.WithLabelValues(why))
}

func startSmall(t *testing.T, f *fake, places int, change func(*Config)) *Server {
	t.Helper()
	cfg := Default()
	cfg.Listen, cfg.DataDir, cfg.RatePerSource = "127.0.0.1:0", t.TempDir(), 0
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, f, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.slots = newSlots(places)
	s.rate.rate = min(s.rate.rate, 1e-9) // no token comes back, however long the test takes
	run(t, s)
	return s
}

// flood opens n connections that never finish their handshake, from the given
// number of addresses, and returns when the server has closed all but some.
func flood(t *testing.T, s *Server, n, addresses int, meanwhile func()) {
	t.Helper()
	var dialing, holding sync.WaitGroup
	done := make(chan struct{})
	const dialers = 4
	for w := range dialers {
		dialing.Go(func() {
			for i := range n / dialers {
				from := net.IPv4(127, 1, byte(w), byte(1+i%addresses))
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
				c, err := d.DialContext(t.Context(), "tcp", s.Addr().String())
				if err != nil {
					continue // the port's queue of connections is full
				}
				if i%2 == 0 { // some begin a record of the handshake
					_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1})
				}
				out := make(chan struct{})
				holding.Go(func() { // holds on until it is put out
					defer close(out)
					_, _ = io.Copy(io.Discard, c)
					c.Close()
				})
				holding.Go(func() {
					select {
					case <-done:
						c.Close()
					case <-out:
					}
				})
			}
		})
	}
	for end := time.Now().Add(2 * time.Minute); dropped(s, dropGaveWay) < float64(n*9/10); meanwhile() {
		if time.Now().After(end) {
			t.Fatalf("%v of %d connections gave way", dropped(s, dropGaveWay), n)
		}
	}
	dialing.Wait()
	close(done)
	holding.Wait()
	eventually(t, "every place is free", func() bool {
		s.slots.mu.Lock()
		defer s.slots.mu.Unlock()
		return s.slots.taken == 0 && len(s.slots.holds) == 0
	})
}

func TestTenThousandHalfOpenHandshakesDoNotKeepAgentsOut(t *testing.T) {
	t.Parallel()
	f := newFake()
	close(f.ready)
	t.Run("from one address: no agent notices", func(t *testing.T) {
		t.Parallel()
		s := startSmall(t, f, 400, nil)
		agents := 0
		flood(t, s, 10_000, 1, func() {
			if got := ask(t, s.Addr(), "OSSEC A:'web1'\n"); got != "OSSEC K:'001 web1 any thekey'" {
				t.Errorf("an agent was answered %q", got)
			}
			agents++
		})
		t.Logf("%d agents enrolled meanwhile", agents)
	})
	t.Run("from many addresses: an agent that tries again enrolls", func(t *testing.T) {
		t.Parallel()
		s := startSmall(t, f, 400, nil)
		agents, tries := 0, 0
		flood(t, s, 10_000, 200, func() {
			tries++
			if says(s) == "OSSEC K:'001 web1 any thekey'" {
				agents++
			}
		})
		if agents == 0 {
			t.Errorf("no agent in %d tries", tries)
		}
		t.Logf("%d of %d tries enrolled meanwhile", agents, tries)
	})
}

func TestRequestsThatAreBeingAnsweredKeepTheirPlace(t *testing.T) {
	t.Parallel()
	f := newFake()
	close(f.ready)
	release := make(chan struct{})
	asked := make(chan struct{}, 10)
	f.add = func(context.Context) (registry.Agent, error) {
		asked <- struct{}{}
		<-release
		return registry.Agent{ID: "001", Name: "web1", Key: "thekey"}, nil
	}
	s := startSmall(t, f, 2, nil)
	got := make(chan string, 2)
	for range 2 {
		go func() { got <- ask(t, s.Addr(), "OSSEC A:'web1'\n") }()
	}
	<-asked
	<-asked
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("answered")
	}
	if n := dropped(s, dropTooMany); n != 1 {
		t.Errorf("%v counted", n)
	}
	close(release)
	for range 2 {
		if r := <-got; r != "OSSEC K:'001 web1 any thekey'" {
			t.Error(r)
		}
	}
}

func TestAFloodFromOneAddressIsCutBeforeItCostsAHandshake(t *testing.T) {
	t.Parallel()
	f := newFake()
	close(f.ready)
	s := startSmall(t, f, 200, func(c *Config) { c.RatePerSource = 1 })
	for i := range rateBurst + 10 {
		c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if (err == nil) != (i < rateBurst) {
			t.Errorf("connection %d of %d that may come at once: error is %v", i+1, rateBurst, err)
		}
		if err == nil {
			c.Close()
		}
	}
	if n := dropped(s, dropRate); n != 10 {
		t.Errorf("%v connections are counted as dropped for their rate, want 10", n)
	}
}

func TestTheRateIsPerAddressAndBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	l := newLimiter(2)
	take := func(source string, n int) (granted int) {
		for range n {
			if l.allow(sourceKey(netip.MustParseAddr(source)), now) {
				granted++
			}
		}
		return granted
	}
	f := func(got, want int, what string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d connections, want %d", what, got, want)
		}
	}
	f(take("192.0.2.1", 100), 2*rateBurst, "at once")
	f(take("192.0.2.2", 1), 1, "another address")
	f(take("2001:db8::1", 2*rateBurst), 2*rateBurst, "IPv6")
	f(take("2001:db8::ffff:2", 1), 0, "the same /64")
	f(take("2001:db8:0:1::1", 1), 1, "another /64")
	now = now.Add(3 * time.Second)
	f(take("192.0.2.1", 100), 6, "three seconds later")
	now = now.Add(-time.Hour)
	f(take("192.0.2.1", 100), 0, "after the clock went back")
	for i := range sourcesMax + 100 {
		l.allow(sourceKey(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), now)
	}
	f(len(l.buckets), sourcesMax, "addresses remembered")
	f(l.recent.Len(), sourcesMax, "addresses in order")
	if d := Default(); d.RatePerSource*rateBurst < 10_000 {
		t.Error("10,000 agents behind one address could not enroll at once")
	}
	f(take("198.51.100.1", 1)+take("198.51.100.1", 1), 2, "still")
}

func TestAManyTimesCopiedNameEnrollsOnce(t *testing.T) {
	t.Parallel()
	s, reg := start(t, nil)
	replies := make(chan string, 20)
	for range 20 {
		go func() { replies <- ask(t, s.Addr(), "OSSEC A:'web1' G:'default'\n") }()
	}
	won := 0
	for range 20 {
		switch r := <-replies; {
		case strings.HasPrefix(r, "OSSEC K:'001 web1 any "):
			won++
		case r != "ERROR: Duplicate agent name: web1. Unable to add agent":
			t.Error(r)
		}
	}
	if won != 1 || len(reg.Agents()) != 1 {
		t.Errorf("%d were told they are web1, %d agents", won, len(reg.Agents()))
	}
}

func TestGroupsThatAreNoneOrPathsAreRefused(t *testing.T) {
	t.Parallel()
	s, reg := start(t, nil)
	if err := reg.AddGroup(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	check(t, s.Addr(), []row{
		{"OSSEC A:'ag1' G:'web,default,web'\n", "OSSEC K:'001 ag1 any K'"},
		{"OSSEC A:'ag2' G:'db'\n", "ERROR: Invalid group: db. Unable to add agent"},
		{"OSSEC A:'ag2' G:'..'\n", "ERROR: Invalid group name: ... Unable to add agent"},
		{"OSSEC A:'ag2' G:'../web'\n", `ERROR: Invalid group name: ../web... characters '\/:*?"<>|,' are prohibited. Unable to add agent`},
		{"OSSEC A:'ag2' G:'web\x00'\n", "ERROR: Unterminated group field. Unable to add agent"},
		{"OSSEC A:'ag2' G:'" + strings.Repeat("g", 256) + "'\n", "ERROR: Invalid group name: " + strings.Repeat("g", 255) + "... group is too large. Unable to add agent"},
	})
	if a, _ := reg.AgentByName("ag1"); fmt.Sprint(a.Groups) != "[web default]" {
		t.Errorf("groups: %v", a.Groups)
	}
}

func TestAKeyIsGoodOnEveryNode(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	box, err := secret.NewBox(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*registry.Registry
	for _, name := range []string{"node01", "node02"} {
		reg, err := registry.Open(cluster, box, name, quiet(), nil)
		if err != nil {
			t.Fatal(err)
		}
		run(t, reg)
		nodes = append(nodes, reg)
	}
	var servers []*Server
	for _, reg := range nodes {
		cfg := Default()
		cfg.Listen, cfg.DataDir = "127.0.0.1:0", t.TempDir()
		s, err := New(cfg, reg, quiet(), nil)
		if err != nil {
			t.Fatal(err)
		}
		run(t, s)
		servers = append(servers, s)
	}
	for i := range 20 {
		reply := ask(t, servers[i%2].Addr(), fmt.Sprintf("OSSEC A:'ag%02d'\n", i))
		f := strings.Fields(strings.Trim(reply, "'"))
		if len(f) != 5 || f[2] != fmt.Sprintf("ag%02d", i) {
			t.Fatal(reply)
		}
		id := strings.TrimPrefix(f[1], "K:'")
		if a, ok := nodes[i%2].Agent(id); !ok || a.Key.Reveal() != f[4] {
			t.Error("not good where it was given")
		}
		eventually(t, "it is good on the other node", func() bool {
			a, ok := nodes[1-i%2].Agent(id)
			return ok && a.Key.Reveal() == f[4]
		})
	}
}
