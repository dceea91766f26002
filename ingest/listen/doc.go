// Package listen serves framed TCP connections within bounds. It accepts
// connections, cuts streams into units and writes to peers. It holds peers back
// while their data cannot be made durable, and no peer waits for another. A
// Handler gives units their meaning.
//
// Each connection has one goroutine that reads and handles. A second goroutine
// writes, only while there is something to write. While the peer says nothing it
// is parked: it has no goroutine and no buffer, and one poller waits for all
// parked ones (parking_linux.go). Lock order: Server.mu before Conn.mu before
// parking.mu; none is held while a Handler or a Peer is called.
package listen
