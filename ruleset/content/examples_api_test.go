package content_test

import (
	"context"

	"vedette/api"
	"vedette/api/rest"
	"vedette/schemas"
)

// call is the event that the API writes about a request.
func call(user, from, operation, method, path string, status int) []event {
	return answered(user, from, operation, method, path, status, map[bool]int{false: 1}[status == 200])
}

// answered is call with the error of the answer: 1 is nothing done, 2 a part.
func answered(user, from, operation, method, path string, status, code int) []event {
	var out []event
	api.Audit("siem", "node1", func(rec schemas.Record) { out = append(out, logs(string(rec.Value))...) })(context.Background(), rest.Audited{
		User: user, Source: from, Operation: operation, Method: method, Path: path, Status: status, Error: code,
	})
	return out
}

func login(user, from string, status int) []event {
	return call(user, from, "login", "POST", "/security/user/authenticate", status)
}

var apiExamples = []example{
	eg(905000, call("ann", "203.0.113.7", "logout", "DELETE", "/security/user/authenticate", 200), logs(`{"integration":"vedette-apis"}`)),
	eg(905001, then(login("ann", "203.0.113.7", 200), call("ann", "203.0.113.7", "login_run_as", "POST", "/security/user/authenticate/run_as", 200)), login("ann", "203.0.113.7", 401)),
	eg(905002, then(login("ann", "203.0.113.7", 401), login("ann", "203.0.113.7", 403)), login("ann", "203.0.113.7", 500)),
	{905003, [][]event{times(8, login("ann", "203.0.113.7", 401))}, [][]event{times(7, login("ann", "203.0.113.7", 401)), then(times(7, login("ann", "203.0.113.7", 401)), login("ann", "203.0.113.8", 401))}},
	eg(905010, call("ann", "203.0.113.7", "reload_ruleset", "PUT", "/manager/analysisd/reload", 200), then(call("ann", "203.0.113.7", "run_logtest", "PUT", "/logtest", 200), call("ann", "203.0.113.7", "reload_ruleset", "PUT", "/manager/analysisd/reload", 400))),
	eg(905011,
		then(call("ann", "203.0.113.7", "add_user", "POST", "/security/users", 200), answered("ann", "203.0.113.7", "delete_users", "DELETE", "/security/users", 200, 2)),
		then(call("ann", "203.0.113.7", "add_group", "POST", "/groups", 200), answered("ann", "203.0.113.7", "delete_users", "DELETE", "/security/users", 200, 1))),
	eg(905012, then(call("ann", "203.0.113.7", "delete_agents", "DELETE", "/agents", 200), call("ann", "203.0.113.7", "delete_groups", "DELETE", "/groups", 200)), call("ann", "203.0.113.7", "add_agent", "POST", "/agents", 200)),
	eg(905013, call("ann", "203.0.113.7", "add_user", "POST", "/security/users", 403), login("ann", "203.0.113.7", 403)),
}
