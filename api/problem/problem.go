// Package problem is the closed catalogue of the API's errors.
//
// Codes and their HTTP status are the contract with clients; the texts are ours.
// Source: spec/api.md §3 and §13.
package problem

import (
	"fmt"
	"net/http"
)

// Problem is an error as a client gets it. It says nothing of internals.
type Problem struct {
	Status int
	Title  string
	Detail string
	// Code is 0 for errors of the transport and of validation.
	Code        int
	Remediation string
}

func (p *Problem) Error() string { return p.Detail }

// Code numbers a domain error.
type Code int

// The codes in use.
const (
	Internal            Code = 1000
	FileMissing         Code = 1006
	OrderFailed         Code = 1014
	NotReady            Code = 1017
	BodyNotJSON         Code = 1018
	NoField             Code = 1103
	NoSection           Code = 1106
	BadXML              Code = 1113
	BadConfig           Code = 1114
	ConfigMissing       Code = 1116
	ComponentDown       Code = 1117
	ComponentSilent     Code = 1118
	NoCounters          Code = 1121
	ConfigPair          Code = 1128
	NoStats             Code = 1308
	OnlyRealAgents      Code = 1310
	UnknownSort         Code = 1403
	LimitTooHigh        Code = 1405
	QuerySyntax         Code = 1407
	QueryField          Code = 1408
	QueryOperator       Code = 1409
	QueryDate           Code = 1412
	NoRuleFile          Code = 1415
	NoDecoderFile       Code = 1503
	NoCommand           Code = 1650
	CommandUnknown      Code = 1652
	NoAgent             Code = 1701
	NotForServer        Code = 1703
	AgentName           Code = 1705
	AgentAddress        Code = 1706
	AgentNotActive      Code = 1707
	AgentID             Code = 1708
	AgentKey            Code = 1709
	NoGroup             Code = 1710
	GroupExists         Code = 1711
	GroupDefault        Code = 1712
	GroupReserved       Code = 1713
	GroupName           Code = 1722
	UnknownSelect       Code = 1724
	EnrolmentFailed     Code = 1725
	EnrolmentDown       Code = 1726
	NoNode              Code = 1730
	AgentFilter         Code = 1731
	GroupNotMember      Code = 1734
	OldAgent            Code = 1735
	TooManyGroups       Code = 1737
	AgentNameLength     Code = 1738
	ActiveOnly          Code = 1740
	GroupOnlyDefault    Code = 1745
	ResponsesOff        Code = 1750
	GroupMember         Code = 1751
	NoList              Code = 1802
	NoTask              Code = 1813
	NoPackage           Code = 1819
	Upgrading           Code = 1820
	UpgradeVersion      Code = 1821
	NotNewer            Code = 1822
	NeedsForce          Code = 1823
	GroupsTooLarge      Code = 2009
	NotUTF8             Code = 1911
	EmptyBody           Code = 1912
	BadLevel            Code = 1203
	NoRule              Code = 1208
	NoDecoder           Code = 1504
	ReloadFailed        Code = 1914
	NoRuleset           Code = 1915
	ShadowFailed        Code = 2004
	StoreFailed         Code = 2003
	NoCluster           Code = 3013
	Timeout             Code = 3021
	OtherNode           Code = 3023
	PermissionDenied    Code = 4000
	NothingToChange     Code = 4001
	NoRole              Code = 4002
	BadRule             Code = 4003
	RoleExists          Code = 4005
	BadPolicy           Code = 4006
	NoPolicy            Code = 4007
	BuiltIn             Code = 4008
	PolicyExists        Code = 4009
	RolePolicyNotLinked Code = 4010
	RolePolicyLinked    Code = 4011
	NameExists          Code = 4013
	UserRoleNotLinked   Code = 4016
	UserRoleLinked      Code = 4017
	BadPosition         Code = 4018
	NoSecurityRule      Code = 4022
	RoleRuleLinked      Code = 4023
	RoleRuleNotLinked   Code = 4024
	RequiredLink        Code = 4025
	BadResources        Code = 4500
	UserExists          Code = 5000
	NoUser              Code = 5001
	UserBuiltIn         Code = 5004
	WeakPassword        Code = 5007
	Oneself             Code = 5008
	PasswordLength      Code = 5009
	BuiltInUsersOnly    Code = 5011
	RunAsDisabled       Code = 6004
	AddressBlocked      Code = 6000
	RequestLimit        Code = 6001
	BodyType            Code = 6002
	TokenKeyUnusable    Code = 6003
	LogtestFailed       Code = 7000
	LogtestToken        Code = 7001
)

// Def is one entry of the catalogue.
type Def struct {
	Code        Code
	Status      int
	Detail      string
	Remediation string
}

var catalogue = map[Code]Def{}

func def(code Code, status int, detail, remediation string) {
	catalogue[code] = Def{code, status, detail, remediation}
}

func init() {
	const bad, internal = http.StatusBadRequest, http.StatusInternalServerError
	def(Internal, internal, "The server could not answer this request", "See the server's log")
	def(FileMissing, bad, "The file does not exist, or may not be read", "Ask GET /groups/{group_id}/files for the files there are")
	def(OrderFailed, internal, "The brokers do not answer; the order may have been given or not", "See /readyz, then GET /active-response")
	def(EmptyBody, bad, "The body is empty", "Send the file as the body")
	def(BadConfig, bad, "The configuration is one that agents would not take", "Mend the line that is named")
	def(BadXML, bad, "The file is no XML that agents would take", "Mend the line that is named")
	def(NoSection, bad, "The configuration has nothing of this section", "Ask GET /manager/configuration for the sections there are")
	def(NoField, bad, "The section has no such field", "Ask for the section without the parameter field")
	def(ConfigMissing, bad, "The agent's component has no such configuration", "")
	def(ComponentDown, bad, "The agent's component is off or does not answer", "See the agent's log")
	def(NoCounters, bad, "No such counters are kept", "See the metrics of the processes")
	def(ComponentSilent, internal, "The agent did not answer", "See whether it is connected, then ask again")
	def(ConfigPair, bad, "The component has no such configuration", "See the documentation for the pairs there are")
	def(NoStats, bad, "No such statistics are kept", "See the metrics of the processes, or count alerts in the index")
	def(OnlyRealAgents, bad, "Only agents have this component, not the server itself", "")
	def(NoCommand, bad, "No command is given", "Name one of ar.conf, or a script with ! in front")
	def(CommandUnknown, bad, "There is no such command", "Name one of ar.conf, or a script with ! in front")
	def(NoNode, http.StatusNotFound, "There is no such node", "See GET /cluster/nodes, and node_name of GET /agents")
	def(ResponsesOff, bad, "Active response is switched off on the agent", "Switch it on in the agent's own configuration")
	def(AgentNotActive, bad, "Cannot send request, agent is not active", "See whether it is connected")
	def(OldAgent, internal, "The agent's version is too old for this", "Upgrade it")
	def(ActiveOnly, bad, "This can only be done with active agents", "See whether it is connected")
	def(NoTask, bad, "There is no upgrade of this agent", "It is remembered for a day")
	def(NoCluster, bad, "There is no cluster: this is the only node", "Use the operations under /manager")
	def(OtherNode, bad, "Only the node itself can tell or do this", "Ask the API of that node, under /manager")
	def(NoRole, bad, "There is no such role", "See GET /security/roles")
	def(NoPolicy, bad, "There is no such policy", "See GET /security/policies")
	def(NoSecurityRule, bad, "There is no such security rule", "See GET /security/rules")
	def(NoUser, bad, "There is no such user", "See GET /security/users")
	def(NothingToChange, bad, "The request changes nothing", "Name at least one field to change")
	def(BadRule, bad, "The security rule cannot be read", "Use an object with AND, OR, NOT, MATCH, MATCH$, FIND or FIND$")
	def(RoleExists, bad, "There is a role or security rule with this name or this body", "Choose another one")
	def(BadPolicy, bad, "The policy cannot be read", "Use actions such as agent:read, resources such as agent:id:001, and allow or deny")
	def(BuiltIn, bad, "Built-in objects cannot be changed or removed", "Make one of your own")
	def(PolicyExists, bad, "There is a policy with this name or this body", "Choose another one")
	def(RolePolicyNotLinked, bad, "The role does not have this policy", "See GET /security/roles")
	def(RolePolicyLinked, bad, "The role has this policy already", "See GET /security/roles")
	def(NameExists, bad, "The name is taken", "Choose another one")
	def(UserRoleNotLinked, bad, "The user does not have this role", "See GET /security/users")
	def(UserRoleLinked, bad, "The user has this role already", "See GET /security/users")
	def(BadPosition, bad, "The position must be 0 or more", "")
	def(RoleRuleLinked, bad, "The role has this security rule already", "See GET /security/roles")
	def(RoleRuleNotLinked, bad, "The role does not have this security rule", "See GET /security/roles")
	def(RequiredLink, bad, "This link cannot be removed", "")
	def(BadResources, bad, "The policy combines resources that cannot be combined", "Combine at most two resources with &")
	def(UserExists, bad, "The user could not be added", "Choose another name: this one may be taken")
	def(UserBuiltIn, bad, "Built-in users cannot be changed or removed", "Make a user of your own")
	def(WeakPassword, bad, "The password is too weak", "Use a lower case and an upper case letter, a digit and a symbol")
	def(Oneself, bad, "Nobody can remove oneself", "Ask another administrator")
	def(PasswordLength, bad, "The password must have 8 to 64 characters", "")
	def(BuiltInUsersOnly, bad, "Only built-in users can change the password of a built-in user", "")
	def(RunAsDisabled, http.StatusForbidden, "The user may not log in with a context", "Ask an administrator for PUT /security/users/{user_id}/run_as")
	def(NoPackage, bad, "There is no package for this agent", "Put one into agents.packages_dir")
	def(Upgrading, bad, "The agent is being upgraded already", "See GET /agents/upgrade_result")
	def(UpgradeVersion, bad, "Agents of this version cannot be upgraded from here", "Upgrade it by hand")
	def(NotNewer, bad, "The package is not newer than the agent", "Use force=true")
	def(NeedsForce, bad, "The package is newer than the server", "Upgrade the server first, or use force=true")
	def(GroupsTooLarge, bad, "The files of all groups together are too large", "Take some away first")
	def(NotUTF8, bad, "The file is not UTF-8", "")
	def(NotReady, internal, "Some parts of the server are not ready", "Wait, then see /readyz")
	def(BodyNotJSON, bad, "The body is not valid JSON", "Send a JSON object")
	def(BadLevel, bad, "The level must be a number from 0 to 16, or two with a hyphen", "")
	def(NoRule, bad, "The rule does not exist, or may not be read", "Ask GET /rules for the rules there are")
	def(NoRuleFile, bad, "The file of rules does not exist, or may not be read", "Ask GET /rules/files for the files there are")
	def(NoDecoderFile, bad, "The file of decoders does not exist, or may not be read", "Ask GET /decoders/files for the files there are")
	def(NoList, bad, "The list does not exist, or may not be read", "Ask GET /lists/files for the lists there are")
	def(UnknownSort, bad, "It is not possible to sort by this field", "Use one of the fields named")
	def(LimitTooHigh, bad, "offset and limit together are too high", "Narrow the query, for instance by time")
	def(QuerySyntax, bad, "The query cannot be read", "See the documentation of the parameter q")
	def(QueryField, bad, "The query names a field that does not exist", "Use one of the fields named")
	def(QueryOperator, bad, "The query uses an operator that the field does not have", "")
	def(QueryDate, bad, "The query compares a date with something else", "Use YYYY-MM-DD, YYYY-MM-DDTHH:MM:SSZ or a period such as 7d")
	def(NoDecoder, bad, "The decoder does not exist, or may not be read", "Ask GET /decoders for the decoders there are")
	def(NoAgent, http.StatusNotFound, "Agent does not exist", "Ask GET /agents for the agents there are")
	def(NotForServer, bad, "This cannot be done to agent 000, which is the server itself", "")
	def(AgentName, bad, "There is an agent with this name", "Choose another name, or see the parameter force")
	def(AgentAddress, bad, "The address is not valid, or belongs to another agent", "Use an address, a network (10.0.0.0/8) or any")
	def(AgentID, bad, "There is an agent with this id", "Choose another id")
	def(AgentKey, bad, "The key is not usable", "Use at least 64 letters and digits")
	def(NoGroup, http.StatusNotFound, "The group does not exist", "Ask GET /groups for the groups there are")
	def(GroupExists, bad, "There is a group with this name", "Choose another name")
	def(GroupDefault, bad, "The group default cannot be removed", "")
	def(GroupReserved, bad, "The name is reserved", "Choose another name")
	def(GroupName, bad, "The name cannot name a group", "Use letters, digits, - _ and .")
	def(GroupNotMember, bad, "The agent is not in the group", "Ask GET /agents?select=group for the groups of agents")
	def(TooManyGroups, bad, "The agent would be in more than 128 groups", "Take it out of others first")
	def(GroupOnlyDefault, bad, "The agent is in no group but default, which it cannot leave", "Put it into another group first")
	def(GroupMember, bad, "Could not assign agent to group", "Agent already belongs to specified group, please select another agent")
	def(UnknownSelect, bad, "It is not possible to select this field", "Use one of the fields named")
	def(EnrolmentFailed, bad, "The agent could not be enrolled", "")
	def(EnrolmentDown, bad, "The registry of agents does not answer", "Try again later; the change may have been made")
	def(AgentFilter, bad, "The agent does not meet the conditions of the request", "Change the filters")
	def(AgentNameLength, bad, "The name is too long", "Use at most 128 characters")
	def(ReloadFailed, bad, "The ruleset could not be taken over; the one before goes on", "Mend what is named, then reload again")
	def(NoRuleset, bad, "The version of the ruleset does not exist", "Ask GET /rulesets for the versions there are")
	def(ShadowFailed, internal, "The brokers do not answer", "See /readyz and the server's log")
	def(StoreFailed, internal, "The store of alerts does not answer", "See /readyz and the server's log")
	def(Timeout, internal, "The request took too long", "Narrow it, or use wait_for_complete=true")
	def(PermissionDenied, http.StatusForbidden, "Permission denied", "Ask an administrator for the permission")
	def(AddressBlocked, http.StatusForbidden, "Too many failed logins from this address", "Wait some minutes")
	def(RequestLimit, http.StatusTooManyRequests, "Maximum number of requests per minute reached", "Wait as many seconds as the header Retry-After says")
	def(BodyType, http.StatusNotAcceptable, "The body is not of the type this operation takes", "")
	def(LogtestFailed, bad, "The event could not be tested", "See the parameters of PUT /logtest")
	def(LogtestToken, bad, "A log test is ended by its token", "Name the token that PUT /logtest answered with")
	def(TokenKeyUnusable, internal, "The key that signs tokens is not there yet", "Try again later")
}

// All returns the catalogue, for its reference page.
func All() map[Code]Def { return catalogue }

// New returns a catalogued problem; detail, if not empty, takes the place of the
// general sentence. An unknown code is a programmer's error.
func New(code Code, detail string) *Problem {
	d, ok := catalogue[code]
	if !ok {
		panic(fmt.Sprintf("problem: code %d is not in the catalogue", code))
	}
	if detail == "" {
		detail = d.Detail
	}
	return &Problem{Status: d.Status, Title: Title(d.Status), Detail: detail, Code: int(code), Remediation: d.Remediation}
}

// Newf is New with a formatted detail.
func Newf(code Code, format string, args ...any) *Problem {
	return New(code, fmt.Sprintf(format, args...))
}

// HTTP returns a problem of the transport or of validation, which has no code.
func HTTP(status int, detail string) *Problem {
	p := &Problem{Status: status, Title: Title(status), Detail: detail}
	if status == http.StatusNotFound {
		p.Title = "Not Found" // only things that have a code are resources
	}
	return p
}

// Bad returns a 400 of validation.
func Bad(format string, args ...any) *Problem {
	return HTTP(http.StatusBadRequest, fmt.Sprintf(format, args...))
}

// Title returns the title that belongs to a status.
func Title(status int) string {
	switch status {
	case http.StatusForbidden:
		return "Permission Denied"
	case http.StatusNotFound:
		return "Resource Not Found"
	case http.StatusRequestEntityTooLarge:
		return "Content size exceeded."
	case http.StatusExpectationFailed:
		return "Expectation failed"
	case http.StatusInternalServerError:
		return "Wazuh Internal Error"
	}
	return http.StatusText(status)
}
