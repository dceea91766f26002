package ruleset_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
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
		var ra, ia, log []byte
		for i := range s.events {
			e1, e2 := s.events[i], s.events[i]
			events++
			// What the index leaves behind must not change with the event's memory.
			log = append(log[:0], e2.Log...)
			e2.Log = log
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

// A ruleset of twice the rules has shared subtrees, which the walk and the index
// go through in their own ways.
func TestDoubledRulesetEnginesAgree(t *testing.T) {
	t.Parallel()
	dir := stockDir(t)
	src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := ruleset.Compile(doubled(t, src))
	if err != nil {
		t.Fatal(err)
	}
	all := []sequence{{name: "all", events: loadMix(t, filepath.Join(dir, "mixes", "all.ndjson"))}}
	all = append(all, mutated(all[0], 1, all[0].events))
	compareEngines(t, p, engine.Config{ManagerName: "m"}, all)
}

// randomRuleset makes a small ruleset whose parts meet often: few words, few
// fields, many ways to combine them.
func randomRuleset(rnd *rand.Rand) ruleset.Source {
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	word := func() string {
		return pick("alpha", "bravo charlie", "Delta", "failed password", "x=", "id:", "user root", "a", "9", "echo-foxtrot", "golf hotel india")
	}
	field := func() string { return pick("srcip", "id", "user", "f.one", "f.two", "status", "url") }
	osregex := func() string {
		return pick("", "^") + pick(word(), `\w+ `, `\.*`, `\S+`, `\d+`, "") + pick(word(), `\s`, ` `, "") + pick("", "$", "|"+word(), "|^"+word())
	}
	pcre := func() string {
		return pick("", "(?i)", "^") + pick(word(), `\w+\s`, `.*`, `[a-c]`) + pick("", "$", "|"+word(), ".+"+word())
	}
	pattern := func() (attr, text string) {
		switch rnd.IntN(4) {
		case 0:
			return ` type="pcre2"`, pcre()
		case 1:
			return ` type="osregex"`, osregex()
		}
		return ` type="osmatch"`, pick("", "^", "!") + word() + pick("", "$", "|"+word(), "|^"+word()+"$")
	}
	var d strings.Builder
	d.WriteString(`<decoder name="json"><prematch>^{</prematch><plugin_decoder>JSON_Decoder</plugin_decoder></decoder>`)
	d.WriteString(`<decoder name="never"><program_name>^never$</program_name></decoder>`)
	for i := range 2 + rnd.IntN(5) {
		name := fmt.Sprintf("d%d", i)
		fmt.Fprintf(&d, "<decoder name=%q>", name)
		if rnd.IntN(2) == 0 {
			fmt.Fprintf(&d, "<program_name>%s</program_name>", pick("^sshd", "app$", "cron|app", ""))
		}
		fmt.Fprintf(&d, "<prematch>%s</prematch>", osregex())
		d.WriteString("</decoder>")
		for j := range rnd.IntN(5) {
			fmt.Fprintf(&d, `<decoder name="%s-%d"><parent>%s</parent>`, name, j/2, name)
			if j%2 == 0 && rnd.IntN(2) == 0 {
				fmt.Fprintf(&d, "<prematch%s>%s</prematch>", pick("", ` offset="after_parent"`), osregex())
			}
			fmt.Fprintf(&d, "<regex%s>%s(%s)%s</regex><order>%s</order>", pick("", ` offset="after_parent"`),
				word(), pick(`\S+`, `\w+`, `\.*`, `\d+`), pick("", " ", ",", "$"), field())
			if j == 0 {
				d.WriteString(pick("", "<fts>name, location</fts>", "<fts>srcip, id</fts>"))
			}
			d.WriteString("</decoder>")
		}
	}
	var r strings.Builder
	r.WriteString(`<group name="g,"><rule id="1" level="0" noalert="1"><category>syslog</category><description>root</description></rule>`)
	for i := range 5 + rnd.IntN(40) {
		id := 100001 + i
		comp := i > 0 && rnd.IntN(4) == 0
		fmt.Fprintf(&r, `<rule id="%d" level="%d"`, id, rnd.IntN(8))
		if comp {
			fmt.Fprintf(&r, ` frequency="%d" timeframe="%d"`, 2+rnd.IntN(3), 5+rnd.IntN(100))
		}
		r.WriteString(pick("", "", "", ` noalert="1"`, ` ignore="7"`, ` maxsize="20"`) + ">")
		earlier := func() int { return 100001 + rnd.IntN(i) }
		switch {
		case comp && rnd.IntN(4) == 0:
			fmt.Fprintf(&r, "<if_matched_regex>%s</if_matched_regex>", osregex())
		case comp && rnd.IntN(2) == 0:
			r.WriteString("<if_matched_group>g</if_matched_group>")
		case comp:
			fmt.Fprintf(&r, "<if_matched_sid>%d</if_matched_sid>", earlier())
		}
		if i > 0 && rnd.IntN(3) > 0 {
			fmt.Fprintf(&r, "<if_sid>%d", earlier())
			for range rnd.IntN(3) {
				fmt.Fprintf(&r, ", %d", earlier())
			}
			r.WriteString("</if_sid>")
		}
		if comp {
			r.WriteString(pick("", "<same_srcip />", "<same_field>f.one</same_field>", "<different_user />", "<same_id /><same_location />"))
		}
		for range rnd.IntN(3) {
			attr, text := pattern()
			if rnd.IntN(5) == 0 {
				attr += ` negate="yes"`
			}
			switch rnd.IntN(6) {
			case 0:
				fmt.Fprintf(&r, "<decoded_as>%s</decoded_as>", pick("json", "d0", "d1"))
			case 1:
				fmt.Fprintf(&r, `<field name="%s"%s>%s</field>`, pick("f.one", "f.two", "f.three"), attr, text)
			case 2:
				el := pick("id", "url", "status", "user", "program_name", "hostname", "location")
				fmt.Fprintf(&r, "<%s%s>%s</%s>", el, attr, text, el)
			case 3:
				fmt.Fprintf(&r, "<regex%s>%s</regex>", attr, text)
			default:
				fmt.Fprintf(&r, "<match%s>%s</match>", attr, text)
			}
		}
		r.WriteString(pick("", "", "", "<check_diff />", "<if_fts />", "<if_fts />"))
		fmt.Fprintf(&r, "<description>rule $(srcip) $(f.one)</description><group>%s,</group></rule>", pick("p", "q"))
	}
	r.WriteString("</group>")
	return source(d.String(), r.String(), nil)
}

// randomEvents makes events that such a ruleset knows something about.
func randomEvents(rnd *rand.Rand, n int) []schemas.Event {
	words := []string{
		"alpha", "bravo charlie", "delta", "Failed Password", "x=1.2.3.4", "id:77", "user root", "9", "echo-foxtrot", "golf hotel india", "a", "from", ",",
	}
	var out []schemas.Event
	at := stockNow
	for range n {
		at = at.Add(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
		var log strings.Builder
		switch rnd.IntN(4) {
		case 0:
			fmt.Fprintf(&log, `{"f":{"one":"%s","two":%d},"srcip":"10.0.0.%d","id":"%s","u":[1,{"a":null}]}`,
				words[rnd.IntN(len(words))], rnd.IntN(12), rnd.IntN(3), words[rnd.IntN(len(words))])
		case 1:
			fmt.Fprintf(&log, "Nov 22 10:00:01 web1 %s[7]: ", []string{"sshd", "app", "cron", "never"}[rnd.IntN(4)])
			fallthrough
		default:
			for range rnd.IntN(7) {
				log.WriteString(words[rnd.IntN(len(words))])
				log.WriteString([]string{" ", " ", "", ": "}[rnd.IntN(4)])
			}
		}
		out = append(out, schemas.Event{
			Time: at, AgentID: fmt.Sprintf("00%d", rnd.IntN(3)), AgentName: "web", Location: "/var/log/a", Queue: '1', Log: []byte(log.String()),
		})
	}
	return out
}

func enginesAgree(t *testing.T, seed uint64, log string) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 7))
	p, _, err := ruleset.Compile(randomRuleset(rnd))
	if err != nil {
		return
	}
	s := sequence{name: fmt.Sprintf("seed %d", seed), events: randomEvents(rnd, 60)}
	if log != "" {
		for range 3 {
			ev := s.events[rnd.IntN(len(s.events))]
			ev.Time, ev.Log = s.events[len(s.events)-1].Time, []byte(log)
			s.events = append(s.events, ev)
		}
	}
	s.events = append(s.events, mutated(s, seed, s.events).events...)
	limits := engine.Limits{Events: 3 + int(seed%40), Keys: 2}
	compareEngines(t, p, engine.Config{ManagerName: "m", Limits: limits, Logtest: seed%3 == 0}, []sequence{s})
}

func TestEnginesAgreeOnRandomRulesets(t *testing.T) {
	t.Parallel()
	compiled := 0
	for seed := range uint64(1500) {
		if _, _, err := ruleset.Compile(randomRuleset(rand.New(rand.NewPCG(seed, 7)))); err == nil {
			compiled++
		} else if compiled == 0 && seed > 50 {
			t.Fatal(err)
		}
		enginesAgree(t, seed, "")
	}
	t.Logf("%d rulesets", compiled)
}

func FuzzEnginesAgree(f *testing.F) {
	f.Add(uint64(1), "alpha bravo charlie x=1 id:9")
	f.Add(uint64(2), `{"f":{"one":"alpha"},"srcip":"1.2.3.4"}`)
	f.Fuzz(enginesAgree)
}
