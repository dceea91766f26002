package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// containerID looks like the host name of a container that was given none.
var containerID = regexp.MustCompile(`^[0-9a-f]{12}$`)

// engineDNS is where a Docker engine answers the containers of a network.
const engineDNS = "127.0.0.11:53"

// HostName is the host name, or the name of the container where the host name is
// its id. The id changes whenever the container is made anew; the name, such as
// vedette-ingest-2, stays.
var HostName = sync.OnceValue(func() string {
	name, err := os.Hostname()
	if err != nil || !containerID.MatchString(name) {
		return name
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
	if err != nil || len(addrs) == 0 {
		return name
	}
	if given, err := containerName(ctx, engineDNS, addrs[0].Unmap()); err == nil {
		return given
	}
	return name
})

// containerName asks the engine's DNS server for the name of an IPv4 address. The
// resolver of package net would answer from /etc/hosts, which has the id.
func containerName(ctx context.Context, server string, addr netip.Addr) (string, error) {
	b := addr.As4()
	name, err := dnsmessage.NewName(fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa.", b[3], b[2], b[1], b[0]))
	if err != nil {
		return "", err
	}
	ask := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 1, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}},
	}
	packed, err := ask.Pack()
	if err != nil {
		return "", err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", server)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(packed); err != nil {
		return "", err
	}
	answer := make([]byte, 512) // the most a DNS server sends over UDP unasked
	n, err := conn.Read(answer)
	if err != nil {
		return "", err
	}
	return firstName(answer[:n])
}

// firstName returns the container of the first PTR record in a DNS answer. The
// engine appends the network, as in vedette-ingest-2.vedette_default.
func firstName(answer []byte) (string, error) {
	var p dnsmessage.Parser
	if _, err := p.Start(answer); err != nil {
		return "", err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return "", err
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return "", err // also where there is no answer
		}
		if h.Type != dnsmessage.TypePTR {
			if err := p.SkipAnswer(); err != nil {
				return "", err
			}
			continue
		}
		r, err := p.PTRResource()
		if err != nil {
			return "", err
		}
		name, _, _ := strings.Cut(r.PTR.String(), ".")
		if name == "" {
			return "", errors.New("the DNS answer has an empty name")
		}
		return name, nil
	}
}
