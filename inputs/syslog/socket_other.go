//go:build !linux

package syslog

import "net"

// enlarge asks for a receive buffer; whether it was given is not known.
func enlarge(c *net.UDPConn, bytes int) (got int, err error) { return bytes, c.SetReadBuffer(bytes) }

// drops is not known here.
func (*socket) drops() uint64 { return 0 }
