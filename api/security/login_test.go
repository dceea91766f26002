package security

import (
	"fmt"
	"testing"
	"time"
)

func TestAddressesAreBlockedForATimeAndForgotten(t *testing.T) {
	t.Parallel()
	l := newLoginLimit(1, time.Minute)
	l.failed("127.0.0.1", time.Unix(0, 0))
	if !l.blocked("127.0.0.1", time.Unix(59, 0)) || l.blocked("127.0.0.1", time.Unix(60, 0)) {
		t.Error("an address is not blocked for exactly the block time")
	}
	for i := range blockedAddresses + 10 {
		l.failed(fmt.Sprint(i), time.Unix(int64(i)/1000, 0))
	}
	if len(l.addrs) > blockedAddresses {
		t.Errorf("%d addresses remembered", len(l.addrs))
	}
	l.failed("2001:db8::1", time.Now())
	if !l.blocked("2001:db8::ffff", time.Now()) || l.blocked("2001:db8:1::1", time.Now()) {
		t.Error("an IPv6 network is not one address")
	}
}
