package groups

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vedette/internal/kafka/kafkatest"
	"vedette/internal/regex/osregex"
	"vedette/schemas"
)

func paths(files []File) []string {
	out := []string{}
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

func TestEveryGroupServesAnAgentConf(t *testing.T) {
	t.Parallel()
	s := start(t, kafkatest.New(t), "a", 1)
	confOf := func(group string) []byte {
		t.Helper()
		files, _ := s.Files(group)
		i := slices.IndexFunc(files, func(f File) bool { return f.Path == agentConf })
		if i < 0 {
			t.Fatalf("group %s has no agent.conf, only %v", group, paths(files))
		}
		if err := CheckAgentConf(files[i].Data); err != nil {
			t.Errorf("agents would not take the agent.conf of %s: %v", group, err)
		}
		m := s.Merged([]string{group})
		if !bytes.Contains(m.Data, append([]byte(" agent.conf\n"), files[i].Data...)) {
			t.Errorf("the merged file of %s lacks its agent.conf: %q", group, m.Data)
		}
		return files[i].Data
	}
	if got := confOf("web"); string(got) != startAgentConf {
		t.Errorf("a group without files has the agent.conf %q", got)
	}
	// A group published without the file gets one; the order of files stays.
	if err := s.Publish(t.Context(), "web", []File{{Path: "zz"}, {Path: "a"}}); err != nil {
		t.Fatal(err)
	}
	if got := confOf("web"); string(got) != startAgentConf {
		t.Errorf("a group published without the file has the agent.conf %q", got)
	}
	if files, _ := s.Files("web"); !slices.Equal(paths(files), []string{"a", agentConf, "zz"}) {
		t.Errorf("files stand as %v", paths(files))
	}
	own := []byte("<agent_config><labels/></agent_config>")
	if err := s.Publish(t.Context(), "web", []File{{Path: agentConf, Data: own}}); err != nil {
		t.Fatal(err)
	}
	if got := confOf("web"); !bytes.Equal(got, own) {
		t.Errorf("the group's own agent.conf was replaced by %q", got)
	}
	// Taken away again, the template is back.
	if err := s.Publish(t.Context(), "web", nil); err != nil {
		t.Fatal(err)
	}
	s.given.AgentConf = []byte("<agent_config os=\"Linux\"></agent_config>")
	if got := confOf("web"); !bytes.Equal(got, s.given.AgentConf) {
		t.Errorf("the configured template is not served, but %q", got)
	}
}

func TestDefaultShipsListsUntilItsFilesArePublished(t *testing.T) {
	t.Parallel()
	s := start(t, kafkatest.New(t), "a", 1)
	files, published := s.Files(schemas.DefaultGroup)
	want := []string{
		agentConf, "rootkit_files.txt", "rootkit_trojans.txt", "system_audit_rcl.txt", "system_audit_ssh.txt",
		"win_applications_rcl.txt", "win_audit_rcl.txt", "win_malware_rcl.txt",
	}
	if published || !slices.Equal(paths(files), want) {
		t.Errorf("default has %v (published: %t), want %v", paths(files), published, want)
	}
	if others, _ := s.Files("web"); len(others) != 1 {
		t.Errorf("another group has %v", paths(others))
	}
	if err := s.Publish(t.Context(), schemas.DefaultGroup, []File{{Path: "rootkit_files.txt", Data: []byte("x ! y ::\n")}}); err != nil {
		t.Fatal(err)
	}
	if files, _ := s.Files(schemas.DefaultGroup); !slices.Equal(paths(files), []string{agentConf, "rootkit_files.txt"}) || string(files[1].Data) != "x ! y ::\n" {
		t.Errorf("an operator's own files are not the only ones: %v", paths(files))
	}
}

func TestATemplateIsReadOnlyIfAgentsCanTakeIt(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "template.conf")
	for text, part := range map[string]string{
		"<agent_config></agent_config>": "",
		"":                              "no <agent_config>",
		"<agent_config>\n<nonsense/>\n</agent_config>": "line 2",
		strings.Repeat("x", MaxAgentConfBytes+1):       "at most",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		data, err := ReadAgentConf(name)
		switch {
		case part == "" && (err != nil || string(data) != text):
			t.Errorf("%.40q was read as %.40q, %v", text, data, err)
		case part != "" && (err == nil || !strings.Contains(err.Error(), part)):
			t.Errorf("%.40q: %v, want an error with %q", text, err, part)
		}
	}
	if _, err := ReadAgentConf(t.TempDir()); err == nil {
		t.Error("a directory was read as a template")
	}
}

// Forms of the lists, as agents of 4.x read them.
var (
	fileLine   = regexp.MustCompile(`^(\*/)?[^\s!:*][^!:]*?\s*! [^:]+ ::\S*$`)
	trojanLine = regexp.MustCompile(`^[\w.-]+\s*!([^!]+)!([^!]*)$`)
	variable   = regexp.MustCompile(`^(\$\w+)=(/[^,; ]+,)*/[^,; ]+;$`)
	entryHead  = regexp.MustCompile(`^\[[^\[\]]+( \{PCI_DSS: [\d., ]+\})?\] \[(any|all)\] \[[^\[\]]*\]$`)
	entryLine  = regexp.MustCompile(`^([fdrp]):(.+);$`)
	tests      = regexp.MustCompile(`!?(?:r:)?(.+)`)
)

func TestShippedListsHaveTheFormThatAgentsRead(t *testing.T) {
	t.Parallel()
	for _, f := range rootcheckFiles {
		entries, lines := 0, 0
		variables := map[string]bool{}
		for n, line := range strings.Split(strings.TrimSuffix(string(f.Data), "\n"), "\n") {
			bad := func(why string) { t.Errorf("%s:%d: %s: %q", f.Path, n+1, why, line) }
			switch {
			case line == "" || strings.HasPrefix(line, "#"):
				continue
			case f.Path == "rootkit_files.txt":
				if entries++; !fileLine.MatchString(line) {
					bad("no line of the form path ! name ::link")
				}
			case f.Path == "rootkit_trojans.txt":
				entries++
				m := trojanLine.FindStringSubmatch(line)
				if m == nil {
					bad("no line of the form program !pattern!name")
				} else if _, err := regexp.CompilePOSIX(m[1]); err != nil {
					bad(err.Error())
				}
			case strings.HasPrefix(line, "$"):
				m := variable.FindStringSubmatch(line)
				if m == nil {
					bad("no variable of paths")
					continue
				}
				variables[m[1]] = true
			case strings.HasPrefix(line, "["):
				if entries > 0 && lines == 0 {
					bad("the entry before has no line")
				}
				if entries++; !entryHead.MatchString(line) {
					bad("no head of an entry")
				}
				lines = 0
			default:
				m := entryLine.FindStringSubmatch(line)
				if m == nil || entries == 0 {
					bad("no line of an entry")
					continue
				}
				lines++
				parts := strings.Split(m[2], " -> ")
				if v := parts[0]; strings.HasPrefix(v, "$") && !variables[v] {
					bad("a variable that is not set")
				}
				if limit := map[string]int{"p": 1, "f": 2, "d": 3, "r": 3}[m[1]]; len(parts) > limit {
					bad("too many parts")
				}
				for i, part := range parts[1:] {
					if m[1] == "r" && i == 0 {
						continue // the name of a value
					}
					for _, test := range strings.Split(part, " && ") {
						if _, err := osregex.Compile(tests.FindStringSubmatch(test)[1]); err != nil {
							bad(err.Error())
						}
					}
				}
			}
		}
		if entries < 5 {
			t.Errorf("%s has %d entries", f.Path, entries)
		}
	}
}
