// Package agents answers the operations of the API on agents: lists, enrollment,
// removal, restarts, and questions to agents about their configuration.
//
// Agent (agent.go) is the one place for the fields of an agent. Other packages
// of resources take parameters (Some, One, All, Filter) and orders from here.
package agents
