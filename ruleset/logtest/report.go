package logtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"vedette/ruleset/engine"
	"vedette/schemas"
)

// Members of the alert document that the report shows in a phase of its own, or
// leaves out since the reader of a log test knows them.
var shownElsewhere = map[string]bool{
	"timestamp": true, "rule": true, "agent": true, "manager": true, "cluster": true, "id": true,
	"full_log": true, "predecoder": true, "decoder": true, "data": true, "location": true,
	"previous_output": true, "previous_log": true,
}

// field is one line of a report.
type field struct{ name, value string }

// appendReport writes the answer to one event for people: the header's content,
// the decoder's fields, and the chosen rule.
func appendReport(b []byte, ev *schemas.Event, res *engine.Result) []byte {
	var doc []field
	d := json.NewDecoder(bytes.NewReader(res.AppendAlert(nil, "", nil)))
	d.UseNumber()
	if err := flatten(d, "", &doc); err != nil {
		return appendReportError(b, err)
	}
	under := func(member string) []field {
		var fs []field
		for _, f := range doc {
			if rest, ok := strings.CutPrefix(f.name, member+"."); ok {
				fs = append(fs, field{rest, f.value})
			}
		}
		return fs
	}

	b = appendPhase(b, "Phase 1, pre-decoding: what the header says", append([]field{{"full_log", string(ev.Log)}}, order(under("predecoder"), "timestamp", "hostname", "program_name")...))

	decoder := under("decoder")
	if res.Decoder == "" {
		b = append(b, "\nPhase 2, decoding: no decoder matches\n"...)
		b = appendFields(b, under("data"))
	} else {
		fs := append(order(decoder, "name", "parent"), under("data")...)
		for _, f := range doc {
			if top, _, _ := strings.Cut(f.name, "."); !shownElsewhere[top] {
				fs = append(fs, f)
			}
		}
		b = appendPhase(b, "Phase 2, decoding: the decoder and its fields", fs)
	}

	if !res.Judged {
		return append(b, "\nPhase 3, rule: events of this kind are not judged\n"...)
	}
	if res.RuleID == 0 {
		return append(b, "\nPhase 3, rule: no rule matches\n"...)
	}
	rule := []field{{"id", strconv.Itoa(res.RuleID)}, {"level", strconv.Itoa(res.Level)}}
	for _, f := range under("rule") {
		if f.name != "id" && f.name != "level" {
			rule = append(rule, f)
		}
	}
	b = appendPhase(b, "Phase 3, rule: the one chosen", rule)
	if res.Alert {
		return append(b, "An alert is raised.\n"...)
	}
	return append(b, "No alert is raised.\n"...)
}

func appendReportError(b []byte, err error) []byte {
	return append(append(append(b, "Not judged: "...), err.Error()...), '\n')
}

func appendPhase(b []byte, title string, fs []field) []byte {
	b = append(append(append(b, '\n'), title...), '\n')
	return appendFields(b, fs)
}

func appendFields(b []byte, fs []field) []byte {
	width := 0
	for _, f := range fs {
		width = max(width, len(f.name))
	}
	for _, f := range fs {
		b = fmt.Appendf(b, "  %-*s  %s\n", width, f.name, printable(f.value))
	}
	return b
}

// printable keeps the content of an event from steering a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '·'
		}
		return r
	}, s)
}

// order moves the named fields to the front.
func order(fs []field, names ...string) []field {
	out := make([]field, 0, len(fs))
	first := map[string]bool{}
	for _, n := range names {
		first[n] = true
		for _, f := range fs {
			if f.name == n {
				out = append(out, f)
			}
		}
	}
	for _, f := range fs {
		if !first[f.name] {
			out = append(out, f)
		}
	}
	return out
}

// flatten reads one JSON value into dotted names, in order; a list becomes one
// text with commas.
func flatten(d *json.Decoder, name string, to *[]field) error {
	tok, err := d.Token()
	if err != nil {
		return fmt.Errorf("read alert: %w", err)
	}
	switch x := tok.(type) {
	case json.Delim:
		if x == '[' {
			var parts []field
			for d.More() {
				if err := flatten(d, "", &parts); err != nil {
					return err
				}
			}
			texts := make([]string, len(parts))
			for i, p := range parts {
				if texts[i] = p.value; p.name != "" {
					texts[i] = p.name + "=" + p.value
				}
			}
			*to = append(*to, field{name, strings.Join(texts, ", ")})
		} else {
			for d.More() {
				key, err := d.Token()
				if err != nil {
					return fmt.Errorf("read alert: %w", err)
				}
				k, _ := key.(string)
				if name != "" {
					k = name + "." + k
				}
				if err := flatten(d, k, to); err != nil {
					return err
				}
			}
		}
		_, err := d.Token()
		return err
	case string:
		*to = append(*to, field{name, x})
	case json.Number:
		*to = append(*to, field{name, x.String()})
	case bool:
		*to = append(*to, field{name, strconv.FormatBool(x)})
	case nil:
		*to = append(*to, field{name, "null"})
	}
	return nil
}
