// Package api is the REST API on port 55000, compatible with clients of the
// 4.14 API.
//
// In: HTTPS requests. Out: answers from the injected Deps: the registry of agents
// and users, the ruleset in use, the store of alerts, the health of the process.
//
// openapi.yaml is the source of truth, and package rest the frame that serves it.
// A new endpoint is a path in the document and a function in the package of its
// resource (agents, groups, rules and so on), listed in the package's Part. This
// package puts the parts together; New fails while an operation lacks its
// function, its permissions or a parameter, or a function its operation.
//
// Guarantees: an answer never holds more than the caller's permissions allow;
// errors come from the catalog in package problem and tell no internals.
//
// Limits: package rest for requests, package security for logins.
package api
