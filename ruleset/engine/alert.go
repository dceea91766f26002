package engine

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"

	"vedette/ruleset/program"
)

// AlertMax bounds an alert document, in bytes.
const AlertMax = 1 << 20

// cutMark stands where a text was cut to keep an alert within AlertMax.
const cutMark = "…[cut]"

// Result is the judgement of one event, valid until the next one of its Keyed.
type Result struct {
	// Alert says that the event gives an alert.
	Alert bool
	// Rejected says that the event's location is malformed; nothing else is set.
	Rejected bool
	// Judged says that the event reached the rules. Others, such as messages
	// that only keep states equal, have no place in archives either.
	Judged bool
	// Mail says that the rule's mail option is set.
	Mail bool
	// RuleID is 0 when no rule was chosen.
	RuleID  int
	Level   int
	Decoder string

	s          *scratch
	doc        *document
	rule       *program.Rule
	firedTimes int
	previous   []string
}

func (r *Result) set(rule *program.Rule) {
	r.rule, r.RuleID, r.Level = rule, rule.ID, rule.Level
}

// Rule is the rule that was chosen, or nil. It must not be changed.
func (r *Result) Rule() *program.Rule { return r.rule }

// Field returns a static field of the event, such as srcip.
func (r *Result) Field(f program.Static) (string, bool) {
	if r.s == nil {
		return "", false
	}
	v := &r.s.ev.static[f]
	return v.text, v.set
}

// ParentDecoder is the name shown as decoder.parent.
func (r *Result) ParentDecoder() string {
	if r.s == nil {
		return ""
	}
	return r.s.ev.parentName
}

// AppendAlert appends the alert document (spec/alert-format.md §1) to dst. id is
// the alert's id; vedette, when not nil, a JSON object that becomes the last member.
func (r *Result) AppendAlert(dst []byte, id string, vedette []byte) []byte {
	return r.append(dst, id, vedette, r.rule != nil, false)
}

// AppendArchive appends the archive form (§4): full_log always, the rule only
// when it alerts.
func (r *Result) AppendArchive(dst []byte, id string, vedette []byte) []byte {
	return r.append(dst, id, vedette, r.Alert, true)
}

// append writes the document, and writes it again with cut texts if it is too long.
func (r *Result) append(dst []byte, id string, vedette []byte, rule, archive bool) []byte {
	if r.s == nil {
		return append(dst, "{}"...)
	}
	w := writer{r: r, start: len(dst), b: dst, previousMax: AlertMax, fullLogMax: AlertMax}
	b := w.write(id, vedette, rule, archive)
	for _, limit := range []*int{&w.previousMax, &w.fullLogMax, &w.valueMax} {
		over := len(b) - w.start - AlertMax
		if over <= 0 {
			break
		}
		size := w.previousSize
		switch limit {
		case &w.fullLogMax:
			size = w.fullLogSize
		case &w.valueMax:
			// Only fields are left; each is cut short.
			size = over + 1024
		}
		*limit = max(size-over-2*len(cutMark), 1)
		w.b = b[:w.start]
		b = w.write(id, vedette, rule, archive)
	}
	return b
}

// document is memory that documents use one after the other.
type document struct {
	tree    dataTree
	open    []*path // see writer.nest
	written uint64
	stamps  timestamps
}

// writer writes one document.
type writer struct {
	r     *Result
	b     []byte
	start int
	// Bounds on the escaped size of texts, and the sizes met.
	previousMax, fullLogMax   int
	previousSize, fullLogSize int
	valueMax                  int // 0 is no bound
}

func (w *writer) raw(s string) { w.b = append(w.b, s...) }

func (w *writer) str(s string) { w.b = appendText(w.b, s) }

// member writes `,"name":`.
func (w *writer) member(name string) {
	w.b = append(w.b, ',', '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

// cut writes a string of at most limit bytes, escapes included and cutMark
// apart, and returns how many it wrote.
func (w *writer) cut(s string, limit int) int {
	at := len(w.b)
	w.str(s)
	if len(w.b)-at <= limit {
		return len(w.b) - at
	}
	for n := min(len(s), limit); ; n = n * 3 / 4 {
		for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		w.b = w.b[:at]
		w.str(s[:n] + cutMark)
		if n == 0 || len(w.b)-at <= limit+len(cutMark) {
			return len(w.b) - at
		}
	}
}

func (w *writer) write(id string, vedette []byte, rule, archive bool) []byte {
	r := w.r
	e, c := &r.s.ev, &r.s.eng.c
	w.raw(`{"timestamp":"`)
	w.b = r.doc.stamps.append(w.b, e.in.Time, c.Timezone)
	w.raw(`"`)
	if rule {
		w.rule()
	}
	if !e.agentless {
		w.agent()
	}
	w.b = append(w.b, r.s.eng.managerJSON...)
	w.str(id)
	w.b = append(w.b, r.s.eng.clusterJSON...)
	if rule && len(r.previous) >= 2 {
		w.member("previous_output")
		w.previousSize = w.cut(r.s.join(r.previous), w.previousMax)
	}
	if archive || r.rule == nil || !r.rule.Options.NoFullLog {
		w.member("full_log")
		w.fullLogSize = w.cut(e.fullLog, w.fullLogMax)
	}
	if e.fim != nil {
		fimWriter{w}.syscheck(e.fim)
	}
	w.predecoder()
	w.decoder()
	if e.hasDiff {
		w.member("previous_log")
		w.value(e.diffText)
	}
	if e.fim == nil {
		w.data()
	}
	if e.hasLocation {
		w.member("location")
		w.value(e.shownLocation)
	}
	if e.agentless {
		script, uh, _ := agentless(e.location.text)
		w.member("agentless")
		w.raw(`{"script":`)
		w.str(script)
		w.raw(`,"user":`)
		w.str(uh[0])
		w.raw(`,"host":`)
		w.str(uh[1])
		w.raw(`}`)
	}
	if vedette != nil {
		w.member("vedette")
		w.b = append(w.b, vedette...)
	}
	w.raw(`}`)
	return w.b
}

// value writes a text that counts against valueMax.
func (w *writer) value(s string) {
	if w.valueMax > 0 {
		w.cut(s, w.valueMax)
		return
	}
	w.str(s)
}

func (w *writer) rule() {
	r := w.r
	rule := r.rule
	if head := r.s.eng.heads[rule.Index]; head != nil {
		w.b = append(w.b, head...)
	} else {
		w.b = appendLevel(w.b, rule)
		b, ok := r.description(r.s.buf[:0])
		r.s.buf = b
		if ok {
			w.str(unsafe.String(unsafe.SliceData(b), len(b)))
		} else {
			w.str(rule.Description.Text)
		}
		w.b = append(w.b, rule.JSONHead...)
	}
	if !rule.Options.NoCounter {
		w.member("firedtimes")
		w.b = strconv.AppendInt(w.b, int64(r.firedTimes), 10)
	}
	w.member("mail")
	w.b = strconv.AppendBool(w.b, r.Mail)
	w.groups(rule)
	if rule.Level == 0 && r.s.eng.c.Logtest {
		w.raw(`,"level":0`)
	}
	w.raw(`}`)
}

// appendLevel begins the rule object, up to the description.
func appendLevel(b []byte, rule *program.Rule) []byte {
	if rule.Level == 0 {
		return append(b, `,"rule":{"description":`...)
	}
	b = strconv.AppendInt(append(b, `,"rule":{"level":`...), int64(rule.Level), 10)
	return append(b, `,"description":`...)
}

// Description is the rule's description with its $(names) replaced; empty
// without a rule.
func (r *Result) Description() string {
	if r.rule == nil {
		return ""
	}
	if b, ok := r.description(nil); ok {
		return string(b)
	}
	return r.rule.Description.Text
}

// description appends the description; false if it is the template's text as it
// is, because it refers to nothing or would be too long.
func (r *Result) description(b []byte) ([]byte, bool) {
	t := &r.rule.Description
	if t.Constant() {
		return b, false
	}
	from := len(b)
	for i := range t.Parts {
		p := &t.Parts[i]
		if !p.Ref {
			b = append(b, p.Text...)
		} else if v := r.s.ev.source(p.From); v != nil {
			b = append(b, v.text...)
		}
		if len(b)-from > program.DescriptionMax {
			return b, false
		}
	}
	return b, true
}

// join puts the lines of previous_output together.
func (s *scratch) join(texts []string) string {
	n := len(texts)
	for _, t := range texts {
		n += len(t)
	}
	b := s.texts.Room(n)
	for i, t := range texts {
		if i > 0 {
			b = append(b, '\n')
		}
		b = append(b, t...)
	}
	return s.texts.Keep(b)
}

// timestamps writes the times of alerts and keeps the last second's text, since
// alerts come many in a second.
type timestamps struct {
	second int64
	zone   *time.Location
	text   [24]byte // 2006-01-02T15:04:05 and the zone
}

func (t *timestamps) append(b []byte, at time.Time, zone *time.Location) []byte {
	if sec := at.Unix(); t.zone != zone || sec != t.second {
		s := at.In(zone).AppendFormat(t.text[:0], "2006-01-02T15:04:05-0700")
		if len(s) != len(t.text) { // a year of five digits
			t.zone = nil
			return at.In(zone).AppendFormat(b, "2006-01-02T15:04:05.000-0700")
		}
		t.second, t.zone = sec, zone
	}
	ms := at.Nanosecond() / int(time.Millisecond)
	b = append(b, t.text[:19]...)
	b = append(b, '.', '0'+byte(ms/100), '0'+byte(ms/10%10), '0'+byte(ms%10))
	return append(b, t.text[19:]...)
}

func (w *writer) agent() {
	e := &w.r.s.ev
	w.member("agent")
	w.raw(`{"id":`)
	w.str(e.agentID)
	if e.hasName {
		w.member("name")
		w.str(e.agentName)
	}
	if e.agentIP != "" && e.agentIP != "any" {
		w.member("ip")
		w.str(e.agentIP)
	}
	if l := e.in.AgentLabels; len(l) > 2 && e.agentID == e.in.AgentID && json.Valid(l) {
		w.member("labels")
		w.b = append(w.b, l...)
	}
	w.raw(`}`)
}

func (w *writer) predecoder() {
	e := &w.r.s.ev
	host := shownHostname(e.fullLog)
	if !e.program.set && e.timestamp == "" && host == "" {
		return
	}
	w.member("predecoder")
	sep := `{"`
	put := func(name, v string) {
		w.raw(sep)
		w.raw(name)
		w.raw(`":`)
		w.str(v)
		sep = `,"`
	}
	if e.program.set {
		put("program_name", e.program.text)
	}
	if e.timestamp != "" {
		put("timestamp", e.timestamp)
	}
	if host != "" {
		put("hostname", host)
	}
	w.raw(`}`)
}

func (w *writer) decoder() {
	e := &w.r.s.ev
	w.member("decoder")
	w.raw(`{`)
	sep := ""
	put := func(name, v string) {
		if v == "" {
			return
		}
		w.raw(sep)
		w.raw(`"`)
		w.raw(name)
		w.raw(`":`)
		w.str(v)
		sep = ","
	}
	if e.decoder != nil && e.decoder.Accumulate {
		w.raw(`"accumulate":1`)
		sep = ","
	}
	put("parent", e.parentName)
	put("name", e.decoderName)
	if e.decoder != nil {
		put("ftscomment", e.decoder.FTSComment)
	}
	w.raw(`}`)
}

// Time is the time of the event that the alert shows.
func (r *Result) Time() time.Time { return r.s.ev.in.Time }
