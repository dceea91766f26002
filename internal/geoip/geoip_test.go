package geoip

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"

	"vedette/internal/geoip/geoiptest"
)

func TestCountry(t *testing.T) {
	t.Parallel()
	code := func(c string) mmdbtype.Map { return mmdbtype.Map{"iso_code": mmdbtype.String(c)} }
	path := filepath.Join(t.TempDir(), "x.mmdb")
	data := geoiptest.Records(t, map[string]mmdbtype.DataType{
		"203.0.113.0/24":  mmdbtype.Map{"country": code("NZ"), "registered_country": code("AU")},
		"198.51.100.0/25": mmdbtype.Map{"registered_country": code("AU")},
		"192.0.2.0/24":    mmdbtype.Map{"city": mmdbtype.Map{}},
		"192.0.3.0/24":    mmdbtype.Map{"country": mmdbtype.String("odd")},
		"2001:db8::/32":   mmdbtype.Map{"country": code("SE")},
	})
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"203.0.113.7": "NZ", "198.51.100.9": "AU", "198.51.100.200": "", "192.0.2.1": "", "192.0.3.1": "", "10.0.0.1": "", "2001:db8::1": "SE", "2001:db9::1": "",
	} {
		if got, ok := db.Country(netip.MustParseAddr(addr)); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", addr, got, ok)
		}
	}
}

func TestLocation(t *testing.T) {
	t.Parallel()
	name := func(n string) mmdbtype.Map {
		return mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(n), "de": mmdbtype.String("nicht " + n)}}
	}
	db, err := New(geoiptest.Records(t, map[string]mmdbtype.DataType{
		"203.0.113.0/24": mmdbtype.Map{
			"city": name("Wellington"), "subdivisions": mmdbtype.Slice{name("Wellington Region"), name("second")}, "country": name("New Zealand"),
			"location": mmdbtype.Map{"latitude": mmdbtype.Float64(-41.25), "longitude": mmdbtype.Float64(174.75)},
		},
		"198.51.100.0/24": mmdbtype.Map{"country": name("Sweden")},
		"192.0.2.0/24":    mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String("SE")}},
		"192.0.3.0/24":    mmdbtype.Map{"country": mmdbtype.String("odd")},
	}))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]Location{
		"203.0.113.7":  {City: "Wellington", Region: "Wellington Region", Country: "New Zealand", Latitude: -41.25, Longitude: 174.75, Point: true},
		"198.51.100.1": {Country: "Sweden"}, "192.0.2.1": {}, "192.0.3.1": {}, "10.0.0.1": {}, "2001:db8::1": {},
	} {
		if got, ok := db.Location(netip.MustParseAddr(addr)); got != want || ok != (want != Location{}) {
			t.Errorf("%s: %+v, %v", addr, got, ok)
		}
	}
}

func TestWhatIsNoDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.mmdb")
	if err := os.WriteFile(path, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + ".missing"} {
		if _, err := Open(p); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %v", p, err)
		}
	}
}
