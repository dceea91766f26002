package template

import (
	"encoding/json"
	"strings"
	"testing"

	"vedette/internal/store/storetest"
)

const document = `{"rule":{"level":10,"description":"Login \"x\"","id":"5710","groups":["sshd","auth"],"score":1.5,"big":9007199254740993},
"agent":{"id":"001","labels":{"env":"prod"}},"data":{"srcip":"10.0.0.1","ms-graph":{"id":"7"},"none":null,"yes":true},"full_log":"a\nb <c> \\ é"}`

func TestATemplateShowsFieldsOfTheAlert(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                       "",
		"{{.rule.description}}!": `Login "x"!`,
		"{{.rule.level}} {{.rule.score}} {{.rule.big}} {{.data.yes}}": "10 1.5 9007199254740993 true",
		// Missing fields are empty at any depth.
		"<{{.nothing}}{{.nothing.below.it}}{{.rule.id.below}}{{.data.none}}{{.data.none.below}}>":                     "<>",
		"{{if .nothing.below}}yes{{else}}no{{end}}":                                                                   "no",
		"{{range .nothing.list}}x{{else}}none{{end}}":                                                                 "none",
		"{{with .nothing.below}}x{{else with .rule}}{{.id}}{{end}}":                                                   "5710",
		"{{with .agent}}{{.labels.env}}{{.labels.no.no}}{{end}}":                                                      "prod",
		"{{$a := .agent}}{{$a.id}}{{$a.no.no}}{{$.rule.id}}{{$.x.y}}":                                                 "0015710",
		"{{(index .data \"ms-graph\").id}}{{(index .data \"x\").y}}":                                                  "7",
		"{{index .data \"ms-graph\" \"id\"}}{{index .rule.groups 1}}{{index .rule.groups 9}}{{index .no \"x\" 1}}":    "7auth",
		"{{range $i, $g := .rule.groups}}{{if $i}},{{end}}{{$g}}{{end}}":                                              "sshd,auth",
		"{{if ge .rule.level 7}}high{{end}}{{if eq .rule.id \"5710\"}} it{{end}}{{if eq .no.no \"5710\"}} not{{end}}": "high it",
		"{{.rule.groups}} {{.agent}}":                                                                                 `["sshd","auth"] {"id":"001","labels":{"env":"prod"}}`,
		`{"a": {{json .full_log}}}`:                                                                                   `{"a": "a\nb <c> \\ é"}`,
		`{"a": "x {{jsontext .full_log}}"}`:                                                                           `{"a": "x a\nb <c> \\ é"}`,
		`{{json .rule.level}} {{json .no.no}}`:                                                                        `10 null`,
		`{{jsontext .rule.level}}{{jsontext .no.no}}`:                                                                 `10`,
		`{{.full_log | json}} {{.no.no | json}}`:                                                                      `"a\nb <c> \\ é" null`,
		`{{printf "%s on %s" .rule.id .agent.id}}`:                                                                    "5710 on 001",
		`{{define "who"}}{{.id}}{{.no.no}}{{end}}{{template "who" .agent}}`:                                           "001",
		`{{block "b" .rule}}{{.id}}{{end}}`:                                                                           "5710",
		"{{- /* nothing */ -}}":                                                                                       "",
	} {
		tmpl, err := Parse(text)
		if err != nil {
			t.Errorf("%s: refused: %v", text, err)
			continue
		}
		if got, err := tmpl.Render([]byte(document)); err != nil || string(got) != want {
			t.Errorf("%s gives %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestABrokenTemplateIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a\n{{.rule.id":               "template:2",
		"{{nosuch .rule}}":            `function "nosuch" not defined`,
		"{{end}}":                     "unexpected {{end}}",
		strings.Repeat("x", 64<<10+1): "longer than 65536 bytes",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: error %v, want one with %q", text, err, want)
		}
	}
}

func TestTheResultOfATemplateIsBounded(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{{range 100000000}}{{printf "%100d" 1}}{{end}}`:         "more than 1048576 bytes",
		`{{define "x"}}x{{template "x"}}{{end}}{{template "x"}}`: "template",
		`{{if gt .no.no 3}}x{{end}}`:                             "template:1:",
	} {
		tmpl, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: refused: %v", text, err)
		}
		if got, err := tmpl.Render([]byte(document)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: gives %d bytes, error %v; want one with %q", text, len(got), err, want)
		}
	}
	tmpl, err := Parse("x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tmpl.Render([]byte("[]")); err == nil {
		t.Error("a list was rendered; an alert is an object")
	}
}

// FuzzRender gives documents that attackers can shape to a template that escapes.
func FuzzRender(f *testing.F) {
	f.Add([]byte(document))
	f.Add(storetest.Alert("f", 1, nil).Document)
	tmpl, err := Parse(`{"a": {{json .full_log}}, "b": "{{jsontext .rule.description}}", "c": {{json .rule.groups}}, "e": "{{range .data}}{{jsontext .}}{{end}}", "d": {{json .}}}`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := tmpl.Render(doc)
		if err == nil && !json.Valid(got) {
			t.Errorf("alert %q gives %q, which is not JSON", doc, got)
		}
	})
}
