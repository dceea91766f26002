// Package ports explains why a port cannot be bound.
package ports

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// Taken adds to the error of a port that another process has which key to
// change. key is that key, or the section of those for TCP and UDP.
func Taken(err error, key string) error {
	var op *net.OpError
	if !errors.Is(err, syscall.EADDRINUSE) || !errors.As(err, &op) {
		return err
	}
	if key == "ingest" {
		key += "." + strings.TrimRight(op.Net, "46")
	}
	hint := ""
	if _, port, e := net.SplitHostPort(op.Addr.String()); e == nil && (port == "1514" || port == "1515") {
		hint = "; it may be another manager for agents on this machine, such as Wazuh's, which must be stopped or moved first"
	}
	return fmt.Errorf("%w; another process has the port: end it, or change %s%s", err, key, hint)
}
