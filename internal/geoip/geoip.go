// Package geoip finds where an address is in a database of the MaxMind
// format (.mmdb), such as GeoLite2-Country or -City or a free equivalent. None
// is shipped: the data has its own license.
package geoip

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/oschwald/maxminddb-golang/v2"
)

// MaxBytes bounds a database; it is held in memory.
const MaxBytes = 512 << 20

// DB is a database. It is safe for concurrent use.
type DB struct{ r *maxminddb.Reader }

// Read returns the bytes of the database at path, for New.
func Read(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open GeoIP database: %w", err)
	}
	if st.Size() > MaxBytes {
		return nil, fmt.Errorf("open GeoIP database %s: %d bytes, at most %d are read", path, st.Size(), MaxBytes)
	}
	// Read, not mapped: a file that shrinks below a map ends the process.
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("open GeoIP database: %w", err)
	}
	return data, nil
}

// Open reads the database at path.
func Open(path string) (*DB, error) {
	data, err := Read(path)
	if err != nil {
		return nil, err
	}
	db, err := New(data)
	if err != nil {
		return nil, fmt.Errorf("open GeoIP database %s: %w", path, err)
	}
	return db, nil
}

// New reads a database that is in memory already; data must not change.
func New(data []byte) (*DB, error) {
	r, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, err
	}
	return &DB{r}, nil
}

// Country returns the ISO code of the country where an address is used, else of
// the one where it is registered, in capitals as it stands there.
func (d *DB) Country(a netip.Addr) (code string, ok bool) {
	if a.Is6() && d.r.Metadata.IPVersion == 4 {
		return "", false
	}
	res := d.r.Lookup(a)
	for _, member := range []string{"country", "registered_country"} {
		// A record that is broken or lacks the member knows no country.
		if err := res.DecodePath(&code, member, "iso_code"); err == nil && code != "" {
			return code, true
		}
	}
	return "", false
}

// Location is what a database of cities knows of an address; one of countries
// knows the country's name only. What is not known is empty.
type Location struct {
	City, Region, Country string
	// Latitude and Longitude count if Point is set.
	Latitude, Longitude float64
	Point               bool
}

// Location returns where an address is, in English names.
func (d *DB) Location(a netip.Addr) (l Location, ok bool) {
	if a.Is6() && d.r.Metadata.IPVersion == 4 {
		return l, false
	}
	type named struct {
		Names map[string]string `maxminddb:"names"`
	}
	var rec struct {
		City         named   `maxminddb:"city"`
		Subdivisions []named `maxminddb:"subdivisions"`
		Country      named   `maxminddb:"country"`
		Location     struct {
			Latitude  *float64 `maxminddb:"latitude"`
			Longitude *float64 `maxminddb:"longitude"`
		} `maxminddb:"location"`
	}
	res := d.r.Lookup(a)
	if !res.Found() || res.Decode(&rec) != nil {
		return l, false
	}
	l.City, l.Country = rec.City.Names["en"], rec.Country.Names["en"]
	if len(rec.Subdivisions) > 0 {
		l.Region = rec.Subdivisions[0].Names["en"]
	}
	if p := rec.Location; p.Latitude != nil && p.Longitude != nil {
		l.Latitude, l.Longitude, l.Point = *p.Latitude, *p.Longitude, true
	}
	return l, l != Location{}
}
