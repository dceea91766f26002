// Package template renders texts over an alert, such as the body of a request.
//
// A template is one of Go's text/template, and its data is the alert document:
// {{.rule.description}}. A field that is missing, at any depth, gives the empty
// text; lists and objects give JSON. Functions besides those of text/template:
//
//	json      a value as JSON: {"text": {{json .full_log}}}; a missing one is null
//	jsontext  a text for the inside of a JSON text: {"text": "Alert: {{jsontext .full_log}}"}
//	index     as in text/template, but a missing value is no error: {{index .data "ms-graph" "id"}}
//
// Values come from logs, which attackers write: use json or jsontext for each.
package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"vedette/schemas"
)

// Bounds of a template's text and of its result.
const (
	MaxTextBytes   = 64 << 10
	MaxOutputBytes = schemas.MaxAlertBytes
)

// errTooLong is a rendering beyond MaxOutputBytes.
var errTooLong = fmt.Errorf("the template gives more than %d bytes", MaxOutputBytes)

// Template is safe for concurrent use.
type Template struct{ t *template.Template }

// Parse reads a template. Errors name its line.
func Parse(text string) (*Template, error) {
	if len(text) > MaxTextBytes {
		return nil, fmt.Errorf("the template is longer than %d bytes", MaxTextBytes)
	}
	t, err := template.New("template").Funcs(template.FuncMap{"json": toJSON, "jsontext": jsonText, "index": index, "text": plain}).Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	for _, part := range t.Templates() {
		if part.Tree != nil {
			list(part.Root)
		}
	}
	return &Template{t}, nil
}

// Render returns the text for an alert document, at most MaxOutputBytes long.
func (t *Template) Render(document []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.UseNumber()
	var data map[string]any
	if err := dec.Decode(&data); err != nil {
		return nil, fmt.Errorf("read alert: %w", err)
	}
	var out bounded
	if err := t.t.Execute(&out, numbers(data)); err != nil {
		if errors.Is(err, errTooLong) {
			return nil, errTooLong
		}
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	return out.Bytes(), nil
}

// bounded is a buffer that refuses more than MaxOutputBytes.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > MaxOutputBytes {
		return 0, errTooLong
	}
	return b.Buffer.Write(p)
}

// numbers makes numbers comparable with those in a template.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = numbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = numbers(e)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil && !math.IsInf(f, 0) {
			return f
		}
		return v.String()
	}
	return v
}

// list rewrites the actions of a template. `.a.b` becomes `index . "a" "b"`, which
// knows no error for a missing field, and printed values pass through `text`.
func list(l *parse.ListNode) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			pipe(n.Pipe)
			if len(n.Pipe.Decl) == 0 {
				n.Pipe.Cmds = append(n.Pipe.Cmds, command(n.Pos, parse.NewIdentifier("text").SetPos(n.Pos)))
			}
		case *parse.IfNode:
			branch(&n.BranchNode)
		case *parse.RangeNode:
			branch(&n.BranchNode)
		case *parse.WithNode:
			branch(&n.BranchNode)
		case *parse.TemplateNode:
			pipe(n.Pipe)
		}
	}
}

func branch(b *parse.BranchNode) {
	pipe(b.Pipe)
	list(b.List)
	list(b.ElseList)
}

func pipe(p *parse.PipeNode) {
	if p == nil {
		return
	}
	for _, c := range p.Cmds {
		for i, arg := range c.Args {
			c.Args[i] = value(arg)
		}
	}
}

func value(n parse.Node) parse.Node {
	switch n := n.(type) {
	case *parse.PipeNode:
		pipe(n)
	case *parse.FieldNode:
		return lookup(n.Pos, &parse.DotNode{NodeType: parse.NodeDot, Pos: n.Pos}, n.Ident)
	case *parse.VariableNode:
		if len(n.Ident) > 1 {
			variable := n.Copy().(*parse.VariableNode)
			variable.Ident = n.Ident[:1]
			return lookup(n.Pos, variable, n.Ident[1:])
		}
	case *parse.ChainNode:
		return lookup(n.Pos, value(n.Node), n.Field)
	}
	return n
}

// lookup is the pipeline (index of "a" "b").
func lookup(pos parse.Pos, of parse.Node, path []string) parse.Node {
	args := []parse.Node{parse.NewIdentifier("index").SetPos(pos), of}
	for _, name := range path {
		args = append(args, &parse.StringNode{NodeType: parse.NodeString, Pos: pos, Quoted: strconv.Quote(name), Text: name})
	}
	return &parse.PipeNode{NodeType: parse.NodePipe, Pos: pos, Cmds: []*parse.CommandNode{command(pos, args...)}}
}

func command(pos parse.Pos, args ...parse.Node) *parse.CommandNode {
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: args}
}

// index follows names through objects and numbers through lists; nil if the way
// ends.
func index(v any, path ...any) any {
	for _, step := range path {
		switch in := v.(type) {
		case map[string]any:
			name, _ := step.(string)
			v = in[name]
		case []any:
			var i int64
			switch n := step.(type) {
			case int:
				i = int64(n)
			case int64:
				i = n
			default:
				return nil
			}
			if i < 0 || i >= int64(len(in)) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// plain is a value as it is printed.
func plain(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case map[string]any, []any:
		return toJSON(v)
	}
	return fmt.Sprint(v), nil
}

func toJSON(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func jsonText(v any) (string, error) {
	text, err := plain(v)
	if err != nil {
		return "", err
	}
	quoted, err := toJSON(text)
	if err != nil {
		return "", err
	}
	return quoted[1 : len(quoted)-1], nil
}
