// Package topics takes records of topics that others write, in the same Kafka
// cluster, and writes them as events to TopicEvents.
//
// Order: the records of one partition are produced in their order. Delivery: a
// partition's offset is committed once the outcome of every record before it is
// acknowledged, so nothing is lost. After a crash, or when two members overlap,
// a record may be produced again. Each event therefore names the place of its
// record (event.id, `<topic id>/<partition>/<offset>`), and analysis drops
// events it has seen (schemas.HeaderEventID). At every moment
//
//	received = written + refused(by reason) + in flight
//
// where a record received again after a crash counts again. A record that cannot
// be an event goes to the dead letter with its cause and coordinates.
//
// An event of a registered agent has the agent's id as its key. An event without
// an agent has queue `2`, so that its key is `000/` and its location: each topic,
// or with the format `beats` each file of a host, has a state of its own. An
// event takes the record's time if this lies within Options.MaxAge, so that a
// gateway which was away does not press an hour's events into a second.
//
// Limits: the constants of topics.go, and the limits of a group member
// (internal/kafka).
package topics
