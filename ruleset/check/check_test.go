package check

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset"
	"vedette/ruleset/content"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

const decoders = `<decoder name="t"><program_name>^t$</program_name></decoder>
<decoder name="t-kid"><parent>t</parent><regex>u=(\w+) ff=(\w+)</regex><order>srcuser, ff</order></decoder>
<decoder name="web"><prematch>^web </prematch><type>web-log</type></decoder>
<decoder name="sonic"><prematch>^id=f</prematch><plugin_decoder>SonicWall_Decoder</plugin_decoder></decoder>`

// base is the rule that most cases build on, without the end of its group.
const base = `<group name="g,"><rule id="100001" level="3"><decoded_as>t</decoded_as><description>d</description></rule>`

func source(dec, rules string) ruleset.Source {
	return ruleset.Source{
		Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(dec)}},
		Rules:    []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(rules)}},
		Lists:    []ruleset.File{{Name: "known", Path: "lists/known", Data: []byte("a:b\n")}},
	}
}

// rule writes a rule whose attributes and conditions are given.
func rule(id int, attrs, conds string) string {
	return fmt.Sprintf("\n<rule id=\"%d\" %s>%s<description>d</description></rule>", id, attrs, conds)
}

func TestFindings(t *testing.T) {
	t.Parallel()
	const kid = "<if_sid>100001</if_sid>"
	const matched = "<if_matched_sid>100001</if_matched_sid>"
	for _, tc := range []struct {
		name  string
		rules string   // after the base
		want  []string // regular expressions, one per problem
	}{
		{"nothing", rule(100002, `level="4"`, kid+`<match>x</match>`), nil},
		{"a sibling takes all", rule(100002, `level="9"`, kid) + rule(100003, `level="4"`, kid+`<match>x</match>`),
			[]string{`^r.xml:3:1: rule 100003: can never match: rule 100002 stands before it and takes every event$`}},
		{"a level 0 sibling takes all", rule(100002, `level="9"`, kid+`<match>x</match>`) + rule(100003, `level="0"`, kid),
			[]string{`^r.xml:2:1: rule 100002: .* rule 100003 stands`}},
		{"a sibling takes what another asks for", rule(100002, `level="9"`, kid+`<match>x</match>`) + rule(100003, `level="4"`, kid+`<match>x</match><field name="ff">y</field>`),
			[]string{`rule 100003: can never match: rule 100002 stands before it and takes every event that it could match$`}},
		{"a noalert sibling takes nothing", rule(100002, `level="9" noalert="1"`, kid) + rule(100003, `level="4"`, kid+`<match>x</match>`), nil},
		{"accuracy 0 comes last", rule(100002, `level="9" accuracy="0"`, kid) + rule(100003, `level="4"`, kid+`<match>x</match>`), nil},
		{"a composite sibling takes not all", rule(100002, `level="9" frequency="3"`, matched) + rule(100003, `level="4"`, kid+`<match>x</match>`), nil},
		{"another place is enough", rule(100002, `level="9"`, kid) + rule(100003, `level="4"`, `<decoded_as>web</decoded_as><category>web-log</category>`) +
			rule(100004, `level="4"`, `<if_sid>100001, 100003</if_sid><match>x</match>`), nil},
		{"children of the dead are not told", rule(100002, `level="9"`, kid) + rule(100003, `level="4"`, kid+`<match>x</match>`) + rule(100004, `level="4"`, `<if_sid>100003</if_sid><srcip>10.0.0.1</srcip>`),
			[]string{`rule 100003`}},
		{"two decoders", rule(100002, `level="4"`, kid+`<decoded_as>web</decoded_as>`), []string{`rule 100002: .*demands decoder web, and a rule above it demands t$`}},
		{"name of a child", rule(100002, `level="4"`, `<decoded_as>t-kid</decoded_as>`), []string{`rule 100002: .*events of decoder t-kid show its parent's name`}},
		{"category", rule(100002, `level="4"`, `<decoded_as>web</decoded_as>`), []string{`rule 100002: .*hangs under category syslog`}},
		{"category chosen by a plugin", rule(100002, `level="4"`, `<decoded_as>sonic</decoded_as><category>squid</category><url>x</url>`), nil},
		{"category given", rule(100002, `level="4"`, `<category>web-log</category><decoded_as>web</decoded_as>`), nil},
		{"internal decoder", rule(100002, `level="4"`, `<category>ossec</category><decoded_as>syscheck_deleted</decoded_as><field name="file">x</field>`), nil},

		{"value of the parent", rule(100002, `level="4"`, kid+`<field name="ff">^4624$|^4625$</field>`) + rule(100003, `level="4"`, `<if_sid>100002</if_sid><field name="FF">^4625$|^4626$</field>`) +
			rule(100004, `level="5"`, `<if_sid>100002</if_sid><field name="ff">^4626$</field>`),
			[]string{`rule 100004: can never match: no ff is both 4626 and, as rule 100002 demands, 4624 or 4625$`}},
		{"two values", rule(100002, `level="4"`, kid+`<field name="ff">^a$</field><field name="ff" type="pcre2">^b$</field>`), []string{`rule 100002: can never match: no ff is both b and, as rule 100002 demands, a$`}},
		{"two values, not exact", rule(100002, `level="4"`, kid+`<field name="ff">^a</field><field name="ff">b$</field><field name="ff" type="pcre2">^.$</field><field name="ff" negate="yes">^c$</field><field name="ff">^\d$</field>`), nil},
		{"case does not count", rule(100002, `level="4"`, kid+`<user>^Bob$</user>`) + rule(100003, `level="4"`, `<if_sid>100002</if_sid><user>^bob$</user><match>x</match>`), nil},
		{"another value of another parent", rule(100002, `level="4"`, kid+`<user>^a$</user>`) + rule(100003, `level="4"`, kid+`<user>^b$</user>`) +
			rule(100004, `level="4"`, `<if_sid>100002, 100003</if_sid><user>^b$</user><match>x</match>`), nil},

		{"E37 level 0 base", rule(100002, `level="0"`, kid+`<match>x</match>`) + rule(100003, `level="9" frequency="2"`, `<if_matched_sid>100002</if_matched_sid>`),
			[]string{`^r.xml:3:43: rule 100003: never counts anything: events of rule 100002 are not remembered, since its level is 0`}},
		{"base always ends at a child", rule(100002, `level="4"`, kid) + rule(100003, `level="0" frequency="2" noalert="1"`, matched),
			[]string{`rule 100003: never counts anything: every event of rule 100001 ends at its child 100002`}},
		{"E41 group loaded later", rule(100002, `level="9" frequency="2"`, `<if_sid>100001</if_sid><if_matched_group>late</if_matched_group>`) +
			rule(100003, `level="4"`, kid+`<match>x</match><group>late,</group>`), []string{`rule 100002: never counts anything: the rules of the group are loaded after it`}},
		{"group of level 0", rule(100003, `level="0"`, kid+`<match>x</match><group>grp,</group>`) + rule(100004, `level="9" frequency="2"`, `<if_sid>100001</if_sid><if_matched_group>grp</if_matched_group>`),
			[]string{`rule 100004: never counts anything: the rules of the group have level 0`}},
		{"E42 kept by sid", rule(100003, `level="4"`, kid+`<match>x</match><group>grp,</group>`) + rule(100004, `level="9" frequency="3"`, `<if_sid>100001</if_sid><if_matched_group>grp</if_matched_group>`) +
			rule(100005, `level="9" frequency="3"`, `<if_matched_sid>100003</if_matched_sid>`), []string{`rule 100004: never counts anything: rule 100003 is in the group, but`}},
		{"group", rule(100003, `level="4"`, kid+`<match>x</match><group>grp,</group>`) + rule(100004, `level="9" frequency="3"`, `<if_sid>100001</if_sid><if_matched_group>grp</if_matched_group>`), nil},
		{"global", rule(100002, `level="9" frequency="3"`, matched+`<global_frequency/>`), []string{`rule 100002: <global_frequency> is not counted`}},

		{"E40 starved", rule(100010, `level="10" frequency="4" timeframe="60"`, matched) + rule(100011, `level="6" frequency="2" timeframe="60"`, matched),
			[]string{`^r.xml:2:1: rule 100010: never fires: composite 100011 counts the same rule 100001`}},
		{"starved not, a long window", rule(100010, `level="10" frequency="3" timeframe="600"`, matched) + rule(100011, `level="6" frequency="2" timeframe="60"`, matched), nil},
		{"starved not, frequency 3", rule(100010, `level="10" frequency="4" timeframe="60"`, matched) + rule(100011, `level="6" frequency="3" timeframe="60"`, matched), nil},
		{"starved not, narrower", rule(100010, `level="10" frequency="4" timeframe="60"`, matched) + rule(100011, `level="6" frequency="2" timeframe="60"`, matched+`<same_srcuser/>`), nil},
		{"starved not, another way to the base", rule(100002, `level="4"`, kid+`<match>a</match>`) + rule(100003, `level="4"`, kid+`<match>b</match>`) +
			rule(100004, `level="4"`, `<if_sid>100002, 100003</if_sid><match>c</match>`) +
			rule(100010, `level="10" frequency="4" timeframe="60"`, `<if_matched_sid>100004</if_matched_sid>`) +
			rule(100011, `level="6" frequency="2" timeframe="60"`, `<if_matched_sid>100004</if_matched_sid><match>a</match>`), nil},
		{"a composite takes all", rule(100010, `level="10" frequency="3" timeframe="60"`, matched) + rule(100011, `level="6" frequency="4" timeframe="60"`, matched),
			[]string{`rule 100011: never fires: composite 100010 is tried before it`}},

		{"field", rule(100002, `level="4"`, kid+`<field name="FF">x</field><field name="gg">y</field>`), []string{`^r.xml:2:78: rule 100002: can never match: it tests field gg, which decoder t never fills`}},
		{"static field", rule(100002, `level="4"`, kid+`<user>x</user><srcip>10.0.0.1</srcip>`), []string{`tests field srcip`}},
		{"list field", rule(100002, `level="4"`, kid+`<list field="url">etc/lists/known</list>`), []string{`tests field url`}},
		{"same", rule(100002, `level="9" frequency="3"`, matched+`<same_srcip/><different_srcip/><same_field>gg</same_field><same_field>ff</same_field>`), []string{`tests field srcip`, `tests field gg`}},
		{"list", rule(100002, `level="4"`, kid+`<list field="srcuser">etc/lists/unknown</list>`), []string{`list etc/lists/unknown is not loaded, the rule is skipped`}},
		{"duplicate", rule(100001, `level="4"`, ``), []string{`rule 100001: id is used before`}},

		{"adjacent groups", rule(100002, `level="4"`, kid+`<regex>(a)(b)</regex>`), []string{`adjacent parentheses`}},
		{"escaped parentheses", rule(100002, `level="4"`, kid+`<regex>\)(\d+)\(</regex>`), nil},
		{"pcre groups", rule(100002, `level="4"`, kid+`<regex type="pcre2">(a)(b)[a-z]</regex>`), nil},
		{"caret", rule(100002, `level="4"`, kid+`<regex>(^a)</regex>`), []string{`reads \^ and \$ as literals`}},
		{"brackets", rule(100002, `level="4"`, kid+`<regex>x[a-z]</regex>`), []string{`no classes in brackets`}},
		{"inverted empty", rule(100002, `level="4"`, kid+`<match>!a|</match>`), []string{`pattern "!a|" can never match`}},
		{"negated empty", rule(100002, `level="4"`, kid+`<match negate="yes">a||b</match>`), []string{`can never match`}},
		{"inverted", rule(100002, `level="4"`, kid+`<match>!a|b</match>`), nil},

		{"trap: ! of an address", rule(100002, `level="4"`, `<decoded_as>sonic</decoded_as><srcip>!10.0.0.0/8</srcip>`), []string{`the ! in front of 10.0.0.0/8 is ignored`}},
		{"an address that is negated", rule(100002, `level="4"`, `<decoded_as>sonic</decoded_as><srcip negate="yes">10.0.0.0/8</srcip>`), nil},
		{"trap: empty alternative at the end", rule(100002, `level="4"`, kid+`<match>a|b|</match>`), []string{`pattern "a|b|" matches every text`}},
		{"trap: empty alternative in front", rule(100002, `level="4"`, kid+`<regex>|a</regex>`), []string{`matches every text`}},
		{"trap: empty alternative inside", rule(100002, `level="4"`, kid+`<regex type="pcre2">a||b</regex>`), []string{`matches every text`}},
		{"trap: all alternatives of a negated one", rule(100002, `level="4"`, kid+`<regex type="pcre2" negate="yes">a|</regex>`), []string{`can never match`}},
		{"alternatives that are none", rule(100002, `level="4"`, kid+`<regex type="pcre2">a\||[|]b|([]|]|)c|[^]|]</regex>`) + rule(100003, `level="4"`, kid+`<regex>x \||\|$</regex>`), nil},
		{"texts of one name go together", rule(100002, `level="4"`, kid+`<match>a</match><match>|b</match>`), nil},
		{"trap: static same_field", rule(100002, `level="9" frequency="3"`, matched+`<same_field>srcip</same_field><different_field>user</different_field>`),
			[]string{`<same_field> names srcip, which is a static field`, `<different_field> names user, which is a static field`}},
		{"trap: regular expression in OS_Match", rule(100002, `level="4"`, kid+`<user>^.+</user>`), []string{`pattern "\^\.\+": OS_Match knows`}},
		{"trap: classes in OS_Match", rule(100002, `level="4"`, kid+`<match>id \d+</match>`), []string{`it looks for the characters \\d\+`}},
		{"a path in OS_Match", rule(100002, `level="4"`, kid+`<match>C:\system32\d.exe</match>`), nil},
		{"trap: entity", rule(100002, `level="4"`, kid+`<match>a &amp; b</match>`), []string{`^r.xml:2:52: rule 100002: &amp; is no entity here: <match> looks for these 5 characters`}},
		{"entities of Windows events", rule(100002, `level="4"`, `<category>ossec</category><decoded_as>windows_eventchannel</decoded_as><field name="win.eventdata.x">&apos;</field>`), nil},
		{"trap: techniques", rule(100002, `level="4"`, kid+`<match>x</match><mitre><id>T1110</id><id>T99999</id><id>TA0006</id></mitre>`),
			[]string{`unknown ATT&CK id T99999`, `TA0006 is the tactic Credential Access`}},
		{"trap: tactics", rule(100002, `level="4"`, kid+`<match>x</match><mitre><tacticID>TA9999</tacticID><techniqueID>T1110</techniqueID></mitre>`), []string{`unknown ATT&CK id TA9999`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rep := Run(source(decoders, base+tc.rules+"</group>"))
			ok := len(rep.Problems) == len(tc.want)
			for i := 0; ok && i < len(tc.want); i++ {
				p := rep.Problems[i]
				p.Hint = ""
				ok = regexp.MustCompile(tc.want[i]).MatchString(p.String())
			}
			if !ok {
				t.Errorf("want %q, got %v", tc.want, rep.Problems)
			}
		})
	}
}

// Problems of Compile and findings beyond them are reported together, each with
// place, cause and hint.
func TestAllFindingsAtOnce(t *testing.T) {
	t.Parallel()
	const kid = "<if_sid>100001</if_sid>"
	rules := base +
		rule(100002, `level="4"`, `<if_sid>9999</if_sid>`) + // 2: unknown parent
		rule(100001, `level="4"`, `<match>x</match>`) + // 3: duplicate id
		rule(100004, `level="4"`, kid+`<field name="gg">x</field>`) + // 4: field never decoded
		rule(100005, `level="4"`, kid+`<match>!a|</match>`) + // 5: pattern that cannot match
		rule(100006, `level="9"`, kid+`<user>bob</user>`) +
		rule(100007, `level="5"`, kid+`<user>bob</user><match>y</match>`) + // 7: shadowed
		rule(100008, `level="4"`, kid+`<list field="srcuser">etc/lists/unknown</list>`) + // 8: list missing
		rule(100009, `level="0"`, kid+`<match>z</match>`) +
		rule(100010, `level="9" frequency="2"`, `<if_matched_sid>100009</if_matched_sid>`) + // 10: never counts
		rule(100011, `level="9" frequency="4" timeframe="60"`, `<if_matched_sid>100006</if_matched_sid>`) + // 11: starved
		rule(100012, `level="6" frequency="2" timeframe="60"`, `<if_matched_sid>100006</if_matched_sid>`) +
		rule(100013, `level="4"`, `<if_sid>100014</if_sid>`) + // 13, 14: circle
		rule(100014, `level="4"`, `<if_sid>100013</if_sid>`) +
		rule(100015, `level="4"`, `<if_sid>100015</if_sid>`) + // 15: itself
		rule(100016, `level="4"`, `<if_sid>100017</if_sid>`) + // 16: loaded later
		rule(100017, `level="4"`, `<match>w</match>`) + "</group>"
	rep := Run(source(decoders, rules))
	want := []string{
		`^r.xml:2:\d+: rule 100002: <if_sid> names rule 9999, which is not loaded; the rule is skipped\n\thint: rule 9999 has an id of the stock ruleset`,
		`^r.xml:3:\d+: rule 100001: id is used before`,
		`^r.xml:4:\d+: rule 100004: can never match: it tests field gg`,
		`^r.xml:5:\d+: rule 100005: pattern "!a\|" can never match`,
		`^r.xml:7:\d+: rule 100007: can never match: rule 100006 stands before it`,
		`^r.xml:8:\d+: rule 100008: list etc/lists/unknown is not loaded`,
		`^r.xml:10:\d+: rule 100010: never counts anything: events of rule 100009 are not remembered`,
		`^r.xml:11:\d+: rule 100011: never fires: composite 100012`,
		`^r.xml:13:\d+: rule 100013: .*rule 100014, which is not loaded; the rule is skipped\n\thint: the rules name each other in a circle \(100013, 100014, 100013\)`,
		`^r.xml:14:\d+: rule 100014: .*\n\thint: the rules name each other in a circle \(100014, 100013, 100014\)`,
		`^r.xml:15:\d+: rule 100015: .*\n\thint: the rules name each other in a circle \(100015, 100015\)`,
		`^r.xml:16:\d+: rule 100016: .*\n\thint: rule 100017 is left out itself, or stands after this one`,
	}
	for i, p := range rep.Problems {
		if i >= len(want) || !regexp.MustCompile(want[i]).MatchString(p.String()) || p.Hint == "" {
			t.Errorf("finding %d: %v", i, p)
		}
	}
	if len(rep.Problems) != len(want) || rep.Program == nil {
		t.Errorf("%d findings, want %d", len(rep.Problems), len(want))
	}
}

func TestTextAloneIsFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"rule 100001": 1, "": 0, " \n": 0, "<!-- nothing yet -->": 0} {
		src := source(decoders, base+"</group>")
		src.Rules = append(src.Rules, ruleset.File{Name: "s.xml", Path: "s.xml", Data: []byte(text)})
		rep := Run(src)
		if len(rep.Problems) != want || want > 0 && !strings.HasPrefix(rep.Problems[0].String(), "s.xml: holds text and no element") {
			t.Errorf("%q: %v", text, rep.Problems)
		}
	}
}

// A rule reported as starved or never counting fires on no event.
func TestStarvedRulesNeverFire(t *testing.T) {
	t.Parallel()
	const matched = "<if_matched_sid>100001</if_matched_sid>"
	for _, freq := range []int{2, 3, 4} {
		for _, level := range []int{4, 6, 8} {
			for _, window := range []int{30, 60, 150} {
				rules := base + rule(100010, `level="6" frequency="4" timeframe="60"`, matched) +
					rule(100011, fmt.Sprintf(`level="%d" frequency="%d" timeframe="%d"`, level, freq, window), matched) + "</group>"
				rep := Run(source(decoders, rules))
				said := map[int]bool{}
				for _, p := range rep.Problems {
					said[p.RuleID] = true
				}
				eng := engine.New(rep.Program, engine.Config{Logtest: true})
				for _, step := range []int{0, 1, 7, 13, 19, 29, 31, 45} {
					s, now := eng.NewState(), time.Unix(1767614400, 0)
					for range 60 {
						r := eng.Process(s, &schemas.Event{Time: now, AgentID: "000", Location: "l", Queue: '1', Log: []byte("Nov 22 01:00:00 h t: x")})
						if said[r.RuleID] {
							t.Fatalf("rule %d fires every %d s (frequency %d, level %d, window %d): %v", r.RuleID, step, freq, level, window, rep.Problems)
						}
						now = now.Add(time.Duration(step) * time.Second)
					}
				}
			}
		}
	}
}

func TestWriteAndSeverity(t *testing.T) {
	t.Parallel()
	rep := Run(source(decoders, base+rule(100002, `level="4"`, `<if_sid>9999</if_sid>`)+
		rule(100003, `level="4"`, `<if_sid>9999, 100001</if_sid><match>y</match>`)+
		rule(100004, `level="4"`, `<if_sid>100001, 100009</if_sid><match>z</match>`)+"</group>"))
	const stock = "rule 9999 has an id of the stock ruleset, which is not part of this one: load the directory of the stock ruleset instead of builtin, or name a builtin rule"
	var out bytes.Buffer
	if err := rep.Write(&out); err != nil {
		t.Fatal(err)
	}
	want := `r.xml:2:29: error: rule 100002: <if_sid> names rule 9999, which is not loaded; the rule is skipped
hint: ` + stock + `
r.xml:3:29: warning: rule 100003: <if_sid> names rule 9999, which is not loaded
hint: ` + stock + `
r.xml:4:29: warning: rule 100004: <if_sid> names rule 100009, which is not loaded
hint: load the file that defines it before this one
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if rep.Errors() != 1 || rep.Warnings() != 2 {
		t.Errorf("%d errors, %d warnings", rep.Errors(), rep.Warnings())
	}
}

// A refused ruleset gives all of its problems, and no Program.
func TestRefused(t *testing.T) {
	t.Parallel()
	rep := Run(source(decoders, base+rule(100002, `level="99"`, ``)+rule(100003, `level="4"`, `<regex>(</regex>`)+"</group>"))
	if rep.Program != nil || rep.Errors() != 2 {
		t.Errorf("%v", rep.Problems)
	}
	for _, p := range rep.Problems {
		if p.Hint == "" {
			t.Errorf("no hint: %v", p)
		}
	}
}

func TestBuiltinIsClean(t *testing.T) {
	t.Parallel()
	src, err := ruleset.LoadFS(content.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Run(src).Problems {
		t.Error(p)
	}
}

// The stock ruleset has no errors, and its own tests expect no rule that is
// reported as dead.
func TestStockHasNoFalseAlarm(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("VEDETTE_STOCK_RULESET")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "wazuh")
	}
	if _, err := os.Stat(filepath.Join(dir, "stock", "rules")); err != nil {
		t.Skipf("stock ruleset not found (set VEDETTE_STOCK_RULESET): %v", err)
	}
	src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		t.Fatal(err)
	}
	rep := Run(src)
	if rep.Errors() > 0 {
		t.Errorf("%d errors: %v", rep.Errors(), rep.Problems)
	}
	alive := map[int]string{}
	tests, err := filepath.Glob(filepath.Join(dir, "tests", "*.ini"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tests {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(string(b), "\n") {
			if v, ok := strings.CutPrefix(line, "rule"); ok {
				_, v, _ = strings.Cut(v, "=")
				if id, err := strconv.Atoi(strings.TrimSpace(v)); err == nil {
					alive[id] = name
				}
			}
		}
	}
	if len(alive) < 100 {
		t.Fatalf("only %d rules in the tests", len(alive))
	}
	for _, p := range rep.Problems {
		if in := alive[p.RuleID]; in != "" {
			t.Errorf("%v, but %s expects it", p, in)
		}
	}
	t.Logf("%d warnings", rep.Warnings())
}

// Many rules are checked in bounded time.
func TestManySiblings(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(base)
	for i := range 20_000 {
		b.WriteString(rule(200000+i, `level="4"`, fmt.Sprintf("<if_sid>100001</if_sid><match>m%d</match>", i)))
	}
	b.WriteString("</group>")
	if rep := Run(source(decoders, b.String())); len(rep.Problems) > 0 {
		t.Errorf("20,000 rules with one parent: %v", rep.Problems[0])
	}
}
