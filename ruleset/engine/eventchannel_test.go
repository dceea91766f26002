package engine

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
		for i := range s.ev.dyn {
			if s.ev.dyn[i].name.text == "win.system.severityValue" {
				got = s.ev.dyn[i].text
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", system, got, want)
		}
	}
	for level, want := range []string{"UNKNOWN", "CRITICAL", "ERROR", "WARNING", "INFORMATION", "VERBOSE", "UNKNOWN"} {
		f("<Level>"+string(rune('0'+level))+"</Level>", want)
	}
	f("<Level>0</Level><Keywords>0x8010000000000000</Keywords>", "AUDIT_FAILURE")
	f("<Level>0</Level><Keywords>0x8020000000000000</Keywords>", "AUDIT_SUCCESS")
	f("<Level>0</Level><Keywords>zz</Keywords>", "UNKNOWN")
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
	var sections strings.Builder
	for i := range 500 {
		sections.WriteString("<s" + strings.Repeat("x", i%50) + string(rune('a'+i/50)) + "><v>1</v></s" + strings.Repeat("x", i%50) + string(rune('a'+i/50)) + ">")
	}
	e.Process(s, agentEvent('f', "EventChannel", windowsEvent(t, "", "<Event>"+sections.String()+"</Event>")))
	if len(s.ev.dyn) >= winSectionsMax {
		t.Errorf("%d fields", len(s.ev.dyn))
	}
}

func TestEventChannelText(t *testing.T) {
	t.Parallel()
	f := func(in, want string) {
		t.Helper()
		if diff := cmp.Diff(want, (&xmlDocument{texts: &arena{}}).unescape(in)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
	f("a &lt;b&gt; &amp;amp; &quot;&apos;", `a <b> &amp; "'`)
	f("&#65;&#x42;&#0;&#xD800;&#99999999;&unknown;&", "AB&#0;&#xD800;&#99999999;&unknown;&")
	f("&#x0000000000041; x", "&#x0000000000041; x")
}

func FuzzEventChannel(f *testing.F) {
	fuzzQueue(f, 'f', "EventChannel",
		windowsEvent(f, "m", `<Event xmlns='x'><System><Provider Name='P' Guid='{1}'/><EventID>4719</EventID><Level>0</Level><Keywords>0x8020000000000000</Keywords></System>`+
			`<EventData><Data Name='A'>x &amp; y</Data><Data>one</Data><Data Name='CategoryId'>%%8273</Data></EventData><UserData><E><U>eve</U></E></UserData></Event>`),
		windowsEvent(f, "", `<Event><![CDATA[x]]><!-- c --><System/></Event>`))
}
