package ports

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestAPortThatIsTakenNamesItsKey(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = net.Listen("tcp", l.Addr().String())
	for key, want := range map[string]string{"api.listen": "change api.listen", "ingest": "change ingest.tcp"} {
		got := Taken(fmt.Errorf("x: %w", err), key)
		if !errors.Is(got, err) || !strings.Contains(got.Error(), want) || strings.Contains(got.Error(), "manager") {
			t.Errorf("%v, want %q and no word on managers", got, want)
		}
	}
	var op *net.OpError
	if !errors.As(err, &op) {
		t.Fatal(err)
	}
	for _, port := range []int{1514, 1515} {
		taken := *op
		taken.Addr = &net.TCPAddr{IP: net.IPv4zero, Port: port}
		if got := Taken(&taken, "enroll.listen"); !strings.Contains(got.Error(), "another manager") {
			t.Errorf("%v, want a word on another manager", got)
		}
	}
	for _, other := range []error{nil, errors.New("x"), &net.OpError{Op: "listen", Err: errors.New("denied")}} {
		if got := Taken(other, "k"); !errors.Is(got, other) || other != nil && got.Error() != other.Error() {
			t.Errorf("%v became %v", other, got)
		}
	}
}
