// Package registry keeps who may connect: agents with their keys, API users and
// the key of API tokens, the same on every node without a master.
//
// In and out: proposals in TopicRegistry, one partition. A change is proposed as
// a record that carries all it is judged by; every node applies the records in
// their order with the same pure function (State.Apply) and so comes to the same
// result, and the proposer learns its outcome by reading its own record. Besides,
// the registry follows TopicPresence, which the gateways write, and ends the
// presence of agents that are gone.
//
// Guarantees: a change is visible on the proposing node before Add or Remove
// returns, and on every other node as soon as that node reads the record. A
// record whose MAC does not verify under the cluster key, or that stands there a
// second time, changes nothing. The node that had an agent removed or replaced
// raises one event about it in TopicEvents; killed just then, it raises none.
//
// Limits: agentsMax agents, usersMax users, pendingMax proposals of this node in
// flight, schemas.MaxProposalBytes per proposal.
package registry
