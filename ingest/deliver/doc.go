// Package deliver brings to agents everything that does not answer a message of
// theirs at once: shared configuration, commands, requests, upgrade packages.
//
// In: TopicCommands, the groups' files, and agents' messages that concern earlier
// deliveries. Out: messages to agents, TopicReplies, assignments to groups.
//
// The package knows the gateway by three small interfaces: a Fleet finds an Agent,
// an Agent gives its Route, a Route sends. Its parts know each other in one
// direction only:
//
//	Delivery ─▶ pusher
//	         └▶ commands ─▶ upgrades ─▶ requests
//	            all but requests ─▶ replies
//
// Bounds: the constants of each file.
package deliver
