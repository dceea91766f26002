// Package enroll gives agents their identity on port 1515.
//
// In: one request line per TLS connection. Out: one reply line, a proposal to
// the registry, and close-notify. A granted key is usable on this node before
// the reply is sent, and on the other nodes as soon as they read the registry.
// If the reply cannot be delivered the new agent is removed again.
//
// The port is bound by New, so that a conflict is an error at start, and served
// once the registry was read to its end; until then connections wait.
//
// Limits: Config.RatePerSource connections a second from one address,
// connectionsMax simultaneous connections (then the connection that has been
// without a request longest gives way), requestTimeout from connecting to the newline,
// protocol.MaxRequest bytes per request, registryTimeout for the registry's
// answer.
package enroll
