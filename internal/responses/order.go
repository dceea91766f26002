package responses

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"vedette/schemas"
)

// Order is one response that an alert asks for, before it is known whom it
// reaches.
type Order struct {
	*Bound
	// Text is the JSON message, Legacy that of agents before 4.2.
	Text, Legacy string
}

// Alert holds the parts of an alert that decide about responses.
type Alert struct {
	ID      string // alert.id
	AgentID string
	RuleID  string
	// SrcIP and DstUser are the fields that responses act on.
	SrcIP, DstUser string
}

// alertJSON is the part of an alert document that is read.
type alertJSON struct {
	ID   string `json:"id"`
	Rule struct {
		ID     string   `json:"id"`
		Level  int      `json:"level"`
		Groups []string `json:"groups"`

		PCI   []string `json:"pci_dss"`
		GDPR  []string `json:"gdpr"`
		GPG13 []string `json:"gpg13"`
		HIPAA []string `json:"hipaa"`
		NIST  []string `json:"nist_800_53"`
		TSC   []string `json:"tsc"`
		CIS   []string `json:"cis"`
	} `json:"rule"`
	Agent struct {
		ID string `json:"id"`
	} `json:"agent"`
	Location string                     `json:"location"`
	Data     map[string]json.RawMessage `json:"data"`
	Syscheck struct {
		Path string `json:"path"`
	} `json:"syscheck"`
}

// Skip is why an alert runs nothing although a response is bound to its rule.
type Skip string

// Reasons to skip.
const (
	SkipNothing   Skip = ""
	SkipCrafted   Skip = "crafted_field"
	SkipWhiteList Skip = "white_list"
	SkipUnread    Skip = "unreadable"
)

// Orders returns the responses that an alert asks for, in the order of the
// configuration. node names the sender in their messages.
//
// Source: spec/active-response.md §2 and §3.
func (s *Set) Orders(document []byte, node string) (a Alert, orders []Order, skip Skip) {
	if len(s.bound) == 0 {
		return a, nil, SkipNothing
	}
	var d alertJSON
	if err := json.Unmarshal(document, &d); err != nil {
		return a, nil, SkipUnread
	}
	groups := d.Rule.Groups
	for _, c := range []struct {
		prefix string
		values []string
	}{
		{"pci_dss_", d.Rule.PCI}, {"gdpr_", d.Rule.GDPR}, {"gpg13_", d.Rule.GPG13}, {"hipaa_", d.Rule.HIPAA},
		{"nist_800_53_", d.Rule.NIST}, {"tsc_", d.Rule.TSC}, {"cis_", d.Rule.CIS},
	} {
		for _, v := range c.values {
			groups = append(groups, c.prefix+v)
		}
	}
	id, _ := strconv.Atoi(d.Rule.ID)
	var bound []*Bound
	for i := range s.bound {
		if s.bound[i].runs(id, d.Rule.Level, groups) {
			bound = append(bound, &s.bound[i])
		}
	}
	if len(bound) == 0 {
		return a, nil, SkipNothing
	}
	text := func(name string) string {
		var v string
		_ = json.Unmarshal(d.Data[name], &v) // another type is no such field
		return v
	}
	a = Alert{ID: d.ID, AgentID: d.Agent.ID, RuleID: d.Rule.ID, SrcIP: text("srcip"), DstUser: text("dstuser")}
	if a.AgentID == "" {
		a.AgentID = schemas.ManagerID // of an agentless device
	}
	if !only(a.DstUser, "._@?-") || !only(a.SrcIP, ".:_-") {
		return a, nil, SkipCrafted
	}
	a.SrcIP = strings.TrimPrefix(a.SrcIP, "::ffff:")
	if a.SrcIP != "" && s.white.holds(a.SrcIP) {
		return a, nil, SkipWhiteList
	}
	shown := document
	for _, b := range bound {
		text, err := message(b.Identity, node, moduleAnalysis, b.Exec.ExtraArgs, shown)
		if err == nil && len(text) > schemas.MaxCommandText-64 {
			if shown, err = shorten(document); err == nil {
				text, err = message(b.Identity, node, moduleAnalysis, b.Exec.ExtraArgs, shown)
			}
		}
		if err != nil || len(text) > schemas.MaxCommandText-64 {
			return a, orders, SkipUnread
		}
		orders = append(orders, Order{Bound: b, Text: text, Legacy: legacy(b, &a, d.Location, d.Syscheck.Path)})
	}
	return a, orders, SkipNothing
}

func only(s, also string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(also, c) >= 0) {
			return false
		}
	}
	return true
}

// Modules that messages come from.
const (
	moduleAnalysis = "wazuh-analysisd"
	ModuleAPI      = "api"
)

// message returns the JSON message of a response.
func message(command, node, module string, args []string, alert []byte) (string, error) {
	type origin struct {
		Name   string `json:"name"`
		Module string `json:"module"`
	}
	type parameters struct {
		ExtraArgs []string        `json:"extra_args"`
		Alert     json.RawMessage `json:"alert"`
	}
	if args == nil {
		args = []string{}
	}
	if len(alert) == 0 {
		alert = []byte("{}")
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(struct {
		Version    int        `json:"version"`
		Origin     origin     `json:"origin"`
		Command    string     `json:"command"`
		Parameters parameters `json:"parameters"`
	}{1, origin{node, module}, command, parameters{args, alert}})
	return strings.TrimSuffix(b.String(), "\n"), err
}

// Message returns the message of a response that a person asked for.
func Message(command, node string, args []string, alert []byte) (string, error) {
	return message(command, node, ModuleAPI, args, alert)
}

// shorten leaves out the longest members of an alert that are never acted on: a message
// that is cut would be no JSON.
func shorten(document []byte) ([]byte, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(document, &m); err != nil {
		return nil, err
	}
	for _, k := range []string{"previous_output", "previous_log", "full_log"} {
		delete(m, k)
	}
	return json.Marshal(m)
}

// legacy returns the message of agents before 4.2.
//
// Source: spec/active-response.md §5.
func legacy(b *Bound, a *Alert, location, file string) string {
	or := func(s string) string {
		if s == "" {
			return "-"
		}
		return shell(s)
	}
	args := strings.Join(b.Exec.ExtraArgs, " ")
	if args == "" {
		args = "-"
	}
	if i := strings.Index(location, "->"); i >= 0 {
		location = location[i+2:]
	}
	return fmt.Sprintf("%s %s %s %s %s %s %s %s", b.Identity, or(a.DstUser), or(a.SrcIP), a.ID, a.RuleID, or(location), or(file), args)
}

// shell puts a backslash before all that a shell or the message's own blanks
// would give a meaning.
func shell(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c == 0x7f {
			b.WriteByte('_') // an escaped blank is still two words to the agent
			continue
		}
		if strings.IndexByte("\\\"'`$&|;<>()[]{}*?!#~^", c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
