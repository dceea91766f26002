package engine

import (
	"strings"

	"vedette/internal/regex"
	"vedette/ruleset/program"
)

// decoding is the part that runs the decoders of the ruleset.
type decoding struct {
	*scratch
	json jsonReader

	// Of the index: the decoders by program name, a list under work, and a set of
	// decoders.
	programs    map[string][]int32
	programList []int32
	candidates  []uint64
}

// decode chooses the event's decoder and fills its fields (§5.3).
func (s *decoding) decode() {
	if s.plain() {
		s.decodePlain()
	} else {
		s.decodeIndexed()
	}
}

// decodePlain tries the decoders one after the other.
func (s *decoding) decodePlain() {
	top, pm := s.topPlain()
	if top == nil {
		return
	}
	s.setDecoder(top, "")
	s.tried(top, "", nil, "")
	if len(top.Children) == 0 {
		s.decodeBy(top, &offsets{parent: pm, prematch: pm, regex: -1})
		return
	}
	i, cm, matched := s.childPlain(top, pm)
	off := &offsets{parent: pm, prematch: cm, regex: -1, child: matched}
	for ; i < len(top.Children); i++ {
		c := top.Children[i]
		s.decodeBy(c, off)
		if !c.MoreSiblings {
			break
		}
	}
}

// topPlain finds the first top-level decoder that matches, and where its prematch
// ends.
func (s *decoding) topPlain() (top *program.Decoder, end int) {
	e := &s.ev
	log, low := e.log.text, s.lower(&e.log)
	list := s.eng.p.WithoutProgram
	if e.program.set {
		list = s.eng.p.WithProgram
	}
	for _, d := range list {
		if e.program.set && !s.rx.Match(d.ProgramName, e.program.text, s.lower(&e.program)) {
			s.tried(d, "program_name", d.ProgramName, e.program.text)
			continue
		}
		if d.Prematch == nil {
			return d, end
		}
		if next, _, ok := s.rx.Find(d.Prematch, log, low); ok {
			return d, next
		}
		s.tried(d, "prematch", d.Prematch, log)
	}
	return nil, 0
}

// childPlain finds the first child that runs, and where its prematch ends; parent is
// where that of its parent does.
func (s *decoding) childPlain(top *program.Decoder, parent int) (i, end int, matched bool) {
	log, low := s.ev.log.text, s.lower(&s.ev.log)
	for i < len(top.Children) {
		c := top.Children[i]
		if c.Prematch == nil {
			break
		}
		from := 0
		if c.PrematchOffset == program.AfterParent {
			from = parent
		}
		if next, _, ok := s.rx.Find(c.Prematch, log[from:], low[from:]); ok {
			s.setDecoder(c, c.Parent)
			s.tried(c, "", nil, "")
			return i, from + next, true
		}
		s.tried(c, "prematch", c.Prematch, log[from:])
		i = c.SkipTo
	}
	return i, parent, false
}

// tried tells a trace, if one is wanted, that a decoder was tried.
func (s *decoding) tried(d *program.Decoder, element string, p *regex.Pattern, subject string) {
	if s.trace != nil {
		s.trace.decoder(&s.ev, d, element, p, subject)
	}
}

func (s *decoding) setDecoder(d *program.Decoder, parent string) {
	e := &s.ev
	e.decoder, e.decoderName, e.decoderID = d, d.Name, d.NameID
	e.parentName, e.category = parent, d.Category
}

// offsets are the positions in the log that later elements may start from.
type offsets struct {
	parent, prematch int
	regex            int  // after the last regex that matched, -1 for none
	child            bool // a child's prematch matched
}

// decodeBy is runDecoder, with a trace if one is wanted.
func (s *decoding) decodeBy(d *program.Decoder, off *offsets) {
	if s.trace == nil {
		s.runDecoder(d, off)
		return
	}
	subject := s.ev.log.text[off.regexStart(d.RegexOffset):]
	dynamics, statics := len(s.ev.dyn), s.ev.static
	matched := s.runDecoder(d, off)
	s.trace.ran(&s.ev, d, matched, subject, dynamics, &statics)
}

// regexStart is where a regex with that offset begins.
func (off *offsets) regexStart(o program.Offset) int {
	switch o {
	case program.AfterParent:
		return off.parent
	case program.AfterPrematch:
		return off.prematch
	case program.AfterRegex:
		if off.regex < 0 {
			return off.prematch
		}
		return off.regex
	}
	return 0
}

// runDecoder is step 6: the plugin or the regex of d. It tells whether that matched.
func (s *decoding) runDecoder(d *program.Decoder, off *offsets) bool {
	e := &s.ev
	if d.Plugin != program.NoPlugin {
		from := 0
		// Offset and options are those of the event's decoder (example E13).
		switch e.decoder.PluginOffset {
		case program.AfterParent:
			if off.child {
				from = off.parent
			}
		case program.AfterPrematch:
			from = off.prematch
		}
		s.runPlugin(d.Plugin, e.log.text[from:])
		return true
	}
	if d.Regex == nil {
		return false
	}
	return s.takeGroups(d, off, off.regexStart(d.RegexOffset))
}

// takeGroups runs the regex of d from from on and assigns its groups.
func (s *decoding) takeGroups(d *program.Decoder, off *offsets, from int) bool {
	log, low := s.ev.log.text, s.lower(&s.ev.log)
	next, groups, ok := s.rx.Find(d.Regex, log[from:], low[from:])
	if !ok {
		return false
	}
	off.regex = from + next
	for i := 0; i+1 < len(groups) && i/2 < len(d.Order); i += 2 {
		s.assign(&d.Order[i/2], log[from+groups[i]:from+groups[i+1]])
	}
	return true
}

func (s *decoding) assign(o *program.OrderField, text string) {
	if o.Dynamic {
		s.add(o.Name, text)
		return
	}
	s.ev.setStatic(o.Static, text)
}

// accumulateMax bounds an accumulated value, accumulateTTL the life of an entry
// in seconds (§5.6).
const (
	accumulateMax    = 80
	accumulateTTL    = 120
	accumulateEach   = 200
	accumulateFields = 7
)

var accumulated = [accumulateFields]program.Static{
	program.DstUser, program.SrcUser, program.DstIP, program.SrcIP, program.DstPort, program.SrcPort, program.Data,
}

type accumulation struct {
	at     int64
	values [accumulateFields]string
	set    [accumulateFields]bool
}

// accumulate joins the fields of events that share host, decoder and id.
func (k *accumulator) accumulate(e *event, limit int) {
	if e.decoder == nil || !e.decoder.Accumulate || !e.static[program.ID].set {
		return
	}
	a := k.accumulation(e, limit)
	for i, f := range accumulated {
		v := &e.static[f]
		switch {
		case v.text == "" && a.set[i]:
			e.setStatic(f, a.values[i])
		case v.text != "" && !a.set[i]:
			a.values[i], a.set[i] = strings.Clone(v.text[:min(len(v.text), accumulateMax)]), true
		}
	}
}

// accumulation finds or makes the entry of the event; the oldest of more than limit
// goes.
func (k *accumulator) accumulation(e *event, limit int) *accumulation {
	now := e.now.Unix()
	if k.accLookups++; k.accLookups%accumulateEach == 0 {
		for key, a := range k.acc {
			if now-a.at > accumulateTTL {
				delete(k.acc, key)
			}
		}
	}
	key := e.hostname.text + " " + e.decoderName + " " + e.static[program.ID].text
	a := k.acc[key]
	if a == nil || now-a.at > accumulateTTL {
		if len(k.acc) >= limit {
			k.dropOldestAccumulation()
		}
		a = &accumulation{}
		if k.acc == nil {
			k.acc = map[string]*accumulation{}
		}
		k.acc[key] = a
	}
	a.at = now
	return a
}
