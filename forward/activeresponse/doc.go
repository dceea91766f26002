// Package activeresponse turns alerts into commands for agents, and runs those
// that are the server's own.
//
// Destination: in, alerts; out, TopicCommands, one command per response and
// agent. A command's id is made from the alert's id, the response and the agent,
// so that an alert delivered again gives the same commands, which gateways send
// once. An alert older than the time a command may live gives none: what lies in
// the topic after an outage acts on nobody, and neither does history.
//
// Executor: in, TopicCommands under the key 000; out, TopicReplies. It belongs to
// a consumer group, so one node runs each command. A command is committed before
// it runs: a node that is killed in between has not run it, and nobody else will.
// What is to be undone later is kept in a file, so that it is undone after a
// restart too.
//
// Source: spec/active-response.md.
package activeresponse
