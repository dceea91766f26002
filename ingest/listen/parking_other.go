//go:build !linux

package listen

// parking exists on Linux only; elsewhere each connection keeps its goroutine.
type parking struct{}

func newParking() (*parking, error) { return nil, nil }

func (*parking) close()                 {}
func (*parking) await(*Conn, bool) bool { return false }
func (*parking) remove(*Conn)           {}
