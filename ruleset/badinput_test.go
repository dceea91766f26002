package ruleset_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"vedette/ruleset"
	"vedette/ruleset/content"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// The tests of this file feed hostile input: each must end in a clear refusal or
// in bounded time.

// runaway is the limit for work that must end in bounded time. It is far above
// the time on a slow machine, and below the time of a pattern without bound.
const runaway = 4 * time.Minute

// within fails if fn has not ended by runaway.
func within(t *testing.T, fn func()) {
	t.Helper()
	done := time.AfterFunc(runaway, func() { panic("no end of it: " + t.Name()) })
	defer done.Stop()
	fn()
}

// refused compiles a source that must be refused with a place.
func refused(t *testing.T, s ruleset.Source) string {
	t.Helper()
	_, problems, err := ruleset.Compile(s)
	if err == nil {
		t.Fatal("not refused")
	}
	var p ruleset.Problem
	if !errors.As(err, &p) || p.File == "" || p.Msg == "" || len(problems) == 0 {
		t.Errorf("refused without place and cause: %v", err)
	}
	return err.Error()
}

func TestMalformedFilesAreRefusedWithTheirPlace(t *testing.T) {
	t.Parallel()
	const mega = 1 << 20
	noise := func(alphabet string) string {
		r := rand.New(rand.NewPCG(1, 2))
		b := make([]byte, mega)
		for i := range b {
			if alphabet == "" {
				b[i] = byte(r.Uint32())
			} else {
				b[i] = alphabet[r.IntN(len(alphabet))]
			}
		}
		return string(b)
	}
	fill := func(s string) string { return strings.Repeat(s, mega/len(s)) }
	for name, data := range map[string]string{
		"noise":              noise(""),
		"markup noise":       noise("<>/= \"'ab-!$\\\n"),
		"open brackets":      fill("<"),
		"nested elements":    fill("<group>"),
		"nested groups":      fill(`<group name="a">`),
		"one comment":        "<!--" + fill("x"),
		"one attribute":      `<group name="` + fill("x"),
		"one text":           `<group name="a"><rule id="1" level="1"><match>` + fill("x") + `</match></rule></group>`,
		"many attributes":    `<group ` + fill(`a="b" `) + `>`,
		"variables":          `<var name="a">b</var><group name="a"><rule id="100001" level="3"><match>` + fill("$a $b ") + `</match></rule></group>`,
		"unclosed group":     `<group name="a">`,
		"unclosed rule":      `<group name="a"><rule id="100001" level="3"><match>x</match></group>`,
		"unclosed condition": `<group name="a"><rule id="100001" level="3"><match>x</rule></group>`,
		"closed twice":       `<group name="a"></group></group>`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within(t, func() {
				refused(t, source(decoderT, data, nil))
				s := source(decoderT, "", nil)
				s.Decoders = append(s.Decoders, ruleset.File{Name: "2.xml", Path: "decoders/2.xml", Data: []byte(data)})
				refused(t, s)
			})
		})
	}
}

// Text outside of elements is passed over, as in 4.14; `ruleset check` says so.
func TestTextAloneIsNoRule(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"rule 100001 level 3", strings.Repeat("\x00", 1<<20)} {
		p, _ := compile(t, source(decoderT, data, nil))
		if len(p.AllRules) != 7 { // the roots
			t.Errorf("%d rules", len(p.AllRules))
		}
	}
}

func TestIDsOutOfRangeAreRefused(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", "-1", "+1", "1000000", "99999999999999999999", "0x10", "1e3", "abc", "10 ", "100.5", "\u0661"} {
		msg := refused(t, source(decoderT, inGroup(fmt.Sprintf(`<rule id="%s" level="3"><match>x</match><description>d</description></rule>`, id)), nil))
		if !strings.Contains(msg, "rules/1.xml:1") || !strings.Contains(msg, "id") {
			t.Errorf("id %q: %s", id, msg)
		}
	}
	for _, level := range []string{"", "-1", "17", "999999999999", "high"} {
		msg := refused(t, source(decoderT, inGroup(fmt.Sprintf(`<rule id="100001" level="%s"><match>x</match><description>d</description></rule>`, level)), nil))
		if !strings.Contains(msg, "level") {
			t.Errorf("level %q: %s", level, msg)
		}
	}
}

// A parent must be loaded before its children, so that no circle can close; the
// rules of one are left out, each with a warning.
func TestCircularParentsAreLeftOut(t *testing.T) {
	t.Parallel()
	r := func(id int, body string) string {
		return fmt.Sprintf(`<rule id="%d" level="3" frequency="2">%s<description>d</description></rule>`, id, body)
	}
	for name, rules := range map[string]string{
		"one rule": r(100001, "<if_sid>100001</if_sid>"),
		"two":      r(100001, "<if_sid>100002</if_sid>") + r(100002, "<if_sid>100001</if_sid>"),
		"three":    r(100001, "<if_sid>100003</if_sid>") + r(100002, "<if_sid>100001</if_sid>") + r(100003, "<if_sid>100002</if_sid>"),
		"histories": r(100001, "<if_matched_sid>100002</if_matched_sid>") +
			r(100002, "<if_matched_sid>100001</if_matched_sid>"),
		"groups": r(100001, "<if_group>circle_b</if_group><group>circle_a,</group>") + r(100002, "<if_group>circle_a</if_group><group>circle_b,</group>"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, problems, err := ruleset.Compile(source(decoderT, `<group name="x,">`+rules+`</group>`, nil))
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range p.AllRules {
				if x.ID >= 100001 {
					t.Errorf("rule %d is loaded", x.ID)
				}
			}
			named := map[int]bool{}
			for _, x := range problems {
				named[x.RuleID] = x.Line > 0
			}
			for id := 100001; strings.Contains(rules, fmt.Sprintf(`id="%d"`, id)); id++ {
				if !named[id] {
					t.Errorf("nothing is said of rule %d: %v", id, problems)
				}
			}
		})
	}
	// An overwrite cannot hang a rule elsewhere, so that it makes no circle either.
	p, _, err := ruleset.Compile(source(decoderT, inGroup(baseRule, child(100002, 4, "", ""),
		`<rule id="100001" level="3" overwrite="yes"><if_sid>100002</if_sid><description>d</description></rule>`), nil))
	if err != nil {
		t.Fatal(err)
	}
	if p.Nodes() != 9 { // seven roots and two rules
		t.Errorf("%d places", p.Nodes())
	}
}

func TestManyRulesLoadInBoundedTime(t *testing.T) {
	t.Parallel()
	const n = 100_000
	rule := func(i int) string {
		parent := "<decoded_as>t</decoded_as>"
		if i%100 > 0 {
			parent = fmt.Sprintf("<if_sid>%d</if_sid>", 100_000+i-i%100)
		}
		return fmt.Sprintf(`<rule id="%d" level="%d">%s<match>word%d|other%d</match><field name="f%d">^\d+$</field><description>Rule $(srcip) %d</description><group>g%d,pci_dss_10.2.4,</group></rule>`,
			100_000+i, i%16, parent, i, i, i%500, i, i%50)
	}
	var s ruleset.Source
	for file := range 100 {
		var b strings.Builder
		b.WriteString(`<group name="many,">`)
		for i := file * n / 100; i < (file+1)*n/100; i++ {
			b.WriteString(rule(i))
		}
		b.WriteString(`</group>`)
		name := fmt.Sprintf("%03d.xml", file)
		s.Rules = append(s.Rules, ruleset.File{Name: name, Path: "rules/" + name, Data: []byte(b.String())})
	}
	s.Decoders = source(decoderT, "", nil).Decoders
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var p *program.Program
	within(t, func() {
		var problems []ruleset.Problem
		var err error
		if p, problems, err = ruleset.Compile(s); err != nil || len(problems) > 0 {
			t.Fatal(len(problems), err)
		}
		e := engine.New(p, engine.Config{ManagerName: "m"})
		r := e.Process(e.NewState(), &schemas.Event{Time: time.Unix(1, 0), AgentID: "000", Queue: '1', Log: []byte("T id=5 ip=1 u=a f=word77777")})
		if r.RuleID == 0 && len(p.AllRules) < n {
			t.Errorf("%d rules", len(p.AllRules))
		}
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 4<<30 {
		t.Errorf("%d rules take %d MiB", n, used>>20)
	}
	runtime.KeepAlive(p)
}

// A few rules with many parents each multiply; the tree has a bound.
func TestATreeThatMultipliesIsRefused(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`<group name="g,">`)
	// Each layer hangs under every rule of the one before.
	for layer := range 8 {
		for i := range 10 {
			var parents []string
			for j := range 10 {
				parents = append(parents, fmt.Sprint(100_000+(layer-1)*10+j))
			}
			cond := "<match>x</match>"
			if layer > 0 {
				cond = "<if_sid>" + strings.Join(parents, ",") + "</if_sid>"
			}
			fmt.Fprintf(&b, `<rule id="%d" level="3">%s<description>d</description></rule>`, 100_000+layer*10+i, cond)
		}
	}
	b.WriteString(`</group>`)
	within(t, func() {
		if msg := refused(t, source(decoderT, b.String(), nil)); !strings.Contains(msg, "places") {
			t.Error(msg)
		}
	})
}

// hostileLogs are the logs that patterns, headers and parsers like least.
func hostileLogs() map[string]string {
	const size = 64 << 10
	fill := func(s string) string { return strings.Repeat(s, size/len(s))[:size-size%len(s)] }
	logs := map[string]string{
		"brackets in JSON":       `{"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + "}",
		"objects in JSON":        strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000),
		"unclosed JSON":          strings.Repeat(`{"a":[`, 10_000),
		"many members":           "{" + strings.TrimSuffix(fill(`"aaaa":1,`), ",") + "}",
		"words":                  fill("word "),
		"pairs":                  fill("key=value "),
		"addresses":              fill("10.0.0.1 "),
		"a header and nothing":   "Nov 22 10:00:01 host sshd[1]: " + fill("a"),
		"a header and digits":    "Nov 22 10:00:01 host sshd[1]: " + fill("1"),
		"JSON with one long key": `{"` + fill("k") + `":"v"}`,
		"JSON with a long text":  `{"k":"` + fill(`\u0041`) + `"}`,
	}
	for _, c := range []string{"a", "A", "0", " ", "\t", "-", ":", "/", ".", "%", "{", "[", "(", "<", "\"", "'", "\\", "=", ",", "|", "\xff", "\x00", "\n", "é"} {
		logs[fmt.Sprintf("only %q", c)] = fill(c)
	}
	return logs
}

func judgeHostile(t *testing.T, p *program.Program) {
	t.Helper()
	for _, reference := range []bool{false, true} {
		e := engine.New(p, engine.Config{ManagerName: "m", Logtest: true, Reference: reference})
		s := e.NewState()
		for name, log := range hostileLogs() {
			for _, queue := range []byte("1389defp") {
				within(t, func() {
					res := e.Process(s, &schemas.Event{Time: time.Unix(1, 0), AgentID: "001", AgentName: "a", Location: "/l", Queue: queue, Log: []byte(log)})
					if doc := res.AppendAlert(nil, "1.0", nil); len(doc) > schemas.MaxAlertBytes {
						t.Errorf("%s: a document of %d bytes", name, len(doc))
					}
				})
				if t.Failed() {
					t.Fatalf("log %s, queue %c, reference %v", name, queue, reference)
				}
			}
		}
	}
}

func TestHostileLogsAgainstTheBuiltinRuleset(t *testing.T) {
	t.Parallel()
	src, err := ruleset.LoadFS(content.FS)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := compile(t, src)
	judgeHostile(t, p)
}

func TestStockHostileLogs(t *testing.T) {
	t.Parallel()
	src, err := ruleset.LoadDir(filepath.Join(stockDir(t), "stock"))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := compile(t, src)
	judgeHostile(t, p)
}

// A pattern written to backtrack is refused, or it ends: matching runs in linear
// time, or under a bound of steps that counts as no match.
func TestPatternsBuiltToBacktrack(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64<<10)
	for _, tc := range []struct{ kind, pattern, log string }{
		{"pcre2", `(a+)+$`, long + "!"},
		{"pcre2", `^(a|aa)+$`, long + "!"},
		{"pcre2", `(a|a?)+$`, long + "!"},
		{"pcre2", `(.*a){20}$`, long + "!"},
		{"pcre2", `^(\w+\s?)*$`, long + "!"},
		{"pcre2", `(?=(a+))a*b\1`, long + "!"},
		{"pcre2", `^(?:a?){100}a{100}$`, long + "!"},
		{"pcre2", `(?<=a{1,100})b`, long + "!"},
		{"pcre2", `((a*)*)*b`, long + "!"},
		{"pcre2", `(a*?)*?b`, long + "!"},
		{"osregex", `\w+\w+\w+\w+\w+\w+b`, long},
		{"osregex", `\.*\.*\.*\.*\.*b`, long},
		{"osregex", `(\w*)\.*(\w*)\.*(\w*)b`, long},
		{"osmatch", strings.Repeat("a", 1000) + "b|" + strings.Repeat("a", 1000) + "c", long},
	} {
		t.Run(tc.kind+" "+tc.pattern[:min(len(tc.pattern), 30)], func(t *testing.T) {
			t.Parallel()
			rule := fmt.Sprintf(`<rule id="100001" level="3"><match type="%s">%s</match><description>d</description></rule>`, tc.kind, strings.ReplaceAll(tc.pattern, "<", `\<`))
			if strings.Contains(tc.pattern, "<") {
				// The dialect cannot write `<` of a group but escaped, which is another text.
				rule = strings.ReplaceAll(rule, `\<`, "<")
			}
			p, problems, err := ruleset.Compile(source("", inGroup(rule), nil))
			if err != nil {
				if len(problems) == 0 || !strings.Contains(err.Error(), "rules/1.xml:") {
					t.Errorf("refused without a place: %v", err)
				}
				return
			}
			for _, reference := range []bool{false, true} {
				e := engine.New(p, engine.Config{ManagerName: "m", Reference: reference})
				s := e.NewState()
				within(t, func() {
					if r := e.Process(s, &schemas.Event{Time: time.Unix(1, 0), AgentID: "000", Queue: '1', Log: []byte(tc.log)}); r.RuleID != 0 {
						t.Errorf("rule %d", r.RuleID)
					}
				})
			}
		})
	}
}
