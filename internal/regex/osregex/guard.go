package osregex

import (
	"iter"
	"strings"
)

// asText returns the alternative as plain text, if it has neither classes nor
// marks: then it is a search for that text.
func (a *alternative) asText() (string, bool) {
	var b []byte
	for _, it := range a.items {
		if it.kind != literal && (it.kind != class || it.in != 0) {
			return "", false
		}
		b = append(b, it.b)
	}
	return string(b), true
}

// findText is what the procedure comes to for plain text, which stands at at or
// later. It needs no steps.
func (a *alternative) findText(sub string, at int) (end int, ok bool) {
	switch {
	case a.atEnd && a.atStart:
		return max(len(sub)-1, 0), sub == a.text
	case a.text == "":
		// A `$` alone holds at the end of an empty subject only.
		return 0, !a.atEnd || sub == ""
	case a.atStart:
		return len(a.text) - 1, strings.HasPrefix(sub, a.text)
	case a.atEnd:
		return len(sub) - 1, strings.HasSuffix(sub, a.text)
	}
	i := strings.Index(sub[at:], a.text)
	return at + i + len(a.text) - 1, i >= 0
}

// Needs lists, for each alternative, what its matches have in common: a text they
// hold, which may be empty, and the bytes they begin with, nil if that is not known.
func (r *Regex) Needs() iter.Seq2[string, *[256]bool] {
	return func(yield func(string, *[256]bool) bool) {
		for i := range r.alts {
			a := &r.alts[i]
			need := a.need
			if a.plain {
				need = a.text
			}
			if !yield(need, a.firstBytes()) {
				return
			}
		}
	}
}

// firstBytes is what the subjects of an anchored alternative begin with, nil if
// that can be anything or nothing.
func (a *alternative) firstBytes() *[256]bool {
	if !a.atStart {
		return nil
	}
	items := a.items
	if len(items) > 0 && items[0].kind == mark {
		items = items[1:]
	}
	if len(items) == 0 || items[0].kind == mark || items[0].kind == quantifier {
		return nil
	}
	if items[0].kind == class && len(items) > 1 && items[1].kind == quantifier && items[1].b == '*' {
		return nil
	}
	var first [256]bool
	for c := range 256 {
		first[c] = items[0].has(byte(c))
	}
	return &first
}

// Values lists the only subjects that match, in lower case, if all alternatives
// are whole texts.
func (r *Regex) Values() (values []string, ok bool) {
	for i := range r.alts {
		a := &r.alts[i]
		if !a.plain || !a.atStart || !a.atEnd {
			return nil, false
		}
		values = append(values, a.text)
	}
	return values, true
}
