package rules

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/ruleset"
	"vedette/ruleset/program"
)

// Service answers the operations on rules and decoders.
type Service struct {
	Rules Rules
	cache rulesetCache
}

// Part returns the operations and the kinds of this package.
func (a *Service) Part() rest.Part {
	return rest.Part{
		Kinds: append(a.sourceKinds(),
			&rest.Kind[*ruleItem]{
				Resource: "rule:file", All: func() []*ruleItem { rules, _ := a.cache.items(a.Rules); return rules },
				ID: func(x *ruleItem) string { return x.Filename },
			},
			&rest.Kind[*decoderItem]{
				Resource: "decoder:file", All: func() []*decoderItem { _, decoders := a.cache.items(a.Rules); return decoders },
				ID: func(x *decoderItem) string { return x.Filename },
			},
		),
		Items: []rest.Item{rest.ItemOf[listItem]("CDBList"), rest.ItemOf[listFile]("CDBListFile"), rest.ItemOf[ruleItem]("Rule"), rest.ItemOf[decoderItem]("Decoder"), rest.ItemOf[fileItem]("RulesetFile")},
		Operations: []rest.Operation{
			rest.Op("list_rules", a.listRules), rest.Op("list_rule_groups", a.listRuleGroups), rest.Op("list_rule_requirements", a.listRequirements), rest.Op("list_rule_files", a.listRuleFiles),
			rest.Op("list_decoders", a.listDecoders), rest.Op("list_parent_decoders", a.listParentDecoders), rest.Op("list_decoder_files", a.listDecoderFiles),
			rest.Op("read_rule_file", a.readRuleFile), rest.Op("read_decoder_file", a.readDecoderFile),
			rest.Op("list_lists", a.listLists), rest.Op("list_list_files", a.listListFiles), rest.Op("read_list_file", a.readListFile),
		},
	}
}

// Rules give the ruleset in use; nil before the first is loaded.
type Rules interface {
	Program() *program.Program
	// Source returns the text of the ruleset in use; empty before the first.
	Source() ruleset.Source
	// Excluded returns the rules and decoders of files that the configuration
	// excludes, which are shown and do not run.
	Excluded() ([]program.RuleInfo, []program.DecoderInfo)
}

// ruleItem is a rule as lists show it.
type ruleItem struct {
	Description string         `json:"description"`
	Details     map[string]any `json:"details"`
	Filename    string         `json:"filename"`
	GDPR        []string       `json:"gdpr"`
	GPG13       []string       `json:"gpg13"`
	Groups      []string       `json:"groups"`
	HIPAA       []string       `json:"hipaa"`
	ID          int            `json:"id"`
	Level       int            `json:"level"`
	Mitre       []string       `json:"mitre"`
	NIST        []string       `json:"nist_800_53"`
	PCI         []string       `json:"pci_dss"`
	Dir         string         `json:"relative_dirname"`
	Status      string         `json:"status"`
	TSC         []string       `json:"tsc"`
}

// decoderItem is a decoder as lists show it.
type decoderItem struct {
	Details  map[string]any `json:"details"`
	Filename string         `json:"filename"`
	Name     string         `json:"name"`
	Position int            `json:"position"`
	Dir      string         `json:"relative_dirname"`
	Status   string         `json:"status"`
}

var (
	ruleView = rest.View[ruleItem]{
		Sortable: []string{"filename", "relative_dirname", "description", "id", "level", "status"}, Keys: []string{"id"},
	}.Init()
	decoderView = rest.View[decoderItem]{
		Sortable: []string{"filename", "relative_dirname", "name", "position", "status"}, Keys: []string{"name"},
	}.Init()
)

// rulesetCache holds the items of the ruleset in use, which are made once per
// ruleset.
type rulesetCache struct {
	mu       sync.Mutex
	of       *program.Program
	rules    []*ruleItem
	decoders []*decoderItem
}

// items returns the rules and decoders in use and those of excluded files, in
// the order in which files load. The slices belong to the caller.
func (r *rulesetCache) items(from Rules) ([]*ruleItem, []*decoderItem) {
	var p *program.Program
	if from != nil {
		p = from.Program()
	}
	if p == nil {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of != p {
		r.of, r.rules, r.decoders = p, nil, nil
		r.add("enabled", p.Rules(), p.Decoders())
		if rules, decoders := from.Excluded(); len(rules)+len(decoders) > 0 {
			r.add("disabled", rules, decoders)
			slices.SortStableFunc(r.rules, func(a, b *ruleItem) int { return cmp.Compare(a.Filename, b.Filename) })
			slices.SortStableFunc(r.decoders, func(a, b *decoderItem) int { return cmp.Compare(a.Filename, b.Filename) })
		}
	}
	return slices.Clone(r.rules), slices.Clone(r.decoders)
}

// add makes items of rules and decoders whose files have a status.
func (r *rulesetCache) add(status string, rules []program.RuleInfo, decoders []program.DecoderInfo) {
	list := func(s []string) []string { return append([]string{}, s...) }
	for _, x := range rules {
		if x.File == "" {
			continue // a root that the engine supplies; nobody wrote it
		}
		r.rules = append(r.rules, &ruleItem{
			Filename: x.File, Dir: shownDir(x.Dir, "rules"), ID: x.ID, Level: x.Level, Status: status, Details: plain(x.Details),
			Mitre: list(x.Mitre), Groups: list(x.Groups), Description: x.Description,
			PCI: list(x.Compliance["pci_dss"]), GPG13: list(x.Compliance["gpg13"]), GDPR: list(x.Compliance["gdpr"]),
			HIPAA: list(x.Compliance["hipaa"]), NIST: list(x.Compliance["nist_800_53"]), TSC: list(x.Compliance["tsc"]),
		})
	}
	for _, x := range decoders {
		details := plain(x.Details)
		if x.Parent != "" && details["parent"] == nil {
			details["parent"] = x.Parent
		}
		r.decoders = append(r.decoders, &decoderItem{
			Filename: x.File, Dir: shownDir(x.Dir, "decoders"), Status: status, Name: x.Name, Position: x.Position, Details: details,
		})
	}
}

// plain returns details as nothing but JSON's own kinds, never nil.
func plain(details map[string]any) map[string]any {
	out := map[string]any{}
	b, err := json.Marshal(details)
	if err != nil {
		panic(fmt.Sprintf("api: details of the ruleset did not encode: %v", err))
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&out); err != nil || out == nil {
		return map[string]any{}
	}
	return out
}

// folders are the parts of a path from which on clients know it.
var folders = regexp.MustCompile(`(?:^|/)((?:ruleset|etc)/(?:rules|decoders)(?:/[\w\-./]*)?)$`)

// shownDir is the folder under which clients know the files of a directory; kind
// is rules or decoders. The built-in folders are shown as shipped ones, which
// nobody edits over the API, and directories elsewhere as the folder for own files.
func shownDir(dir, kind string) string {
	dir = filepath.ToSlash(dir)
	if dir == kind {
		return "ruleset/" + kind
	}
	if m := folders.FindStringSubmatch(dir); m != nil && !strings.Contains(m[1], "..") {
		return m[1]
	}
	return "etc/" + kind
}

// fileFilter is the parameters that rules and decoders share.
type fileFilter struct {
	Filename []string `param:"filename"`
	Dir      string   `param:"relative_dirname"`
	Status   string   `param:"status"`
}

func (p *fileFilter) keeps(file, dir, status string) bool {
	return (p.Filename == nil || slices.Contains(p.Filename, file)) && (p.Dir == "" || p.Dir == dir) &&
		(p.Status == "" || p.Status == "all" || p.Status == status)
}

type listRules struct {
	Rules rest.Targets[*ruleItem] `all:"rule:file"`
	fileFilter
	IDs   []int  `param:"rule_ids"`
	Group string `param:"group"`
	Level string `param:"level"`
	PCI   string `param:"pci_dss"`
	GDPR  string `param:"gdpr"`
	GPG13 string `param:"gpg13"`
	HIPAA string `param:"hipaa"`
	NIST  string `param:"nist-800-53"`
	TSC   string `param:"tsc"`
	Mitre string `param:"mitre"`
}

func (a *Service) listRules(c *rest.Call, p *listRules) (rest.Answer, error) {
	low, high, err := levels(p.Level)
	if err != nil {
		return nil, err
	}
	has := func(want string, have []string) bool { return want == "" || slices.Contains(have, want) }
	found := map[int]bool{}
	rules := slices.DeleteFunc(p.Rules.Items(), func(x *ruleItem) bool {
		if p.IDs != nil && !slices.Contains(p.IDs, x.ID) || !p.keeps(x.Filename, x.Dir, x.Status) {
			return true
		}
		found[x.ID] = true
		return x.Level < low || x.Level > high || !has(p.Group, x.Groups) || !has(p.Mitre, x.Mitre) || !has(p.NIST, x.NIST) ||
			!has(p.PCI, x.PCI) || !has(p.GDPR, x.GDPR) || !has(p.GPG13, x.GPG13) || !has(p.HIPAA, x.HIPAA) || !has(p.TSC, x.TSC)
	})
	slices.Sort(p.IDs)
	for _, id := range slices.Compact(p.IDs) {
		if !found[id] {
			c.Fail(problem.NoRule, strconv.Itoa(id))
		}
	}
	l, err := ruleView.Page(c, rules, rest.Messages{All: "All selected rules were returned", Some: "Some rules were not returned", None: "No rule was returned"})
	if l != nil {
		l.NumericIDs = true
	}
	return l, err
}

// levels reads `n` or `n-m`; empty is every level.
func levels(s string) (low, high int, err error) {
	if s == "" {
		return 0, 1 << 30, nil
	}
	a, b, ranged := strings.Cut(s, "-")
	low, _ = strconv.Atoi(a)
	if high = low; ranged {
		high, _ = strconv.Atoi(b)
	}
	if low > 16 || high > 16 {
		return 0, 0, problem.New(problem.BadLevel, "")
	}
	return low, high, nil
}

type listDecoders struct {
	Decoders rest.Targets[*decoderItem] `all:"decoder:file"`
	fileFilter
	Names []string `param:"decoder_names"`
}

func (a *Service) listDecoders(c *rest.Call, p *listDecoders) (rest.Answer, error) {
	found := map[string]bool{}
	decoders := slices.DeleteFunc(p.Decoders.Items(), func(x *decoderItem) bool {
		if p.Names != nil && !slices.Contains(p.Names, x.Name) || !p.keeps(x.Filename, x.Dir, x.Status) {
			return true
		}
		found[x.Name] = true
		return false
	})
	slices.Sort(p.Names)
	for _, n := range slices.Compact(p.Names) {
		if !found[n] {
			c.Fail(problem.NoDecoder, n)
		}
	}
	return decoderView.Page(c, decoders, rest.Messages{All: "All selected decoders were returned", Some: "Some decoders were not returned", None: "No decoder was returned"})
}
