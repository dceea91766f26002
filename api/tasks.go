package api

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"vedette/api/problem"
	"vedette/internal/commands"
	"vedette/internal/qlang"
	"vedette/schemas"
)

// task is an upgrade as an item of a list.
type task struct {
	o    commands.Order
	json map[string]any
}

func newTask(o *commands.Order, now time.Time) task {
	t := task{o: *o, json: map[string]any{}}
	for _, m := range taskItem(o, now) {
		t.json[m.key] = m.value
	}
	return t
}

// JSON implements item.
func (t task) JSON() map[string]any { return t.json }

// Values implements qlang.Item.
func (t task) Values(path string) []any {
	date := func(at time.Time) []any {
		if at.IsZero() {
			return nil
		}
		return []any{at}
	}
	switch path {
	case "create_time":
		return date(t.o.Given)
	case "last_update_time":
		return date(t.o.Changed)
	case "agent_id":
		return []any{t.o.AgentID}
	}
	if v, ok := t.json[path]; ok && v != "" {
		return []any{v}
	}
	return nil
}

var taskFields = []string{"task_id", "agent_id", "node", "module", "command", "create_time", "last_update_time", "status", "error_message"}

// taskListing is of the upgrades that are remembered.
//
// Source: spec/api.md §6 "Fields per list"; §12 "Tasks".
var taskListing = listing{
	fields: taskFields, sortable: taskFields, keys: []string{"task_id"}, database: true,
	shown: map[string]string{"agent_id": "agent", "last_update_time": "update_time"},
	options: qlang.Options{
		Date:    func(name string) bool { return strings.HasSuffix(name, "_time") },
		Numeric: func(name string) bool { return name == "task_id" },
	},
}

// listTasks lists the upgrades of the last day, the oldest first.
func (a *API) listTasks(c *call) (any, error) {
	l := &list{All: "All specified task's status were returned", Some: "Some task's status were not returned", None: "No task's status was returned"}
	ids, byID := c.strs("tasks_list")
	agents, byAgent := c.strs("agents_list")
	is := func(name, value string) bool {
		want := c.str(name)
		return want == "" || strings.EqualFold(want, value)
	}
	items := []item{}
	if a.deps.Orders != nil {
		found := a.deps.Orders.Recent(ordersListed, func(o *commands.Order) bool {
			return o.Kind == schemas.CommandUpgrade && (!byAgent || slices.Contains(agents, o.AgentID)) &&
				(!byID || slices.Contains(ids, strconv.Itoa(taskID(o.ID))))
		})
		slices.Reverse(found)
		for i := range found {
			t := newTask(&found[i], c.now)
			keep := true
			for _, name := range []string{"command", "node", "module", "status"} {
				v, _ := t.json[name].(string)
				keep = keep && is(name, v)
			}
			if keep {
				items = append(items, t)
			}
		}
	}
	var err error
	l.Items, l.Total, err = taskListing.cut(c, items)
	return l, err
}

// restartNode tells the agents that report to a node to restart.
//
// Source: spec/api.md §11 (a node that is not known).
func (a *API) restartNode(c *call) (any, error) {
	node := c.gin.Param("node_id")
	if !formats["names"](node) {
		return nil, problem.Bad("'%.100s' is not a 'names' - 'node_id'", node)
	}
	if !c.perms.Allows("cluster:read", "node:id:"+node) {
		return nil, problem.New(problem.PermissionDenied, "Permission denied: Resource type: node:id")
	}
	here := func(x *Agent) bool { return x.Node == node && x.ID != serverID }
	if node != a.cfg.Identity.Node && !slices.ContainsFunc(a.agents(), here) {
		return nil, problem.New(problem.NoNode, "")
	}
	l := restarted()
	agents, err := a.permitted(c, l)
	if err != nil {
		return nil, err
	}
	return a.restart(c, l, slices.DeleteFunc(agents, func(x *Agent) bool { return !here(x) }))
}
