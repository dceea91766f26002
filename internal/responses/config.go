// Package responses says which active responses there are, what agents are told
// of them and which alerts ask for them. It sends and runs nothing.
//
// Source: spec/active-response.md §1, §2, §3 and §5.
package responses

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vedette/internal/regex"
	"vedette/schemas"
)

// Bounds of a configuration.
const (
	commandsMax  = 1024
	responsesMax = 4096
	// OffendersMax is how many times a repeated offender's list has.
	OffendersMax = 5
	levelMax     = 20
)

// Config is the part `active_response` of the configuration.
type Config struct {
	// OssecConf names a file whose <command>, <active-response> and <white_list>
	// are taken before what stands here.
	OssecConf string     `mapstructure:"ossec_conf" yaml:"ossec_conf"`
	Commands  []Command  `mapstructure:"commands" yaml:"commands"`
	Responses []Response `mapstructure:"responses" yaml:"responses"`
	// WhiteList holds addresses, networks and names that no response is sent about.
	WhiteList []string `mapstructure:"white_list" yaml:"white_list"`
	// Dir holds the executables that the server itself runs; empty: data_dir/active-response.
	Dir string `mapstructure:"dir" yaml:"dir"`
	// RepeatedOffenders are the minutes for which a source is held that comes back,
	// by how often it came, where the server itself responds.
	RepeatedOffenders []int `mapstructure:"repeated_offenders" yaml:"repeated_offenders"`
}

// Command is something that can be run, by its name.
type Command struct {
	Name       string `mapstructure:"name" yaml:"name"`
	Executable string `mapstructure:"executable" yaml:"executable"`
	// TimeoutAllowed says that it can be undone.
	TimeoutAllowed bool     `mapstructure:"timeout_allowed" yaml:"timeout_allowed"`
	ExtraArgs      []string `mapstructure:"extra_args" yaml:"extra_args"`
}

// Response says which alerts run a command, and where.
type Response struct {
	Command string `mapstructure:"command" yaml:"command"`
	// Location is local, server, defined-agent or all.
	Location string `mapstructure:"location" yaml:"location"`
	AgentID  string `mapstructure:"agent_id" yaml:"agent_id"`
	// Level and RulesGroup must both hold where both are given; RulesID adds
	// rules whatever these say. Level 0 is not given.
	Level      int    `mapstructure:"level" yaml:"level"`
	RulesGroup string `mapstructure:"rules_group" yaml:"rules_group"`
	RulesID    []int  `mapstructure:"rules_id" yaml:"rules_id"`
	// Timeout is in seconds; 0 is for ever.
	Timeout  int  `mapstructure:"timeout" yaml:"timeout"`
	Disabled bool `mapstructure:"disabled" yaml:"disabled"`
}

// Set is a compiled configuration. It is safe for concurrent use.
type Set struct {
	bound []Bound
	white whiteList
	// Warnings tell of settings that are allowed and have no effect.
	Warnings []string
	commands map[string]Command
}

// Bound is one enabled response with its command.
type Bound struct {
	Response
	Exec Command
	// Identity is the command's name with the timeout, as agents know it.
	Identity string

	Server, Local, Defined, All bool

	group *regex.Pattern
	ids   map[int]bool
}

// New compiles a configuration. Every problem is returned, joined.
func New(c Config) (*Set, error) {
	s := &Set{commands: map[string]Command{}}
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf("active_response."+format, a...)) }
	if len(c.Commands) > commandsMax || len(c.Responses) > responsesMax {
		bad("commands, responses: %d and %d, at most %d and %d", len(c.Commands), len(c.Responses), commandsMax, responsesMax)
		return nil, errors.Join(errs...)
	}
	for i, x := range c.Commands {
		switch {
		case x.Name == "" || strings.HasPrefix(x.Name, "!") || strings.ContainsAny(x.Name, " \t\r\n\x00/"):
			bad("commands[%d].name: %q; a name has no blanks and begins with no '!'", i, x.Name)
			continue
		case !plainName(x.Executable):
			bad("commands[%d].executable: %q is no file's plain name", i, x.Executable)
			continue
		}
		if _, again := s.commands[x.Name]; again {
			s.Warnings = append(s.Warnings, fmt.Sprintf("active_response.commands[%d]: %s stands there again; the first one counts", i, x.Name))
			continue
		}
		s.commands[x.Name] = x
	}
	for i, x := range c.Responses {
		if x.Disabled {
			continue
		}
		b, err := s.bind(x)
		if err != nil {
			bad("responses[%d]%s", i, err)
			continue
		}
		s.bound = append(s.bound, b)
	}
	if len(c.RepeatedOffenders) > OffendersMax || slices.ContainsFunc(c.RepeatedOffenders, func(n int) bool { return n < 1 }) {
		bad("repeated_offenders: at most %d numbers of minutes above 0", OffendersMax)
	}
	var err error
	if s.white, err = newWhiteList(c.WhiteList); err != nil {
		bad("white_list: %w", err)
	}
	return s, errors.Join(errs...)
}

func plainName(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= 255 && !strings.ContainsAny(s, "/\\\x00\r\n\t ")
}

func (s *Set) bind(x Response) (Bound, error) {
	exec, ok := s.commands[x.Command]
	if !ok {
		there := "none is defined; define it under active_response.commands"
		if names := s.names(); len(names) > 0 {
			there = "there are " + strings.Join(names, ", ")
		}
		return Bound{}, fmt.Errorf(".command: %q is no command; %s", x.Command, there)
	}
	if x.Timeout < 0 {
		return Bound{}, fmt.Errorf(".timeout: %d is negative", x.Timeout)
	}
	if x.Timeout > 0 && !exec.TimeoutAllowed {
		s.Warnings = append(s.Warnings, fmt.Sprintf("active_response: %s allows no timeout, so that it is for ever", x.Command))
		x.Timeout = 0
	}
	b := Bound{Response: x, Exec: exec, Identity: x.Command + strconv.Itoa(x.Timeout), ids: map[int]bool{}}
	// Source: spec/active-response.md §1 "Location": a match within the value.
	in := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(x.Location, w) })
	}
	b.Server = in("AS", "analysisd", "analysis-server", "server")
	b.Local, b.Defined, b.All = in("local"), in("defined-agent"), in("all", "any")
	if !b.Server && !b.Local && !b.Defined && !b.All {
		return b, fmt.Errorf(".location: %q; there are local, server, defined-agent and all", x.Location)
	}
	if b.Defined {
		switch id := x.AgentID; {
		case id != "" && strings.Trim(id, "0") == "":
			return b, fmt.Errorf(".agent_id: %q is the server; use location server", id)
		case !schemas.ValidAgentID(id):
			return b, fmt.Errorf(".agent_id: %q; defined-agent needs an agent's id", id)
		}
		b.AgentID = fmt.Sprintf("%03s", x.AgentID)
	}
	if x.Level < 0 || x.Level > levelMax {
		return b, fmt.Errorf(".level: %d is not in 0…%d", x.Level, levelMax)
	}
	if x.RulesGroup != "" {
		re, err := regex.Compile(regex.OSRegex, x.RulesGroup)
		if err != nil {
			return b, fmt.Errorf(".rules_group: %w", err)
		}
		b.group = re
	}
	for _, id := range x.RulesID {
		b.ids[id] = true
	}
	if x.Level == 0 && x.RulesGroup == "" && len(x.RulesID) == 0 {
		s.Warnings = append(s.Warnings, "active_response: "+b.Identity+" names no rules, group or level, so that no alert runs it")
	}
	return b, nil
}

func (s *Set) names() []string {
	out := make([]string, 0, len(s.commands))
	for n := range s.commands {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Bound returns the enabled responses in the order of the configuration.
func (s *Set) Bound() []Bound { return s.bound }

// runs reports whether alerts of a rule run a response; groups is the rule's
// group text, taken apart.
//
// Source: spec/active-response.md §1 "When a response belongs to a rule".
func (b *Bound) runs(id, level int, groups []string) bool {
	if b.ids[id] {
		return true
	}
	text := func() bool { return matches(b.group, strings.Join(groups, ",")+",") }
	switch {
	case b.Level > 0 && b.group != nil:
		return level >= b.Level && text()
	case b.Level > 0:
		return level >= b.Level
	case b.group != nil:
		return text()
	}
	return false
}

func matches(p *regex.Pattern, s string) bool {
	var m regex.Machine
	return m.Match(p, s, regex.Lower(s))
}

// arHead begins every agent's list: how the agent is restarted.
const arHead = "restart-ossec0 - restart-ossec.sh - 0\n" +
	"restart-ossec0 - restart-ossec.cmd - 0\n" +
	"restart-wazuh0 - restart-ossec.sh - 0\n" +
	"restart-wazuh0 - restart-ossec.cmd - 0\n" +
	"restart-wazuh0 - restart-wazuh - 0\n" +
	"restart-wazuh0 - restart-wazuh.exe - 0\n"

// ARConf returns the file from which agents know what a response's identity
// means.
//
// Source: spec/active-response.md §1 "ar.conf".
func (s *Set) ARConf() []byte {
	var b strings.Builder
	b.WriteString(arHead)
	for i := range s.bound {
		x := &s.bound[i]
		fmt.Fprintf(&b, "%s - %s - %d\n", x.Identity, x.Exec.Executable, x.Timeout)
	}
	return []byte(b.String())
}

// whiteList holds the addresses that no response is sent about.
type whiteList struct {
	nets  []netip.Prefix
	names []*regex.Pattern
}

func newWhiteList(entries []string) (w whiteList, err error) {
	for _, e := range entries {
		rule, aerr := schemas.ParseAddressRule(e)
		switch {
		case aerr == nil && rule.Any():
			return w, fmt.Errorf("%q would switch every response about an address off", e)
		case aerr == nil:
			p, perr := netip.ParsePrefix(rule.String())
			if perr != nil {
				a, perr := netip.ParseAddr(rule.String())
				if perr != nil {
					return w, fmt.Errorf("%q: %w", e, perr)
				}
				p = netip.PrefixFrom(a, a.BitLen())
			}
			w.nets = append(w.nets, p)
		default:
			m, merr := regex.Compile(regex.OSMatch, e)
			if merr != nil {
				return w, fmt.Errorf("%q: %w", e, merr)
			}
			w.names = append(w.names, m)
		}
	}
	return w, nil
}

func (w *whiteList) holds(ip string) bool {
	if a, err := netip.ParseAddr(ip); err == nil {
		a = a.Unmap().WithZone("")
		if slices.ContainsFunc(w.nets, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return true
		}
	}
	return slices.ContainsFunc(w.names, func(p *regex.Pattern) bool { return matches(p, ip) })
}
