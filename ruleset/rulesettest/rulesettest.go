// Package rulesettest runs rule tests, written in one of two forms.
//
// The text form (.txt, .test) is made of blocks with empty lines between them.
// A block is one test and begins on fresh state; its first comment names it.
//
//	# Seven refused passwords from one address are a brute force.
//	agent: 001 web1 10.0.0.5
//	location: /var/log/auth.log
//	log: Nov 22 10:00:01 web1 sshd[1]: Failed password for root from 203.0.113.7 port 1 ssh2
//	expect: rule=900102 level=5 decoder=sshd srcip=203.0.113.7 alert=true
//	wait: 10s
//	log: Nov 22 10:00:11 web1 cron[1]: nothing
//	expect: rule=none
//
// The lines of a block:
//
//	log: TEXT                   an event, judged with the settings of the lines above it
//	expect: NAME=VALUE…         a value the event above gives; NAME!=VALUE: a value it must not give
//	agent: ID NAME [ADDRESS]    the sender; without, the manager itself, id 000
//	location: TEXT              where it was read; without, stdin
//	queue: C                    its queue character; without, 1
//	time: 2026-01-05T12:00:00Z  the clock, which begins there in each block
//	wait: 90s                   moves the clock on; otherwise it stands still
//	fresh                       forgets all earlier events before the next one
//
// Names are rule and decoder (either may be none), level, alert (true or
// false), parent (of the decoder), any decoded field, program_name, hostname
// and timestamp of the header, and any other member of the alert document, by
// its path: rule.mitre.id, agent.name, syscheck.path. Members of rule need no
// path: description, groups, firedtimes. A list of texts is written with
// commas. A value with blanks is put in double quotes, `""` or nothing says
// that the field is missing or empty.
//
// The .ini form, in which many rulesets carry their tests: a section names a
// rule, a level and a decoder, and logs that must or must not give them.
//
//	[a section]
//	log 1 pass = Feb  9 11:44:56 host sshd[1234]: some text
//	log 1 pass = a second line of the same entry
//	log 2 fail = another text
//	rule = 5739
//	alert = 4
//	decoder = sshd
//
// Logs under one key are one entry, run in order on fresh state; the last one
// counts.
package rulesettest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"vedette/ruleset/engine"
	"vedette/schemas"
)

// Entry is the logs under one key of a section, and the demand on the last.
type Entry struct {
	File, Section, Key string
	Line               int
	Logs               []string
	// Pass says that Want must come out; otherwise it must not.
	Pass bool
	Want Outcome
}

// Outcome is the result of an event; empty strings where there is no decoder or
// rule.
type Outcome struct {
	Rule, Level, Decoder string
}

// Parse reads a test file.
func Parse(name string, data []byte) ([]Entry, error) {
	var all []Entry
	first := 0 // of the section
	section := ""
	want := Outcome{}
	finish := func() {
		for i := first; i < len(all); i++ {
			all[i].Want = want
		}
		first, want = len(all), Outcome{}
	}
	n := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		n++
		line = strings.TrimSuffix(line, "\r")
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == ';' || trimmed[0] == '#' {
			continue
		}
		if trimmed[0] == '[' && strings.HasSuffix(trimmed, "]") && line[0] == '[' {
			finish()
			section = trimmed[1 : len(trimmed)-1]
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section == "" {
			return nil, fmt.Errorf("%s:%d: neither a section nor key = value", name, n)
		}
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		switch {
		case key == "rule":
			want.Rule = value
		case key == "alert":
			want.Level = value
		case key == "decoder":
			want.Decoder = value
		case strings.HasPrefix(key, "log "):
			if i := slices.IndexFunc(all[first:], func(e Entry) bool { return e.Key == key }); i >= 0 {
				all[first+i].Logs = append(all[first+i].Logs, value)
				continue
			}
			pass := strings.HasSuffix(key, "pass")
			if !pass && !strings.HasSuffix(key, "fail") {
				return nil, fmt.Errorf("%s:%d: %q ends with neither pass nor fail", name, n, key)
			}
			all = append(all, Entry{File: name, Section: section, Key: key, Line: n, Logs: []string{value}, Pass: pass})
		default:
			return nil, fmt.Errorf("%s:%d: unknown key %q", name, n, key)
		}
	}
	finish()
	return all, nil
}

// Run runs an entry on fresh state; now is the time of all its events.
func Run(eng *engine.Engine, e *Entry, now time.Time) Outcome {
	s := eng.NewState()
	var out Outcome
	for _, l := range e.Logs {
		out = Judge(eng, s, l, now)
	}
	return out
}

// Judge runs one log of agent 000.
func Judge(eng *engine.Engine, s *engine.Keyed, log string, now time.Time) Outcome {
	r := eng.Process(s, &schemas.Event{Time: now, AgentID: schemas.ManagerID, Location: "stdin", Queue: '1', Log: []byte(log)})
	o := Outcome{Decoder: r.Decoder}
	if r.RuleID > 0 {
		o.Rule, o.Level = strconv.Itoa(r.RuleID), strconv.Itoa(r.Level)
	}
	return o
}

// Holds reports whether an outcome meets the entry's demand. A fail entry that
// leaves a part of Want empty, or says level 0, asserts that something stays
// away and may come out as stated (spec/ruleset-census.md §1).
func (e *Entry) Holds(o Outcome) bool {
	if e.Pass {
		return o == e.Want
	}
	absent := e.Want.Rule == "" || e.Want.Level == "" || e.Want.Level == "0" || e.Want.Decoder == ""
	return o != e.Want || absent
}
