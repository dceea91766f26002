package qlang

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Null is the value that asks for an absent field.
const Null = "null"

// Item is what a query is asked about.
type Item interface {
	// Values returns every value the dotted path leads to, through objects and
	// the elements of lists; nothing when there is none. A value is a string, a
	// bool, a number (json.Number, int, int64, float64) or a time.Time.
	Values(path string) []any
}

// Object is a decoded JSON object as an Item.
type Object map[string]any

// Values implements Item.
func (o Object) Values(path string) []any { return collect(nil, map[string]any(o), path) }

func collect(out []any, v any, path string) []any {
	switch v := v.(type) {
	case nil:
		return out
	case []any:
		for _, e := range v {
			out = collect(out, e, path)
		}
		return out
	case []string:
		if path == "" {
			for _, e := range v {
				out = append(out, e)
			}
		}
		return out
	case Object:
		return collect(out, map[string]any(v), path)
	case map[string]any:
		if path == "" {
			return out
		}
		// A key may hold dots itself, so each cut is tried.
		if e, ok := v[path]; ok {
			out = collect(out, e, "")
		}
		for i := 0; i < len(path); i++ {
			if path[i] != '.' {
				continue
			}
			if e, ok := v[path[:i]]; ok {
				out = collect(out, e, path[i+1:])
			}
		}
		return out
	}
	if path == "" {
		out = append(out, v)
	}
	return out
}

// Options say how a list compares.
type Options struct {
	// FoldCase ignores case, as the database-backed lists do.
	FoldCase bool
	// Field reports whether a name may be asked for; nil allows every name.
	Field func(name string) bool
	// Fields are named in the error when Field refuses one.
	Fields []string
	// Operator may refuse an operator on a field; nil allows all.
	Operator func(name string, op Op) bool
	// Date reports whether a field is compared as a date; nil: none is.
	Date func(name string) bool
	// Numeric reports whether a field's text compares as a number (`001` is 1).
	Numeric func(name string) bool
	// Now is what a period counts from.
	Now time.Time
}

// Matcher is a query ready to be asked; it is safe for concurrent use.
type Matcher struct{ root *node }

type node struct {
	and, or []*node
	field   string
	op      Op
	isNull  bool
	text    pattern
	number  float64
	numeric bool // number holds the value
	asNum   bool // the field's text is a number
	date    *Moment
	fold    bool
}

// Compile checks x against the options and prepares it. A nil x matches all.
// Errors are *Error.
func (x *Expr) Compile(o Options) (*Matcher, error) {
	if x == nil {
		return &Matcher{}, nil
	}
	n, err := x.compile(&o)
	if err != nil {
		return nil, err
	}
	return &Matcher{root: n}, nil
}

// Check reports the first clause that the options refuse.
func (x *Expr) Check(o Options) error {
	_, err := x.Compile(o)
	return err
}

func (x *Expr) compile(o *Options) (*node, error) {
	n := &node{}
	for _, l := range []struct {
		from []*Expr
		to   *[]*node
	}{{x.And, &n.and}, {x.Or, &n.or}} {
		for _, c := range l.from {
			m, err := c.compile(o)
			if err != nil {
				return nil, err
			}
			*l.to = append(*l.to, m)
		}
	}
	c := x.Clause
	if c == nil {
		return n, nil
	}
	if o.Field != nil && !o.Field(c.Field) {
		return nil, &Error{CodeField, fmt.Sprintf("there is no field %q to ask for; there are: %s", c.Field, strings.Join(o.Fields, ", "))}
	}
	if o.Operator != nil && !o.Operator(c.Field, c.Op) {
		return nil, &Error{CodeOperator, fmt.Sprintf("the operator %q cannot be used with the field %q", c.Op, c.Field)}
	}
	n.field, n.op, n.fold = c.Field, c.Op, o.FoldCase
	n.isNull = c.Value == Null && (c.Op == Equal || c.Op == NotEqual)
	n.text = newPattern(c.Value, o.FoldCase)
	n.number, n.numeric = c.Number()
	n.asNum = n.numeric && o.Numeric != nil && o.Numeric(c.Field)
	if o.Date != nil && o.Date(c.Field) && !n.isNull && c.Op != Contains {
		m, err := c.Date(o.Now)
		if err != nil {
			return nil, err
		}
		n.date = &m
	}
	return n, nil
}

// Match reports whether it holds for the item. With several values under one
// path, one that matches is enough; `!=` holds when none is equal.
func (m *Matcher) Match(it Item) bool { return m.root == nil || m.root.match(it) }

func (n *node) match(it Item) bool {
	switch {
	case n.and != nil:
		for _, c := range n.and {
			if !c.match(it) {
				return false
			}
		}
		return true
	case n.or != nil:
		for _, c := range n.or {
			if c.match(it) {
				return true
			}
		}
		return false
	}
	values := it.Values(n.field)
	if n.isNull {
		return (len(values) == 0) == (n.op == Equal)
	}
	if n.op == NotEqual {
		for _, v := range values {
			if n.compare(v, Equal) {
				return false
			}
		}
		return len(values) > 0 // a comparison with nothing does not hold
	}
	for _, v := range values {
		if n.compare(v, n.op) {
			return true
		}
	}
	return false
}

func (n *node) compare(v any, op Op) bool {
	if n.date != nil {
		t, ok := asTime(v)
		return ok && n.date.Holds(t, op)
	}
	if f, ok := asNumber(v); ok && op != Contains {
		return n.numeric && ordered(f, n.number, op)
	}
	s := Text(v)
	if n.asNum && op != Contains {
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return ordered(f, n.number, op)
		}
	}
	switch op {
	case Equal:
		return n.text.equal(s)
	case Contains:
		return n.text.in(s)
	case Less:
		return n.text.order(s) < 0
	case Greater:
		return n.text.order(s) > 0
	}
	return false
}

func ordered(a, b float64, op Op) bool {
	switch op {
	case Equal:
		return a == b
	case Less:
		return a < b
	case Greater:
		return a > b
	}
	return false
}

// Number returns the clause's value when it is a finite decimal number.
func (c *Clause) Number() (float64, bool) {
	if c.Value == "" || strings.ContainsAny(c.Value, "xXpP_iInN") {
		return 0, false // Go also reads hexadecimal, inf and nan
	}
	f, err := strconv.ParseFloat(c.Value, 64)
	return f, err == nil && !math.IsInf(f, 0)
}

// Text returns a value as the text it is compared and searched as.
func Text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.999+00:00")
	}
	return ""
}

func asNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func asTime(v any) (time.Time, bool) {
	switch v := v.(type) {
	case time.Time:
		return v, !v.IsZero()
	case string:
		return ParseTime(v)
	}
	return time.Time{}, false
}

// pattern is a value in which a quotation mark stands for any one character.
type pattern struct {
	s    string // folded if fold
	fold bool
	wild bool
	// json is the value without blanks when the whole of it is JSON, as an item
	// may hold the same with other blanks.
	json string
}

func newPattern(s string, fold bool) pattern {
	p := pattern{s: s, fold: fold, wild: strings.ContainsAny(s, `'"`)}
	if s != "" && (s[0] == '{' || s[0] == '[') && json.Valid([]byte(s)) {
		p.json = compact(s)
	}
	if fold {
		p.s, p.json = strings.ToLower(p.s), strings.ToLower(p.json)
	}
	return p
}

func compact(s string) string {
	return strings.Join(strings.Fields(s), "")
}

func (p *pattern) prepare(s string) string {
	if p.fold {
		return strings.ToLower(s)
	}
	return s
}

func (p *pattern) equal(s string) bool {
	s = p.prepare(s)
	if s == p.s {
		return true
	}
	if p.json != "" && compact(s) == p.json {
		return true
	}
	return p.wild && wildPrefix(s, p.s) == len(s)
}

func (p *pattern) in(s string) bool {
	s = p.prepare(s)
	if !p.wild {
		return strings.Contains(s, p.s)
	}
	for i := range s {
		if wildPrefix(s[i:], p.s) >= 0 {
			return true
		}
	}
	return false
}

func (p *pattern) order(s string) int { return strings.Compare(p.prepare(s), p.s) }

// wildPrefix returns how many bytes of s the pattern takes, or -1.
func wildPrefix(s, pat string) int {
	i := 0
	for _, r := range pat {
		c, n := utf8.DecodeRuneInString(s[i:])
		if n == 0 || (c != r && r != '\'' && r != '"') {
			return -1
		}
		i += n
	}
	return i
}
