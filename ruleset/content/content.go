// Package content holds the decoders, rules and lists that the binary carries.
// They are our own, written from the vendors' log documentation named at the
// head of each file; ids are 900000 to 999999 (docs/design.md §4).
package content

import "embed"

// FS holds decoders/, rules/ and lists/.
//
//go:embed decoders rules all:lists
var FS embed.FS
