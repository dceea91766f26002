package app

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vedette/config"
	"vedette/internal/geoip/geoiptest"
)

func TestEngineConfigReadsTheGeoIPDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "countries.mmdb")
	if err := os.WriteFile(path, geoiptest.Countries(t, map[string]string{"203.0.113.0/24": "NZ"}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	if ec, err := EngineConfig(c, false); err != nil || ec.Geo != nil {
		t.Errorf("without a database: %v", err)
	}
	c.Analyze.GeoIPFile = path
	ec, err := EngineConfig(c, false)
	if err != nil {
		t.Fatal(err)
	}
	if place, ok := ec.Geo(netip.MustParseAddr("203.0.113.7")); place != "NZ" || !ok {
		t.Errorf("%q, %v", place, ok)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := EngineConfig(c, false); err == nil || !strings.Contains(err.Error(), "analyze.geoip_file") {
		t.Error(err)
	}
}
