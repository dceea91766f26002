package rules

import (
	"testing"

	"vedette/api/rest"
)

func TestFoldersOfRulesetsAreRelative(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]string{
		"rules": "ruleset/rules", "ruleset/rules": "ruleset/rules", "/var/ossec/ruleset/rules": "ruleset/rules", "/var/ossec/etc/rules": "etc/rules",
		"etc/rules/own": "etc/rules/own", "/var/ossec/etc/rules/own": "etc/rules/own", "/home/me/mine/rules": "etc/rules", "mine/rules": "etc/rules", "/opt/x": "etc/rules",
		"/var/etc/rulesx": "etc/rules", "/a/etc/rules/../../b": "etc/rules", "/a/etc/rules/b c": "etc/rules", "": "etc/rules",
	} {
		got := shownDir(dir, "rules")
		if got != want {
			t.Errorf("%q is shown as %q, want %q", dir, got, want)
		}
		if !rest.Format("get_dirnames_path", got) {
			t.Errorf("%q is shown as %q, which the filter refuses", dir, got)
		}
	}
}
