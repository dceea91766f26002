package ruleset_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset"
)

// installation writes files below a directory and returns it.
func installation(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func confFiles(text string) map[string]string {
	return map[string]string{
		"etc/ossec.conf":                  text,
		"ruleset/decoders/0010-a.xml":     "a",
		"ruleset/decoders/0020-b.xml":     "b",
		"ruleset/decoders/notes.txt":      "no",
		"ruleset/decoders/sub/0001-c.xml": "not recursive",
		"ruleset/rules/0010-r.xml":        "r10",
		"ruleset/rules/0015-r.xml":        "r15",
		"etc/decoders/0015-own.xml":       "own",
		"etc/rules/local_rules.xml":       "local",
		"etc/rules/0010-r.xml":            "shadow",
		"etc/lists/audit-keys":            "k:v\n",
		"etc/lists/amazon/names":          "x:y\n",
	}
}

// shown lists the loaded parts, in order, as kind, name and text.
func shown(s ruleset.Source) string {
	var b strings.Builder
	for _, f := range s.Decoders {
		b.WriteString("d " + f.Name + "=" + string(f.Data) + "; ")
	}
	for _, f := range s.Rules {
		b.WriteString("r " + f.Name + "=" + string(f.Data) + "; ")
	}
	for _, f := range s.Lists {
		b.WriteString("l " + f.Name + "; ")
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func TestTheRulesetBlockOfAConfigurationNamesTheFiles(t *testing.T) {
	t.Parallel()
	f := func(text, want string) {
		t.Helper()
		dir := installation(t, confFiles(text))
		s, err := ruleset.LoadConf(filepath.Join(dir, "etc", "ossec.conf"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if d := cmp.Diff(want, shown(s)); d != "" {
			t.Errorf("%s:\n%s", text, d)
		}
	}
	// The defaults, where nothing is named.
	f(`<ossec_config><ruleset></ruleset></ossec_config>`,
		"d 0010-a.xml=a; d 0020-b.xml=b; r 0010-r.xml=r10; r 0015-r.xml=r15")
	// As the vendor ships it; files sort by base name over all directories.
	f(`<!-- comment --><ossec_config><global/></ossec_config><ossec_config><ruleset>
		<decoder_dir>ruleset/decoders</decoder_dir><rule_dir>ruleset/rules</rule_dir>
		<rule_exclude>0015-r.xml</rule_exclude>
		<list>etc/lists/audit-keys</list><list>etc/lists/amazon/names</list>
		<decoder_dir>etc/decoders</decoder_dir><rule_dir>etc/rules</rule_dir></ruleset></ossec_config>`,
		"d 0010-a.xml=a; d 0015-own.xml=own; d 0020-b.xml=b; r 0010-r.xml=r10; r 0010-r.xml=shadow; r local_rules.xml=local; l amazon/names; l audit-keys")
	// An exclusion by directory and name spares the other; a pattern chooses.
	f(`<ossec_config><ruleset><rule_dir>ruleset/rules/</rule_dir><rule_dir>etc/rules</rule_dir><rule_exclude>etc/rules/0010-r.xml</rule_exclude>
		<decoder_dir pattern="0010-\w+.xml$">ruleset/decoders</decoder_dir></ruleset></ossec_config>`,
		"d 0010-a.xml=a; r 0010-r.xml=r10; r 0015-r.xml=r15; r local_rules.xml=local")
	// An include is taken even if excluded, and counts once.
	f(`<ossec_config><ruleset><rule_include>0015-r.xml</rule_include><rule_include>ruleset/rules/0015-r.xml</rule_include><rule_dir>etc/rules</rule_dir>
		<rule_exclude>0015-r.xml</rule_exclude><decoder_include>etc/decoders/0015-own.xml</decoder_include></ruleset></ossec_config>`,
		"d 0010-a.xml=a; d 0015-own.xml=own; d 0020-b.xml=b; r 0010-r.xml=shadow; r 0015-r.xml=r15; r local_rules.xml=local")
}

func TestAConfigurationSaysAllThatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	dir := installation(t, confFiles(`<ossec_config>
<ruleset>
  <rule_dir>etc/nothing</rule_dir>
  <rule_dir recursive="yes">etc/rules</rule_dir>
  <decoder_dir pattern="(">etc/decoders</decoder_dir>
  <decoder_include>absent.xml</decoder_include>
  <rules>x</rules>
  <list></list>
  <list>etc/lists/absent</list>
</ruleset></ossec_config>`))
	_, err := ruleset.LoadConf(filepath.Join(dir, "etc", "ossec.conf"))
	if err == nil {
		t.Fatal("it was accepted")
	}
	for _, want := range []string{
		"etc/nothing", "ossec.conf:4:", "no pattern", "ossec.conf:5:", "absent.xml", "ossec.conf:7:", "unknown element <rules>",
		"ossec.conf:8:", "<list> is empty", "lists/absent",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said in:\n%v", want, err)
		}
	}
	for text, want := range map[string]string{
		`<ossec_config></ossec_config>`: "no <ruleset>", `<ossec_config>`: "ossec.conf:1",
	} {
		dir := installation(t, map[string]string{"ossec.conf": text})
		if _, err := ruleset.LoadConf(filepath.Join(dir, "ossec.conf")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestFilesThatAConfigurationExcludesCanBeRead(t *testing.T) {
	t.Parallel()
	dir := installation(t, confFiles(`<ossec_config><ruleset>
<rule_dir>ruleset/rules</rule_dir>
<rule_exclude>0015-r.xml</rule_exclude>
<rule_exclude>ruleset/rules/0010-r.xml</rule_exclude>
<rule_include>etc/rules/0010-r.xml</rule_include>
<decoder_exclude>nothing.xml</decoder_exclude>
</ruleset></ossec_config>`))
	conf := filepath.Join(dir, "etc", "ossec.conf")
	s, err := ruleset.Excluded(conf)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := shown(s), "r 0010-r.xml=r10; r 0015-r.xml=r15"; got != want {
		t.Errorf("excluded are %s, want %s", got, want)
	}
	if s, err = ruleset.LoadConf(conf); err != nil || strings.Contains(shown(s), "r15") || !strings.Contains(shown(s), "0010-r.xml=shadow") {
		t.Errorf("the configuration names %s, %v", shown(s), err)
	}
}
