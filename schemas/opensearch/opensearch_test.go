package opensearch

import "testing"

func TestTemplateHasTheTypesDashboardsExpect(t *testing.T) {
	t.Parallel()
	f := func(name, want string) {
		t.Helper()
		if got := AlertFieldTypes()[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	f("@timestamp", "date")
	f("timestamp", "date")
	f("rule.level", "long")
	f("rule.id", "keyword")
	f("rule.mail", "boolean")
	f("full_log", "text")
	f("GeoLocation.location", "geo_point")
	f("data.aws.srcaddr", "ip")
	f("data.sca.passed", "integer")
	f("data.hardware.cpu_mhz", "double")
	f("data.unheard", "")
	n := map[string]int{}
	for _, typ := range AlertFieldTypes() {
		n[typ]++
	}
	// spec/indexer-documents.md §1; of the longs three are ours (vedette.*).
	for typ, want := range map[string]int{"date": 30, "text": 15, "geo_point": 2, "boolean": 1, "integer": 4, "double": 5, "ip": 8, "long": 61} {
		if n[typ] != want {
			t.Errorf("%d fields of type %s, want %d", n[typ], typ, want)
		}
	}
}
