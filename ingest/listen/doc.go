// Package listen serves framed TCP connections within bounds: it accepts, cuts
// the streams into units, holds the peers back when what they sent cannot be
// made durable, and writes to them without ever making them wait for one
// another. What a unit means is its Handler's business.
//
// Each connection has one goroutine that reads and handles, and, only while
// there is something to write, one that writes. While the peer says nothing it
// is parked: it has no goroutine and no buffer, and one poller waits for all
// parked ones (parking_linux.go). Lock order: Server.mu before Conn.mu before
// parking.mu; none is held while a Handler or a Peer is called.
package listen
