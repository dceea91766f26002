package secure

import (
	"bytes"
	"errors"
	"strings"
)

// Control texts of the channel.
const (
	ControlPrefix   = "#!-"
	StartupPrefix   = "#!-agent startup "
	ShutdownText    = "#!-agent shutdown "
	AckText         = "#!-agent ack "
	RequestPrefix   = "#!-req "
	ErrPrefix       = "#!-err "
	ReconnectText   = "#!-force_reconnect"
	Ping            = "#ping"
	Pong            = "#pong"
	MaxAnalysisText = 65535
)

// Errors of ParseEvent. Each is a cause under which an event is refused.
var (
	ErrNotEvent       = errors.New("payload is not <queue>:<location>:<text>")
	ErrEventKeepalive = errors.New("location begins with keepalive")
)

// Event is the payload of an event message.
type Event struct {
	Queue byte
	// Location is unescaped.
	Location string
	// Escaped is the location as it was sent; Text follows its colon. Both alias the payload.
	Escaped []byte
	Text    []byte
}

// CutNUL returns b up to its first NUL: payloads are texts that end there.
func CutNUL(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// ParseEvent reads `<queue>:<location>:<text>`. In a location `|:` stands for a
// colon and `||` for a bar; the first unescaped colon ends it.
//
// Source: spec/agent-protocol.md §10.
func ParseEvent(payload []byte) (Event, error) {
	payload = CutNUL(payload)
	if len(payload) < 2 || payload[1] != ':' {
		return Event{}, ErrNotEvent
	}
	rest := payload[2:]
	end, escaped := locationEnd(rest)
	if end < 0 {
		return Event{}, ErrNotEvent
	}
	e := Event{Queue: payload[0], Escaped: rest[:end], Text: rest[end+1:]}
	if bytes.HasPrefix(e.Escaped, []byte("keepalive")) {
		return e, ErrEventKeepalive
	}
	e.Location = string(e.Escaped)
	if escaped {
		e.Location = unescape.Replace(e.Location)
	}
	return e, nil
}

func locationEnd(b []byte) (end int, escaped bool) {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '|':
			if i+1 < len(b) && (b[i+1] == ':' || b[i+1] == '|') {
				escaped = true
				i++
			}
		case ':':
			return i, escaped
		}
	}
	return -1, escaped
}

var (
	unescape = strings.NewReplacer("||", "|", "|:", ":")
	escape   = strings.NewReplacer("|", "||", ":", "|:")
)

// EscapeLocation writes a location so that ParseEvent reads it back.
func EscapeLocation(s string) string { return escape.Replace(s) }

// HeaderLen returns how many bytes come before the text when analysis of the
// reference product sees the event: the queue, the agent's header, the location.
func (e *Event) HeaderLen(id, name, host string) int {
	return 2 + len("[] () ") + len(id) + len(name) + len(EscapeLocation(host)) + len("->") + len(e.Escaped) + 1
}

// Qualified returns the text as analysis of the reference product sees it:
//
//	<queue>:[<id>] (<name>) <address>-><location>:<text>
func (e *Event) Qualified(id, name, host string) string {
	return string([]byte{e.Queue}) + ":" + EscapeLocation("["+id+"] ("+name+") "+host) + "->" + string(e.Escaped) + ":" + string(e.Text)
}
