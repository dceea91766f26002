package route

import (
	"strings"
	"testing"

	"vedette/schemas"
)

const document = `{"timestamp":"2026-11-28T08:00:00.000+0000","rule":{"level":10,"description":"Login; failed","id":"5710","groups":["syslog","sshd","authentication_failed"],
"mitre":{"id":["T1110","T1021"]}},"agent":{"id":"001","name":"web","labels":{"env":"prod","site":{"name":"Kiel"}}},"data":{"srcip":"10.0.0.1","win":{"x":5}},"location":"/var/log/auth.log"}`

func TestADestinationGetsTheAlertsItAsksFor(t *testing.T) {
	t.Parallel()
	f := func(c Config, want bool) {
		t.Helper()
		m, err := c.Compile()
		if err != nil {
			t.Errorf("%+v is refused: %v", c, err)
			return
		}
		if got := m.Match(&schemas.Alert{Document: []byte(document)}); got != want {
			t.Errorf("%+v: gets the alert: %v, want %v", c, got, want)
		}
	}
	when := func(q string, want bool) { t.Helper(); f(Config{When: q}, want) }
	f(Config{}, true)
	f(Config{MinLevel: 10}, true)
	f(Config{MinLevel: 11}, false)
	f(Config{MinLevel: 1}, true)
	f(Config{RuleIDs: []string{"1", "5710"}}, true)
	f(Config{RuleIDs: []string{"571", "57100"}}, false)
	f(Config{RuleGroups: []string{"web", "sshd"}}, true)
	f(Config{RuleGroups: []string{"ssh"}}, false)
	f(Config{RuleGroups: []string{"sshd"}, MinLevel: 12}, false)
	f(Config{AgentLabels: map[string]string{"env": "prod"}}, true)
	f(Config{AgentLabels: map[string]string{"env": "prod", "site.name": "kiel"}}, true)
	f(Config{AgentLabels: map[string]string{"env": "prod", "site.name": "bonn"}}, false)
	f(Config{AgentLabels: map[string]string{"other": "prod"}}, false)
	f(Config{When: "agent.id=001", RuleIDs: []string{"5710"}, MinLevel: 3}, true)
	when("rule.level>=10;rule.groups~authentication", true)
	when("rule.level>=11", false)
	when("rule.level>=9", true)
	when("rule.level<=10", true)
	when("rule.level<=9", false)
	when("rule.level>9", true)
	when("rule.level>10", false)
	when("rule.level<=9,rule.mitre.id=T1021", true)
	when("(rule.level>=15,rule.id=5710);agent.name=WEB", true)
	when("rule.level>=15,(rule.id<=5709;agent.name=web)", false)
	when("rule.id>=5710", true)
	when("rule.id>571000", false)
	when("data.win.x>=5;data.srcip=10.0.0.1", true)
	when("data.no.such=null", true)
	when("agent.labels.env!=prod", false)
	when("location~auth", true)
	if !(*Matcher)(nil).Match(&schemas.Alert{Document: []byte(document)}) {
		t.Error("without conditions a destination does not get the alert")
	}
}

func TestConditionsThatNobodyCouldMeetAreRefused(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Config{
		"when: the query cannot be read at character 11": {When: "rule.level ="},
		`when: there is no field "rule.levle"`:           {When: "rule.id=1,rule.levle>3"},
		`when: there is no field "level"`:                {When: "level>3"},
		`when: there is no field "agent.labelz.x"`:       {When: "agent.labelz.x=y"},
		`when: there is no field "location.x"`:           {When: "location.x=y"},
		"when: rule.level is a number; >high would":      {When: "rule.id=1;rule.level>high"},
		"when: rule.level is a number; ~1 would":         {When: "rule.level~1"},
		"when: rule.level is a number; >=5 would":        {When: "rule.level>==5"},
		"min_level: 17 is not in 0…16":                   {MinLevel: 17},
		"min_level: -1 is not in 0…16":                   {MinLevel: -1},
		"rule_ids: holds an empty entry":                 {RuleIDs: []string{"1", " "}},
		"rule_groups: holds an empty entry":              {RuleGroups: []string{""}},
		`agent_labels: "env" needs a name and a value`:   {AgentLabels: map[string]string{"env": ""}},
	} {
		if _, err := c.Compile(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", c, err, want)
		}
	}
	_, err := Config{When: "x=1", MinLevel: 99, RuleIDs: []string{""}}.Compile()
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two of the conditions can be refused at once, got: %v", err)
	}
}
