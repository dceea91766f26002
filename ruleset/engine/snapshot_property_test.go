package engine_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vedette/ruleset"
	"vedette/ruleset/content"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// snapshotDecoders and snapshotRules use everything that the engine remembers.
const snapshotDecoders = `<decoder name="t"><prematch>^T </prematch></decoder>
<decoder name="t1"><parent>t</parent><regex>ip=(\S+) user=(\S+) x=(\S+)</regex><order>srcip, dstuser, extra.x</order></decoder>
<decoder name="f"><type>ids</type><prematch>^F </prematch><regex>ip=(\S+)</regex><order>srcip</order><fts>name, srcip, location</fts></decoder>
<decoder name="a"><prematch>^A </prematch><accumulate/></decoder>
<decoder name="a1"><parent>a</parent><regex>id=(\S+)</regex><order>id</order><accumulate/></decoder>
<decoder name="a1"><parent>a</parent><regex>ip=(\S+)</regex><order>srcip</order><accumulate/></decoder>
<decoder name="p"><program_name>^p$</program_name></decoder>`

const snapshotRules = `<group name="test,">
<rule id="900001" level="3"><decoded_as>t</decoded_as><description>base $(srcip)</description></rule>
<rule id="900002" level="4"><if_sid>900001</if_sid><field name="extra.x">^9</field><description>nine</description><group>nine,</group></rule>
<rule id="900003" level="10" frequency="3" timeframe="60"><if_matched_sid>900001</if_matched_sid><same_srcip/><description>three of one ip</description></rule>
<rule id="900004" level="11" frequency="4" timeframe="300"><if_matched_group>nine</if_matched_group><same_field>extra.x</same_field><different_user/><description>nines</description></rule>
<rule id="900005" level="5" ignore="40"><if_sid>900001</if_sid><match>user=root</match><description>root, seldom</description></rule>
<rule id="900006" level="7"><if_sid>900001</if_sid><match>user=diff</match><check_diff/><description>differs</description></rule>
<rule id="900007" level="12" frequency="6" timeframe="120"><if_matched_regex>user=u1</if_matched_regex><description>many u1</description></rule>
<rule id="900010" level="3"><category>ids</category><decoded_as>f</decoded_as><description>f</description></rule>
<rule id="900011" level="8"><if_sid>900010</if_sid><if_fts/><description>first seen</description></rule>
<rule id="900012" level="9" frequency="3" timeframe="200"><category>ids</category><if_matched_regex>ip=10.0.100.1</if_matched_regex><description>ids again</description></rule>
<rule id="900020" level="3"><decoded_as>a</decoded_as><description>a $(srcip)</description></rule>
<rule id="900021" level="9" frequency="2" timeframe="100"><if_matched_sid>900020</if_matched_sid><different_field>extra.x</different_field><description>never: these events have no dynamic field</description></rule>
</group>`

func compile(t testing.TB, src ruleset.Source) *program.Program {
	t.Helper()
	p, problems, err := ruleset.Compile(src)
	if err != nil {
		t.Fatal(err, problems)
	}
	return p
}

func snapshotSource() ruleset.Source {
	return ruleset.Source{
		Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(snapshotDecoders)}},
		Rules:    []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(snapshotRules)}},
	}
}

func snapshotEvents(rnd *rand.Rand, n int) []schemas.Event {
	at := time.Date(2026, 11, 22, 10, 50, 0, 0, time.UTC)
	out := make([]schemas.Event, 0, n)
	for range n {
		at = at.Add(time.Duration(rnd.IntN(4000)) * time.Millisecond)
		ts := at
		if rnd.IntN(5) == 0 {
			ts = at.Add(-time.Duration(rnd.IntN(120)) * time.Second)
		}
		agent := fmt.Sprintf("%03d", 1+rnd.IntN(4))
		user := []string{"u1", "u2", "root", "diff"}[rnd.IntN(4)]
		var log string
		switch rnd.IntN(5) {
		case 0:
			log = fmt.Sprintf("F ip=10.0.100.%d", rnd.IntN(250))
		case 1:
			log = fmt.Sprintf("A id=%d", rnd.IntN(5))
			if rnd.IntN(2) == 0 {
				log += fmt.Sprintf(" ip=1.1.1.%d", rnd.IntN(5))
			}
		default:
			log = fmt.Sprintf("T ip=10.0.0.%d user=%s x=%d", rnd.IntN(3), user, 7+rnd.IntN(3))
		}
		if rnd.IntN(3) == 0 {
			log = "Nov 22 10:50:00 host" + agent + " " + log
		}
		out = append(out, schemas.Event{Time: ts, AgentID: agent, AgentName: "n" + agent, Location: "/x", Queue: '1', Log: []byte(log)})
	}
	return out
}

// sameAfterRestore judges events with two states and compares every document. The
// second state is written and read back at random moments.
func sameAfterRestore(t *testing.T, e *engine.Engine, events []schemas.Event, rnd *rand.Rand, snapshots int) map[int]int {
	t.Helper()
	at := map[int]bool{0: true}
	for range snapshots {
		at[rnd.IntN(len(events))] = true
	}
	whole, cut := e.NewState(), e.NewState()
	rules := map[int]int{}
	for i := range events {
		if at[i] {
			a, err := whole.AppendSnapshot(nil, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			b, err := cut.AppendSnapshot([]byte("before"), 1<<30)
			if err != nil || !bytes.Equal(a, b[len("before"):]) {
				t.Fatalf("event %d: equal states give other bytes (%v)", i, err)
			}
			if cut, err = e.RestoreState(a); err != nil {
				t.Fatalf("event %d: %v", i, err)
			}
			clear(a) // nothing of it may be kept
		}
		x := e.Process(whole, &events[i])
		y := e.Process(cut, &events[i])
		want, got := x.AppendArchive(nil, "1.1", nil), y.AppendArchive(nil, "1.1", nil)
		want, got = x.AppendAlert(want, "1.1", nil), y.AppendAlert(got, "1.1", nil)
		if x.Alert != y.Alert || !bytes.Equal(want, got) {
			t.Fatalf("event %d (%s) is judged otherwise:\n%s\n%s", i, events[i].Log, want, got)
		}
		rules[x.RuleID]++
	}
	return rules
}

func TestARestoredStateJudgesAsTheWrittenOne(t *testing.T) {
	t.Parallel()
	p := compile(t, snapshotSource())
	for _, limits := range []engine.Limits{{}, {Keys: 3, Events: 20, FirstSeen: 5, Diffs: 1, Accumulated: 2}, {TotalBytes: 30 << 10}} {
		e := engine.New(p, engine.Config{ManagerName: "m", Timezone: time.FixedZone("", 1800), Limits: limits})
		all := map[int]int{}
		for seed := range uint64(8) {
			rnd := rand.New(rand.NewPCG(seed, 4))
			for id, n := range sameAfterRestore(t, e, snapshotEvents(rnd, 600), rnd, 12) {
				all[id] += n
			}
		}
		for _, id := range []int{900001, 900002, 900003, 900004, 900005, 900006, 900007, 900010, 900011, 900012, 900020} {
			if all[id] == 0 && limits == (engine.Limits{}) {
				t.Errorf("rule %d never fired: the test shows nothing about it", id)
			}
		}
	}
}

// stockMixes reads the mixed logs that come with the stock ruleset, where present.
func stockMixes(t testing.TB) (dir string, events []schemas.Event) {
	t.Helper()
	dir = os.Getenv("VEDETTE_STOCK_RULESET")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "wazuh")
	}
	f, err := os.Open(filepath.Join(dir, "mixes", "all.ndjson"))
	if err != nil {
		t.Skipf("stock logs not found (set VEDETTE_STOCK_RULESET): %v", err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var l struct {
			Log, Location, Queue string
			Agent                struct{ ID, Name, IP string }
		}
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		events = append(events, schemas.Event{AgentID: l.Agent.ID, AgentName: l.Agent.Name, AgentIP: l.Agent.IP, Location: l.Location, Queue: l.Queue[0], Log: []byte(l.Log)})
	}
	return dir, events
}

// shuffle repeats logs in runs, so that composite rules fire, for a few agents
// with times that run backwards now and then.
func shuffle(rnd *rand.Rand, events []schemas.Event, n int) []schemas.Event {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	var out []schemas.Event
	for len(out) < n {
		ev := events[rnd.IntN(len(events))]
		ev.AgentID = fmt.Sprintf("%03d", 1+rnd.IntN(5))
		for range 1 + rnd.IntN(14) {
			at = at.Add(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			ev.Time = at
			if rnd.IntN(6) == 0 {
				ev.Time = at.Add(-time.Duration(rnd.IntN(600)) * time.Second)
			}
			out = append(out, ev)
		}
	}
	return out
}

func TestARestoredStateOfTheStockRulesetJudgesAlike(t *testing.T) {
	t.Parallel()
	dir, logs := stockMixes(t)
	src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(compile(t, src), engine.Config{ManagerName: "m"})
	rnd := rand.New(rand.NewPCG(1, 4))
	n := 3000
	if testing.Short() {
		n = 500
	}
	rules := sameAfterRestore(t, e, shuffle(rnd, logs, n), rnd, 10)
	t.Logf("%d events, %d rules", n, len(rules))
}

func TestARestoredStateOfTheBuiltinRulesetJudgesAlike(t *testing.T) {
	t.Parallel()
	src, err := ruleset.LoadFS(content.FS)
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(compile(t, src), engine.Config{ManagerName: "m"})
	var logs []schemas.Event
	for i := range 12 {
		for _, text := range []string{
			"Nov 22 10:50:00 h sshd[1]: Failed password for root from 10.0.0.%d port 22 ssh2",
			"Nov 22 10:50:00 h sshd[1]: Failed password for invalid user bob from 10.0.0.%d port 22 ssh2",
			"Nov 22 10:50:00 h sshd[1]: Accepted password for root from 10.0.0.%d port 22 ssh2",
			`10.0.0.%d - - [22/Nov/2026:10:50:00 +0000] "GET /a?id=1' HTTP/1.1" 404 12 "-" "x"`,
		} {
			logs = append(logs, schemas.Event{AgentName: "n", Location: "/l", Queue: '1', Log: []byte(fmt.Sprintf(text, i%3))})
		}
	}
	rnd := rand.New(rand.NewPCG(2, 4))
	sameAfterRestore(t, e, shuffle(rnd, logs, 2000), rnd, 12)
}

func TestASnapshotIsBounded(t *testing.T) {
	t.Parallel()
	e := engine.New(compile(t, snapshotSource()), engine.Config{})
	s := e.NewState()
	for _, ev := range snapshotEvents(rand.New(rand.NewPCG(3, 4)), 500) {
		e.Process(s, &ev)
	}
	b, err := s.AppendSnapshot([]byte("x"), 1000)
	if !errors.Is(err, engine.ErrSnapshotTooLarge) || string(b) != "x" {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestTheRememberedEventsOfAllKeysAreBounded(t *testing.T) {
	t.Parallel()
	const total = 50 << 10
	e := engine.New(compile(t, snapshotSource()), engine.Config{Limits: engine.Limits{TotalBytes: total}})
	s := e.NewState()
	at := time.Date(2026, 11, 22, 10, 50, 0, 0, time.UTC)
	for i := range 200 {
		e.Process(s, &schemas.Event{Time: at, AgentID: fmt.Sprintf("%03d", i), AgentName: "n", Location: "/x", Queue: '1', Log: []byte("T ip=1.1.1.1 user=u2 x=9")})
	}
	// Each key remembers one event of something above 1 KiB.
	if s.Keys() > total>>10 || s.Keys() < 30 || s.Evicted() != 200-uint64(s.Keys()) {
		t.Errorf("%d keys, %d evicted", s.Keys(), s.Evicted())
	}
}

func FuzzRestoreState(f *testing.F) {
	e := engine.New(compile(f, snapshotSource()), engine.Config{})
	for seed := range uint64(3) {
		s := e.NewState()
		for _, ev := range snapshotEvents(rand.New(rand.NewPCG(seed, 5)), 1+10*int(seed)) {
			e.Process(s, &ev)
		}
		b, err := s.AppendSnapshot(nil, 1<<30)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := e.RestoreState(data)
		if err != nil {
			return
		}
		b, err := s.AppendSnapshot(nil, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		again, err := e.RestoreState(b)
		if err != nil {
			t.Fatalf("its own snapshot is refused: %v", err)
		}
		for _, ev := range snapshotEvents(rand.New(rand.NewPCG(9, 9)), 20) {
			x, y := e.Process(s, &ev), e.Process(again, &ev)
			if !bytes.Equal(x.AppendAlert(nil, "", nil), y.AppendAlert(nil, "", nil)) {
				t.Fatalf("judged otherwise: %s", ev.Log)
			}
		}
	})
}

// BenchmarkSnapshot is a partition of 1,000 keys whose windows hold 100 events each.
func BenchmarkSnapshot(b *testing.B) {
	e := engine.New(compile(b, snapshotSource()), engine.Config{})
	s := e.NewState()
	at := time.Date(2026, 11, 22, 10, 50, 0, 0, time.UTC)
	for i := range 100_000 {
		e.Process(s, &schemas.Event{
			Time: at.Add(time.Duration(i) * time.Millisecond), AgentID: fmt.Sprintf("%04d", i%1000), AgentName: "web", Location: "/var/log/auth.log", Queue: '1',
			Log: []byte("T ip=10.0." + fmt.Sprint(i%7, ".", i%200) + " user=u2 x=9 " + strings.Repeat("text ", 20)),
		})
	}
	snap, err := s.AppendSnapshot(nil, 1<<30)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(snap)))
		for b.Loop() {
			if snap, err = s.AppendSnapshot(snap[:0], 1<<30); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(snap)))
		for b.Loop() {
			if _, err := e.RestoreState(snap); err != nil {
				b.Fatal(err)
			}
		}
	})
}
