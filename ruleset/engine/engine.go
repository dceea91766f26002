// Package engine judges events by a compiled ruleset. It is pure: it reads the
// event, the Program, its Config and the state of the event's key, and nothing
// else, so that the same log gives the same alerts wherever and whenever it is
// replayed.
//
// Source: spec/ruleset-language.md, spec/alert-format.md.
package engine

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"vedette/ruleset/program"
	"vedette/schemas"
)

// Config holds the settings that all workers of an installation share. A zero
// number means its default.
type Config struct {
	// ManagerName is manager.name and the host name of agent 000.
	ManagerName string
	// ClusterName is cluster.name; empty leaves the object out.
	ClusterName string
	// Timezone applies to time stamps and to time, weekday and the hour of
	// firedtimes; nil is UTC.
	Timezone *time.Location
	// AlertLevel is the least level that alerts (3); MailLevel the least that
	// sets mail (12).
	AlertLevel, MailLevel int
	// Logtest selects the log test's semantics of ignore= and of alerting. It
	// shows level-0 rules and never clears firedtimes.
	Logtest bool
	// Reference selects the plain walk through all decoders and rules in place
	// of the index. The answers are the same.
	Reference bool
	// Geo gives the place of an address, as srcgeoip and the like compare it; it
	// must always answer the same. Nil knows no place.
	Geo func(netip.Addr) (place string, ok bool)
	// Limits bound the state of a key.
	Limits Limits
}

// Engine runs one Program. It is safe for concurrent use.
type Engine struct {
	p         *program.Program
	c         Config
	shortName string // ManagerName up to the first dot
	kinds     windowKinds
	index     *index // nil for the plain walk
	// rootcheck are the rules of that group, to whose compliance the log adds.
	rootcheck map[*program.Rule]bool
	// managerJSON and clusterJSON are the members before and behind an alert's id.
	managerJSON, clusterJSON []byte
	// heads are the parts of alerts, by rule, from the rule up to its counters; nil
	// if the description depends on the event.
	heads [][]byte
}

// Defaults of Config.
const (
	DefaultAlertLevel = 3
	DefaultMailLevel  = 12
)

// New returns an engine for p.
func New(p *program.Program, c Config) *Engine {
	if c.Timezone == nil {
		c.Timezone = time.UTC
	}
	if c.AlertLevel == 0 {
		c.AlertLevel = DefaultAlertLevel
	}
	if c.MailLevel == 0 {
		c.MailLevel = DefaultMailLevel
	}
	c.Limits = c.Limits.orDefault()
	short, _, _ := strings.Cut(c.ManagerName, ".")
	e := &Engine{p: p, c: c, shortName: short, kinds: newWindowKinds(p)}
	if !c.Reference {
		e.index = newIndex(p)
	}
	e.managerJSON = append(appendText([]byte(`,"manager":{"name":`), c.ManagerName), `},"id":`...)
	if c.ClusterName != "" {
		e.clusterJSON = append(appendText([]byte(`,"cluster":{"name":`), c.ClusterName), '}')
	}
	for _, r := range p.AllRules {
		for len(e.heads) <= r.Index {
			e.heads = append(e.heads, nil)
		}
		if r.Description.Constant() {
			e.heads[r.Index] = slices.Clip(append(appendText(appendLevel(nil, r), r.Description.Text), r.JSONHead...))
		}
		if strings.Contains(r.GroupText, "rootcheck") && slices.Contains(strings.Split(r.GroupText, ","), "rootcheck") {
			if e.rootcheck == nil {
				e.rootcheck = map[*program.Rule]bool{}
			}
			e.rootcheck[r] = true
		}
	}
	return e
}

// Program returns the Program that the engine runs.
func (e *Engine) Program() *program.Program { return e.p }

// Process judges one event, with the state of ev.Key(). The engine's now is the
// latest time seen for the key. The result is valid until the next call with s.
func (e *Engine) Process(s *Keyed, ev *schemas.Event) *Result {
	k := s.keys.of(ev)
	x := &s.scratch
	s.res = Result{s: x, doc: &s.document}
	res := &s.res
	s.begin(ev, k)
	if !x.place() {
		res.Rejected = true
		return res
	}
	switch ev.Queue {
	case '5', 'u':
		// Never decoded and never judged (§1.2).
		x.ev.log = value{text: x.ev.fullLog, set: true}
		return res
	}
	x.predecode()
	decoded, judge := s.modules.decode()
	if !judge {
		return res
	}
	if !decoded {
		s.decoding.decode()
	}
	res.Judged = true
	k.accumulate(&x.ev, e.c.Limits.Accumulated)
	res.Decoder = x.ev.decoderName
	if r := s.matching.choose(); r != nil {
		s.settle(k, r)
	}
	return res
}

// settle performs the steps that follow a match (§6.6).
func (s *Keyed) settle(k *keyState, r *program.Rule) {
	x := &s.scratch
	res, c := &s.res, &x.eng.c
	res.firedTimes = k.count(r.Index, x.eng.hour(k))
	res.set(r)
	if r.Level == 0 {
		return
	}
	silenced := r.Ignore > 0 && k.silences(r, c.Logtest)
	if silenced && !c.Logtest {
		if x.ev.above == nil || x.ev.above.Level == 0 {
			// 4.14 ends silently; the event is not remembered.
			return
		}
		r, silenced = x.ev.above, false
		res.set(r)
		res.firedTimes = k.fired[r.Index]
	}
	res.decide(c, silenced)
	res.previous = x.ev.previous
	s.remember(k, r)
}

// decide tells whether the chosen rule alerts and mails.
func (res *Result) decide(c *Config, silenced bool) {
	r := res.rule
	o := &r.Options
	if c.Logtest {
		res.Alert = !silenced && r.Level >= c.AlertLevel
	} else {
		res.Alert = (r.Level >= c.AlertLevel || o.Log) && !o.NoLog
	}
	res.Mail = (r.Level >= c.MailLevel || o.Mail) && !o.NoMail
}

// silences tells whether a rule's ignore= silences this firing, and moves its window.
func (k *keyState) silences(r *program.Rule, logtest bool) bool {
	if k.ignored == nil {
		k.ignored = map[int]time.Time{}
	}
	since, noted := k.ignored[r.Index]
	switch {
	case noted && k.now.Sub(since) < r.Ignore:
		return true
	case noted && logtest:
		// The log test notes the time only at the firing after this one (example E42g).
		delete(k.ignored, r.Index)
	default:
		k.ignored[r.Index] = k.now
	}
	return false
}

// remember keeps the event for later composite rules (§7.1).
func (s *Keyed) remember(k *keyState, r *program.Rule) {
	e := s.scratch.eng
	if !e.p.Remembers(r) {
		return
	}
	before := k.bytes
	q := k.queue(e.kinds.byRule[r.Index])
	k.enter(q, s.history.memory(q, r), r)
	e.trim(k, k.now.UnixMilli())
	s.keys.grown(k.bytes - before)
}
