package qlang

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a query; beyond them it is not parseable.
const (
	MaxQueryBytes = 8 << 10
	MaxClauses    = 256
	MaxDepth      = 32
)

// Codes of an Error: the numbers API clients know.
const (
	CodeSyntax   = 1407
	CodeField    = 1408
	CodeOperator = 1409
	CodeDate     = 1412
)

// Error says why a query is refused.
type Error struct {
	Code   int
	Detail string
}

func (e *Error) Error() string { return e.Detail }

// Op is a comparison.
type Op byte

// The comparisons.
const (
	Equal Op = iota
	NotEqual
	Less
	Greater
	Contains
)

// String returns the operator as it is written.
func (o Op) String() string { return [...]string{"=", "!=", "<", ">", "~"}[o] }

// Expr is a node of a query: exactly one of And, Or and Clause is set.
type Expr struct {
	And    []*Expr
	Or     []*Expr
	Clause *Clause
}

// Clause compares one field with one value.
type Clause struct {
	Field string
	Op    Op
	// Value is the text as written.
	Value string
}

// String writes the expression so that Parse reads the same tree.
func (x *Expr) String() string {
	var b strings.Builder
	x.write(&b, 0)
	return b.String()
}

// write puts parentheses where a child binds looser than its parent; level is
// 0 at the top and inside OR, 1 inside AND.
func (x *Expr) write(b *strings.Builder, level int) {
	list, sep, own := x.And, ";", 1
	if x.Or != nil {
		list, sep, own = x.Or, ",", 0
	}
	if x.Clause != nil {
		b.WriteString(x.Clause.Field + x.Clause.Op.String() + x.Clause.Value)
		return
	}
	if own < level {
		b.WriteByte('(')
		defer b.WriteByte(')')
	}
	for i, c := range list {
		if i > 0 {
			b.WriteString(sep)
		}
		c.write(b, own)
	}
}

// Walk calls fn for every clause until fn returns an error.
func (x *Expr) Walk(fn func(*Clause) error) error {
	if x == nil {
		return nil
	}
	if x.Clause != nil {
		return fn(x.Clause)
	}
	for _, list := range [2][]*Expr{x.And, x.Or} {
		for _, c := range list {
			if err := c.Walk(fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// Conjuncts returns the parts that must all hold: the members of a top-level
// AND, or x itself.
func (x *Expr) Conjuncts() []*Expr {
	switch {
	case x == nil:
		return nil
	case x.And != nil:
		return x.And
	}
	return []*Expr{x}
}

// AllOf joins expressions with AND; nil ones are left out, and nothing gives nil.
func AllOf(xs ...*Expr) *Expr {
	var and []*Expr
	for _, x := range xs {
		if x != nil {
			and = append(and, x.Conjuncts()...)
		}
	}
	return join(and, func(l []*Expr) *Expr { return &Expr{And: l} })
}

// AnyOf joins expressions with OR; nothing gives nil.
func AnyOf(xs ...*Expr) *Expr {
	return join(xs, func(l []*Expr) *Expr { return &Expr{Or: l} })
}

func join(list []*Expr, node func([]*Expr) *Expr) *Expr {
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return node(list)
}

// Is returns the clause field=value.
func Is(field, value string) *Expr {
	return &Expr{Clause: &Clause{Field: field, Op: Equal, Value: value}}
}

// Parse reads a query whose parentheses nest. Every error is an *Error.
func Parse(s string) (*Expr, error) { return parse(s, true) }

// ParseFlat reads a query as the array-backed lists (rules, decoders) do:
// parentheses around clauses must be there in pairs or not at all for the
// author's own comfort, but do not group.
func ParseFlat(s string) (*Expr, error) { return parse(s, false) }

func parse(s string, nest bool) (*Expr, error) {
	if len(s) > MaxQueryBytes {
		return nil, &Error{CodeSyntax, fmt.Sprintf("the query is longer than %d bytes", MaxQueryBytes)}
	}
	if !utf8.ValidString(s) {
		return nil, &Error{CodeSyntax, "the query is not valid UTF-8"}
	}
	p := parser{s: s, nest: nest}
	x, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.i < len(s) {
		return nil, p.fail("')' without '('")
	}
	return x, nil
}

type parser struct {
	s       string
	i       int
	nest    bool
	open    int // parentheses open so far, when they do not group
	clauses int
}

func (p *parser) fail(what string) error {
	return &Error{CodeSyntax, fmt.Sprintf("the query cannot be read at character %d: %s", utf8.RuneCountInString(p.s[:p.i])+1, what)}
}

func (p *parser) at(c byte) bool { return p.i < len(p.s) && p.s[p.i] == c }

func (p *parser) or(depth int) (*Expr, error) {
	var list []*Expr
	for {
		x, err := p.and(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
		if !p.at(',') {
			return AnyOf(list...), nil
		}
		p.i++
	}
}

func (p *parser) and(depth int) (*Expr, error) {
	var list []*Expr
	for {
		x, err := p.term(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
		if !p.at(';') {
			return join(list, func(l []*Expr) *Expr { return &Expr{And: l} }), nil
		}
		p.i++
	}
}

func (p *parser) term(depth int) (*Expr, error) {
	if !p.nest {
		for p.at('(') {
			p.i, p.open = p.i+1, p.open+1
		}
		x, err := p.clause()
		for err == nil && p.at(')') {
			if p.open--; p.open < 0 {
				return nil, p.fail("')' without '('")
			}
			p.i++
		}
		if err == nil && p.i == len(p.s) && p.open > 0 {
			return nil, p.fail("'(' without ')'")
		}
		return x, err
	}
	if !p.at('(') {
		return p.clause()
	}
	if depth >= MaxDepth {
		return nil, p.fail(fmt.Sprintf("more than %d parentheses inside one another", MaxDepth))
	}
	p.i++
	x, err := p.or(depth + 1)
	if err != nil {
		return nil, err
	}
	if !p.at(')') {
		return nil, p.fail("'(' without ')'")
	}
	p.i++
	return x, nil
}

func (p *parser) clause() (*Expr, error) {
	if p.clauses++; p.clauses > MaxClauses {
		return nil, p.fail(fmt.Sprintf("more than %d conditions", MaxClauses))
	}
	start := p.i
	for p.i < len(p.s) {
		r, n := utf8.DecodeRuneInString(p.s[p.i:])
		if !isWord(r) && r != '.' {
			break
		}
		p.i += n
	}
	c := &Clause{Field: p.s[start:p.i]}
	if c.Field == "" {
		return nil, p.fail("a field name is expected")
	}
	switch {
	case strings.HasPrefix(p.s[p.i:], "!="):
		c.Op, p.i = NotEqual, p.i+2
	case p.at('='):
		c.Op, p.i = Equal, p.i+1
	case p.at('<'):
		c.Op, p.i = Less, p.i+1
	case p.at('>'):
		c.Op, p.i = Greater, p.i+1
	case p.at('~'):
		c.Op, p.i = Contains, p.i+1
	default:
		return nil, p.fail("one of = != < > ~ is expected")
	}
	start = p.i
	round, square := 0, 0
value:
	for p.i < len(p.s) {
		r, n := utf8.DecodeRuneInString(p.s[p.i:])
		switch {
		case r == '(':
			round++
		case r == ')':
			if round == 0 {
				break value // closes a group of clauses
			}
			round--
		case r == '[':
			square++
		case r == ']':
			square = max(square-1, 0)
		case r == ',':
			if square == 0 {
				break value
			}
		case r == ';':
			break value
		case !isWord(r) && !isValue(r):
			return nil, p.fail(fmt.Sprintf("the character %q cannot stand in a value", r))
		}
		p.i += n
	}
	c.Value = p.s[start:p.i]
	switch {
	case round > 0:
		return nil, p.fail("'(' without ')' in a value")
	case c.Value == "":
		return nil, p.fail("a value is expected")
	}
	return &Expr{Clause: c}, nil
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func isValue(r rune) bool {
	return strings.ContainsRune(`-.:?\/'"=@%<>{}$`, r) || unicode.IsSpace(r)
}
