package manager

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"vedette/api/agents"
	"vedette/api/problem"
	"vedette/api/rest"
)

// silentAfter is when a node that has not announced itself counts as gone. Nodes
// do so once a minute.
const silentAfter = 3 * time.Minute

// Types of nodes, as clients know them.
const (
	masterNode = "master"
	workerNode = "worker"
)

// node is all processes that have announced themselves under one name.
type node struct {
	Name, Host string
	Roles      []string
	// Started and Updated are of the process that announced itself last.
	Started, Updated time.Time
	// Counters are what its processes had counted by then.
	Counters map[string]float64
}

// all returns the nodes by their names, this one always among them: also those
// that are silent, as long as their announcement stands.
func (a *Service) all() []*node {
	own := a.Identity.Node
	by := map[string]*node{own: {Name: own}}
	if a.Nodes != nil {
		for _, x := range a.Nodes() {
			n := by[x.Name]
			if n == nil {
				n = &node{Name: x.Name}
				by[x.Name] = n
			}
			n.add(x.Counters)
			n.Roles = append(n.Roles, x.Roles...)
			if t := time.UnixMilli(x.Updated); t.After(n.Updated) {
				n.Updated, n.Started, n.Host = t, time.UnixMilli(x.Started), x.Host
			}
		}
	}
	var out []*node
	for _, name := range slices.Sorted(maps.Keys(by)) {
		out = append(out, by[name])
	}
	return out
}

// add adds the counters of one more process of the node.
func (n *node) add(counters map[string]float64) {
	if n.Counters == nil && len(counters) > 0 {
		n.Counters = map[string]float64{}
	}
	for name, v := range counters {
		n.Counters[name] += v
	}
}

// self returns this node.
func (a *Service) self() *node {
	for _, n := range a.all() {
		if n.Name == a.Identity.Node {
			return n
		}
	}
	return &node{Name: a.Identity.Node}
}

// running returns the nodes that have announced themselves of late.
func (a *Service) running() []*node {
	return slices.DeleteFunc(a.all(), func(n *node) bool {
		return n.Name != a.Identity.Node && time.Since(n.Updated) > silentAfter
	})
}

// roles returns the roles that some node runs; nil if that is not known.
func (a *Service) roles() (out []string) {
	for _, n := range a.running() {
		if n.Name == a.Identity.Node && n.Roles == nil {
			return nil
		}
		out = append(out, n.Roles...)
	}
	return out
}

// clustered reports whether there is more than one node. A node that was killed
// counts until its announcement goes, so that clients do not change over and back.
func (a *Service) clustered() bool { return len(a.all()) > 1 }

// noCluster is the error of operations that need several nodes.
func (a *Service) noCluster() error {
	if a.clustered() {
		return nil
	}
	return problem.New(problem.NoCluster, "")
}

// masterOf returns the name of the node that is shown as master, since clients
// expect one: of those with the API, the first by name.
func masterOf(nodes []*node, own string) string {
	first := own
	for _, n := range nodes {
		if slices.Contains(n.Roles, "api") {
			first = min(first, n.Name)
		}
	}
	return first
}

func typeOf(name, master string) string {
	if name == master {
		return masterNode
	}
	return workerNode
}

// nodeItem is a node as lists show it.
type nodeItem struct {
	IP      string `json:"ip,omitempty"`
	Name    string `json:"name"`
	Type    string `json:"type"`
	Version string `json:"version"`
}

func (a *Service) item(n *node) nodeItem {
	return nodeItem{IP: n.Host, Name: n.Name, Type: typeOf(n.Name, masterOf(a.running(), a.Identity.Node)), Version: rest.Version}
}

var nodeView = rest.View[nodeItem]{Keys: []string{"name"}}.Init()

// clusterStatus works with one node too; running then says that there is none.
func (a *Service) clusterStatus(*rest.Call, *rest.None) (rest.Answer, error) {
	word := "no"
	if a.clustered() {
		word = "yes"
	}
	return &rest.Data{Data: rest.Ordered{{Key: "enabled", Value: word}, {Key: "running", Value: word}}}, nil
}

// own is for operations on the node that answers.
type own struct {
	Nodes rest.Targets[*node] `all:"node:id"`
}

// find returns the node that answers, if the caller may use it.
func (a *Service) find(p *own) (*node, error) {
	for _, n := range p.Nodes.Items() {
		if n.Name == a.Identity.Node {
			return n, nil
		}
	}
	return nil, problem.New(problem.PermissionDenied, "Permission denied: Resource type: node:id")
}

func (a *Service) clusterLocalInfo(_ *rest.Call, p *own) (rest.Answer, error) {
	n, err := a.find(p)
	if err != nil {
		return nil, err
	}
	return rest.Single(rest.Ordered{
		{Key: "node", Value: n.Name}, {Key: "cluster", Value: a.Identity.Manager}, {Key: "type", Value: a.item(n).Type},
	}, "All selected information was returned"), nil
}

// clusterLocalConfig leaves out key, port and address: nodes do not connect to
// each other.
func (a *Service) clusterLocalConfig(_ *rest.Call, p *own) (rest.Answer, error) {
	n, err := a.find(p)
	if err != nil {
		return nil, err
	}
	return rest.Single(a.clusterSection(a.item(n).Type), "All selected information was returned"), nil
}

// ownType is the type of this node.
func (a *Service) ownType() string {
	return typeOf(a.Identity.Node, masterOf(a.running(), a.Identity.Node))
}

// clusterSection is the section cluster of the configuration.
func (a *Service) clusterSection(kind string) rest.Ordered {
	names := []string{}
	for _, n := range a.running() {
		names = append(names, n.Name)
	}
	return rest.Ordered{
		{Key: "name", Value: a.Identity.Manager}, {Key: "node_name", Value: a.Identity.Node}, {Key: "node_type", Value: kind},
		{Key: "nodes", Value: names}, {Key: "hidden", Value: "no"}, {Key: "disabled", Value: !a.clustered()},
	}
}

type listNodes struct {
	Nodes rest.Targets[*node] `param:"nodes_list"`
	Type  string              `param:"type"`
}

func (a *Service) listNodes(c *rest.Call, p *listNodes) (rest.Answer, error) {
	var items []*nodeItem
	for _, n := range p.Nodes.Items() {
		if x := a.item(n); p.Type == "" || p.Type == x.Type {
			items = append(items, &x)
		}
	}
	return nodeView.Page(c, items, rest.Messages{
		All: "All selected nodes information was returned", Some: "Some nodes information was not returned", None: "No nodes information was returned",
	})
}

// nodeHealth is a node in a health check. What 4.14 tells of files that nodes copy
// from each other is not there.
type nodeHealth struct {
	Info   healthInfo    `json:"info"`
	Status *healthStatus `json:"status,omitempty"`
}

type healthInfo struct {
	nodeItem
	ActiveAgents int `json:"n_active_agents"`
}

type healthStatus struct {
	LastKeepAlive string `json:"last_keep_alive"`
}

// someNodes is the nodes that a request is about.
type someNodes struct {
	Nodes rest.Targets[*node] `param:"nodes_list"`
}

func (a *Service) clusterHealth(_ *rest.Call, p *someNodes) (rest.Answer, error) {
	active := map[string]int{}
	for _, x := range a.Agents.List() {
		if x.Status == agents.StateActive {
			active[x.Node]++
		}
	}
	var items []nodeHealth
	for _, n := range p.Nodes.Items() {
		h := nodeHealth{Info: healthInfo{a.item(n), active[n.Name]}}
		if h.Info.Type == workerNode {
			h.Status = &healthStatus{n.Updated.UTC().Format("2006-01-02T15:04:05.000000Z")}
		}
		items = append(items, h)
	}
	return rest.Items(items, rest.Messages{
		All: "All selected nodes healthcheck information was returned", Some: "Some nodes healthcheck information was not returned", None: "No healthcheck information was returned",
	}), nil
}

// rulesetSync tells which nodes run the current version of the ruleset. Nodes that
// analyze nothing run none and are not listed.
func (a *Service) rulesetSync(_ *rest.Call, p *someNodes) (rest.Answer, error) {
	synced := map[string]bool{} // of nodes that run any version
	if a.Rulesets != nil {
		for _, v := range a.Rulesets.Versions() {
			for _, w := range v.Workers {
				synced[w.Node] = synced[w.Node] || v.Current
			}
		}
	}
	items := []syncItem{}
	for _, n := range p.Nodes.Items() {
		if is, runs := synced[n.Name]; runs {
			items = append(items, syncItem{n.Name, is})
		}
	}
	return rest.Items(items, rest.Messages{
		All: "Nodes ruleset synchronization status was successfully read", Some: "Nodes ruleset synchronization status was not read for some nodes",
		None: "No node ruleset synchronization status was read",
	}), nil
}

type syncItem struct {
	Name   string `json:"name"`
	Synced bool   `json:"synced"`
}

// restartNodes is reloadNodes: there is nothing else that a restart would bring in.
func (a *Service) restartNodes(c *rest.Call, p *someNodes) (rest.Answer, error) {
	names, err := a.reloadFor(c, p)
	l := rest.Items(names, rest.Messages{
		All: "Restart request sent to all specified nodes", Some: "Restart request was not sent to some nodes", None: "No restart request was sent",
	})
	l.Status = http.StatusAccepted
	return l, err
}

// reloadNodes lets this node read the ruleset's files anew. All workers run what
// it publishes, so that the answer names every node of the request.
func (a *Service) reloadNodes(c *rest.Call, p *someNodes) (rest.Answer, error) {
	names, err := a.reloadFor(c, p)
	items := []reloadItem{}
	for _, name := range names {
		items = append(items, reloadItem{name, "Ruleset reload request sent successfully."})
	}
	return rest.Items(items, rest.Messages{
		All: "Reload request sent to all specified nodes", Some: "Reload request was not sent to some nodes", None: "No reload request was sent",
	}), err
}

type reloadItem struct {
	Name    string `json:"name"`
	Message string `json:"msg"`
}

func (a *Service) reloadFor(c *rest.Call, p *someNodes) (names []string, err error) {
	for _, n := range p.Nodes.Items() {
		names = append(names, n.Name)
	}
	if len(names) == 0 {
		return nil, nil
	}
	return names, a.reload(c)
}

type oneNode struct {
	Node *node `param:"node_id"`
}

// this refuses a request about another node that only that node can answer.
func (a *Service) this(n *node) error {
	if n.Name == a.Identity.Node {
		return nil
	}
	return problem.New(problem.OtherNode, "")
}

// nodeStatus tells of a node only what runs on it. Whether a part of another node
// works, only that node knows.
func (a *Service) nodeStatus(_ *rest.Call, p *oneNode) (rest.Answer, error) {
	var health map[string]error
	if a.this(p.Node) == nil {
		health = a.health()
	}
	return a.states(func(part string) string {
		switch {
		case !onEveryNode(part) && !slices.Contains(p.Node.Roles, part):
			return stateStopped
		case health[part] != nil:
			return stateFailed
		}
		return stateRunning
	}), nil
}

// nodeInfo leaves out of another node what only that node knows.
func (a *Service) nodeInfo(c *rest.Call, p *oneNode) (rest.Answer, error) {
	info := a.info(c)
	if a.this(p.Node) != nil {
		info = slices.DeleteFunc(info, func(m rest.Member) bool { return m.Key == "path" || strings.HasPrefix(m.Key, "tz_") })
	}
	return rest.Single(info, "Basic information was successfully read in specified node"), nil
}
