// Package rest is the frame of the REST API: routing, checks of parameters and
// bodies, permissions, envelopes, lists, errors and limits. It knows nothing of
// agents, groups or any other resource.
//
// In: an OpenAPI document, and parts with the functions of its operations. Out:
// an http.Handler. The document is the source of truth: New compares it with the
// fields of each function's parameters and fails where they differ.
//
// Permissions: each operation declares the permissions that it needs in the
// document (x-vedette-permissions). The frame refuses the request, or gives the
// function only the resources that the caller may use. Functions never ask.
//
// A request goes through serve.go (headers, limits, token), validate.go (query,
// body, path), permit.go (permissions), its function, answer.go (envelope).
// list.go filters, sorts and cuts lists by the JSON fields of their structs.
//
// Limits (config.go): requests per minute, bytes per body, time per request.
package rest
