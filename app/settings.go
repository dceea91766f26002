package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"vedette/api/manager"
	"vedette/api/rest"
	"vedette/config"
	"vedette/internal/responses"
	"vedette/ruleset/engine"
	"vedette/rulesets"
)

// settings are the configuration in the terms of an ossec.conf, for the API. What
// such a file has no word for is left out, and so are secrets and paths.
func settings(c config.Config) (manager.Settings, error) {
	answers, err := responses.WithOssecConf(c.ActiveResponse)
	if err != nil {
		return manager.Settings{}, err
	}
	global := rest.Ordered{
		{Key: "logall", Value: "no"}, {Key: "logall_json", Value: manager.YesNo(c.Analyze.LogAll)}, {Key: "update_check", Value: "no"},
		{Key: "agents_disconnection_time", Value: seconds(c.Agents.DisconnectedAfter)}, {Key: "agents_disconnection_alert_time", Value: seconds(c.Agents.DisconnectedAlertAfter)},
	}
	if len(answers.WhiteList) > 0 {
		global = append(global, rest.Member{Key: "white_list", Value: answers.WhiteList})
	}
	alerts := rest.Ordered{{Key: "log_alert_level", Value: strconv.Itoa(engine.DefaultAlertLevel)}}
	remote, auth := remoteSections(c), authSection(c.Enroll)
	commands, bound := commandSections(answers)
	live := func(component, configuration, role, name string, value any) manager.Component {
		return manager.Component{Component: component, Configuration: configuration, Role: role, Value: rest.Ordered{{Key: name, Value: value}}}
	}
	return manager.Settings{
		Sections: []manager.Section{
			{Name: "global", Value: global}, {Name: "alerts", Value: alerts}, {Name: "remote", Value: remote}, {Name: "auth", Value: auth},
			{Name: "command", Value: commands}, {Name: "active-response", Value: bound},
		},
		Components: []manager.Component{
			live("analysis", "global", RoleAnalyze, "global", global), live("analysis", "alerts", RoleAnalyze, "alerts", rest.Ordered{{Key: "log_alert_level", Value: engine.DefaultAlertLevel}}),
			live("analysis", "command", RoleAnalyze, "command", commands), live("analysis", "active_response", RoleAnalyze, "active-response", bound),
			live("monitor", "global", "", "global", global), live("request", "global", RoleIngest, "global", global),
			live("request", "remote", RoleIngest, "remote", upper(remote)), live("auth", "auth", RoleEnroll, "auth", auth), live("wmodules", "wmodules", "", "wmodules", []string{}),
		},
	}, nil
}

// check reads what a reload would read, and the files that the configuration names.
func (a *App) check(context.Context) error {
	_, err := rulesets.Load(a.cfg.Analyze.Rulesets, a.cfg.Analyze.GeoIPFile)
	return errors.Join(a.cfg.ValidateFor([]string{RoleAPI}), err)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int64(d/time.Second)) }

// listener is a <remote> section for an address.
func listener(connection, addr string, protocols ...string) rest.Ordered {
	host, port, _ := net.SplitHostPort(addr)
	o := rest.Ordered{{Key: "connection", Value: connection}, {Key: "port", Value: port}, {Key: "protocol", Value: manager.Joined(protocols)}}
	if host != "" {
		o = append(o, rest.Member{Key: "local_ip", Value: host})
	}
	return o
}

// remoteSections are the sources of events that 4.14 has: agents, and syslog
// without TLS.
func remoteSections(c config.Config) []rest.Ordered {
	in := c.Ingest
	higher := rest.Member{Key: "agents", Value: rest.Ordered{{Key: "allow_higher_versions", Value: manager.YesNo(c.Agents.AllowHigherVersions)}}}
	var out []rest.Ordered
	if in.UDP == in.TCP {
		out = []rest.Ordered{append(listener("secure", in.TCP, "tcp", "udp"), higher)}
	} else {
		out = []rest.Ordered{append(listener("secure", in.TCP, "tcp"), higher)}
		if in.UDP != "" {
			out = append(out, append(listener("secure", in.UDP, "udp"), higher))
		}
	}
	for _, from := range []struct {
		protocol string
		addrs    []string
	}{{"tcp", in.Syslog.TCP}, {"udp", in.Syslog.UDP}} {
		for _, addr := range from.addrs {
			o := append(listener("syslog", addr, from.protocol), rest.Member{Key: "allowed-ips", Value: in.Syslog.Allowed})
			if len(in.Syslog.Denied) > 0 {
				o = append(o, rest.Member{Key: "denied-ips", Value: in.Syslog.Denied})
			}
			out = append(out, o)
		}
	}
	return out
}

// upper gives protocols the letters in which a daemon answers them.
func upper(remote []rest.Ordered) []rest.Ordered {
	var out []rest.Ordered
	for _, o := range remote {
		var answer rest.Ordered
		for _, m := range o {
			if protocols, ok := m.Value.(manager.Joined); ok {
				m.Value = strings.Split(strings.ToUpper(strings.Join(protocols, ",")), ",")
			}
			answer = append(answer, m)
		}
		out = append(out, answer)
	}
	return out
}

func authSection(e config.Enroll) rest.Ordered {
	_, port, _ := net.SplitHostPort(e.Listen)
	yes := manager.YesNo
	force := rest.Ordered{{Key: "enabled", Value: yes(e.Force.Enabled)}, {Key: "key_mismatch", Value: yes(e.Force.KeyMismatch)}}
	if e.Force.DisconnectedTimeEnabled {
		force = append(force, rest.Member{Key: "disconnected_time", Value: seconds(e.Force.DisconnectedTime)})
	}
	force = append(force, rest.Member{Key: "after_registration_time", Value: seconds(e.Force.AfterRegistrationTime)})
	return rest.Ordered{
		{Key: "disabled", Value: "no"}, {Key: "remote_enrollment", Value: "yes"}, {Key: "port", Value: port}, {Key: "use_source_ip", Value: yes(e.UseSourceIP)},
		{Key: "force", Value: force}, {Key: "purge", Value: yes(e.Purge)}, {Key: "use_password", Value: yes(e.UsePassword)}, {Key: "ssl_verify_host", Value: yes(e.VerifyAgentAddress)},
	}
}

func commandSections(c responses.Config) (commands, bound []rest.Ordered) {
	commands, bound = []rest.Ordered{}, []rest.Ordered{}
	for _, x := range c.Commands {
		o := rest.Ordered{{Key: "name", Value: x.Name}, {Key: "executable", Value: x.Executable}, {Key: "timeout_allowed", Value: manager.YesNo(x.TimeoutAllowed)}}
		if len(x.ExtraArgs) > 0 {
			o = append(o, rest.Member{Key: "extra_args", Value: strings.Join(x.ExtraArgs, " ")})
		}
		commands = append(commands, o)
	}
	for _, x := range c.Responses {
		o := rest.Ordered{{Key: "disabled", Value: manager.YesNo(x.Disabled)}, {Key: "command", Value: x.Command}, {Key: "location", Value: x.Location}}
		text := func(key, value string) {
			if value != "" && value != "0" {
				o = append(o, rest.Member{Key: key, Value: value})
			}
		}
		var ids []string
		for _, id := range x.RulesID {
			ids = append(ids, strconv.Itoa(id))
		}
		text("agent_id", x.AgentID)
		text("level", strconv.Itoa(x.Level))
		text("rules_group", x.RulesGroup)
		text("rules_id", strings.Join(ids, ","))
		text("timeout", strconv.Itoa(x.Timeout))
		bound = append(bound, o)
	}
	return commands, bound
}
