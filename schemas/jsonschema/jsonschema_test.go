package jsonschema_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"vedette/schemas/jsonschema"
)

// compile returns the schemas of alerts and archives.
func compile(t *testing.T) (alert, archive *validator.Schema) {
	t.Helper()
	c := validator.NewCompiler()
	for name, text := range map[string][]byte{jsonschema.AlertName: jsonschema.Alert(), jsonschema.ArchiveName: jsonschema.Archive()} {
		doc, err := validator.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.AddResource(jsonschema.Base+name, doc); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var err error
	if alert, err = c.Compile(jsonschema.Base + jsonschema.AlertName); err != nil {
		t.Fatal(err)
	}
	if archive, err = c.Compile(jsonschema.Base + jsonschema.ArchiveName); err != nil {
		t.Fatal(err)
	}
	return alert, archive
}

func holds(t *testing.T, s *validator.Schema, text string) error {
	t.Helper()
	v, err := validator.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return s.Validate(v)
}

func TestGoldenAlertHolds(t *testing.T) {
	t.Parallel()
	alert, archive := compile(t)
	b, err := os.ReadFile(filepath.Join("..", "testdata", "alert-v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g struct{ Value json.RawMessage }
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*validator.Schema{alert, archive} {
		if err := holds(t, s, string(g.Value)); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatIsNoAlertIsRefused(t *testing.T) {
	t.Parallel()
	alert, archive := compile(t)
	const head = `{"timestamp":"2026-11-22T00:58:20.271+0000",`
	const rule = `"rule":{"level":5,"description":"d","id":"1","mail":false,"groups":["g"],"pci_dss":["1"]},`
	const tail = `"agent":{"id":"001"},"manager":{"name":"m"},"id":"1.0","full_log":"x","decoder":{}}`
	with := func(member string) string { return head + rule + member + tail }
	for _, tc := range []struct {
		name, text     string
		alert, archive bool
	}{
		{"the least", with(""), true, true},
		{"no rule", head + tail, false, true},
		{"no full log", strings.Replace(with(""), `"full_log":"x",`, "", 1), true, false},
		{"colon in the zone", strings.Replace(with(""), "+0000", "+00:00", 1), false, false},
		{"level 0", strings.Replace(with(""), `"level":5`, `"level":0`, 1), false, false},
		{"rule id is a number", strings.Replace(with(""), `"id":"1",`, `"id":1,`, 1), false, false},
		{"compliance is no list", strings.Replace(with(""), `["1"]`, `"1"`, 1), false, false},
		{"unknown member", with(`"x":1,`), false, false},
		{"number in data", with(`"data":{"a":{"b":1}},`), false, false},
		{"array in data", with(`"data":{"a":{"b":[1,{"c":2}]},"d":""},`), true, true},
		{"empty data", with(`"data":{},`), false, false},
		{"syscheck", with(`"syscheck":{"path":"/x","inode_after":5,"mtime_after":"2026-11-22T00:58:20","event":"added"},`), true, true},
		{"syscheck and data", with(`"syscheck":{"path":"/x","event":"added"},"data":{"a":"b"},`), false, false},
		{"inode as text", with(`"syscheck":{"path":"/x","inode_after":"5","event":"added"},`), false, false},
		{"agent and agentless", with(`"agentless":{"script":"s","user":"u","host":"h"},`), false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if err := holds(t, alert, tc.text); (err == nil) != tc.alert {
				t.Errorf("as alert: %v", err)
			}
			if err := holds(t, archive, tc.text); (err == nil) != tc.archive {
				t.Errorf("as archive: %v", err)
			}
		})
	}
}
