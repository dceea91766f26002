// Package kafka is the only place that makes Kafka clients. It sets
// acknowledgements, idempotence, compression, TLS and SASL for every stage, and
// gives them five shapes: a Producer, a Follower (a whole topic from its start),
// a group consumer (Consume), a reader of a range (Read), and the topics' administration.
//
// Without configured brokers, StartEmbedded runs one inside the process; clients
// talk to it over its loopback port like to any other.
package kafka
