package ingest

import (
	"strings"
	"sync"
	"time"

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
// topic twice is sent once.
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

// OnCommand sends the command of a TopicCommands record, if its agent is
// connected here. It does not block.
//
// Every gateway gets all records from its start on. A gateway that is killed
// may have sent a command or not; nobody sends it again (docs/design.md,
// "Commands").
func (g *Gateway) OnCommand(rec schemas.Record) {
	g.mu.RLock()
	a := g.agents[string(rec.Key)]
	g.mu.RUnlock()
	if a == nil {
		return // not connected here, or the server itself
	}
	now := time.Now()
	r, reachable := g.route(a, now)
	if !reachable {
		return
	}
	if g.svc.Verify == nil || !g.svc.Verify(&rec) {
		g.refuseCommand(rec, "mac", "the command was not made under this cluster key")
		return
	}
	c, err := schemas.ParseCommand(&rec)
	if err != nil {
		g.refuseCommand(rec, "shape", err.Error())
		return
	}
	if ms := now.UnixMilli(); ms > c.Expires || c.Expires > ms+commandAhead.Milliseconds() {
		g.reply(&c, schemas.ReplyExpired, "it came after its time")
		return
	}
	if !g.sent.first(c.ID, c.Expires, now.UnixMilli()) {
		g.m.commands.WithLabelValues(string(c.Kind), "repeated").Inc()
		return
	}
	g.carryOut(a, &r, &c, now)
}

func (g *Gateway) carryOut(a *agent, r *route, c *schemas.Command, now time.Time) {
	switch c.Kind {
	case schemas.CommandControl:
		g.sendCommand(a, r, c, "#!-"+c.Text)
	case schemas.CommandResponse:
		p, _ := g.reg.Presence(a.reg.ID)
		text, why := responseText(c, p.Version)
		if why != "" {
			g.reply(c, schemas.ReplyRefused, why)
			return
		}
		g.sendCommand(a, r, c, "#!-execd "+text)
	case schemas.CommandRequest:
		command := *c
		timeout := min(time.UnixMilli(c.Expires).Sub(now), requestTimeout)
		g.request(a, r, c.Text, max(timeout, time.Second), func(answer string, err error) {
			switch {
			case err == nil:
				g.reply(&command, schemas.ReplyAnswered, answer)
			case err == errRequestTimeout: //nolint:errorlint // compared as a value
				g.reply(&command, schemas.ReplyTimedOut, err.Error())
			default:
				g.reply(&command, schemas.ReplyFailed, err.Error())
			}
		})
	case schemas.CommandUpgrade:
		g.upgrade(a, c)
	}
}

func (g *Gateway) sendCommand(a *agent, r *route, c *schemas.Command, payload string) {
	if g.send(a, r, payload) {
		g.reply(c, schemas.ReplySent, "")
		return
	}
	g.reply(c, schemas.ReplyFailed, "the agent does not take what is sent to it")
}

func (g *Gateway) reply(c *schemas.Command, status schemas.ReplyStatus, text string) {
	g.m.commands.WithLabelValues(string(c.Kind), string(status)).Inc()
	r := c.Reply(g.cfg.Node, status, text, time.Now())
	g.prod.Produce(r.Record(), func(err error) {
		if err != nil && g.logNow("reply", time.Now()) {
			g.log.Warn("the outcome of a command could not be written", "agent_id", r.AgentID, "err", err)
		}
	})
}

func (g *Gateway) refuseCommand(rec schemas.Record, cause, detail string) {
	g.m.commands.WithLabelValues("unknown", cause).Inc()
	if g.logNow("command", time.Now()) {
		g.log.Warn("a command was not sent", "agent_id", string(rec.Key), "offset", rec.Offset, "reason", cause, "detail", detail)
	}
	if g.svc.Bury != nil {
		g.svc.Bury(rec, "command_"+cause, detail)
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
