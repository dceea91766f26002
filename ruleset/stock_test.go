package ruleset_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/ruleset/rulesettest"
	"vedette/schemas"
)

// The stock ruleset and its tests are not part of this repository. The tests
// here only compare with them.

// stockNow is the instant at which all stock logs are judged.
var stockNow = time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)

// stockDir is the folder with the stock ruleset and its tests.
func stockDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("VEDETTE_STOCK_RULESET")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "wazuh")
	}
	if _, err := os.Stat(filepath.Join(dir, "stock", "rules")); err != nil {
		t.Skipf("stock ruleset not found (set VEDETTE_STOCK_RULESET to the folder that holds stock/ and tests/): %v", err)
	}
	return dir
}

func TestStockRulesetLoads(t *testing.T) {
	t.Parallel()
	src, err := ruleset.LoadDir(filepath.Join(stockDir(t), "stock"))
	if err != nil {
		t.Fatal(err)
	}
	p, problems, err := ruleset.Compile(src)
	for _, x := range problems {
		t.Errorf("problem: %v", x)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("version %s: %d decoders, %d rules in %d places, longest window %v",
		p.Version, len(p.AllDecoders), len(p.AllRules), p.Nodes(), p.LongestWindow())
}

var (
	assembleOnce     sync.Once
	assembled        *program.Program
	errAssemble      error
	assembleProblems []ruleset.Problem
)

// assemble repeats assemble.sh: stock, fixtures, rule 60000 on plain JSON.
func assemble(t testing.TB) *engine.Engine {
	t.Helper()
	dir := stockDir(t)
	assembleOnce.Do(func() { assembled, errAssemble = assembleProgram(dir) })
	if errAssemble != nil {
		t.Fatal(errAssemble)
	}
	return engine.New(assembled, engine.Config{ManagerName: "manager", Logtest: true})
}

func assembleProgram(dir string) (*program.Program, error) {
	src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		return nil, err
	}
	rule := regexp.MustCompile(`(?s)<rule id="60000".*?</rule>`)
	for i := range src.Rules {
		if src.Rules[i].Name != "0575-win-base_rules.xml" {
			continue
		}
		src.Rules[i].Data = rule.ReplaceAllFunc(src.Rules[i].Data, func(b []byte) []byte {
			b = bytes.ReplaceAll(b, []byte("<category>ossec</category>"), nil)
			return bytes.ReplaceAll(b, []byte("<decoded_as>windows_eventchannel<"), []byte("<decoded_as>json<"))
		})
	}
	var extra ruleset.Source
	files, err := filepath.Glob(filepath.Join(dir, "test-ruleset", "*.xml"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		x := ruleset.File{Name: filepath.Base(f), Path: f, Data: data}
		if strings.HasSuffix(f, "decoders.xml") {
			extra.Decoders = append(extra.Decoders, x)
		} else {
			extra.Rules = append(extra.Rules, x)
		}
	}
	p, problems, err := ruleset.Compile(ruleset.Merge(src, extra))
	assembleProblems = problems
	return p, err
}

// The load warnings of the fixtures are known: ids defined twice, a malformed
// if_sid, a list that does not exist, two overwrites that name another history.
func TestStockFixtureWarnings(t *testing.T) {
	t.Parallel()
	assemble(t)
	got := map[int]int{}
	for _, p := range assembleProblems {
		got[p.Code]++
	}
	if diff := cmp.Diff(map[int]int{7605: 2, 7612: 68, 7618: 1, 7616: 1}, got); diff != "" {
		t.Errorf("warnings by code (-want +got):\n%s", diff)
	}
}

func TestStockEntriesHold(t *testing.T) {
	t.Parallel()
	dir := stockDir(t)
	eng := assemble(t)
	files, err := filepath.Glob(filepath.Join(dir, "tests", "*.ini"))
	if err != nil {
		t.Fatal(err)
	}
	n, held := 0, 0
	for _, f := range files {
		if strings.Contains(f, "geoip") {
			continue // needs a GeoIP data base
		}
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := rulesettest.Parse(filepath.Base(f), data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range entries {
			e := &entries[i]
			n++
			got := rulesettest.Run(eng, e, stockNow)
			if e.Holds(got) {
				held++
				continue
			}
			t.Logf("%s:%d [%s] pass=%v want %+v, got %+v", e.File, e.Line, e.Section, e.Pass, e.Want, got)
		}
	}
	t.Logf("%d of %d entries hold", held, n)
	if held < n {
		t.Errorf("%d of %d entries hold", held, n)
	}
}

// tokens lists the JSON tokens of an answer, so that order counts. It omits
// members that the recorded answers lack.
func tokens(raw []byte) ([]string, error) {
	skip := []string{"timestamp", "id", "agent", "manager", "location", "full_log"}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var out []string
	var walk func(path []string, leave bool) error
	walk = func(path []string, leave bool) error {
		tok, err := d.Token()
		if err != nil {
			return err
		}
		put := func(s string) {
			if !leave {
				out = append(out, strings.Join(path, ".")+"="+s)
			}
		}
		delim, ok := tok.(json.Delim)
		if !ok {
			put(fmt.Sprintf("%v", tok))
			return nil
		}
		put(delim.String())
		for d.More() {
			sub, subLeave := path, leave
			if delim == '{' {
				k, err := d.Token()
				if err != nil {
					return err
				}
				key, _ := k.(string)
				sub = append(slices.Clip(path), key)
				if len(sub) == 2 && sub[0] == "output" && slices.Contains(skip, key) ||
					len(sub) == 3 && sub[0] == "output" && sub[1] == "rule" && key == "mitre" {
					subLeave = true
				}
			}
			if err := walk(sub, subLeave); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	}
	err := walk(nil, false)
	return out, err
}

func answerFiles(t *testing.T, kind string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(stockDir(t), "answers", kind, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Skipf("no recorded answers of kind %s: %v", kind, err)
	}
	return files
}

func eachLine(t *testing.T, file string, fn func(n int, line []byte)) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			fn(n, line)
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// differencesShown bounds the differences that a test prints.
const differencesShown = 12

func testAnswers(t *testing.T, kind string) {
	files := answerFiles(t, kind)
	eng := assemble(t)
	total, same, shown := 0, 0, 0
	for _, f := range files {
		s := eng.NewState()
		inFile := 0
		eachLine(t, f, func(n int, line []byte) {
			var a struct {
				Log    string          `json:"log"`
				Answer json.RawMessage `json:"answer"`
			}
			if err := json.Unmarshal(line, &a); err != nil {
				t.Fatalf("%s:%d: %v", f, n, err)
			}
			total++
			want, err := tokens(a.Answer)
			if err != nil {
				t.Fatalf("%s:%d: %v", f, n, err)
			}
			ev := schemas.Event{Time: stockNow, AgentID: schemas.ManagerID, Location: "stdin", Queue: '1', Log: []byte(a.Log)}
			r := eng.Process(s, &ev)
			alert := r.AppendAlert(nil, "0.0", nil)
			if r.Alert {
				checkAlert(t, alert)
			}
			doc := strconv.AppendBool([]byte(`{"alert":`), r.Alert)
			doc = append(append(append(doc, `,"output":`...), alert...), '}')
			got, err := tokens(doc)
			if err != nil {
				t.Fatalf("%s:%d: %v in %s", f, n, err, doc)
			}
			if slices.Equal(want, got) {
				same++
				return
			}
			if inFile++; shown < differencesShown && inFile <= 3 {
				shown++
				i := 0
				for i < len(want) && i < len(got) && want[i] == got[i] {
					i++
				}
				at := func(l []string) []string { return l[min(i, len(l)):min(i+4, len(l))] }
				t.Logf("%s:%d %.300q\n\twant %q\n\tgot  %q", filepath.Base(f), n, a.Log, at(want), at(got))
			}
		})
	}
	t.Logf("%d of %d answers are equal", same, total)
	if same < total {
		t.Errorf("%d of %d answers are equal", same, total)
	}
}

func TestStockAnswersIni(t *testing.T) {
	t.Parallel()
	testAnswers(t, "ini")
}

func TestStockAnswersMutate(t *testing.T) {
	t.Parallel()
	testAnswers(t, "mutate")
}

func TestStockAnswersRepeat(t *testing.T) {
	t.Parallel()
	files := answerFiles(t, "repeat")
	eng := assemble(t)
	total, same, shown := 0, 0, 0
	for _, f := range files {
		var logs []string
		eachLine(t, filepath.Join(filepath.Dir(f), "..", "ini", filepath.Base(f)), func(n int, line []byte) {
			var a struct {
				Log string `json:"log"`
			}
			if err := json.Unmarshal(line, &a); err != nil {
				t.Fatalf("%s:%d: %v", f, n, err)
			}
			logs = append(logs, a.Log)
		})
		s := eng.NewState()
		inFile := 0
		eachLine(t, f, func(n int, line []byte) {
			var want [6]any
			if err := json.Unmarshal(line, &want); err != nil {
				t.Fatalf("%s:%d: %v", f, n, err)
			}
			total++
			if (n-1)/14 >= len(logs) {
				t.Fatalf("%s:%d: no such log", f, n)
			}
			ev := schemas.Event{Time: stockNow, AgentID: schemas.ManagerID, Location: "stdin", Queue: '1', Log: []byte(logs[(n-1)/14])}
			r := eng.Process(s, &ev)
			got := [6]any{want[0], "", "", r.Decoder, r.ParentDecoder(), r.Alert}
			if r.RuleID > 0 {
				got[1], got[2] = strconv.Itoa(r.RuleID), strconv.Itoa(r.Level)
			}
			if got == want {
				same++
				return
			}
			if inFile++; shown < differencesShown && inFile <= 2 {
				shown++
				t.Logf("%s:%d %.200q\n\twant %v\n\tgot  %v", filepath.Base(f), n, logs[(n-1)/14], want, got)
			}
		})
	}
	t.Logf("%d of %d answers are equal", same, total)
	if same < total {
		t.Errorf("%d of %d answers are equal", same, total)
	}
}
