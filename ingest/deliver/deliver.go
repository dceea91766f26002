package deliver

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/groups"
	"vedette/internal/registry"
	"vedette/schemas"
)

// Fleet finds the agents of one gateway.
type Fleet interface {
	// Agent returns an agent that has talked to this gateway; false if none has.
	Agent(id string) (Agent, bool)
	// Connected returns the agents that have a connection here, or have sent from
	// an address on UDP.
	Connected() []Agent
}

// Agent is an agent that has talked to this gateway. An agent that is registered
// anew under the same id is another Agent; the old one has no Route any more.
type Agent interface {
	ID() string
	// Route returns how the agent is reached now; false if it is not.
	Route(now time.Time) (Route, bool)
	// Delivery returns the place for this package's state of the agent, always
	// the same one.
	Delivery() *State
}

// Route is one way to one agent. It stays valid, but useless, when the agent
// connects anew.
type Route interface {
	// Send sends a payload of 1 to secure.MaxPayload bytes and returns at once;
	// false when it was dropped.
	Send(payload string) bool
	// SendBulk is Send for data that may wait for up to timeout and must leave
	// room for everything else.
	SendBulk(payload string, timeout time.Duration) bool
	// Datagram reports whether sent data may be lost on the way.
	Datagram() bool
}

// Registry lists the calls to the registry.
type Registry interface {
	Agent(id string) (registry.Agent, bool)
	Presence(id string) (schemas.Presence, bool)
	SetGroups(ctx context.Context, agentID string, mode schemas.GroupMode, groups []string) error
}

// Producer is where replies go; *kafka.Producer is one.
type Producer interface {
	Produce(rec schemas.Record, done func(err error))
}

// Groups lists the calls to the groups' files; *groups.Store implements it.
type Groups interface {
	Ready() <-chan struct{}
	Merged(groups []string) *groups.Merged
}

// Packages gives the content of upgrade packages, which the topic `blobs` holds.
type Packages interface {
	// Package returns a content by its SHA-256, whole.
	Package(ctx context.Context, u *schemas.AgentUpgrade) ([]byte, error)
}

// Services holds what deliveries are made of. Each may be missing; then its work
// is left out.
type Services struct {
	// Groups gives the shared configuration of agents.
	Groups Groups
	// Verify reports whether a record of TopicCommands was made under the cluster
	// key. Without it no command is sent.
	Verify func(rec *schemas.Record) bool
	// Bury keeps a record that was not applied.
	Bury func(rec schemas.Record, cause, detail string)
	// Packages gives the content of upgrade packages.
	Packages Packages
}

// Config sets the bounds that operators choose.
type Config struct {
	// Node names this gateway in replies.
	Node string
	// PushBytesPerSecond bounds the network use of shared configuration.
	PushBytesPerSecond int64
}

// Delivery is everything that one gateway brings to its agents. Its methods are
// safe for concurrent use. It has no lock: its fields do not change, and each
// part locks for itself.
type Delivery struct {
	pushes   *pusher // nil without Services.Groups
	commands *commands
	requests *requests
	upgrades *upgrades
	groups   Groups // nil without
	end      context.CancelFunc
}

// New returns the deliveries to the agents of a fleet. Nothing is asked of the
// fleet before a method of Delivery is called.
func New(cfg Config, fleet Fleet, reg Registry, prod Producer, svc Services, log *slog.Logger, promReg prometheus.Registerer) *Delivery {
	m := newMetrics(promReg)
	life, end := context.WithCancel(context.Background())
	answers := &replies{node: cfg.Node, prod: prod, log: log, m: m}
	d := &Delivery{groups: svc.Groups, end: end, requests: &requests{life: life, m: m, open: map[string]*request{}}}
	if svc.Groups != nil {
		d.pushes = newPusher(fleet, reg, svc.Groups, cfg.PushBytesPerSecond, log, m)
	}
	d.upgrades = &upgrades{life: life, requests: d.requests, replies: answers, packages: svc.Packages, running: make(chan struct{}, upgradesMax)}
	d.commands = &commands{
		fleet: fleet, reg: reg, verify: svc.Verify, bury: svc.Bury, log: log, m: m,
		replies: answers, requests: d.requests, upgrades: d.upgrades,
	}
	return d
}

// WaitReady waits until the groups' files are known, so that no agent is sent an
// outdated one, or until ctx ends; then it returns the error of ctx.
func (d *Delivery) WaitReady(ctx context.Context) error {
	if d.groups == nil {
		return nil
	}
	select {
	case <-d.groups.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run sends shared configuration until ctx ends. Then requests and upgrades that
// are under way end too. It is called once.
func (d *Delivery) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, d.end)
	defer stop()
	if d.pushes != nil {
		d.pushes.run(ctx)
	}
	<-ctx.Done()
}

// GroupsChanged has every agent looked at whose files may have changed. It does
// not block.
func (d *Delivery) GroupsChanged() {
	if d.pushes != nil {
		d.pushes.lookAtAll()
	}
}

// Regrouped has an agent looked at whose groups have changed in the registry.
func (d *Delivery) Regrouped(reg *registry.Agent) {
	if d.pushes != nil {
		d.pushes.regrouped(reg)
	}
}

// Configured compares the configuration that an agent's keepalive reports, by its
// sum, with the wanted one.
//
// Source: spec/agent-protocol.md §7 "Effects".
func (d *Delivery) Configured(a Agent, sum string, now time.Time) {
	if d.pushes != nil {
		d.pushes.configured(a, sum, now)
	}
}

// Answered takes an agent's answer to a request, or its word that the request
// came.
func (d *Delivery) Answered(a Agent, id, text string) { d.requests.answered(a, id, text) }

// UpgradeReported passes on an agent's report of its upgrade, and confirms it:
// until then the agent repeats it.
//
// Source: spec/agent-protocol.md §8a "Upgrade over this channel".
func (d *Delivery) UpgradeReported(a Agent, text []byte, now time.Time) {
	d.upgrades.reported(a, text, now)
}

// OnCommand sends the command of a TopicCommands record, if its agent is
// connected here. It does not block.
//
// Every gateway gets all records from its start on. A gateway that is killed
// may have sent a command or not; nobody sends it again (docs/design.md,
// "Commands").
func (d *Delivery) OnCommand(rec schemas.Record) { d.commands.take(rec) }
