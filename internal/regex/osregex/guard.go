package osregex

import (
	"iter"
	"math/bits"
	"slices"
	"strings"
	"sync"

	"vedette/internal/regex/around"
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

// findText gives the procedure's result for plain text, which is at at or later.
// It needs no steps.
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

// attempt is the state that decides how an attempt goes on: its current item,
// and the procedure's M.
type attempt struct {
	p int
	m bool
}

// place numbers the attempts.
func (a attempt) place() int {
	if a.m {
		return 2*a.p + 1
	}
	return 2 * a.p
}

// surround works out the bytes that can be around runs. It follows the procedure
// of run, with sets in place of bytes, from all states that an attempt can begin
// in. A return to a saved position counts as if the byte there had been taken by
// the class that it was saved for.
func (a *alternative) surround(runs []stretch) []around.Text {
	n := len(a.items)
	w := surrounds.Get().(*surroundings)
	defer surrounds.Put(w)
	w.reset(n)
	arrive := func(at attempt, last around.Bytes) {
		if at.p < n && a.items[at.p].kind == mark {
			at.p++
		}
		known, met := w.before(at)
		if last = last.Or(known); !met || last != known {
			w.last[at.place()], w.met[at.place()] = last, true
			w.pending = append(w.pending, at)
		}
	}
	arrive(attempt{0, false}, around.Any)
	arrive(attempt{0, true}, around.Any)
	for len(w.pending) > 0 {
		at := w.pending[len(w.pending)-1]
		w.pending = w.pending[:len(w.pending)-1]
		if at.p >= n {
			continue
		}
		it := &a.items[at.p]
		own := it.bytes()
		switch {
		case it.quant == 0:
			arrive(attempt{at.p + 1, at.m}, own)
		case !at.m && it.quant == '+':
			arrive(attempt{at.p, true}, own)
		default:
			arrive(attempt{at.p, true}, own)
			arrive(attempt{at.p, false}, own)
			if int(it.look) < n {
				next := &a.items[it.look]
				taken := own.And(next.bytes())
				switch {
				case next.kind != class:
					arrive(attempt{int(it.look) + 1, false}, taken)
				case next.quant != 0:
					arrive(attempt{int(it.look), true}, taken)
				default:
					arrive(attempt{int(it.look) + 1, true}, taken)
				}
			}
		}
		// Left without taking anything.
		switch {
		case it.quant == '+' && at.m:
			arrive(attempt{at.p + 2, false}, w.last[at.place()])
		case it.quant == '*':
			arrive(attempt{at.p + 2, at.m}, w.last[at.place()])
		}
	}
	out := make([]around.Text, 0, len(runs))
	for _, r := range runs {
		var left, right around.Bytes
		for _, m := range []bool{false, true} {
			if last, met := w.before(attempt{r.from, m}); met {
				left = left.Or(last)
			}
			if _, met := w.before(a.behind(r.to, m)); met {
				right = right.Or(a.follows(a.behind(r.to, m)))
			}
		}
		out = append(out, around.New(r.text, left, right, true))
	}
	return out
}

// surroundings are the buffers of surround, kept from pattern to pattern.
type surroundings struct {
	last    []around.Bytes // the last bytes that an attempt has taken, by place
	met     []bool         // that there is such an attempt
	pending []attempt
}

var surrounds = sync.Pool{New: func() any { return new(surroundings) }}

func (w *surroundings) reset(items int) {
	n := 2 * (items + 2) // an attempt stands two items behind the last one at most
	w.last, w.met, w.pending = slices.Grow(w.last[:0], n)[:n], slices.Grow(w.met[:0], n)[:n], w.pending[:0]
	clear(w.last)
	clear(w.met)
}

func (w *surroundings) before(at attempt) (last around.Bytes, met bool) {
	return w.last[at.place()], w.met[at.place()]
}

// behind is the state in which an attempt comes to item p.
func (a *alternative) behind(p int, m bool) attempt {
	if p < len(a.items) && a.items[p].kind == mark {
		p++
	}
	return attempt{p, m}
}

// follows is the set of bytes that an attempt can meet next without failing.
func (a *alternative) follows(at attempt) around.Bytes {
	n := len(a.items)
	if at.p >= n {
		return around.Any
	}
	it := &a.items[at.p]
	own := it.bytes()
	switch {
	case it.kind == class && (at.m || it.quant == '*') && at.p+leftUnread >= n:
		return around.Any // it may end here
	case it.quant == '+' && at.m:
		return own.Or(a.follows(a.behind(at.p+2, false)))
	case it.quant == '*':
		return own.Or(a.follows(a.behind(at.p+2, at.m)))
	}
	return own
}

// bytes are the bytes that the item matches.
func (it *item) bytes() (b around.Bytes) {
	if it.in == 0 {
		b.Add(it.b)
		return b
	}
	return classBytes[bits.TrailingZeros16(uint16(it.in))]
}

// classBytes are the sets of the classes, by their bit.
var classBytes = func() (t [16]around.Bytes) {
	for i := range t {
		t[i] = around.Of(func(c byte) bool { return inClass[c]>>i&1 == 1 })
	}
	return t
}()

// Needs lists, for each alternative, the common properties of its matches: a
// text they hold, which may be empty, and the bytes they begin with, nil if not
// known.
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

// firstBytes is the set of first bytes in subjects of an anchored alternative,
// nil if that can be any byte or none.
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
