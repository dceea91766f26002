package rbac

import (
	"encoding/json"
	"slices"
	"strings"
)

// AlertRead is an action of ours: 4.14 has no endpoint for alerts.
const AlertRead = "alert:read"

var agents = []string{"agent:id:*", "agent:group:*"}

// policies are the built-in ones; ids up to 35 have the meaning they have in 4.14.
var policies = []Policy{
	p(1, "agents_all_resourceless", none, "agent:create", "group:create", "agent:uninstall"),
	p(2, "agents_all_agents", agents, "agent:read", "agent:delete", "agent:modify_group", "agent:reconnect", "agent:restart", "agent:upgrade"),
	p(3, "agents_all_groups", of("group:id"), "group:read", "group:delete", "group:update_config", "group:modify_assignments"),
	p(4, "agents_read_agents", agents, "agent:read"),
	p(5, "agents_read_groups", of("group:id"), "group:read"),
	p(6, "agents_commands_agents", of("agent:id"), "active-response:command"),
	p(7, "security_all_resourceless", none, "security:create", "security:create_user", "security:read_config", "security:update_config", "security:revoke", "security:edit_run_as"),
	p(8, "security_all_security", of("role:id", "policy:id", "user:id", "rule:id"), "security:read", "security:update", "security:delete"),
	p(9, "users_all_resourceless", none, "security:create_user", "security:revoke", "security:edit_run_as"),
	p(10, "users_all_users", of("user:id"), "security:read", "security:update", "security:delete"),
	p(11, "users_modify_run_as_flag", none, "security:edit_run_as"),
	p(12, "ciscat_read_ciscat", of("agent:id"), "ciscat:read"),
	p(13, "decoders_read_decoders", of("decoder:file"), "decoders:read"),
	p(14, "decoders_all_files", of("decoder:file"), "decoders:read", "decoders:delete"),
	p(15, "decoders_all_resourceless", none, "decoders:update"),
	p(16, "mitre_read_mitre", none, "mitre:read"),
	p(17, "lists_read_rules", of("list:file"), "lists:read"),
	p(18, "lists_all_rules", of("list:file"), "lists:read", "lists:delete"),
	p(19, "lists_all_resourceless", none, "lists:update"),
	p(20, "rootcheck_read_rootcheck", of("agent:id"), "rootcheck:read"),
	p(21, "rootcheck_all_rootcheck", of("agent:id"), "rootcheck:clear", "rootcheck:read", "rootcheck:run"),
	p(22, "rules_read_rules", of("rule:file"), "rules:read"),
	p(23, "rules_all_files", of("rule:file"), "rules:read", "rules:delete"),
	p(24, "rules_all_resourceless", none, "rules:update"),
	p(25, "sca_read_sca", of("agent:id"), "sca:read"),
	p(26, "syscheck_read_syscheck", of("agent:id"), "syscheck:read"),
	p(27, "syscheck_all_syscheck", of("agent:id"), "syscheck:clear", "syscheck:read", "syscheck:run"),
	p(28, "syscollector_read_syscollector", of("agent:id"), "syscollector:read"),
	p(29, "cluster_all_resourceless", none, "cluster:status", "manager:read", "manager:read_api_config", "manager:update_config", "manager:restart"),
	p(30, "cluster_all_nodes", of("node:id"), "cluster:read_api_config", "cluster:read", "cluster:restart", "cluster:update_config"),
	p(31, "cluster_read_resourceless", none, "cluster:status", "manager:read", "manager:read_api_config"),
	p(32, "cluster_read_nodes", of("node:id"), "cluster:read_api_config", "cluster:read"),
	p(33, "logtest_all_logtest", none, "logtest:run"),
	p(34, "task_status_task", none, "task:status"),
	p(35, "events_ingest_resourceless", none, "event:ingest"),
	// Ours.
	p(36, "alerts_read_alerts", agents, AlertRead),
}

var roles = []Role{
	{1, "administrator", []int{1, 2, 3, 6, 7, 8, 29, 30, 12, 14, 15, 18, 19, 21, 23, 24, 16, 25, 27, 28, 33, 34, 35, 36}, []int{1, 2}},
	{2, "readonly", []int{4, 5, 12, 31, 32, 13, 17, 20, 22, 16, 25, 26, 28, 36}, nil},
	{3, "users_admin", []int{9, 10}, nil},
	{4, "agents_readonly", []int{4, 5}, nil},
	{5, "agents_admin", []int{1, 2, 3}, nil},
	{6, "cluster_readonly", []int{31, 32}, nil},
	{7, "cluster_admin", []int{29, 30}, nil},
}

var none = []string{AnyResource}

func of(types ...string) []string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = t + ":*"
	}
	return out
}

func p(id int, name string, resources []string, actions ...string) Policy {
	return Policy{ID: id, Name: name, Actions: actions, Resources: resources}
}

// RoleID returns the id of a built-in role by its name.
func RoleID(name string) (int, bool) {
	for _, r := range roles {
		if r.Name == name {
			return r.ID, true
		}
	}
	return 0, false
}

// PoliciesOf returns the policies of roles, in order. Unknown roles have none.
func PoliciesOf(ids []int) []Policy {
	var out []Policy
	for _, id := range ids {
		i := slices.IndexFunc(roles, func(r Role) bool { return r.ID == id })
		if i < 0 {
			continue
		}
		for _, pid := range roles[i].Policies {
			out = append(out, policies[pid-1])
		}
	}
	return out
}

// Roles returns the built-in roles by id.
func Roles() []Role { return slices.Clone(roles) }

// securityRules are the built-in ones.
//
// Source: spec/api.md §7, "Built-in objects".
var securityRules = []SecurityRule{
	{1, "wui_elastic_admin", json.RawMessage(`{"FIND":{"username":"elastic"}}`)},
	{2, "wui_opensearch_admin", json.RawMessage(`{"FIND":{"user_name":"admin"}}`)},
}

// SecurityRules returns the built-in security rules by id.
func SecurityRules() []SecurityRule { return slices.Clone(securityRules) }

// PolicyByID returns a built-in policy.
func PolicyByID(id int) (Policy, bool) {
	if id < 1 || id > len(policies) {
		return Policy{}, false
	}
	return policies[id-1], true
}

// Policies returns the built-in policies by id.
func Policies() []Policy { return slices.Clone(policies) }

// RoleByID returns a built-in role.
func RoleByID(id int) (Role, bool) {
	i := slices.IndexFunc(roles, func(r Role) bool { return r.ID == id })
	if i < 0 {
		return Role{}, false
	}
	return roles[i], true
}

// Actions returns every action there is with the types of its resources.
func Actions() map[string][]string {
	out := map[string][]string{}
	for _, p := range policies {
		for _, a := range p.Actions {
			for _, r := range p.Resources {
				if typ := strings.TrimSuffix(r, ":*"); !slices.Contains(out[a], typ) {
					out[a] = append(out[a], typ)
				}
			}
		}
	}
	return out
}
