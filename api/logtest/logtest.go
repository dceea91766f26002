package logtest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// Service answers the operations on log tests.
type Service struct {
	// Logtest gives the engine of the ruleset in use, made with
	// engine.Config.Logtest and limits that 64 sessions can have, and the messages
	// of loading it. It is called for each new session. The engine is nil until a
	// ruleset is loaded.
	Logtest func() (*engine.Engine, []string)
	tests   logtests
}

// Part returns the operations of this package.
func (a *Service) Part() rest.Part {
	return rest.Part{Operations: []rest.Operation{rest.Op("run_logtest", a.runLogtest), rest.Op("end_logtest", a.endLogtest)}}
}

// Bounds of log tests over the API.
//
// Source: spec/alert-format.md §7.3, spec/ruleset-language.md §13.3.
const (
	logtestSessions = 64
	logtestIdle     = 15 * time.Minute
	logtestEventMax = 65_536
	// logtestMessages bounds the warnings of the ruleset in one answer.
	logtestMessages = 100
)

// logtests are the sessions of PUT /logtest. A session keeps the engine it began
// with, so that a change of the ruleset shows in new sessions only.
type logtests struct {
	mu       sync.Mutex
	sessions map[string]*logtestSession
}

type logtestSession struct {
	token, user string
	used        time.Time // under logtests.mu

	mu     sync.Mutex
	engine *engine.Engine
	state  *engine.Keyed
}

// find returns a user's session and marks it used; nil when there is none.
// Another user's is none: it holds that user's logs.
func (l *logtests) find(token, user string, now time.Time) *logtestSession {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t, s := range l.sessions {
		if now.Sub(s.used) > logtestIdle {
			delete(l.sessions, t)
		}
	}
	s := l.sessions[token]
	if s == nil || s.user != user {
		return nil
	}
	s.used = now
	return s
}

// open makes a session; the one used longest ago makes room.
func (l *logtests) open(user string, e *engine.Engine, now time.Time) (*logtestSession, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions == nil {
		l.sessions = map[string]*logtestSession{}
	}
	for len(l.sessions) >= logtestSessions {
		var oldest *logtestSession
		for _, s := range l.sessions {
			if oldest == nil || s.used.Before(oldest.used) {
				oldest = s
			}
		}
		delete(l.sessions, oldest.token)
	}
	s := &logtestSession{user: user, used: now, engine: e, state: e.NewState()}
	for s.token == "" || l.sessions[s.token] != nil {
		var b [4]byte // eight digits, as clients expect
		if _, err := rand.Read(b[:]); err != nil {
			return nil, fmt.Errorf("make a token: %w", err)
		}
		s.token = hex.EncodeToString(b[:])
	}
	l.sessions[s.token] = s
	return s, nil
}

func (l *logtests) close(token, user string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[token]
	if s == nil || s.user != user {
		return false
	}
	delete(l.sessions, token)
	return true
}

// Values of codemsg.
const (
	logtestFine   = 0
	logtestWarned = 1 // there are warnings
)

type runLogtest struct {
	Body struct {
		Token     string `json:"token"`
		LogFormat string `json:"log_format"`
		Location  string `json:"location"`
		Event     string `json:"event"`
	} `body:"json"`
}

func (a *Service) runLogtest(c *rest.Call, p *runLogtest) (rest.Answer, error) {
	event := p.Body.Event
	switch {
	case event == "" || p.Body.LogFormat == "" || p.Body.Location == "":
		return nil, problem.New(problem.LogtestFailed, "event, log_format and location must not be empty")
	case len(event) > logtestEventMax:
		return nil, problem.Newf(problem.LogtestFailed, "The event is longer than %d bytes", logtestEventMax)
	}
	messages, codemsg := []string{}, logtestFine
	token := p.Body.Token
	s := a.tests.find(token, c.User.Name, c.Now)
	if s == nil {
		if token != "" {
			messages = append(messages, fmt.Sprintf("WARNING: There is no session '%s', or it has ended; a new one takes its place", cutToken(token)))
		}
		var e *engine.Engine
		var warnings []string
		if a.Logtest != nil {
			e, warnings = a.Logtest()
		}
		if e == nil {
			return nil, problem.New(problem.NotReady, "")
		}
		var err error
		if s, err = a.tests.open(c.User.Name, e, c.Now); err != nil {
			return nil, err
		}
		messages = append(messages, fmt.Sprintf("INFO: (7202): Session initialized with token '%s'", s.token))
		for i, w := range warnings {
			if i == logtestMessages {
				messages = append(messages, fmt.Sprintf("WARNING: %d more warnings of the ruleset are left out", len(warnings)-i))
				break
			}
			messages = append(messages, "WARNING: "+w)
		}
		if len(messages) > 1 { // more than the session's beginning
			codemsg = logtestWarned
		}
	}
	output, alert, ok := s.judge(event, p.Body.Location, c.Now)
	if !ok {
		return nil, problem.New(problem.LogtestFailed, "The location is malformed")
	}
	return &rest.Data{Data: rest.Ordered{
		{Key: "messages", Value: messages}, {Key: "token", Value: s.token}, {Key: "output", Value: output}, {Key: "alert", Value: alert}, {Key: "codemsg", Value: codemsg},
	}}, nil
}

// judge runs one event through the session.
func (s *logtestSession) judge(log, location string, now time.Time) (output json.RawMessage, alert, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ev := schemas.Event{AgentID: schemas.ManagerID, Location: location, Queue: '1', Time: now, Log: []byte(log)}
	res := s.engine.Process(s.state, &ev)
	if res.Rejected {
		return nil, false, false
	}
	return res.AppendAlert(nil, strconv.FormatInt(now.Unix(), 10)+".0", nil), res.Alert, true
}

type endLogtest struct {
	Token string `param:"token"`
}

func (a *Service) endLogtest(c *rest.Call, p *endLogtest) (rest.Answer, error) {
	token := p.Token
	switch {
	case strings.TrimSpace(token) == "":
		return nil, problem.New(problem.LogtestToken, "")
	case !rest.Format("alphanumeric", token):
		return nil, problem.Bad("%q is not a 'alphanumeric' - 'token'", cutToken(token))
	}
	if !a.tests.close(token, c.User.Name) {
		return nil, problem.Newf(problem.LogtestFailed, "There is no session '%s', or it has ended", cutToken(token))
	}
	message := fmt.Sprintf("INFO: (7206): The session '%s' was closed successfully", cutToken(token))
	return &rest.Data{Data: rest.Ordered{{Key: "messages", Value: []string{message}}, {Key: "codemsg", Value: logtestFine}}}, nil
}

// cutToken shortens the token of a request for the answer.
func cutToken(s string) string { return s[:min(len(s), 64)] }
