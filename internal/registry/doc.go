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
// second time, changes nothing. The node that had an agent removed
// raises one event about it in TopicEvents; killed just then, it raises none.
//
// State: groups and an agent's list of them are part of it. Snapshots of the
// whole state in TopicSnapshots spare a start the reading of every proposal, and
// let the log be cut behind the last but one. Any node writes them; a broken one
// gives way to the one before, or to the log. A node to which nothing verifies
// says ErrWrongKey and proposes nothing; one that finds a gap it cannot fill is
// not ready, because a part of the registry would be another registry.
//
// Limits: agentsMax agents, groupsMax groups, usersMax users, pendingMax proposals of this node in
// flight, schemas.MaxProposalBytes per proposal.
package registry
