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

func filesOf[T any](items []T, file func(T) fileItem) []*fileItem {
	var out []*fileItem
	for _, x := range items {
		f := file(x)
		out = append(out, &f)
	}
	return out
}

type listRuleFiles struct {
	Rules rest.Targets[*ruleItem] `all:"rule:file"`
	fileFilter
}

// listRuleFiles answers the files that hold a rule.
func (a *Service) listRuleFiles(c *rest.Call, p *listRuleFiles) (rest.Answer, error) {
	files := filesOf(p.Rules.Items(), func(x *ruleItem) fileItem { return fileItem{x.Filename, x.Dir, x.Status} })
	return p.page(c, files, "All rules files were returned")
}

type listDecoderFiles struct {
	Decoders rest.Targets[*decoderItem] `all:"decoder:file"`
	fileFilter
}

// listDecoderFiles answers the files that hold a decoder.
func (a *Service) listDecoderFiles(c *rest.Call, p *listDecoderFiles) (rest.Answer, error) {
	files := filesOf(p.Decoders.Items(), func(x *decoderItem) fileItem { return fileItem{x.Filename, x.Dir, x.Status} })
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
