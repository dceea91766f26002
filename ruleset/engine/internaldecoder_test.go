package engine

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"vedette/ruleset/program"
	"vedette/schemas"
	"vedette/schemas/jsonschema"
)

var alertSchema = sync.OnceValues(func() (*validator.Schema, error) {
	doc, err := validator.UnmarshalJSON(bytes.NewReader(jsonschema.Alert()))
	if err != nil {
		return nil, err
	}
	c := validator.NewCompiler()
	if err := c.AddResource(jsonschema.Base+jsonschema.AlertName, doc); err != nil {
		return nil, err
	}
	return c.Compile(jsonschema.Base + jsonschema.AlertName)
})

func checkAlert(t testing.TB, raw []byte) {
	t.Helper()
	s, err := alertSchema()
	if err != nil {
		t.Fatal(err)
	}
	v, err := validator.UnmarshalJSON(bytes.NewReader(raw))
	if err == nil {
		err = s.Validate(v)
	}
	if err != nil {
		t.Errorf("alert against the schema: %v\n%s", err, raw)
	}
}

// agentEvent is a message of agent 001 on a queue.
func agentEvent(queue byte, location, log string) *schemas.Event {
	return &schemas.Event{Time: testNow, AgentID: "001", AgentName: "web1", AgentIP: "any", Location: location, Queue: queue, Log: []byte(log)}
}

// anyRule alerts on whatever reaches the rules.
func anyRule() *program.Rule { return &program.Rule{ID: 100001, Level: 3} }

// ossecProgram has one rule tree for the category of internal decoders.
func ossecProgram(t testing.TB, rules ...*program.Rule) *program.Program {
	t.Helper()
	p := testProgram(t, rules...)
	p.Roots[0].Rule.Category = program.Ossec
	return p
}

// decoded decodes a message and returns the decoder's name, and the dynamic fields
// as name=value.
func decoded(s *Keyed) (string, []string) {
	var out []string
	for i := range s.scratch.ev.dyn {
		out = append(out, s.scratch.ev.dyn[i].name.text+"="+s.scratch.ev.dyn[i].text)
	}
	return s.scratch.ev.decoderName, out
}

func TestMessagesThatAreNotForRules(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	for _, tc := range []struct {
		name     string
		queue    byte
		location string
		log      string
	}{
		{"scan start", '8', "syscheck", `{"type":"scan_start","data":{"timestamp":1795309100}}`},
		{"scan end", '8', "syscheck", `{"type":"scan_end","data":{"timestamp":1795309100}}`},
		{"state row", '8', "syscheck", `{"component":"fim_file","type":"state","data":{"index":"/a"}}`},
		{"fim without path", '8', "syscheck", `{"type":"event","data":{"type":"added","attributes":{"type":"file"}}}`},
		{"fim without kind", '8', "syscheck", `{"type":"event","data":{"path":"/a","type":"added","attributes":{}}}`},
		{"fim of unknown kind", '8', "syscheck", `{"type":"event","data":{"path":"/a","type":"added","attributes":{"type":"socket"}}}`},
		{"fim with unknown change", '8', "syscheck", `{"type":"event","data":{"path":"/a","type":"moved","attributes":{"type":"file"}}}`},
		{"registry 3 without index", '8', "syscheck", `{"type":"event","data":{"path":"HKLM\\A","version":3,"type":"added","attributes":{"type":"registry_key"}}}`},
		{"fim cut", '8', "syscheck", `{"type":"event","data":{"path":"/a","type":"added","attributes":{"type":"file"}`},
		{"fim text form", '8', "syscheck", `12:33188:0:0:aa:bb:root:root:1700000000:5 /etc/passwd`},
		{"fim too deep", '8', "syscheck", `{"type":"event","data":{"path":"/a","type":"added","attributes":{"type":"file"},"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}}`},
		{"sca without type", 'p', "sca", `{"policy":"n"}`},
		{"sca type is no text", 'p', "sca", `{"type":1}`},
		{"inventory from elsewhere", 'd', "x", `{"type":"dbsync_ports","operation":"INSERTED","data":{"checksum":"a"}}`},
		{"inventory unknown table", 'd', "syscollector", `{"type":"dbsync_x","operation":"INSERTED","data":{"checksum":"a"}}`},
		{"inventory unknown operation", 'd', "syscollector", `{"type":"dbsync_ports","operation":"X","data":{"checksum":"a"}}`},
		{"inventory without row", 'd', "syscollector", `{"type":"dbsync_ports","operation":"DELETED"}`},
		{"inventory scan without row", 'd', "syscollector", `{"type":"program","ID":1}`},
		{"ciscat from elsewhere", 'e', "/var/log/x", `{"type":"scan_info"}`},
		{"hostinfo other text", '3', "hostinfo", `nmap done`},
		{"synchronization", '5', "fim_file", `{"component":"fim_file","type":"state","data":{}}`},
		{"upgrade result", 'u', "upgrade", `{"error":0}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			res := e.Process(e.NewState(), agentEvent(tc.queue, tc.location, tc.log))
			if res.Judged || res.Alert || res.RuleID != 0 {
				t.Errorf("judged %v, alert %v, rule %d", res.Judged, res.Alert, res.RuleID)
			}
		})
	}
}

func TestCISCATAndHostinfo(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	for _, tc := range []struct {
		name     string
		queue    byte
		location string
		log      string
		decoder  string
		fields   []string
	}{
		{
			"ciscat", 'e', "wodle_cis-cat", `{"type":"scan_result","scan_id":15,"cis":{"rule_id":"1.1","result":"fail"}}`,
			"ciscat", []string{"type=scan_result", "scan_id=15", "cis.rule_id=1.1", "cis.result=fail"},
		},
		{"ciscat malformed", 'e', "wodle_cis-cat", `{"type":`, "ciscat", nil},
		{"hostinfo", '3', "hostinfo", `Host: 10.1.0.3, open ports: 22 (tcp) 80 (tcp)`, "hostinfo_new", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := e.NewState()
			res := e.Process(s, agentEvent(tc.queue, tc.location, tc.log))
			name, fields := decoded(s)
			if !res.Alert || name != tc.decoder {
				t.Errorf("alert %v, decoder %q", res.Alert, name)
			}
			if diff := cmp.Diff(tc.fields, fields); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			checkAlert(t, res.AppendAlert(nil, "1.0", nil))
		})
	}
}

// fuzzQueue feeds one decoder: no message may break it, and each that alerts
// gives an alert as the schema has it.
func fuzzQueue(f *testing.F, queue byte, location string, seeds ...string) {
	f.Helper()
	for _, s := range seeds {
		f.Add(s)
		f.Add(s[:len(s)*2/3])
	}
	f.Add(strings.Repeat(`{"a":`, 2000))
	f.Add(`{"type":"event","data":` + strings.Repeat("[", 5000))
	rule := anyRule()
	rule.GroupText = "rootcheck,"
	e := New(ossecProgram(f, rule), Config{Timezone: time.FixedZone("", 7200)})
	s := e.NewState()
	f.Fuzz(func(t *testing.T, log string) {
		if len(log) > schemas.MaxEventBytes {
			return
		}
		res := e.Process(s, agentEvent(queue, location, log))
		b := res.AppendAlert(nil, "1.0", nil)
		if !json.Valid(b) || !utf8.Valid(b) || len(b) > AlertMax {
			t.Fatalf("%d bytes, no JSON: %.500q", len(b), b)
		}
		if len(s.scratch.ev.dyn) > program.OrderMax {
			t.Errorf("%d fields", len(s.scratch.ev.dyn))
		}
		if res.Alert {
			checkAlert(t, b)
		}
		sameAsPlugin(t, s)
	})
}

// Whatever fills a message, its alert stays within bounds.
func TestAgentAlertsAreBounded(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	s := e.NewState()
	for _, fill := range []string{"\x01", "é", "a,", `\u0001`, "a|", "{", "'", ", A (allowed): B|C"} {
		for _, tc := range []struct {
			queue      byte
			location   string
			head, tail string
		}{
			{'8', "syscheck", `{"type":"event","data":{"path":"`, `","type":"added","attributes":{"type":"file"}}}`},
			{'8', "syscheck", `{"type":"event","data":{"path":"/a","type":"modified","attributes":{"type":"file","perm":"`, `"},"old_attributes":{"perm":"A (allowed): B|C"}}}`},
			{'8', "syscheck", `{"type":"event","data":{"path":"/a","type":"modified","tags":"`, `","attributes":{"type":"file","attributes":"a"},"old_attributes":{}}}`},
			{'8', "syscheck", `{"type":"event","data":{"path":"/a","type":"modified","hard_links":["`, `"],"attributes":{"type":"file"}}}`},
			{'p', "sca", `{"type":"check","policy":"p","check":{"id":1,"file":"`, `","result":"failed"}}`},
			{'p', "sca", `{"type":"check","policy":"p","check":{"id":1,"compliance":{"cis":"`, `"},"result":"failed"}}`},
			{'d', "syscollector", `{"type":"dbsync_packages","operation":"DELETED","data":{"name":"`, `"}}`},
			{'9', "rootcheck", "File '/", "' is"},
		} {
			room := schemas.MaxEventBytes - len(tc.head) - len(tc.tail)
			log := tc.head + strings.Repeat(fill, room/len(fill)) + tc.tail
			start := time.Now()
			res := e.Process(s, agentEvent(tc.queue, tc.location, log))
			b := res.AppendAlert(nil, "1.0", nil)
			if d := time.Since(start); d > time.Minute {
				t.Errorf("%q in %s took %v", fill, tc.head, d)
			}
			if !res.Alert || len(b) > AlertMax || !json.Valid(b) || !utf8.Valid(b) {
				t.Errorf("%q in %s: alert %v, %d bytes", fill, tc.head, res.Alert, len(b))
			}
			checkAlert(t, b)
		}
	}
}

func TestArchivesFollowTheirSchema(t *testing.T) {
	t.Parallel()
	c := validator.NewCompiler()
	for name, text := range map[string][]byte{jsonschema.AlertName: jsonschema.Alert(), jsonschema.ArchiveName: jsonschema.Archive()} {
		doc, err := validator.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(jsonschema.Base+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile(jsonschema.Base + jsonschema.ArchiveName)
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range []int{0, 2, 3} {
		e := New(ossecProgram(t, &program.Rule{ID: 100001, Level: level, Options: program.Options{NoFullLog: true}}), Config{ManagerName: "m", ClusterName: "c"})
		for _, ev := range []*schemas.Event{
			agentEvent('8', "syscheck", fimModified), agentEvent('9', "rootcheck", "System Audit: a."), agentEvent('p', "sca", scaFailed),
			agentEvent('d', "syscollector", invPackage), agentEvent('1', "/l", `{"a":{"b":["c"]},"d":""}`), logEvent("Dec 25 20:45:02 host app[12]: hello"),
		} {
			b := e.Process(e.NewState(), ev).AppendArchive(nil, "1.0", nil)
			v, err := validator.UnmarshalJSON(bytes.NewReader(b))
			if err == nil {
				err = schema.Validate(v)
			}
			if err != nil {
				t.Errorf("archive against the schema: %v\n%s", err, b)
			}
		}
	}
}

func TestHostinfoOfAnotherResultIsModified(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	s := e.NewState()
	for i, tc := range []struct{ log, want string }{
		{"Host: 10.1.0.3, open ports: 22 (tcp)", "hostinfo_new"},
		{"Host: 10.1.0.4, open ports: 22 (tcp)", "hostinfo_new"},
		{"Host: 10.1.0.3, open ports: 22 (tcp)", ""},
		{"Host: 10.1.0.3, open ports: 22 (tcp) 80 (tcp)", "hostinfo_modified"},
		{"Host: 10.1.0.3, open ports: 22 (tcp) 80 (tcp)", ""},
		{"Host: 10.1.0.3, open ports: 22 (tcp)", "hostinfo_modified"},
		{"Host: 10.1.0.4, open ports: 22 (tcp)", ""},
	} {
		if i == 3 { // remembered scans outlive a restart
			snapshot, err := s.AppendSnapshot(nil, 1<<20)
			if err == nil {
				s, err = e.RestoreState(snapshot)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		res := e.Process(s, agentEvent('3', "hostinfo", tc.log))
		if res.Judged != (tc.want != "") || res.Decoder != tc.want {
			t.Errorf("%d: judged %v, decoder %q, want %q", i, res.Judged, res.Decoder, tc.want)
		}
	}
}
