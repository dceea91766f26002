package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vedette/internal/kafka/kafkatest"
	"vedette/schemas"
)

func (c *script) group(name string) *Refusal {
	return c.apply(schemas.Proposal{Kind: schemas.ProposalGroupAdd, GroupAdd: &schemas.GroupName{Name: name}}, "").Refusal
}

func (c *script) ungroup(name string) Outcome {
	return c.apply(schemas.Proposal{Kind: schemas.ProposalGroupRemove, GroupRemove: &schemas.GroupName{Name: name}}, "")
}

func (c *script) set(id string, mode schemas.GroupMode, groups ...string) Outcome {
	return c.apply(schemas.Proposal{Kind: schemas.ProposalAgentGroups, AgentGroups: &schemas.AgentGroups{AgentID: id, Mode: mode, Groups: groups}}, "")
}

func TestGroupNamesThatCouldBePathsAreRefused(t *testing.T) {
	t.Parallel()
	c := newScript(t)
	for _, name := range []string{"", ".", "..", "../etc", "a/b", `a\b`, "a\x00b", "a b", "a,b", "a:b", "\u00e9", strings.Repeat("g", 256)} {
		if r := c.group(name); r == nil || r.Reason != ReasonGroups {
			t.Errorf("%.20q: %v", name, r)
		}
	}
	for _, name := range []string{"web", "...", "a.b-c_d", strings.Repeat("g", 255)} {
		if r := c.group(name); r != nil {
			t.Errorf("%.20q: %v", name, r)
		}
	}
	for _, name := range []string{"web", "default"} {
		if r := c.group(name); r == nil || r.Reason != ReasonGroupExists {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestAnAgentsGroupsChangeByTheirMode(t *testing.T) {
	t.Parallel()
	c := newScript(t)
	for _, g := range []string{"a", "b", "c"} {
		c.group(g)
	}
	c.refused(schemas.AgentAdd{Name: "none", Groups: []string{"a", "nope"}}, ReasonNoGroup, "")
	c.added(schemas.AgentAdd{Name: "web"}, "001")
	f := func(mode schemas.GroupMode, groups, want string, reason Reason) {
		t.Helper()
		before, _ := c.s.Agent("001")
		out := c.set("001", mode, strings.FieldsFunc(groups, func(r rune) bool { return r == ',' })...)
		now, _ := c.s.Agent("001")
		got := strings.Join(now.Groups, ",")
		switch {
		case reason != "":
			if out.Refusal == nil || out.Refusal.Reason != reason || !slices.Equal(before.Groups, now.Groups) {
				t.Errorf("%s %s: %v, groups %s", mode, groups, out.Refusal, got)
			}
		case out.Refusal != nil || got != want:
			t.Errorf("%s %s: %v, groups %s, want %s", mode, groups, out.Refusal, got, want)
		case (len(out.Regrouped) == 1) == slices.Equal(before.Groups, now.Groups):
			t.Errorf("%s %s: %d told", mode, groups, len(out.Regrouped))
		}
	}
	f(schemas.GroupsRemove, "a", "", ReasonNotMember)
	f(schemas.GroupsIfNone, "default", "default", "")
	f(schemas.GroupsIfNone, "a", "default", "")
	f(schemas.GroupsAppend, "b,a,b", "default,b,a", "")
	f(schemas.GroupsAppend, "a", "default,b,a", "")
	f(schemas.GroupsRemove, "c", "", ReasonNotMember)
	f(schemas.GroupsRemove, "default,c", "b,a", "")
	f(schemas.GroupsOverride, "a,nope", "", ReasonNoGroup)
	f(schemas.GroupsOverride, "c,a", "c,a", "")
	f(schemas.GroupsRemove, "c,a", "default", "")
	f(schemas.GroupsRemove, "default", "", ReasonOnlyDefault)
	f(schemas.GroupsOverride, "", "default", "")
	f("else", "a", "", ReasonGroups)
	if out := c.set("002", schemas.GroupsOverride, "a"); out.Refusal == nil || out.Refusal.Reason != ReasonNotFound {
		t.Error(out.Refusal)
	}
	var many []string
	for i := range 129 {
		many = append(many, fmt.Sprint("g", i))
		c.group(many[i])
	}
	f(schemas.GroupsOverride, strings.Join(many, ","), "", ReasonTooManyGroups)
	f(schemas.GroupsOverride, strings.Join(many[:128], ","), strings.Join(many[:128], ","), "")
	f(schemas.GroupsAppend, many[128], "", ReasonTooManyGroups)
}

func TestARemovedGroupLeavesNoTrace(t *testing.T) {
	t.Parallel()
	c := newScript(t)
	c.group("a")
	c.group("b")
	c.added(schemas.AgentAdd{Name: "web", Groups: []string{"a"}}, "001")
	c.added(schemas.AgentAdd{Name: "db", Groups: []string{"b", "a", "b"}}, "002")
	c.added(schemas.AgentAdd{Name: "gone", Groups: []string{"a"}}, "003")
	c.remove("003", false)
	if n := c.s.groups["a"]; n != 2 {
		t.Errorf("%d agents counted in a", n)
	}
	if out := c.ungroup("default"); out.Refusal == nil || out.Refusal.Reason != ReasonDefaultGroup {
		t.Error(out.Refusal)
	}
	if out := c.ungroup("nope"); out.Refusal == nil || out.Refusal.Reason != ReasonNoGroup {
		t.Error(out.Refusal)
	}
	out := c.ungroup("a")
	var got []string
	for _, a := range out.Regrouped {
		got = append(got, a.ID+" "+strings.Join(a.Groups, ","))
	}
	if want := []string{"001 default", "002 b"}; !slices.Equal(got, want) {
		t.Errorf("regrouped: %q", got)
	}
	if c.s.groups["default"] != 1 || c.s.groups["b"] != 1 || len(c.s.groups) != 2 {
		t.Errorf("counted: %v", c.s.groups)
	}
}

func TestGroupsReachEveryNodeAndAreNoKeyChange(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	a, b := start(t, cluster, "a"), start(t, cluster, "b")
	changes := make(chan Change, 10)
	b.Subscribe(func(c Change) { changes <- c })
	ctx := t.Context()
	ag, err := a.Add(ctx, AddRequest{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if c := <-changes; c.Kind != ChangeKey {
		t.Error(c.Kind)
	}
	if err := a.AddGroup(ctx, "linux"); err != nil || !a.GroupExists("linux") || !a.GroupExists("default") || a.GroupExists("x") {
		t.Error(err)
	}
	var ref *Refusal
	if err := b.AddGroup(ctx, "linux"); !errors.As(err, &ref) || ref.Reason != ReasonGroupExists {
		t.Error(err)
	}
	for range 2 { // the second time it changes nothing
		if err := a.AssignDefault(ctx, ag.ID); err != nil {
			t.Error(err)
		}
	}
	if err := a.SetGroups(ctx, ag.ID, schemas.GroupsAppend, []string{"linux"}); err != nil {
		t.Error(err)
	}
	if got := a.Groups(); !slices.Equal(got, []Group{{"default", 1}, {"linux", 1}}) {
		t.Error(got)
	}
	if err := a.RemoveGroup(ctx, "linux"); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"default", "default,linux", "default"} {
		c := <-changes
		if got := strings.Join(c.Agent.Groups, ","); c.Kind != ChangeGroups || got != want {
			t.Errorf("kind %d, groups %s, want %s", c.Kind, got, want)
		}
	}
	if len(changes) != 0 {
		t.Error("told of what changed nothing")
	}
}
