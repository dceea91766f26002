package deliver

import (
	"context"
	"crypto/md5" //nolint:gosec // the protocol's
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/ingest/secure"
	"vedette/internal/groups"
	"vedette/internal/leaktest"
	"vedette/internal/registry"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// fakeRoute notes what is sent to an agent, until it is closed.
type fakeRoute struct {
	datagram bool

	mu     sync.Mutex
	sent   []string
	closed bool
	onSend func(payload string) // called after each payload, without mu
}

func (r *fakeRoute) Send(payload string) bool {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return false
	}
	r.sent = append(r.sent, payload)
	fn := r.onSend
	r.mu.Unlock()
	if fn != nil {
		fn(payload)
	}
	return true
}

func (r *fakeRoute) SendBulk(payload string, _ time.Duration) bool { return r.Send(payload) }

func (r *fakeRoute) Datagram() bool { return r.datagram }

func (r *fakeRoute) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// take returns what was sent since the last call.
func (r *fakeRoute) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.sent
	r.sent = nil
	return out
}

type fakeAgent struct {
	id    string
	route *fakeRoute // nil: not connected
	state State
}

func (a *fakeAgent) ID() string       { return a.id }
func (a *fakeAgent) Delivery() *State { return &a.state }
func (a *fakeAgent) Route(_ time.Time) (Route, bool) {
	if a.route == nil {
		return nil, false
	}
	return a.route, true
}

// fakeServer is everything around a Delivery: fleet, registry, producer, groups.
type fakeServer struct {
	mu       sync.Mutex
	agents   map[string]*fakeAgent
	groups   map[string][]string // by agent
	versions map[string]string   // by agent
	file     string
	replies  []string // `<command> <status> <text>`
	buried   []string // causes
	refuse   error    // of SetGroups
	assigned []string
}

func (s *fakeServer) Agent(id string) (Agent, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.agents[id]
	return a, ok
}

func (s *fakeServer) Connected() (out []Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.agents {
		if a.route != nil {
			out = append(out, a)
		}
	}
	return out
}

func (s *fakeServer) Produce(rec schemas.Record, done func(error)) {
	r, err := schemas.ParseReply(&rec)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	s.replies = append(s.replies, fmt.Sprintf("%s %s %s", r.CommandID, r.Status, r.Text))
	s.mu.Unlock()
	done(nil)
}

// outcomes returns the replies so far, sorted.
func (s *fakeServer) outcomes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.replies))
}

type fakeRegistry struct{ *fakeServer }

func (r fakeRegistry) Agent(id string) (registry.Agent, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.agents[id]
	return registry.Agent{ID: id, Groups: r.fakeServer.groups[id]}, ok
}

func (r fakeRegistry) Presence(id string) (schemas.Presence, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.versions[id]
	return schemas.Presence{ID: id, Version: v}, ok
}

func (r fakeRegistry) SetGroups(_ context.Context, id string, mode schemas.GroupMode, names []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.assigned = append(r.assigned, id+" "+string(mode)+" "+strings.Join(names, ","))
	if r.refuse == nil {
		r.fakeServer.groups[id] = names
	}
	return r.refuse
}

type fakeGroups struct{ *fakeServer }

func (g fakeGroups) Ready() <-chan struct{} { c := make(chan struct{}); close(c); return c }

func (g fakeGroups) Merged([]string) *groups.Merged {
	g.mu.Lock()
	defer g.mu.Unlock()
	sum := md5.Sum([]byte(g.file))
	return &groups.Merged{Sum: hex.EncodeToString(sum[:]), Data: []byte(g.file)}
}

func (s *fakeServer) setFile(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file = text
}

type fakePackages []byte

func (p fakePackages) Package(context.Context, *schemas.AgentUpgrade) ([]byte, error) { return p, nil }

// world returns a server with the connected agent 001 of the group default.
func world() (*fakeServer, *fakeAgent) {
	a := &fakeAgent{id: "001", route: &fakeRoute{}}
	return &fakeServer{
		agents: map[string]*fakeAgent{"001": a}, groups: map[string][]string{"001": {"default"}}, versions: map[string]string{}, file: "#default\n",
	}, a
}

// run starts deliveries, which end with the test.
func (s *fakeServer) run(t *testing.T, svc Services, perSecond int64) (d *Delivery, stop func()) {
	t.Helper()
	svc.Bury = func(_ schemas.Record, cause, _ string) { s.buried = append(s.buried, cause) }
	d = New(Config{Node: "gw1", PushBytesPerSecond: perSecond}, s, fakeRegistry{s}, s, svc, slog.New(slog.DiscardHandler), nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return d, stop
}

func anyone(*schemas.Record) bool { return true }

func order(t *testing.T, c schemas.Command) schemas.Record {
	t.Helper()
	c.Time = time.Now().UnixMilli()
	if c.Expires == 0 {
		c.Expires = c.Time + 60_000
	}
	r, err := c.Record()
	if err != nil {
		t.Fatalf("the command %s has no record: %v", c.ID, err)
	}
	return r
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s differ (-want +got):\n%s", what, d)
	}
}

func TestWithoutServicesNothingReachesAgents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := world()
		d, stop := s.run(t, Services{}, 1<<20)
		if err := d.WaitReady(t.Context()); err != nil {
			t.Errorf("without groups there is nothing to wait for, but WaitReady returned %v", err)
		}
		d.Configured(a, "another sum", time.Now())
		d.Regrouped(&registry.Agent{ID: "001"})
		d.GroupsChanged()
		d.OnCommand(order(t, schemas.Command{ID: "c", Kind: schemas.CommandControl, AgentID: "001", Text: "force_reconnect"}))
		synctest.Wait()
		same(t, "payloads", a.route.take(), nil)
		same(t, "causes", s.buried, []string{"command_mac"})
		stop()

		d, _ = s.run(t, Services{Verify: anyone}, 1<<20)
		d.OnCommand(order(t, upgradeOf("u", 1)))
		synctest.Wait()
		same(t, "outcomes", s.outcomes(), []string{"u refused this gateway has no packages"})
	})
}

func TestOnlyTheGatewayOfAnAgentTakesItsCommands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := world()
		s.agents["002"] = &fakeAgent{id: "002"} // has talked to this gateway, and is gone
		d, _ := s.run(t, Services{Verify: anyone}, 1<<20)
		for _, id := range []string{"001", "002", "003"} {
			d.OnCommand(order(t, schemas.Command{ID: "c" + id, Kind: schemas.CommandControl, AgentID: id, Text: "force_reconnect"}))
		}
		ahead := schemas.Command{ID: "ahead", Kind: schemas.CommandControl, AgentID: "001", Text: "force_reconnect", Expires: time.Now().Add(commandAhead + time.Second).UnixMilli()}
		d.OnCommand(order(t, ahead))
		a.route.close()
		d.OnCommand(order(t, schemas.Command{ID: "full", Kind: schemas.CommandControl, AgentID: "001", Text: "force_reconnect"}))
		same(t, "payloads", a.route.take(), []string{"#!-force_reconnect"})
		same(t, "outcomes", s.outcomes(), []string{
			"ahead expired it came after its time", "c001 sent ", "full failed the agent does not take what is sent to it",
		})
	})
}

func TestACommandIsRememberedUntilItHasExpired(t *testing.T) {
	t.Parallel()
	var s sentCommands
	if !s.first("a", 100, 50) || s.first("a", 100, 50) {
		t.Error("the same id was new twice, or never")
	}
	for i := range sentMax - 1 {
		s.ids[fmt.Sprint(i)] = 200
	}
	if s.first("b", 300, 100) {
		t.Error("a command was taken while no remembered one had expired")
	}
	if !s.first("b", 300, 101) || s.first("0", 300, 101) {
		t.Error("the expired id made no room, or one that has not expired was forgotten")
	}
}

func TestARequestOverUDPIsRepeatedAFewTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := world()
		a.route.datagram = true
		d, stop := s.run(t, Services{Verify: anyone}, 1<<20)
		d.OnCommand(order(t, schemas.Command{ID: "q1", Kind: schemas.CommandRequest, AgentID: "001", Text: "agent getstate"}))
		time.Sleep(10 * requestRTO)
		synctest.Wait()
		want := slices.Repeat([]string{"#!-req 1 agent getstate"}, requestAttempts)
		same(t, "payloads", a.route.take(), want)
		same(t, "outcomes", s.outcomes(), []string{"q1 failed err Maximum attempts exceeded"})
		// An end of the gateway ends the repeats as well.
		d.OnCommand(order(t, schemas.Command{ID: "q2", Kind: schemas.CommandRequest, AgentID: "001", Text: "agent getstate"}))
		stop()
		time.Sleep(10 * requestRTO)
		same(t, "payloads after the end", a.route.take(), []string{"#!-req 2 agent getstate"})
		time.Sleep(2 * requestTimeout) // its timer
	})
}

func TestAnAnswerCountsOnlyFromTheAskedAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := world()
		other := &fakeAgent{id: "002", route: &fakeRoute{}}
		d, _ := s.run(t, Services{Verify: anyone}, 1<<20)
		d.OnCommand(order(t, schemas.Command{ID: "q", Kind: schemas.CommandRequest, AgentID: "001", Text: "agent getstate"}))
		d.Answered(other, "1", "forged")
		d.Answered(a, "1", "ok")
		d.Answered(a, "1", "late")
		same(t, "outcomes", s.outcomes(), []string{"q answered ok"})
		unasked, answered := testutil.ToFloat64(d.requests.m.requests.WithLabelValues("unasked")), testutil.ToFloat64(d.requests.m.requests.WithLabelValues("answered"))
		if unasked != 2 || answered != 1 {
			t.Errorf("%v unasked answers and %v others are counted, want 2 and 1", unasked, answered)
		}
	})
}

func TestOpenRequestsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := world()
		d, _ := s.run(t, Services{Verify: anyone}, 1<<20)
		for i := range requestsMax + 1 {
			d.OnCommand(order(t, schemas.Command{ID: fmt.Sprintf("q%04d", i), Kind: schemas.CommandRequest, AgentID: "001", Text: "agent getstate"}))
		}
		synctest.Wait()
		same(t, "outcomes", s.outcomes(), []string{fmt.Sprintf("q%d failed err Too many requests", requestsMax)})
		time.Sleep(requestTimeout)
		synctest.Wait()
		if n := len(s.outcomes()); n != requestsMax+1 {
			t.Errorf("%d outcomes after the time limit, want %d", n, requestsMax+1)
		}
	})
}

func upgradeOf(id string, size int) schemas.Command {
	return schemas.Command{ID: id, Kind: schemas.CommandUpgrade, AgentID: "001", Upgrade: &schemas.AgentUpgrade{
		File: "x.wpk", SHA256: strings.Repeat("0", 64), SHA1: strings.Repeat("0", 40), Size: int64(size), Installer: "upgrade.sh", ChunkBytes: 4096,
	}}
}

// A full gateway lets upgrades wait, says so, and ends them with itself.
func TestUpgradesWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := world()
		d, stop := s.run(t, Services{Verify: anyone, Packages: fakePackages("x")}, 1<<20)
		for range upgradesMax { // others that never end
			d.upgrades.running <- struct{}{}
		}
		d.OnCommand(order(t, upgradeOf("u", 1)))
		time.Sleep(upgradeWord + time.Second)
		synctest.Wait()
		same(t, "outcomes", s.outcomes(), []string{"u progress waiting for others to end"})
		stop()
		synctest.Wait()
		same(t, "outcomes", s.outcomes(), []string{"u failed the gateway has ended", "u progress waiting for others to end"})
		if n := d.upgrades.count.Load(); n != 0 {
			t.Errorf("%d upgrades are counted after the end, want 0", n)
		}
	})
}

func TestAnUpgradeEndsWithTheFirstFailedStep(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ answers, want string }{
		"lock":    {"-", "u failed lock: err Response timeout"},
		"foreign": {"not JSON", `u failed write: the agent answered "not JSON"`},
		"error":   {`{"error":7,"message":"disk full"}`, "u failed write: the agent answered error 7: disk full"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, a := world()
				d, _ := s.run(t, Services{Verify: anyone, Packages: fakePackages("x")}, 1<<20)
				a.route.onSend = func(payload string) {
					f := strings.SplitN(payload, " ", 3)
					switch {
					case c.answers == "-":
					case strings.Contains(payload, `"write"`):
						go d.Answered(a, f[1], c.answers)
					default:
						go d.Answered(a, f[1], `{"error":0,"message":"ok"}`)
					}
				}
				d.OnCommand(order(t, upgradeOf("u", 1)))
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				same(t, "outcomes", s.outcomes(), []string{c.want})
			})
		})
	}
}

// A chunk of no bytes would never end, and too large ones fit into no message.
func TestAnUpgradesChunksAreBounded(t *testing.T) {
	t.Parallel()
	for chunk, want := range map[int]string{
		-1: "u failed chunks of -1 bytes; 1 to 32768 are possible", 0: "u failed chunks of 0 bytes; 1 to 32768 are possible",
		32769: "u failed chunks of 32769 bytes; 1 to 32768 are possible", 1: "", 32768: "",
	} {
		t.Run(fmt.Sprint(chunk), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, a := world()
				longest := 0
				var mu sync.Mutex
				d, _ := s.run(t, Services{Verify: anyone, Packages: fakePackages(strings.Repeat("x", 40_000))}, 1<<20)
				steps := 0
				a.route.onSend = func(payload string) {
					mu.Lock()
					defer mu.Unlock()
					longest = max(longest, len(payload))
					if steps++; steps < 6 {
						go d.Answered(a, strings.Fields(payload)[1], `{"error":0,"message":"ok"}`)
					}
				}
				c := upgradeOf("u", 40_000)
				c.Upgrade.ChunkBytes, c.Upgrade.File = chunk, strings.Repeat("x", schemas.MaxSharedPath)
				d.OnCommand(order(t, c))
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				if want == "" {
					if steps != 6 || longest > secure.MaxPayload {
						t.Errorf("%d steps of up to %d bytes, want 6 of at most %d", steps, longest, secure.MaxPayload)
					}
					return
				}
				same(t, "outcomes", s.outcomes(), []string{want})
				if steps != 0 {
					t.Errorf("%d payloads were sent, want none", steps)
				}
			})
		})
	}
}

// An agent that goes on reporting another sum is sent the file again, ever later.
func TestAPushIsRepeatedWithPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := world()
		d, _ := s.run(t, Services{Groups: fakeGroups{s}}, 1<<20)
		began, last := time.Now(), "#!-close file "
		var at []time.Duration
		a.route.onSend = func(payload string) {
			if payload == last {
				at = append(at, time.Since(began))
			}
		}
		for time.Since(began) < 4*time.Minute {
			d.Configured(a, "another sum", time.Now())
			time.Sleep(5 * time.Second)
		}
		synctest.Wait()
		if d := cmp.Diff([]time.Duration{0, 15 * time.Second, 45 * time.Second, 105 * time.Second, 225 * time.Second}, at); d != "" {
			t.Errorf("times of transfers differ (-want +got):\n%s", d)
		}
		// Other content is sent at once.
		a.route.take()
		s.setFile("#other\n")
		d.GroupsChanged()
		synctest.Wait()
		if got := a.route.take(); len(got) != 3 || got[1] != "#other\n" {
			t.Errorf("%q were sent after a change, want the new file", got)
		}
	})
}

// A file that changes while the one before is under way is sent after it.
func TestAChangeDuringATransferIsNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := world()
		d, _ := s.run(t, Services{Groups: fakeGroups{s}}, 1<<20)
		changed := false
		a.route.onSend = func(payload string) {
			if payload == "#!-close file " && !changed { // the transfer has not ended for the pusher yet
				changed = true
				s.setFile("#other\n")
				d.GroupsChanged()
				time.Sleep(time.Second)
			}
		}
		d.Configured(a, "another sum", time.Now())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		got := a.route.take()
		if len(got) != 6 || got[1] != "#default\n" || got[4] != "#other\n" {
			t.Errorf("%q were sent, want both files, one after the other", got)
		}
	})
}

// The longest command fits a message with any mark before it.
func TestTheLongestCommandFitsAMessage(t *testing.T) {
	t.Parallel()
	for _, mark := range []string{"#!-execd ", "#!-req ffffffff "} {
		if n := len(mark) + schemas.MaxCommandText; n > secure.MaxPayload {
			t.Errorf("%q and the longest text take %d bytes, a message takes %d", mark, n, secure.MaxPayload)
		}
	}
}

func TestAnAbortedPushIsTriedAtTheNextKeepalive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := world()
		s.setFile("#default\n" + strings.Repeat("x", 5*pieceBytes))
		d, _ := s.run(t, Services{Groups: fakeGroups{s}}, 1<<20)
		old := a.route
		old.onSend = func(payload string) {
			if strings.HasPrefix(payload, "#default") {
				old.close()
			}
		}
		d.Configured(a, "another sum", time.Now())
		synctest.Wait()
		if got := old.take(); len(got) != 2 {
			t.Errorf("%d payloads went over the connection that ended, want 2", len(got))
		}
		a.route = &fakeRoute{} // it connects anew
		d.Configured(a, "another sum", time.Now())
		time.Sleep(time.Second)
		synctest.Wait()
		if got := a.route.take(); len(got) < 3 || !strings.HasPrefix(got[0], "#!-up file ") || got[len(got)-1] != "#!-close file " {
			t.Errorf("%d payloads went over the new connection, want a whole transfer", len(got))
		}
		if n := testutil.ToFloat64(d.pushes.m.pushes.WithLabelValues("aborted")); n != 1 {
			t.Errorf("%v transfers are counted as aborted, want 1", n)
		}
	})
}

func TestPushesKeepToTheirShareOfTheNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := world()
		s.setFile(strings.Repeat("x", 20*pieceBytes))
		d, _ := s.run(t, Services{Groups: fakeGroups{s}}, 2*pieceBytes)
		began := time.Now()
		var took time.Duration
		a.route.onSend = func(payload string) {
			if payload == "#!-close file " {
				took = time.Since(began)
			}
		}
		d.Configured(a, "another sum", time.Now())
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := 9500 * time.Millisecond; took != want { // the first piece waits for nothing
			t.Errorf("20 pieces at 2 a second took %s, want %s", took, want)
		}
	})
}

func TestAnAgentWithoutAGroupIsGivenOneUntilItHasOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := world()
		s.groups["001"], s.refuse = nil, errors.New("no quorum")
		d, _ := s.run(t, Services{Groups: fakeGroups{s}}, 1<<20)
		keepalive := func() { d.Configured(a, "x", time.Now()); synctest.Wait() }
		keepalive()
		s.mu.Lock()
		s.refuse = nil
		s.mu.Unlock()
		keepalive()
		keepalive()
		same(t, "assignments", s.assigned, slices.Repeat([]string{"001 if_none default"}, 2))
	})
}
