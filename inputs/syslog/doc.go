// Package syslog takes messages from devices that run no agent, over UDP, TCP
// and TLS, and writes them to TopicEvents.
//
// A device's message becomes an event of agent 000 whose location is the
// device's address, as 4.14 makes it (spec/agent-protocol.md §12). Messages over
// TCP and TLS end with a newline or have their length in front (RFC 6587); a
// connection's first bytes tell which. The decoders find out whether a message
// has the form of RFC 3164, RFC 5424 or neither.
//
// Order: the messages of a connection, and of one source over UDP, are produced
// in the order they came, under one key. Delivery: at every moment
//
//	received = written + refused(by reason) + in flight
//
// While too much of a connection, or of all of them, waits for the brokers, it
// is not read, so that TCP holds the sender back. UDP has no such means:
// a datagram that finds no room is dropped and counted, here or by the kernel.
// Syslog knows no acknowledgement: a process that is killed loses messages it had
// read and not written yet. A process that ends in order lets senders finish for
// a moment and waits for the brokers.
//
// Limits: Limits, all with their reasons in docs/limits.md.
package syslog
