// Package opensearch keeps alerts in an OpenSearch 2.x compatible indexer, one
// index per UTC day, where existing dashboards look for them.
//
// Documents go in by `_id` with `version_type=external_gte` and the owner's
// epoch, so a repeat overwrites itself and a paused former owner overwrites
// nothing. This package sets the fields of the shipper's pipeline (`@timestamp`,
// `input.type`, two AWS fields, GeoLocation if there is a database). Source:
// spec/indexer-documents.md §1.
package opensearch
