package ruleset_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vedette/ruleset"
)

// Reading ends for any content of a rules directory. It reports all bad files at
// once, by name.
func TestFilesThatAreNoRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"decoders", "rules", "lists"} {
		must(os.MkdirAll(filepath.Join(dir, folder), 0o700))
	}
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	must(os.WriteFile(at("rules/good.xml"), []byte(`<group name="g,"></group>`), 0o600))
	must(os.Symlink(at("nowhere"), at("rules/dangling.xml")))
	must(syscall.Mkfifo(at("rules/pipe.xml"), 0o600))
	must(os.Symlink("/dev/zero", at("rules/device.xml")))
	must(os.Symlink(at("rules"), at("rules/folder.xml")))
	must(syscall.Mkfifo(at("decoders/pipe2.xml"), 0o600))
	must(syscall.Mkfifo(at("lists/pipe3"), 0o600))
	must(os.WriteFile(at("rules/endless.xml"), nil, 0o600))
	must(os.Truncate(at("rules/endless.xml"), 1<<40)) // sparse: it takes no room
	want := map[string]string{
		"rules/dangling.xml": "leads nowhere", "rules/pipe.xml": "a named pipe", "rules/device.xml": "a device", "rules/folder.xml": "a directory",
		"decoders/pipe2.xml": "a named pipe", "lists/pipe3": "a named pipe", "rules/endless.xml": "larger than 16 MiB",
	}
	check := func(err error) {
		t.Helper()
		if err == nil {
			t.Fatal("the directory is accepted")
		}
		for name, cause := range want {
			found := false
			for line := range strings.Lines(err.Error()) {
				found = found || strings.Contains(line, filepath.FromSlash(name)) && strings.Contains(line, cause)
			}
			if !found {
				t.Errorf("no line says that %s is %q: %v", name, cause, err)
			}
		}
	}
	_, err := ruleset.LoadDir(dir)
	check(err)
	conf := at("ossec.conf")
	must(os.WriteFile(conf, []byte(`<ossec_config><ruleset><decoder_dir>decoders</decoder_dir><rule_dir>rules</rule_dir><list>lists/pipe3</list></ruleset></ossec_config>`), 0o600))
	_, err = ruleset.LoadConf(conf)
	check(err)
	for name := range want {
		must(os.RemoveAll(at(name)))
	}
	if _, err := ruleset.LoadDir(dir); err != nil {
		t.Errorf("a directory without them: %v", err)
	}
}

func TestDirectoriesThatAreNoRuleset(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "x.txt")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		filepath.Join(dir, "nothing"): "there is no such directory",
		file:                          "it is no directory",
		dir:                           "no folder named decoders, rules or lists, and no XML file",
	} {
		if _, err := ruleset.LoadDir(name); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want %q and the name", name, err, want)
		}
	}
	// XML files alone are a ruleset too.
	for name, text := range map[string]string{"a.xml": `<decoder name="d"><prematch>^x</prematch></decoder>`, "b.xml": `<group name="g,"></group>`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := ruleset.LoadDir(dir)
	if err != nil || len(s.Decoders) != 1 || len(s.Rules) != 1 || s.Decoders[0].Path != filepath.Join(dir, "a.xml") {
		t.Errorf("XML files alone: %+v, %v", s, err)
	}
}
