package groups

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/internal/blobs"
	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/replica"
	"vedette/internal/secret"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestMergedFilesAreThoseOfTheSpecification(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("VEDETTE_SPEC")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "spec")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "vectors", "vectors.json"))
	if err != nil {
		t.Skipf("specification vectors are missing (set VEDETTE_SPEC): %v", err)
	}
	var v struct {
		Merged struct {
			ARConf string `json:"ar_conf"`
			Groups []struct {
				Groups, Directory, Merged, MD5 string
			}
		}
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	// What the groups hold is read off the single groups' merged files.
	of := map[string][]File{}
	for _, g := range v.Merged.Groups {
		if strings.Contains(g.Groups, ",") {
			continue
		}
		rest := strings.TrimPrefix(g.Merged, "#"+g.Groups+"\n")
		for rest != "" {
			var n int
			var name string
			if _, err := fmt.Sscanf(rest, "!%d %s\n", &n, &name); err != nil {
				t.Fatalf("%q: %v", rest, err)
			}
			_, rest, _ = strings.Cut(rest, "\n")
			if name != "ar.conf" {
				of[g.Groups] = append(of[g.Groups], File{Path: name, Data: []byte(rest[:n])})
			}
			rest = rest[n:]
		}
	}
	seen := 0
	for _, g := range v.Merged.Groups {
		names := strings.Split(g.Groups, ",")
		name, files := names[0], of[names[0]]
		if len(names) > 1 {
			name, files = multigroupName(names), combine(names, func(n string) []File { return of[n] })
		}
		m := merge(name, []byte(v.Merged.ARConf), files)
		if d := cmp.Diff(g.Merged, string(m.Data)); d != "" || m.Sum != g.MD5 || name != g.Directory {
			t.Errorf("%s: %s, sum %s, name %s", g.Groups, d, m.Sum, name)
		}
		seen++
	}
	if seen < 3 {
		t.Errorf("%d merged files", seen)
	}
}

func TestDirectoriesStandAtTheirPlace(t *testing.T) {
	t.Parallel()
	m := merge("g", nil, []File{{Path: "sub.txt"}, {Path: "sub/z"}, {Path: "a"}, {Path: "sub/y/x"}, {Path: "nul", Data: []byte("a\x00b")}})
	if want := "#g\n!0 a\n!0 sub/y/x\n!0 sub/z\n!0 sub.txt\n"; string(m.Data) != want {
		t.Errorf("%q", m.Data)
	}
}

func TestABadAgentConfIsRefusedWithItsLine(t *testing.T) {
	t.Parallel()
	good := func(text string) {
		t.Helper()
		if err := CheckAgentConf([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	bad := func(text string, line int, part string) {
		t.Helper()
		var e *ConfError
		if err := CheckAgentConf([]byte(text)); !errors.As(err, &e) || e.Line != line || !strings.Contains(e.Reason, part) {
			t.Errorf("%q: %v, want line %d with %q", text, err, line, part)
		}
	}
	good("<agent_config>\n</agent_config>\n")
	good("<!-- a -->\n<agent_config os=\"Linux\" name=\"^web\">\n<localfile><command>a && b \\< c</command></localfile></agent_config>\n<agent_config profile='x'></agent_config>")
	bad("", 1, "no <agent_config>")
	bad("<agent_config>\n<localfile>\n</agent_config>\n", 3, "localfile")
	bad("<agent_config>\n<localfile>", 2, "not closed")
	bad("<agent_config>\n\n<nonsense/></agent_config>", 3, "nonsense")
	bad("\n<ossec_config></ossec_config>", 2, "agent_config")
	bad("<agent_config host=\"x\"></agent_config>", 1, "filter")
	bad("<agent_config>\nhello</agent_config>", 2, "text outside")
	bad("<agent_config>\x00</agent_config>", 1, "NUL")
}

func FuzzCheckAgentConf(f *testing.F) {
	f.Add([]byte("<agent_config os=\"Linux\">\n<localfile><command>a && b</command></localfile></agent_config>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var e *ConfError
		if err := CheckAgentConf(text); err != nil && (!errors.As(err, &e) || e.Line < 1) {
			t.Errorf("%v", err)
		}
	})
}

func TestADirectoryIsReadWithoutWhatMayNotBeShared(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put := func(path, text string) {
		t.Helper()
		p := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("web/agent.conf", "<agent_config></agent_config>")
	put("web/sub/x", "1")
	put("web/.hidden", "2")
	put("web/merged.mg", "3")
	put("web/ar.conf", "4")
	put("bad/agent.conf", "<agent_config>")
	put("no group/x", "5")
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "web", "link")); err != nil {
		t.Fatal(err)
	}
	dirs, err := ReadDir(root)
	if err == nil || !strings.Contains(err.Error(), "group bad: agent.conf: line 1") || !strings.Contains(err.Error(), `group "no group"`) {
		t.Errorf("%v", err)
	}
	if len(dirs) != 1 || dirs[0].Group != "web" {
		t.Fatalf("%+v", dirs)
	}
	want := []File{{Path: "agent.conf", Data: []byte("<agent_config></agent_config>")}, {Path: "sub/x", Data: []byte("1")}}
	if d := cmp.Diff(want, dirs[0].Files); d != "" {
		t.Error(d)
	}
}

func start(t *testing.T, c *kafka.Cluster, node string, key byte) *Store {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{key}, 32))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(c, box, node, Provided{ARConf: []byte("ar\n")}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("the store is not ready")
	}
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func TestWhatOneNodePublishesAnotherMerges(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a, b, stranger := start(t, c, "a", 1), start(t, c, "b", 1), start(t, c, "x", 2)
	big := bytes.Repeat([]byte("0123456789abcde\n"), 80_000) // several chunks
	files := []File{{Path: "big", Data: big}, {Path: "agent.conf", Data: []byte("<agent_config></agent_config>")}}
	if err := a.Publish(t.Context(), "web", files); err != nil {
		t.Fatal(err)
	}
	empty := b.Merged(nil)
	eventually(t, "b has the files", func() bool { f, ok := b.Files("web"); return ok && len(f) == 2 })
	m := b.Merged([]string{"default", "web"})
	if m.Sum != a.Merged([]string{"default", "web"}).Sum || !bytes.Contains(m.Data, big) {
		t.Error("the nodes merge differently")
	}
	if start := "#default\n!3 ar.conf\nar\n!"; !strings.HasPrefix(string(empty.Data), start) {
		t.Errorf("a merged file begins with %.60q, want %q", empty.Data, start)
	}
	if _, ok := stranger.Files("web"); ok {
		t.Error("a node of another cluster key took the files over")
	}
	files[1].Data = []byte("<agent_config>\n<labels/></agent_config>")
	if err := b.Publish(t.Context(), "web", files[1:]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a has the change", func() bool { f, _ := a.Files("web"); return len(f) == 1 })
	if err := a.Publish(t.Context(), "web", []File{{Path: "agent.conf", Data: []byte("<agent_config>")}}); err == nil {
		t.Error("a broken agent.conf was published")
	}
	// A node that starts later sees the same.
	late := start(t, c, "late", 1)
	if got := late.Merged([]string{"web"}).Sum; got != a.Merged([]string{"web"}).Sum {
		t.Error("a later node merges differently")
	}
	if err := a.Remove(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the group's files are gone", func() bool { _, ok := late.Files("web"); return !ok })
}

func list(t *testing.T, name string, files ...File) schemas.Record {
	t.Helper()
	l := schemas.GroupFiles{Group: name, Node: "old", Time: time.Now()}
	for _, f := range files {
		c := blobs.ContentOf(f.Data)
		l.Files = append(l.Files, schemas.SharedFile{Path: f.Path, Size: c.Size, SHA256: c.SHA256})
	}
	rec, err := l.Record()
	if err != nil {
		t.Fatalf("no list: %v", err)
	}
	return rec
}

func TestAListWithoutItsContentsChangesNothing(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, "a", 1)
	good := File{Path: "x", Data: []byte("good")}
	for _, name := range []string{"web", "db"} {
		if err := a.Publish(t.Context(), name, []File{good}); err != nil {
			t.Fatalf("Publish returned %v", err)
		}
	}
	lost := list(t, "web", File{Path: "x", Data: []byte("never written")})
	var refused *replica.Refusal
	if err := a.content.Put(t.Context(), lost); !errors.As(err, &refused) || refused.Cause != "content" {
		t.Errorf("a list without its contents gives %v, want a refusal by the cause content", err)
	}
	if files, _ := a.Files("web"); len(files) == 0 || string(files[len(files)-1].Data) != "good" {
		t.Errorf("the group has the files %v, want those from before", files)
	}
	// A later start does not know the list before, but the other groups are whole.
	late := start(t, c, "late", 1)
	if _, ok := late.Files("web"); ok {
		t.Error("a group without contents has files")
	}
	if got, want := late.Merged([]string{"db"}).Sum, a.Merged([]string{"db"}).Sum; got != want {
		t.Errorf("the other group's merged file has the sum %s, want %s", got, want)
	}
	if err := late.Publish(t.Context(), "web", []File{good}); err != nil {
		t.Errorf("the group cannot be published again: %v", err)
	}
}

func TestAListOfALaterFormKeepsTheFiles(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, "a", 1)
	if err := a.Publish(t.Context(), "web", []File{{Path: "x", Data: []byte("good")}}); err != nil {
		t.Fatalf("Publish returned %v", err)
	}
	rec := list(t, "web")
	rec.Value = []byte(`{"v":2,"group":"web","files":{"x":1}}`)
	if err := a.content.Put(t.Context(), rec); !errors.Is(err, schemas.ErrNewer) {
		t.Errorf("a list of a later form gives %v, want ErrNewer", err)
	}
	if err := a.Err(); !errors.Is(err, replica.ErrNewer) {
		t.Errorf("Err is %v, want ErrNewer", err)
	}
	if _, ok := a.Files("web"); !ok {
		t.Error("the files from before are gone")
	}
}
