package rest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"vedette/api/problem"
	"vedette/internal/qlang"
)

// View says how a list of T, a struct as the API shows it, is filtered, sorted
// and cut. Its fields are those of the struct's JSON.
//
// Source: spec/api.md §5 and §6. The database-backed lists of 4.14 (agents)
// ignore case, know their fields and nest parentheses; the array-backed ones
// (rules, decoders) do not.
type View[T any] struct {
	// Sortable are fields, nil for all.
	Sortable []string
	// Keys are always shown, unless distinct.
	Keys []string
	// Names are names that requests have for some fields instead of their own.
	Names map[string]string
	// ShownOnly are fields that requests cannot name.
	ShownOnly []string
	// Database marks the database-backed lists.
	Database bool
	// Options of q; dates are known by their type.
	Options qlang.Options
	// Rewrite may change a clause of q before it is compiled.
	Rewrite func(*qlang.Clause)
	// Order compares by one field, where text is not right; nil for others.
	Order func(field string) func(a, b *T) int
	// Search reports more items that hold a text (lower case).
	Search func(x *T, text string) bool
	// Encoded returns the JSON of an item that keeps it.
	Encoded func(x *T) (json.RawMessage, error)

	shape shape
}

// Init reads the fields of T and returns the view.
func (v View[T]) Init() *View[T] {
	v.shape = shapeOf[T](v.Names, v.ShownOnly)
	if v.Sortable == nil {
		v.Sortable = v.shape.names
	}
	return &v
}

// Page filters items, which it may reorder, by the common parameters of the
// call and returns the page of them as a list.
func (v *View[T]) Page(c *Call, items []*T, m Messages) (*List[any], error) {
	items, err := v.chosen(c, items)
	if err != nil {
		return nil, err
	}
	fields, err := v.selected(c)
	if err != nil {
		return nil, err
	}
	if err := v.countable(c); err != nil {
		return nil, err
	}
	if c.Distinct {
		out, err := v.distinct(items, fields)
		return &List[any]{Items: Cut(out, c.Offset, c.Limit), Total: len(out), Messages: m}, err
	}
	l := &List[any]{Total: len(items), Messages: m}
	for _, x := range Cut(items, c.Offset, c.Limit) {
		shown, err := v.show(x, fields)
		if err != nil {
			return nil, err
		}
		l.Items = append(l.Items, shown)
	}
	return l, nil
}

// chosen returns the items that search and q of the call leave, sorted.
func (v *View[T]) chosen(c *Call, items []*T) ([]*T, error) {
	if text := c.Search; text != "" {
		text, without := strings.CutPrefix(strings.ToLower(text), "-")
		items = slices.DeleteFunc(items, func(x *T) bool { return v.holds(x, text) == without })
	}
	if c.Query != "" {
		match, err := v.Match(c.Query, c.Now)
		if err != nil {
			return nil, err
		}
		items = slices.DeleteFunc(items, func(x *T) bool { return !match(x) })
	}
	return v.sort(c.Sort, items)
}

// countable refuses an offset that the database-backed lists of 4.14 cannot count.
func (v *View[T]) countable(c *Call) error {
	if !v.Database || c.Offset != math.MaxInt {
		return nil
	}
	p := problem.New(problem.StoreFailed, "The offset is larger than the store can count")
	p.Status, p.Title = http.StatusBadRequest, problem.Title(http.StatusBadRequest)
	return p
}

// Count groups the items that search and q of the call leave by the values of
// fields, nil for all, and returns the page of the groups: the values and a count.
// missing stands for a value that an item has not.
func (v *View[T]) Count(c *Call, items []*T, fields []string, missing string, m Messages) (*List[any], error) {
	items, err := v.chosen(c, items)
	if err != nil {
		return nil, err
	}
	by := *c
	by.Select, by.Distinct = fields, true
	if fields, err = v.selected(&by); err != nil {
		return nil, err
	}
	if err := v.countable(c); err != nil {
		return nil, err
	}
	groups, at := []map[string]any{}, map[string]int{}
	for _, x := range items {
		all, err := object(x)
		if err != nil {
			return nil, err
		}
		values := Project(all, fields)
		for _, f := range fields {
			if empty(values, f) {
				put(values, f, missing)
			}
		}
		key, err := Encode(values)
		if err != nil {
			return nil, err
		}
		i, ok := at[string(key)]
		if !ok {
			i = len(groups)
			at[string(key)] = i
			values["count"] = 0
			groups = append(groups, values)
		}
		groups[i]["count"] = groups[i]["count"].(int) + 1
	}
	l := &List[any]{Total: len(groups), Messages: m}
	for _, g := range Cut(groups, c.Offset, c.Limit) {
		l.Items = append(l.Items, g)
	}
	return l, nil
}

// put sets a value below objects that it makes where they lack; a value that is no
// object stays.
func put(m map[string]any, path string, v any) {
	head, rest, nested := strings.Cut(path, ".")
	if !nested {
		m[head] = v
		return
	}
	next, ok := m[head].(map[string]any)
	if !ok {
		next = map[string]any{}
		m[head] = next
	}
	put(next, rest, v)
}

// Texts returns the page of a sorted list of texts. Of the common parameters,
// search and the direction of sort count.
func Texts(c *Call, all []string, m Messages) *List[string] {
	if c.Search != "" {
		text, without := strings.CutPrefix(strings.ToLower(c.Search), "-")
		all = slices.DeleteFunc(all, func(s string) bool { return strings.Contains(strings.ToLower(s), text) == without })
	}
	if strings.HasPrefix(c.Sort, "-") {
		slices.Reverse(all)
	}
	return &List[string]{Items: Cut(all, c.Offset, c.Limit), Total: len(all), Messages: m}
}

// show returns the fields of an item, nil for all, as they are encoded.
func (v *View[T]) show(x *T, fields []string) (any, error) {
	if fields == nil && v.Encoded != nil {
		return v.Encoded(x)
	}
	if fields == nil {
		return x, nil
	}
	m, err := object(x)
	return Project(m, fields), err
}

// Sorted returns the JSON of an item with its members in the order of names.
func Sorted[T any](x *T) (json.RawMessage, error) {
	m, err := object(x)
	if err != nil {
		return nil, err
	}
	return Encode(m)
}

// object returns an item as a JSON object.
func object(x any) (m map[string]any, err error) {
	b, err := Encode(x)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	err = dec.Decode(&m)
	return m, err
}

func (v *View[T]) holds(x *T, text string) bool {
	for _, name := range v.shape.names {
		if v.shape.holds(reflect.ValueOf(x).Elem(), name, text) {
			return true
		}
	}
	return v.Search != nil && v.Search(x, text)
}

// values returns the values of a field, found by its own name or by its name in
// requests.
func (v *View[T]) values(x *T, path string) []any {
	return v.shape.values(reflect.ValueOf(x).Elem(), path, v.Database)
}

// viewed is an item that a query is asked about.
type viewed[T any] struct {
	v *View[T]
	x *T
}

func (i *viewed[T]) Values(path string) []any { return i.v.values(i.x, path) }

// Match parses and compiles a query.
func (v *View[T]) Match(q string, now time.Time) (func(*T) bool, error) {
	parse := qlang.ParseFlat
	if v.Database {
		parse = qlang.Parse
	}
	x, err := parse(q)
	if err != nil {
		return nil, QueryProblem(err)
	}
	if v.Rewrite != nil {
		_ = x.Walk(func(c *qlang.Clause) error { v.Rewrite(c); return nil })
	}
	o := v.Options
	o.FoldCase, o.Now = v.Database, now
	if v.Database {
		o.Fields = v.shape.names
		o.Field = func(name string) bool { return slices.Contains(v.shape.names, name) }
		o.Date = v.shape.date
	}
	m, err := x.Compile(o)
	if err != nil {
		return nil, QueryProblem(err)
	}
	it := &viewed[T]{v: v}
	return func(x *T) bool { it.x = x; return m.Match(it) }, nil
}

// Dated reports whether a query compares a field that is a date.
func (v *View[T]) Dated(q string) (dated bool) {
	if x, err := qlang.Parse(q); q != "" && err == nil {
		_ = x.Walk(func(c *qlang.Clause) error { dated = dated || v.shape.date(c.Field); return nil })
	}
	return dated
}

// QueryProblem gives an error of package qlang its code.
func QueryProblem(err error) error {
	var q *qlang.Error
	if errors.As(err, &q) {
		return problem.New(problem.Code(q.Code), q.Detail)
	}
	return err
}

// Cut returns the part of s that offset and limit ask for.
func Cut[T any](s []T, offset, limit int) []T {
	s = s[min(offset, len(s)):]
	return s[:min(limit, len(s))]
}

// sort returns items in the order that the parameter sort asks for.
func (v *View[T]) sort(s string, items []*T) ([]*T, error) {
	s = strings.TrimSpace(s) // a + is a blank by now
	if s == "" {
		return items, nil
	}
	desc := strings.HasPrefix(s, "-")
	var orders []func(a, b *sorted[T]) int
	keys := map[int]string{}
	for i, f := range strings.Split(strings.TrimLeft(s, "+- "), ",") {
		f = strings.TrimSpace(f)
		if !slices.Contains(v.Sortable, f) {
			return nil, problem.Newf(problem.UnknownSort, "It is not possible to sort by %q; there are: %s", f, strings.Join(v.Sortable, ", "))
		}
		var own func(a, b *T) int
		if v.Order != nil {
			own = v.Order(f)
		}
		if own != nil {
			orders = append(orders, func(a, b *sorted[T]) int { return own(a.x, b.x) })
			continue
		}
		keys[i] = f
		orders = append(orders, func(a, b *sorted[T]) int { return compareValues(a.keys[i], b.keys[i]) })
	}
	all := make([]sorted[T], len(items))
	for i, x := range items {
		all[i] = sorted[T]{x: x, keys: make([]any, len(orders))}
		for k, f := range keys {
			if vs := v.values(x, f); len(vs) > 0 {
				all[i].keys[k] = vs[0]
			}
		}
	}
	slices.SortStableFunc(all, func(a, b sorted[T]) int {
		for _, o := range orders {
			if n := o(&a, &b); n != 0 {
				if desc {
					return -n
				}
				return n
			}
		}
		return 0
	})
	for i := range all {
		items[i] = all[i].x
	}
	return items, nil
}

// sorted is an item with the values that it is sorted by.
type sorted[T any] struct {
	x    *T
	keys []any
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

// selected returns the fields to show, by their own names, nil for all.
func (v *View[T]) selected(c *Call) ([]string, error) {
	if c.Select == nil {
		return nil, nil
	}
	names := v.shape.names
	fields := slices.Clone(c.Select)
	for _, f := range fields {
		top, _, _ := strings.Cut(f, ".")
		known := slices.ContainsFunc(names, func(have string) bool {
			if !v.Database {
				return have == top
			}
			return have == f || strings.HasPrefix(have, f+".")
		})
		if !known {
			return nil, problem.Newf(problem.UnknownSelect, "It is not possible to select %q; there are: %s", f, strings.Join(names, ", "))
		}
	}
	if !c.Distinct {
		for _, k := range v.Keys {
			if !slices.Contains(fields, k) {
				fields = append(fields, k)
			}
		}
	}
	for i, f := range fields {
		fields[i] = v.shape.own(f)
	}
	return fields, nil
}

func (v *View[T]) distinct(items []*T, fields []string) ([]any, error) {
	out := []any{}
	seen := map[string]bool{}
	for _, x := range items {
		m, err := object(x)
		if err != nil {
			return nil, err
		}
		if v.Database && slices.ContainsFunc(fields, func(f string) bool { return empty(m, f) }) {
			continue
		}
		m = Project(m, fields)
		key, err := Encode(m)
		if err != nil {
			return nil, err
		}
		if !seen[string(key)] && len(m) > 0 {
			seen[string(key)] = true
			out = append(out, m)
		}
	}
	return out, nil
}

func empty(m map[string]any, field string) bool {
	v, ok := dig(m, field)
	return !ok || v == nil || v == ""
}

// Project returns the parts of m that dotted paths name.
func Project(m map[string]any, fields []string) map[string]any {
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

// Holds reports whether any value inside v contains the text.
func Holds(v any, text string) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if Holds(e, text) {
				return true
			}
		}
		return false
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return Holds(e, text) })
	case []string:
		return slices.ContainsFunc(v, func(e string) bool { return Holds(e, text) })
	}
	return strings.Contains(strings.ToLower(qlang.Text(v)), text)
}
