// Package jsonschema holds the JSON Schemas (2020-12) of Vedette's documents,
// for those who read them and for tests. They are ours, written from
// spec/alert-format.md; a document they refuse is an error of ours.
//
// The order of members, which a schema cannot say, is that of `properties`.
package jsonschema

import (
	_ "embed" // the schemas
	"slices"
)

// Names under which the schemas refer to each other; each is the end of its $id.
const (
	AlertName   = "alert.schema.json"
	ArchiveName = "archive.schema.json"
)

// Base is the part of a schema's $id before its name.
const Base = "https://vedette.invalid/schemas/"

var (
	//go:embed alert.schema.json
	alert []byte
	//go:embed archive.schema.json
	archive []byte
)

// Alert returns the schema of values of the topic alerts.
func Alert() []byte { return slices.Clone(alert) }

// Archive returns the schema of values of the topic archives. It refers to that of alerts.
func Archive() []byte { return slices.Clone(archive) }
