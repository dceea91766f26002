package groups

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
)

// Block is one `<agent_config>` of an agent.conf, as clients of the API get it.
type Block struct {
	// Filters are its attributes.
	Filters map[string]string `json:"filters"`
	// Config holds its sections by name: an object each, and an array of objects
	// for those of listed.
	Config map[string]any `json:"config"`
}

// listed are the sections and options of which there can be several, and which
// are arrays even if there is one.
var listed = []string{
	"localfile", "wodle", "socket", // sections
	"directories", "ignore", "nodiff", "registry_ignore", "windows_registry", "policy", "label", "tag",
}

// node is an element on its way to a Block.
type node struct {
	name     string
	attrs    map[string]string
	text     strings.Builder
	children []*node
}

// Blocks returns the parts of an agent.conf that CheckAgentConf takes.
func Blocks(text []byte) ([]Block, error) {
	if err := CheckAgentConf(text); err != nil {
		return nil, err
	}
	d := agentConfDecoder(text)
	root := &node{}
	open := []*node{root}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		top := open[len(open)-1]
		switch x := tok.(type) {
		case xml.StartElement:
			n := &node{name: x.Name.Local, attrs: map[string]string{}}
			for _, a := range x.Attr {
				n.attrs[a.Name.Local] = a.Value
			}
			top.children = append(top.children, n)
			open = append(open, n)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			top.text.Write(x)
		}
	}
	out := []Block{}
	for _, n := range root.children {
		config, _ := (&node{children: n.children}).value().(map[string]any)
		out = append(out, Block{Filters: n.attrs, Config: config})
	}
	return out, nil
}

// value is a text for an element that is nothing more, else an object of its
// attributes and children; its text is `item` then, of directories `path`.
func (n *node) value() any {
	text := strings.TrimSpace(n.text.String())
	if len(n.attrs) == 0 && len(n.children) == 0 && n.name != "" && !slices.Contains(sections, n.name) {
		return text
	}
	m := map[string]any{}
	for k, v := range n.attrs {
		m[k] = v
	}
	switch {
	case text == "" || len(n.children) > 0:
	case n.name == "directories":
		m["path"] = text
	default:
		m["item"] = text
	}
	for _, c := range n.children {
		v := c.value()
		switch before := m[c.name].(type) {
		case nil:
			if slices.Contains(listed, c.name) {
				v = []any{v}
			}
			m[c.name] = v
		case []any:
			m[c.name] = append(before, v)
		case map[string]any: // a section that goes on: what is said later holds
			if more, ok := v.(map[string]any); ok && slices.Contains(sections, c.name) {
				for k, x := range more {
					before[k] = x
				}
				continue
			}
			m[c.name] = []any{before, v}
		default:
			m[c.name] = []any{before, v}
		}
	}
	return m
}
