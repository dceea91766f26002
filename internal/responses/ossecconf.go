package responses

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"vedette/internal/xmlfile"
)

// Load compiles the active responses of a configuration, with those of the
// ossec.conf it names in front. Every problem is returned, joined.
func Load(c Config) (*Set, error) {
	c, err := WithOssecConf(c)
	if err != nil {
		return nil, err
	}
	return New(c)
}

// WithOssecConf adds the <command>, <active-response> and <white_list> elements
// of a configuration file as users have it.
//
// Source: spec/active-response.md §1.
func WithOssecConf(cfg Config) (Config, error) {
	if cfg.OssecConf == "" {
		return cfg, nil
	}
	data, err := os.ReadFile(cfg.OssecConf)
	if err != nil {
		return cfg, fmt.Errorf("active_response.ossec_conf: %w", err)
	}
	roots, err := xmlfile.Parse(data)
	if err != nil {
		return cfg, fmt.Errorf("active_response.ossec_conf: %s:%w", cfg.OssecConf, err)
	}
	f := &ossecConf{file: cfg.OssecConf}
	for _, r := range roots {
		for _, e := range append([]*xmlfile.Element{r}, r.Children...) {
			switch {
			case e.Is("command") && len(e.Children) > 0: // a <localfile> has one too, which is text
				f.command(e)
			case e.Is("active-response"):
				f.response(e)
			case e.Is("global"):
				for _, g := range e.Children {
					if g.Is("white_list") {
						f.out.WhiteList = append(f.out.WhiteList, strings.TrimSpace(g.Content))
					}
				}
			}
		}
	}
	cfg.Commands = append(f.out.Commands, cfg.Commands...)
	cfg.Responses = append(f.out.Responses, cfg.Responses...)
	cfg.WhiteList = append(f.out.WhiteList, cfg.WhiteList...)
	if len(cfg.RepeatedOffenders) == 0 {
		cfg.RepeatedOffenders = f.out.RepeatedOffenders
	}
	return cfg, errors.Join(f.errs...)
}

// ossecConf collects the settings of a file.
type ossecConf struct {
	file string
	out  Config
	errs []error
}

func (f *ossecConf) fail(e *xmlfile.Element, format string, a ...any) {
	f.errs = append(f.errs, fmt.Errorf("%s:%d:%d: %s", f.file, e.Line, e.Col, fmt.Sprintf(format, a...)))
}

func (f *ossecConf) command(e *xmlfile.Element) {
	var c Command
	for _, x := range e.Children {
		v := strings.TrimSpace(x.Content)
		switch x.Name {
		case "name":
			c.Name = v
		case "executable":
			c.Executable = v
		case "timeout_allowed":
			c.TimeoutAllowed = f.yes(x, v)
		case "extra_args":
			c.ExtraArgs = strings.Fields(v)
		case "expect": // of releases long ago
		default:
			f.fail(x, "<%s> is no element of <command>", x.Name)
		}
	}
	f.out.Commands = append(f.out.Commands, c)
}

func (f *ossecConf) response(e *xmlfile.Element) {
	var r Response
	only := true // repeated_offenders
	for _, x := range e.Children {
		v := strings.TrimSpace(x.Content)
		if x.Name != "repeated_offenders" {
			only = false
		}
		switch x.Name {
		case "disabled":
			r.Disabled = f.yes(x, v)
		case "command":
			r.Command = v
		case "location":
			r.Location = v
		case "agent_id":
			r.AgentID = v
		case "rules_id":
			for _, id := range strings.FieldsFunc(v, func(c rune) bool { return c == ',' || c == ' ' }) {
				r.RulesID = append(r.RulesID, f.number(x, id))
			}
		case "rules_group":
			r.RulesGroup = v
		case "level":
			r.Level = f.number(x, v)
		case "timeout":
			r.Timeout = f.number(x, v)
		case "repeated_offenders":
			if len(f.out.RepeatedOffenders) == 0 {
				for n := range strings.SplitSeq(v, ",") {
					f.out.RepeatedOffenders = append(f.out.RepeatedOffenders, f.number(x, strings.TrimSpace(n)))
				}
			}
		case "ca_store", "ca_verification": // the agent's own
		default:
			f.fail(x, "<%s> is no element of <active-response>", x.Name)
		}
	}
	if only || r.Command == "" && r.Location == "" { // of the response daemon
		return
	}
	f.out.Responses = append(f.out.Responses, r)
}

func (f *ossecConf) yes(e *xmlfile.Element, v string) bool {
	if v != "yes" && v != "no" {
		f.fail(e, "<%s> is %q; there are yes and no", e.Name, v)
	}
	return v == "yes"
}

func (f *ossecConf) number(e *xmlfile.Element, v string) int {
	n, err := strconv.Atoi(v)
	if err != nil {
		f.fail(e, "<%s>: %q is no number", e.Name, v)
	}
	return n
}
