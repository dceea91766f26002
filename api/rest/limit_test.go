package rest

import (
	"fmt"
	"testing"
	"time"
)

func TestAClientOfALargeNetworkIsOneClient(t *testing.T) {
	t.Parallel()
	l := &requestLimit{max: 10}
	now, nobody := time.Now(), func() string { return "" }
	for range 10 {
		if _, ok := l.allow(now, "192.0.2.1", nobody); !ok {
			t.Fatal("refused within the limit")
		}
	}
	answered := 0
	for i := range 5 {
		if _, ok := l.allow(now, fmt.Sprintf("2001:db8::%d", i+1), nobody); ok {
			answered++
		}
	}
	if answered != 1 {
		t.Errorf("addresses of one IPv6 network have %d answers, want 1", answered)
	}
	if wait, ok := l.allow(now.Add(59*time.Second), "192.0.2.1", nobody); ok || retryAfter(wait) != "1" {
		t.Errorf("%t after %s", ok, wait)
	}
	if _, ok := l.allow(now.Add(61*time.Second), "192.0.2.1", nobody); !ok {
		t.Error("the next minute is closed too")
	}
	for i := range 40 {
		l.allow(now.Add(61*time.Second), fmt.Sprintf("198.51.100.%d", i), func() string { return fmt.Sprint("user", i) })
		l.used(fmt.Sprint("user", i))
	}
	if n := len(l.by); n > 80 {
		t.Errorf("%d clients are remembered of 40 requests", n)
	}
}
