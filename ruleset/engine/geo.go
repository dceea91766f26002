package engine

import (
	"net/netip"
	"strings"

	"vedette/internal/regex"
)

// placesMax bounds the cache of addresses to places.
const placesMax = 4096

// places looks up the places of addresses and keeps the answers.
type places struct {
	find  func(netip.Addr) (place string, ok bool) // of Config; nil knows no place
	known map[string]*value
}

// of gives the place of an address; nil when there is none, or no database.
// Remembered events keep addresses, not places: the database is the same for all
// events that one ruleset version judges.
func (p *places) of(ip *value) *value {
	if p.find == nil || !ip.set {
		return nil
	}
	if v, ok := p.known[ip.text]; ok {
		return v
	}
	var v *value
	if a, err := netip.ParseAddr(ip.text); err == nil {
		if place, ok := p.find(a.Unmap()); ok {
			// Lowered here: a text made by the event's patterns ends with the event.
			v = &value{text: place, low: regex.Lower(place), set: true, lowered: true}
		}
	}
	if p.known == nil {
		p.known = map[string]*value{}
	}
	if len(p.known) >= placesMax {
		clear(p.known)
	}
	p.known[strings.Clone(ip.text)] = v
	return v
}
