package rules

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/internal/xmlfile"
	"vedette/ruleset"
)

// source is a file of the ruleset in use.
type source struct {
	Name, Dir string
	data      []byte
}

// sources returns files with the folders under which clients know them; kind is
// rules, decoders or lists.
func (a *Service) sources(kind string, of func(ruleset.Source) []ruleset.File) func() []*source {
	return func() (out []*source) {
		if a.Rules == nil {
			return nil
		}
		for _, f := range of(a.Rules.Source()) {
			x := &source{Name: path.Base(f.Name), Dir: listDir(f.Name), data: f.Data}
			if kind != "lists" {
				x.Dir = shownDir(filepath.Dir(f.Path), kind)
			}
			out = append(out, x)
		}
		return out
	}
}

// listDir is the folder of a list by its path below the folder of lists.
func listDir(name string) string { return path.Join("etc/lists", path.Dir(name)) }

func (a *Service) sourceKinds() []rest.AnyKind {
	kind := func(resource, name string, missing problem.Code, of func(ruleset.Source) []ruleset.File) rest.AnyKind {
		return &rest.Kind[*source]{Resource: resource, All: a.sources(name, of), ID: func(x *source) string { return x.Name }, Missing: missing}
	}
	return []rest.AnyKind{
		kind("rule:file", "rules", problem.NoRuleFile, func(s ruleset.Source) []ruleset.File { return s.Rules }),
		kind("decoder:file", "decoders", problem.NoDecoderFile, func(s ruleset.Source) []ruleset.File { return s.Decoders }),
		kind("list:file", "lists", problem.NoList, func(s ruleset.Source) []ruleset.File { return s.Lists }),
	}
}

type readFile struct {
	Files rest.Targets[*source] `param:"filename"`
	Raw   bool                  `param:"raw"`
	Dir   string                `param:"relative_dirname"`
}

// file returns the file that a request names, nil if there is none: then it is a
// failed item.
func (p *readFile) file(c *rest.Call, missing problem.Code) *source {
	files := p.Files.Items()
	i := slices.IndexFunc(files, func(x *source) bool { return p.Dir == "" || x.Dir == p.Dir })
	if i >= 0 {
		return files[i]
	}
	if len(files) > 0 {
		c.Fail(missing, files[0].Name)
	}
	return nil
}

func (a *Service) readRuleFile(c *rest.Call, p *readFile) (rest.Answer, error) {
	return p.xml(c, problem.NoRuleFile, rest.Messages{All: "Selected rule was returned", Some: "Selected rule was not returned", None: "No rule was returned"})
}

func (a *Service) readDecoderFile(c *rest.Call, p *readFile) (rest.Answer, error) {
	return p.xml(c, problem.NoDecoderFile, rest.Messages{All: "Selected decoder was returned", Some: "Selected decoder was not returned", None: "No decoder was returned"})
}

// xml answers with a file as it is, or its elements as objects.
func (p *readFile) xml(c *rest.Call, missing problem.Code, m rest.Messages) (rest.Answer, error) {
	x := p.file(c, missing)
	switch {
	case x == nil && p.Raw:
		return nil, problem.New(missing, "")
	case x == nil:
		return rest.Items([]any{}, m), nil
	case p.Raw:
		return &rest.File{ContentType: "application/xml; charset=utf-8", Data: x.data}, nil
	}
	roots, err := xmlfile.Parse(x.data)
	if err != nil {
		return nil, problem.Newf(problem.BadXML, "%s: %v", x.Name, err)
	}
	return rest.Items([]any{objects(roots)}, m), nil
}

// objects shows elements by their names: several of one name are an array. An
// element with neither attributes nor children is its text.
func objects(elements []*xmlfile.Element) rest.Ordered {
	var out rest.Ordered
	for _, e := range elements {
		v := object(e)
		i := slices.IndexFunc(out, func(m rest.Member) bool { return m.Key == e.Name })
		if i < 0 {
			out = append(out, rest.Member{Key: e.Name, Value: v})
			continue
		}
		list, ok := out[i].Value.([]any)
		if !ok {
			list = []any{out[i].Value}
		}
		out[i].Value = append(list, v)
	}
	return out
}

func object(e *xmlfile.Element) any {
	text := strings.TrimSpace(e.Content)
	if len(e.Attrs) == 0 && len(e.Children) == 0 {
		return text
	}
	var out rest.Ordered
	for _, a := range e.Attrs {
		out = append(out, rest.Member{Key: "@" + a.Name, Value: a.Value})
	}
	out = append(out, objects(e.Children)...)
	if text != "" {
		out = append(out, rest.Member{Key: "#text", Value: text})
	}
	return out
}

// listItem is a CDB list as lists show it.
type listItem struct {
	Filename string `json:"filename"`
	Items    []any  `json:"items"`
	Dir      string `json:"relative_dirname"`
}

// listFile is the file of a CDB list.
type listFile struct {
	Filename string `json:"filename"`
	Dir      string `json:"relative_dirname"`
}

var (
	listView     = rest.View[listItem]{Sortable: []string{"filename", "relative_dirname"}, Keys: []string{"filename"}}.Init()
	listFileView = rest.View[listFile]{Keys: []string{"filename"}}.Init()
)

type listLists struct {
	Lists    rest.Targets[*source] `all:"list:file"`
	Filename []string              `param:"filename"`
	Dir      string                `param:"relative_dirname"`
}

// chosen returns the lists that the filters leave, by folder and name.
func (p *listLists) chosen() []*source {
	lists := slices.DeleteFunc(p.Lists.Items(), func(x *source) bool {
		return p.Filename != nil && !slices.Contains(p.Filename, x.Name) || p.Dir != "" && p.Dir != x.Dir
	})
	slices.SortFunc(lists, func(a, b *source) int { return strings.Compare(a.Dir+"/"+a.Name, b.Dir+"/"+b.Name) })
	return lists
}

func (a *Service) listLists(c *rest.Call, p *listLists) (rest.Answer, error) {
	var items []*listItem
	for _, x := range p.chosen() {
		entries := []any{}
		for key, value := range ruleset.ListEntries(x.data) {
			entries = append(entries, map[string]any{"key": key, "value": value})
		}
		items = append(items, &listItem{x.Name, entries, x.Dir})
	}
	return listView.Page(c, items, rest.Messages{All: "All specified lists were returned", Some: "Some lists were not returned", None: "No list was returned"})
}

func (a *Service) listListFiles(c *rest.Call, p *listLists) (rest.Answer, error) {
	var items []*listFile
	for _, x := range p.chosen() {
		items = append(items, &listFile{x.Name, x.Dir})
	}
	return listFileView.Page(c, items, rest.Messages{All: "All specified paths were returned", Some: "Some paths were not returned", None: "No path was returned"})
}

type readList struct {
	Files rest.Targets[*source] `param:"filename"`
	Raw   bool                  `param:"raw"`
}

// readListFile answers with a list as it is, or its keys and values. Of equal keys
// the first counts, as in rules.
func (a *Service) readListFile(c *rest.Call, p *readList) (rest.Answer, error) {
	m := rest.Messages{All: "CDB list was returned", Some: "CDB list was not returned", None: "No list was returned"}
	x := (&readFile{Files: p.Files}).file(c, problem.NoList)
	switch {
	case x == nil && p.Raw:
		return nil, problem.New(problem.NoList, "")
	case x == nil:
		return rest.Items([]any{}, m), nil
	case p.Raw:
		return rest.Text(x.data), nil
	}
	out, seen := rest.Ordered{}, map[string]bool{}
	for key, value := range ruleset.ListEntries(x.data) {
		if !seen[key] {
			seen[key] = true
			out = append(out, rest.Member{Key: key, Value: value})
		}
	}
	return rest.Items([]any{out}, m), nil
}
