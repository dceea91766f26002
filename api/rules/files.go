package rules

import (
	"cmp"
	"slices"

	"vedette/api/rest"
)

// fileItem is a file of rules or decoders as lists show it.
type fileItem struct {
	Filename string `json:"filename"`
	Dir      string `json:"relative_dirname"`
	Status   string `json:"status"`
}

var fileView = rest.View[fileItem]{Keys: []string{"filename"}}.Init()

type listRuleFiles struct {
	Rules rest.Targets[*ruleItem] `all:"rule:file"`
	fileFilter
}

// listRuleFiles answers the files that hold a rule.
func (a *Service) listRuleFiles(c *rest.Call, p *listRuleFiles) (rest.Answer, error) {
	var files []*fileItem
	for _, x := range p.Rules.Items() {
		files = append(files, &fileItem{x.Filename, x.Dir, x.Status})
	}
	return p.page(c, files, "All rules files were returned")
}

type listDecoderFiles struct {
	Decoders rest.Targets[*decoderItem] `all:"decoder:file"`
	fileFilter
}

// listDecoderFiles answers the files that hold a decoder.
func (a *Service) listDecoderFiles(c *rest.Call, p *listDecoderFiles) (rest.Answer, error) {
	var files []*fileItem
	for _, x := range p.Decoders.Items() {
		files = append(files, &fileItem{x.Filename, x.Dir, x.Status})
	}
	return p.page(c, files, "All decoder files were returned")
}

// page answers each file once, by name.
func (p *fileFilter) page(c *rest.Call, files []*fileItem, all string) (rest.Answer, error) {
	files = slices.DeleteFunc(files, func(x *fileItem) bool { return !p.keeps(x.Filename, x.Dir, x.Status) })
	slices.SortFunc(files, func(a, b *fileItem) int {
		return cmp.Or(cmp.Compare(a.Filename, b.Filename), cmp.Compare(a.Dir, b.Dir), cmp.Compare(a.Status, b.Status))
	})
	files = slices.CompactFunc(files, func(a, b *fileItem) bool { return *a == *b })
	return fileView.Page(c, files, rest.Messages{All: all, Some: "Some files were not returned", None: "No file was returned"})
}
