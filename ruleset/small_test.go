package ruleset_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

const smallDir = "testdata/small"

func smallCorpus(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(smallDir, "corpus.log"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func TestSmallRuleset(t *testing.T) {
	t.Parallel()
	src, err := ruleset.LoadDir(smallDir)
	if err != nil {
		t.Fatal(err)
	}
	p, codes := compile(t, src)
	if codes != nil {
		t.Errorf("problems %v", codes)
	}
	x := newSession(t, p, engine.Config{})
	var got []string
	for _, l := range smallCorpus(t) {
		r, d := x.log(l)
		s := r.Description()
		if r.Alert {
			s += "!" + d.get("rule/mitre/technique") + d.get("rule/pci_dss")
		}
		got = append(got, s)
	}
	want := []string{
		"Door north opened by ann.!--",
		`Badge of bob refused at north.!["Valid Accounts"]["10.2.4"]`,
		`Badge of bob refused at north.!["Valid Accounts"]["10.2.4"]`,
		`Badge of bob refused at north.!["Valid Accounts"]["10.2.4"]`,
		`Many badges refused from 10.1.0.3.!["Brute Force"]-`,
		"Door opened with a lost badge.!--",
		"Battery of a door nearly empty.!--",
		"Door events.",
		"Gate g1 is open.!--",
		"Gate g2 passed at speed.!--",
		"", "", "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	src, err := ruleset.LoadDir(smallDir)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := compile(t, src)
	for _, r := range p.Rules() {
		if r.ID != 100102 {
			continue
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		want := `{"ID":100102,"Level":5,"Description":"Badge of $(srcuser) refused at $(door.name).","Groups":["door","access","authentication_failed"],` +
			`"Compliance":{"gdpr":["IV_35.7.d"],"pci_dss":["10.2.4"]},"Mitre":["T1078"],"File":"door_rules.xml","Dir":"testdata/small/rules",` +
			`"Details":{"action":{"pattern":"refused|blocked","type":"osmatch"},"if_sid":"100100"},"Overwritten":false}`
		if diff := cmp.Diff(want, string(b)); diff != "" {
			t.Errorf("rule (-want +got):\n%s", diff)
		}
	}
	b, err := json.Marshal(p.Decoders()[1])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Name":"door-badge","Parent":"door","File":"door_decoders.xml","Dir":"testdata/small/decoders","Position":1,` +
		`"Details":{"fts":"srcuser, srcip","order":"action, srcuser, door.name, srcip","prematch":"^badge ",` +
		`"regex":{"offset":"after_prematch","pattern":"^(\\w+) (\\w+) at (\\S+) from (\\S+)"}}}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("decoder (-want +got):\n%s", diff)
	}
	if p.LongestWindow() != 120*time.Second || p.Nodes() != 15 {
		t.Errorf("longest window %v, %d nodes", p.LongestWindow(), p.Nodes())
	}
}

func TestLoadFS(t *testing.T) {
	t.Parallel()
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	a, err := ruleset.LoadFS(fstest.MapFS{
		"decoders/b.xml": file("b"), "decoders/a.xml": file("a"), "decoders/readme.txt": file("x"),
		"rules/1.xml": file("1"), "lists/x/y": file("k:v"), "lists/x/y.cdb": file("x"), "lists/z": file("k:v"),
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := ruleset.LoadFS(fstest.MapFS{"decoders/aa.xml": file("aa")})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	m := ruleset.Merge(b, a)
	for _, fs := range [][]ruleset.File{m.Decoders, m.Rules, m.Lists} {
		for _, f := range fs {
			names = append(names, f.Name+" "+f.Path)
		}
	}
	want := []string{"a.xml decoders/a.xml", "aa.xml decoders/aa.xml", "b.xml decoders/b.xml", "1.xml rules/1.xml", "x/y lists/x/y", "z lists/z"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v := a.Version(); len(v) != 16 || v == b.Version() || v != ruleset.Merge(a).Version() {
		t.Errorf("version %q", v)
	}
	if _, err := ruleset.LoadFS(fstest.MapFS{"other/x": file("x")}); err == nil {
		t.Error("a folder without ruleset is accepted")
	}
	if _, err := ruleset.LoadDir(filepath.Join(smallDir, "nothing")); err == nil {
		t.Error("a missing folder is accepted")
	}
}

// BenchmarkSmall judges the small corpus with its ruleset.
func BenchmarkSmall(b *testing.B) {
	src, err := ruleset.LoadDir(smallDir)
	if err != nil {
		b.Fatal(err)
	}
	p, _ := compile(b, src)
	var evs []schemas.Event
	for _, l := range smallCorpus(b) {
		evs = append(evs, schemas.Event{Time: stockNow, AgentID: "001", AgentName: "site1", Location: "/var/log/doors", Queue: '1', Log: []byte(l)})
	}
	benchmark(b, contenders(p), evs)
}

// FuzzCompile checks that no text of a ruleset makes Compile panic, and that
// every accepted text can be run.
func FuzzCompile(f *testing.F) {
	src, err := ruleset.LoadDir(smallDir)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(src.Decoders[0].Data, src.Rules[0].Data, src.Lists[0].Data, "Mar  2 08:00:01 s door3[77]: badge opened ann at north from 10.1.0.3")
	f.Add([]byte(decoderT), []byte(inGroup(baseRule, child(100002, 4, `overwrite="yes"`, "<time>6 pm - 8:30 am</time>"))), []byte(`"a:b":c`), eventT)
	f.Fuzz(func(_ *testing.T, decoders, rules, list []byte, log string) {
		p, _, err := ruleset.Compile(source(string(decoders), string(rules), map[string]string{"doors/lost-badges": string(list)}))
		if err != nil {
			return
		}
		e := engine.New(p, engine.Config{Logtest: true})
		s := e.NewState()
		for range 3 {
			e.Process(s, &schemas.Event{Time: stockNow, AgentID: "000", Queue: '1', Log: []byte(log)}).AppendAlert(nil, "1.0", nil)
		}
	})
}
