// Package source takes records of topics that others write, in the same Kafka
// cluster, and writes them as events to TopicEvents.
//
// Order: the records of one partition are produced in their order. Delivery: a
// partition's offset is committed when what came of every record before it was
// acknowledged, so nothing is lost; after a crash, or when two members overlap,
// a record may be produced again. Each event therefore says where its record
// stood (event.id, `<topic id>/<partition>/<offset>`), and analysis drops what
// it has seen (schemas.HeaderEventID). At every moment
//
//	received = written + refused(by reason) + in flight
//
// where what was received again after a crash counts again. A record that cannot
// be an event goes to the dead letter with its cause and coordinates.
//
// An event of a registered agent stands under its id. One of no agent has queue
// `2`, so that its key is `000/` and its location: each topic, or with the format
// `beats` each file of a host, has a state of its own. Its time is that of the
// record if this lies within Options.MaxAge, so that a gateway which was away
// does not press an hour's events into a second.
//
// Limits: the constants of source.go, and those of a group member
// (internal/kafka).
package source
