// Package route decides which alerts a destination gets.
package route

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vedette/internal/qlang"
	"vedette/schemas"
)

// Config holds the conditions of one destination, all of which must hold. The
// zero value takes every alert. Letter case is ignored.
type Config struct {
	// When is a query over the alert's fields, such as
	// `rule.level>=10;rule.groups~authentication`.
	When string `mapstructure:"when"`
	// MinLevel is the lowest level of a rule; 0: any.
	MinLevel int `mapstructure:"min_level"`
	// RuleIDs and RuleGroups name rules, and groups of rules, of which one must
	// fit; empty: any.
	RuleIDs    []string `mapstructure:"rule_ids"`
	RuleGroups []string `mapstructure:"rule_groups"`
	// AgentLabels are labels that the agent must have, with their values.
	AgentLabels map[string]string `mapstructure:"agent_labels"`
}

// levelMax is the highest level of a rule.
const levelMax = 16

// Matcher is a Config ready to be asked; it is safe for concurrent use.
type Matcher struct{ m *qlang.Matcher }

// Compile prepares the conditions. Errors name their key.
func (c Config) Compile() (*Matcher, error) {
	var errs []error
	var all []*qlang.Expr
	add := func(x *qlang.Expr) { all = append(all, x) }
	if c.When != "" {
		x, err := qlang.Parse(c.When)
		if err != nil {
			errs = append(errs, fmt.Errorf("when: %w", err))
		} else {
			x = orEqual(x)
			errs = append(errs, x.Walk(numberExpected))
			add(x)
		}
	}
	if c.MinLevel < 0 || c.MinLevel > levelMax {
		errs = append(errs, fmt.Errorf("min_level: %d is not in 0…%d", c.MinLevel, levelMax))
	} else if c.MinLevel > 0 {
		add(&qlang.Expr{Clause: &qlang.Clause{Field: "rule.level", Op: qlang.Greater, Value: strconv.Itoa(c.MinLevel - 1)}})
	}
	for _, list := range []struct {
		key, field string
		values     []string
	}{{"rule_ids", "rule.id", c.RuleIDs}, {"rule_groups", "rule.groups", c.RuleGroups}} {
		var one []*qlang.Expr
		for _, v := range list.values {
			if v = strings.TrimSpace(v); v == "" {
				errs = append(errs, fmt.Errorf("%s: holds an empty entry", list.key))
			}
			one = append(one, qlang.Is(list.field, v))
		}
		add(qlang.AnyOf(one...))
	}
	for _, name := range slices.Sorted(maps.Keys(c.AgentLabels)) {
		if name == "" || c.AgentLabels[name] == "" {
			errs = append(errs, fmt.Errorf("agent_labels: %q needs a name and a value", name))
		}
		add(qlang.Is("agent.labels."+name, c.AgentLabels[name]))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	x := qlang.AllOf(all...)
	if x == nil {
		return &Matcher{}, nil
	}
	m, err := x.Compile(qlang.Options{FoldCase: true, Field: known, Fields: slices.Sorted(maps.Keys(members)), Numeric: func(name string) bool { return name == "rule.id" }})
	if err != nil {
		return nil, fmt.Errorf("when: %w", err)
	}
	return &Matcher{m}, nil
}

// Match reports whether the destination gets the alert. A nil Matcher takes all.
func (m *Matcher) Match(a *schemas.Alert) bool {
	return m == nil || m.m == nil || m.m.Match(qlang.Raw(a.Document))
}

// orEqual gives the query language `>=` and `<=`, which it reads as a comparison
// with a value that begins with `=`.
func orEqual(x *qlang.Expr) *qlang.Expr {
	for _, list := range [][]*qlang.Expr{x.And, x.Or} {
		for i := range list {
			list[i] = orEqual(list[i])
		}
	}
	c := x.Clause
	if c == nil || c.Op != qlang.Less && c.Op != qlang.Greater {
		return x
	}
	v, ok := strings.CutPrefix(c.Value, "=")
	if !ok {
		return x
	}
	return qlang.AnyOf(&qlang.Expr{Clause: &qlang.Clause{Field: c.Field, Op: c.Op, Value: v}}, qlang.Is(c.Field, v))
}

// numbers are the fields that hold numbers: any other value matches nothing.
var numbers = []string{"rule.level", "rule.firedtimes", "rule.frequency"}

func numberExpected(c *qlang.Clause) error {
	if !slices.Contains(numbers, c.Field) || c.Value == qlang.Null {
		return nil
	}
	if _, ok := c.Number(); !ok || c.Op == qlang.Contains {
		return fmt.Errorf("when: %s is a number; %s%s would match no alert", c.Field, c.Op, c.Value)
	}
	return nil
}

// members are the members of an alert document, and those of its members that are
// the same for every alert; nil: any. A misspelled field would match nothing, and
// nobody would see why.
var members = map[string][]string{
	"timestamp": {}, "id": {}, "location": {}, "full_log": {}, "previous_output": {}, "previous_log": {}, "srcgeoip": {}, "dstgeoip": {},
	"rule": {
		"level", "description", "id", "mitre", "cve", "info", "frequency", "firedtimes", "mail", "groups",
		"pci_dss", "gdpr", "gpg13", "hipaa", "nist_800_53", "tsc", "cis",
	},
	"agent": {"id", "name", "ip", "labels"}, "manager": {"name"}, "cluster": {"name", "node"},
	"predecoder": {"program_name", "timestamp", "hostname"}, "decoder": {"accumulate", "parent", "name", "ftscomment"},
	"data": nil, "syscheck": nil, "agentless": {"script", "user", "host"}, "vedette": nil,
}

func known(field string) bool {
	top, below, deep := strings.Cut(field, ".")
	names, ok := members[top]
	if !ok || names == nil {
		return ok
	}
	name, _, _ := strings.Cut(below, ".")
	return !deep && len(names) == 0 || slices.Contains(names, name)
}
