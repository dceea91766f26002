package engine

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset/program"
	"vedette/schemas"
)

func windowsEvent(t testing.TB, message, xml string) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{"Message": message, "Event": xml})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEventChannelSeverity(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	f := func(system, want string) {
		t.Helper()
		s := e.NewState()
		res := e.Process(s, agentEvent('f', "EventChannel", windowsEvent(t, "", "<Event><System>"+system+"</System></Event>")))
		checkAlert(t, res.AppendAlert(nil, "1.0", nil))
		got := ""
		for i := range s.scratch.ev.dyn {
			if s.scratch.ev.dyn[i].name.text == "win.system.severityValue" {
				got = s.scratch.ev.dyn[i].text
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", system, got, want)
		}
	}
	for level, want := range []string{"UNKNOWN", "CRITICAL", "ERROR", "WARNING", "INFORMATION", "VERBOSE", "UNKNOWN"} {
		f("<Level>"+string(rune('0'+level))+"</Level><Keywords>0x0</Keywords>", want)
	}
	f("<Level>0</Level><Keywords>0x8010000000000000</Keywords>", "AUDIT_FAILURE")
	f("<Level>0</Level><Keywords>0x8020000000000000</Keywords>", "AUDIT_SUCCESS")
	f("<Level>0</Level><Keywords>zz</Keywords>", "UNKNOWN")
	f("<Level></Level><Keywords>8010000000000000</Keywords>", "AUDIT_FAILURE")
	f("<EventID>1</EventID>", "")
}

// Windows events from agents that were cut, nested, or made to cost much are
// judged in bounded time, at worst without fields.
func TestHostileEventChannel(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	s := e.NewState()
	const room = schemas.MaxEventBytes - 200
	whole := windowsEvent(t, "m", `<Event><System><Level>4</Level></System><EventData><Data Name="a">b</Data></EventData></Event>`)
	for name, log := range map[string]string{
		"cut JSON":      whole[:len(whole)-5],
		"cut XML":       windowsEvent(t, "m", `<Event><System><Level>4</Le`),
		"crossed tags":  windowsEvent(t, "m", `<Event><System></Event></System>`),
		"depth":         windowsEvent(t, "m", strings.Repeat("<a>", 8000)),
		"nodes":         windowsEvent(t, "m", "<Event>"+strings.Repeat("<a/>", 8000)+"</Event>"),
		"references":    `{"Event":"<Event>` + strings.Repeat("&", room) + `"}`,
		"comments":      `{"Event":"<Event><System><Level>` + strings.Repeat("x<!---->", room/8-10) + `</Level></System></Event>"}`,
		"doctype":       windowsEvent(t, "m", `<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]><Event><System><Computer>&b;&b;</Computer></System></Event>`),
		"attributes":    windowsEvent(t, "m", "<Event "+strings.Repeat("a='b' ", 9000)+"/>"),
		"open quote":    windowsEvent(t, "m", `<Event a="`+strings.Repeat("x", 60000)),
		"no object":     `["Event"]`,
		"event is none": `{"Event":{"a":1}}`,
		"JSON depth":    strings.Repeat(`{"Event":`, 6000),
	} {
		start := time.Now()
		res := e.Process(s, agentEvent('f', "EventChannel", log))
		if d := time.Since(start); d > time.Minute {
			t.Errorf("%s took %v", name, d)
		}
		if !res.Judged || res.Decoder != "windows_eventchannel" {
			t.Errorf("%s: judged %v, decoder %q", name, res.Judged, res.Decoder)
		}
		checkAlert(t, res.AppendAlert(nil, "1.0", nil))
	}
	// One content for each of many attributes is bounded too.
	repeated := "<Data" + manyAttrs(xmlAttrsMax) + ">" + strings.Repeat("y", xmlTextMax) + "</Data>"
	e.Process(s, agentEvent('f', "EventChannel", windowsEvent(t, "", "<Event><EventData>"+strings.Repeat(repeated, 3)+"</EventData></Event>")))
	if len(s.scratch.ev.fullLog) < xmlTextMax || len(s.scratch.ev.fullLog) > 2*winValuesMax {
		t.Errorf("a log of %d bytes", len(s.scratch.ev.fullLog))
	}
}

// raw is an event whose Event is s as JSON text, without its quotes.
func rawEvent(s string) string { return `{"Message":"m","Event":"` + s + `"}` }

// fields are the members of win as `section.name=value`, but for the message of
// rawEvent.
func winFields(t *testing.T, e *Engine, log string) string {
	t.Helper()
	s := e.NewState()
	res := e.Process(s, agentEvent('f', "EventChannel", log))
	checkAlert(t, res.AppendAlert(nil, "1.0", nil))
	sameAsPlugin(t, s)
	_, fields := decoded(s)
	var out []string
	for _, f := range fields {
		if f != `win.system.message="m"` {
			out = append(out, strings.TrimPrefix(f, "win."))
		}
	}
	return strings.Join(out, "|")
}

// sameAsPlugin checks that the fields are those that the JSON plugin finds in the log.
func sameAsPlugin(t *testing.T, s *Keyed) {
	t.Helper()
	if !strings.HasPrefix(s.scratch.ev.fullLog, `{"win":{`) || s.scratch.ev.decoderName != "windows_eventchannel" {
		return
	}
	valid := func(text string) string { return string(schemas.AppendJSONString(nil, text)) }
	var got, want []string
	for i := range s.scratch.ev.dyn {
		got = append(got, valid(s.scratch.ev.dyn[i].name.text)+"="+valid(s.scratch.ev.dyn[i].text))
		if json := s.scratch.ev.dyn[i].json; json != "" && json != valid(s.scratch.ev.dyn[i].text) {
			t.Errorf("field %s: JSON %.200s, text %.200q", s.scratch.ev.dyn[i].name.text, json, s.scratch.ev.dyn[i].text)
		}
	}
	if !s.decoding.json.flatten(&s.scratch.names, s.scratch.ev.fullLog) {
		t.Fatalf("the log is no JSON: %.500s", s.scratch.ev.fullLog)
	}
	for _, f := range s.decoding.json.fields[:min(len(s.decoding.json.fields), program.OrderMax)] {
		want = append(want, valid(f.name.text)+"="+valid(f.value))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields against those of the log (-want +got):\n%s", diff)
	}
}

// Each step of the procedure, by its number.
func TestEventChannelSteps(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	data := func(content string) string {
		return `<E><EventData><Data Name='A'>` + content + `</Data></EventData></E>`
	}
	long := strings.Repeat("x", xmlTextMax)
	for _, tc := range []struct{ name, event, want string }{
		{"1: backslashes double", data(`C:\\Windows\\cmd.exe`), `eventdata.a=C:\\Windows\\cmd.exe`},
		{"1: quotes", data(`say \"x\"`), `eventdata.a=say \"x\"`},
		{"1: white space", data(`a\nb\tc\rd\fe\bf`), `eventdata.a=a\nb\tc\rd\fe\bf`},
		{"1: control characters", data(`a\u001fb\u0001`), `eventdata.a=a\u001fb\u0001`},
		{"1: control characters sent as they are", data("a\nb\x02"), `eventdata.a=a\nb\u0002`},
		{"1: other escapes", data(`a\/b\u00e9\u0041\ud83d\ude00`), `eventdata.a=a/béA😀`},
		{"2: entities stay", data(`&lt;&gt;&amp;&quot;&apos;&#10;&#x41;&none;`), `eventdata.a=&lt;&gt;&amp;&quot;&apos;&#10;&#x41;&none;`},
		{"3: text before the first element", `x \ufeff y` + data(`v`), `eventdata.a=v`},
		{"3: text behind the root", data(`v`) + `rest`, `eventdata.a=v`},
		{"3: comments", `<!-- a --><E><EventData><! b !><Data Name='A'>x<!-- <c> -->y</Data></EventData></E>`, `eventdata.a=xy`},
		{"3: the nearer end of a comment", data(`x<!a!>y-->z`), `eventdata.a=xy-->z`},
		{"3: comment not closed", data(`v`) + `<!-- x`, ``},
		{"3: CDATA is no closed comment", data(`<![CDATA[x]]>`), ``},
		{"3: a CDATA that ends like a comment", data(`<![CDATA[x]]!>v`), `eventdata.a=v`},
		{"3: text behind the last child", `<E><System><Computer>a<b/>c</Computer></System></E>`, `system.computer=c`},
		{"3: not closed", `<E><EventData><Data Name='A'>v</Data></EventData>`, ``},
		{"3: closed by another name", `<E><System><Computer>c</Computr></System></E>`, ``},
		{"3: closed in another case", `<E><System><Computer>c</COMPUTER ></system></E>`, `system.computer=c`},
		{"3: end tag too many", data(`v`) + `</E>`, ``},
		{"3: processing instruction", `<?xml version='1.0'?>` + data(`v`), ``},
		{"3: quotation marks", `<E><EventData><Data Name=\"A\">v</Data></EventData></E>`, ``},
		{"3: apostrophes and blanks", `<E ><EventData><Data  Name = 'A' >v</Data ></EventData></E>`, `eventdata.a=v`},
		{"3: value without quotes", `<E><EventData><Data Name=A>v</Data></EventData></E>`, ``},
		{"3: attribute without value", `<E><EventData><Data Name>v</Data></EventData></E>`, ``},
		{"3: attribute twice", `<E><EventData><Data Name='A' name='B'>v</Data></EventData></E>`, ``},
		{"3: 48 attributes", `<E><System><Provider Name='p'` + manyAttrs(47) + `/></System></E>`, `system.providerName=p`},
		{"3: 49 attributes", `<E><System><Provider Name='p'` + manyAttrs(48) + `/></System></E>`, ``},
		{"3: line break in a tag", `<E><EventData><Data\nName='A'>v</Data></EventData></E>`, ``},
		{"3: longest content", data(long), `eventdata.a=` + long},
		{"3: content too long", data(long + `x`), ``},
		{"3: content too long in pieces", data(long + `<!-- -->x`), ``},
		{"3: name too long", `<E><` + long + `x/></E>`, ``},
		{"3: longest value", `<E><System><Provider Name='` + long + `'/></System></E>`, `system.providerName=` + long},
		{"3: value too long", `<E><System><Provider Name='` + long + `x'/></System></E>`, ``},
		{"3: nesting", strings.Repeat("<a>", 1024) + strings.Repeat("</a>", 1024) + data(`v`), ``},
		{"3: nested too deep", `<E><System><Computer>c</Computer></System>` + strings.Repeat("<a>", 1024) + strings.Repeat("</a>", 1024) + `</E>`, ``},
		{"4: root of any name, the first counts", `<x><System><Computer>c</Computer></System></x>` + data(`v`), `system.computer=c`},
		{"4: System",
			`<E><System><Provider Name='P' Guid='{1}' EventSourceName='S' Other='o'/><EventID Qualifiers='4'>7</EventID><Version/><Level></Level><Keywords/><TimeCreated SystemTime='T'/>` +
				`<Correlation ActivityID='{2}'>c</Correlation><Execution ProcessID='1' ThreadID='2'/><Channel>Ch</Channel><Computer>PC </Computer><Security UserID='u'>s</Security><New>-</New></System></E>`,
			`system.providerName=P|system.providerGuid={1}|system.eventSourceName=S|system.eventID=7|system.level=|system.keywords=|system.systemTime=T|system.processID=1|system.threadID=2|` +
				`system.channel=Ch|system.computer=PC |system.new=-|system.severityValue=UNKNOWN`},
		{"4: only the first attribute of TimeCreated", `<E><System><TimeCreated RawTime='1' SystemTime='T'/></System></E>`, ``},
		{"4: Data without value", `<E><EventData><Data Name='A'>-</Data><Data Name='B'>(NULL)</Data><Data Name='C'></Data><Data Name='D'/><Data Name='E'> </Data><Data Name='F'>- </Data></EventData></E>`,
			`eventdata.e= |eventdata.f=-`},
		{"4: trimmed down to one character", data(`x  `) + `<!---->`, `eventdata.a=x`},
		{"4: trimmed only at the end", data(`  x\n `), `eventdata.a=  x\n`},
		{"4: attributes in turn, up to Name", `<E><EventData><Data Kind='K' Name='N' Type='T'>v</Data><Data Type='OnlyType'>w</Data></EventData></E>`, `eventdata.k=v|eventdata.n=v|eventdata.onlyType=w`},
		{"4: Data without attributes", `<E><EventData><Data>one </Data><Data>two</Data><Binary>00FF</Binary></EventData></E>`, `eventdata.binary=00FF|eventdata.data=one, two`},
		{"4: no name twice in the tree, both in the log", `<E><EventData><Data Name='A'>1</Data><Data Name='a'>2</Data></EventData></E>`, `eventdata.a=1|eventdata.a=2`},
		{"4: audit", `<E><EventData><Data Name='CategoryId'>%%8273</Data><Data Name='SubcategoryId'>%%12544</Data><Data Name='AuditPolicyChanges'>%%8448, %%8450</Data></EventData></E>`,
			`eventdata.categoryId=%%8273|eventdata.subcategoryId=%%12544|eventdata.auditPolicyChangesId=%%8448, %%8450|eventdata.category=Logon/Logoff|eventdata.subcategory=Logon|eventdata.auditPolicyChanges=Success removed, Failure removed`},
		{"4: other sections", `<E><UserData><LogCleared><User>eve </User><None>-</None><Null>(NULL)</Null><Empty/></LogCleared></UserData></E>`, `logCleared.user=eve`},
		{"4: other sections share an object", `<E><UserData><A><X>1</X></A><B><Y>2</Y></B></UserData><RenderingInfo><Message>lost</Message><Keywords><Keyword>k</Keyword></Keywords></RenderingInfo></E>`,
			`keywords.x=1|keywords.y=2|keywords.keyword=k`},
		{"4: a section that takes the name of another", `<E><System><Computer>c</Computer></System><UserData><System><Computer>d</Computer></System></UserData></E>`, `system.computer=c|system.computer=d`},
		{"5: severity", `<E><System><Level>3</Level><Keywords>0x0</Keywords></System></E>`, `system.level=3|system.keywords=0x0|system.severityValue=WARNING`},
		{"5: no severity without keywords", `<E><System><Level>3</Level></System></E>`, `system.level=3`},
		{"5: no severity without level", `<E><System><Keywords>0x0</Keywords></System></E>`, `system.keywords=0x0`},
	} {
		if diff := cmp.Diff(tc.want, winFields(t, e, rawEvent(tc.event))); diff != "" {
			t.Errorf("%s: %.300s (-want +got):\n%.2000s", tc.name, tc.event, diff)
		}
	}
}

func manyAttrs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d='v'", i)
	}
	return b.String()
}

func TestEventChannelMessage(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	const event = `"Event":"<E/>"`
	for _, tc := range []struct{ in, want string }{
		{`{"Message":"a b",` + event + `}`, `system.message="a b"`},
		{`{` + event + `,"Message":" a "}`, `system.message=" a "`},
		{`{"Message":"",` + event + `}`, `system.message=""`},
		{`{` + event + `}`, ``},
		{`{"Message":"C:\\x\r\n\tsay \"hi\"\b\f",` + event + `}`, "system.message=\"C:\\x\r\n\tsay \"hi\"\b\f\""},
		{`{"Message":"a\u001fb\u00e9\/",` + event + `}`, `system.message="a\u001fbé/"`},
		{`{"Message":"1","Message":"2",` + event + `}`, `system.message="1"`},
		{`{"Message":"only",` + `"Event":"no element"}`, `system.message="only"`},
		{`{"Message":"only","Event":""}`, `system.message="only"`},
		{`{"Message":"only","Event":"<E>"} trailing`, `system.message="only"`},
		{`{"Message":"no event"}`, ``},
		{`{"Message":"no JSON","Event":"<E/>"`, ``},
		{`{"Message":"no JSON","Event":"<E/>",}`, ``},
	} {
		if diff := cmp.Diff(tc.want, winFields(t, e, tc.in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.in, diff)
		}
	}
}

// The log is the object's text without blanks, and so is the alert's full_log.
func TestEventChannelLog(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	for _, tc := range []struct{ event, want string }{
		{`<E><System><Computer>PC</Computer></System><EventData><Data Name='Image'>C:\\a</Data></EventData><UserData><X><Y>z</Y></X></UserData></E>`,
			`{"win":{"system":{"computer":"PC","message":"\"m\""},"eventdata":{"image":"C:\\\\a"},"x":{"y":"z"}}}`},
		{`<E><EventData><Data Name='A'>-</Data></EventData></E>`, `{"win":{"system":{"message":"\"m\""}}}`},
		{`<E>`, `{"win":{"system":{"message":"\"m\""}}}`},
	} {
		s := e.NewState()
		res := e.Process(s, agentEvent('f', "EventChannel", rawEvent(tc.event)))
		var alert struct {
			FullLog string `json:"full_log"`
		}
		if err := json.Unmarshal(res.AppendAlert(nil, "1.0", nil), &alert); err != nil {
			t.Fatal(err)
		}
		if alert.FullLog != tc.want || s.scratch.ev.log.text != tc.want {
			t.Errorf("%s: full_log %s, log %s, want %s", tc.event, alert.FullLog, s.scratch.ev.log.text, tc.want)
		}
	}
}

func FuzzEventChannel(f *testing.F) {
	fuzzQueue(f, 'f', "EventChannel",
		windowsEvent(f, "m", `<Event xmlns='x'><System><Provider Name='P' Guid='{1}'/><EventID>4719</EventID><Level>0</Level><Keywords>0x8020000000000000</Keywords></System>`+
			`<EventData><Data Name='A'>x &amp; y</Data><Data>one</Data><Data Name='CategoryId'>%%8273</Data></EventData><UserData><E><U>eve</U></E></UserData></Event>`),
		windowsEvent(f, "", `<Event><![CDATA[x]]><!-- c --><System/></Event>`),
		rawEvent(`<E><System><Computer>a\u0001\\b</Computer></System><UserData><System><Computer>d</Computer></System></UserData></E>`))
}
