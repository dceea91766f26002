// Package forward is the last stage: it reads TopicAlerts and delivers each
// alert to every destination.
//
// In: records of TopicAlerts. Out: what a destination does with alerts, and
// TopicDeadLetter. Each destination reads the topic as a consumer group of its
// own, so that one that stands still holds up no other.
//
// Guarantees: at least once, in the order of each event key; an offset is
// committed when the destination has every alert before it or the alert stands
// in the dead letter topic. A destination that does not answer is tried again
// for ever, with capped and jittered delays: alerts wait in the topic.
// in = out + unrouted + failed, by destination.
//
// Package route decides which alerts a destination gets. A destination is one
// folder with a Factory, and a line in package all; package forwardtest holds its
// tests.
//
// Limits: a batch is at most kafka.HandleRecordsMax alerts.
package forward
