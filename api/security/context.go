package security

import (
	"encoding/json"
	"regexp"
	"strings"
)

// contextDepth bounds the levels at which FIND looks.
const contextDepth = 8

// operators of security rules.
const (
	opAnd, opOr, opNot     = "AND", "OR", "NOT"
	opMatch, opMatchExact  = "MATCH", "MATCH$"
	opFind, opFindExact    = "FIND", "FIND$"
	patternStart, patternE = "r'", "'"
)

// ruleTree reads a security rule. It reports whether the rule has the shape that
// fits understands.
func ruleTree(raw json.RawMessage) (map[string]any, bool) {
	var tree map[string]any
	if json.Unmarshal(raw, &tree) != nil || len(tree) == 0 || !validTree(tree, 0) {
		return nil, false
	}
	return tree, true
}

// treeDepth bounds the nesting of AND, OR and NOT.
const treeDepth = 32

func validTree(node any, depth int) bool {
	m, ok := node.(map[string]any)
	if !ok || len(m) == 0 || depth > treeDepth {
		return false
	}
	for op, arg := range m {
		switch op {
		case opMatch, opMatchExact, opFind, opFindExact:
			if inner, ok := arg.(map[string]any); !ok || len(inner) == 0 {
				return false
			}
		case opAnd, opOr, opNot:
			for _, x := range branches(arg) {
				if !validTree(x, depth+1) {
					return false
				}
			}
		default:
			return false
		}
	}
	return true
}

// branches returns the operands of AND, OR and NOT, which NOT may have alone.
func branches(arg any) []any {
	if list, ok := arg.([]any); ok {
		return list
	}
	return []any{arg}
}

// fits reports whether a context meets a security rule.
//
// Source: spec/api.md §7, "Authorization context".
func fits(node any, context map[string]any) bool {
	m, _ := node.(map[string]any)
	for op, arg := range m {
		if !fitsOne(op, arg, context) {
			return false
		}
	}
	return len(m) > 0
}

func fitsOne(op string, arg any, context map[string]any) bool {
	switch op {
	case opAnd:
		for _, x := range branches(arg) {
			if !fits(x, context) {
				return false
			}
		}
		return true
	case opOr, opNot:
		for _, x := range branches(arg) {
			if fits(x, context) {
				return op == opOr
			}
		}
		return op == opNot
	case opMatch, opMatchExact:
		return covers(arg, context, op == opMatchExact)
	case opFind, opFindExact:
		return found(arg, context, op == opFindExact, 0)
	}
	return false
}

// found reports whether want covers the context or a value at a lower level.
func found(want, have any, exact bool, depth int) bool {
	if depth > contextDepth {
		return false
	}
	switch x := have.(type) {
	case map[string]any:
		if covers(want, x, exact) {
			return true
		}
		for _, v := range x {
			if found(want, v, exact, depth+1) {
				return true
			}
		}
	case []any:
		for _, v := range x {
			if found(want, v, exact, depth+1) {
				return true
			}
		}
	}
	return false
}

// covers reports whether a value has all that is wanted.
func covers(want, have any, exact bool) bool {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return false
		}
		for key, x := range w {
			if !coversMember(key, x, h, exact) {
				return false
			}
		}
		return true
	case []any:
		h, ok := have.([]any)
		if !ok || exact && len(h) != len(w) {
			return false
		}
		for _, x := range w {
			if !coversAny(x, h, exact) {
				return false
			}
		}
		return true
	}
	if list, ok := have.([]any); ok {
		return coversAny(want, list, exact)
	}
	return sameScalar(want, have)
}

func coversMember(key string, want any, have map[string]any, exact bool) bool {
	if v, ok := have[key]; ok && covers(want, v, exact) {
		return true
	}
	re := pattern(key)
	if re == nil {
		return false
	}
	for k, v := range have {
		if re.MatchString(k) && covers(want, v, exact) {
			return true
		}
	}
	return false
}

func coversAny(want any, list []any, exact bool) bool {
	for _, h := range list {
		if covers(want, h, exact) {
			return true
		}
	}
	return false
}

func sameScalar(want, have any) bool {
	text, ok := want.(string)
	if !ok {
		return want == have && isScalar(have)
	}
	h, ok := have.(string)
	if !ok {
		return false
	}
	if re := pattern(text); re != nil {
		return re.MatchString(h)
	}
	return text == h
}

func isScalar(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

// pattern returns the expression of a text written r'…', anchored at its start;
// nil for plain text, and for an expression that cannot be read. Its time grows
// with the text only, so that it needs no limit of its own.
func pattern(text string) *regexp.Regexp {
	inner, ok := strings.CutPrefix(text, patternStart)
	if !ok {
		return nil
	}
	if inner, ok = strings.CutSuffix(inner, patternE); !ok {
		return nil
	}
	re, err := regexp.Compile(`^(?:` + inner + `)`)
	if err != nil {
		return nil
	}
	return re
}
