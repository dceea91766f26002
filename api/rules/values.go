package rules

import (
	"slices"

	"vedette/api/rest"
)

// ofRules is the rules that an operation on values in them reads.
type ofRules struct {
	Rules rest.Targets[*ruleItem] `all:"rule:file"`
}

// listRuleGroups answers every group of a rule, those of standards with them.
func (a *Service) listRuleGroups(c *rest.Call, p *ofRules) (rest.Answer, error) {
	return values(c, p.Rules.Items(), func(x *ruleItem) []string {
		groups := slices.Clone(x.Groups)
		for _, s := range standards {
			for _, v := range s.values(x) {
				groups = append(groups, s.prefix+v)
			}
		}
		return groups
	}, "All groups in rules were returned")
}

type ofStandard struct {
	ofRules
	Standard string `param:"requirement"`
}

// listRequirements answers every value of a compliance standard in rules.
func (a *Service) listRequirements(c *rest.Call, p *ofStandard) (rest.Answer, error) {
	of := func(x *ruleItem) []string { return x.Mitre }
	for _, s := range standards {
		if s.name == p.Standard {
			of = s.values
		}
	}
	return values(c, p.Rules.Items(), of, "All selected rules were returned")
}

// standards are the compliance standards, by the names of requests and by how
// names of groups begin.
var standards = []struct {
	name, prefix string
	values       func(*ruleItem) []string
}{
	{"pci_dss", "pci_dss_", func(x *ruleItem) []string { return x.PCI }},
	{"gdpr", "gdpr_", func(x *ruleItem) []string { return x.GDPR }},
	{"hipaa", "hipaa_", func(x *ruleItem) []string { return x.HIPAA }},
	{"nist-800-53", "nist_800_53_", func(x *ruleItem) []string { return x.NIST }},
	{"gpg13", "gpg13_", func(x *ruleItem) []string { return x.GPG13 }},
	{"tsc", "tsc_", func(x *ruleItem) []string { return x.TSC }},
}

// values lists different texts of rules.
func values(c *rest.Call, rules []*ruleItem, of func(*ruleItem) []string, all string) (rest.Answer, error) {
	var out []string
	for _, x := range rules {
		out = append(out, of(x)...)
	}
	slices.Sort(out)
	return rest.Texts(c, slices.Compact(out), rest.Messages{All: all, Some: "Some rules were not returned", None: "No rule was returned"}), nil
}

type listParents struct {
	Decoders rest.Targets[*decoderItem] `all:"decoder:file"`
}

// listParentDecoders answers the decoders that have no parent.
func (a *Service) listParentDecoders(c *rest.Call, p *listParents) (rest.Answer, error) {
	decoders := slices.DeleteFunc(p.Decoders.Items(), func(x *decoderItem) bool { return x.Details["parent"] != nil })
	return decoderView.Page(c, decoders, rest.Messages{All: "All selected decoders were returned", Some: "Some decoders were not returned", None: "No decoder was returned"})
}
