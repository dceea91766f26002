package groups

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// MaxAgentConfBytes bounds an agent.conf.
const MaxAgentConfBytes = 1 << 20

// agentConfDepth bounds the nesting of elements.
const agentConfDepth = 32

// sections are the elements an agent takes from its shared configuration.
var sections = []string{
	"active-response", "agent-upgrade", "anti_tampering", "client", "client_buffer", "fluent-forward", "github", "gcp-bucket", "gcp-pubsub",
	"labels", "localfile", "logging", "office365", "ms-graph", "osquery", "rootcheck", "sca", "socket", "syscheck", "wodle",
}

// filters are the attributes by which an element chooses its agents.
var filters = []string{"name", "os", "profile", "overwrite"}

// ConfError says what is wrong with an agent.conf, and where.
type ConfError struct {
	Line   int
	Reason string
	// Syntax says that it is no XML; else it is XML that agents do not take.
	Syntax bool
}

func (e *ConfError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// ampersand finds those that begin no entity: the dialect has none, so that
// commands are written with `&&` as in a shell.
var ampersand = regexp.MustCompile(`&(amp;|lt;|gt;|quot;|apos;|#\d+;)?`)

// agentConfDecoder reads the dialect of an agent.conf.
func agentConfDecoder(text []byte) *xml.Decoder {
	plain := bytes.ReplaceAll(text, []byte(`\<`), []byte("&lt;"))
	plain = ampersand.ReplaceAllFunc(plain, func(m []byte) []byte {
		if len(m) > 1 {
			return m
		}
		return []byte("&amp;")
	})
	d := xml.NewDecoder(bytes.NewReader(plain))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	return d
}

// CheckAgentConf returns a *ConfError for the first thing that an agent would not
// take: elements that do not close, what is no agent_config, unknown filters and
// sections.
//
// Source: spec/agent-protocol.md §9 "agent.conf".
func CheckAgentConf(text []byte) error {
	if len(text) > MaxAgentConfBytes {
		return &ConfError{Line: 1, Reason: fmt.Sprintf("%d bytes, at most %d", len(text), MaxAgentConfBytes)}
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return &ConfError{Line: 1 + bytes.Count(text[:i], []byte("\n")), Reason: "a NUL byte, which no shared file can carry"}
	}
	d := agentConfDecoder(text)
	var open []string
	seen := false
	for {
		line, _ := d.InputPos()
		bad := func(format string, a ...any) error { return &ConfError{Line: line, Reason: fmt.Sprintf(format, a...)} }
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			if !seen {
				return &ConfError{Line: 1, Reason: "no <agent_config> in it"}
			}
			return nil
		}
		if err != nil {
			var s *xml.SyntaxError
			if errors.As(err, &s) {
				reason := s.Msg
				if len(open) > 0 && strings.Contains(reason, "unexpected EOF") {
					reason = "<" + open[len(open)-1] + "> is not closed"
				}
				return &ConfError{Line: s.Line, Reason: reason, Syntax: true}
			}
			return bad("%v", err)
		}
		switch x := tok.(type) {
		case xml.StartElement:
			name := x.Name.Local
			switch len(open) {
			case 0:
				if name != "agent_config" {
					return bad("<%s> where <agent_config> is expected", name)
				}
				seen = true
				for _, a := range x.Attr {
					if !slices.Contains(filters, a.Name.Local) {
						return bad("agent_config has no filter %q; there are name, os and profile", a.Name.Local)
					}
				}
			case 1:
				if !slices.Contains(sections, name) {
					return bad("<%s> is no section of an agent's configuration", name)
				}
			case agentConfDepth:
				return bad("elements nested more than %d deep", agentConfDepth)
			}
			open = append(open, name)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) < 2 && len(bytes.TrimSpace(x)) > 0 {
				lead := x[:len(x)-len(bytes.TrimLeft(x, " \t\r\n"))]
				line += bytes.Count(lead, []byte("\n"))
				return bad("text outside of any section: %.40q", bytes.TrimSpace(x))
			}
		}
	}
}
