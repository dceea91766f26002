package engine

import (
	"strings"
	"time"

	"vedette/internal/regex"
	"vedette/ruleset/program"
)

// view is the event as conditions see it.
type view struct{ *scratch }

// value finds a value; nil when it is missing.
func (s *scratch) value(src program.Source) *value {
	if src.Kind == program.FromGeoIP {
		return s.geo.of(&s.ev.static[src.Static])
	}
	return s.ev.source(src)
}

// Value implements program.Event, as the methods below do.
func (s view) Value(src program.Source) (text string, ok bool) {
	v := s.value(src)
	if v == nil {
		return "", false
	}
	return v.text, true
}

func (s view) Match(p *regex.Pattern, src program.Source) (matched, ok bool) {
	v := s.value(src)
	if v == nil {
		return false, false
	}
	low := ""
	if p.Kind() != regex.String {
		low = s.lower(v)
	}
	return s.rx.Match(p, v.text, low), true
}

func (s view) MatchText(p *regex.Pattern, text string) bool {
	return s.rx.Match(p, text, regex.Lower(text))
}

func (s view) Now() time.Time { return s.ev.now.In(s.eng.c.Timezone) }

func (s view) Decoder() (id int, name string) { return s.ev.decoderID, s.ev.decoderName }

func (s view) HasFTS() bool { return s.ev.decoder != nil && s.ev.decoder.FTS != nil }

func (s view) HasPlaces() bool { return s.geo.find != nil }

func (s view) FieldName(id int) string { return s.eng.fieldName(id) }

// ftsMax bounds a first-time-seen key; the rest is how keys of category ids are
// compared (§8.1).
const (
	ftsMax     = 255
	ftsRecent  = 32
	ftsMinSize = 14
	ftsSimilar = 3
)

// FirstSeen tells whether the event's key is new, and records it.
func (s view) FirstSeen() bool {
	e, k := &s.ev, s.key
	if e.in.Queue == '9' {
		// A data base knows rootcheck's earlier findings; see decodeRootcheck.
		return true
	}
	if !s.HasFTS() {
		return false
	}
	return k.firstTime(s.ftsKey(), e.category == program.IDs, s.eng.c.Limits.FirstSeen)
}

// ftsKey makes the event's key of <fts>. It is valid until s.buf is used again.
func (s view) ftsKey() []byte {
	e, f := &s.ev, s.ev.decoder.FTS
	b := s.buf[:0]
	add := func(want bool, text string) {
		if want {
			b = append(b, text...)
		}
		b = append(b, ' ')
	}
	add(f.Name, e.decoderName)
	for _, st := range [...]program.Static{
		program.ID, program.DstUser, program.SrcUser, program.SrcIP, program.DstIP, program.Data, program.SystemName,
	} {
		add(f.Statics[st], e.static[st].text)
	}
	add(f.Location, e.location.text)
	for _, name := range f.Dynamic {
		for i := range e.dyn {
			if strings.EqualFold(e.dyn[i].name.text, name) {
				b = append(append(b, e.dyn[i].text...), ' ')
				break
			}
		}
	}
	s.buf = b[:min(len(b), ftsMax)]
	return s.buf
}

// firstTime reports whether a key is new, and records it; the oldest of more than
// limit goes. A key of category ids that begins like recent ones counts as one with
// them.
func (k *firsts) firstTime(b []byte, ids bool, limit int) bool {
	if _, ok := k.firstSeen[string(b)]; ok {
		return false
	}
	if ids && k.similar(b) >= ftsSimilar {
		b = b[:ftsMinSize]
		if _, ok := k.firstSeen[string(b)]; ok {
			return false
		}
	}
	key := string(b)
	if k.firstSeen == nil {
		k.firstSeen = map[string]struct{}{}
	}
	if len(k.firstOrder) >= limit {
		delete(k.firstSeen, k.firstOrder[0])
		k.firstOrder = k.firstOrder[1:]
	}
	k.firstSeen[key] = struct{}{}
	k.firstOrder = append(k.firstOrder, key)
	if ids {
		if len(k.lastKeys) == ftsRecent {
			k.lastKeys = k.lastKeys[1:]
		}
		k.lastKeys = append(k.lastKeys, key)
	}
	return true
}

// similar counts the recent keys that begin like b.
func (k *firsts) similar(b []byte) (n int) {
	for _, old := range k.lastKeys {
		at := 0
		for at < len(old) && at < len(b) && old[at] == b[at] {
			at++
		}
		if at > ftsMinSize {
			n++
		}
	}
	return n
}

// Differs reports whether the log differs from the last one of this host and rule.
func (s view) Differs(r *program.Rule) bool {
	e := &s.ev
	if len(e.log.text) >= 65536 {
		return false
	}
	old, known := s.key.lastText(diffKey{r.ID, e.hostname.text}, e.log.text, s.eng.c.Limits.Diffs)
	if !known || old == e.log.text {
		return false
	}
	e.hasDiff, e.diffText = true, old
	e.previous = append(e.previous[:0], "Previous output:", old)
	return true
}

// lastText stores a text and returns the previous one. The oldest of more than limit
// goes.
func (k *lastLogs) lastText(key diffKey, text string, limit int) (old string, known bool) {
	old, known = k.diffs[key]
	if known && old == text {
		return old, true
	}
	if k.diffs == nil {
		k.diffs = map[diffKey]string{}
	}
	key.host = strings.Clone(key.host)
	if !known {
		if len(k.diffOrder) >= limit {
			delete(k.diffs, k.diffOrder[0])
			k.diffOrder = k.diffOrder[1:]
		}
		k.diffOrder = append(k.diffOrder, key)
	}
	k.diffs[key] = strings.Clone(text)
	return old, known
}
