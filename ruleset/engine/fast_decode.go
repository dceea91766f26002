package engine

import (
	"math/bits"

	"vedette/internal/regex"
	"vedette/ruleset/program"
)

// may tells whether a pattern over the log could match.
func (s *decoding) may(g *guard, low string) bool {
	if g.any || g.begins(low) {
		return true
	}
	return len(g.texts) > 0 && g.found(s.hits(fromLog).Found)
}

// decodeIndexed gives the result of decode, but tries only decoders that could match.
func (s *decoding) decodeIndexed() {
	e := &s.ev
	log, low := e.log.text, s.lower(&e.log)
	top, pm := s.topDecoder(log, low)
	if top == nil {
		return
	}
	s.setDecoder(top.d, "")
	if len(top.children) == 0 {
		s.runIndexed(top, &offsets{parent: pm, prematch: pm, regex: -1})
		return
	}
	cm, childMatched := pm, false
	i := 0
	for i < len(top.children) {
		c := &top.children[i]
		if c.prematch == nil {
			break
		}
		if s.may(&c.prematchGuard, low) {
			from := 0
			if c.d.PrematchOffset == program.AfterParent {
				from = pm
			}
			if next, _, ok := s.rx.FindHinted(c.prematch, log[from:], low[from:], s.hinted(c.prematchNeeds, from)); ok {
				cm, childMatched = from+next, true
				s.setDecoder(c.d, c.d.Parent)
				break
			}
		}
		i = c.d.SkipTo
	}
	off := &offsets{parent: pm, prematch: cm, regex: -1, child: childMatched}
	for ; i < len(top.children); i++ {
		c := &top.children[i]
		s.runIndexed(c, off)
		if !c.more {
			break
		}
	}
}

// runIndexed is runDecoder, unless its regex cannot match.
func (s *decoding) runIndexed(c *decoderEntry, off *offsets) {
	if c.regex == nil {
		s.runDecoder(c.d, off)
		return
	}
	e := &s.ev
	if !s.may(&c.regexGuard, e.log.low) {
		return
	}
	from := off.regexStart(c.regexOffset)
	log := e.log.text[from:]
	next, groups, ok := s.rx.FindHinted(c.regex, log, e.log.low[from:], s.hinted(c.regexNeeds, from))
	if !ok {
		return
	}
	off.regex = from + next
	for i := 0; i+1 < len(groups) && i/2 < len(c.order); i += 2 {
		o, text := c.order[i/2], log[groups[i]:groups[i+1]]
		if o.name < 0 {
			e.setStatic(o.static, text)
		} else {
			e.add(s.names.ordered(o.name), text)
		}
	}
}

// hinted returns the texts among a pattern's needs that the scan found in the log
// at or behind from. It returns nil if the scan looked for none of them. The hints
// are valid until the next call.
func (s *decoding) hinted(needs []int32, from int) *regex.Hints {
	if len(needs) == 0 {
		return nil
	}
	h := s.hits(fromLog)
	s.hints = regex.Hints{Texts: needs, Found: h.Found, At: h.At, From: from}
	return &s.hints
}

// topDecoder finds the first top-level decoder that matches, and where its
// prematch ends.
func (s *decoding) topDecoder(log, low string) (*decoderEntry, int) {
	x := s.eng.index
	if s.ev.program.set {
		for _, i := range s.programDecoders() {
			d := &x.withProgram[i]
			if s.may(&d.prematchGuard, low) {
				if next, ok := s.prematch(d, log, low); ok {
					return d, next
				}
			}
		}
		return nil, 0
	}
	if low == "" {
		// No first byte to choose by.
		for i := range x.withoutProgram {
			d := &x.withoutProgram[i]
			if next, ok := s.prematch(d, log, low); ok {
				return d, next
			}
		}
		return nil, 0
	}
	s.candidates = append(s.candidates[:0], x.byFirst[low[0]]...)
	if len(x.byText.texts) > 0 {
		x.byText.find(s.hits(fromLog), s.candidates)
	}
	for w, set := range s.candidates {
		for ; set != 0; set &= set - 1 {
			d := &x.withoutProgram[w<<6+bits.TrailingZeros64(set)]
			if next, ok := s.prematch(d, log, low); ok {
				s.candidates = s.candidates[:0]
				return d, next
			}
		}
	}
	s.candidates = s.candidates[:0]
	return nil, 0
}

// prematch matches a decoder's prematch, if it has one, and returns the offset of
// the text behind the match.
func (s *decoding) prematch(d *decoderEntry, log, low string) (next int, ok bool) {
	if d.prematch == nil {
		return 0, true
	}
	next, _, ok = s.rx.FindHinted(d.prematch, log, low, s.hinted(d.prematchNeeds, 0))
	return next, ok
}

// Bounds of the cache of program names.
const (
	programsMax    = 1024
	programNameMax = 64
)

// programDecoders lists the decoders whose program_name matches the event's.
// Which do depends on the name alone, so the lists are kept.
func (s *decoding) programDecoders() []int32 {
	v := &s.ev.program
	if list, ok := s.programs[v.text]; ok {
		return list
	}
	before := s.rx.Exceeded()
	list := s.programList[:0]
	low := s.lower(v)
	for i := range s.eng.index.withProgram {
		if s.rx.Match(s.eng.index.withProgram[i].d.ProgramName, v.text, low) {
			list = append(list, int32(i))
		}
	}
	s.programList = list
	if len(v.text) > programNameMax || s.rx.Exceeded() != before {
		return list
	}
	if len(s.programs) >= programsMax {
		clear(s.programs)
	}
	kept := append([]int32(nil), list...)
	s.programs[string([]byte(v.text))] = kept
	return kept
}
