package api

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
	"vedette/ruleset/program"
)

// rulesetCache holds the items of the ruleset in use, which are made once per
// ruleset.
type rulesetCache struct {
	mu       sync.Mutex
	of       *program.Program
	rules    []item
	decoders []item
}

func (a *API) rulesetItems() (rules, decoders []item, err error) {
	if a.deps.Rules == nil {
		return nil, nil, nil
	}
	p := a.deps.Rules.Program()
	if p == nil {
		return nil, nil, nil
	}
	r := &a.ruleset
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == p {
		return r.rules, r.decoders, nil
	}
	if rules, decoders, err = rulesetList("enabled", p.Rules(), p.Decoders()); err != nil {
		return nil, nil, err
	}
	moreRules, moreDecoders := a.deps.Rules.Excluded()
	excludedRules, excludedDecoders, err := rulesetList("disabled", moreRules, moreDecoders)
	if err != nil {
		return nil, nil, err
	}
	rules, decoders = append(rules, excludedRules...), append(decoders, excludedDecoders...)
	byFile := func(a, b item) int { return cmp.Compare(first(a, "filename").(string), first(b, "filename").(string)) }
	if len(moreRules)+len(moreDecoders) > 0 { // files are listed in the order in which they load
		slices.SortStableFunc(rules, byFile)
		slices.SortStableFunc(decoders, byFile)
	}
	r.of, r.rules, r.decoders = p, rules, decoders
	return rules, decoders, nil
}

// rulesetList makes items of rules and decoders whose files have a status.
func rulesetList(status string, infos []program.RuleInfo, decoderInfos []program.DecoderInfo) (rules, decoders []item, err error) {
	rules = make([]item, 0, len(infos))
	for i := range infos {
		if infos[i].File == "" {
			continue // a root that the engine supplies; nobody wrote it
		}
		it, err := normalize(ruleJSON(&infos[i], status))
		if err != nil {
			return nil, nil, fmt.Errorf("rule %d: %w", infos[i].ID, err)
		}
		rules = append(rules, it)
	}
	for _, d := range decoderInfos {
		details := d.Details
		if d.Parent != "" && details["parent"] == nil {
			details = map[string]any{"parent": d.Parent}
			for k, v := range d.Details {
				details[k] = v
			}
		}
		it, err := normalize(map[string]any{
			"filename": d.File, "relative_dirname": shownDir(d.Dir, "decoders"), "status": status, "name": d.Name, "position": d.Position, "details": orEmpty(details),
		})
		if err != nil {
			return nil, nil, fmt.Errorf("decoder %s: %w", d.Name, err)
		}
		decoders = append(decoders, it)
	}
	return rules, decoders, nil
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

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// standards are the compliance members of a rule item.
var standards = []string{"pci_dss", "gpg13", "gdpr", "hipaa", "nist_800_53", "tsc"}

func ruleJSON(r *program.RuleInfo, status string) map[string]any {
	list := func(s []string) []string {
		if s == nil {
			return []string{}
		}
		return s
	}
	m := map[string]any{
		"filename": r.File, "relative_dirname": shownDir(r.Dir, "rules"), "id": r.ID, "level": r.Level, "status": status, "details": orEmpty(r.Details),
		"mitre": list(r.Mitre), "groups": list(r.Groups), "description": r.Description,
	}
	for _, s := range standards {
		m[s] = list(r.Compliance[s])
	}
	return m
}

// normalize makes an item of nothing but JSON's own kinds.
func normalize(m map[string]any) (item, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out map[string]any
	if err := dec.Decode(&out); err != nil {
		return nil, err
	}
	for k, v := range out {
		if n, ok := v.(json.Number); ok {
			if i, err := strconv.Atoi(n.String()); err == nil {
				out[k] = i // sorts as a number
			}
		}
	}
	return object{out}, nil
}

var ruleListing = listing{
	fields: []string{
		"description", "details", "filename", "gdpr", "groups", "id", "level", "relative_dirname", "pci_dss", "status", "gpg13", "hipaa",
		"nist_800_53", "tsc", "mitre",
	},
	sortable: []string{"filename", "relative_dirname", "description", "id", "level", "status"},
	keys:     []string{"id"},
}

var decoderListing = listing{
	fields:   []string{"filename", "relative_dirname", "name", "position", "status", "details"},
	sortable: []string{"filename", "relative_dirname", "name", "position", "status"},
	keys:     []string{"name"},
}

// fileFilter keeps items by the parameters that rules and decoders share.
func fileFilter(c *call, kind string) func(item) bool {
	files, byFile := c.strs("filename")
	dir, status := c.str("relative_dirname"), c.str("status")
	return func(it item) bool {
		file, _ := first(it, "filename").(string)
		if byFile && !slices.Contains(files, file) || dir != "" && first(it, "relative_dirname") != dir {
			return false
		}
		if status != "" && status != "all" && first(it, "status") != status {
			return false
		}
		return c.may(kind + ":file:" + file)
	}
}

func has(it item, field, value string) bool {
	return value == "" || slices.Contains(it.Values(field), any(value))
}

func (a *API) listRules(c *call) (any, error) {
	rules, _, err := a.rulesetItems()
	if err != nil {
		return nil, err
	}
	low, high, err := levels(c.str("level"))
	if err != nil {
		return nil, err
	}
	l := &list{All: "All selected rules were returned", Some: "Some rules were not returned", None: "No rule was returned", numeric: true}
	wanted := map[int]bool{}
	ids, byID := c.params["rule_ids"].([]any)
	for _, id := range ids {
		wanted[id.(int)] = true
	}
	keep := fileFilter(c, "rule")
	var items []item
	found := map[int]bool{}
	for _, it := range rules {
		id := first(it, "id").(int)
		if byID && !wanted[id] || !keep(it) {
			continue
		}
		found[id] = true
		if level := first(it, "level").(int); level < low || level > high {
			continue
		}
		if !has(it, "groups", c.str("group")) || !has(it, "mitre", c.str("mitre")) || !has(it, "nist_800_53", c.str("nist-800-53")) {
			continue
		}
		if slices.ContainsFunc([]string{"pci_dss", "gdpr", "gpg13", "hipaa", "tsc"}, func(s string) bool { return !has(it, s, c.str(s)) }) {
			continue
		}
		items = append(items, it)
	}
	for id := range wanted {
		if !found[id] {
			l.fail(problem.NoRule, strconv.Itoa(id))
		}
	}
	l.Items, l.Total, err = ruleListing.cut(c, items)
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

func (a *API) listDecoders(c *call) (any, error) {
	_, decoders, err := a.rulesetItems()
	if err != nil {
		return nil, err
	}
	l := &list{All: "All selected decoders were returned", Some: "Some decoders were not returned", None: "No decoder was returned"}
	names, byName := c.strs("decoder_names")
	keep := fileFilter(c, "decoder")
	var items []item
	found := map[string]bool{}
	for _, it := range decoders {
		name, _ := first(it, "name").(string)
		if byName && !slices.Contains(names, name) || !keep(it) {
			continue
		}
		found[name] = true
		items = append(items, it)
	}
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		if !found[n] {
			l.fail(problem.NoDecoder, n)
		}
	}
	l.Items, l.Total, err = decoderListing.cut(c, items)
	return l, err
}
