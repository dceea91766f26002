package engine

import (
	"strings"

	"vedette/ruleset/program"
)

func (s *decoding) runPlugin(p program.Plugin, text string) {
	switch p {
	case program.PluginJSON:
		s.runJSON(text)
	case program.PluginPF:
		s.ev.readPF(text)
	case program.PluginSonicWall:
		s.ev.readSonicWall(text)
	case program.PluginSymantecWS:
		s.ev.readSymantecWS(text)
	case program.PluginOSSECAlert:
		s.ev.readForwardedAlert(text)
	}
}

// readPF reads the packet filter's log:
// `… (match) pass out on em0: 10.0.0.1.80 > 10.0.0.2.99: tcp …`.
func (e *event) readPF(text string) {
	_, rest, ok := strings.Cut(text, ") ")
	if !ok {
		return
	}
	action, rest, ok := strings.Cut(rest, " ")
	if !ok || action != "pass" && action != "block" {
		return
	}
	_, rest, ok = strings.Cut(rest, ": ")
	if !ok {
		return
	}
	src, rest, ok := strings.Cut(rest, " > ")
	if !ok {
		return
	}
	dst, rest, ok := strings.Cut(rest, ": ")
	if !ok {
		return
	}
	e.setStatic(program.Action, action)
	set := func(addr string, ip, port program.Static) {
		parts := strings.Split(addr, ".")
		if len(parts) == 5 {
			e.setStatic(ip, strings.Join(parts[:4], "."))
			e.setStatic(port, parts[4])
			return
		}
		e.setStatic(ip, addr)
	}
	set(strings.TrimSpace(src), program.SrcIP, program.SrcPort)
	set(strings.TrimSpace(dst), program.DstIP, program.DstPort)
	proto := "TCP"
	switch at(rest, 0) {
	case 'u', 'U':
		proto = "UDP"
	case 'i', 'I':
		proto = "ICMP"
	}
	e.setStatic(program.Protocol, proto)
}

// tagged finds the value of `name=` up to a blank.
func tagged(text, name string) (string, bool) {
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return "", false
		}
		i += from
		if i == 0 || text[i-1] == ' ' {
			v := text[i+len(name):]
			if j := strings.IndexByte(v, ' '); j >= 0 {
				v = v[:j]
			}
			return v, true
		}
		from = i + len(name)
	}
}

// readSonicWall reads `… pri=6 c=262144 m=98 … src=ip:port:if dst=ip:port:if proto=tcp/http …`.
func (e *event) readSonicWall(text string) {
	pri, ok := tagged(text, "pri=")
	if !ok {
		return
	}
	category, ok := tagged(text, "c=")
	if !ok {
		return
	}
	id, ok := tagged(text, "m=")
	if !ok {
		return
	}
	e.setStatic(program.Status, pri)
	e.setStatic(program.ID, id)
	set := func(tag string, ip, port program.Static) bool {
		v, ok := tagged(text, tag)
		if !ok {
			return false
		}
		parts := strings.Split(v, ":")
		e.setStatic(ip, parts[0])
		if len(parts) > 1 {
			e.setStatic(port, parts[1])
		}
		return true
	}
	if set("src=", program.SrcIP, program.SrcPort) {
		set("dst=", program.DstIP, program.DstPort)
	}
	if v, ok := tagged(text, "proto="); ok {
		e.setStatic(program.Protocol, v)
	}
	switch id {
	case "98", "597", "598":
		e.category = program.Firewall
		e.setStatic(program.Action, "pass")
	case "36", "37", "38", "173", "174":
		e.category = program.Firewall
		e.setStatic(program.Action, "drop")
	case "537":
		e.category = program.Firewall
		e.setStatic(program.Action, "close")
	case "97":
		e.category = program.Squid
		if host, ok := tagged(text, "dstname="); ok {
			arg, _ := tagged(text, "arg=")
			e.setStatic(program.URL, host+arg)
		}
	default:
		if category == "32" {
			e.category = program.IDs
		}
	}
}

// readSymantecWS reads comma-separated `N=value` pairs.
func (e *event) readSymantecWS(text string) {
	for part := range strings.SplitSeq(text, ",") {
		n, v, ok := strings.Cut(part, "=")
		if !ok {
			continue
		}
		switch n {
		case "10":
			e.setStatic(program.DstUser, v)
		case "11":
			e.setStatic(program.SrcIP, v)
		case "60":
			e.setStatic(program.URL, v)
		case "2", "3":
			e.setStatic(program.ID, v)
		}
	}
}

// readForwardedAlert reads an alert that another manager forwarded as text:
// `Alert Level: N; Rule: ID - …; Location: …;`. The rule named there is used
// without evaluation.
func (e *event) readForwardedAlert(text string) {
	_, rest, ok := strings.Cut(text, "Rule: ")
	if !ok {
		return
	}
	id, rest, ok := strings.Cut(rest, " - ")
	if !ok || !strings.Contains(rest, "; Location: ") {
		return
	}
	n := 0
	for _, c := range []byte(id) {
		if !digit(c) || n > 999999 {
			return
		}
		n = n*10 + int(c-'0')
	}
	e.forwarded = n
}
