package ruleset_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vedette/ruleset"
	"vedette/ruleset/content"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/ruleset/rulesettest"
	"vedette/schemas"
)

// The two ways of running a Program, the plain walk and the index, must give
// equal answers to the byte. Here they judge the same sequences side by side.

// sequence is a list of events that share a state.
type sequence struct {
	name   string
	events []schemas.Event
}

// stockSequences are the logs of the stock ruleset's tests and answers, and the mixes.
func stockSequences(t testing.TB, dir string) []sequence {
	t.Helper()
	glob := func(parts ...string) []string {
		files, err := filepath.Glob(filepath.Join(append([]string{dir}, parts...)...))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	plain := func(log string, at time.Duration) schemas.Event {
		return schemas.Event{Time: stockNow.Add(at), AgentID: schemas.ManagerID, Location: "stdin", Queue: '1', Log: []byte(log)}
	}
	var all []sequence
	for _, f := range glob("tests", "*.ini") {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := rulesettest.Parse(filepath.Base(f), data)
		if err != nil {
			t.Fatal(err)
		}
		s := sequence{name: filepath.Base(f)}
		for i := range entries {
			for _, l := range entries[i].Logs {
				s.events = append(s.events, plain(l, time.Duration(len(s.events))*time.Second))
			}
		}
		all = append(all, s)
	}
	answers := func(kind string) {
		for _, f := range glob("answers", kind, "*.jsonl") {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			s := sequence{name: kind + "/" + filepath.Base(f)}
			repeat := sequence{name: "repeat/" + filepath.Base(f)}
			for line := range bytes.Lines(data) {
				var a struct{ Log string }
				if err := json.Unmarshal(line, &a); err != nil {
					t.Fatal(err)
				}
				s.events = append(s.events, plain(a.Log, 0))
				if kind == "ini" {
					for range 14 {
						repeat.events = append(repeat.events, plain(a.Log, 0))
					}
				}
			}
			all = append(all, s)
			if kind == "ini" {
				all = append(all, repeat)
			}
		}
	}
	answers("ini")
	answers("mutate")
	for _, f := range glob("mixes", "*.ndjson") {
		all = append(all, sequence{name: filepath.Base(f), events: loadMix(t, f)})
	}
	if len(all) == 0 {
		t.Skip("no logs of the stock ruleset")
	}
	return all
}

// mutated returns s with random changes, the same for the same seed.
func mutated(s sequence, seed uint64, pool []schemas.Event) sequence {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.name))
	rnd := rand.New(rand.NewPCG(seed, h.Sum64()))
	out := sequence{name: fmt.Sprintf("%s~%d", s.name, seed)}
	now := stockNow
	for _, ev := range s.events {
		ev.Log = mutate(rnd, ev.Log, pool)
		now = now.Add(time.Duration(rnd.IntN(40_000)-2_000) * time.Millisecond)
		ev.Time = now
		if rnd.IntN(4) == 0 {
			ev.AgentID, ev.AgentName, ev.AgentIP = fmt.Sprintf("%03d", 1+rnd.IntN(3)), "web", "any"
		}
		if rnd.IntN(20) == 0 {
			ev.Queue = "1234589defpu"[rnd.IntN(12)]
		}
		if rnd.IntN(20) == 0 {
			ev.Location = []string{"[003] (db1) 10.0.0.3->/var/log/x", "(ssh_x) root@h->d", "[bad", "[004]", "EventChannel", "wodle_cis-cat"}[rnd.IntN(6)]
		}
		out.events = append(out.events, ev)
	}
	return out
}

// mutate changes a message a little.
func mutate(rnd *rand.Rand, log []byte, pool []schemas.Event) []byte {
	b := bytes.Clone(log)
	for range 1 + rnd.IntN(3) {
		if len(b) == 0 {
			b = append(b, 'x')
		}
		i, j := rnd.IntN(len(b)), rnd.IntN(len(b))
		if i > j {
			i, j = j, i
		}
		switch rnd.IntN(10) {
		case 0:
			b[i] = byte(rnd.IntN(256))
		case 1:
			b = append(b[:i], b[min(i+1+rnd.IntN(8), len(b)):]...)
		case 2:
			b = append(b[:j:j], b[i:]...) // repeats i to j
			if len(b) > 70_000 {
				b = b[:70_000]
			}
		case 3:
			b = b[:j]
		case 4:
			c := " \t:;=\"'/\\-[](){}0a%$|\n,."
			b[i] = c[rnd.IntN(len(c))]
		case 5:
			for ; i < j; i++ {
				if c := b[i]; 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
					b[i] ^= 0x20
				}
			}
		case 6:
			o := pool[rnd.IntN(len(pool))].Log
			b = append(b[:i:i], o[min(len(o), rnd.IntN(len(o)+1)):]...)
		case 7:
			for k := i; k < len(b) && k < i+16; k++ {
				if '0' <= b[k] && b[k] <= '9' {
					b[k] = '0' + byte(rnd.IntN(10))
				}
			}
		default: // a whole log as it is, so that rules and histories keep working
			return b
		}
	}
	return b
}

// compareEngines runs sequences through both engines.
func compareEngines(t testing.TB, p *program.Program, c engine.Config, all []sequence) {
	t.Helper()
	ref, idx := c, c
	ref.Reference = true
	re, ie := engine.New(p, ref), engine.New(p, idx)
	shown, events := 0, 0
	for _, s := range all {
		rs, is := re.NewState(), ie.NewState()
		var ra, ia []byte
		for i := range s.events {
			e1, e2 := s.events[i], s.events[i]
			events++
			r1, r2 := re.Process(rs, &e1), ie.Process(is, &e2)
			ra, ia = answer(ra[:0], r1), answer(ia[:0], r2)
			if bytes.Equal(ra, ia) {
				continue
			}
			n := 0
			for n < len(ra) && n < len(ia) && ra[n] == ia[n] {
				n++
			}
			n = max(n-60, 0)
			t.Errorf("%s[%d] %.300q\n\treference …%.400s\n\tindexed   …%.400s", s.name, i, e1.Log, ra[min(n, len(ra)):], ia[min(n, len(ia)):])
			if shown++; shown >= differencesShown {
				t.FailNow()
			}
			break // what follows depends on a state that differs already
		}
		if a, b := rs.StepsExceeded(), is.StepsExceeded(); b > a {
			t.Errorf("%s: %d matches ran out of steps with the index, %d without", s.name, b, a)
		}
		a, err1 := rs.AppendSnapshot(nil, 1<<30)
		b, err2 := is.AppendSnapshot(nil, 1<<30)
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: the states differ at the end (%v, %v)", s.name, err1, err2)
		}
	}
	t.Logf("%d events in %d sequences", events, len(all))
}

// answer is all that can be seen of a result.
func answer(b []byte, r *engine.Result) []byte {
	b = fmt.Appendf(b, "%v %v %v %v %d %d %q %q ", r.Alert, r.Rejected, r.Judged, r.Mail, r.RuleID, r.Level, r.Decoder, r.ParentDecoder())
	if r.Rejected {
		return b
	}
	b = r.AppendAlert(b, "1.0", nil)
	return r.AppendArchive(append(b, '\n'), "1.0", nil)
}

// poolOf lists the events of all sequences.
func poolOf(all []sequence) []schemas.Event {
	var pool []schemas.Event
	for _, s := range all {
		pool = append(pool, s.events...)
	}
	return pool
}

func withMutations(all []sequence, seeds int) []sequence {
	pool := poolOf(all)
	out := all
	for seed := range seeds {
		for _, s := range all {
			out = append(out, mutated(s, uint64(seed), pool))
		}
	}
	return out
}

func TestStockEnginesAgree(t *testing.T) {
	t.Parallel()
	dir := stockDir(t)
	all := withMutations(stockSequences(t, dir), 2)
	assemble(t)
	src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		t.Fatal(err)
	}
	stock, _, err := ruleset.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("fixtures, log test", func(t *testing.T) {
		t.Parallel()
		compareEngines(t, assembled, engine.Config{ManagerName: "manager.example", Logtest: true}, all)
	})
	t.Run("stock, daemon", func(t *testing.T) {
		t.Parallel()
		compareEngines(t, stock, engine.Config{ManagerName: "manager", ClusterName: "c", Limits: engine.Limits{Events: 100, Keys: 3}}, all)
	})
}

// The shipped content is judged too, with the logs of its own rules' comments
// replaced by whatever the stock logs are, or by made-up ones where there are none.
func TestContentEnginesAgree(t *testing.T) {
	t.Parallel()
	src, err := ruleset.LoadFS(content.FS)
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := ruleset.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	all := []sequence{{name: "made up", events: madeUp()}}
	if _, err := os.Stat(filepath.Join("..", "..", "shared", "wazuh", "tests")); err == nil {
		all = append(all, stockSequences(t, stockDir(t))...)
	}
	compareEngines(t, p, engine.Config{ManagerName: "m"}, withMutations(all, 2))
}

// madeUp are messages of several sources.
func madeUp() []schemas.Event {
	var out []schemas.Event
	for i := range 400 {
		logs := []string{
			fmt.Sprintf("Nov 22 10:00:%02d web1 sshd[%d]: Failed password for invalid user admin%d from 203.0.113.%d port %d ssh2", i%60, i, i%5, i%4, i),
			fmt.Sprintf("Nov 22 10:00:%02d web1 sshd[%d]: Accepted publickey for root from 203.0.113.%d port %d ssh2", i%60, i, i%4, i),
			"Nov 22 10:00:01 web1 sudo:  bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/cat /etc/shadow",
			fmt.Sprintf(`203.0.113.%d - - [22/Nov/2026:10:00:01 +0000] "GET /index.php?id=1%%27%%20or%%201=1-- HTTP/1.1" 404 %d "-" "sqlmap/1.0"`, i%3, i),
			fmt.Sprintf(`{"event_type":"alert","src_ip":"10.0.0.%d","alert":{"severity":%d,"signature":"x","tags":["a",{"b":1.5}]},"n":null}`, i%7, i%4),
			fmt.Sprintf(`type=SYSCALL msg=audit(1700000000.%03d:%d): arch=c000003e syscall=59 success=yes exit=0 auid=1000 uid=0 comm="bash" exe="/bin/bash" key="exec"`, i, i),
		}
		out = append(out, schemas.Event{
			Time: stockNow.Add(time.Duration(i) * time.Second), AgentID: fmt.Sprintf("%03d", 1+i%2), AgentName: "web1", AgentIP: "10.0.0.5",
			Location: "/var/log/x.log", Queue: '1', Log: []byte(logs[i%len(logs)]),
		})
	}
	return out
}
