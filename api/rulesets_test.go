package api

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

type fakeRulesets struct{ refused error }

func (fakeRulesets) Versions() []RulesetVersion {
	at := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	return []RulesetVersion{
		{Version: "bb", Published: at, Node: "n2", Files: 3, Current: true, Workers: []RulesetWorker{{Node: "n1", Partitions: 4}}},
		{Version: "aa", Published: at, Node: "n1", Files: 2},
	}
}

func (f fakeRulesets) Reload(context.Context) error { return f.refused }

func TestTheVersionsOfTheRulesetAreListed(t *testing.T) {
	t.Parallel()
	s := serve(t)
	if got, total := s.items("/rulesets", "version"); len(got) != 0 || total != 0 {
		t.Error(got, total)
	}
	s.api.deps.Rulesets = fakeRulesets{}
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
	s.api.deps.Rulesets = fakeRulesets{}
	if r := s.do("PUT", "/manager/analysisd/reload", ""); r.status != 200 || r.json["error"] != 0.0 {
		t.Error(r.status, r.body)
	}
	s.api.deps.Rulesets = fakeRulesets{errors.New("rules/a.xml:2:1: <group> lacks its >")}
	if r := s.do("PUT", "/manager/analysisd/reload", ""); r.status != 400 || r.json["error"] != 1914.0 || !strings.Contains(r.body, "a.xml:2:1") {
		t.Error(r.status, r.body)
	}
}
