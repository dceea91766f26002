// Package schemas is the contract between the stages: every topic, every
// record type, and the only code that writes or reads a record's bytes.
//
// A stage never hands another stage anything but these records. Changes only
// add: a reader of an older version must accept a newer record and the reverse,
// because adjacent versions run side by side during an upgrade.
package schemas
