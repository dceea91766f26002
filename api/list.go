package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"vedette/api/problem"
	"vedette/internal/qlang"
)

// item is an element of a list.
type item interface {
	qlang.Item
	// JSON returns the whole item.
	JSON() map[string]any
}

// encodedItem is an item that keeps its JSON.
type encodedItem interface {
	Encoded() (json.RawMessage, error)
}

// object is an item that is kept as it is shown.
type object = jsonItem

type jsonItem struct{ m map[string]any }

func (o jsonItem) Values(path string) []any { return qlang.Object(o.m).Values(path) }

func (o jsonItem) JSON() map[string]any { return o.m }

// listing says how a list is filtered, sorted and cut.
//
// Source: spec/api.md §5 and §6. The database-backed lists of 4.14 (agents)
// ignore case, know their fields and nest parentheses; the array-backed ones
// (rules, decoders) do not.
type listing struct {
	fields   []string // may be selected, queried
	sortable []string
	keys     []string // always shown, unless distinct
	// shown are the names of fields in items, where they differ.
	shown    map[string]string
	database bool
	options  qlang.Options
	// rewrite may change a clause of q before it is compiled.
	rewrite func(*qlang.Clause)
	// order compares by one field, where text is not right; nil for others.
	order func(field string) func(a, b item) int
	// search reports whether an item holds the text (lower case); nil looks at
	// every value of the item.
	search func(it item, text string) bool
}

// cut filters items, which it may reorder, by the common parameters, and returns
// the page as JSON objects and the number of all.
func (l *listing) cut(c *call, items []item) ([]any, int, error) {
	if text := c.str("search"); text != "" {
		text, without := strings.CutPrefix(strings.ToLower(text), "-")
		find := l.search
		if find == nil {
			find = func(it item, text string) bool { return holds(it.JSON(), text) }
		}
		items = slices.DeleteFunc(items, func(it item) bool { return find(it, text) == without })
	}
	if q := c.str("q"); q != "" {
		m, err := l.query(q, c.now)
		if err != nil {
			return nil, 0, err
		}
		items = slices.DeleteFunc(items, func(it item) bool { return !m.Match(it) })
	}
	if err := l.sort(c, items); err != nil {
		return nil, 0, err
	}
	fields, err := l.selected(c)
	if err != nil {
		return nil, 0, err
	}
	for i, f := range fields {
		if name, ok := l.shown[f]; ok {
			fields[i] = name
		}
	}
	offset, limit := c.num("offset"), c.num("limit")
	if l.database && offset == math.MaxInt {
		p := problem.New(problem.StoreFailed, "The offset is larger than the store can count")
		p.Status, p.Title = http.StatusBadRequest, problem.Title(http.StatusBadRequest)
		return nil, 0, p
	}
	if c.flag("distinct") {
		out := l.distinct(items, fields)
		return page(out, offset, limit), len(out), nil
	}
	out := []any{}
	for _, it := range page(items, offset, limit) {
		if e, ok := it.(encodedItem); ok && fields == nil {
			b, err := e.Encoded()
			if err != nil {
				return nil, 0, err
			}
			out = append(out, b)
			continue
		}
		out = append(out, project(it.JSON(), fields))
	}
	return out, len(items), nil
}

func page[T any](s []T, offset, limit int) []T {
	s = s[min(offset, len(s)):]
	return s[:min(limit, len(s))]
}

// query parses and compiles the parameter q.
func (l *listing) query(q string, now time.Time) (*qlang.Matcher, error) {
	parse := qlang.ParseFlat
	if l.database {
		parse = qlang.Parse
	}
	x, err := parse(q)
	if err != nil {
		return nil, queryProblem(err)
	}
	if l.rewrite != nil {
		_ = x.Walk(func(c *qlang.Clause) error { l.rewrite(c); return nil })
	}
	o := l.options
	o.FoldCase, o.Now = l.database, now
	if l.database {
		o.Fields = l.fields
		o.Field = func(name string) bool { return slices.Contains(l.fields, name) }
	}
	m, err := x.Compile(o)
	if err != nil {
		return nil, queryProblem(err)
	}
	return m, nil
}

// queryProblem gives an error of package qlang its code.
func queryProblem(err error) error {
	var q *qlang.Error
	if errors.As(err, &q) {
		return problem.New(problem.Code(q.Code), q.Detail)
	}
	return err
}

func (l *listing) sort(c *call, items []item) error {
	s := strings.TrimSpace(c.str("sort")) // a + is a blank by now
	if s == "" {
		return nil
	}
	desc := strings.HasPrefix(s, "-")
	fields := strings.Split(strings.TrimLeft(s, "+- "), ",")
	orders := make([]func(a, b item) int, len(fields))
	for i, f := range fields {
		f = strings.TrimSpace(f)
		if !slices.Contains(l.sortable, f) {
			return problem.Newf(problem.UnknownSort, "It is not possible to sort by %q; there are: %s", f, strings.Join(l.sortable, ", "))
		}
		if l.order != nil {
			orders[i] = l.order(f)
		}
		if orders[i] == nil {
			orders[i] = func(a, b item) int { return compareValues(first(a, f), first(b, f)) }
		}
	}
	slices.SortStableFunc(items, func(a, b item) int {
		for _, o := range orders {
			if n := o(a, b); n != 0 {
				if desc {
					return -n
				}
				return n
			}
		}
		return 0
	})
	return nil
}

func first(it item, field string) any {
	if vs := it.Values(field); len(vs) > 0 {
		return vs[0]
	}
	return nil
}

// compareValues puts absent values lowest and ignores case.
func compareValues(a, b any) int {
	switch {
	case a == nil || b == nil:
		return boolean(a != nil) - boolean(b != nil)
	}
	if x, ok := a.(time.Time); ok {
		if y, ok := b.(time.Time); ok {
			return x.Compare(y)
		}
	}
	if x, ok := a.(int); ok {
		if y, ok := b.(int); ok {
			return cmp.Compare(x, y)
		}
	}
	return strings.Compare(strings.ToLower(qlang.Text(a)), strings.ToLower(qlang.Text(b)))
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// selected returns the fields to show, nil for all.
func (l *listing) selected(c *call) ([]string, error) {
	fields, ok := c.strs("select")
	if !ok {
		return nil, nil
	}
	for _, f := range fields {
		top, _, _ := strings.Cut(f, ".")
		known := slices.ContainsFunc(l.fields, func(have string) bool {
			if !l.database {
				return have == top
			}
			return have == f || strings.HasPrefix(have, f+".")
		})
		if !known {
			return nil, problem.Newf(problem.UnknownSelect, "It is not possible to select %q; there are: %s", f, strings.Join(l.fields, ", "))
		}
	}
	if !c.flag("distinct") {
		for _, k := range l.keys {
			if !slices.Contains(fields, k) {
				fields = append(fields, k)
			}
		}
	}
	return fields, nil
}

func (l *listing) distinct(items []item, fields []string) []any {
	out := []any{}
	seen := map[string]bool{}
	for _, it := range items {
		if l.database && slices.ContainsFunc(fields, func(f string) bool { return empty(it, f) }) {
			continue
		}
		m := project(it.JSON(), fields)
		key, err := encode(m)
		if err != nil || seen[string(key)] || len(m) == 0 {
			continue
		}
		seen[string(key)] = true
		out = append(out, m)
	}
	return out
}

func empty(it item, field string) bool {
	vs := it.Values(field)
	return len(vs) == 0 && project(it.JSON(), []string{field})[field] == nil || len(vs) > 0 && vs[0] == ""
}

// project returns the parts of m that dotted paths name.
func project(m map[string]any, fields []string) map[string]any {
	if fields == nil {
		return m
	}
	out := map[string]any{}
	for _, f := range fields {
		from, to := m, out
		for {
			head, rest, nested := strings.Cut(f, ".")
			if !nested {
				if v, ok := from[head]; ok {
					to[head] = v
				}
				break
			}
			next, ok := from[head].(map[string]any)
			if !ok {
				break
			}
			if _, ok := dig(next, rest); !ok {
				break
			}
			deeper, ok := to[head].(map[string]any)
			if !ok {
				deeper = map[string]any{}
				to[head] = deeper
			}
			from, to, f = next, deeper, rest
		}
	}
	return out
}

func dig(m map[string]any, path string) (any, bool) {
	head, rest, nested := strings.Cut(path, ".")
	v, ok := m[head]
	if !ok || !nested {
		return v, ok
	}
	next, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	return dig(next, rest)
}

// holds reports whether any value inside v contains the text.
func holds(v any, text string) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if holds(e, text) {
				return true
			}
		}
		return false
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return holds(e, text) })
	case []string:
		return slices.ContainsFunc(v, func(e string) bool { return holds(e, text) })
	}
	return strings.Contains(strings.ToLower(qlang.Text(v)), text)
}
