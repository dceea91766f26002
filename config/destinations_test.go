package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/forward"
	"vedette/forward/alertsfile"
	"vedette/forward/route"
	"vedette/forward/webhook"
	"vedette/internal/secret"
)

func TestDestinationsAreAListOfEntries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url := filepath.Join(dir, "url")
	if err := os.WriteFile(url, []byte("https://hooks.example.com/T0/secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := `
Forward:
  Destinations:
    - {name: soc, type: webhook, url_file: ` + url + `, when: "rule.level>=10;rule.groups~authentication", timeout: 10s,
       Headers: {X-Team: soc, X-Number: 7}, batch: 5, agent_labels: {Env: Prod}, rule_ids: [5710, "5712"], secret_file: }
    - name: alerts_file
      type: file
      dir: ` + dir + `
      min_level: 3
`
	hook := webhook.Default()
	hook.URLFile, hook.Timeout, hook.Batch = url, 10*time.Second, 5
	hook.Headers = map[string]secret.String{"X-Team": "soc", "X-Number": "7"}
	want := []forward.Entry{
		{
			Name: "soc", Type: "webhook", Settings: &hook,
			Route: route.Config{When: "rule.level>=10;rule.groups~authentication", RuleIDs: []string{"5710", "5712"}, AgentLabels: map[string]string{"Env": "Prod"}},
		},
		{Name: "alerts_file", Type: "file", Route: route.Config{MinLevel: 3}, Settings: &alertsfile.Config{Dir: dir}},
	}
	reveal := cmp.Transformer("reveal", func(s secret.String) string { return s.Reveal() })
	c, err := Load(write(t, text), nil)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if d := cmp.Diff(want, c.Forward.All(), reveal); d != "" {
		t.Errorf("from a file (-want +got):\n%s", d)
	}
	// The environment replaces the list.
	c, err = Load(write(t, text), []string{"VEDETTE_FORWARD_DESTINATIONS=[{name: other, type: file}]"})
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if d := cmp.Diff([]forward.Entry{{Name: "other", Type: "file", Settings: &alertsfile.Config{}}}, c.Forward.All(), reveal); d != "" {
		t.Errorf("from the environment (-want +got):\n%s", d)
	}
	// A section of comments is no list, and no mistake.
	for _, text := range []string{"forward:\n  destinations:\n  # - {name: x}\n", "forward: {destinations: []}", "forward: {destinations: null}", "forward:\n"} {
		if c, err := Load(write(t, text), nil); err != nil || len(c.Forward.All()) != 0 {
			t.Errorf("%q gives %d destinations, %v; want none", text, len(c.Forward.All()), err)
		}
	}
}

func TestMistakesInDestinationsAreSaidPlainly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{soc: {type: webhook}}":          "forward.destinations: a list is expected, such as [{name: soc",
		"5":                               "forward.destinations: a list is expected",
		"[x]":                             "forward.destinations[0]: an entry with name, type and settings is expected",
		"[{name: a, type: webhok}]":       `forward.destinations[0].type: there is no type "webhok" (did you mean webhook?); the types are file, webhook`,
		"[{name: a, type: pigeon}]":       `.type: there is no type "pigeon"; the types are`,
		"[{name: a}]":                     `.type: there is no type ""; the types are`,
		"[{name: a, type: file, dri: x}]": "forward.destinations[0].dri: unknown key; the keys of a file are",
		"[{name: a, type: file, url: x}]": "forward.destinations[0].url: unknown key; the keys of a file are name, type, when, min_level, rule_ids, rule_groups, agent_labels, dir",
		"[{name: a, type: webhook, url: 'http://x', hedaers: {}}]":                   "forward.destinations[0].hedaers: unknown key (did you mean headers?)",
		"[{name: a, type: webhook, url: 'http://x', rule_id: [1]}]":                  "forward.destinations[0].rule_id: unknown key (did you mean rule_ids?)",
		"[{name: a, type: webhook}]":                                                 "forward.destinations[0].url: empty",
		"[{name: a, type: webhook, url: 'http://x', timeout: 5}]":                    "forward.destinations[0].timeout: 5 has no unit; write it as 30s",
		"[{name: a, type: webhook, url: 'http://x', timeout: soon}]":                 `forward.destinations[0].timeout: "soon" is no time`,
		"[{name: a, type: webhook, url: 'http://x', batch: many}]":                   "forward.destinations[0].batch: a whole number is expected",
		"[{name: a, type: webhook, url: 'http://x', insecure_skip_verify: perhaps}]": "forward.destinations[0].insecure_skip_verify: true or false is expected",
		"[{name: a, type: webhook, url: 'http://x', headers: 5}]":                    "forward.destinations[0].headers: names with values are expected",
		"[{name: a, type: webhook, url: [1, 2]}]":                                    "forward.destinations[0].url: a text is expected",
		"[{name: a, type: webhook, url: 'http://x', header_files: {A: /no/such}}]":   "forward.destinations[0].header_files: A: open /no/such",
		"[{type: file}]":                                 "forward.destinations[0].name: empty",
		"[{name: A b, type: file}]":                      `forward.destinations[0].name: "A b" is not 1 to 63 of a-z`,
		"[{name: indexer, type: file}]":                  `forward.destinations[0].name: "indexer" is the name of a destination that is always there`,
		"[{name: activeresponse, type: file}]":           "is always there",
		"[{name: a, type: file}, {name: a, type: file}]": `forward.destinations[1].name: another destination is called "a" too`,
		"[{name: a, type: file, min_level: 99}]":         "forward.destinations[0].min_level: 99 is not in 0…16",
		"[{name: a, type: file, when: rule.levle>3}]":    `forward.destinations[0].when: there is no field "rule.levle"`,
	} {
		_, err := Load(write(t, "forward: {destinations: "+text+"}\n"), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
			continue
		}
		for _, bad := range []string{"strconv", "decoding failed", "reflect", "mapstructure"} {
			if strings.Contains(err.Error(), bad) {
				t.Errorf("%s: the error speaks of %s: %v", text, bad, err)
			}
		}
	}
	// All at once, and the same from the environment.
	_, err := Load("", []string{"VEDETTE_FORWARD_DESTINATIONS=[{name: a, type: file, x: 1}, {name: b, type: webhook, timeout: 1}]"})
	for _, want := range []string{"forward.destinations[0].x", "forward.destinations[1].timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if _, err := Load("", []string{"VEDETTE_FORWARD_DESTINATIONS=[{"}); err == nil || !strings.Contains(err.Error(), "forward.destinations: no list of destinations") {
		t.Errorf("a broken list in the environment: %v", err)
	}
}

func TestTheEarlierFormOfTheAlertsFileWorks(t *testing.T) {
	t.Parallel()
	c, err := Load(write(t, "forward: {alerts_file: {enabled: true, dir: /var/log/vedette}}\n"), nil)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if d := cmp.Diff([]forward.Entry{{Name: "alerts_file", Type: "file", Settings: &alertsfile.Config{Dir: "/var/log/vedette"}}}, c.Forward.All()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	const says = `write forward.destinations: [{name: alerts_file, type: file, dir: "/var/log/vedette"}]`
	if w := strings.Join(c.Warnings(), "\n"); !strings.Contains(w, says) {
		t.Errorf("the warnings do not name the new form:\n%s", w)
	}
	// The warning's own words are a configuration that does the same.
	next, err := Load(write(t, "forward: {destinations: [{name: alerts_file, type: file, dir: \"/var/log/vedette\"}]}\n"), nil)
	if err != nil || cmp.Diff(c.Forward.All(), next.Forward.All()) != "" || strings.Contains(strings.Join(next.Warnings(), "\n"), "alerts_file") {
		t.Errorf("the new form gives %+v, %v, warnings %q", next.Forward.All(), err, next.Warnings())
	}
	if c, err := Load("", []string{"VEDETTE_FORWARD_ALERTS_FILE_ENABLED=true"}); err != nil || len(c.Forward.All()) != 1 {
		t.Errorf("from the environment: %+v, %v", c.Forward.All(), err)
	}
	if _, err := Load(write(t, "forward: {alerts_file: {enabled: true}, destinations: [{name: alerts_file, type: file}]}\n"), nil); err == nil || !strings.Contains(err.Error(), "leave forward.alerts_file out") {
		t.Errorf("both forms: %v", err)
	}
	if _, err := Load(write(t, "forward: {alerts_file: {dir: x}}\n"), nil); err == nil || !strings.Contains(err.Error(), "forward.alerts_file.dir: given, but") {
		t.Errorf("a directory without the file: %v", err)
	}
}

func TestDestinationsAreShownWithoutTheirSecrets(t *testing.T) {
	t.Parallel()
	c, err := Load(write(t, "forward: {destinations: [{name: soc, type: webhook, url: 'https://x/t0ken', headers: {Authorization: Bearer t0ken}, min_level: 7}, {name: f, type: file}]}\n"), nil)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	shown, err := Show(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"name: soc", "type: webhook", "min_level: 7", "Authorization: '[redacted]'", "url: '[redacted]'", "timeout: 30s", "batch: 1", "type: file", "dir: \"\""} {
		if !strings.Contains(string(shown), want) {
			t.Errorf("not shown: %s\n%s", want, shown)
		}
	}
	if strings.Contains(string(shown), "t0ken") {
		t.Errorf("a secret is shown:\n%s", shown)
	}
	if shown, err := Show(Default()); err != nil || !strings.Contains(string(shown), "destinations: []") {
		t.Errorf("no destinations are shown as %s, %v", shown, err)
	}
}

func TestOnlyAProcessThatForwardsOpensTheFilesOfDestinations(t *testing.T) {
	t.Parallel()
	file := write(t, "forward: {destinations: [{name: soc, type: webhook, url_file: /no/such}]}\n")
	for _, role := range Roles() {
		if _, err := LoadFor(file, nil, []string{role}); (err != nil) != (role == RoleForward) {
			t.Errorf("role %s with a file that is not there: %v", role, err)
		}
	}
}

func TestUnwiseSettingsOfDestinationsAreWarnedOf(t *testing.T) {
	t.Parallel()
	c, err := Load(write(t, "forward: {destinations: [{name: f, type: file}, {name: soc, type: webhook, url: 'http://x', body: '{\"a\": \"{{.full_log}}\"}'}]}\n"), nil)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	w := strings.Join(c.Warnings(), "\n")
	for _, want := range []string{"forward.destinations[1].url: alerts travel in the clear", "forward.destinations[1].body: it gives no JSON"} {
		if !strings.Contains(w, want) {
			t.Errorf("no warning with %q in:\n%s", want, w)
		}
	}
}
