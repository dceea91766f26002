package schemas

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// ShadowVersion is the version of the records of TopicShadow that this program
// writes and reads.
const ShadowVersion = 1

// Bounds of a record of TopicShadow.
const (
	// MaxShadowLogBytes is where the event's message is cut.
	MaxShadowLogBytes = 4 << 10
	// MaxShadowBytes bounds the record's value; a log of control characters takes
	// six bytes for each of its own.
	MaxShadowBytes = 128 << 10
)

// ShadowKind is how the verdict of a shadow ruleset differs from the running one's.
type ShadowKind string

// Kinds of differences.
const (
	// ShadowAdded: only the shadow ruleset alerts.
	ShadowAdded ShadowKind = "added"
	// ShadowRemoved: only the running ruleset alerts.
	ShadowRemoved ShadowKind = "removed"
	// ShadowChanged: both alert, by another rule, level or groups.
	ShadowChanged ShadowKind = "changed"
)

// ShadowVerdict is a ruleset's verdict on an event.
type ShadowVerdict struct {
	Rule        int      `json:"rule"`
	Level       int      `json:"level"`
	Groups      []string `json:"groups"`
	Description string   `json:"description"`
}

// ShadowDiff is the change that a shadow ruleset would make to one event's verdict.
type ShadowDiff struct {
	Kind ShadowKind
	// Was is the running ruleset's alert, Now the shadow's; nil for none.
	Was, Now *ShadowVerdict
	// Ruleset is the version of the shadow ruleset, Against the running one.
	Ruleset, Against string
	// TopicID, Partition and Offset are where the event stands.
	TopicID   string
	Partition int32
	Offset    int64
	// Key is the event's key.
	Key                string
	AgentID, AgentName string
	Location           string
	// Time is the event's, in milliseconds.
	Time time.Time
	// FullLog is the event's message, cut at MaxShadowLogBytes.
	FullLog string
}

// Verdict is the alert under which the difference counts: the one that goes, or
// what comes.
func (d *ShadowDiff) Verdict() *ShadowVerdict {
	if d.Now == nil {
		return d.Was
	}
	return d.Now
}

// ID names the difference: a record that is written again after a crash has the same.
func (d *ShadowDiff) ID() string {
	return AlertDocID(d.TopicID, d.Partition, d.Offset, 0) + "/" + d.Ruleset + "/" + d.Against
}

type shadowJSON struct {
	V         int            `json:"v"`
	Kind      ShadowKind     `json:"kind"`
	Was       *ShadowVerdict `json:"was,omitempty"`
	Now       *ShadowVerdict `json:"now,omitempty"`
	Ruleset   string         `json:"ruleset"`
	Against   string         `json:"against"`
	Event     shadowEvent    `json:"event"`
	Agent     shadowAgent    `json:"agent"`
	Location  string         `json:"location"`
	Timestamp string         `json:"timestamp"` // RFC 3339, in milliseconds
	FullLog   string         `json:"full_log"`
}

type shadowEvent struct {
	TopicID   string `json:"topic_id"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

type shadowAgent struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

const shadowTime = "2006-01-02T15:04:05.000Z"

// Bounds of texts that come from elsewhere, beside the log.
const (
	maxShadowTextBytes   = 2 << 10
	maxShadowGroupsBytes = 8 << 10
)

// Record returns the difference as a record of TopicShadow. Its timestamp is
// left to the time of producing, for the topic's retention: the event may be old.
func (d *ShadowDiff) Record() Record {
	j := shadowJSON{
		V: ShadowVersion, Kind: d.Kind, Was: d.Was.bounded(), Now: d.Now.bounded(), Ruleset: d.Ruleset, Against: d.Against,
		Event: shadowEvent{d.TopicID, d.Partition, d.Offset}, Agent: shadowAgent{d.AgentID, cutText(d.AgentName, maxShadowTextBytes)},
		Location: cutText(d.Location, maxShadowTextBytes), Timestamp: d.Time.UTC().Format(shadowTime), FullLog: cutText(d.FullLog, MaxShadowLogBytes),
	}
	return Record{Topic: TopicShadow, Key: []byte(d.Key), Value: mustMarshal(j)}
}

func (v *ShadowVerdict) bounded() *ShadowVerdict {
	if v == nil {
		return nil
	}
	b := ShadowVerdict{Rule: v.Rule, Level: v.Level, Groups: []string{}, Description: cutText(v.Description, maxShadowTextBytes)}
	room := maxShadowGroupsBytes
	for _, g := range v.Groups {
		if room -= len(g) + 3; room < 0 {
			break
		}
		b.Groups = append(b.Groups, g)
	}
	return &b
}

// cutText returns at most n bytes of s, not cut within a character.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := 0; i < utf8.UTFMax-1 && n > 0 && !utf8.RuneStart(s[n]); i++ {
		n--
	}
	return s[:n]
}

// Errors of ParseShadowDiff.
var (
	ErrShadow        = errors.New("not a record of what a shadow ruleset would change")
	ErrShadowVersion = errors.New("shadow record of an unknown version")
)

// ParseShadowDiff reads a record of TopicShadow. Unknown members are ignored.
func ParseShadowDiff(r *Record) (ShadowDiff, error) {
	var j shadowJSON
	if len(r.Value) > MaxShadowBytes {
		return ShadowDiff{}, fmt.Errorf("%w: %d bytes", ErrShadow, len(r.Value))
	}
	if err := decode(r.Value, ShadowVersion, &j, ErrShadow, ErrShadowVersion); err != nil {
		return ShadowDiff{}, err
	}
	d := ShadowDiff{
		Kind: j.Kind, Was: j.Was, Now: j.Now, Ruleset: j.Ruleset, Against: j.Against,
		TopicID: j.Event.TopicID, Partition: j.Event.Partition, Offset: j.Event.Offset, Key: string(r.Key),
		AgentID: j.Agent.ID, AgentName: j.Agent.Name, Location: j.Location, FullLog: j.FullLog,
	}
	known := false
	switch d.Kind {
	case ShadowAdded:
		known = d.Was == nil && d.Now != nil
	case ShadowRemoved:
		known = d.Was != nil && d.Now == nil
	case ShadowChanged:
		known = d.Was != nil && d.Now != nil
	}
	if !known {
		return d, fmt.Errorf("%w: kind %q", ErrShadow, d.Kind)
	}
	if d.Partition < 0 || d.Offset < 0 || d.Ruleset == "" || d.Against == "" || !urlSafe(d.TopicID) {
		return d, fmt.Errorf("%w: coordinates or versions are missing", ErrShadow)
	}
	if strings.ContainsAny(d.Ruleset+d.Against, "/ ") {
		return d, fmt.Errorf("%w: versions %q and %q", ErrShadow, d.Ruleset, d.Against)
	}
	var err error
	if d.Time, err = time.Parse(time.RFC3339, j.Timestamp); err != nil {
		return d, fmt.Errorf("%w: %w", ErrShadow, err)
	}
	d.Time = d.Time.UTC()
	return d, nil
}
