// Package agentmsg holds the codecs of the messages that modules of agents send.
// There is a package for each module, and laxjson, which reads their JSON.
//
// A codec turns a message into a struct and knows nothing of rules, stored tables
// or answers. The analysis engine and everything else that reads these messages
// share it. Codecs are pure: they hold no state and read no clock. A message's
// length bounds their work and memory; laxjson.DepthMax bounds its nesting. Texts
// of a struct are parts of the message or of its reader's memory. A caller that
// keeps one longer than the message must clone it.
package agentmsg

import "strings"

// SplitList cuts a list and trims its elements. Empty ones are dropped.
func SplitList(s, sep string) []string {
	var out []string
	for t := range strings.SplitSeq(s, sep) {
		if t = strings.TrimSpace(t); t != "" {
			out = append(out, t)
		}
	}
	return out
}
