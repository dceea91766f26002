package manager

import (
	"log/slog"
	"maps"
	"slices"
	"strings"

	"vedette/api/rest"
	"vedette/internal/logring"
)

// logItem is a log line as lists show it.
type logItem struct {
	Description string        `json:"description"`
	Level       string        `json:"level"`
	Tag         string        `json:"tag"`
	Timestamp   rest.ZuluDate `json:"timestamp"`
}

var logView = rest.View[logItem]{}.Init()

// tags are the daemons that packages stand for, by the start of a package's path;
// the longest start counts.
var tags = map[string]string{
	"api": "wazuh-apid", "enroll": "wazuh-authd", "ingest": "wazuh-remoted", "inputs": "wazuh-remoted", "inputs/agentless": "wazuh-agentlessd",
	"analyze": "wazuh-analysisd", "ruleset": "wazuh-analysisd", "rulesets": "wazuh-analysisd", "internal/rulesets": "wazuh-analysisd", "internal/stage": "wazuh-analysisd",
	"forward/activeresponse": "wazuh-execd", "internal/store": "wazuh-db",
}

// tagOf returns the tag of a package's lines: the daemon it stands for, or vedette
// and the package's first name.
func tagOf(pkg string) string {
	for start := pkg; start != ""; start = start[:max(0, strings.LastIndexByte(start, '/'))] {
		if tag, ok := tags[start]; ok {
			return tag
		}
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(pkg, "internal/"), "/")
	return strings.TrimSuffix("vedette:"+name, ":")
}

func levelOf(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warning"
	case l == slog.LevelError:
		return "error"
	}
	return "critical"
}

// logLines returns the lines of this process that are kept, the newest first.
func (a *Service) logLines() []*logItem {
	if a.Logs == nil {
		return nil
	}
	var out []*logItem
	for _, l := range a.Logs() {
		out = append(out, itemOfLine(&l))
	}
	return out
}

func itemOfLine(l *logring.Line) *logItem {
	return &logItem{Description: l.Text, Level: levelOf(l.Level), Tag: tagOf(l.Package), Timestamp: rest.ZuluDate{Time: l.Time}}
}

type listLogs struct {
	Tag   string `param:"tag"`
	Level string `param:"level"`
}

func (a *Service) listLogs(c *rest.Call, p *listLogs) (rest.Answer, error) {
	lines := slices.DeleteFunc(a.logLines(), func(x *logItem) bool {
		return p.Tag != "" && p.Tag != x.Tag || p.Level != "" && p.Level != x.Level
	})
	return logView.Page(c, lines, rest.Messages{
		All: "Logs were successfully read in specified node", Some: "Some logs were not read", None: "No logs were read in specified node",
	})
}

// logCounts is how many lines there are of each level.
type logCounts struct {
	All      int `json:"all"`
	Info     int `json:"info"`
	Error    int `json:"error"`
	Critical int `json:"critical"`
	Warning  int `json:"warning"`
	Debug    int `json:"debug"`
}

func (n *logCounts) count(level string) {
	n.All++
	*map[string]*int{"info": &n.Info, "error": &n.Error, "critical": &n.Critical, "warning": &n.Warning, "debug": &n.Debug}[level]++
}

// summarizeLogs counts the lines by tag and level: one item for each tag.
func (a *Service) summarizeLogs(*rest.Call, *rest.None) (rest.Answer, error) {
	by := map[string]*logCounts{}
	for _, x := range a.logLines() {
		if by[x.Tag] == nil {
			by[x.Tag] = &logCounts{}
		}
		by[x.Tag].count(x.Level)
	}
	items := []map[string]*logCounts{}
	for _, tag := range slices.Sorted(maps.Keys(by)) {
		items = append(items, map[string]*logCounts{tag: by[tag]})
	}
	return rest.Items(items, rest.Messages{
		All: "Log was successfully summarized in specified node", Some: "Some logs were not summarized", None: "No log was summarized in specified node",
	}), nil
}

type nodeLogs struct {
	oneNode
	listLogs
}

func (a *Service) listNodeLogs(c *rest.Call, p *nodeLogs) (rest.Answer, error) {
	if err := a.this(p.Node); err != nil {
		return nil, err
	}
	return a.listLogs(c, &p.listLogs)
}

func (a *Service) summarizeNodeLogs(c *rest.Call, p *oneNode) (rest.Answer, error) {
	if err := a.this(p.Node); err != nil {
		return nil, err
	}
	return a.summarizeLogs(c, nil)
}
