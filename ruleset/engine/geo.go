package engine

import (
	"net/netip"
	"strings"

	"vedette/internal/regex"
)

// placesMax bounds the cache of addresses to places.
const placesMax = 4096

// geo gives the place of an address; nil when there is none, or no database.
// Remembered events keep addresses, not places: the database is the same for all
// events that one ruleset version judges.
func (s *Keyed) geo(ip *value) *value {
	if s.eng.c.Geo == nil || !ip.set {
		return nil
	}
	if v, ok := s.places[ip.text]; ok {
		return v
	}
	var v *value
	if a, err := netip.ParseAddr(ip.text); err == nil {
		if place, ok := s.eng.c.Geo(a.Unmap()); ok {
			// Lowered here: a text made by the event's patterns ends with the event.
			v = &value{text: place, low: regex.Lower(place), set: true, lowered: true}
		}
	}
	if s.places == nil {
		s.places = map[string]*value{}
	}
	if len(s.places) >= placesMax {
		clear(s.places)
	}
	s.places[strings.Clone(ip.text)] = v
	return v
}
