package api

import (
	"context"
	"encoding/json"
	"time"

	"vedette/api/rest"
	"vedette/schemas"
)

// AuditLocation is the location of the events about changes over the API.
const AuditLocation = "vedette-api"

// auditEvent is the message of such an event. Rules see its members as fields.
type auditEvent struct {
	Integration string       `json:"integration"`
	User        string       `json:"srcuser"`
	Source      string       `json:"srcip"`
	API         auditRequest `json:"api"`
}

type auditRequest struct {
	Operation  string `json:"operation"`
	Method     string `json:"method"`
	Path       string `json:"path"`
	Parameters string `json:"parameters,omitempty"`
	Status     int    `json:"status"`
	Error      int    `json:"error"`
}

// Audit returns a function for rest.Config.Audit that writes an event about each
// request. manager is the server's name, node the name of this process. put takes
// the record; it must not block.
func Audit(manager, node string, put func(rec schemas.Record)) func(context.Context, rest.Audited) {
	return func(_ context.Context, a rest.Audited) {
		text, err := json.Marshal(auditEvent{
			Integration: AuditLocation, User: a.User, Source: a.Source,
			API: auditRequest{Operation: a.Operation, Method: a.Method, Path: a.Path, Parameters: a.Parameters, Status: a.Status, Error: a.Error},
		})
		if err != nil || len(text) > schemas.MaxEventBytes {
			return // texts are bounded by the frame
		}
		e := schemas.Event{
			Time: a.Time.Truncate(time.Millisecond), AgentID: schemas.ManagerID, AgentName: manager, Location: AuditLocation, Queue: '1', Gateway: node, Log: text,
		}
		put(e.Record())
	}
}
