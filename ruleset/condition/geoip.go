package condition

import (
	"vedette/internal/regex"
	"vedette/ruleset/program"
)

// GeoIP tests the place of an address with a pattern.
type GeoIP struct{ Text }

func geoIP(name string, address program.Static) Kind {
	return Kind{Name: name, Compile: func(l Loader, w *Written) ([]program.Condition, *Fault) {
		t, f := readText(l, w, regex.OSMatch, program.Source{Kind: program.FromGeoIP, Static: address})
		return one(GeoIP{t}), f
	}}
}

// Explain shows the pattern and the place.
func (c GeoIP) Explain(e program.Event, r *program.Rule) program.Failure {
	f := c.Text.Explain(e, r)
	if !e.HasPlaces() {
		f.Note = "there is no GeoIP database"
	}
	return f
}
