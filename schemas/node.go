package schemas

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// NodeVersion is the version of announcements that this program writes; readers accept
// any.
const NodeVersion = 1

// MaxNodeBytes bounds an announcement's value.
const MaxNodeBytes = 64 << 10

// Node is the announcement of one process: it runs, and knows these formats. A
// process writes it once a minute to TopicNodes, and a tombstone at its end.
type Node struct {
	V    int    `json:"v"`
	Name string `json:"name"`
	// Roles are sorted. A process that starts with the same name and roles takes
	// the place of the one before.
	Roles []string `json:"roles"`
	// Version is the program's.
	Version string `json:"version"`
	// Host is the name of the machine or the container; empty from programs that do
	// not tell it.
	Host string `json:"host,omitempty"`
	// Registry are the formats of registry records that the process reads; empty
	// where it reads none.
	Registry Formats `json:"registry,omitempty"`
	// Counters are what the process has counted since Started, by name, for the API;
	// names are only added.
	Counters map[string]float64 `json:"counters,omitempty"`
	// Times are in Unix milliseconds.
	Started int64 `json:"started"`
	Updated int64 `json:"updated"`
}

// Key is the record's key: `name/role+role`.
func (n *Node) Key() string { return n.Name + "/" + strings.Join(n.Roles, "+") }

// ErrNodeShape says that a record is no announcement.
var ErrNodeShape = errors.New("not the announcement of a node")

// Encode returns the record's value, over which the MAC is made.
func (n *Node) Encode() ([]byte, error) { return json.Marshal(n) }

// NodeRecord returns the record for an encoded announcement, without its MAC.
func NodeRecord(key string, value []byte) Record {
	return Record{Topic: TopicNodes, Key: []byte(key), Value: value}
}

// NodeTombstone returns the record that says a process has ended.
func NodeTombstone(key string) Record { return Record{Topic: TopicNodes, Key: []byte(key)} }

// ParseNode reads a record of TopicNodes that is no tombstone. The key must be the
// one of the announcement. It does not verify the MAC.
func ParseNode(rec *Record) (Node, error) {
	var n Node
	if len(rec.Value) > MaxNodeBytes || json.Unmarshal(rec.Value, &n) != nil {
		return Node{}, ErrNodeShape
	}
	if n.Name == "" || len(n.Roles) == 0 || !slices.IsSorted(n.Roles) || n.Key() != string(rec.Key) {
		return Node{}, ErrNodeShape
	}
	return n, nil
}
