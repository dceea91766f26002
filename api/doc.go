// Package api is the REST API on port 55000, compatible with clients of the
// 4.14 API.
//
// In: HTTPS requests. Out: answers from what is injected as Deps: the registry
// of agents and users, the ruleset in use, the store of alerts, the health of
// the process.
//
// openapi.yaml is the source of truth. The router, the checks of parameters and
// bodies and the permission each operation needs are read from it, and New
// fails while an operation lacks its function or a function its operation. A
// new endpoint is a path there and a function in the file of its resource.
//
// Guarantees: an answer never holds more than the caller's permissions allow;
// errors come from the catalogue in problem and say nothing of internals.
//
// Limits (config.go): requests per minute, failed logins per address, bytes per
// body, time per request, password checks at the same time.
package api
