package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"vedette/rulesets"

	"vedette/internal/shadowlog"
	"vedette/schemas"
)

type fakeRulesets struct{ refused error }

func (fakeRulesets) Versions() []rulesets.Version {
	at := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	return []rulesets.Version{
		{Version: "bb", Published: at, Node: "n2", Files: 3, Current: true, Workers: []rulesets.Worker{{Node: "n1", Partitions: 4}}},
		{Version: "aa", Published: at, Node: "n1", Files: 2},
	}
}

func (f fakeRulesets) Reload(context.Context) error { return f.refused }

func (f fakeRulesets) Promote(_ context.Context, version string) (string, error) {
	switch version {
	case "aa":
		return version, f.refused
	case rulesets.PreviousVersion:
		return "aa", f.refused
	}
	return "", fmt.Errorf("%w: %s", rulesets.ErrNoVersion, version)
}

func TestTheVersionsOfTheRulesetAreListed(t *testing.T) {
	t.Parallel()
	s := serve(t)
	if got, total := s.items("/rulesets", "version"); len(got) != 0 || total != 0 {
		t.Error(got, total)
	}
	s.deps.Rulesets = fakeRulesets{}
	s.rebuild()
	if got, total := s.items("/rulesets", "version"); total != 2 || strings.Join(got, " ") != "bb aa" {
		t.Error(got, total)
	}
	r := s.do("GET", "/rulesets", "")
	const want = `{"version":"bb","published":"2026-11-22T01:02:03Z","node":"n2","files":3,"current":true,"workers":[{"node":"n1","partitions":4}]}`
	if !strings.Contains(strings.ReplaceAll(r.body, ": ", ":"), want) && !strings.Contains(r.body, want) {
		t.Error(r.body)
	}
}

func TestAReloadSaysWhyARulesetIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.deps.Rulesets = fakeRulesets{}
	s.rebuild()
	if r := s.do("PUT", "/manager/analysisd/reload", ""); r.status != 200 || r.json["error"] != 0.0 {
		t.Error(r.status, r.body)
	}
	s.deps.Rulesets = fakeRulesets{errors.New("rules/a.xml:2:1: <group> lacks its >")}
	s.rebuild()
	if r := s.do("PUT", "/manager/analysisd/reload", ""); r.status != 400 || r.json["error"] != 1914.0 || !strings.Contains(r.body, "a.xml:2:1") {
		t.Error(r.status, r.body)
	}
}

func TestAVersionIsPromoted(t *testing.T) {
	t.Parallel()
	s := serve(t)
	f := func(query string, status int, want string) {
		t.Helper()
		if r := s.do("PUT", "/rulesets/current"+query, ""); r.status != status || !strings.Contains(r.body, want) {
			t.Errorf("%s: %d %s", query, r.status, r.body)
		}
	}
	f("?version=aa", 400, "No ruleset runs")
	s.deps.Rulesets = fakeRulesets{}
	s.rebuild()
	f("?version=aa", 200, `"aa"`)
	f("?version=previous", 200, `"aa"`)
	f("?version=cc", 400, "1915")
	f("", 400, "version")
	s.deps.Rulesets = fakeRulesets{errors.New("rules/a.xml:2:1: <group> lacks its >")}
	s.rebuild()
	f("?version=aa", 400, "a.xml:2:1")
}

func TestTheShadowIsSummedUp(t *testing.T) {
	t.Parallel()
	s := serve(t)
	if got, total := s.items("/shadow", "rule"); len(got) != 0 || total != 0 {
		t.Error(got, total)
	}
	lag := int64(7)
	sample := func(agent string) shadowlog.Sample {
		return shadowlog.Sample{
			Kind: schemas.ShadowAdded, Time: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC), AgentID: agent, AgentName: "web", Location: "/x", Offset: 4,
			Now: &schemas.ShadowVerdict{Rule: 1, Level: 5, Groups: []string{"g"}, Description: "secret"}, FullLog: "log of " + agent,
		}
	}
	sum := &shadowlog.Summary{Ruleset: "bb", Against: "aa", Lag: &lag, Differences: 3, Others: 1, Rules: []shadowlog.Rule{
		{ID: 1, Level: 5, Description: "told", Added: 2, Last: sample("001")},
		{ID: 2, Level: 6, Removed: 1, Last: sample("010")},
	}}
	var err error
	s.deps.Shadow = func(context.Context) (*shadowlog.Summary, error) { return sum, err }
	s.rebuild()
	r := s.do("GET", "/shadow?limit=1", "")
	body := strings.ReplaceAll(r.body, ": ", ":")
	for _, want := range []string{
		`"rule":1,"level":5,"description":"told","last":{"kind":"added","timestamp":"2026-11-22T01:02:03.000Z","agent":{"id":"001","name":"web"},"location":"/x","was":null,"now":{"rule":1,"level":5,"groups":["g"],"description":"secret"},"event":{"partition":0,"offset":4},"full_log":"log of 001"},"added":2,"removed":0,"changed":0}`,
		`"total_affected_items":2`, `"shadow":{"ruleset":"bb","against":"aa","problem":"","lag":7,"differences":3,"others":1,"cut":false}`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
	if strings.Contains(body, `"rule":2`) {
		t.Error("the limit is not kept")
	}
	s.as("nobody")
	if r := s.do("GET", "/shadow", ""); strings.Contains(r.body, "log of") || strings.Contains(r.body, "told") {
		t.Error("logs are shown to those who may not read alerts", r.body)
	}
	s.as("wazuh")
	err = errors.New("down")
	if r := s.do("GET", "/shadow", ""); r.status != 500 || !strings.Contains(r.body, "2004") || strings.Contains(r.body, "down") {
		t.Error(r.status, r.body)
	}
}
