package rulesets

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/internal/geoip/geoiptest"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

const geoDecoders = `<decoder name="g"><prematch>^G </prematch></decoder>
<decoder name="g1"><parent>g</parent><regex>ip=(\S+)</regex><order>srcip</order></decoder>
<decoder name="p"><program_name>^p$</program_name></decoder>`

const geoRules = `<group name="g,"><rule id="100001" level="5"><decoded_as>g</decoded_as><srcgeoip>NZ</srcgeoip><description>from far</description></rule></group>`

// The GeoIP database is a file of the ruleset: it counts for the version and
// goes to workers that do not have it.
func TestTheGeoIPDatabaseIsPartOfTheRuleset(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, data, 0o600)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("decoders/d.xml", []byte(geoDecoders))
	write("rules/r.xml", []byte(geoRules))
	geoipFile := ""
	fires := func(r *Ruleset) bool {
		t.Helper()
		e := r.Engine(engine.Config{ManagerName: "test", ClusterName: "test"})
		return e.Process(e.NewState(), &schemas.Event{AgentID: "001", Queue: '1', Location: "/x", Time: time.Now(), Log: []byte("G ip=203.0.113.7")}).RuleID == 100001
	}
	load := func() *Ruleset {
		t.Helper()
		r, err := Load([]string{dir}, geoipFile)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	without := load()
	if fires(without) {
		t.Error("it fires without a database")
	}
	geoipFile = write("countries.mmdb", geoiptest.Countries(t, map[string]string{"203.0.113.0/24": "NZ"}))
	with := load()
	if !fires(with) || with.Version == without.Version {
		t.Error("the database does not count", with.Version)
	}
	sent, err := compileFiles(with.Version, sourceFiles(with.Source))
	if err != nil || !fires(sent) {
		t.Error("a worker that is sent the files judges otherwise", err)
	}
	files := sources{names: []string{dir}, geoipFile: geoipFile}
	first, err := files.load()
	if err != nil {
		t.Fatal(err)
	}
	write("countries.mmdb", geoiptest.Countries(t, map[string]string{"203.0.113.0/24": "AU", "198.51.100.0/24": "NZ"}))
	second, err := files.load()
	if err != nil || first.Version() == second.Version() {
		t.Error("a changed database is not noticed", err)
	}
	write("countries.mmdb", []byte("x"))
	if _, err := Load([]string{dir}, geoipFile); err == nil || !strings.Contains(err.Error(), "countries.mmdb") {
		t.Error(err)
	}
	if d := cmp.Diff(first.Rules, second.Rules); d != "" {
		t.Error(d)
	}
}
