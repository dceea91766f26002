package deliver

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"vedette/internal/retry"
	"vedette/schemas"
)

const (
	// sentMax bounds the ids of commands that are remembered; each is until its
	// command has expired, when nobody would send it any more.
	sentMax = 262_144
	// commandAhead bounds how far ahead of now a command may expire.
	commandAhead = 24 * time.Hour
)

// sentCommands remembers the commands sent, so that a command that is in the
// topic twice is sent once. mu guards ids.
type sentCommands struct {
	mu  sync.Mutex
	ids map[string]int64 // to when it expires, unix milliseconds
}

// first reports whether a command was not seen before.
func (s *sentCommands) first(id string, expires, now int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = map[string]int64{}
	}
	if _, again := s.ids[id]; again {
		return false
	}
	if len(s.ids) >= sentMax {
		for old, until := range s.ids {
			if until < now {
				delete(s.ids, old)
			}
		}
	}
	if len(s.ids) >= sentMax {
		return false // rather not at all than twice
	}
	s.ids[id] = expires
	return true
}

// commands carries out the records of TopicCommands. It has no lock: its fields do
// not change, and its parts lock for themselves.
type commands struct {
	fleet  Fleet
	reg    Registry
	verify func(rec *schemas.Record) bool
	bury   func(rec schemas.Record, cause, detail string)
	log    *slog.Logger
	m      *metrics

	replies  *replies
	requests *requests
	upgrades *upgrades
	sent     sentCommands
	refused  retry.Log
}

// take carries out one record, if its agent is connected here.
func (cs *commands) take(rec schemas.Record) {
	a, ok := cs.fleet.Agent(string(rec.Key))
	if !ok {
		return // not connected here, or the server itself
	}
	now := time.Now()
	r, reachable := a.Route(now)
	if !reachable {
		return
	}
	if cs.verify == nil || !cs.verify(&rec) {
		cs.refuse(rec, "mac", "the command was not made under this cluster key")
		return
	}
	c, err := schemas.ParseCommand(&rec)
	if err != nil {
		cs.refuse(rec, "shape", err.Error())
		return
	}
	if ms := now.UnixMilli(); ms > c.Expires || c.Expires > ms+commandAhead.Milliseconds() {
		cs.replies.write(&c, schemas.ReplyExpired, "it came after its time")
		return
	}
	if !cs.sent.first(c.ID, c.Expires, now.UnixMilli()) {
		cs.m.commands.WithLabelValues(string(c.Kind), "repeated").Inc()
		return
	}
	cs.carryOut(a, r, &c, now)
}

func (cs *commands) carryOut(a Agent, r Route, c *schemas.Command, now time.Time) {
	switch c.Kind {
	case schemas.CommandControl:
		cs.send(r, c, "#!-"+c.Text)
	case schemas.CommandResponse:
		p, _ := cs.reg.Presence(a.ID())
		text, why := responseText(c, p.Version)
		if why != "" {
			cs.replies.write(c, schemas.ReplyRefused, why)
			return
		}
		cs.send(r, c, "#!-execd "+text)
	case schemas.CommandRequest:
		command := *c
		timeout := min(time.UnixMilli(c.Expires).Sub(now), requestTimeout)
		cs.requests.send(a, r, c.Text, max(timeout, time.Second), func(answer string, err error) {
			switch {
			case err == nil:
				cs.replies.write(&command, schemas.ReplyAnswered, answer)
			case err == errRequestTimeout: //nolint:errorlint // compared as a value
				cs.replies.write(&command, schemas.ReplyTimedOut, err.Error())
			default:
				cs.replies.write(&command, schemas.ReplyFailed, err.Error())
			}
		})
	case schemas.CommandUpgrade:
		cs.upgrades.start(a, c)
	}
}

func (cs *commands) send(r Route, c *schemas.Command, payload string) {
	if r.Send(payload) {
		cs.replies.write(c, schemas.ReplySent, "")
		return
	}
	cs.replies.write(c, schemas.ReplyFailed, "the agent does not take what is sent to it")
}

func (cs *commands) refuse(rec schemas.Record, cause, detail string) {
	cs.m.commands.WithLabelValues("unknown", cause).Inc()
	if _, due := cs.refused.Due(); due {
		cs.log.Warn("a command was not sent", "agent_id", string(rec.Key), "offset", rec.Offset, "reason", cause, "detail", detail)
	}
	if cs.bury != nil {
		cs.bury(rec, "command_"+cause, detail)
	}
}

// responseText chooses the message of an active response that agents of a
// version understand, or says why there is none.
//
// Source: spec/active-response.md §2.
func responseText(c *schemas.Command, version string) (text, why string) {
	_, v, ok := strings.Cut(version, " v")
	if !ok {
		return "", "the agent's version is not known"
	}
	var n [3]int
	for i, part := range strings.SplitN(v, ".", 3) {
		for j := 0; j < len(part) && j < 6 && part[j] >= '0' && part[j] <= '9'; j++ {
			n[i] = n[i]*10 + int(part[j]-'0')
		}
	}
	switch {
	case n[0] < 4 || n[0] == 4 && n[1] < 2:
		if c.Legacy == "" {
			return "", "agents before 4.2 have no such response"
		}
		return c.Legacy, ""
	case n[0] == 4 && n[1] == 2 && n[2] < 5:
		return oldJSON.Replace(c.Text), ""
	}
	return c.Text, ""
}

// oldJSON writes characters as the first agents with JSON messages need them.
var oldJSON = strings.NewReplacer("!", `\\x21`, "$", `\\x24`, "'", `\\x27`, "`", `\\x60`)
