package ruleset_test

import (
	"slices"
	"strings"
	"testing"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// An unknown attribute has no effect, and a warning reports it.
func TestUnknownAttributesAreIgnored(t *testing.T) {
	t.Parallel()
	const decoders = `<decoder name="p"><program_name offset="after_parent">^p$</program_name></decoder>` +
		`<decoder name="d"><prematch ofset="after_parent">^D </prematch></decoder>` +
		`<decoder name="d1"><parent>d</parent><regex offest="after_prematch" TYPE="OSRegex">u=(\w+) ip=(\S+)</regex><order>u, srcip</order></decoder>` +
		`<decoder name="j"><prematch>^{</prematch><plugin_decoder>JSON_Decoder</plugin_decoder><json_null_field>DISCARD</json_null_field><json_array_structure>Csv</json_array_structure></decoder>`
	const rules = `<group name="g,">` +
		`<rule id="100001" level="5"><decoded_as>d</decoded_as><match tipe="pcre2">D</match><regex offet="x">u=</regex><field name="u" ngate="yes">^ann$</field>` +
		`<srcip foo="1">10.0.0.0/8</srcip><list field="u" look="x">etc/lists/l</list><description>d</description></rule>` +
		`<rule id="100002" level="4"><decoded_as>d</decoded_as><field name="u" negate="YES">^bob$</field><match type="PCRE2">^D</match><description>d</description></rule>` +
		`<rule id="100003" level="3"><decoded_as>j</decoded_as><description>d</description></rule>` +
		`<rule id="100003" level="6" overwrite="Yes"><decoded_as>j</decoded_as><description>d</description></rule>` +
		`</group>`
	p, problems, err := ruleset.Compile(source(decoders, rules, map[string]string{"l": "ann:\n"}))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, x := range problems {
		if _, rest, ok := strings.Cut(x.Msg, "unknown attribute "); ok && !x.Fatal && x.Line > 0 {
			told = append(told, rest)
		} else {
			t.Errorf("unexpected problem: %v", x)
		}
	}
	want := []string{
		"offset of <program_name> is ignored", "ofset of <prematch> is ignored", "offest of <regex> is ignored",
		"tipe of <match> is ignored", "offet of <regex> is ignored", "ngate of <field> is ignored", "foo of <srcip> is ignored", "look of <list> is ignored",
	}
	slices.Sort(told)
	slices.Sort(want)
	if !slices.Equal(told, want) {
		t.Errorf("warnings %q, want %q", told, want)
	}
	eng := engine.New(p, engine.Config{Logtest: true})
	for log, want := range map[string]int{"D u=ann ip=10.1.2.3": 100001, "D u=cat ip=10.1.2.3": 100002, "D u=bob ip=10.1.2.3": 0, `{"a":null}`: 100003} {
		r := eng.Process(eng.NewState(), &schemas.Event{Time: stockNow, AgentID: "000", Queue: '1', Log: []byte(log)})
		if r.RuleID != want {
			t.Errorf("%s: rule %d, want %d", log, r.RuleID, want)
		}
	}
	r := eng.Process(eng.NewState(), &schemas.Event{Time: stockNow, AgentID: "000", Queue: '1', Log: []byte(`{"n":null,"a":[1,"b",null]}`)})
	if doc := string(r.AppendAlert(nil, "1.0", nil)); r.Level != 6 || !strings.Contains(doc, `"data":{"a":"1,b,null"}`) {
		t.Errorf("level %d, alert %s: want level 6, no null and a list of commas", r.Level, doc)
	}
	// Attributes that 4.14 refuses in rule and decoder tags stay refused.
	for _, s := range []ruleset.Source{
		source(`<decoder name="p" id="1"><program_name>^p$</program_name></decoder><decoder name="d"><prematch>^D</prematch></decoder>`, "", nil),
		source(decoders, `<group name="g,"><rule id="100001" level="5" foo="1"><match>x</match><description>d</description></rule></group>`, nil),
	} {
		if _, _, err := ruleset.Compile(s); err == nil {
			t.Error("an unknown attribute of a rule or a decoder itself is accepted")
		}
	}
}
