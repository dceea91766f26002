// Package ingest is the gateway: agents in on port 1514, TopicEvents and
// TopicPresence out.
//
// Order: the events of one agent's connection are produced in the order they
// came, under the agent's id. Delivery: an event counts as written when the
// brokers have acknowledged it; until then it is in flight, and while too much
// of a connection is, its socket is not read, so that pressure reaches the
// agent's own buffer, while the agent still gets signs of life. At every moment
//
//	received = written + refused(by reason) + in flight
//
// Agents of the 4.x protocol get no acknowledgement. So a gateway that is killed
// loses at most, per connection, its window plus the content of the socket's
// receive buffer and of the read buffer. A gateway that ends in order asks its
// agents to stop, handles the data they had sent and waits until the brokers
// have acknowledged it.
//
// Liveness: an agent is disconnected when it says so or after
// Config.DisconnectionTime without a keepalive; the gateway named in its
// presence record finds out and raises the event.
//
// Parts: Gateway says who an agent is and takes events in; each connection has a
// link, datagrams have one udpPort. A fleet holds the agents and how they are
// reached. The package deliver brings configuration and commands to them. Sweep
// finds silent agents, of all gateways.
//
// Limits: listen.Limits, and the constants of each file.
package ingest
