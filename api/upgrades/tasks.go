package upgrades

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"vedette/api/agents"
	"vedette/api/rest"
	"vedette/internal/commands"
	"vedette/internal/qlang"
	"vedette/schemas"
)

// task is an upgrade as clients know it.
//
// Source: spec/api.md §12 "Tasks".
type task struct {
	Message      string        `json:"message"`
	Agent        string        `json:"agent"`
	ID           int           `json:"task_id"`
	Node         string        `json:"node"`
	Module       string        `json:"module"`
	Command      string        `json:"command"`
	Status       string        `json:"status"`
	ErrorMessage string        `json:"error_message,omitempty"`
	Created      rest.ZuluDate `json:"create_time,omitzero"`
	Updated      rest.ZuluDate `json:"update_time,omitzero"`
	File         string        `json:"file,omitempty"`
}

func newTask(o *commands.Order, now time.Time) *task {
	t := &task{
		Message: o.Text, Agent: o.AgentID, ID: TaskID(o.ID), Node: o.Node, Module: "upgrade_module", Command: o.Response, Status: "In progress",
		Created: rest.ZuluDate{Time: o.Given}, Updated: rest.ZuluDate{Time: o.Changed}, File: o.Package,
	}
	switch o.Status {
	case "":
		if t.Status, t.Message = "In queue", "Waiting for the node that holds the agent's connection"; o.Final(now) {
			t.Status, t.Message = "Timeout", "No node held the agent's connection in time"
		}
	case schemas.ReplyProgress:
		if o.Final(now) {
			t.Status = "Timeout"
		}
	case schemas.ReplyDone:
		t.Status = "Done"
	case schemas.ReplyTimedOut, schemas.ReplyExpired:
		t.Status = "Timeout"
	default:
		t.Status = "Failed"
	}
	if t.Command == "" {
		t.Command = upgradeKnown
	}
	if t.Status == "Failed" || t.Status == "Timeout" {
		t.ErrorMessage = t.Message
	}
	return t
}

// taskView is of the upgrades that are remembered.
//
// Source: spec/api.md §6 "Fields per list"; §12 "Tasks".
var taskView = rest.View[task]{
	Keys: []string{"task_id"}, Database: true, Encoded: rest.Sorted[task], ShownOnly: []string{"message", "file"},
	Names:   map[string]string{"agent_id": "agent", "last_update_time": "update_time"},
	Options: qlang.Options{Numeric: func(name string) bool { return name == "task_id" }},
}.Init()

type listTasks struct {
	Agents  []string `param:"agents_list"`
	Tasks   []string `param:"tasks_list"`
	Command string   `param:"command"`
	Node    string   `param:"node"`
	Module  string   `param:"module"`
	Status  string   `param:"status"`
}

// listTasks lists the upgrades of the last day, the oldest first.
func (a *Service) listTasks(c *rest.Call, p *listTasks) (rest.Answer, error) {
	is := func(want, have string) bool { return want == "" || strings.EqualFold(want, have) }
	var items []*task
	if a.Orders != nil {
		found := a.Orders.Recent(agents.OrdersListed, func(o *commands.Order) bool {
			return o.Kind == schemas.CommandUpgrade && (p.Agents == nil || slices.Contains(p.Agents, o.AgentID)) &&
				(p.Tasks == nil || slices.Contains(p.Tasks, strconv.Itoa(TaskID(o.ID))))
		})
		slices.Reverse(found)
		for i := range found {
			if t := newTask(&found[i], c.Now); is(p.Command, t.Command) && is(p.Node, t.Node) && is(p.Module, t.Module) && is(p.Status, t.Status) {
				items = append(items, t)
			}
		}
	}
	return taskView.Page(c, items, rest.Messages{All: "All specified task's status were returned", Some: "Some task's status were not returned", None: "No task's status was returned"})
}
