package condition_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"vedette/internal/regex"
	"vedette/internal/xmlfile"
	"vedette/ruleset/condition"
	"vedette/ruleset/program"
)

// loader reads conditions without a ruleset around them.
type loader struct {
	t       testing.TB
	fields  map[string]int
	unknown []string
}

func (l *loader) Pattern(kind regex.Kind, text string) (*regex.Pattern, error) {
	return regex.Compile(kind, text)
}

func (l *loader) PatternAttributes(e *xmlfile.Element, w *condition.Written, _ ...string) {
	v, _ := e.Attr("negate")
	w.Negate = v == "yes"
}

func (l *loader) UnknownAttribute(_ *xmlfile.Element, name string) {
	l.unknown = append(l.unknown, name)
}

func (l *loader) FieldID(name string) int {
	if _, ok := l.fields[name]; !ok {
		l.fields[name] = len(l.fields)
	}
	return l.fields[name]
}

func (l *loader) DecoderID(name string) (int, bool) { return 7, name == "sshd" }

func (l *loader) Source(name string) program.Source {
	s, _ := program.ParseStatic(name)
	return program.Source{Static: s}
}

func (l *loader) List(_ *xmlfile.Element, name string) program.List {
	return program.List{"10.1.": "inner", "bob": name}
}

// event is an event with some values.
type event struct {
	values  map[program.Source]string
	now     time.Time
	decoder int
	changed bool
}

func (e *event) Value(src program.Source) (string, bool) {
	v, ok := e.values[src]
	return v, ok
}

func (e *event) Match(p *regex.Pattern, src program.Source) (matched, ok bool) {
	v, ok := e.values[src]
	return ok && e.MatchText(p, v), ok
}

func (e *event) MatchText(p *regex.Pattern, text string) bool {
	var m regex.Machine
	return m.Match(p, text, regex.Lower(text))
}

func (e *event) Now() time.Time             { return e.now }
func (e *event) Decoder() (int, string)     { return e.decoder, "name" }
func (e *event) FirstSeen() bool            { return e.changed }
func (e *event) HasFTS() bool               { return true }
func (e *event) Differs(*program.Rule) bool { return e.changed }
func (e *event) FieldName(int) string       { return "x" }
func (e *event) HasPlaces() bool            { return true }

// sample is an element or an attribute of each kind with an event for which it holds,
// and another for which it does not.
var (
	log     = program.Source{Kind: program.FromLog}
	user    = program.Source{Kind: program.FromUser}
	samples = map[string]struct {
		xml        string
		holds, not event
		stateful   bool
	}{
		"decoded_as":    {xml: `<e>sshd</e>`, holds: event{decoder: 7}},
		"field":         {xml: `<e name="x">^a</e>`, holds: has(program.Source{Kind: program.FromDynamic}, "ab")},
		"srcip":         {xml: `<e>10.0.0.0/8</e>`, holds: has(static(program.SrcIP), "10.1.1.1"), not: has(static(program.SrcIP), "11.1.1.1")},
		"dstip":         {xml: `<e negate="yes">10.0.0.0/8</e>`, holds: has(static(program.DstIP), "11.1.1.1"), not: has(static(program.DstIP), "10.1.1.1")},
		"compiled_rule": {xml: `<e>is_simple_http_request</e>`, holds: has(static(program.URL), "/a"), not: has(static(program.URL), "/a?b")},
		"user":          {xml: `<e negate="yes">bob</e>`, holds: has(user, "ann"), not: has(user, "bob")},
		"maxsize":       {xml: `<e>5</e>`, holds: has(log, "12345"), not: has(log, "1234")},
		"time":          {xml: `<e>10 pm - 6:30 am</e>`, holds: at(23, 0), not: at(6, 31)},
		"weekday":       {xml: `<e>weekdays</e>`, holds: event{now: time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)}, not: event{now: time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)}},
		"check_diff":    {xml: `<e/>`, holds: event{changed: true}, stateful: true},
		"if_fts":        {xml: `<e/>`, holds: event{changed: true}, stateful: true},
		"list":          {xml: `<e field="srcip" lookup="address_match_key">etc/lists/l</e>`, holds: has(static(program.SrcIP), "10.1.2.3"), not: has(static(program.SrcIP), "10.2.1.3")},
		"srcgeoip":      {xml: `<e>Oslo</e>`, holds: has(program.Source{Kind: program.FromGeoIP, Static: program.SrcIP}, "Oslo")},
		"dstgeoip":      {xml: `<e>Oslo</e>`, holds: has(program.Source{Kind: program.FromGeoIP, Static: program.DstIP}, "Oslo")},
		"match":         {xml: `<e>^abc</e>`, holds: has(log, "abcd"), not: has(log, "xabc")},
		"regex":         {xml: `<e>^\d+$</e>`, holds: has(log, "12"), not: has(log, "1a")},
		"program_name":  {xml: `<e>^abc</e>`, holds: has(program.Source{Kind: program.FromProgramName}, "abcd")},
		"location":      {xml: `<e>^abc</e>`, holds: has(program.Source{Kind: program.FromLocation}, "abcd")},
		"hostname":      {xml: `<e>^abc</e>`, holds: has(program.Source{Kind: program.FromHostname}, "abcd")},
		"action":        {xml: `<e>drop</e>`, holds: has(static(program.Action), "drop"), not: has(static(program.Action), "drops")},
	}
)

func static(s program.Static) program.Source { return program.Source{Static: s} }

func has(src program.Source, text string) event {
	return event{values: map[program.Source]string{src: text}}
}

func at(hour, minute int) event {
	return event{now: time.Date(2026, 11, 28, hour, minute, 0, 0, time.UTC)}
}

func element(t testing.TB, xml string) *xmlfile.Element {
	t.Helper()
	roots, err := xmlfile.Parse([]byte(xml))
	if err != nil || len(roots) != 1 {
		t.Fatalf("%s: %d roots, %v", xml, len(roots), err)
	}
	return roots[0]
}

func compile(t testing.TB, k *condition.Kind, xml string) ([]program.Condition, *condition.Fault, *loader) {
	t.Helper()
	e := element(t, xml)
	l := &loader{t: t, fields: map[string]int{}}
	w := &condition.Written{Elements: []*xmlfile.Element{e}, Value: e.Content}
	if k.Form == condition.Joint {
		l.PatternAttributes(e, w)
	}
	conds, fault := k.Compile(l, w)
	return conds, fault, l
}

// Every kind is read, holds for one event, does not for another, says why, and names
// its element.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	for i := range condition.Kinds {
		k := &condition.Kinds[i]
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			s, ok := samples[k.Name]
			if !ok { // the texts that are named like their field
				f, ok := program.ParseStatic(k.Name)
				if !ok {
					t.Fatalf("there is no sample of <%s>", k.Name)
				}
				s.xml, s.holds, s.not = `<e>^abc</e>`, has(static(f), "ABCD"), has(static(f), "xabc")
			}
			conds, fault, _ := compile(t, k, s.xml)
			if fault != nil || len(conds) != 1 {
				t.Fatalf("%s: %d conditions, %+v", s.xml, len(conds), fault)
			}
			c := conds[0]
			if !reflect.TypeOf(c).Comparable() {
				t.Errorf("a %T cannot be compared", c)
			}
			r := &program.Rule{Info: program.RuleInfo{Details: map[string]any{k.Name: s.xml}}}
			if !c.Holds(&s.holds, r) {
				t.Errorf("%s does not hold for %+v", s.xml, s.holds)
			}
			if c.Holds(&s.not, r) {
				t.Errorf("%s holds for %+v", s.xml, s.not)
			}
			f := c.Explain(&s.not, r)
			if name, _, _ := strings.Cut(f.Element, " "); name != k.Name {
				t.Errorf("the failure of <%s> is of %q", k.Name, f.Element)
			}
			if f.Pattern == "" && f.Note == "" {
				t.Errorf("the failure of <%s> shows nothing: %+v", k.Name, f)
			}
			d := c.Demands()
			if d.Element != k.Name && k.Name != "match" && k.Name != "regex" {
				t.Errorf("demands of <%s> are of %q", k.Name, d.Element)
			}
			if d.Changes != s.stateful {
				t.Errorf("testing <%s> changes the state: %v, want %v", k.Name, d.Changes, s.stateful)
			}
			if _, there := s.holds.values[d.Value]; d.HasValue && !there {
				t.Errorf("<%s> demands the value %+v and holds without it", k.Name, d.Value)
			}
			if (d.Decoder != 0) != (k.Name == "decoded_as") {
				t.Errorf("<%s> demands decoder %d", k.Name, d.Decoder)
			}
		})
	}
}

func TestKindsAreFoundByName(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i := range condition.Kinds {
		k := &condition.Kinds[i]
		if seen[k.Name] {
			t.Errorf("%s is there twice", k.Name)
		}
		seen[k.Name] = true
		attribute := k.Form == condition.Attribute
		if got, rank := condition.Find(k.Name, attribute); got != k || rank != i {
			t.Errorf("%s is found as %v at %d", k.Name, got, rank)
		}
		if got, _ := condition.Find(k.Name, !attribute); got != nil {
			t.Errorf("%s is found in the other form", k.Name)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ kind, xml, want string }{
		{"decoded_as", `<e>other</e>`, `<decoded_as> names decoder "other", which is not loaded`},
		{"field", `<e>x</e>`, "<field> has no name"},
		{"field", `<e name="srcip">x</e>`, `<field> names "srcip", which is a static field`},
		{"srcip", `<e>10.0.0.0/99</e>`, "10.0.0.0/99"},
		{"compiled_rule", `<e>x</e>`, `unknown <compiled_rule> "x"`},
		{"maxsize", `<e>x</e>`, `bad value "x" of attribute maxsize`},
		{"time", `<e>25 - 26</e>`, `bad <time> "25 - 26"`},
		{"weekday", `<e>someday</e>`, `bad <weekday> "someday"`},
		{"list", `<e>l</e>`, "<list> has no field"},
		{"list", `<e field="srcip" lookup="x">l</e>`, `unknown lookup "x" of <list>`},
		{"regex", `<e>(</e>`, "parenthes"},
	} {
		k, _ := condition.Find(tc.kind, tc.kind == "maxsize")
		_, fault, _ := compile(t, k, tc.xml)
		if fault == nil || !strings.Contains(fault.Msg, tc.want) {
			t.Errorf("%s %s: %+v, want %q", tc.kind, tc.xml, fault, tc.want)
		}
	}
}

// 4.14 tests the last two lists of a rule only.
func TestOnlyTheLastListsAreTested(t *testing.T) {
	t.Parallel()
	k, _ := condition.Find("list", false)
	w := &condition.Written{}
	for _, name := range []string{"a", "b", "c"} {
		w.Elements = append(w.Elements, element(t, `<e field="srcip" x="1">`+name+`.cdb</e>`))
	}
	l := &loader{t: t}
	conds, fault := k.Compile(l, w)
	if fault != nil || len(conds) != 2 {
		t.Fatalf("%d conditions, %+v", len(conds), fault)
	}
	for i, want := range []string{"b", "c"} {
		if got := conds[i].(*condition.List).Name; got != want {
			t.Errorf("list %d is %q, want %q", i, got, want)
		}
	}
	if len(l.unknown) != 2 {
		t.Errorf("unknown attributes %q, want x twice", l.unknown)
	}
}

func TestLookups(t *testing.T) {
	t.Parallel()
	k, _ := condition.Find("list", false)
	for _, tc := range []struct {
		attrs, key string
		want       bool
	}{
		{``, "bob", true},
		{``, "ann", false},
		{` lookup="not_match_key"`, "ann", true},
		{` lookup="not_match_key"`, "bob", false},
		{` lookup="match_key_value" check_value="^l"`, "bob", true},
		{` lookup="match_key_value" check_value="^x"`, "bob", false},
		{` lookup="address_match_key"`, "10.1.2.3", true},
		{` lookup="address_match_key"`, "10.2.2.3", false},
		{` lookup="not_address_match_key"`, "10.2.2.3", true},
		{` lookup="address_match_key_value" check_value="^inner"`, "10.1.2.3", false}, // inverted in 4.14
		{` lookup="address_match_key_value" check_value="^x"`, "10.1.2.3", true},
	} {
		conds, fault, _ := compile(t, k, `<e field="srcip"`+tc.attrs+`>l</e>`)
		if fault != nil {
			t.Fatalf("%s: %+v", tc.attrs, fault)
		}
		e := has(static(program.SrcIP), tc.key)
		if got := conds[0].Holds(&e, &program.Rule{}); got != tc.want {
			t.Errorf("%s of %s holds: %v, want %v", tc.attrs, tc.key, got, tc.want)
		}
	}
}

func FuzzClock(f *testing.F) {
	for _, s := range []string{"6 pm - 8:30 am", "!0-24", "weekdays, sun", "12:60 - 1"} {
		f.Add(s)
	}
	timeOfDay, _ := condition.Find("time", false)
	weekday, _ := condition.Find("weekday", false)
	f.Fuzz(func(t *testing.T, s string) {
		w := &condition.Written{Value: s}
		if conds, fault := timeOfDay.Compile(nil, w); fault == nil {
			if c := conds[0].(condition.TimeOfDay); c.From < 0 || c.From > 24*60 || c.To < 0 || c.To > 24*60 {
				t.Errorf("%q is from minute %d to %d", s, c.From, c.To)
			}
		}
		if conds, fault := weekday.Compile(nil, w); fault == nil {
			if d := conds[0].(condition.Weekday); d <= 0 || d >= 1<<7 {
				t.Errorf("%q is the set %b", s, d)
			}
		}
	})
}
