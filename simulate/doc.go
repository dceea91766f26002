// Package simulate is the load tool: agents that enroll, connect, send logs and
// keepalives, reconnect and say goodbye like real ones. They count the events
// they hand over, so that a test can compare this number with the arrivals.
//
// It speaks the protocol from the agent's side and shares only the codec of
// package ingest/secure with the gateway.
package simulate
