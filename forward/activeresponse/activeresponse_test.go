package activeresponse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/internal/commands"
	"vedette/internal/leaktest"
	"vedette/internal/responses"
	"vedette/internal/secret"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

type fakeAgents []schemas.Presence

func (fakeAgents) Ready() <-chan struct{} { c := make(chan struct{}); close(c); return c }

func (f fakeAgents) Presences(keep func(*schemas.Presence) bool) (out []schemas.Presence) {
	for _, p := range f {
		if keep(&p) {
			out = append(out, p)
		}
	}
	return out
}

type fakeProducer struct {
	mu   sync.Mutex
	recs []schemas.Record
	err  error
}

func (p *fakeProducer) ProduceSync(_ context.Context, recs ...schemas.Record) ([]schemas.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.recs = append(p.recs, recs...)
	}
	return recs, p.err
}

func (p *fakeProducer) got() []schemas.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.recs)
}

func testBox(t *testing.T) *secret.Box {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func testSet(t *testing.T, rs ...responses.Response) *responses.Set {
	t.Helper()
	s, err := responses.New(responses.Config{
		Commands:  []responses.Command{{Name: "block", Executable: "block", TimeoutAllowed: true}, {Name: "once", Executable: "once"}},
		Responses: rs,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const document = `{"rule":{"level":10,"id":"5712","groups":["sshd"]},"agent":{"id":"%s"},"id":"1.2","data":{"srcip":"10.2.3.4"},"location":"/x"}`

func testAlert(agent string, at time.Time) schemas.Alert {
	return schemas.Alert{ID: "T-0-7-0", Time: at, Document: fmt.Appendf(nil, document, agent)}
}

func TestAnAlertGivesOneCommandPerResponseAndAgent(t *testing.T) {
	t.Parallel()
	agents := fakeAgents{{ID: "001", State: schemas.StateActive}, {ID: "002", State: schemas.StateDisconnected}, {ID: "003", State: schemas.StateActive}}
	set := testSet(t,
		responses.Response{Command: "block", Location: "local", Timeout: 600, Level: 7},
		responses.Response{Command: "once", Location: "all", RulesID: []int{5712}},
		responses.Response{Command: "block", Location: "defined-agent", AgentID: "009", Level: 7},
		responses.Response{Command: "block", Location: "server,local", Timeout: 60, RulesGroup: "sshd"},
		responses.Response{Command: "once", Location: "local", Level: 11},
	)
	prod, box := &fakeProducer{}, testBox(t)
	d, err := New(set, agents, prod, box, "n1", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	deliver := func(a schemas.Alert) (ids []string) {
		t.Helper()
		prod.recs = nil
		if failed, err := d.Deliver(t.Context(), []schemas.Alert{a}); err != nil || failed != nil {
			t.Fatal(failed, err)
		}
		for _, rec := range prod.got() {
			if !commands.Verify(box, &rec) {
				t.Error("a command does not verify")
			}
			c, err := schemas.ParseCommand(&rec)
			if err != nil {
				t.Fatal(err)
			}
			if c.AlertID != "1.2" || c.RuleID != "5712" || c.Expires != a.Time.Add(time.Minute).UnixMilli() {
				t.Errorf("%+v", c)
			}
			ids = append(ids, c.ID)
		}
		return ids
	}
	want := []string{"T-0-7-0/block600/005", "T-0-7-0/once0/001", "T-0-7-0/once0/003", "T-0-7-0/block0/009", "T-0-7-0/block60/000"}
	for range 2 { // a repeat gives the same commands
		if diff := cmp.Diff(want, deliver(testAlert("005", now))); diff != "" {
			t.Error(diff)
		}
	}
	if got := deliver(testAlert("000", now)); got[0] != "T-0-7-0/block600/000" {
		t.Errorf("%q", got)
	}
	if got := deliver(testAlert("005", now.Add(-61*time.Second))); len(got) != 0 {
		t.Errorf("an old alert gave %q", got)
	}
	if n := testutil.ToFloat64(d.skipped.WithLabelValues(reasonLate)); n != 1 {
		t.Errorf("%v late alerts counted", n)
	}
	prod.err = errors.New("no broker")
	if _, err := d.Deliver(t.Context(), []schemas.Alert{testAlert("005", now)}); !errors.Is(err, prod.err) {
		t.Errorf("%v", err)
	}
}

// bench is an executor with a directory of scripts.
type bench struct {
	*Executor
	t    *testing.T
	prod *fakeProducer
	dir  string
}

func testExecutor(t *testing.T, dir string, runTime time.Duration) *bench {
	t.Helper()
	set := testSet(t,
		responses.Response{Command: "block", Location: "server", Timeout: 1, Level: 1},
		responses.Response{Command: "once", Location: "server", Level: 1},
	)
	prod := &fakeProducer{}
	runner, err := responses.NewRunner(dir, filepath.Join(dir, "pending.json"), nil, runTime)
	if err != nil {
		t.Fatal(err)
	}
	x, err := NewExecutor(set, runner, testBox(t), "n1", prod, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{Executor: x, t: t, prod: prod, dir: dir}
}

func (b *bench) script(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil { //nolint:gosec // a script
		b.t.Fatal(err)
	}
}

func (b *bench) log() []string {
	raw, _ := os.ReadFile(filepath.Join(b.dir, "log"))
	return strings.Fields(string(raw))
}

func (b *bench) command(identity, ip string) *schemas.Command {
	now := time.Now().UnixMilli()
	text, err := responses.Message(identity, "n1", nil, []byte(`{"data":{"srcip":"`+ip+`"}}`))
	if err != nil {
		b.t.Fatal(err)
	}
	return &schemas.Command{ID: ip, Kind: schemas.CommandResponse, AgentID: "000", Text: text, Response: identity, Time: now, Expires: now + 60_000}
}

func (b *bench) outcomes() (out []string) {
	for _, rec := range b.prod.got() {
		r, err := schemas.ParseReply(&rec)
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, string(r.Status)+": "+r.Text)
	}
	return out
}

// A script as they are written: it names its key, and acts on what it is told.
const stateful = `read line
cmd=$(echo "$line" | sed 's/.*"command":"\([a-z]*\)".*/\1/')
ip=$(echo "$line" | sed 's/.*"srcip":"\([0-9.]*\)".*/\1/')
if [ "$cmd" = delete ]; then echo "delete-$ip" >> log; exit 0; fi
echo '{"version":1,"origin":{"name":"block","module":"active-response"},"command":"check_keys","parameters":{"keys":["'$ip'"]}}'
read answer
case "$answer" in *'"command":"continue"'*) echo "add-$ip" >> log;; *'"command":"abort"'*) echo "abort-$ip" >> log;; esac
`

func TestABlockIsSetOnceAndLifted(t *testing.T) {
	t.Parallel()
	b := testExecutor(t, t.TempDir(), 0)
	b.script("block", stateful)
	b.run(t.Context(), b.command("block1", "10.0.0.1"))
	b.run(t.Context(), b.command("block1", "10.0.0.1"))
	b.run(t.Context(), b.command("block1", "10.0.0.2"))
	want := []string{"done: continue block-10.0.0.1", "done: abort block-10.0.0.1", "done: continue block-10.0.0.2"}
	if d := cmp.Diff(want, b.outcomes()); d != "" {
		t.Error(d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { b.runner.Tick(ctx) })
	for end := time.Now().Add(2 * time.Minute); len(b.log()) < 5 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
	}
	cancel()
	wg.Wait()
	got := b.log()
	slices.Sort(got[3:])
	if d := cmp.Diff([]string{"add-10.0.0.1", "abort-10.0.0.1", "add-10.0.0.2", "delete-10.0.0.1", "delete-10.0.0.2"}, got); d != "" {
		t.Error(d)
	}
}

func TestWhatIsInForceSurvivesAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := testExecutor(t, dir, 0)
	b.script("block", stateful)
	b.run(t.Context(), b.command("block1", "10.0.0.1"))
	// Nothing of the first one's end is run; the second one begins with its file.
	c := testExecutor(t, dir, 0)
	c.runner.UndoAll()
	if d := cmp.Diff([]string{"add-10.0.0.1", "delete-10.0.0.1"}, c.log()); d != "" {
		t.Error(d)
	}
	e := testExecutor(t, dir, 0)
	e.runner.UndoAll()
	if len(e.log()) != 2 {
		t.Errorf("undone twice: %q", e.log())
	}
}

func TestScriptsGetNothingButTheirMessage(t *testing.T) {
	t.Setenv("VEDETTE_TEST_SECRET", "x")
	b := testExecutor(t, t.TempDir(), 0)
	b.script("once", "read line; { env; echo \"args:$#\"; pwd; echo \"$line\"; } > seen\n")
	b.run(t.Context(), b.command("once0", "10.0.0.1"))
	raw, err := os.ReadFile(filepath.Join(b.dir, "seen"))
	if err != nil {
		t.Fatal(err, b.outcomes())
	}
	seen := string(raw)
	for _, part := range []string{"args:0\n", b.dir + "\n", `"module":"wazuh-execd"`, `"command":"add"`, `"program":"` + filepath.Join(b.dir, "once") + `"`} {
		if !strings.Contains(seen, part) {
			t.Errorf("%q is missing in %s", part, seen)
		}
	}
	if strings.Contains(seen, "SECRET") || strings.Contains(seen, "HOME=") {
		t.Errorf("of the environment: %s", seen)
	}
	if d := cmp.Diff([]string{"done: run"}, b.outcomes()); d != "" {
		t.Error(d)
	}
}

func TestScriptsThatHangOrMayNotRun(t *testing.T) {
	t.Parallel()
	b := testExecutor(t, t.TempDir(), 300*time.Millisecond)
	b.script("once", "sleep 60 & sleep 60\n")
	begun := time.Now()
	b.run(t.Context(), b.command("once0", "1"))
	if took := time.Since(begun); took > 55*time.Second { // left alone it takes a minute
		t.Errorf("the script was not ended within its time: it took %s", took)
	}
	if err := os.Chmod(filepath.Join(b.dir, "once"), 0o777); err != nil { //nolint:gosec // what is refused
		t.Fatal(err)
	}
	b.run(t.Context(), b.command("once0", "1"))
	b.run(t.Context(), b.command("block1", "1"))
	b.run(t.Context(), b.command("nosuch0", "1"))
	b.run(t.Context(), b.command("!../../bin/sh", "1"))
	b.script("once", "exit 3\n")
	if err := os.Chmod(filepath.Join(b.dir, "once"), 0o755); err != nil { //nolint:gosec // a script
		t.Fatal(err)
	}
	b.run(t.Context(), b.command("once0", "1"))
	got := b.outcomes()
	for i, part := range []string{"was ended", "only its owner may write", "block is not there", `no response "nosuch0"`, "no plain name", "exit status 3"} {
		if i >= len(got) || !strings.Contains(got[i], part) {
			t.Errorf("%d: %q is missing in %q", i, part, got)
		}
	}
}
