package rest

import (
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"vedette/api/auth"
)

// reservedShare is the part of the limit that each client has left when others
// have used all of it: 1/reservedShare.
const reservedShare = 10

// requestLimit counts all requests of a minute that begins with the first, as
// 4.14 does. When all are used, clients that have made few still get an answer,
// so that one client cannot shut the others out; of these there are at most as
// many again.
type requestLimit struct {
	max int // 0: none

	mu    sync.Mutex
	since time.Time
	n     int // requests within max
	spare int // requests beyond, answered or looked at
	// by counts requests of addresses and users. Each request adds two entries at
	// most, and n and spare are bounded.
	by map[string]int
}

func (l *requestLimit) share() int { return max(1, l.max/reservedShare) }

// allow counts a request. user is asked for its user when the address has used
// its share; it may be slow. A request that is refused may come again after wait.
func (l *requestLimit) allow(now time.Time, addr string, user func() string) (wait time.Duration, ok bool) {
	if l.max == 0 {
		return 0, true
	}
	l.mu.Lock()
	if now.Sub(l.since) >= time.Minute || l.by == nil {
		l.since, l.n, l.spare, l.by = now, 0, 0, map[string]int{}
	}
	since, wait, key := l.since, l.since.Add(time.Minute).Sub(now), "address "+Source(addr)
	switch {
	case l.n < l.max:
		l.n++
		l.by[key]++
		l.mu.Unlock()
		return 0, true
	case l.spare >= l.max:
		l.mu.Unlock()
		return wait, false
	}
	l.spare++
	if l.by[key] < l.share() {
		l.by[key]++
		l.mu.Unlock()
		return 0, true
	}
	l.mu.Unlock()
	name := user()
	l.mu.Lock()
	defer l.mu.Unlock()
	return wait, name != "" && since.Equal(l.since) && l.by["user "+name] < l.share()
}

// used counts an allowed request for its user.
func (l *requestLimit) used(name string) {
	if l.max == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by != nil {
		l.by["user "+name]++
	}
}

// bearer is the user of a request's token, if the token is good; else empty.
func (f *Frame) bearer(c *gin.Context, now time.Time) string {
	scheme, token, _ := strings.Cut(c.GetHeader("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	key, err := f.users.TokenKey(c.Request.Context())
	if err != nil {
		return ""
	}
	claims, err := auth.ParseToken(&key.PublicKey, token, now)
	if err != nil {
		return ""
	}
	return claims.Subject
}

// retryAfter is a time as the header of that name has it: whole seconds, at least one.
func retryAfter(wait time.Duration) string {
	return strconv.Itoa(max(1, int((wait+time.Second-1)/time.Second)))
}

// Source returns the key under which an address is limited. All addresses of an
// IPv6 network of 64 bits have one key, because one customer has such a network.
func Source(addr string) string {
	if ip, err := netip.ParseAddr(addr); err == nil && ip.Is6() && !ip.Is4In6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr
}
