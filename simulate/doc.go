// Package simulate is the load tool: agents that enroll, connect, send logs and
// keepalives, reconnect and say goodbye like real ones, and count what they hand
// over, so that a test can compare it with what arrived.
//
// It speaks the protocol from the agent's side and shares only the codec of
// package ingest/secure with the gateway.
package simulate
