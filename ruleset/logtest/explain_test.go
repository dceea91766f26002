package logtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset"
	"vedette/ruleset/engine"
)

const explainedDecoders = `<decoder name="lamp"><prematch>^lamp </prematch></decoder>
<decoder name="door"><program_name>^door$</program_name></decoder>
<decoder name="door-shut"><parent>door</parent><prematch>^shut</prematch><regex offset="after_prematch">by (\S+)</regex><order>srcuser</order></decoder>
<decoder name="door-open"><parent>door</parent><prematch>^opened</prematch><regex offset="after_prematch">by (\S+)</regex><order>srcuser</order></decoder>
<decoder name="door-open"><parent>door</parent><regex offset="after_regex">from (\S+)</regex><order>place</order></decoder>
<decoder name="door-locked"><program_name>^door$</program_name><prematch>locked</prematch></decoder>`

const explainedRules = `<group name="door,">
<rule id="100001" level="0"><decoded_as>door</decoded_as><description>Door.</description></rule>
<rule id="100002" level="3"><if_sid>100001</if_sid><match>^opened</match><description>Opened.</description></rule>
<rule id="100003" level="9"><if_sid>100002</if_sid><user negate="yes">ann</user><description>By another.</description></rule>
<rule id="100004" level="8"><if_sid>100002</if_sid><field name="place">cellar</field><description>From the cellar.</description></rule>
<rule id="100005" level="7"><if_sid>100002</if_sid><list field="srcuser" lookup="match_key">etc/lists/thieves</list><description>A thief.</description></rule>
<rule id="100006" level="10" frequency="3" timeframe="60"><if_matched_sid>100002</if_matched_sid><same_user/><description>Often.</description></rule>
<rule id="100007" level="6"><if_sid>100002</if_sid><srcip>10.0.0.0/8</srcip><description>From a network.</description></rule>
<rule id="100008" level="4"><decoded_as>door</decoded_as><match>^ajar</match><description>Ajar.</description></rule>
<rule id="100009" level="4"><decoded_as>lamp</decoded_as><description>Lamp.</description></rule>
<rule id="100010" level="5"><match>burning</match><description>Fire.</description></rule>
<rule id="100011" level="5" ignore="60"><decoded_as>lamp</decoded_as><match>out$</match><description>Out.</description></rule>
</group>`

func explained(t *testing.T, in string, opts Options) string {
	t.Helper()
	p, problems, err := ruleset.Compile(ruleset.Source{
		Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(explainedDecoders)}},
		Rules:    []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(explainedRules)}},
		Lists:    []ruleset.File{{Name: "thieves", Path: "lists/thieves", Data: []byte("bob:\n")}},
	})
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	opts.Now = now
	var out bytes.Buffer
	if err := Run(engine.New(p, engine.Config{ManagerName: "m", Logtest: true}), strings.NewReader(in), &out, opts); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

const openedByAnn = "Nov 22 01:00:00 h door: opened by ann\n"

func TestExplainShowsWhatNearlyMatched(t *testing.T) {
	t.Parallel()
	got := explained(t, openedByAnn, Options{Text: true, Explain: ExplainNear})
	_, got, _ = strings.Cut(got, "An alert is raised.\n")
	want := `
Decoders tried
  + door (d.xml)
    - door-shut (d.xml): prematch "^shut": not "opened by ann"
    + door-open (d.xml)
      srcuser = ann
    + door-open (d.xml)
      regex "from (\\S+)": not "nn"

Rules tried
  + rule 1, level 0: matches, but is noalert and never chosen
    + rule 100001, level 0 (r.xml): matches
      + rule 100002, level 3 (r.xml): chosen
        - rule 100006, level 10 (r.xml): if_matched_sid "100002", 1 of 3 within 60 s
        - rule 100003, level 9 (r.xml): user "ann", negated: holds for "ann"
        - rule 100004, level 8 (r.xml): field place "cellar": the event has none
        - rule 100005, level 7 (r.xml): list "etc/lists/thieves", match_key: not "ann"
        - rule 100007, level 6 (r.xml): srcip "10.0.0.0/8": the event has none

Outcome: alert

`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExplainCountsTheRestOrShowsAll(t *testing.T) {
	t.Parallel()
	lamp := "lamp out\n"
	near := explained(t, lamp, Options{Text: true, Explain: ExplainNear})
	for _, want := range []string{"  + lamp (d.xml)\n", "  and 2 other rules failed: 1 at decoded_as, 1 at match (--explain=all shows them)\n", "Outcome: alert\n"} {
		if !strings.Contains(near, want) {
			t.Errorf("near lacks %q:\n%s", want, near)
		}
	}
	all := explained(t, lamp, Options{Text: true, Explain: ExplainAll})
	for _, want := range []string{`- rule 100001, level 0 (r.xml): decoded_as "door": not "lamp"`, `- rule 100010, level 5 (r.xml): match "burning": not "lamp out"`} {
		if !strings.Contains(all, want) {
			t.Errorf("all lacks %q:\n%s", want, all)
		}
	}
	if strings.Contains(all, "other rules") {
		t.Error(all)
	}
}

func TestExplainSaysWhyThereIsNoAlert(t *testing.T) {
	t.Parallel()
	got := explained(t, "lamp out\nlamp out\nnothing\nNov 22 01:00:00 h door: shut by ann\n", Options{Text: true, Explain: ExplainNear})
	for _, want := range []string{"Outcome: silenced by ignore=60\n", "Outcome: no rule matches\n", "Outcome: level 0 ends the search without an alert\n"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}

func TestExplainCountsCompositeRules(t *testing.T) {
	t.Parallel()
	in := openedByAnn
	for i, want := range []string{
		"1 of 3 within 60 s\n", // same_user compares dstuser, which nobody decodes
		"1 of 3 within 60 s; 1 more fail same_dstuser\n",
		"1 of 3 within 60 s; 2 more fail same_dstuser\n",
	} {
		got := explained(t, strings.Repeat(in, i+1), Options{Text: true, Explain: ExplainNear})
		if !strings.Contains(got, want) {
			t.Errorf("event %d lacks %q:\n%s", i+1, want, got)
		}
	}
}

func TestExplainInJSON(t *testing.T) {
	t.Parallel()
	plain := explained(t, openedByAnn, Options{})
	got := explained(t, openedByAnn, Options{Explain: ExplainNear})
	if want := strings.TrimSuffix(plain, "}\n") + `,"explain":{`; !strings.HasPrefix(got, want) {
		t.Fatalf("the answer itself differs:\n%s\n%s", plain, got)
	}
	var a struct {
		Explain struct {
			Outcome string
			Rules   []engine.RuleTry
			Other   *others `json:"other_rules"`
		}
	}
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, r := range a.Explain.Rules {
		s := fmt.Sprint(r.ID)
		if r.Failed != nil {
			s += " " + r.Failed.Element
		}
		shown = append(shown, s)
	}
	want := []string{"1", "100001", "100002", "100006 if_matched_sid", "100003 user", "100004 field place", "100005 list", "100007 srcip"}
	if diff := cmp.Diff(want, shown); diff != "" || a.Explain.Outcome != "alert" || a.Explain.Other != nil {
		t.Errorf("(-want +got):\n%s\n%s", diff, got)
	}
}
