package schemas

import "encoding/json"

// AccessOp names a change of users, roles, policies, security rules, their links,
// or the settings of tokens.
type AccessOp string

// Operations of AccessChange, each with the fields that it uses.
const (
	AccessUserPassword AccessOp = "user.password" // ID, Secret
	AccessUserRunAs    AccessOp = "user.run_as"   // ID, RunAs
	AccessUserRemove   AccessOp = "user.remove"   // ID
	AccessLogout       AccessOp = "user.logout"   // ID
	AccessUserLink     AccessOp = "user.link"     // ID, Link to a role, Position
	AccessUserUnlink   AccessOp = "user.unlink"   // ID, Link

	AccessRoleAdd      AccessOp = "role.add"           // Name
	AccessRoleRename   AccessOp = "role.rename"        // ID, Name
	AccessRoleRemove   AccessOp = "role.remove"        // ID
	AccessPolicyLink   AccessOp = "role.link_policy"   // ID, Link, Position
	AccessPolicyUnlink AccessOp = "role.unlink_policy" // ID, Link
	AccessRuleLink     AccessOp = "role.link_rule"     // ID, Link
	AccessRuleUnlink   AccessOp = "role.unlink_rule"   // ID, Link

	AccessPolicyAdd    AccessOp = "policy.add"    // Name, Actions, Resources, Deny
	AccessPolicyUpdate AccessOp = "policy.update" // the same with ID
	AccessPolicyRemove AccessOp = "policy.remove" // ID

	AccessRuleAdd    AccessOp = "rule.add"    // Name, Rule
	AccessRuleUpdate AccessOp = "rule.update" // the same with ID
	AccessRuleRemove AccessOp = "rule.remove" // ID

	AccessSettings AccessOp = "settings" // TokenSeconds, Black, Secret: a new token key
	AccessRevoke   AccessOp = "revoke"   // Secret: a new token key
)

// AccessChange asks for one change of access.
type AccessChange struct {
	Op AccessOp `json:"op"`
	// ID is that of the changed user, role, policy or security rule.
	ID   int    `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	// Secret is a password hash or a token key in PEM, sealed like an agent's key.
	Secret    []byte   `json:"secret,omitempty"`
	RunAs     bool     `json:"run_as,omitempty"`
	Actions   []string `json:"actions,omitempty"`
	Resources []string `json:"resources,omitempty"`
	Deny      bool     `json:"deny,omitempty"`
	// Rule is a JSON object.
	Rule json.RawMessage `json:"rule,omitempty"`
	// Link is the id of the linked object, Position its place; nil is the end.
	Link     int  `json:"link,omitempty"`
	Position *int `json:"position,omitempty"`
	// TokenSeconds is the lifetime of tokens; 0 is the default.
	TokenSeconds int64 `json:"token_seconds,omitempty"`
	Black        bool  `json:"black,omitempty"`
}
