package engine

import (
	"math/bits"

	"vedette/ruleset/program"
)

// decodeIndexed gives the result of decode, but tries only decoders that could match.
func (s *decoding) decodeIndexed() {
	x := s.scratch
	e := &x.ev
	log, low := e.log.text, x.lower(&e.log)
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
		if x.may(&c.prematchGuard, low) {
			from := 0
			if c.d.PrematchOffset == program.AfterParent {
				from = pm
			}
			if next, _, ok := x.rx.FindHinted(c.prematch, log[from:], low[from:], x.hinted(c.prematchNeeds, from)); ok {
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
	x := s.scratch
	e := &x.ev
	if !x.may(&c.regexGuard, e.log.low) {
		return
	}
	from := off.regexStart(c.regexOffset)
	log := e.log.text[from:]
	next, groups, ok := x.rx.FindHinted(c.regex, log, e.log.low[from:], x.hinted(c.regexNeeds, from))
	if !ok {
		return
	}
	off.regex = from + next
	for i := 0; i+1 < len(groups) && i/2 < len(c.order); i += 2 {
		o, text := c.order[i/2], log[groups[i]:groups[i+1]]
		if o.name < 0 {
			e.setStatic(o.static, text)
		} else {
			e.add(x.names.ordered(o.name), text)
		}
	}
}

// topDecoder finds the first top-level decoder that matches, and where its
// prematch ends.
func (s *decoding) topDecoder(log, low string) (*decoderEntry, int) {
	x := s.scratch
	index := x.eng.index
	if x.ev.program.set {
		for _, i := range s.programDecoders() {
			d := &index.withProgram[i]
			if x.may(&d.prematchGuard, low) {
				if next, ok := x.prematch(d, log, low); ok {
					return d, next
				}
			}
		}
		return nil, 0
	}
	if low == "" {
		// No first byte to choose by.
		for i := range index.withoutProgram {
			d := &index.withoutProgram[i]
			if next, ok := x.prematch(d, log, low); ok {
				return d, next
			}
		}
		return nil, 0
	}
	s.candidates = append(s.candidates[:0], index.byFirst[low[0]]...)
	if len(index.byText.texts) > 0 {
		index.byText.find(x.hits(fromLog), s.candidates)
	}
	for w, set := range s.candidates {
		for ; set != 0; set &= set - 1 {
			d := &index.withoutProgram[w<<6+bits.TrailingZeros64(set)]
			if next, ok := x.prematch(d, log, low); ok {
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
func (s *scratch) prematch(d *decoderEntry, log, low string) (next int, ok bool) {
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
