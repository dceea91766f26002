package commands

import (
	"time"

	"vedette/schemas"
)

const (
	// ordersMax bounds the commands that are remembered, the newest.
	ordersMax = 20_000
	// textMax bounds what is remembered of an answer; who waits gets all of it.
	textMax = 1024
)

// Order is a command and what came of it, as far as is known. It says nothing of
// what was sent.
type Order struct {
	ID      string
	Kind    schemas.CommandKind
	AgentID string
	Origin  string
	// Response, AlertID and RuleID tell of an active response what it is and why.
	Response, AlertID, RuleID string
	// Package is the file of an upgrade.
	Package string
	// Given is zero when only an answer was seen, and Expires then too.
	Given, Expires time.Time
	// Status is that of the last reply, empty as long as nobody has said anything;
	// Node said Text at Changed.
	Status  schemas.ReplyStatus
	Text    string
	Node    string
	Changed time.Time
}

// Final reports whether nothing more comes of the order: it has its end, or none
// who could send it did so in its time.
func (o *Order) Final(now time.Time) bool {
	switch o.Status {
	case "":
		return !o.Expires.IsZero() && now.After(o.Expires)
	case schemas.ReplyProgress:
		return now.Sub(o.Changed) > silentAfter
	}
	return true
}

// silentAfter is after how long without a word an order that went on counts as
// ended: its gateway has. An installer may take most of it.
const silentAfter = 15 * time.Minute

// orders are the newest orders, in the order in which they were first heard of.
type orders struct {
	ring []*Order
	next int // where the oldest is once the ring is full
	byID map[string]*Order
}

// of returns the order of an id, made anew when it is not known.
func (s *orders) of(id string) *Order {
	if o := s.byID[id]; o != nil {
		return o
	}
	o := &Order{ID: id}
	if s.byID == nil {
		s.byID = map[string]*Order{}
	}
	s.byID[id] = o
	if len(s.ring) < ordersMax {
		s.ring = append(s.ring, o)
		return o
	}
	delete(s.byID, s.ring[s.next].ID)
	s.ring[s.next] = o
	s.next = (s.next + 1) % len(s.ring)
	return o
}

// given takes in a command. What it carries is not kept.
func (s *orders) given(c *schemas.Command) {
	o := s.of(c.ID)
	o.Kind, o.AgentID, o.Origin = c.Kind, c.AgentID, c.Origin
	o.Response, o.AlertID, o.RuleID = c.Response, c.AlertID, c.RuleID
	o.Given, o.Expires = time.UnixMilli(c.Time), time.UnixMilli(c.Expires)
	if c.Upgrade != nil {
		o.Package = c.Upgrade.File
	}
}

// replied takes in what came of a command, which the other topic may tell of later.
func (s *orders) replied(r *schemas.Reply) {
	if r.CommandID == schemas.UpgradeReport {
		s.reported(r)
		return
	}
	o := s.of(r.CommandID)
	o.Kind, o.AgentID, o.Origin = r.Kind, r.AgentID, r.Origin
	o.Response, o.AlertID, o.RuleID = r.Response, r.AlertID, r.RuleID
	o.Status, o.Text, o.Node, o.Changed = r.Status, r.Text, r.Node, time.UnixMilli(r.Time)
	if len(o.Text) > textMax {
		o.Text = string([]byte(r.Text[:textMax])) // a copy, so that the rest can go
	}
}

// reported takes in what an agent says of its last upgrade. Agents repeat it until
// they are told that it was heard, so what is no news changes nothing.
func (s *orders) reported(r *schemas.Reply) {
	for i := range s.ring {
		o := s.ring[(s.next+len(s.ring)-1-i)%len(s.ring)]
		if o.Kind != schemas.CommandUpgrade || o.AgentID != r.AgentID {
			continue
		}
		if o.Status != r.Status || o.Text != r.Text {
			o.Status, o.Text, o.Node, o.Changed = r.Status, r.Text[:min(len(r.Text), textMax)], r.Node, time.UnixMilli(r.Time)
		}
		return
	}
}

// recent returns the orders for which keep is true, the newest first, at most n.
func (s *orders) recent(n int, keep func(*Order) bool) []Order {
	var out []Order
	for i := range s.ring {
		o := s.ring[(s.next+len(s.ring)-1-i)%len(s.ring)]
		if len(out) == n {
			break
		}
		if keep == nil || keep(o) {
			out = append(out, *o)
		}
	}
	return out
}
