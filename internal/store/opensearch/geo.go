package opensearch

import (
	"bytes"
	"encoding/json"
	"net/netip"

	"vedette/internal/geoip"
)

// geoFields are the members of data that hold an address; of several that are
// found the last one counts, as in the pipeline.
var geoFields = [][]string{
	{"srcip"},
	{"win", "eventdata", "ipAddress"},
	{"aws", "sourceIPAddress"},
	{"aws", "client_ip"},
	{"aws", "service", "action", "networkConnectionAction", "remoteIpDetails", "ipAddressV4"},
	{"aws", "httpRequest", "clientIp"},
	{"ms-graph", "ipAddress"},
	{"ms-graph", "actor", "ipAddress"},
	{"gcp", "jsonPayload", "sourceIP"},
	{"office365", "ClientIP"},
}

// geoMember is GeoLocation as a document gets it.
type geoMember struct {
	City     string    `json:"city_name,omitempty"`
	Country  string    `json:"country_name,omitempty"`
	Region   string    `json:"region_name,omitempty"`
	Location *geoPoint `json:"location,omitempty"`
}

type geoPoint struct {
	Lon float64 `json:"lon"`
	Lat float64 `json:"lat"`
}

// geoLocation is the member GeoLocation of a document, nil for none.
func geoLocation(db *geoip.DB, doc []byte) *geoMember {
	if db == nil || !mayHoldAddress(doc) {
		return nil
	}
	var alert struct {
		Data map[string]any `json:"data"`
		Geo  any            `json:"GeoLocation"`
	}
	if json.Unmarshal(doc, &alert) != nil || alert.Geo != nil {
		return nil
	}
	var found *geoMember
	for _, path := range geoFields {
		text, _ := member(alert.Data, path).(string)
		addr, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		l, ok := db.Location(addr.Unmap())
		if !ok {
			continue
		}
		found = &geoMember{City: l.City, Country: l.Country, Region: l.Region}
		if l.Point {
			found.Location = &geoPoint{Lon: l.Longitude, Lat: l.Latitude}
		}
	}
	return found
}

// mayHoldAddress spares documents without any of the members the parsing.
func mayHoldAddress(doc []byte) bool {
	for _, path := range geoFields {
		if bytes.Contains(doc, []byte(`"`+path[len(path)-1]+`"`)) {
			return true
		}
	}
	return false
}

func member(m map[string]any, path []string) any {
	for _, name := range path[:len(path)-1] {
		next, ok := m[name].(map[string]any)
		if !ok {
			return nil
		}
		m = next
	}
	return m[path[len(path)-1]]
}
