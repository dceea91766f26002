package ingest

import (
	"bytes"
	"crypto/md5"  //nolint:gosec // the protocol's
	"crypto/sha1" //nolint:gosec // the protocol's
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/ingest/deliver"
	"vedette/ingest/secure"
	"vedette/ingest/session"
	"vedette/internal/groups"
	"vedette/internal/kafka"
	"vedette/internal/registry"
	"vedette/schemas"

	"context"
)

// fakeGroups gives merged files under the test's control.
type fakeGroups struct {
	mu   sync.Mutex
	text map[string]string
}

func (f *fakeGroups) Ready() <-chan struct{} { c := make(chan struct{}); close(c); return c }

func (f *fakeGroups) Merged(names []string) *groups.Merged {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := strings.Join(names, ",")
	if key == "" {
		key = "default"
	}
	sum := md5.Sum([]byte(f.text[key]))
	return &groups.Merged{Sum: hex.EncodeToString(sum[:]), Data: []byte(f.text[key])}
}

func (f *fakeGroups) set(key, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text[key] = text
}

func sumKeepalive(sum string) string {
	return "#!-Linux |h |5.1 |#1 |x86_64 [Ubuntu|ubuntu: 22.04] - Wazuh v4.14.7 / ab\n" + sum + " merged.mg\n#\"_agent_ip\":192.168.7.7\n"
}

// file reads a transfer to its end and checks its sum. Acks in between are left out.
func (c *client) file() string {
	c.b.t.Helper()
	var sum string
	var data []byte
	for {
		p, _ := c.answer()
		switch {
		case p == secure.AckText:
		case strings.HasPrefix(p, "#!-up file "):
			sum, data = strings.Fields(p)[2], nil
		case p == "#!-close file ":
			if got := md5.Sum(data); hex.EncodeToString(got[:]) != sum {
				c.b.t.Errorf("the file's sum is not %s", sum)
			}
			return string(data)
		case strings.HasPrefix(p, "#!-"):
			c.b.t.Fatalf("%q within a transfer", p)
		default:
			if len(p) > 900 {
				c.b.t.Errorf("a piece of %d bytes; agents take 900", len(p))
			}
			data = append(data, p...)
		}
	}
}

func TestAnAgentIsSentWhatItsGroupShares(t *testing.T) {
	t.Parallel()
	fg := &fakeGroups{text: map[string]string{"default": "#default\n" + strings.Repeat("0123456789\n", 300), "web": "#web\n"}}
	b := startWith(t, deliver.Services{Groups: fg}, nil)
	c := b.agent()
	c.expect("#!-agent startup ", "#!-agent ack ")
	c.send(sumKeepalive("x"))
	if got := c.file(); got != fg.text["default"] {
		t.Errorf("%q", got)
	}
	// An agent without a group is given one.
	b.wait("the group", func() bool { a, _ := b.reg.Agent("001"); return len(a.Groups) == 1 && a.Groups[0] == "default" })
	// It is not sent again while the agent has not reported the outcome.
	c.expect(sumKeepalive("x"), "#!-agent ack ")
	sum := fg.Merged([]string{"default"}).Sum
	c.expect(sumKeepalive(sum), "#!-agent ack ")
	// The files change: it is sent without being asked for.
	fg.set("default", "#default\nnew")
	b.g.Delivery().GroupsChanged()
	if got := c.file(); got != "#default\nnew" {
		t.Errorf("%q", got)
	}
	c.expect(sumKeepalive(fg.Merged(nil).Sum), "#!-agent ack ")
	// Its groups change.
	if err := b.reg.SetGroups(t.Context(), "001", schemas.GroupsOverride, []string{"web"}); err != nil {
		t.Fatal(err)
	}
	if got := c.file(); got != "#web\n" {
		t.Errorf("%q", got)
	}
	if n := b.counted("vedette_ingest_config_pushes_total", "sent"); n != 3 {
		t.Errorf("%v files sent, want 3", n)
	}
}

func command(t *testing.T, c schemas.Command) schemas.Record {
	t.Helper()
	now := time.Now().UnixMilli()
	if c.Time == 0 {
		c.Time = now
	}
	if c.Expires == 0 {
		c.Expires = c.Time + 60_000
	}
	r, err := c.Record()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// repliesSoFar returns the outcomes of commands, as `<command> <status> <text>`.
func (p *fakeProducer) repliesSoFar() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.replies {
		r := &p.replies[i]
		out = append(out, fmt.Sprintf("%s %s %s", r.CommandID, r.Status, r.Text))
	}
	return out
}

func TestCommandsAreSentOnceAndInTime(t *testing.T) {
	t.Parallel()
	var buried []string
	b := startWith(t, deliver.Services{
		Verify: func(r *schemas.Record) bool { return len(r.Headers) == 0 },
		Bury:   func(_ schemas.Record, cause, _ string) { buried = append(buried, cause) },
	}, nil)
	c := b.agent()
	c.expect("#!-agent startup ", "#!-agent ack ")
	ar := schemas.Command{ID: "a/fw/001", Kind: schemas.CommandResponse, AgentID: "001", Text: `{"a":"!$"}`, Legacy: "fw0 - - 1.2 3 x - -"}
	b.g.Delivery().OnCommand(command(t, ar)) // no version is known before the first keepalive
	c.expect(keepalive, "#!-agent ack ")
	ar.ID = "b/fw/001"
	b.g.Delivery().OnCommand(command(t, ar))
	b.g.Delivery().OnCommand(command(t, ar)) // is in the topic twice
	if got, _ := c.answer(); got != `#!-execd {"a":"!$"}` {
		t.Errorf("%q", got)
	}
	late := command(t, schemas.Command{ID: "late", Kind: schemas.CommandControl, AgentID: "001", Text: "force_reconnect", Time: 1, Expires: 2})
	b.g.Delivery().OnCommand(late)
	forged := command(t, schemas.Command{ID: "forged", Kind: schemas.CommandControl, AgentID: "001", Text: "force_reconnect"})
	forged.Headers = []schemas.Header{{Key: "x"}}
	b.g.Delivery().OnCommand(forged)
	b.g.Delivery().OnCommand(command(t, schemas.Command{ID: "x", Kind: schemas.CommandControl, AgentID: "999", Text: "force_reconnect"}))
	b.g.Delivery().OnCommand(command(t, schemas.Command{ID: "last", Kind: schemas.CommandControl, AgentID: "001", Text: "syscheck restart"}))
	if got, _ := c.answer(); got != "#!-syscheck restart" {
		t.Errorf("%q", got)
	}
	want := []string{"a/fw/001 refused the agent's version is not known", "b/fw/001 sent ", "late expired it came after its time", "last sent "}
	b.wait("replies", func() bool { return len(b.prod.repliesSoFar()) == len(want) })
	if d := cmp.Diff(want, b.prod.repliesSoFar()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"command_mac"}, buried); d != "" {
		t.Error(d)
	}
}

func TestRequestsAreAnsweredOrEnd(t *testing.T) {
	t.Parallel()
	b := startWith(t, deliver.Services{Verify: func(*schemas.Record) bool { return true }}, nil)
	c := b.agent()
	c.expect("#!-agent startup ", "#!-agent ack ")
	now := time.Now().UnixMilli()
	b.g.Delivery().OnCommand(command(t, schemas.Command{ID: "q1", Kind: schemas.CommandRequest, AgentID: "001", Text: "agent getstate"}))
	got, _ := c.answer()
	f := strings.Fields(got)
	if len(f) != 4 || f[0] != "#!-req" || f[2]+" "+f[3] != "agent getstate" {
		t.Fatalf("%q", got)
	}
	c.send("#!-req 77777777 ok not asked")
	c.send("#!-req " + f[1] + " ok  {\"two\": \"spaces\"}")
	b.wait("the answer", func() bool { return len(b.prod.repliesSoFar()) == 1 })
	b.g.Delivery().OnCommand(command(t, schemas.Command{ID: "q2", Kind: schemas.CommandRequest, AgentID: "001", Text: "agent getstate", Time: now, Expires: time.Now().UnixMilli() + 300}))
	_, _ = c.answer()
	b.wait("the end", func() bool { return len(b.prod.repliesSoFar()) == 2 })
	want := []string{`q1 answered ok  {"two": "spaces"}`, "q2 timed_out err Response timeout"}
	if d := cmp.Diff(want, b.prod.repliesSoFar()); d != "" {
		t.Error(d)
	}
}

type fakePackages []byte

func (p fakePackages) Package(context.Context, *schemas.AgentUpgrade) ([]byte, error) { return p, nil }

func TestAPackageIsSentInChunksAndChecked(t *testing.T) {
	t.Parallel()
	pkg := bytes.Repeat([]byte("0123456789"), 1000)
	b := startWith(t, deliver.Services{Verify: func(*schemas.Record) bool { return true }, Packages: fakePackages(pkg)}, nil)
	c := b.agent()
	c.expect("#!-agent startup ", "#!-agent ack ")
	sum := sha1.Sum(pkg)
	u := &schemas.AgentUpgrade{File: "x.wpk", SHA256: strings.Repeat("0", 64), SHA1: hex.EncodeToString(sum[:]), Size: int64(len(pkg)), Installer: "upgrade.sh", ChunkBytes: 4096}
	b.g.Delivery().OnCommand(command(t, schemas.Command{ID: "u", Kind: schemas.CommandUpgrade, AgentID: "001", Upgrade: u}))
	var got []byte
	var steps []string
	for len(steps) == 0 || steps[len(steps)-1] != "upgrade" {
		text, _ := c.answer()
		f := strings.SplitN(text, " ", 4)
		if f[2] == "com" {
			steps = append(steps, f[3])
			c.send("#!-req " + f[1] + " ok ")
			continue
		}
		var q struct {
			Command    string
			Parameters struct{ File, Buffer, Installer string }
		}
		if err := json.Unmarshal([]byte(f[3]), &q); err != nil || q.Parameters.File != "x.wpk" {
			t.Fatalf("%q: %v", text, err)
		}
		steps = append(steps, q.Command)
		message := "ok"
		switch q.Command {
		case "write":
			part, err := base64.StdEncoding.DecodeString(q.Parameters.Buffer)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, part...)
		case "sha1":
			s := sha1.Sum(got)
			message = hex.EncodeToString(s[:])
		case "upgrade":
			message = "0"
		}
		c.send(fmt.Sprintf(`#!-req %s {"error":0,"message":"%s","data":[]}`, f[1], message))
	}
	if d := cmp.Diff([]string{"lock_restart -1", "open", "write", "write", "write", "close", "sha1", "upgrade"}, steps); d != "" {
		t.Error(d)
	}
	b.wait("the end", func() bool { r := b.prod.repliesSoFar(); return len(r) == 1 && strings.HasPrefix(r[0], "u done") })
	// The upgraded agent reports until the server confirms that it has heard.
	c.send(`u:upgrade_module:{"command":"upgrade_update_status","parameters":{"error":2,"message":"rolled back","status":"Failed"}}`)
	if text, _ := c.answer(); !strings.HasSuffix(text, ` upgrade {"command":"clear_upgrade_result","parameters":{}}`) {
		t.Errorf("%q", text)
	}
	b.wait("the report", func() bool {
		r := b.prod.repliesSoFar()
		return len(r) == 2 && r[1] == schemas.UpgradeReport+" failed rolled back"
	})
}

func (r *fakeRegistry) read(p schemas.Presence) {
	r.mu.Lock()
	old, known := r.presences[p.ID]
	stale := known && !p.Follows(&old)
	if !stale {
		r.presences[p.ID] = p
	}
	current, fn := r.presences[p.ID], r.presSub
	r.mu.Unlock()
	fn(&p, &current, stale)
}

// The last claim in the topic holds the agent.
func TestAClaimElsewhereEndsTheConnectionHere(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	c := b.agent()
	c.expect("#!-agent startup ", "#!-agent ack ")
	mine, _ := b.reg.Presence("001")
	if !mine.Claim || mine.Session == "" {
		t.Fatalf("%+v", mine)
	}
	other := mine
	other.Gateway, other.Session, other.Address = "gw2", "gw2/x/1", "10.9.9.9"
	// The other's claim comes before this one's, so it has lost.
	b.reg.read(other)
	b.reg.read(mine)
	b.g.fleet.mu.RLock()
	lost := b.g.fleet.agents["001"].bound.lost
	b.g.fleet.mu.RUnlock()
	if !lost.IsZero() {
		t.Fatal("the later claim has lost")
	}
	// Something it says too late changes nothing, but is answered by a claim.
	stale := other
	stale.Claim = false
	b.reg.read(stale)
	c.expect(keepalive, "#!-agent ack ")
	if p, _ := b.reg.Presence("001"); !p.Claim || p.Gateway != "gw1" {
		t.Errorf("%+v", p)
	}
	// Now it claims the agent after this one.
	other.Claim = true
	b.reg.read(other)
	c.expect(keepalive, "#!-agent ack ") // may have been on its way
	b.g.fleet.mu.Lock()
	b.g.fleet.agents["001"].bound.lost = time.Now().Add(-time.Minute)
	b.g.fleet.mu.Unlock()
	c.send(keepalive)
	c.ends("two holders of a key")
	if n := testutil.ToFloat64(b.g.m.conflicts); n != 1 {
		t.Errorf("%v conflicts counted", n)
	}
	var raised []string
	for _, e := range b.prod.got() {
		raised = append(raised, e.Location+" "+string(e.Log))
	}
	if len(raised) != 1 || !strings.Contains(raised[0], "vedette-ingest vedette: Agent key already in use: 'ag1->any', connected at gw") {
		t.Errorf("%q", raised)
	}
}

// sweeping is a sweep of one partition on the time of a test's bubble.
type sweeping struct {
	t    *testing.T
	reg  *fakeRegistry
	prod *fakeProducer
	s    *Sweep
	h    kafka.Handler
	ids  []string
}

func sweep(t *testing.T, change func(*Config)) *sweeping {
	cfg := Default()
	cfg.Node = "gw1"
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	w := &sweeping{t: t, reg: newRegistry(), prod: &fakeProducer{}}
	w.s = NewSweep(cfg, w.reg, w.prod, slog.New(slog.DiscardHandler), nil)
	return w
}

// agent registers an agent with a presence.
func (w *sweeping) agent(p schemas.Presence) {
	w.reg.put(p.ID, "ag"+p.ID, "any", "key-"+p.ID)
	p.AgentIP, p.Gateway = "192.168.7.7", "gone"
	w.reg.presences[p.ID] = p
	w.ids = append(w.ids, p.ID)
}

// own makes another owner take the partition over.
func (w *sweeping) own() {
	w.t.Helper()
	w.end()
	h, err := w.s.open(w.t.Context(), kafka.Assignment{})
	if err != nil {
		w.t.Fatal(err)
	}
	var recs []schemas.Record
	for _, id := range w.ids {
		recs = append(recs, schemas.Record{Key: []byte(id), Value: []byte("{}")})
	}
	if err := h.Handle(w.t.Context(), recs); err != nil {
		w.t.Fatal(err)
	}
	w.h = h
}

func (w *sweeping) end() {
	if w.h != nil {
		w.h.Close()
		w.h = nil
	}
}

// after compares the events raised until then, since the begin, with want.
func (w *sweeping) after(d time.Duration, want ...string) {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	var got []string
	known := map[string]bool{}
	for _, e := range w.prod.got() {
		id := e.AgentID + " " + e.EventID
		if known[id] {
			continue // analysis drops it
		}
		known[id] = true
		got = append(got, e.AgentID+" "+e.AgentIP+" "+e.Location+" "+string(e.Log))
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		w.t.Error(d)
	}
}

func (w *sweeping) presence(id string) schemas.Presence { p, _ := w.reg.Presence(id); return p }

func (w *sweeping) removals() []string {
	w.reg.mu.Lock()
	defer w.reg.mu.Unlock()
	return slices.Clone(w.reg.removals)
}

func lostText(id string) string {
	return id + " 192.168.7.7 wazuh-monitord ossec: Agent disconnected: 'ag" + id + "-any'."
}

func TestSilentAgentsAreFoundOnceByTheOwnerOfTheirPartition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := sweep(t, nil)
		now := time.Now().UnixMilli()
		w.agent(schemas.Presence{ID: "001", State: schemas.StateActive, LastKeepalive: now})
		w.agent(schemas.Presence{ID: "002", State: schemas.StateDisconnected, LastKeepalive: now - 1, DisconnectionTime: now - 1})
		w.agent(schemas.Presence{ID: "003", State: schemas.StateActive, HeldBack: now + 3_600_000})
		w.agent(schemas.Presence{ID: "004", State: schemas.StatePending, Connected: now})
		w.agent(schemas.Presence{ID: "005", State: schemas.StateActive, LastKeepalive: now})
		w.ids = w.ids[:4] // the last one is another owner's
		w.own()
		defer w.end()
		w.after(15*time.Minute - time.Millisecond)
		w.after(time.Second, lostText("001"), lostText("004"))
		w.after(30*time.Minute, lostText("001"), lostText("004"))
		if p := w.presence("001"); p.StatusCode != schemas.StatusNoKeepalive || p.DisconnectionTime != now+900_000 || p.State != schemas.StateDisconnected || p.LostSince != 0 {
			t.Errorf("%+v", p)
		}
		if n := testutil.ToFloat64(w.s.lost); n != 2 {
			t.Errorf("%v counted as lost", n)
		}
		if e := w.prod.got(); e[0].EventID != fmt.Sprintf("sweep/lost/%d", now+900_000) {
			t.Errorf("%q", e[0].EventID) // a repeat by another owner is judged once
		}
	})
}

func TestTheEventAboutALostAgentWaitsAsLongAsConfigured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := sweep(t, func(c *Config) { c.DisconnectionAlertTime = 5 * time.Minute })
		now := time.Now().UnixMilli()
		for i := 1; i <= 5; i++ {
			w.agent(schemas.Presence{ID: fmt.Sprintf("%03d", i), State: schemas.StateActive, LastKeepalive: now, Session: "x"})
		}
		w.own()
		defer w.end()
		w.after(15*time.Minute + time.Second)
		lost := w.presence("001")
		if lost.State != schemas.StateDisconnected || lost.LostSince != now+900_000 || !lost.Sweep || lost.Session != "" {
			t.Fatalf("%+v", lost)
		}
		hear := func(id string, payloads ...string) {
			s := session.New(session.Identity{ID: id, Name: "ag" + id, Host: "any", Gateway: "gw2", Connection: "gw2/1", ServerVersion: "v4.14.7"}, w.presence(id))
			for _, text := range payloads {
				if r := s.Handle(time.Now(), []byte(text)); r.WritePresence {
					w.reg.SetPresence(s.Presence(), func(error) {})
				}
			}
		}
		hear("002", "#!-agent startup ", keepalive)            // is active again
		hear("003", "#!-agent startup ")                       // has begun, and is not active yet
		hear("004", "#!-agent startup ", "#!-agent shutdown ") // another event reports it
		w.own()                                                // a time without ownership does not count
		w.after(5*time.Minute - 2*time.Second)
		w.after(time.Second, lostText("001"), lostText("003"), lostText("005"))
		w.own()
		w.after(14*time.Minute, lostText("001"), lostText("003"), lostText("005"))
		if p := w.presence("003"); p.State != schemas.StatePending || p.Session != "gw2/1" {
			t.Errorf("%+v", p) // the connection's, still
		}
		if p := w.presence("001"); p.LostSince != 0 || p.DisconnectionTime != lost.DisconnectionTime {
			t.Errorf("%+v", p)
		}
	})
}

// An owner that dies between an event and the record of it leaves both to the
// next one; analysis knows the event by its id.
func TestAnEventThatIsToldAgainHasTheSameID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := sweep(t, nil)
		w.agent(schemas.Presence{ID: "001", State: schemas.StateDisconnected, LostSince: 5, DisconnectionTime: 5, Sweep: true})
		before := w.presence("001")
		w.own()
		defer w.end()
		w.after(3*time.Second, lostText("001"))
		w.reg.mu.Lock()
		w.reg.presences["001"] = before
		w.reg.mu.Unlock()
		w.own()
		w.after(3*time.Second, lostText("001"))
		if got := w.prod.got(); len(got) != 2 || got[0].EventID != "sweep/lost/5" {
			t.Errorf("%+v", got)
		}
	})
}

func TestSilenceThatNobodyCouldHearIsHeldAgainstNoAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := sweep(t, nil)
		w.agent(schemas.Presence{ID: "001", State: schemas.StateActive, LastKeepalive: time.Now().UnixMilli()})
		time.Sleep(time.Hour)
		w.own()
		defer w.end()
		w.after(10 * time.Minute)
		w.prod.pause()
		w.after(30 * time.Minute)
		w.prod.resume()
		w.after(13 * time.Minute)
		w.after(3*time.Minute, lostText("001"))
	})
}

func TestAgentsThatAreDisconnectedForLongAreRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := sweep(t, func(c *Config) { c.RemoveTime, c.RemovePurge = time.Hour, true })
		now := time.Now().UnixMilli()
		gone := schemas.Presence{State: schemas.StateDisconnected, StatusCode: schemas.StatusShutdown, LastKeepalive: now, DisconnectionTime: now, Session: "x"}
		for _, id := range []string{"001", "002"} {
			gone.ID = id
			w.agent(gone)
		}
		w.agent(schemas.Presence{ID: "003", State: schemas.StateActive, LastKeepalive: now, HeldBack: now + 36_000_000})
		w.reg.put("004", "never", "any", "key-4") // has no presence
		w.own()
		defer w.end()
		w.after(time.Hour - time.Second)
		if len(w.removals()) != 0 {
			t.Fatalf("%q too early", w.removals())
		}
		back := w.presence("002")
		back.State, back.Session, back.Claim, back.Connected, back.DisconnectionTime = schemas.StatePending, "y", true, now+1, 0
		back.HeldBack = now + 36_000_000
		w.reg.SetPresence(back, func(error) {})
		w.own()
		w.after(time.Minute)
		if d := cmp.Diff([]string{"001 disconnected after 1h0m0s purge true"}, w.removals()); d != "" {
			t.Error(d)
		}
		if n := testutil.ToFloat64(w.s.removed); n != 1 {
			t.Errorf("%v counted", n)
		}
		w.after(2 * time.Hour)
		if len(w.removals()) != 1 || w.presence("002").State != schemas.StatePending {
			t.Errorf("%q", w.removals())
		}
	})
}

// The mark decides: an agent whose claim comes before it in the topic stays,
// however far the owner has read by then.
func TestAnAgentThatComesBackBeforeTheMarkStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := sweep(t, func(c *Config) { c.RemoveTime = time.Hour })
		now := time.Now().UnixMilli()
		w.agent(schemas.Presence{ID: "001", State: schemas.StateDisconnected, LastKeepalive: now - 7_200_000, DisconnectionTime: now - 7_200_000})
		// The claim is written between the owner's look and its mark.
		w.reg.beforeSet = func(p *schemas.Presence) {
			if p.Removing != 0 {
				w.reg.presences["001"] = schemas.Presence{ID: "001", State: schemas.StatePending, Connected: time.Now().UnixMilli(), Session: "y", Claim: true}
			}
		}
		w.own()
		defer w.end()
		w.after(time.Minute)
		if p := w.presence("001"); len(w.removals()) != 0 || p.State != schemas.StatePending || p.Session != "y" {
			t.Errorf("%q, %+v", w.removals(), p)
		}
	})
}

func TestARefusedRemovalIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := sweep(t, func(c *Config) { c.RemoveTime = time.Hour })
		now := time.Now().UnixMilli()
		w.agent(schemas.Presence{ID: "001", State: schemas.StateDisconnected, DisconnectionTime: now - 7_200_000})
		w.reg.refuse = &registry.Refusal{Reason: registry.ReasonNotLost}
		w.own()
		defer w.end()
		w.after(time.Hour)
		if len(w.removals()) != 1 || testutil.ToFloat64(w.s.kept) != 1 {
			t.Errorf("%q, %v kept", w.removals(), testutil.ToFloat64(w.s.kept))
		}
	})
}

// udpClient is an agent on UDP.
type udpClient struct {
	*client
	u *net.UDPConn
}

func (b *bench) dialUDP(id, name, key string) *udpClient {
	b.t.Helper()
	u, err := net.DialUDP("udp", nil, b.g.UDPAddr().(*net.UDPAddr))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { u.Close() })
	_ = u.SetDeadline(time.Now().Add(2 * time.Minute))
	return &udpClient{client: &client{b: b, key: secure.NewKey(id, name, key), id: id, enc: secure.Encoder{Level: 1}}, u: u}
}

func (c *udpClient) send(payload string) {
	c.b.t.Helper()
	if _, err := c.u.Write(c.unit(payload)); err != nil {
		c.b.t.Fatal(err)
	}
}

func (c *udpClient) answer() string {
	c.b.t.Helper()
	buf := make([]byte, 65536)
	n, err := c.u.Read(buf)
	if err != nil {
		c.b.t.Fatal(err)
	}
	m, err := secure.NewDecoder().Open(c.key, buf[:n])
	if err != nil {
		c.b.t.Fatal(err)
	}
	return string(m.Payload)
}

func TestAgentsOnUDP(t *testing.T) {
	t.Parallel()
	fg := &fakeGroups{text: map[string]string{"default": "#default\nx"}}
	b := startWith(t, deliver.Services{Groups: fg, Verify: func(*schemas.Record) bool { return true }}, func(c *Config) { c.ListenUDP = "127.0.0.1:0" })
	c := b.dialUDP("001", "ag1", "key-1")
	if _, err := c.u.Write([]byte("#ping and more")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, err := c.u.Read(buf); err != nil || string(buf[:n]) != "#pong" {
		t.Fatalf("%q %v", buf[:n], err)
	}
	c.method = secure.Blowfish
	c.send("#!-agent startup {\"version\":\"v4.14.7\"}")
	if got := c.answer(); got != "#!-agent ack " {
		t.Errorf("%q", got)
	}
	c.send("1:/var/log/x:hello")
	b.wait("the event", func() bool { return len(b.prod.got()) == 1 })
	c.send(sumKeepalive("x"))
	var got []string
	for len(got) == 0 || got[len(got)-1] != "#!-close file " {
		got = append(got, c.answer())
	}
	sum := fg.Merged(nil).Sum
	if d := cmp.Diff([]string{"#!-agent ack ", "#!-up file " + sum + " merged.mg\n", "#default\nx", "#!-close file "}, got); d != "" {
		t.Error(d)
	}
	// A request is sent again until the agent says that it came.
	b.g.Delivery().OnCommand(command(t, schemas.Command{ID: "q", Kind: schemas.CommandRequest, AgentID: "001", Text: "agent getstate"}))
	first, again := c.answer(), c.answer()
	if first != again || !strings.HasPrefix(first, "#!-req ") {
		t.Errorf("%q, %q", first, again)
	}
	id := strings.Fields(first)[1]
	c.send("#!-req " + id + " ack")
	c.send("#!-req " + id + " ok {}")
	if got := c.answer(); got != "#!-req "+id+" ack" {
		t.Errorf("%q", got)
	}
	b.wait("the answer", func() bool { r := b.prod.repliesSoFar(); return len(r) == 1 && r[0] == "q answered ok {}" })
	// Damaged and foreign units are counted and change nothing.
	for _, u := range [][]byte{[]byte("!001!#AES:damaged........"), []byte("!777!#AES:................"), []byte("x"), {}} {
		_, _ = c.u.Write(u)
	}
	b.wait("the refusals", func() bool {
		return testutil.ToFloat64(b.g.m.units.WithLabelValues(string(reasonUnknown))) >= 1 && testutil.ToFloat64(b.g.m.units.WithLabelValues(string(reasonKey))) >= 1
	})
	c.send("#!-agent shutdown ")
	b.wait("the goodbye", func() bool { p, _ := b.reg.Presence("001"); return p.State == schemas.StateDisconnected })
}

// An agent on UDP that is registered anew begins anew; its old key reaches nobody.
func TestANewKeyEndsTheOldOneOnUDP(t *testing.T) {
	t.Parallel()
	b := startWith(t, deliver.Services{Verify: func(*schemas.Record) bool { return true }}, func(c *Config) { c.ListenUDP = "127.0.0.1:0" })
	old := b.dialUDP("001", "ag1", "key-1")
	old.send("#!-agent startup ")
	if got := old.answer(); got != "#!-agent ack " {
		t.Fatalf("the startup was answered by %q", got)
	}
	before, ok := b.g.fleet.Agent("001")
	if !ok {
		t.Fatal("an agent that was answered is not in the fleet")
	}
	if _, reachable := before.Route(time.Now()); !reachable {
		t.Fatal("an agent that was answered is not reachable")
	}
	b.reg.remove("001")
	if _, reachable := before.Route(time.Now()); reachable {
		t.Error("a removed agent is reachable")
	}
	b.reg.put("001", "ag1", "any", "key-2")
	old.send("#!-agent startup ")
	b.wait("the old key's refusal", func() bool { return testutil.ToFloat64(b.g.m.units.WithLabelValues(string(reasonKey))) == 1 })
	b.g.Delivery().OnCommand(command(t, schemas.Command{ID: "early", Kind: schemas.CommandControl, AgentID: "001", Text: "force_reconnect"}))
	fresh := b.dialUDP("001", "ag1", "key-2")
	fresh.send("#!-agent startup ")
	if got := fresh.answer(); got != "#!-agent ack " {
		t.Errorf("the startup with the new key was answered by %q", got)
	}
	b.g.Delivery().OnCommand(command(t, schemas.Command{ID: "late", Kind: schemas.CommandControl, AgentID: "001", Text: "force_reconnect"}))
	if got := fresh.answer(); got != "#!-force_reconnect" {
		t.Errorf("the command came as %q", got)
	}
	b.wait("the outcome", func() bool { return len(b.prod.repliesSoFar()) == 1 })
	if d := cmp.Diff([]string{"late sent "}, b.prod.repliesSoFar()); d != "" {
		t.Errorf("outcomes differ (-want +got):\n%s", d)
	}
}
