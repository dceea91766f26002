package rest

import (
	"context"
	"net/http"
	"time"

	"vedette/api/problem"
)

// Audited is a request that was to change something, or a login, with its outcome.
type Audited struct {
	Time time.Time
	// User is the name of the caller, or the name that a refused login gave.
	User string
	// Source is the address of the client.
	Source string
	// Operation is the operationId; Method, Path and Parameters (without passwords)
	// are those of the request.
	Operation, Method, Path, Parameters string
	// Status is the HTTP status. Error is the answer's error: 0 for success, 1 or 2
	// where some things could not be done, or the code of a problem.
	Status, Error int
}

// audit tells Config.Audit of a request once it is answered.
func (f *Frame) audit(k *Call, status, code int) {
	if f.cfg.Audit == nil || k.op.probe || k.op.method == http.MethodGet && !k.op.basic {
		return
	}
	user := k.gin.GetString(keyUser)
	if user == "" {
		return // nobody who is known: the metrics count those
	}
	f.cfg.Audit(context.WithoutCancel(k.gin.Request.Context()), Audited{
		Time: k.Now, User: user, Source: k.RemoteIP(), Operation: k.op.id, Method: k.op.method, Path: k.gin.Request.URL.Path,
		Parameters: masked(k.gin.Request.URL.Query()), Status: status, Error: code,
	})
}

// outcomeOf returns the member error of an answer.
func outcomeOf(value any) int {
	o, ok := value.(Ordered)
	if !ok {
		return 0
	}
	for _, m := range o {
		if n, ok := m.Value.(int); ok && m.Key == "error" {
			return n
		}
	}
	return 0
}

func auditCode(p *problem.Problem) int {
	if p.Code != 0 {
		return p.Code
	}
	return 1
}
