package alertsfile

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/forward/forwardtest"
	"vedette/internal/leaktest"
	"vedette/schemas"
)

// childDir is set in the process that TestKilledWhileWriting kills.
const childDir = "ALERTSFILE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	leaktest.Main(m)
}

// alert is the n-th of a partition, as analysis writes them.
func alert(partition int32, n int) schemas.Alert {
	doc := fmt.Sprintf(`{"timestamp":"x","rule":{"id":"5710"},"full_log":"n=%d \",\"vedette\":{","data":{"vedette":{"offset":1}},"vedette":{"topic_id":"T","partition":%d,"offset":%d,"n":0,"ruleset":"r"}}`, n, partition, n)
	return schemas.Alert{ID: schemas.AlertDocID("T", partition, int64(n), 0), Time: noon, Document: []byte(doc)}
}

func alerts(from, to int) []schemas.Alert {
	var out []schemas.Alert
	for i := from; i < to; i++ {
		out = append(out, alert(0, i))
	}
	return out
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// at opens a destination whose clock stands.
func at(t testing.TB, dir string, now time.Time) *File {
	t.Helper()
	f := New(dir, time.UTC)
	f.now = func() time.Time { return now }
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func deliver(t testing.TB, f *File, as []schemas.Alert) {
	t.Helper()
	if failed, err := f.Deliver(t.Context(), as); err != nil || len(failed) > 0 {
		t.Fatal(failed, err)
	}
}

// numbers reads the alerts of a file; every line must be whole.
func numbers(t testing.TB, path string) []int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for line := range bytes.Lines(data) {
		var d struct {
			Vedette struct{ Offset int } `json:"vedette"`
		}
		if err := json.Unmarshal(line, &d); err != nil || line[len(line)-1] != '\n' {
			t.Fatalf("%v in %q", err, line)
		}
		out = append(out, d.Vedette.Offset)
	}
	return out
}

func count(from, to int) (out []int) {
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func TestDestination(t *testing.T) {
	t.Parallel()
	forwardtest.Run(t, func(t *testing.T) forwardtest.Subject {
		dir := t.TempDir()
		return forwardtest.Subject{Destination: at(t, dir, noon), Count: func(t testing.TB) int {
			data, err := os.ReadFile(filepath.Join(dir, "alerts", "alerts.json"))
			if err != nil {
				t.Fatal(err)
			}
			return bytes.Count(data, []byte("\n"))
		}}
	})
}

func TestLayoutIsThatOf414(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := New(dir, time.FixedZone("", 2*3600))
	f.now = func() time.Time { return time.Date(2026, 11, 30, 21, 59, 59, 0, time.UTC) }
	defer f.Close()
	current, day := filepath.Join(dir, "alerts", "alerts.json"), filepath.Join(dir, "alerts", "2026", "Nov", "ossec-alerts-30.json")
	deliver(t, f, alerts(0, 2))
	same := func(a, b string) bool {
		x, err1 := os.Stat(a)
		y, err2 := os.Stat(b)
		return err1 == nil && err2 == nil && os.SameFile(x, y)
	}
	if !same(current, day) {
		t.Error("alerts.json is not the file of the day")
	}
	reader, err := os.Open(current) // as tail -F has it
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	deliver(t, f, alerts(2, 3))
	if st, err := reader.Stat(); err != nil || st.Size() == 0 || !same(current, day) {
		t.Error("the file changed within the day")
	}

	f.now = func() time.Time { return time.Date(2026, 11, 30, 22, 0, 0, 0, time.UTC) } // midnight there
	deliver(t, f, alerts(2, 5))                                                        // one of them again
	next := filepath.Join(dir, "alerts", "2026", "Dec", "ossec-alerts-01.json")
	if !same(current, next) || same(current, day) {
		t.Error("alerts.json does not follow the day")
	}
	if diff := cmp.Diff([][]int{count(0, 3), count(3, 5)}, [][]int{numbers(t, day), numbers(t, next)}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnEmptyDayLeavesNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := at(t, dir, noon)
	if err := f.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.now = func() time.Time { return noon.AddDate(0, 0, 1) }
	deliver(t, f, alerts(0, 1))
	if _, err := os.Stat(filepath.Join(dir, "alerts", "2026", "Nov", "ossec-alerts-22.json")); !os.IsNotExist(err) {
		t.Error(err)
	}
}

func TestRepeatsAfterACrashAreSkipped(t *testing.T) {
	t.Parallel()
	for name, days := range map[string]int{"the same day": 0, "after midnight": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f := at(t, dir, noon)
			deliver(t, f, alerts(0, 10))
			// The process ends within a line.
			if _, err := f.f.WriteString(string(alert(0, 10).Document)[:30]); err != nil {
				t.Fatal(err)
			}
			day := f.day
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			g := at(t, dir, noon.AddDate(0, 0, days))
			deliver(t, g, alerts(5, 15))
			got := numbers(t, day)
			if days > 0 {
				got = append(got, numbers(t, g.day)...)
			}
			if diff := cmp.Diff(count(0, 15), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// child delivers batches without end and prints how many alerts were taken.
func child(dir string) {
	f := New(dir, time.UTC)
	f.now = func() time.Time { return noon }
	for n := 0; ; n += 50 {
		if _, err := f.Deliver(context.Background(), alerts(n, n+50)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(n + 50)
	}
}

func TestKilledWhileWriting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	taken := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, err := fmt.Sscan(lines.Text(), &taken); err != nil {
			t.Error(lines.Text())
			break
		}
		if taken == 500 {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait()
	if taken < 500 {
		t.Fatalf("only %d were taken", taken)
	}
	// Nothing was committed: everything comes again, and more.
	f := at(t, dir, noon)
	if err := f.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if kept := len(numbers(t, f.day)); kept < taken {
		t.Errorf("%d alerts were taken, %d are there", taken, kept)
	}
	deliver(t, f, alerts(0, taken+200))
	got := numbers(t, f.day)
	seen := map[int]int{}
	for _, n := range got {
		seen[n]++
	}
	for n := range taken + 200 {
		if seen[n] != 1 {
			t.Errorf("alert %d stands there %d times", n, seen[n])
		}
	}
}

func TestASecondProcessWaits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, g := at(t, dir, noon), at(t, dir, noon)
	deliver(t, f, alerts(0, 1))
	if err := g.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Error(err)
	}
	if _, err := g.Deliver(t.Context(), alerts(1, 2)); err == nil {
		t.Error("both write")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	deliver(t, g, alerts(0, 2))
	if diff := cmp.Diff(count(0, 2), numbers(t, g.day)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAFileMovedAwayIsMadeAnew(t *testing.T) {
	t.Parallel()
	f := at(t, t.TempDir(), noon)
	deliver(t, f, alerts(0, 2))
	if err := os.Rename(f.day, f.day+".1"); err != nil {
		t.Fatal(err)
	}
	deliver(t, f, alerts(1, 4))
	if diff := cmp.Diff([][]int{count(0, 2), count(2, 4)}, [][]int{numbers(t, f.day+".1"), numbers(t, f.day)}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(count(2, 4), numbers(t, f.current())); diff != "" {
		t.Errorf("alerts.json (-want +got):\n%s", diff)
	}
}

func TestAForeignFileIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "alerts", "alerts.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := at(t, dir, noon)
	deliver(t, f, alerts(0, 2))
	if data, err := os.ReadFile(path + ".20261122T120000"); err != nil || string(data) != "{}\n" {
		t.Errorf("%q, %v", data, err)
	}
	if diff := cmp.Diff(count(0, 2), numbers(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Somebody's rotation by the known name only.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	deliver(t, f, alerts(2, 3))
	if diff := cmp.Diff(count(0, 3), numbers(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	f := New(t.TempDir(), time.UTC)
	for i := range seenMax + 10 {
		f.see(fmt.Sprint(i))
	}
	_, oldest := f.seen["9"]
	_, newest := f.seen[fmt.Sprint(seenMax+9)]
	if len(f.seen) != seenMax || len(f.order) != seenMax || oldest || !newest {
		t.Error(len(f.seen), len(f.order), oldest, newest)
	}
}

func TestADocumentIsOneLine(t *testing.T) {
	t.Parallel()
	f := at(t, t.TempDir(), noon)
	a := alert(0, 0)
	a.Document = []byte(strings.Replace(string(a.Document), `,"data"`, ",\n\"data\"", 1))
	deliver(t, f, []schemas.Alert{a, a})
	if diff := cmp.Diff(count(0, 1), numbers(t, f.day)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
