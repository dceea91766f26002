package manager

import (
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"vedette/api/agents"
	"vedette/api/problem"
	"vedette/api/rest"
)

// Settings are the configuration of this process in the terms of 4.14, as the API
// shows it. They hold no secret.
type Settings struct {
	// Sections are those of an ossec.conf, in order. Settings that this program does
	// not have are left out.
	Sections []Section
	// Components are the parts of the configuration that daemons answer for.
	Components []Component
	// Check reads anew what a reload would read; the error says what is broken. Nil:
	// nothing can be.
	Check func(ctx context.Context) error
	// API are the settings of the API itself.
	API APISettings
}

// Section is one section of an ossec.conf: a rest.Ordered, or []rest.Ordered where
// the file may hold several. Their values are string, []string and Joined.
type Section struct {
	Name  string
	Value any
}

// Joined is a list that stands in one element of an ossec.conf, with commas.
type Joined []string

// Component is what a daemon answers for one part of its configuration.
type Component struct {
	Component, Configuration string
	// Role must run on some node; empty: each node has it.
	Role  string
	Value rest.Ordered
}

// APISettings are the settings of the API that clients ask for.
type APISettings struct {
	Listen                             string
	MaxUploadBytes                     int64
	RequestTimeoutSeconds              int
	MaxLoginAttempts, BlockTimeSeconds int
	MaxRequestsPerMinute               int
}

type confQuery struct {
	Raw     bool   `param:"raw"`
	Section string `param:"section"`
	Field   string `param:"field"`
}

// configuration answers with the sections of an ossec.conf that say the same as the
// configuration of this process.
func (a *Service) configuration(_ *rest.Call, p *confQuery) (rest.Answer, error) {
	sections := a.sections()
	if p.Raw {
		return &rest.File{ContentType: "application/xml; charset=utf-8", Data: confXML(sections)}, nil
	}
	if p.Section == "" && p.Field != "" {
		return nil, problem.Bad("The parameter 'field' needs the parameter 'section'")
	}
	all := rest.Ordered{}
	for _, s := range sections {
		if p.Section != "" && p.Section != s.Name {
			continue
		}
		value, err := s.field(p.Field)
		if err != nil {
			return nil, err
		}
		all = append(all, rest.Member{Key: s.Name, Value: value})
	}
	if p.Section != "" && len(all) == 0 {
		return nil, problem.New(problem.NoSection, "")
	}
	return rest.Single(all, "Configuration was successfully read in specified node"), nil
}

// sections are those of the configuration, and the one of the cluster, which
// depends on the nodes that run.
func (a *Service) sections() []Section {
	own := a.ownType()
	return append(slices.Clone(a.Settings.Sections), Section{"cluster", confForm(a.clusterSection(own))})
}

// confForm gives values the form that they have in a file.
func confForm(o rest.Ordered) rest.Ordered {
	out := slices.Clone(o)
	for i, m := range out {
		switch v := m.Value.(type) {
		case bool:
			out[i].Value = YesNo(v)
		case int:
			out[i].Value = strconv.Itoa(v)
		}
	}
	return out
}

// YesNo is a switch in the words of an ossec.conf.
func YesNo(on bool) string {
	if on {
		return "yes"
	}
	return "no"
}

// field returns one field of a section, or all of it without a name.
func (s Section) field(name string) (any, error) {
	if name == "" {
		return s.Value, nil
	}
	pick := func(o rest.Ordered) rest.Ordered {
		return slices.DeleteFunc(slices.Clone(o), func(m rest.Member) bool { return m.Key != name })
	}
	var found []rest.Ordered
	switch v := s.Value.(type) {
	case rest.Ordered:
		if o := pick(v); len(o) > 0 {
			return o, nil
		}
	case []rest.Ordered:
		for _, o := range v {
			if o := pick(o); len(o) > 0 {
				found = append(found, o)
			}
		}
	}
	if found == nil {
		return nil, problem.New(problem.NoField, "")
	}
	return found, nil
}

// confXML writes sections as an ossec.conf.
func confXML(sections []Section) []byte {
	var b strings.Builder
	b.WriteString("<ossec_config>\n")
	for _, s := range sections {
		list, ok := s.Value.([]rest.Ordered)
		if o, one := s.Value.(rest.Ordered); one {
			list, ok = []rest.Ordered{o}, true
		}
		if !ok {
			continue
		}
		for _, o := range list {
			fmt.Fprintf(&b, "  <%s>\n", s.Name)
			writeXML(&b, "    ", o)
			fmt.Fprintf(&b, "  </%s>\n", s.Name)
		}
	}
	b.WriteString("</ossec_config>\n")
	return []byte(b.String())
}

func writeXML(b *strings.Builder, indent string, o rest.Ordered) {
	for _, m := range o {
		var texts []string
		switch v := m.Value.(type) {
		case rest.Ordered:
			fmt.Fprintf(b, "%s<%s>\n", indent, m.Key)
			writeXML(b, indent+"  ", v)
			fmt.Fprintf(b, "%s</%s>\n", indent, m.Key)
		case []string:
			if m.Key == "nodes" { // the only list with an element around it
				writeXML(b, indent, rest.Ordered{{Key: m.Key, Value: rest.Ordered{{Key: "node", Value: v}}}})
				continue
			}
			texts = v
		case Joined:
			texts = []string{strings.Join(v, ",")}
		default:
			texts = []string{fmt.Sprint(v)}
		}
		for _, text := range texts {
			fmt.Fprintf(b, "%s<%s>", indent, m.Key)
			_ = xml.EscapeText(b, []byte(text)) // a Builder takes everything
			fmt.Fprintf(b, "</%s>\n", m.Key)
		}
	}
}

type componentQuery struct {
	Component     string `param:"component"`
	Configuration string `param:"configuration"`
}

func (a *Service) component(_ *rest.Call, p *componentQuery) (rest.Answer, error) {
	value, err := a.Component(p.Component, p.Configuration)
	if err != nil {
		return nil, err
	}
	return rest.Single(value, "Active configuration was successfully read in specified node"), nil
}

// Component returns what the server's daemon answers for a part of its
// configuration, or the *problem.Problem of a daemon that is not there.
//
// Source: spec/api.md §12 "Live configuration".
func (a *Service) Component(component, configuration string) (any, error) {
	if !agents.HasConfiguration(component, configuration) {
		return nil, problem.New(problem.ConfigPair, "")
	}
	if component == "com" && configuration == "cluster" {
		return rest.Ordered{{Key: "cluster", Value: a.clusterSection(a.ownType())}}, nil
	}
	roles := a.roles()
	for _, x := range a.Settings.Components {
		if x.Component == component && x.Configuration == configuration && (x.Role == "" || roles == nil || slices.Contains(roles, x.Role)) {
			return x.Value, nil
		}
	}
	return nil, problem.New(problem.ComponentDown, "The server has no such component, or no node runs it; see `vedette config show`")
}

// validity is the result of a check of a node's configuration.
type validity struct {
	Name    string   `json:"name"`
	Status  string   `json:"status"`
	Details []string `json:"details,omitempty"`
}

// checks bounds the checks at once: each compiles a ruleset.
var checks = make(chan struct{}, 1)

// check reads anew what a reload would read.
func (a *Service) check(c *rest.Call) (validity, error) {
	v := validity{Name: a.Identity.Node, Status: "OK"}
	if a.Settings.Check == nil {
		return v, nil
	}
	if err := rest.Hold(c.Ctx, checks); err != nil {
		return v, err
	}
	defer func() { <-checks }()
	err := a.Settings.Check(c.Ctx)
	if c.Ctx.Err() != nil {
		return v, c.Ctx.Err()
	}
	if err != nil {
		v.Status, v.Details = "KO", strings.Split(err.Error(), "\n")
	}
	return v, nil
}

var validityMessages = rest.Messages{
	All: "Validation was successfully checked in all nodes", Some: "Validation could not be checked in some nodes", None: "Validation could not be checked in any node",
}

func (a *Service) validate(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	v, err := a.check(c)
	return rest.Items([]validity{v}, validityMessages), err
}

// validateNodes checks this node; the others can only be asked by themselves.
func (a *Service) validateNodes(c *rest.Call, p *someNodes) (rest.Answer, error) {
	items := []validity{}
	for _, n := range p.Nodes.Items() {
		if a.this(n) != nil {
			c.Fail(problem.OtherNode, n.Name)
			continue
		}
		v, err := a.check(c)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	return rest.Items(items, validityMessages), nil
}

// nodeAPI is the API's configuration on a node.
type nodeAPI struct {
	Node   string       `json:"node_name"`
	Config rest.Ordered `json:"node_api_config"`
}

func (a *Service) apiSettings() nodeAPI {
	s := a.Settings.API
	host, port, _ := net.SplitHostPort(s.Listen)
	if host == "" {
		host = "0.0.0.0"
	}
	number, _ := strconv.Atoi(port)
	object := func(members ...rest.Member) rest.Ordered { return members }
	return nodeAPI{a.Identity.Node, rest.Ordered{
		{Key: "host", Value: host}, {Key: "port", Value: number}, {Key: "experimental_features", Value: false}, {Key: "max_upload_size", Value: s.MaxUploadBytes},
		{Key: "intervals", Value: object(rest.Member{Key: "request_timeout", Value: s.RequestTimeoutSeconds})},
		{Key: "https", Value: object(rest.Member{Key: "enabled", Value: true}, rest.Member{Key: "use_ca", Value: false})},
		{Key: "cors", Value: object(rest.Member{Key: "enabled", Value: false})},
		{Key: "access", Value: object(rest.Member{Key: "max_login_attempts", Value: s.MaxLoginAttempts}, rest.Member{Key: "block_time", Value: s.BlockTimeSeconds},
			rest.Member{Key: "max_request_per_minute", Value: s.MaxRequestsPerMinute})},
	}}
}

var apiMessages = rest.Messages{
	All: "API configuration was successfully read in all specified nodes", Some: "Not all API configurations could be read", None: "No API configuration could be read",
}

func (a *Service) apiConfig(*rest.Call, *rest.None) (rest.Answer, error) {
	return rest.Single(a.apiSettings(), "API configuration was successfully read"), nil
}

func (a *Service) apiConfigs(c *rest.Call, p *someNodes) (rest.Answer, error) {
	items := []nodeAPI{}
	for _, n := range p.Nodes.Items() {
		if a.this(n) != nil {
			c.Fail(problem.OtherNode, n.Name)
			continue
		}
		items = append(items, a.apiSettings())
	}
	return rest.Items(items, apiMessages), nil
}

type versionCheck struct {
	Force bool `param:"force_query"`
}

// versionCheck tells that nobody asks for newer versions: nothing is fetched from
// outside.
func (a *Service) versionCheck(*rest.Call, *versionCheck) (rest.Answer, error) {
	none := rest.Ordered{}
	return &rest.Data{Data: rest.Ordered{
		{Key: "uuid", Value: a.Identity.InstallationID}, {Key: "last_check_date", Value: ""}, {Key: "current_version", Value: "v" + rest.Version}, {Key: "update_check", Value: false},
		{Key: "last_available_major", Value: none}, {Key: "last_available_minor", Value: none}, {Key: "last_available_patch", Value: none},
	}}, nil
}

// Of a node: what this process knows, if the node is this one.

type nodeConf struct {
	oneNode
	confQuery
}

func (a *Service) nodeConfiguration(c *rest.Call, p *nodeConf) (rest.Answer, error) {
	if err := a.this(p.Node); err != nil {
		return nil, err
	}
	return a.configuration(c, &p.confQuery)
}

type nodeComponent struct {
	oneNode
	componentQuery
}

func (a *Service) nodeComponent(c *rest.Call, p *nodeComponent) (rest.Answer, error) {
	if err := a.this(p.Node); err != nil {
		return nil, err
	}
	return a.component(c, &p.componentQuery)
}
